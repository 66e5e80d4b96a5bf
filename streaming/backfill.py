"""Whole days of a dataset, counted anew from a source and replaced; beside a running stream nothing is lost.

Counts add up, so they can be taken apart too: a day becomes what the source says, and whatever was added to it since
the backfill began. That holds however others arrange the rows meanwhile, and needs no knowledge of who appends them.

A replacement is one commit a table and day, and either happens or does not; it is entered as a transaction, so that one
whose reply was lost is not made twice. Tables are replaced one after another. docs/adr/0005-backfill.md says why.
"""

import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from streaming import contract
from streaming.applies import check_settings
from streaming.checkpoint import source_app
from streaming.cluster import is_cluster
from streaming.days import (
    added,
    are_same,
    as_rows,
    day_sums,
    days_of,
    has_negative,
    on_day,
    rows_on,
    sums_schema,
    taken,
    totals,
)
from streaming.errors import MissionControlError, printable
from streaming.files import FileSource, list_files, why_nothing, write_list
from streaming.forms import SUBMISSION_YEARS
from streaming.job import AggregateSettings, Batch, Progress, Summary, aggregate, checkpoint_folder, open_source
from streaming.kafka import TopicSource
from streaming.opening import check_ours, check_whole, has_log, open_table, said_up_to
from streaming.patience import Patience
from streaming.places import dataset_url, is_remote, table_url
from streaming.position import Position, position_of
from streaming.source import Source
from streaming.table import (
    REPLACED_APP,
    TableWriter,
    brisk_options,
    check_credentials,
    open_writers,
    persist,
)
from streaming.topic import is_topic

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable
    from pyspark.sql import SparkSession

BACKFILLED = "missioncontrol.backfilled"
"""The day that a commit replaced, under this key of its metadata."""

MOST_DAY_ROWS = 40_000_000  # of a table's day, which is added up in memory: some 0.25 kB each
SETTLE_SECONDS = 60.0  # how long a stream may take to end the micro-batch that it is in
PATIENT_SECONDS = 2.0  # before it is said that it is waited for
BEHIND_BY = timedelta(hours=1)  # a stream has a day behind it when its data are that much newer than its end
_LOST = ("file_vanished", "file_unreadable", "messages_lost")  # rejects that say that the source is not whole
_LOST_FILES_NAMED = 5
Say = Callable[[str], None]
_Result = TypeVar("_Result")


class Stopped(Exception):  # noqa: N818 (it was wanted)
    """Told to stop. changes: what was replaced before."""

    def __init__(self, changes: "Sequence[Change]") -> None:
        super().__init__("stopped")
        self.changes = changes


@dataclass(frozen=True)
class BackfillSettings:
    """How to run. counting: how the source is read; its checkpoint is that of the stream that fills the dataset.

    fewer: replace days that would hold fewer pings. unfinished: replace days to which the stream may yet add pings
    that are in the source too, which then count twice. dry_run: say what would change, change nothing.
    """

    counting: AggregateSettings = field(default_factory=AggregateSettings)
    fewer: bool = False
    unfinished: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Change:
    """What a table held of a day before and holds after, by column of its sums; usage in hours."""

    day: date
    table: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    is_changed: bool


