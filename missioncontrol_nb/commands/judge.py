"""`missioncontrol judge`: says of each release whether its rates are acceptable, as of a moment."""

import json
import sys
from typing import Any

import click

from missioncontrol_nb.commands import options
from missioncontrol_nb.commands.command import Command

ALARM = 3  # exit code; 2 is the code for an invalid command line
_EXAMPLES = """
\b
Examples:
  missioncontrol judge --dataset data/
  missioncontrol judge --dataset data/ --channel release --os-name Windows_NT
  missioncontrol judge --dataset s3://bucket/data --at 2017-10-02T13:00:00Z --json
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@options.judged
@click.option(
    "--at", metavar="TIME", callback=options.check_time,
    help="ISO 8601, UTC; only what was known then counts.  [default: as of the newest data]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON line a series on stdout.")
@options.endpoint_url
def command(dataset: str, at: str | None, as_json: bool, **chosen: Any) -> None:
    """Say of each release whether it crashes more than it should, where, and how sure that is.

    A series is a measure of a release on a channel and system. It is judged against what earlier releases showed at the
    same age, by all evidence so far; no threshold has to be set. "bad" is wrong in 1 % of healthy series at most,
    however often one asks, as far as its assumptions hold.

    Exit code 0: no alarm is up. 3: one is. 1: it cannot be said, and why.
    """
    from missioncontrol_nb.judgement import judged

    found, is_up = judged(dataset, at, **chosen)
    if as_json:
        for series in found:
            click.echo(json.dumps(series.as_record(), allow_nan=False))
    else:
        from missioncontrol_nb.judgement.wording import as_text

        click.echo(as_text(found))
    sys.exit(ALARM if is_up else 0)
