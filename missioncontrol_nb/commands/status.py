"""`missioncontrol status`: reports a dataset's freshness, lag, rejected pings and maintenance."""

import json
import re
import sys
from pathlib import Path

import click

from missioncontrol_nb.commands import options
from missioncontrol_nb.commands.command import Command
from missioncontrol_nb.dashboard.server.settings import Settings
from missioncontrol_nb.terminal import NumberRange, stopped_by_signals
from streaming.errors import MissionControlError

LAST_PORT = 65_535
STALE = 3  # exit code; 2 is the code for an invalid command line
_EXAMPLES = """
\b
Examples:
  missioncontrol status --dataset data/
  missioncontrol status --dataset data/ --json --stale-after 300
  missioncontrol status --dataset data/ --prometheus textfiles/missioncontrol.prom
  missioncontrol status --dataset s3://bucket/data --checkpoint state/ --serve 0.0.0.0:9464
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@click.option("--dataset", required=True, metavar="URL", help="Folder or s3:// URL of the dataset.")
@click.option("--json", "as_json", is_flag=True, help="All of it as one JSON line.")
@click.option(
    "--prometheus", "metrics_file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    help="Write it to FILE, whose name node_exporter wants to end in .prom, whole or not at all; say nothing.",
)  # fmt: skip
@click.option(
    "--serve", "address", metavar="[HOST:]PORT",
    help="Answer over HTTP until Ctrl-C: / is a page, /metrics for Prometheus, /healthz 200 or 503 for probes.  "
    "[default of HOST: 127.0.0.1]",
)  # fmt: skip
@click.option(
    "--name", "names", multiple=True, metavar="HOST",
    help="With --serve: a host name that requests may be for, beside this machine's own; may be repeated.  "
    "[default: none; any, where HOST is another address]",
)  # fmt: skip
@click.option(
    "--stale-after", type=NumberRange(0, 31_536_000), default=Settings.stale_after_seconds, show_default=True,
    metavar="SECONDS", help="The age of the newest ping above which the dataset is stale.",
)  # fmt: skip
@click.option(
    "--checkpoint", metavar="FOLDER",
    help="That of the job, which knows how far it has come.  [default: _checkpoint in a local dataset]",
)  # fmt: skip
@click.option(
    "--watch-state", metavar="FOLDER", help="That of missioncontrol watch.  [default: _watch in a local dataset]"
)
@click.option(
    "--receiver", "receivers", multiple=True, metavar="HOST:PORT",
    help="The address of a receiver's counts (missioncontrol receive --metrics); may be repeated.",
)  # fmt: skip
@options.kafka_config
@options.endpoint_url
def command(
    dataset: str,
    as_json: bool,
    metrics_file: Path | None,
    address: str | None,
    names: tuple[str, ...],
    stale_after: float,
    checkpoint: str | None,
    watch_state: str | None,
    receivers: tuple[str, ...],
    kafka_config: dict[str, str],
) -> None:
    """Say how fresh the dataset is, how far behind its source, what was rejected, and whether upkeep is due.

    Exit code 0: fresh. 3: stale, that is: nothing newer has come for --stale-after seconds, or nothing ever. 1: it
    cannot be said, and why.
    """
    from missioncontrol_nb.status import Collector
    from missioncontrol_nb.status.metrics import write_metrics
    from missioncontrol_nb.status.wording import as_record, as_text

    collector = Collector(dataset, checkpoint, kafka_config, stale_after, watch_state, receivers)
    if address is not None:
        if as_json or metrics_file:
            raise click.UsageError("--serve goes neither with --json nor with --prometheus")
        _serve(collector, address, names)
        return
    if names:
        raise click.UsageError("--name goes with --serve only")
    status = collector.collect()
    if metrics_file:
        write_metrics(status, metrics_file)
    if as_json:
        click.echo(json.dumps(as_record(status)))
    elif not metrics_file:
        click.echo(as_text(status))
    sys.exit(STALE if status.is_stale else 0)


def _serve(collector: object, address: str, names: tuple[str, ...]) -> None:
    from missioncontrol_nb.status.server import serve

    host, _, port = address.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > LAST_PORT:
        raise MissionControlError(
            f"expected --serve as [HOST:]PORT, PORT being 0 to 65535, such as 9464; got {address!r}"
        )
    with stopped_by_signals() as stop:
        serve(collector, host, int(port), stop, on_ready=click.echo, names=names)  # type: ignore[arg-type]