def backfill(
    source: str,
    dataset: str,
    since: date,
    until: date,
    *,
    settings: BackfillSettings | None = None,
    on_start: Callable[[float], None] = lambda seconds: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_change: Callable[[Change], None] = lambda change: None,
    on_notice: Say = lambda notice: None,
    stop: threading.Event | None = None,
    spark: "SparkSession | None" = None,
) -> list[Change]:
    """Make the days from since to until, both included, what a source says they are; a change a table and day.

    source, on_start, on_progress, on_notice, stop, spark: as `streaming.job.aggregate` takes them; on_change: told each
    table and day as it is done. Safe to repeat: where the sums are the same, nothing is written.
    Raises MissionControlError for what the caller can fix, before anything is changed where that can be known; Stopped
    when told to stop, between two replacements.
    """
    settings, stop, dataset = settings or BackfillSettings(), stop or threading.Event(), dataset_url(dataset)
    counting = _checked(source, since, until, settings.counting)
    check_credentials(dataset)
    pings = open_source(source, settings.counting)
    pings.check(stop, on_notice)
    why = why_nothing(pings.url, pings.patience) if isinstance(pings, FileSource) else None
    if why is not None:
        raise MissionControlError(f"{why}. The days would be emptied")
    position = _stream_position(dataset, settings.counting)
    patience = Patience.saying(on_notice, stop)
    tables = persist(lambda _: _open_all(dataset), dataset, patience, at_start=True, to="read")
    if any(tables.values()) and not settings.dry_run:
        # So that a table that sums another one holds what that one does.
        open_writers(dataset, patience, (position.app,) if position else ())
    days = [since + timedelta(days=number) for number in range((until - since).days + 1)]
    with _or_stopped(stop):
        began = _snapshot(partial(_look, dataset, position, pings.identity), dataset, patience, on_notice)
    folder = Path(tempfile.mkdtemp(prefix="missioncontrol-backfill-"))
    try:
        only, is_known = _without_waiting(pings, began.position, folder)
        if not (settings.unfinished or is_known):
            _check_finished(pings, until, began)
        with _or_stopped(stop):
            began.keep_sums(days, folder, patience)
        counted = folder / "dataset"
        counting = replace(counting, checkpoint=str(folder / "checkpoint"))
        lost_files: dict[str, set[str]] = {reason: set() for reason in _LOST}
        summary = aggregate(
            only, str(counted), settings=counting, on_start=on_start, on_progress=on_progress, on_notice=on_notice,
            on_batch=partial(_note_lost, lost_files), stop=stop, spark=spark,
        )  # fmt: skip
        if stop.is_set() or not summary.finished:
            raise Stopped([])
        _check_whole(source, summary, lost_files)
        replacing = _Replacing(dataset, began, str(counted), until, settings.dry_run, patience)
        filled = replacing.days(days)
        for day in filled if not settings.fewer else ():
            replacing.check_not_fewer(day)
        return _replace_all(replacing, filled, on_change, stop)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _checked(source: str, since: date, until: date, counting: AggregateSettings) -> AggregateSettings:
    """How pings are counted for a backfill. Raises MissionControlError where it cannot be done as it is asked for."""
    if since > until:
        raise MissionControlError(f"expected --from not after --to; got {since} and {until}")
    if counting.dedupe and is_cluster(counting.master):
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


def _note_lost(lost_files: Mapping[str, set[str]], batch: Batch) -> None:
    """Adds the files of a micro-batch that could not be read, by the reason."""
    for path, reasons in batch.bad_files.items():
        for reason in reasons.keys() & lost_files.keys():
            lost_files[reason].add(path)


def _check_whole(source: str, summary: Summary, lost_files: Mapping[str, set[str]]) -> None:
    """Raises MissionControlError where some of a source could not be read. lost_files: by the reason."""
    for reason in _LOST:
        if summary.rejected.get(reason):
            raise MissionControlError(
                f"{source!r} is not whole, nothing was changed: {reason} {summary.rejected[reason]:,}. "
                f"{contract.REASONS[reason]}{_named(sorted(lost_files[reason]))}"
            )


def _named(paths: Sequence[str]) -> str:
    """A sentence that names the first of some files; nothing where there are none."""
    names = ", ".join(f"'{printable(path)}'" for path in paths[:_LOST_FILES_NAMED])
    more = f" and {len(paths) - _LOST_FILES_NAMED:,} more" if len(paths) > _LOST_FILES_NAMED else ""
    return f" Files: {names}{more}" if paths else ""


def _replace_all(
    replacing: "_Replacing", days: Sequence[date], on_change: Callable[[Change], None], stop: threading.Event
) -> list[Change]:
    changes: list[Change] = []
    for day in days:
        for table in contract.TABLES:
            if stop.is_set():
                raise Stopped(changes)
            changes.append(replacing.replace(table, day))
            on_change(changes[-1])
    return changes


@contextmanager
def _or_stopped(stop: threading.Event) -> Iterator[None]:
    """Turns an error of reading into Stopped where a store was waited for until told to stop."""
    try:
        yield
    except MissionControlError as error:
        if stop.is_set():
            raise Stopped([]) from error
        raise


# What the stream beside has counted.


@dataclass
class ListedFiles(FileSource):
    """Files that were listed and found to be there."""

    def check(self, stop: threading.Event, say: Say) -> None:
        """Nothing."""


def _stream_position(dataset: str, settings: AggregateSettings) -> Position | None:
    """Where the stream that fills the dataset is, by its checkpoint; None where none is known."""
    if settings.checkpoint is None and is_remote(dataset):
        return None
    folder = checkpoint_folder(dataset, settings)
    position = position_of(folder)
    if settings.checkpoint is not None and (position is None or position.dataset != dataset):
        raise MissionControlError(f"expected --checkpoint as that of the dataset's stream; got {str(folder)!r}")
    return position


def _snapshot(look: "Callable[[], _Snapshot | None]", dataset: str, patience: Patience, say: Say) -> "_Snapshot":
    """What is seen at one moment between two micro-batches of the stream."""
    began, has_said = None, False
    while True:
        seen = _patiently(look, dataset, patience)
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


