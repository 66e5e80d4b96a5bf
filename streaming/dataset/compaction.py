"""Maintenance of one table: summing spans again, checkpoints of the log, files that no commit names."""

import math
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as day_time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from streaming import contract
from streaming.aggregation.partial_sums import listed, sum_query
from streaming.dataset import compaction_plan
from streaming.dataset.columns import as_found, fitted, schema_of
from streaming.dataset.commits import LOG_MINUTES, after_commit, properties_of, repeat_data_up_to
from streaming.dataset.compaction_plan import DAY, HOUR, DataFile, Span
from streaming.dataset.opening import check_ours, open_table
from streaming.errors import MissionControlError
from streaming.storage.durability import TableFiles
from streaming.storage.locations import is_remote, table_url
from streaming.storage.s3 import options_with_few_retries
from streaming.storage.store_errors import reason_of

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import CommitProperties, DeltaTable

ROW_GROUP_ROWS = 131_072  # small: a reader skips most row groups and holds few rows of the others
ORPHANS_EVERY, ORPHANS_AFTER = DAY, DAY  # a commit names a newly written file much sooner
COMMIT_ATTEMPTS = 3  # at a span that others append to; the next round tries again anyway
KEEP_REMOVED_HOURS = 2
# Set to an hour more than removed files are kept: vacuum cannot remove files that the log has forgotten.
REMOVED = "delta.deletedFileRetentionDuration"
_INTERVAL = re.compile(r"interval (\d{1,6}) (second|minute|hour|day|week)s?")
_UNIT_HOURS = {"second": 1 / 3600, "minute": 1 / 60, "hour": 1, "day": 24, "week": 168}
_MAX_HOURS = 10 * 366 * 24
_DATA_FILE = re.compile(r"submission_date=\d{4}-\d\d-\d\d/[^/]+\.parquet")  # the names that writers to our tables give


@dataclass(frozen=True)
class MaintainSettings:
    """What to keep: days of the fine tables and of the coarse one, counted from the newest day; None: all.

    keep_removed_hours: how long replaced files stay, for readers that still use them; None: as set in the table.
    """

    keep_days: int | None = None
    keep_coarse_days: int | None = None
    keep_removed_hours: int | None = None


class TableSize(NamedTuple):
    """The size of a table: its files, rows and bytes."""

    files: int
    rows: int
    bytes: int


class OrphanFiles(NamedTuple):
    """Data files that no commit names, left by killed writers: number, size, and when the oldest was written."""

    files: int = 0
    bytes: int = 0
    oldest: datetime | None = None


@dataclass
class MaintenanceReport:
    """What maintenance did to a table. spans: how many were summed again; days: those removed as too old.

    unnamed: None where such files were not looked for.
    """

    table: str
    before: TableSize
    after: TableSize
    spans: int = 0
    days: list[date] = field(default_factory=list)
    removed_files: int = 0
    unnamed: OrphanFiles | None = None
    seconds: float = 0.0


