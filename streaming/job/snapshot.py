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
from streaming.dataset.opening import open_all, said_up_to
from streaming.dataset.writer import REPLACED_APP
from streaming.errors import MissionControlError
from streaming.job.aggregate import checkpoint_folder
from streaming.job.backfill_settings import Say, Stopped
from streaming.job.checkpoint import source_app
from streaming.job.progress import Position, position_of
from streaming.job.settings import AggregateSettings
from streaming.sources.base import Source
from streaming.sources.files.listing import list_files, write_list
from streaming.sources.files.source import FileSource
from streaming.sources.kafka.source import TopicSource
from streaming.storage.failures import persist
from streaming.storage.locations import is_remote
from streaming.storage.retry import Patience

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

BACKFILLED = "missioncontrol.backfilled"
"""The key in a commit's metadata of the day that the commit replaced."""
MOST_DAY_ROWS = 40_000_000  # in a table's day, which is added up in memory, at some 0.25 kB a row
SETTLE_SECONDS = 60.0  # how long a stream may take to finish its current micro-batch
PATIENT_SECONDS = 2.0  # a longer wait is reported
BEHIND_BY = timedelta(hours=1)  # a stream is past a day when its data are this much newer than the day's end
LOST = ("file_vanished", "file_unreadable", "messages_lost")  # rejects that show that the source is incomplete
LOST_FILES_NAMED = 5
_Result = TypeVar("_Result")


@dataclass
class ListedFiles(FileSource):
    """Files that were already listed and found to exist."""

    def check(self, stop: threading.Event, say: Say) -> None:
        """Does nothing."""


def stream_position(dataset: str, settings: AggregateSettings) -> Position | None:
    """The position of the stream that fills the dataset, from its checkpoint; None where no checkpoint is known."""
    if settings.checkpoint is None and is_remote(dataset):
        return None
    folder = checkpoint_folder(dataset, settings)
    position = position_of(folder)
    if settings.checkpoint is not None and (position is None or position.dataset != dataset):
        raise MissionControlError(f"expected --checkpoint as that of the dataset's stream; got {str(folder)!r}")
    return position


def snapshot(look: "Callable[[], Snapshot | None]", dataset: str, patience: Patience, say: Say) -> "Snapshot":
    """The snapshot that look returns between two micro-batches of the stream; waits for the current one to end."""
    began, has_said = None, False
    while True:
        seen = patiently(look, dataset, patience)
        if seen is not None:
            return seen
        now = time.monotonic()
        began = began or now
        if now - began > PATIENT_SECONDS and not has_said:
            say("waiting for the stream to end its micro-batch")
            has_said = True
        if patience.stop.wait(0.05):
            raise Stopped([])
        if now - began > SETTLE_SECONDS:
            raise MissionControlError(
                f"the stream of {dataset!r} does not end the micro-batch that its checkpoint says it is in; if it was "
                "killed in it, start it again first"
            )


def look(dataset: str, position: Position | None, source: str) -> "Snapshot | None":
    """A snapshot of the dataset as it is now; None where its stream is in a micro-batch.

    Everything that only the log holds is read at once, because maintenance deletes it within minutes.
    """
    position = position and position_of(position.folder)
    tables = open_all(dataset)
    handles = {name: handle for name, handle in tables.items() if handle is not None}
    if position is not None:
        committed = [handle.transaction_version(position.app) for handle in handles.values()]
        if max((number for number in committed if number is not None), default=-1) != position.finished - 1:
            return None
    return Snapshot(
        tables,
        position,
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
    position: Position | None
    data_up_to: datetime | None
    knows_source: bool
    replaced: Mapping[str, int | None]
    _kept: dict[tuple[str, date], Path] = field(default_factory=dict)

    def keep_sums(self, days: Sequence[date], folder: Path, patience: Patience) -> None:
        """Writes the sums of days into a folder, because maintenance may remove the files that hold them too early."""
        import pyarrow.parquet as pq

        for table in contract.TABLES:
            handle = self.tables[table.name]
            for day in sorted(days_of(handle).intersection(days)):
                check_can_be_held(handle, table, day)
                sums = patiently(partial(day_sums, handle, table, day), table.name, patience)
                self._kept[table.name, day] = folder / f"{table.name} {day}.parquet"
                pq.write_table(sums, self._kept[table.name, day])

    def is_replaced(self, table: contract.Table, day: date, now: "DeltaTable | None") -> bool:
        """Whether another backfill has replaced a day of a table since the snapshot."""
        number = None if now is None else now.transaction_version(mark(day))
        before = self.replaced.get(table.name)
        return number is not None and (before is None or number > before)

    def days(self) -> set[date]:
        """The days whose sums were kept."""
        return {day for _, day in self._kept}

    def sums(self, table: contract.Table, day: date) -> "pa.Table":
        """The kept sums of a day; empty where none were kept."""
        import pyarrow.parquet as pq

        kept = self._kept.get((table.name, day))
        return sums_schema(table).empty_table() if kept is None else pq.read_table(kept, partitioning=None)


def check_can_be_held(handle: "DeltaTable | None", table: contract.Table, day: date) -> None:
    """Raises MissionControlError where a day of a table has too many rows to be added up in memory."""
    rows = rows_on(handle, day)
    if rows > MOST_DAY_ROWS:
        raise MissionControlError(
            f"nothing was changed: {day} has {rows:,} rows in {table.name}, and a backfill adds up at most "
            f"{MOST_DAY_ROWS:,} of a day. If many share a key, `missioncontrol maintain` makes them fewer"
        )


def newest_known_submission(table: "DeltaTable | None") -> datetime | None:
    """The newest submission that a table's commits record; None where there is no table or no commit records one."""
    said = None if table is None else said_up_to(table)
    return None if said is None else datetime.fromisoformat(said).astimezone(UTC)


def patiently(read: Callable[[], _Result], url: str, patience: Patience) -> _Result:
    """The result of a read from a table, retried until the timeout of `patience`."""
    return persist(lambda _: read(), url, patience, to="read")


def without_waiting(pings: Source, position: Position | None, folder: Path) -> tuple[Source, bool]:
    """The source without pings that the stream has not counted yet, and whether it surely has counted all the others.

    Where source and stream have nothing in common, this is the whole source as it is now, and False: it is unknown
    which of its pings the stream may still count.
    """
    if isinstance(pings, TopicSource):
        if position is None or position.source != pings.identity:
            return pings, False
        return replace(pings, ends=position.offsets()), True
    assert isinstance(pings, FileSource)
    kept, is_known = list_files(pings.url, pings.patience), False
    if position is not None and not position.is_topic:
        counted = position.counted_files()
        theirs = list_files(position.source, pings.patience)  # listed later, so it includes every file that is in both
        waiting = {name for file in theirs if not file.is_among(counted) for name in file.names}
        kept = [file for file in kept if not file.is_among(waiting)]
        is_known = all(file.is_among(counted) for file in kept)
    return ListedFiles(write_list(kept, folder / "files.json"), pings.max_batch_bytes, pings.patience), is_known


def check_finished(pings: Source, until: date, began: Snapshot) -> None:
    """Raises MissionControlError where the stream may still count pings that are in the source too."""
    anyway = "To replace them anyway, and risk pings that count twice: --unfinished"
    if began.knows_source:
        raise MissionControlError(
            f"a stream fills the dataset from {pings.identity!r} too, and without its checkpoint nobody knows how far "
            f"it has come: name that with --checkpoint. {anyway}"
        )
    today, data_up_to = datetime.now(UTC).date(), began.data_up_to
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