def _look(dataset: str, position: Position | None, source: str) -> "_Snapshot | None":
    """The dataset as it is; None where its stream is in a micro-batch.

    All that only the log tells is asked at once: upkeep forgets it in minutes.
    """
    position = position and position_of(position.folder)
    tables = _open_all(dataset)
    handles = {name: handle for name, handle in tables.items() if handle is not None}
    if position is not None:
        committed = [handle.transaction_version(position.app) for handle in handles.values()]
        if max((number for number in committed if number is not None), default=-1) != position.finished - 1:
            return None
    return _Snapshot(
        tables,
        position,
        _newest_submission(tables[contract.ERROR_AGGREGATES.name]),
        any(handle.transaction_version(source_app(source)) is not None for handle in handles.values()),
        {name: handle.transaction_version(REPLACED_APP) for name, handle in handles.items()},
    )


@dataclass(frozen=True)
class _Snapshot:
    """A dataset as it was at one moment.

    tables: None for those that were not there yet; data_up_to: the newest submission in it; knows_source: whether it
    holds pings of what is counted anew; replaced: how often rows of a table had been, by REPLACED_APP.
    """

    tables: "Mapping[str, DeltaTable | None]"
    position: Position | None
    data_up_to: datetime | None
    knows_source: bool
    replaced: Mapping[str, int | None]
    _kept: dict[tuple[str, date], Path] = field(default_factory=dict)

    def keep_sums(self, days: Sequence[date], folder: Path, patience: Patience) -> None:
        """Writes the sums of days into a folder: upkeep may remove the files that hold them before they are wanted."""
        import pyarrow.parquet as pq

        for table in contract.TABLES:
            handle = self.tables[table.name]
            for day in sorted(days_of(handle).intersection(days)):
                check_can_be_held(handle, table, day)
                sums = _patiently(partial(day_sums, handle, table, day), table.name, patience)
                self._kept[table.name, day] = folder / f"{table.name} {day}.parquet"
                pq.write_table(sums, self._kept[table.name, day])

    def is_replaced(self, table: contract.Table, day: date, now: "DeltaTable | None") -> bool:
        """Whether another backfill has replaced a day of a table since."""
        number = None if now is None else now.transaction_version(_mark(day))
        before = self.replaced.get(table.name)
        return number is not None and (before is None or number > before)

    def days(self) -> set[date]:
        """The days whose sums were kept."""
        return {day for _, day in self._kept}

    def sums(self, table: contract.Table, day: date) -> "pa.Table":
        """The sums of a day, as they were kept."""
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


def _newest_submission(table: "DeltaTable | None") -> datetime | None:
    said = None if table is None else said_up_to(table)
    return None if said is None else datetime.fromisoformat(said).astimezone(UTC)


def _patiently(read: Callable[[], _Result], url: str, patience: Patience) -> _Result:
    return persist(lambda _: read(), url, patience, to="read")


def _open_all(dataset: str) -> "dict[str, DeltaTable | None]":
    check_whole(dataset, brisk_options(dataset))
    return {table.name: _open(dataset, table) for table in contract.TABLES}


def _open(dataset: str, table: contract.Table) -> "DeltaTable | None":
    from deltalake.exceptions import TableNotFoundError

    url = table_url(dataset, table)
    if not is_remote(url) and not has_log(url):
        return None
    try:
        delta = open_table(url, brisk_options(url))
    except TableNotFoundError:
        return None
    check_ours(delta, url, table)
    return delta


def _without_waiting(pings: Source, position: Position | None, folder: Path) -> tuple[Source, bool]:
    """The source without what the stream has not counted yet, and whether there is nothing else that it may yet count.

    Where the two have nothing in common that is the whole source as it is now, and nobody knows.
    """
    if isinstance(pings, TopicSource):
        if position is None or position.source != pings.identity:
            return pings, False
        return replace(pings, ends=position.offsets()), True
    assert isinstance(pings, FileSource)
    kept, is_known = list_files(pings.url, pings.patience), False
    if position is not None and not position.is_topic:
        counted = position.counted_files()
        theirs = list_files(position.source, pings.patience)  # listed later: what is in both is among them
        waiting = {name for file in theirs if not file.is_among(counted) for name in file.names}
        kept = [file for file in kept if not file.is_among(waiting)]
        is_known = all(file.is_among(counted) for file in kept)
    return ListedFiles(write_list(kept, folder / "files.json"), pings.max_batch_bytes, pings.patience), is_known