class TableMaintainer:
    """The operations of maintenance on one table of a dataset."""

    def __init__(self, dataset: str, table: contract.Table) -> None:
        self.table, self.url = table, table_url(dataset, table)
        self._files = None if is_remote(self.url) else _files_of(self.url)

    def open(self) -> "DeltaTable":
        """The table at its newest commit. Raises MissionControlError where it is not identified as ours."""
        delta = open_table(self.url, options_with_few_retries(self.url))
        check_ours(delta, self.url, self.table)
        return delta

    def files(self) -> list[DataFile]:
        """The files that the table consists of now."""
        return self.files_of(self.open())

    def files_of(self, delta: "DeltaTable") -> list[DataFile]:
        """The files in a handle's snapshot of the table. A file without statistics is taken to cover its whole day."""
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

    def compact(self, span: Span) -> bool:
        """Replaces the rows of a span by their sums, in one commit; False where others keep appending to the span."""
        from deltalake import WriterProperties, write_deltalake
        from deltalake.exceptions import CommitFailedError, DeltaError

        condition = self._within(span)
        for attempt in range(1, COMMIT_ATTEMPTS + 1):
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
            except DeltaError:  # for example, it took so long that the log no longer shows what others added
                if attempt == COMMIT_ATTEMPTS:
                    raise
                continue
            return True
        return False

    @contextmanager
    def _sums(self, delta: "DeltaTable", span: Span) -> "Iterator[pa.Table | pa.RecordBatchReader]":
        """The summed rows of a span; for a span with more than MAX_SUMMED_ROWS rows in slices, one after another.

        A slice has the keys in a range of hashes: memory is bounded even where a single window has more distinct rows.
        """
        import pyarrow as pa
        from deltalake import QueryBuilder

        table, builder = as_found(self.table, delta), QueryBuilder().register("data", delta)

        def summed(condition: str) -> "pa.Table":
            return fitted(pa.table(builder.execute(sum_query(table, condition)).read_all()), delta)

        slices = 1 << max(-(-span.rows // compaction_plan.MAX_SUMMED_ROWS) - 1, 0).bit_length()
        if slices == 1:
            yield summed(self._within(span))
            return
        # Delta's engine answers no query while it writes, so the slices wait in an unnamed temporary file.
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with tempfile.TemporaryFile() as slices_file:
            with pa.ipc.new_stream(slices_file, schema_of(delta), options=options) as output:
                for number in range(slices):
                    output.write_table(summed(f"{self._within(span)} AND {self._slice(number, slices)}"))
            slices_file.seek(0)
            yield pa.ipc.open_stream(slices_file)

    def _slice(self, number: int, slices: int) -> str:
        """The SQL condition of one of several slices of the keys; slices: a power of two, 65,536 at most."""
        names = [key for key in self.table.keys if contract.arrow_type(key) == contract.arrow_type("version")]
        hashed = f"substr(md5(concat_ws(chr(31), {listed(names)})), 1, 4)"
        width = 65_536 // slices
        first, last = number * width, (number + 1) * width - 1
        return f"{hashed} BETWEEN '{first:04x}' AND '{last:04x}'"

    def drop_before(self, day: date) -> None:
        """Removes all days before the given one."""
        from deltalake.exceptions import CommitFailedError

        for attempt in range(1, COMMIT_ATTEMPTS + 1):
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
                if attempt == COMMIT_ATTEMPTS:
                    raise

    def vacuum(self, after_hours: int) -> int:
        """Removes files that commits replaced so many hours ago, and no others; returns how many were removed."""
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
        self._sync(delta)  # a file may be removed only once its replacement is durable
        removed = delta.vacuum(
            after_hours,
            dry_run=False,
            enforce_retention_duration=False,
            commit_properties=self._properties(delta),
            post_commithook_properties=after_commit(self.url),
        )
        return len(removed)

    def orphan_files(self, now: datetime) -> OrphanFiles:
        """The data files, older than a day, that no commit names. They are not removed."""
        delta, hours = self.open(), ORPHANS_AFTER // HOUR
        found = delta.vacuum(hours, dry_run=True, full=True, enforce_retention_duration=False)
        replaced = set(delta.vacuum(hours, dry_run=True, enforce_retention_duration=False))
        names = [name for name in found if name not in replaced and _DATA_FILE.fullmatch(name)]
        if not names:
            return OrphanFiles()
        known_files = self._remote_files() if is_remote(self.url) else self._local_files(names)
        sizes = [
            known_files[name] for name in names if name in known_files and known_files[name][1] <= now - ORPHANS_AFTER
        ]
        oldest = min((written for _, written in sizes), default=None)
        return OrphanFiles(len(sizes), sum(size for size, _ in sizes), oldest)

    def _local_files(self, names: Sequence[str]) -> dict[str, tuple[int, datetime]]:
        """The size of each file in bytes, and when it was written."""
        known_files = {}
        for name in names:
            with suppress(OSError):
                status = Path(self.url, name).stat()
                known_files[name] = (status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
        return known_files

    def _remote_files(self) -> dict[str, tuple[int, datetime]]:
        from streaming.storage.object_store import find, modified
        from streaming.storage.retry import NO_RETRIES

        return {
            name: (int(details["size"] or 0), modified(details))
            for name, details in find(self.url, NO_RETRIES, is_literal=True).items()
        }

    def shorten_log(self, keep_removed_hours: int | None) -> int:
        """Sets how long Delta keeps old commits and removed files; returns for how many hours removed files stay.

        keep_removed_hours: None keeps the table's setting, so a stream's maintenance does not change what was set
        elsewhere.
        """
        delta = self.open()
        hours = keep_removed_hours or self._retention_hours(delta.metadata().configuration.get(REMOVED))
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

    def _retention_hours(self, setting: str | None) -> int:
        """For how many hours replaced files stay by the table's setting, minus the hour that was added to it."""
        if setting is None:
            return KEEP_REMOVED_HOURS
        interval = _INTERVAL.fullmatch(setting)
        hours = math.ceil(int(interval[1]) * _UNIT_HOURS[interval[2]]) if interval else 0
        if not 0 < hours <= _MAX_HOURS:
            raise MissionControlError(
                f"expected a time such as 'interval 3 hours' as the setting {REMOVED} of the table {self.url!r}; got "
                f"{setting!r}: say how long replaced files shall stay with --keep-removed-hours"
            )
        return max(hours - 1, 1)

    def clean_log(self) -> None:
        """Deletes old commits that an earlier checkpoint covers, and keeps the newest submission that they record.

        Commits that only a new checkpoint covers stay: a process that has just listed the log still reads them.
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
        """Makes the commits up to the handle's version survive a power cut."""
        if self._files:
            self._files.unsynced(delta.version()).sync()
            self._files.note_synced(delta.version())

    def _properties(self, delta: "DeltaTable") -> "CommitProperties | None":
        """Commit properties that repeat the newest submission: the commits that recorded it before will be deleted."""
        return repeat_data_up_to(delta) if self.table is contract.ERROR_AGGREGATES else None

    def _within(self, span: Span) -> str:
        column = self.table.time_column
        return (
            f"submission_date = DATE '{span.start.date()}' AND {column} >= {_moment(span.start)} "
            f"AND {column} < {_moment(span.end)}"
        )


@cache
def _files_of(url: str) -> TableFiles:
    """The files of a local table that this process has not synchronised; rounds of maintenance share this object."""
    return TableFiles(Path(url))


def newest_day(maintainer: TableMaintainer, now: datetime) -> date:
    """The newest day for which a table has rows, at most today; today where it has no rows."""
    return min(max((file.day for file in maintainer.files()), default=now.date()), now.date())


@contextmanager
def translate_delta_errors(url: str) -> Iterator[None]:
    """Turns Delta's exceptions, which may be of any type, into a MissionControlError of one line."""
    try:
        yield
    except MissionControlError:
        raise
    except Exception as error:
        raise MissionControlError(f"cannot tend {url!r}: {reason_of(error)}") from error


def _column(actions: "pa.Table", name: str) -> list[Any]:
    return actions[name].to_pylist() if name in actions.column_names else [None] * len(actions)


def size_of(files: Sequence[DataFile]) -> TableSize:
    """The number of files, rows and bytes of a table."""
    return TableSize(len(files), sum(file.rows for file in files), sum(file.bytes for file in files))


def _moment(moment: datetime) -> str:
    """A time as an SQL literal with microseconds.

    SQL's own time literals have nanoseconds, and Delta does not compare those with a table's times.
    """
    microseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return f"arrow_cast({microseconds}, 'Timestamp(Microsecond, Some(\"UTC\"))')"
