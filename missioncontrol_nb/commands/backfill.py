"""`missioncontrol backfill`: replaces whole days of a dataset by pings that are counted again."""

import json
import sys
import threading
from collections.abc import Sequence
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING

import click

from missioncontrol_nb.commands import options
from missioncontrol_nb.commands.command import TOPIC, Command
from missioncontrol_nb.terminal import plural, stopped_by_signals
from streaming import contract
from streaming.errors import MissionControlError, printable

if TYPE_CHECKING:
    from tqdm import tqdm

    from streaming.job.backfill_settings import BackfillSettings, DayChange
    from streaming.job.settings import Progress

_LABELS = {
    "count": "pings",
    "usage_hours": "usage hours",
    **{measure.name: measure.label.lower() for measure in contract.MEASURES},
    **{name: name.replace("_", " ") for name in contract.PING_COUNTS},
}
_EXAMPLES = """
\b
Examples:
  missioncontrol backfill archive/2017-10-02 --dataset data/ --from 2017-10-02 --to 2017-10-02 --dry-run
  missioncontrol backfill 's3://bucket/pings/2017-10-*.jsonl.gz' --dataset data/ --from 2017-10-01 --to 2017-10-31
  missioncontrol backfill kafka://host:9092/pings --dataset data/ --from 2017-10-02 --to 2017-10-03
"""


@click.command(cls=Command, epilog=_EXAMPLES, needs=dict.fromkeys(("starting_offsets", "kafka_config"), TOPIC))
@click.argument("source")
@click.option("--dataset", required=True, metavar="URL", help="Folder or s3:// URL of the dataset; made if need be.")
@click.option("--from", "since", required=True, metavar="DATE", help="The first day of submission, UTC: 2017-10-02.")
@click.option("--to", "until", required=True, metavar="DATE", help="The last day, which is included.")
@click.option("--dry-run", is_flag=True, help="Say what would change, change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Say what changed as one JSON line on standard output.")
@click.option(
    "--checkpoint", metavar="FOLDER",
    help="That of the job that fills the dataset, to know what it has counted.  [default: _checkpoint in a local "
    "dataset]",
)  # fmt: skip
@click.option("--fewer", is_flag=True, help="Replace days also where they would hold fewer pings than now.")
@click.option("--unfinished", is_flag=True, help="Replace days also where pings of SOURCE may yet be counted twice.")
@options.cluster
@click.option(
    "--starting-offsets", default="earliest", show_default=True, metavar="earliest|TIME",
    help="Where in a topic to begin; TIME is ISO 8601, UTC. All pings of the days must come after.",
)  # fmt: skip
@options.kafka_config
@click.option(
    "--dedupe", is_flag=True,
    help="Count pings once that are delivered again within an hour. As the job does, or not.",
)  # fmt: skip
@options.once_days
@options.endpoint_url
@options.stands_in
def command(
    source: str,
    dataset: str,
    since: str,
    until: str,
    dry_run: bool,
    as_json: bool,
    checkpoint: str | None,
    fewer: bool,
    unfinished: bool,
    master: str | None,
    environment: str | None,
    spark_config: dict[str, str],
    starting_offsets: str,
    kafka_config: dict[str, str],
    dedupe: bool,
    once_days: int,
    channel: str | None,
    country: str | None,
) -> None:
    """Count the pings in SOURCE anew and replace whole days of the dataset by them.

    SOURCE, as for aggregate, must hold all pings of the days: what they held is gone, whatever it came from. What a
    running job adds meanwhile stays. Where SOURCE is what that job reads, only what it has counted is counted anew.
    Each table's day is replaced at once or not at all; where the sums are the same, nothing is written.

    Exit code 130 or 143: ended by Ctrl-C or SIGTERM, between two replacements.
    """
    from streaming.job.backfill_settings import BackfillSettings, BackfillStopped
    from streaming.job.settings import AggregateSettings
    from streaming.pings.envelope import Envelope
    from streaming.sources.kafka.source import TopicSettings, read_starting_offsets

    settings = BackfillSettings(
        AggregateSettings(
            master=master,
            checkpoint=checkpoint,
            envelope=Envelope(channel, country),
            topic=TopicSettings(read_starting_offsets(starting_offsets), kafka_config),
            dedupe=dedupe,
            once_days=once_days,
            spark_config=spark_config,
            environment=environment,
        ),
        fewer,
        unfinished,
        dry_run,
    )
    days = _day("--from", since), _day("--to", until)
    with stopped_by_signals() as stop:
        try:
            changes = _BackfillOutput().run(source, dataset, *days, settings, stop)
        except BackfillStopped as stopped:
            click.echo(f"stopped; {_outcome(stopped.changes, dry_run)}", err=True)
            if as_json:
                click.echo(json.dumps(_as_record(stopped.changes, dry_run, finished=False)))
            sys.exit(stop.exit_code)
    if as_json:
        click.echo(json.dumps(_as_record(changes, dry_run)))
    else:
        click.echo(_as_text(changes, dry_run))


