"""Backfill: whole days of a dataset are counted anew from a source and replaced, without loss beside a running stream.

Counts can be added and subtracted: a day becomes the counts of the source plus everything that was added to the day
since the backfill began. This holds however other processes rearrange the rows in the meantime, and does not depend on
which process appends them.

A replacement is one commit per table and day, and takes effect as a whole or not at all. It is recorded as a
transaction, so a replacement whose reply was lost is not made twice. Tables are replaced one after another.
docs/adr/0005-backfill.md gives the reasons.
"""

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from streaming import contract
from streaming.aggregation.once import SEEN_CRASHES_FOLDER, CountedBefore
from streaming.dataset.day_sums import (
    added,
    are_same,
    as_rows,
    day_sums,
    days_of,
    has_negative,
    on_day,
    subtracted,
    totals,
)
from streaming.dataset.opening import open_all, open_one
from streaming.dataset.stored_products import stored_products
from streaming.dataset.writer import TableWriter, open_writers
from streaming.errors import MissionControlError, printable
from streaming.job.aggregate import aggregate, open_source
from streaming.job.backfill_settings import BackfillSettings, BackfillStopped, DayChange, Notify
from streaming.job.option_checks import check_settings
from streaming.job.progress import CheckpointProgress
from streaming.job.settings import AggregateSettings, Batch, Progress, Summary
from streaming.job.snapshot import (
    BACKFILLED,
    LOSS_REASONS,
    MAX_LOST_FILES_NAMED,
    Snapshot,
    await_snapshot,
    check_can_be_held,
    check_finished,
    end_of,
    exclude_uncounted,
    mark,
    newest_known_submission,
    read_with_retry,
    stream_progress,
    take_snapshot,
)
from streaming.pings.kinds import REASONS
from streaming.pings.validation import SUBMISSION_YEARS
from streaming.sources.files.listing import why_nothing
from streaming.sources.files.source import FileSource
from streaming.sources.kafka.topic import is_topic
from streaming.spark.cluster import is_cluster
from streaming.storage.locations import dataset_url
from streaming.storage.retry import RetryPolicy
from streaming.storage.s3 import check_credentials
from streaming.storage.store_errors import call_with_retry
from streaming.storage.temporary import temporary_folder

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable
    from pyspark.sql import SparkSession


def backfill(
    source: str,
    dataset: str,
    since: date,
    until: date,
    *,
    settings: BackfillSettings | None = None,
    on_start: Callable[[float], None] = lambda seconds: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_change: Callable[[DayChange], None] = lambda change: None,
    on_notice: Notify = lambda notice: None,
    stop: threading.Event | None = None,
    spark: "SparkSession | None" = None,
) -> list[DayChange]:
    """Replace the days from since to until, both included, by a source's counts; returns a change per table and day.

    source, on_start, on_progress, on_notice, stop, spark: as for `aggregate`; on_change: called with the change of each
    table and day as it is done. Safe to repeat: where the sums are the same, nothing is written.
    Raises MissionControlError for errors that the caller can fix, before any change where the error can be known by
    then; BackfillStopped when a stop is requested, between two replacements.
    """
    settings, stop, dataset = settings or BackfillSettings(), stop or threading.Event(), dataset_url(dataset)
    counting = _checked(source, since, until, settings.counting)
    check_credentials(dataset)
    pings = open_source(source, settings.counting)
    pings.check(stop, on_notice)
    why = why_nothing(pings.url, pings.retry_policy) if isinstance(pings, FileSource) else None
    if why is not None:
        raise MissionControlError(f"{why}. The days would be emptied")
    progress = stream_progress(dataset, settings.counting)
    retry_policy = RetryPolicy.reporting_to(on_notice, stop)
    tables = call_with_retry(lambda _: open_all(dataset), dataset, retry_policy, at_start=True, to="read")
    if any(tables.values()) and not settings.dry_run:
        # Completes tables that sum another table, so that they hold all that the other one holds.
        open_writers(dataset, retry_policy, (progress.app,) if progress else ())
    days = [since + timedelta(days=number) for number in range((until - since).days + 1)]
    with _translate_stop(stop):
        at_start = await_snapshot(
            partial(take_snapshot, dataset, progress, pings.identity), dataset, retry_policy, on_notice
        )
    with temporary_folder("missioncontrol-backfill-") as folder:
        only, is_known = exclude_uncounted(pings, at_start.progress, folder)
        if not (settings.unfinished or is_known):
            check_finished(pings, until, at_start)
        with _translate_stop(stop):
            at_start.save_sums(days, folder, retry_policy)
        counted = folder / "dataset"
        declared = (*stored_products(tables[contract.ERROR_AGGREGATES.name]), *counting.products)
        counting = replace(
            counting,
            checkpoint=str(folder / "checkpoint"),
            products=declared,
            counted_before=_counted_before(progress, since, until),
        )
        lost_files: dict[str, set[str]] = {reason: set() for reason in LOSS_REASONS}
        summary = aggregate(
            only, str(counted), settings=counting, on_start=on_start, on_progress=on_progress, on_notice=on_notice,
            on_batch=partial(_note_lost, lost_files), stop=stop, spark=spark,
        )  # fmt: skip
        if stop.is_set() or not summary.finished:
            raise BackfillStopped([])
        _check_nothing_lost(source, summary, lost_files)
        replacing = _DayReplacement(dataset, at_start, str(counted), until, settings.dry_run, retry_policy)
        filled = replacing.days(days)
        for day in filled if not settings.fewer else ():
            replacing.check_not_fewer(day)
        return _replace_all(replacing, filled, on_change, stop)


