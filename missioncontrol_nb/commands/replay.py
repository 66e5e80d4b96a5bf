"""`missioncontrol replay`: says what a watcher of a dataset would have been told between two moments."""

import json
import sys
from typing import Any

import click

from missioncontrol_nb.commands import options
from missioncontrol_nb.commands.command import Command

_EXAMPLES = """
\b
Examples:
  missioncontrol replay --dataset data/ --since 2017-09-28 --until 2017-10-05
  missioncontrol replay --dataset data/ --since 2017-09-28T12:00:00Z --until 2017-10-02 --every 15min --json
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@options.judged
@click.option(
    "--since", required=True, metavar="TIME", callback=options.check_time, help="The first look, ISO 8601, UTC."
)
@click.option("--until", required=True, metavar="TIME", callback=options.check_time, help="No look after this.")
@click.option(
    "--every", default="1h", show_default=True, metavar="LENGTH", help="Between looks: 5min or more, such as 1h or 1d."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line an event on stdout.")
@options.endpoint_url
def command(dataset: str, since: str, until: str, every: str, as_json: bool, **chosen: Any) -> None:
    """Look at a dataset as if it were another day, again and again, and say what would have been told.

    An event is an alarm, what has changed about it, or its end. Each look knows only what was known at its time. The
    first one also tells of what rose before it and is bad by its evidence.

    Exit code 0: it ran to its end, whatever it found. 1: it could not, and why.
    """
    from missioncontrol_nb.judgement import replayed
    from missioncontrol_nb.judgement.wording import event_as_text

    with click.progressbar(length=1000, label="Looks", file=sys.stderr) as bar:

        def on_progress(share: float) -> None:
            bar.update(round(1000 * share) - bar.pos)

        for event in replayed(dataset, since, until, every, on_progress, **chosen):
            click.echo(json.dumps(event.as_record(), allow_nan=False) if as_json else event_as_text(event))
