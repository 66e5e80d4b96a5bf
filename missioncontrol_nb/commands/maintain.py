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

    from streaming.dataset.compaction import MaintainSettings, MaintenanceReport

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
    from streaming.dataset.compaction import MaintainSettings
    from streaming.dataset.maintenance import follow as follow_dataset

    settings = MaintainSettings(keep_days, keep_coarse_days, keep_removed_hours)
    with stopped_by_signals() as stop:
        if follow:
            follow_dataset(
                dataset,
                settings,
                stop=stop,
                every_seconds=every,
                on_table=lambda done: _print_if_changed(done, as_json),
                on_failure=lambda notice: click.echo(notice, err=True),
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

        def report_table(done: "MaintenanceReport") -> None:
            with tqdm.external_write_mode(), suppress(BrokenPipeError):  # maintenance continues if the reader exits
                _print(done, as_json)

        maintain(dataset, settings, stop=stop, on_progress=show, on_table=report_table)


def _print_if_changed(done: "MaintenanceReport", as_json: bool) -> None:
    if done.spans or done.days or done.removed_files:
        _print(done, as_json)


def _print(done: "MaintenanceReport", as_json: bool) -> None:
    click.echo(_as_json(done) if as_json else _as_text(done))


def _as_json(report: "MaintenanceReport") -> str:
    record = asdict(report)
    for name in ("before", "after"):
        record[name] = getattr(report, name)._asdict()
    orphans = report.unnamed and report.unnamed._asdict()
    if orphans and orphans["oldest"]:
        orphans["oldest"] = orphans["oldest"].isoformat(timespec="seconds")
    return json.dumps(record | {"days": [day.isoformat() for day in report.days], "unnamed": orphans})


def _as_text(report: "MaintenanceReport") -> str:
    before, after = report.before, report.after
    dropped = f", {plural(len(report.days), 'old day')} removed" if report.days else ""
    return (
        f"{report.table}: {before.files:,} -> {plural(after.files, 'file')}, {before.rows:,} -> "
        f"{plural(after.rows, 'row')}, {before.bytes / 1e6:.1f} -> {after.bytes / 1e6:.1f} MB{dropped}; "
        f"{plural(report.removed_files, 'unused file')} deleted, {report.seconds:.1f} s{_describe_orphans(report)}"
    )


def _describe_orphans(report: "MaintenanceReport") -> str:
    """A note about files that no commit names; empty without such files."""
    orphans = report.unnamed
    if not orphans or not orphans.oldest:
        return ""
    return (
        f"; {plural(orphans.files, 'file')} of {orphans.bytes / 1e6:.1f} MB that no commit names, the oldest of "
        f"{orphans.oldest:%Y-%m-%d}, left in {report.table}"
    )