def _check_finished(pings: Source, until: date, began: _Snapshot) -> None:
    """Raises MissionControlError where the stream may yet count pings that are in the source too."""
    anyway = "To replace them anyway, and risk pings that count twice: --unfinished"
    if began.knows_source:
        raise MissionControlError(
            f"a stream fills the dataset from {pings.identity!r} too, and without its checkpoint nobody knows how far "
            f"it has come: name that with --checkpoint. {anyway}"
        )
    today, data_up_to = datetime.now(UTC).date(), began.data_up_to
    if until >= today:
        raise MissionControlError(f"expected days that are over; got --to {until}, and today is {today} UTC. {anyway}")
    if data_up_to is not None and data_up_to < _end_of(until) + BEHIND_BY:
        raise MissionControlError(
            f"expected days that the dataset's stream has behind it by an hour; got --to {until}, and it has come to "
            f"{data_up_to:%Y-%m-%d %H:%M} UTC: it may yet count pings that are in the source too. {anyway}"
        )


def _end_of(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC)


# Replacing.


class _Replacing:
    """A dataset whose days become what a counted one says, and what was added to them since a snapshot."""

    def __init__(
        self, dataset: str, began: _Snapshot, counted: str, until: date, dry_run: bool, patience: Patience
    ) -> None:
        self._patience = patience
        self._dataset, self._began, self._until, self._dry_run = dataset, began, until, dry_run
        self._counted = _open_all(counted)
        self._writers: dict[str, TableWriter] = {}
        self._app, self._number = f"missioncontrol backfill {uuid.uuid4()}", 0

    def days(self, wanted: Sequence[date]) -> list[date]:
        """Those of which the dataset or the counted one has rows.

        Raises MissionControlError where the counted one has too many of a day to be added up.
        """
        counted = set[date]().union(*map(days_of, self._counted.values()))
        for table in contract.TABLES:
            for day in counted.intersection(wanted):
                check_can_be_held(self._counted[table.name], table, day)
        return sorted((counted | self._began.days()).intersection(wanted))

    def check_not_fewer(self, day: date) -> None:
        """Raises MissionControlError where a day would hold fewer pings, accepted and rejected."""
        before = _pings(lambda table: self._began.sums(table, day))
        after = _pings(lambda table: day_sums(self._counted[table.name], table, day))
        if sum(after) < sum(before):
            raise MissionControlError(
                f"nothing was changed: of {day} the dataset holds {before[0]:,} pings and {before[1]:,} rejected ones, "
                f"and the source {after[0]:,} and {after[1]:,}. If the source is right: --fewer"
            )

    def replace(self, table: contract.Table, day: date) -> Change:
        """Replaces a day of a table, where its sums are others."""
        source = day_sums(self._counted[table.name], table, day)
        began = self._began.sums(table, day)
        change = Change(day, table.name, {}, {}, False)

        def remake(now: "DeltaTable | None") -> "pa.Table | None":
            nonlocal change
            if self._began.is_replaced(table, day, now):
                raise MissionControlError(f"another backfill has replaced {day} meanwhile: run this one again")
            found = day_sums(now, table, day)
            since = taken(table, found, began)
            if has_negative(table, since):
                raise MissionControlError(
                    f"rows of {day} were taken out of {table.name} meanwhile, by maintenance or by hand: run it again"
                )
            wanted = added(table, source, since)
            is_changed = not are_same(table, wanted, found)
            change = Change(day, table.name, totals(table, found), totals(table, wanted), is_changed)
            return as_rows(table, wanted) if is_changed else None

        there = _patiently(lambda: _open(self._dataset, table), self._dataset, self._patience)
        if self._dry_run or (there is None and not len(source)):
            _patiently(lambda: remake(there), self._dataset, self._patience)
            return change
        self._number += 1
        self._writer(table).replace(
            remake, on_day(day), self._number, self._app, self._metadata(table, day), _mark(day)
        )
        return change

    def _writer(self, table: contract.Table) -> TableWriter:
        if not self._writers:
            self._writers = {writer.table.name: writer for writer in open_writers(self._dataset, self._patience)}
        return self._writers[table.name]

    def _metadata(self, table: contract.Table, day: date) -> dict[str, str]:
        """What a commit says: the day, and how far the source goes within what was asked for."""
        newest = _newest_submission(self._counted[table.name]) if table is contract.ERROR_AGGREGATES else None
        metadata = {BACKFILLED: day.isoformat()}
        if newest is not None:
            metadata[contract.DATA_UP_TO] = min(newest, _end_of(self._until)).isoformat(timespec="microseconds")
        return metadata


def _mark(day: date) -> str:
    """The transaction that says when a day was replaced last, by the number of REPLACED_APP; it outlives the log."""
    return f"missioncontrol backfilled {day}"


def _pings(sums_of: "Callable[[contract.Table], pa.Table]") -> tuple[int, int]:
    """Accepted and rejected pings; the coarse table may hold days that the fine one no longer does."""
    accepted, coarse, rejected = (
        int(totals(table, sums_of(table))["count"])
        for table in (contract.ERROR_AGGREGATES, contract.COARSE_AGGREGATES, contract.REJECTED_PINGS)
    )
    return max(accepted, coarse), rejected
