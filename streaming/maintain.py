"""Upkeep of a dataset beside its stream: few files, no more history than wanted, a short log.

Each step is one commit that is right at any moment. Rows are summed again within a span of time by an overwrite of just
that span: Delta takes it when nothing was added to the span since its rows were read, and refuses it otherwise, so that
a row that comes meanwhile is neither lost nor counted twice. Spans grow with their age, windows of the hour that is
going on, hours, days, so that a row is written a few times in all. That is not only for readers: a commit takes 0.1 ms
for each file that its table has, and 0.01 ms for each commit that its log still has.

Only files that the table's log named are ever removed, and only from a table that says it is ours. Writers that were
killed leave files that no commit names; those are counted and reported, and a person removes them.
"""

import math
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as day_time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from streaming import contract
from streaming.columns import as_found, fitted, listed, schema_of
from streaming.durability import TableFiles
from streaming.errors import MissionControlError
from streaming.opening import DamagedLogError, check_folder, check_ours, is_there, no_dataset, open_table, reason_of
from streaming.places import dataset_url, is_remote, table_url
from streaming.sums import sum_query
from streaming.table import (
    LOG_MINUTES,
    after_commit,
    brisk_options,
    check_credentials,
    properties_of,
    said_again,
    storage_options,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import CommitProperties, DeltaTable

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CLOSED_AFTER = timedelta(minutes=2)  # a span that ended so long ago gets few rows more
SMALL_ROWS = 500_000  # a file with fewer is small
MOST_ROWS = 2_000_000  # of files that are summed at once
ROW_GROUP_ROWS = 131_072  # few enough for a reader to leave most unread, and to hold but little of the others
FEW_FILES = 4  # small files that a closed window, hour or day may have
FEW_OPEN_FILES = 16  # small files that a window that is going on may have
ROUND_SECONDS = 60.0
ORPHANS_EVERY, ORPHANS_AFTER = DAY, DAY  # a file being written is named by a commit much sooner
ATTEMPTS = 3  # at a span that others append to; the next round comes anyway
KEEP_REMOVED_HOURS = 2
REMOVED = "delta.deletedFileRetentionDuration"  # an hour more than that: what is forgotten cannot be vacuumed
_INTERVAL = re.compile(r"interval (\d{1,6}) (second|minute|hour|day|week)s?")
_UNIT_HOURS = {"second": 1 / 3600, "minute": 1 / 60, "hour": 1, "day": 24, "week": 168}
_MOST_HOURS = 10 * 366 * 24
_DATA_FILE = re.compile(r"submission_date=\d{4}-\d\d-\d\d/[^/]+\.parquet")  # what writers to our tables make


@dataclass(frozen=True)
class MaintainSettings:
    """What to keep: days of the fine tables and of the coarse one, counted from the newest day; None is all.

    keep_removed_hours: how long files stay that were replaced, for who still reads them; None: as the table says.
    """

    keep_days: int | None = None
    keep_coarse_days: int | None = None
    keep_removed_hours: int | None = None


class State(NamedTuple):
    """What a table consists of."""

    files: int
    rows: int
    bytes: int


class Unnamed(NamedTuple):
    """Data files that no commit names, left by writers that were killed: how many, and when the oldest was written."""

    files: int = 0
    bytes: int = 0
    oldest: datetime | None = None


@dataclass
class Upkeep:
    """What was done to a table. spans: how many were summed again; days: those that were no longer to be kept.

    unnamed: None where they were not looked for.
    """

    table: str
    before: State
    after: State
    spans: int = 0
    days: list[date] = field(default_factory=list)
    removed_files: int = 0
    unnamed: Unnamed | None = None
    seconds: float = 0.0


class Span(NamedTuple):
    """Windows, or hours, of one day that start in [start, end); files and rows of which some lie in it."""

    start: datetime
    end: datetime
    files: int
    rows: int


class DataFile(NamedTuple):
    """A file of a table, and the first and last start of its windows."""

    day: date
    first: datetime
    last: datetime
    rows: int
    bytes: int


def maintain(
    dataset: str,
    settings: MaintainSettings | None = None,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    stop: threading.Event | None = None,
    finds_orphans: bool = True,
    on_progress: Callable[[str, int, int], None] = lambda table, done, total: None,
    on_table: Callable[[Upkeep], None] = lambda done: None,
) -> list[Upkeep]:
    """Tend all tables of a dataset once. Safe at any moment, beside streams and other maintenance.

    on_progress: told a table, the spans of it that are done, and all. on_table: told what was done to each table, as
    soon as it was. stop: ends it after the span at hand.
    finds_orphans: also counts files that no commit ever named, and shortens the log. Raises MissionControlError where
    there is no dataset, and, once the other tables are tended, where one cannot be or is not ours.
    """
    settings, stop = settings or MaintainSettings(), stop or threading.Event()
    if settings.keep_coarse_days is not None and settings.keep_coarse_days < (settings.keep_days or math.inf):
        raise MissionControlError(
            "expected --keep-coarse-days with --keep-days, and not fewer: an overview shows what the coarse table has; "
            f"got {settings.keep_coarse_days} and {settings.keep_days or 'none'}"
        )
    dataset = dataset_url(dataset)
    check_credentials(dataset)
    check_folder(dataset)
    keepers, failures = _keepers(dataset)
    if not keepers and not failures:
        raise no_dataset(dataset)
    done: list[Upkeep] = []
    newest = cache(lambda: _newest_day(keepers[0], now()))
    for keeper in keepers:
        if stop.is_set():
            break
        try:
            with _said_of(keeper.url):
                done.append(_Tending(keeper, settings, now(), newest, stop, on_progress).tend(finds_orphans))
        except MissionControlError as error:
            failures.append(str(error))
        else:
            on_table(done[-1])
    if failures:
        raise MissionControlError("; ".join(failures))
    return done


def _keepers(dataset: str) -> "tuple[list[Keeper], list[str]]":
    """Those of the tables that are there, and why others cannot be tended."""
    keepers: list[Keeper] = []
    failures: list[str] = []
    for table in contract.TABLES:
        try:
            if _is_there(dataset, table):
                keepers.append(Keeper(dataset, table))
        except DamagedLogError as error:
            failures.append(str(error))
    return keepers, failures


def _is_there(dataset: str, table: contract.Table) -> bool:
    url = table_url(dataset, table)
    with _said_of(url):
        return is_there(dataset, table, storage_options(url))


def follow(
    dataset: str,
    settings: MaintainSettings | None = None,
    *,
    stop: threading.Event,
    every_seconds: float = ROUND_SECONDS,
    on_table: Callable[[Upkeep], None] = lambda done: None,
    on_trouble: Callable[[str], None] = lambda notice: None,
    begins_at_once: bool = False,
) -> None:
    """Tend a dataset again and again until told to stop. What fails is told, once, and tried again.

    on_table: as of maintain.
    """
    orphans_at, said = time.monotonic(), ""
    wait = 0.0 if begins_at_once else every_seconds
    while not stop.wait(wait):
        wait = every_seconds
        finds_orphans = time.monotonic() >= orphans_at
        try:
            maintain(dataset, settings, stop=stop, finds_orphans=finds_orphans, on_table=on_table)
        except MissionControlError as error:
            if str(error) != said:
                on_trouble(f"maintenance failed and will be tried again: {error}")
            said = str(error)
        else:
            said = ""
        if finds_orphans:
            orphans_at += ORPHANS_EVERY.total_seconds()


def due_spans(files: Sequence[DataFile], now: datetime, step: timedelta) -> list[Span]:
    """The spans of a table that have become too many small files; oldest first. step: the table's."""
    by_day: dict[date, list[DataFile]] = {}
    for file in files:
        by_day.setdefault(file.day, []).append(file)
    return [span for day in sorted(by_day) for span in _due_in_day(day, by_day[day], now, step)]


def _due_in_day(day: date, files: Sequence[DataFile], now: datetime, step: timedelta) -> Iterator[Span]:
    start = datetime.combine(day, day_time(), UTC)
    whole = _span(files, start, start + DAY)
    if _is_closed(whole.end, now) and whole.rows <= MOST_ROWS:
        if _is_crumbled(files, FEW_FILES):
            yield whole
        return
    for hour in range(24):
        begin = start + hour * HOUR
        within = [file for file in files if begin <= file.last and file.first < begin + HOUR]
        if _is_closed(begin + HOUR, now):
            if _is_crumbled(within, FEW_FILES):
                yield from _portions(within, begin, begin + HOUR)
        else:
            for start_of_window in sorted({file.first for file in within}):
                window = _span(within, start_of_window, start_of_window + step)
                few = FEW_FILES if _is_closed(window.end, now) else FEW_OPEN_FILES
                if _is_crumbled([file for file in within if file.first == start_of_window], few):
                    yield window


def _is_closed(end: datetime, now: datetime) -> bool:
    return end + CLOSED_AFTER <= now


def _is_crumbled(files: Sequence[DataFile], few: int) -> bool:
    return sum(file.rows < SMALL_ROWS for file in files) > few


def _portions(files: Sequence[DataFile], start: datetime, end: datetime) -> Iterator[Span]:
    """A span as one or, where it has too many rows to be summed at once, as several."""
    whole = _span(files, start, end)
    windows, portions = (end - start) // contract.WINDOW, max(-(-whole.rows // MOST_ROWS), 1)
    step = max(windows // portions, 1) * contract.WINDOW
    while start < end:
        portion = _span(files, start, min(start + step, end))
        within = [file for file in files if start <= file.last and file.first < portion.end]
        if sum(file.rows < SMALL_ROWS for file in within) > 1:  # large files are as few as they will be
            yield portion
        start = portion.end


def _span(files: Sequence[DataFile], start: datetime, end: datetime) -> Span:
    within = [file for file in files if start <= file.last and file.first < end]
    return Span(start, end, len(within), sum(file.rows for file in within))


class Keeper:
    """What upkeep does to one table of a dataset."""

    def __init__(self, dataset: str, table: contract.Table) -> None:
        self.table, self.url = table, table_url(dataset, table)
        self._files = None if is_remote(self.url) else _files_of(self.url)

    def open(self) -> "DeltaTable":
        """The table as its newest commit has it. Raises MissionControlError where it does not say that it is ours."""
        delta = open_table(self.url, brisk_options(self.url))
        check_ours(delta, self.url, self.table)
        return delta

    def files(self) -> list[DataFile]:
        """The files that it consists of now."""
        return self.files_of(self.open())

    def files_of(self, delta: "DeltaTable") -> list[DataFile]:
        """The files of a handle of the table. One without statistics may reach through all of its day."""
        import pyarrow as pa

        actions = pa.table(delta.get_add_actions(flatten=True))
        days, sizes = actions["partition.submission_date"].to_pylist(), actions["size_bytes"].to_pylist()
        firsts, lasts = (_column(actions, f"{side}.{self.table.time_column}") for side in ("min", "max"))
        files = []
        for day, size, first, last, rows in zip(
            days, sizes, firsts, lasts, _column(actions, "num_records"), strict=True
        ):
            if day is None:
                raise MissionControlError(f"the log of the table {self.url!r} names a file that is of no day")
            midnight = datetime.combine(day, day_time(), UTC)
            files.append(DataFile(day, first or midnight, last or midnight + DAY - contract.WINDOW, rows or 0, size))
        return files

    def sum_again(self, span: Span) -> bool:
        """Writes the rows of a span as few, in one commit; False where others keep appending to it."""
        from deltalake import WriterProperties, write_deltalake
        from deltalake.exceptions import CommitFailedError, DeltaError

        condition = self._within(span)
        for attempt in range(1, ATTEMPTS + 1):
            delta = self.open()
            try:
                with self._sums(delta, span) as rows:
                    write_deltalake(
                        delta, rows, mode="overwrite", predicate=condition,
                        commit_properties=self._properties(delta),
                        writer_properties=WriterProperties(compression="ZSTD", max_row_group_size=ROW_GROUP_ROWS),
                        post_commithook_properties=after_commit(self.url),
                    )  # fmt: skip
                self._sync(delta)
            except CommitFailedError:
                continue
            except DeltaError:  # such as that it took so long that the log does not tell what others added meanwhile
                if attempt == ATTEMPTS:
                    raise
                continue
            return True
        return False

    @contextmanager
    def _sums(self, delta: "DeltaTable", span: Span) -> "Iterator[pa.Table | pa.RecordBatchReader]":
        """The summed rows of a span; those of one with more than MOST_ROWS in slices, one after another.

        A slice has the keys whose hash says so: memory is bounded even where a window alone has more distinct rows.
        """
        import pyarrow as pa
        from deltalake import QueryBuilder

        table, builder = as_found(self.table, delta), QueryBuilder().register("data", delta)

        def summed(condition: str) -> "pa.Table":
            return fitted(pa.table(builder.execute(sum_query(table, condition)).read_all()), delta)

        slices = 1 << max(-(-span.rows // MOST_ROWS) - 1, 0).bit_length()
        if slices == 1:
            yield summed(self._within(span))
            return
        # Delta's engine answers no query while it writes, so the slices wait in a file without a name.
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with tempfile.TemporaryFile() as kept:
            with pa.ipc.new_stream(kept, schema_of(delta), options=options) as output:
                for number in range(slices):
                    output.write_table(summed(f"{self._within(span)} AND {self._slice(number, slices)}"))
            kept.seek(0)
            yield pa.ipc.open_stream(kept)

    def _slice(self, number: int, slices: int) -> str:
        """The condition of one of some slices of the keys; slices: a power of two, 65,536 at most."""
        names = [key for key in self.table.keys if contract.arrow_type(key) == contract.arrow_type("version")]
        hashed = f"substr(md5(concat_ws(chr(31), {listed(names)})), 1, 4)"
        width = 65_536 // slices
        first, last = number * width, (number + 1) * width - 1
        return f"{hashed} BETWEEN '{first:04x}' AND '{last:04x}'"

    def drop_before(self, day: date) -> None:
        """Removes the days before one."""
        from deltalake.exceptions import CommitFailedError

        for attempt in range(1, ATTEMPTS + 1):
            delta = self.open()
            try:
                delta.delete(
                    f"submission_date < DATE '{day}'",
                    commit_properties=self._properties(delta),
                    post_commithook_properties=after_commit(self.url),
                )
                self._sync(delta)
                return
            except CommitFailedError:
                if attempt == ATTEMPTS:
                    raise

    def vacuum(self, after_hours: int) -> int:
        """Removes files that commits replaced so long ago; how many. Of others, nothing is removed."""
        delta = self.open()
        planned = delta.vacuum(after_hours, dry_run=True, enforce_retention_duration=False)
        foreign = [path for path in planned if not _DATA_FILE.fullmatch(path)]
        if foreign:
            raise MissionControlError(
                f"the log of the table {self.url!r} says that {foreign[0]!r} was a file of it, and it cannot be one: "
                "nothing was removed"
            )
        if not planned:
            return 0
        self._sync(delta)  # a file may go when what replaces it is durable
        removed = delta.vacuum(
            after_hours,
            dry_run=False,
            enforce_retention_duration=False,
            commit_properties=self._properties(delta),
            post_commithook_properties=after_commit(self.url),
        )
        return len(removed)

    def unnamed(self, now: datetime) -> Unnamed:
        """The data files, older than a day, that no commit names. They are left."""
        delta, hours = self.open(), ORPHANS_AFTER // HOUR
        found = delta.vacuum(hours, dry_run=True, full=True, enforce_retention_duration=False)
        replaced = set(delta.vacuum(hours, dry_run=True, enforce_retention_duration=False))
        names = [name for name in found if name not in replaced and _DATA_FILE.fullmatch(name)]
        if not names:
            return Unnamed()
        there = self._remote_files() if is_remote(self.url) else self._local_files(names)
        sizes = [there[name] for name in names if name in there and there[name][1] <= now - ORPHANS_AFTER]
        oldest = min((written for _, written in sizes), default=None)
        return Unnamed(len(sizes), sum(size for size, _ in sizes), oldest)

    def _local_files(self, names: Sequence[str]) -> dict[str, tuple[int, datetime]]:
        """The bytes of files and when they were written."""
        there = {}
        for name in names:
            with suppress(OSError):
                status = Path(self.url, name).stat()
                there[name] = (status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
        return there

    def _remote_files(self) -> dict[str, tuple[int, datetime]]:
        from streaming.patience import NO_PATIENCE
        from streaming.remote import find, modified

        return {
            name: (int(details["size"] or 0), modified(details))
            for name, details in find(self.url, NO_PATIENCE, is_literal=True).items()
        }

    def keep_log_short(self, keep_removed_hours: int | None) -> int:
        """Sees to it that Delta forgets old commits and removed files; for how many hours those stay.

        None: as long as the table says, which a stream's own upkeep leaves as it was told elsewhere.
        """
        delta = self.open()
        hours = keep_removed_hours or self._kept_hours(delta.metadata().configuration.get(REMOVED))
        wanted = {
            **properties_of(self.table),
            "delta.logRetentionDuration": f"interval {LOG_MINUTES} minutes",
            REMOVED: f"interval {hours + 1} hours",
        }
        if not wanted.items() <= delta.metadata().configuration.items():
            delta.alter.set_table_properties(
                wanted,
                commit_properties=self._properties(delta),
                post_commithook_properties=after_commit(self.url),
            )
        return hours

    def _kept_hours(self, said: str | None) -> int:
        """How long the table's setting says that replaced files stay, an hour less."""
        if said is None:
            return KEEP_REMOVED_HOURS
        interval = _INTERVAL.fullmatch(said)
        hours = math.ceil(int(interval[1]) * _UNIT_HOURS[interval[2]]) if interval else 0
        if not 0 < hours <= _MOST_HOURS:
            raise MissionControlError(
                f"expected a time such as 'interval 3 hours' as the setting {REMOVED} of the table {self.url!r}; got "
                f"{said!r}: say how long replaced files shall stay with --keep-removed-hours"
            )
        return max(hours - 1, 1)

    def clean_log(self) -> None:
        """Forgets old commits that an earlier checkpoint tells, but for the newest moment that they name.

        Not those that only a new one does: whoever has just listed the log still reads them.
        """
        from deltalake import write_deltalake

        delta = self.open()
        properties = self._properties(delta)
        self._sync(delta)
        delta.cleanup_metadata()
        if properties and contract.DATA_UP_TO not in delta.history(1)[0]:
            write_deltalake(
                delta,
                schema_of(delta).empty_table(),
                mode="append",
                commit_properties=properties,
                post_commithook_properties=after_commit(self.url),
            )
        delta.create_checkpoint()
        self._sync(delta)

    def _sync(self, delta: "DeltaTable") -> None:
        """Makes what is committed survive a power cut."""
        if self._files:
            self._files.unsynced(delta.version()).sync()
            self._files.note_synced(delta.version())

    def _properties(self, delta: "DeltaTable") -> "CommitProperties | None":
        """A commit of upkeep says the newest submission once more: those that said it before will be forgotten."""
        return said_again(delta) if self.table is contract.ERROR_AGGREGATES else None

    def _within(self, span: Span) -> str:
        column = self.table.time_column
        return (
            f"submission_date = DATE '{span.start.date()}' AND {column} >= {_moment(span.start)} "
            f"AND {column} < {_moment(span.end)}"
        )


class _Tending:
    """One table, tended once."""

    def __init__(
        self,
        keeper: Keeper,
        settings: MaintainSettings,
        now: datetime,
        newest: Callable[[], date],
        stop: threading.Event,
        on_progress: Callable[[str, int, int], None],
    ) -> None:
        self._keeper, self._settings, self._now, self._newest, self._stop = keeper, settings, now, newest, stop
        self._table, self._on_progress = keeper.table, on_progress

    def tend(self, finds_orphans: bool) -> Upkeep:
        """Drops days, sums spans again, removes files that nobody needs."""
        began = time.monotonic()
        keep_hours = self._keeper.keep_log_short(self._settings.keep_removed_hours)
        files = self._keeper.files()
        upkeep = Upkeep(self._table.name, _state(files), _state(files))
        upkeep.days = self._drop_days(files)
        spans = due_spans([file for file in files if file.day not in upkeep.days], self._now, self._table.step)
        for number, span in enumerate(spans):
            if self._stop.is_set():
                break
            self._on_progress(self._table.name, number, len(spans))
            upkeep.spans += self._keeper.sum_again(span)
        if spans:
            self._on_progress(self._table.name, len(spans), len(spans))
        upkeep.removed_files = self._keeper.vacuum(keep_hours)
        if finds_orphans:
            upkeep.unnamed = self._keeper.unnamed(self._now)
            self._keeper.clean_log()
        upkeep.after, upkeep.seconds = _state(self._keeper.files()), time.monotonic() - began
        return upkeep

    def _drop_days(self, files: Sequence[DataFile]) -> list[date]:
        """Days that are too old: counted from the newest day."""
        keep = self._settings.keep_coarse_days if self._table.of else self._settings.keep_days
        if keep is None or not files:
            return []
        first = self._newest() - timedelta(days=keep - 1)
        days = sorted({file.day for file in files if file.day < first})
        if days:
            self._keeper.drop_before(first)
        return days


@cache
def _files_of(url: str) -> TableFiles:
    """The files of a local table that this process has not synchronised; rounds of maintenance share it."""
    return TableFiles(Path(url))


def _newest_day(keeper: Keeper, now: datetime) -> date:
    """The newest day of a table that has rows, but none in the future; today when there is none."""
    return min(max((file.day for file in keeper.files()), default=now.date()), now.date())


@contextmanager
def _said_of(url: str) -> Iterator[None]:
    """Says in one line what Delta raises, which is what it likes."""
    try:
        yield
    except MissionControlError:
        raise
    except Exception as error:
        raise MissionControlError(f"cannot tend {url!r}: {reason_of(error)}") from error


def _column(actions: "pa.Table", name: str) -> list[Any]:
    return actions[name].to_pylist() if name in actions.column_names else [None] * len(actions)


def _state(files: Sequence[DataFile]) -> State:
    return State(len(files), sum(file.rows for file in files), sum(file.bytes for file in files))


def _moment(moment: datetime) -> str:
    """An SQL literal. A time as SQL writes it has nanoseconds, and Delta does not compare those with a table's."""
    microseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return f"arrow_cast({microseconds}, 'Timestamp(Microsecond, Some(\"UTC\"))')"
