"""`missioncontrol report`: makes a report of releases as of a moment, and publishes it whole."""

import sys
from pathlib import Path
from typing import NoReturn

import click
import psutil  # type: ignore[import-untyped]

from missioncontrol_nb.commands import options
from missioncontrol_nb.commands.command import Command
from missioncontrol_nb.terminal import Stop, stopped_by_signals

EXIT_CODES = {"fine": 0, "alarm": 3, "none": 4}  # 2 is the code for an invalid command line
_EXAMPLES = """
\b
Examples:
  missioncontrol report --dataset data/ --out reports/
  missioncontrol report --dataset data/ --out reports/ --channel release --channel beta
  missioncontrol report --dataset s3://bucket/data --out s3://bucket/reports --channel all --as-of 2017-10-02T13:00Z
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@click.option("--dataset", required=True, metavar="URL", help="Folder or s3:// URL of the dataset.")
@click.option("--out", required=True, metavar="URL", help="Folder or s3:// URL in which the reports are.")
@click.option("--product", default="Firefox", show_default=True, help="One that the dataset knows.")
@click.option(
    "--channel", "channels", multiple=True, default=("release",), show_default=True,
    help="One of the product's channels, or all; may be repeated.",
)  # fmt: skip
@click.option(
    "--as-of", default="", metavar="TIME", callback=options.check_time,
    help="ISO 8601, UTC.  [default: as of the newest data]",
)  # fmt: skip
@click.option(
    "--previous", default="", metavar="URL", help="The report before.  [default: the newest one in --out before this]"
)
@click.option(
    "--releases", default="", metavar="FILE|FOLDER|URL",
    help="The release calendar.  [default: releases.json in the dataset, else the snapshot]",
)  # fmt: skip
@click.option(
    "--notebook", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    help="Your own variant of release_report.ipynb.  [default: the packaged one]",
)  # fmt: skip
@options.endpoint_url
def command(
    dataset: str,
    out: str,
    product: str,
    channels: tuple[str, ...],
    as_of: str,
    previous: str,
    releases: str,
    notebook: Path | None,
) -> None:
    """Make a report of releases as of a moment: a page, its notebook, its alarms as JSON, and a picture for a chat.

    It is published in --out whole or not at all: 2017-10-02T13-00Z/report.html and the others, then latest.html,
    latest.json and index.html. Where a run fails, these stay as they are, and the notebook with its error is kept in
    failed/.

    Exit code 0: no alarm is up. 3: one is. 4: no channel has a release, so that nothing was judged. 1: there is no
    report, and why.
    """
    from missioncontrol_nb.report.parameters import Parameters
    from missioncontrol_nb.report.running import ReportEndedError, run_report

    def notify(sentence: str) -> None:
        click.echo(sentence, err=True)

    given = Parameters(dataset, product, ",".join(channels), as_of, previous, releases)
    with stopped_by_signals(stop=_End()) as stop:
        try:
            published = run_report(
                given,
                out,
                notebook=notebook,
                notify=notify,
                has_bar=sys.stderr.isatty(),
                is_ended=stop.is_set,
            )
        except ReportEndedError:
            sys.exit(stop.exit_code)
    if published.alarms["state"] == "none":
        click.echo("Nothing was judged: this is no verdict", err=True)
    for line in filter(
        None, [published.alarms.get("stale"), *(each["sentence"] for each in published.alarms["headlines"])]
    ):
        click.echo(line)
    click.echo(published.where)
    sys.exit(EXIT_CODES[published.alarms["state"]])


class _End(Stop):
    """Ends a run in order when a signal comes, with its kernel and its temporary folder.

    The kernel is killed, because the client that waits for it may take the exception for its own and go on waiting.
    """

    def handle(self, number: int, _frame: object = None) -> NoReturn:
        """Handles a signal."""
        super().handle(number)
        for child in psutil.Process().children():
            child.kill()
        sys.exit(self.exit_code)