def _checked(source: str, since: date, until: date, counting: AggregateSettings) -> AggregateSettings:
    """The settings by which a backfill counts pings. Raises MissionControlError where it cannot be done as asked."""
    if since > until:
        raise MissionControlError(f"expected --from not after --to; got {since} and {until}")
    if counting.dedupe and counting.master is not None and is_cluster(counting.master):
        raise MissionControlError(
            "a backfill with --dedupe computes on one machine, for it keeps what it has seen in a folder here; got "
            f"--master {counting.master}"
        )
    counting = replace(counting, follow=False)
    check_settings(counting, source, is_topic(source))
    if not (since.year in SUBMISSION_YEARS and until.year in SUBMISSION_YEARS):
        raise MissionControlError(
            f"expected --from and --to between {SUBMISSION_YEARS[0]} and {SUBMISSION_YEARS[-1]}, which pings are "
            f"submitted in; got {since} and {until}"
        )
    begin = counting.topic.starting_offsets
    if begin == "latest" or (isinstance(begin, datetime) and begin.date() > until):
        raise MissionControlError(
            "expected --starting-offsets as earliest or a time before the days: no ping of them comes after, and they "
            f"would be emptied; got {str(begin)!r}"
        )
    return counting


def _counted_before(progress: CheckpointProgress | None, since: date, until: date) -> CountedBefore | None:
    """The crashes that the dataset's stream has counted on other days; None where its checkpoint is not known."""
    if progress is None:
        return None
    begin_us, end_us = (
        round(moment.timestamp() * 1e6) for moment in (end_of(since - timedelta(days=1)), end_of(until))
    )
    return CountedBefore(progress.folder / SEEN_CRASHES_FOLDER, begin_us, end_us)


def _note_lost(lost_files: Mapping[str, set[str]], batch: Batch) -> None:
    """Adds the files of a micro-batch that could not be read, by reason."""
    for path, reasons in batch.bad_files.items():
        for reason in reasons.keys() & lost_files.keys():
            lost_files[reason].add(path)


def _check_nothing_lost(source: str, summary: Summary, lost_files: Mapping[str, set[str]]) -> None:
    """Raises MissionControlError where a part of a source could not be read. lost_files: by reason."""
    for reason in LOSS_REASONS:
        if summary.rejected.get(reason):
            raise MissionControlError(
                f"{source!r} is not whole, nothing was changed: {reason} {summary.rejected[reason]:,}. "
                f"{REASONS[reason]}{_name_files(sorted(lost_files[reason]))}"
            )


def _name_files(paths: Sequence[str]) -> str:
    """A sentence that names the first few files; empty where there are no files."""
    names = ", ".join(f"'{printable(path)}'" for path in paths[:MAX_LOST_FILES_NAMED])
    more = f" and {len(paths) - MAX_LOST_FILES_NAMED:,} more" if len(paths) > MAX_LOST_FILES_NAMED else ""
    return f" Files: {names}{more}" if paths else ""


def _replace_all(
    replacing: "_DayReplacement", days: Sequence[date], on_change: Callable[[DayChange], None], stop: threading.Event
) -> list[DayChange]:
    changes: list[DayChange] = []
    for day in days:
        for table in contract.TABLES:
            if stop.is_set():
                raise BackfillStopped(changes)
            changes.append(replacing.replace(table, day))
            on_change(changes[-1])
    return changes


