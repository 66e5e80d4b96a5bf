"""`missioncontrol releases`: shows the release calendar and refreshes its snapshot."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from missioncontrol_nb.arguments import as_utc
from missioncontrol_nb.commands.command import Command
from missioncontrol_nb.releases import calendar as calendar_module
from missioncontrol_nb.releases import product_details, sources
from streaming import contract
from streaming.errors import MissionControlError

MAX_AHEAD = timedelta(days=60)
FRESH_FOR = timedelta(days=30)


@click.group()
def command() -> None:
    """Show or refresh the release calendar."""


@command.command(cls=Command)
@click.option(
    "--channel",
    type=click.Choice(contract.FIREFOX.channel_names),
    multiple=True,
    help="Only this channel; may be repeated.",
)
@click.option("--at", metavar="TIME", help="What was out at this time, ISO 8601, UTC. Default: now.")
@click.option(
    "--last", type=click.IntRange(1, 100_000), default=5, show_default=True, help="How many releases of a channel."
)
@click.option("--releases", "source", metavar="FILE|FOLDER|URL", help="Another calendar than the snapshot.")
def show(channel: tuple[str, ...], at: str | None, last: int, source: str | None) -> None:
    """List what is out on each channel, highest version first."""
    moment = as_utc("--at", at) or datetime.now(UTC)
    calendar = sources.load_calendar(source)
    out = [
        release for name in channel or contract.FIREFOX.channel_names for release in calendar.on(name, moment)[:last]
    ]
    for release in out:
        click.echo(f"{release.channel:8} {release.version:12} {release.date}")
    if source is None and at is None and calendar.newest_date < (datetime.now(UTC) - FRESH_FOR).date():
        click.echo(f"The calendar ends {calendar.newest_date}; refresh it: missioncontrol releases update", err=True)
    if not out:
        click.echo(f"Nothing was out at {moment:%Y-%m-%d %H:%M} UTC", err=True)


@command.command(cls=Command)
@click.option(
    "--from",
    "source",
    metavar="URL|FOLDER",
    default=product_details.PRODUCT_DETAILS,
    show_default=True,
    help="Mozilla's product-details, or a copy of it.",
)
@click.option(
    "--to",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write. Default: the packaged snapshot, or one in your own folder if that is not writable.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Write only the releases of the source, whatever is there: without it they are added to those that are there.",
)
def update(source: str, target: Path | None, replace: bool) -> None:
    """Refresh the snapshot of the release calendar.

    It is used where no other calendar is given. Releases that the source lacks stay; of those that are there, the day
    becomes that of the source. A source that ends in the future is refused: exit code 1, and nothing is written.
    """
    click.echo(f"Reading {source} ...", err=True)
    calendar = sources.load_calendar(source)
    path = target or sources.snapshot_to_refresh()
    if calendar.newest_date > (datetime.now(UTC) + MAX_AHEAD).date():
        raise MissionControlError(f"the calendar of {source} ends in the future, {calendar.newest_date}: not written")
    if not replace and (target is None or target.exists()):
        calendar = _present(target).merged_with(calendar)
    calendar.save(path)
    click.echo(f"{len(calendar.releases)} releases up to {calendar.newest_date} written to {path}")


def _present(target: Path | None) -> calendar_module.Calendar:
    """The calendar that is there; None: the one in use. Raises MissionControlError where what is there is none."""
    try:
        return sources.load_calendar(target)
    except MissionControlError as error:
        raise MissionControlError(f"what is there is no calendar; give --replace to replace it: {error}") from error