def _day(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise MissionControlError(f"expected {name} as a day such as 2017-10-02; got {text!r}") from None


class _BackfillOutput:
    """A progress bar on stderr: pings read, then tables and days replaced."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def run(
        self,
        source: str,
        dataset: str,
        since: date,
        until: date,
        settings: "BackfillSettings",
        stop: threading.Event,
    ) -> "list[DayChange]":
        from tqdm import tqdm

        from streaming.job.backfill import backfill

        self._bar = tqdm(
            desc="Starting Spark" if settings.counting.uses_spark else "Starting",
            unit="B", unit_scale=True, file=sys.stderr, leave=False, disable=None,
            bar_format="{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}",
        )  # fmt: skip
        with self._bar:
            return backfill(
                source, dataset, since, until, settings=settings, on_start=self._on_start,
                on_progress=self._on_progress, on_change=self._on_change, on_notice=self._on_notice, stop=stop,
            )  # fmt: skip

    def _on_start(self, _: float) -> None:
        assert self._bar is not None
        self._bar.set_description("Reading pings")

    def _on_progress(self, progress: "Progress") -> None:
        assert self._bar is not None
        self._bar.total = progress.total_bytes
        self._bar.set_postfix_str(f"{progress.pings:,} pings", refresh=False)
        self._bar.update(progress.done_bytes - self._bar.n)
        self._bar.refresh()

    def _on_change(self, change: "DayChange") -> None:
        assert self._bar is not None
        self._bar.set_description(f"Replacing {change.day}")

    def _on_notice(self, notice: str) -> None:
        from tqdm import tqdm

        tqdm.write(printable(notice), file=sys.stderr)


def _as_record(changes: "Sequence[DayChange]", dry_run: bool, finished: bool = True) -> dict[str, object]:
    return {
        "finished": finished,
        "dry_run": dry_run,
        "changed": sum(change.is_changed for change in changes),
        "tables": [
            {
                "day": change.day.isoformat(),
                "table": change.table,
                "is_changed": change.is_changed,
                "before": change.before,
                "after": change.after,
            }
            for change in changes
        ],
    }


def _as_text(changes: "Sequence[DayChange]", dry_run: bool) -> str:
    """The changes by day and table, and the outcome."""
    if not changes:
        return "Nothing was changed: neither the source nor the dataset has pings that were submitted on these days"
    lines: list[str] = []
    for day, of_day in groupby(changes, key=lambda change: change.day):
        lines.append(f"{day}")
        lines += [f"  {change.table:<{_WIDTH}}  {_describe(change)}" for change in of_day]
    return "\n".join([*lines, _outcome(changes, dry_run).capitalize()])


_WIDTH = max(len(table.name) for table in contract.TABLES)


def _describe(change: "DayChange") -> str:
    """`pings 1,200 -> 1,250, usage hours 830.50 as before`: always these two, and measures that differ."""
    if not change.is_changed:
        return "as before"
    names = [name for name in ("count", "usage_hours") if name in change.after]
    names += [name for name in change.after if name not in names and change.before[name] != change.after[name]]
    parts = [_column(name, change.before[name], change.after[name]) for name in names]
    if all(change.before[name] == change.after[name] for name in change.after):
        parts.append("otherwise grouped, or 0 where nothing was counted")
    return ", ".join(parts)


def _column(name: str, before: float, after: float) -> str:
    shown = [f"{value:,.2f}" if name == "usage_hours" else f"{value:,.0f}" for value in (before, after)]
    return f"{_LABELS[name]} {shown[0]} " + ("as before" if before == after else f"-> {shown[1]}")


def _outcome(changes: "Sequence[DayChange]", dry_run: bool) -> str:
    days = len({change.day for change in changes if change.is_changed})
    if not days:
        return "nothing changed: the dataset holds that already" if changes else "nothing was changed"
    return f"{plural(days, 'day')} {'would change' if dry_run else 'changed'}"
