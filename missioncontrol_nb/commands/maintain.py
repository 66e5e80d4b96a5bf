"""`missioncontrol maintain`: compacts a dataset's files, removes old history and shortens Delta's log."""

import json
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from missioncontrol_nb.commands import options
from missioncontrol_nb.commands.command import FOLLOW, Command
from missioncontrol_nb.terminal import NumberRange, plural, stopped_by_signals

if TYPE_CHECKING:
    from threading import Event

    from streaming.dataset.table_maintenance import MaintainSettings, Upkeep

MAX_DAYS = 36_500  # a hundred years: no day of the calendar is left at their other end
_EXAMPLES = """
\b
Examples:
  missioncontrol maintain --dataset data/
  missioncontrol maintain --dataset data/ --keep-days 90 --keep-coarse-days 730
  missioncontrol maintain --dataset s3://bucket/data --follow --every 300
"""


@click.command(cls=Command, epilog=_EXAMPLES, needs={"every": FOLLOW})
@click.option("--dataset", required=True, metavar="URL", help="Folder or s3:// URL of the dataset.")
@click.option("--follow", is_flag=True, help="Keep at it until Ctrl-C.")
@click.option(
    "--every", type=NumberRange(1, 86_400), default=60.0, show_default=True, metavar="SECONDS",
    help="With --follow: how often.",
)  # fmt: skip
@click.option(
    "--keep-days", type=click.IntRange(1, MAX_DAYS), metavar="DAYS",
    help="Remove older days of all tables but the coarse one; counted from the newest day.  [default: keep all]",
)  # fmt: skip
@click.option(
    "--keep-coarse-days", type=click.IntRange(1, MAX_DAYS), metavar="DAYS",
    help="Remove older days of the coarse table, which overviews are made of.  [default: keep all]",
)  # fmt: skip
@click.option(
    "--keep-removed-hours", type=click.IntRange(1, 24 * MAX_DAYS), metavar="HOURS",
    help="How long files stay that were replaced, for whoever still reads them.  [default: as it was told, or 2]",
)  # fmt: skip
@options.endpoint_url
@click.option("--json", "as_json", is_flag=True, help="Say what was done as a JSON line on standard output.")
def command(
    dataset: str,
    follow: bool,
    every: float,
    keep_days: int | None,
    keep_coarse_days: int | None,
    keep_removed_hours: int | None,
    as_json: bool,
) -> None:
    """Keep a dataset small and quick to read, beside the stream that fills it.

    Sums many small files up into few, hour by hour and day by day, removes days that are older than wanted and files
    that nobody needs, and shortens Delta's log. No count changes. It is safe at any moment, and may be killed at any
    moment. `missioncontrol aggregate --follow` does so by itself; run it on its own for what is not followed, and to
    remove old days.

    Exit code 130 or 143: ended by Ctrl-C or SIGTERM before all tables were tended. With --follow these are its end.
    """
    from streaming.dataset.maintenance import follow as maintain_for_ever
    from streaming.dataset.table_maintenance import MaintainSettings

    settings = MaintainSettings(keep_days, keep_coarse_days, keep_removed_hours)
    with stopped_by_signals() as stop:
        if follow:
            maintain_for_ever(
                dataset,
                settings,
                stop=stop,
                every_seconds=every,
                on_table=lambda done: _say_change(done, as_json),
                on_trouble=lambda notice: click.echo(notice, err=True),
                begins_at_once=True,
            )
        else:
            _once(dataset, settings, stop, as_json)
            if stop.is_set():
                click.echo("stopped before all tables were tended: run it again", err=True)
                if as_json:
                    click.echo(json.dumps({"finished": False}))
                sys.exit(stop.exit_code)


def _once(dataset: str, settings: "MaintainSettings", stop: "Event", as_json: bool) -> None:
    from tqdm import tqdm

    from streaming.dataset.maintenance import maintain

    with tqdm(unit="span", file=sys.stderr, leave=False, disable=None, bar_format="{desc} |{bar}| {n}/{total}") as bar:

        def show(table: str, done: int, total: int) -> None:
            bar.set_description_str(table, refresh=False)
            bar.total, bar.n = total, done
            bar.refresh()

        def say(done: "Upkeep") -> None:
            with tqdm.external_write_mode(), suppress(BrokenPipeError):  # maintenance continues if the reader exits
                _say(done, as_json)

        maintain(dataset, settings, stop=stop, on_progress=show, on_table=say)


def _say_change(done: "Upkeep", as_json: bool) -> None:
    if done.spans or done.days or done.removed_files:
        _say(done, as_json)


def _say(done: "Upkeep", as_json: bool) -> None:
    click.echo(_as_json(done) if as_json else _as_text(done))


def _as_json(upkeep: "Upkeep") -> str:
    record = asdict(upkeep)
    for name in ("before", "after"):
        record[name] = getattr(upkeep, name)._asdict()
    unnamed = upkeep.unnamed and upkeep.unnamed._asdict()
    if unnamed and unnamed["oldest"]:
        unnamed["oldest"] = unnamed["oldest"].isoformat(timespec="seconds")
    return json.dumps(record | {"days": [day.isoformat() for day in upkeep.days], "unnamed": unnamed})


def _as_text(upkeep: "Upkeep") -> str:
    before, after = upkeep.before, upkeep.after
    dropped = f", {plural(len(upkeep.days), 'old day')} removed" if upkeep.days else ""
    return (
        f"{upkeep.table}: {before.files:,} -> {plural(after.files, 'file')}, {before.rows:,} -> "
        f"{plural(after.rows, 'row')}, {before.bytes / 1e6:.1f} -> {after.bytes / 1e6:.1f} MB{dropped}; "
        f"{plural(upkeep.removed_files, 'unused file')} deleted, {upkeep.seconds:.1f} s{_left(upkeep)}"
    )


def _left(upkeep: "Upkeep") -> str:
    """A note about files that no commit names; empty without such files."""
    unnamed = upkeep.unnamed
    if not unnamed or not unnamed.oldest:
        return ""
    return (
        f"; {plural(unnamed.files, 'file')} of {unnamed.bytes / 1e6:.1f} MB that no commit names, the oldest of "
        f"{unnamed.oldest:%Y-%m-%d}, left in {upkeep.table}"
    )
