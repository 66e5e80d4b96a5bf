"""A snapshot of what the stream beside a backfill has counted, at one moment and consistent across all tables."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from streaming import contract
from streaming.dataset.day_sums import day_sums, days_of, rows_on, sums_schema
from streaming.dataset.opening import open_all, recorded_data_up_to
from streaming.dataset.writer import REPLACED_APP
from streaming.errors import MissionControlError
from streaming.job.aggregate import checkpoint_folder
from streaming.job.backfill_settings import BackfillStopped, Notify
from streaming.job.checkpoint import source_app
from streaming.job.progress import CheckpointProgress, progress_of
from streaming.job.settings import AggregateSettings
from streaming.sources.base import Source
from streaming.sources.files.listing import list_files, write_list
from streaming.sources.files.source import FileSource
from streaming.sources.kafka.source import TopicSource
from streaming.storage.locations import is_remote
from streaming.storage.retry import RetryPolicy
from streaming.storage.store_errors import call_with_retry

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

BACKFILLED = "missioncontrol.backfilled"
"""The key in a commit's metadata of the day that the commit replaced."""
MAX_DAY_ROWS = 40_000_000  # in a table's day, which is added up in memory, at some 0.25 kB a row
MICRO_BATCH_TIMEOUT_SECONDS = 60.0  # how long a stream may take to finish its current micro-batch
MICRO_BATCH_NOTICE_SECONDS = 2.0  # a longer wait is reported
BEHIND_BY = timedelta(hours=1)  # a stream is past a day when its data are this much newer than the day's end
LOSS_REASONS = ("file_vanished", "file_unreadable", "messages_lost")  # rejects that show that the source is incomplete
MAX_LOST_FILES_NAMED = 5
_Result = TypeVar("_Result")


@dataclass
class ListedFiles(FileSource):
    """Files that were already listed and found to exist."""

    def check(self, stop: threading.Event, notify: Notify) -> None:
        """Does nothing."""


def stream_progress(dataset: str, settings: AggregateSettings) -> CheckpointProgress | None:
    """The progress of the stream that fills the dataset, from its checkpoint; None where no checkpoint is known."""
    if settings.checkpoint is None and is_remote(dataset):
        return None
    folder = checkpoint_folder(dataset, settings)
    progress = progress_of(folder)
    if settings.checkpoint is not None and (progress is None or progress.dataset != dataset):
        raise MissionControlError(f"expected --checkpoint as that of the dataset's stream; got {str(folder)!r}")
    return progress


def await_snapshot(
    try_snapshot: "Callable[[], Snapshot | None]", dataset: str, retry_policy: RetryPolicy, notify: Notify
) -> "Snapshot":
    """The snapshot that try_snapshot returns between two micro-batches of the stream; waits for the current one."""
    began, is_reported = None, False
    while True:
        seen = read_with_retry(try_snapshot, dataset, retry_policy)
        if seen is not None:
            return seen
        now = time.monotonic()
        began = began or now
        if now - began > MICRO_BATCH_NOTICE_SECONDS and not is_reported:
            notify("waiting for the stream to end its micro-batch")
            is_reported = True
        if retry_policy.stop.wait(0.05):
            raise BackfillStopped([])
        if now - began > MICRO_BATCH_TIMEOUT_SECONDS:
            raise MissionControlError(
                f"the stream of {dataset!r} does not end the micro-batch that its checkpoint says it is in; if it was "
                "killed in it, start it again first"
            )


def take_snapshot(dataset: str, progress: CheckpointProgress | None, source: str) -> "Snapshot | None":
    """A snapshot of the dataset as it is now; None where its stream is in a micro-batch.

    Everything that only the log holds is read at once, because maintenance deletes it within minutes.
    """
    progress = progress and progress_of(progress.folder)
    tables = open_all(dataset)
    handles = {name: handle for name, handle in tables.items() if handle is not None}
    if progress is not None:
        committed = [handle.transaction_version(progress.app) for handle in handles.values()]
        if max((number for number in committed if number is not None), default=-1) != progress.finished - 1:
            return None
    return Snapshot(
        tables,
        progress,
        newest_known_submission(tables[contract.ERROR_AGGREGATES.name]),
        any(handle.transaction_version(source_app(source)) is not None for handle in handles.values()),
        {name: handle.transaction_version(REPLACED_APP) for name, handle in handles.items()},
    )