@contextmanager
def _translate_stop(stop: threading.Event) -> Iterator[None]:
    """Turns a read error into BackfillStopped where a stop was requested while waiting for a store."""
    try:
        yield
    except MissionControlError as error:
        if stop.is_set():
            raise BackfillStopped([]) from error
        raise


class _DayReplacement:
    """Replaces days of a dataset by those of a newly counted one, plus what was added to them since a snapshot."""

    def __init__(
        self, dataset: str, at_start: Snapshot, counted: str, until: date, dry_run: bool, retry_policy: RetryPolicy
    ) -> None:
        self._retry_policy = retry_policy
        self._dataset, self._at_start, self._until, self._dry_run = dataset, at_start, until, dry_run
        self._counted = open_all(counted)
        self._writers: dict[str, TableWriter] = {}
        self._app, self._number = f"missioncontrol backfill {uuid.uuid4()}", 0

    def days(self, wanted: Sequence[date]) -> list[date]:
        """The wanted days for which the dataset or the counted one has rows.

        Raises MissionControlError where the counted dataset has too many rows of a day to be added up.
        """
        counted = set[date]().union(*map(days_of, self._counted.values()))
        for table in contract.TABLES:
            for day in counted.intersection(wanted):
                check_can_be_held(self._counted[table.name], table, day)
        return sorted((counted | self._at_start.days()).intersection(wanted))

    def check_not_fewer(self, day: date) -> None:
        """Raises MissionControlError where a day would hold fewer pings than before, accepted and rejected together."""
        before = _pings(lambda table: self._at_start.sums(table, day))
        after = _pings(lambda table: day_sums(self._counted[table.name], table, day))
        if sum(after) < sum(before):
            raise MissionControlError(
                f"nothing was changed: of {day} the dataset holds {before[0]:,} pings and {before[1]:,} rejected ones, "
                f"and the source {after[0]:,} and {after[1]:,}. If the source is right: --fewer"
            )

    def replace(self, table: contract.Table, day: date) -> DayChange:
        """Replaces a day of a table, where its sums differ."""
        source = day_sums(self._counted[table.name], table, day)
        sums_at_start = self._at_start.sums(table, day)
        change = DayChange(day, table.name, {}, {}, False)

        def compute_rows(now: "DeltaTable | None") -> "pa.Table | None":
            nonlocal change
            if self._at_start.is_replaced(table, day, now):
                raise MissionControlError(f"another backfill has replaced {day} meanwhile: run this one again")
            found = day_sums(now, table, day)
            since = subtracted(table, found, sums_at_start)
            if has_negative(table, since):
                raise MissionControlError(
                    f"rows of {day} were taken out of {table.name} meanwhile, by maintenance or by hand: run it again"
                )
            wanted = added(table, source, since)
            is_changed = not are_same(table, wanted, found)
            change = DayChange(day, table.name, totals(table, found), totals(table, wanted), is_changed)
            return as_rows(table, wanted) if is_changed else None

        existing = read_with_retry(lambda: open_one(self._dataset, table), self._dataset, self._retry_policy)
        if self._dry_run or (existing is None and not len(source)):
            read_with_retry(lambda: compute_rows(existing), self._dataset, self._retry_policy)
            return change
        self._number += 1
        self._writer(table).replace(
            compute_rows, on_day(day), self._number, self._app, self._metadata(table, day), mark(day)
        )
        return change

    def _writer(self, table: contract.Table) -> TableWriter:
        if not self._writers:
            self._writers = {writer.table.name: writer for writer in open_writers(self._dataset, self._retry_policy)}
        return self._writers[table.name]

    def _metadata(self, table: contract.Table, day: date) -> dict[str, str]:
        """The metadata of a commit: the day, and the newest submission of the source, at most the end of the days."""
        newest = newest_known_submission(self._counted[table.name]) if table is contract.ERROR_AGGREGATES else None
        metadata = {BACKFILLED: day.isoformat()}
        if newest is not None:
            metadata[contract.DATA_UP_TO] = min(newest, end_of(self._until)).isoformat(timespec="microseconds")
        return metadata


def _pings(sums_of: "Callable[[contract.Table], pa.Table]") -> tuple[int, int]:
    """The numbers of accepted and rejected pings; the coarse table may hold days that the fine one no longer holds."""
    accepted, coarse, rejected = (
        int(totals(table, sums_of(table))["count"])
        for table in (contract.ERROR_AGGREGATES, contract.COARSE_AGGREGATES, contract.REJECTED_PINGS)
    )
    return max(accepted, coarse), rejected
