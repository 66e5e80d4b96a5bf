"""`missioncontrol environment`: packs what the workers of a Spark cluster need into one archive."""

import time
from pathlib import Path

import click

from missioncontrol_nb.commands.command import Command
from missioncontrol_nb.terminal import plural


@click.command(cls=Command)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="environment.tar.gz",
    show_default=True,
    help="The archive to write.",
)
def command(output: Path) -> None:
    """Pack what a Spark cluster's workers need to count pings.

    The archive holds this Python and the packages that count, of the versions that are installed here: workers need
    Java and Spark, and no Python. They must be Linux machines of the same processor, with a C library not older than
    this machine's. Pass it on: missioncontrol aggregate ... --master spark://host:7077 --environment environment.tar.gz
    """
    from streaming.spark.executor_environment import pack_environment

    began = time.monotonic()
    click.echo(f"Packing {output} ...", err=True)
    packed = pack_environment(output)
    click.echo(
        f"{plural(len(packed.packages), 'package')} and Python, {packed.size / 1e6:,.0f} MB in "
        f"{time.monotonic() - began:.0f} s: {output}"
    )