@dataclass(frozen=True)
class Snapshot:
    """A dataset as it was at one moment.

    tables: None for tables that did not exist yet; data_up_to: the newest submission in the dataset; knows_source:
    whether it holds pings of the source that is counted anew; replaced: how often rows of a table had been replaced, by
    REPLACED_APP.
    """

    tables: "Mapping[str, DeltaTable | None]"
    progress: CheckpointProgress | None
    data_up_to: datetime | None
    knows_source: bool
    replaced: Mapping[str, int | None]
    _saved: dict[tuple[str, date], Path] = field(default_factory=dict)

    def save_sums(self, days: Sequence[date], folder: Path, retry_policy: RetryPolicy) -> None:
        """Writes the sums of days into a folder, because maintenance may remove the files that hold them too early."""
        import pyarrow.parquet as pq

        for table in contract.TABLES:
            handle = self.tables[table.name]
            for day in sorted(days_of(handle).intersection(days)):
                check_can_be_held(handle, table, day)
                sums = read_with_retry(partial(day_sums, handle, table, day), table.name, retry_policy)
                self._saved[table.name, day] = folder / f"{table.name} {day}.parquet"
                pq.write_table(sums, self._saved[table.name, day])

    def is_replaced(self, table: contract.Table, day: date, now: "DeltaTable | None") -> bool:
        """Whether another backfill has replaced a day of a table since the snapshot."""
        number = None if now is None else now.transaction_version(mark(day))
        before = self.replaced.get(table.name)
        return number is not None and (before is None or number > before)

    def days(self) -> set[date]:
        """The days whose sums were kept."""
        return {day for _, day in self._saved}

    def sums(self, table: contract.Table, day: date) -> "pa.Table":
        """The kept sums of a day; empty where none were kept."""
        import pyarrow.parquet as pq

        saved = self._saved.get((table.name, day))
        return sums_schema(table).empty_table() if saved is None else pq.read_table(saved, partitioning=None)


def check_can_be_held(handle: "DeltaTable | None", table: contract.Table, day: date) -> None:
    """Raises MissionControlError where a day of a table has too many rows to be added up in memory."""
    rows = rows_on(handle, day)
    if rows > MAX_DAY_ROWS:
        raise MissionControlError(
            f"nothing was changed: {day} has {rows:,} rows in {table.name}, and a backfill adds up at most "
            f"{MAX_DAY_ROWS:,} of a day. If many share a key, `missioncontrol maintain` makes them fewer"
        )


def newest_known_submission(table: "DeltaTable | None") -> datetime | None:
    """The newest submission that a table's commits record; None where there is no table or no commit records one."""
    data_up_to = None if table is None else recorded_data_up_to(table)
    return None if data_up_to is None else datetime.fromisoformat(data_up_to).astimezone(UTC)


def read_with_retry(read: Callable[[], _Result], url: str, retry_policy: RetryPolicy) -> _Result:
    """The result of a read from a table, retried until the timeout of `retry_policy`."""
    return call_with_retry(lambda _: read(), url, retry_policy, to="read")


def exclude_uncounted(pings: Source, progress: CheckpointProgress | None, folder: Path) -> tuple[Source, bool]:
    """The source without pings that the stream has not counted yet, and whether it surely has counted all the others.

    Where source and stream have nothing in common, this is the whole source as it is now, and False: it is unknown
    which of its pings the stream may still count.
    """
    if isinstance(pings, TopicSource):
        if progress is None or progress.source != pings.identity:
            return pings, False
        return replace(pings, ends=progress.offsets()), True
    assert isinstance(pings, FileSource)
    kept, is_known = list_files(pings.url, pings.retry_policy), False
    if progress is not None and not progress.is_topic:
        counted = progress.counted_files()
        theirs = list_files(
            progress.source, pings.retry_policy
        )  # listed later, so it includes every file that is in both
        uncounted = {name for file in theirs if not file.is_among(counted) for name in file.names}
        kept = [file for file in kept if not file.is_among(uncounted)]
        is_known = all(file.is_among(counted) for file in kept)
    return ListedFiles(write_list(kept, folder / "files.json"), pings.max_batch_bytes, pings.retry_policy), is_known


def check_finished(pings: Source, until: date, at_start: Snapshot) -> None:
    """Raises MissionControlError where the stream may still count pings that are in the source too."""
    anyway = "To replace them anyway, and risk pings that count twice: --unfinished"
    if at_start.knows_source:
        raise MissionControlError(
            f"a stream fills the dataset from {pings.identity!r} too, and without its checkpoint nobody knows how far "
            f"it has come: name that with --checkpoint. {anyway}"
        )
    today, data_up_to = datetime.now(UTC).date(), at_start.data_up_to
    if until >= today:
        raise MissionControlError(f"expected days that are over; got --to {until}, and today is {today} UTC. {anyway}")
    if data_up_to is not None and data_up_to < end_of(until) + BEHIND_BY:
        raise MissionControlError(
            f"expected days that the dataset's stream has behind it by an hour; got --to {until}, and it has come to "
            f"{data_up_to:%Y-%m-%d %H:%M} UTC: it may yet count pings that are in the source too. {anyway}"
        )


def end_of(day: date) -> datetime:
    """The moment at which a day ends."""
    return datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC)


def mark(day: date) -> str:
    """The transaction that records a day's last replacement, by the number of REPLACED_APP; it outlives the log."""
    return f"missioncontrol backfilled {day}"
