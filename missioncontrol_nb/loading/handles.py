"""The open tables of a dataset: opened once, updated to their newest commits, queried, and reopened when files go."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from missioncontrol_nb import arguments
from missioncontrol_nb.loading.query import Selection, check_storage_options
from missioncontrol_nb.loading.sql import (
    ANY_SAYING_LESS_QUERY,
    DISPLAY_VERSIONS_QUERY,
    ENGINE,
    arrow_schema,
    display_version_key,
    missing_key,
)
from missioncontrol_nb.loading.table_cache import TableCache
from streaming import contract
from streaming.dataset.opening import check_columns, check_complete, check_folder, has_log, is_there, open_table
from streaming.dataset.writer import COMPLETE_APP
from streaming.errors import MissionControlError, shortened
from streaming.storage.locations import dataset_url, is_remote, link_day_folders, table_url
from streaming.storage.s3 import check_credentials
from streaming.storage.s3 import storage_options as all_options
from streaming.storage.store_errors import reason_of

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

_Value = TypeVar("_Value")


class Handles:
    """The tables of a dataset, each opened when it is first used. options: deltalake's, of their store.

    A table that does not exist yet counts as empty; each `refresh` looks for it again. Safe for the threads of one
    process: `lock` is held while a table is used.
    """

    def __init__(
        self, url: str | Path, storage_options: Mapping[str, str] | None = None, cache: TableCache | None = None
    ) -> None:
        """url: folder or `s3://` URL. cache: results of queries that other processes have made of this dataset.

        Raises MissionControlError where the folder or the credentials are missing.
        """
        self.url = dataset_url(arguments.place("dataset", url))
        check_storage_options(storage_options)
        check_credentials(self.url, storage_options)
        self.lock = RLock()
        self.options = all_options(self.url, storage_options)
        self._tables: dict[str, DeltaTable] = {}
        self._known: set[str] = set()  # The tables that have existed at any time
        self._whole: DeltaTable | None = None  # The handle of a table that has all rows of its source table
        self._is_reopened = False  # Since the last refresh, because files were gone
        self._shared = cache
        self._cache: dict[str, tuple[DeltaTable, int, Any]] = {}
        with told_by_the_system(self.url):
            check_folder(self.url)

    def open(self, table: contract.Table) -> "DeltaTable | None":
        """The handle of a table; None where it does not exist yet. Raises MissionControlError where it is gone."""
        from deltalake.exceptions import TableNotFoundError

        with self.lock:
            if table.name in self._tables:
                return self._tables[table.name]
            location = table_url(self.url, table)
            if not is_remote(self.url) and not has_log(location):
                check_folder(self.url)
                self._check_not_gone(table)
                check_complete(self.url)
                return None
            with said_as(f"{location} cannot be read"):
                try:
                    handle = open_table(location, self.options)
                    check_columns(handle, location, table)
                    self._tables[table.name] = handle
                except TableNotFoundError as error:
                    if "scheme" in str(error):
                        raise
            if table.name in self._tables:
                self._known.add(table.name)
            else:
                self._check_not_gone(table)
            return self._tables.get(table.name)

    def refresh(self) -> bool:
        """Updates all tables to their newest commits; True if any commit is new; takes milliseconds.

        Raises MissionControlError where the dataset, or a table that existed before, is gone or unavailable.
        """
        with self.lock:
            self._check_present()
            newer = [self._is_newer(table) for table in contract.TABLES]
            is_reopened, self._is_reopened = self._is_reopened, False
        return is_reopened or any(newer)

    def cached(self, table: contract.Table, name: str, compute: "Callable[[DeltaTable], _Value]") -> _Value | None:
        """A value that depends on a table alone, computed once for each of its commits; None where it has no table."""
        with self.lock:
            handle = self.open(table)
            if handle is None:
                return None
            known = self._cache.get(name)
            if known is None or known[0] is not handle or known[1] != handle.version():
                known = self._cache[name] = (handle, handle.version(), compute(handle))
            value: _Value = known[2]
            return value

    def smallest(self, table: contract.Table, dimensions: Iterable[str]) -> contract.Table:
        """A coarser table of this one if it has the dimensions and the sums of all rows; else this one."""
        for coarse in contract.TABLES:
            if coarse.of is table and set(dimensions) <= set(coarse.keys) and self._is_whole(coarse):
                return coarse
        return table

    def columns(self, table: contract.Table, names: Collection[str]) -> tuple[str, ...]:
        """Those of some columns that a table has; one that was made before a column was declared lacks it."""
        handle = self.open(table)
        if handle is None:
            return tuple(names)
        columns = {field.name for field in handle.schema().fields}
        return tuple(name for name in names if name in columns)

    def row_count(self, table: contract.Table, selection: Selection) -> int:
        """The number of a table's rows in the days of a selection, according to its log."""
        import pyarrow as pa

        handle = self.open(table)
        actions = None if handle is None else pa.table(handle.get_add_actions(flatten=True))
        if actions is None or "num_records" not in actions.column_names:
            return 0
        days, rows = actions["partition.submission_date"].to_pylist(), actions["num_records"].to_pylist()
        first = selection.since.date() if selection.since else date.min
        last = selection.until.date() if selection.until else date.max
        return sum(count or 0 for day, count in zip(days, rows, strict=True) if first <= day <= last)

    def keys(self, table: contract.Table) -> Mapping[str, str]:
        """The SQL of dimensions that are not simply a column of a table.

        These are the dimensions that the table lacks because another version made it, and the display version, where
        that of other pings of the same build stands for one that says less.
        """
        handle = self.open(table)
        if handle is None:
            return {}
        columns = {field.name for field in handle.schema().fields}
        keys = {name: missing_key(name) for name in table.keys if name not in columns}
        shown = self._display_version() if "display_version" in table.keys else None
        return keys if shown is None else keys | {"display_version": shown}

    def _display_version(self) -> str | None:
        """The display version in SQL; None where the column says it."""
        table = self.smallest(contract.ERROR_AGGREGATES, contract.COARSE_DIMENSIONS)
        if not self.columns(table, (contract.count_of_pings("glean/crash"),)):
            return None
        return self.cached(table, "display versions", lambda _: self._find_display_version(table))

    def _find_display_version(self, table: contract.Table) -> str | None:
        if not len(self.rows(table, ANY_SAYING_LESS_QUERY, arrow_schema(["build_id"]))):
            return None
        schema = arrow_schema(("application", "channel", "version", "build_id", "display_version", "count"))
        return display_version_key(self.rows(table, DISPLAY_VERSIONS_QUERY, schema))

    def rows(self, table: contract.Table, query: str, schema: "pa.Schema", *, is_shared: bool = True) -> "pa.Table":
        """The result of a query of a table, named `data` in it; retried once if compaction has removed files.

        is_shared: whether the cache keeps it for other processes.
        """
        if self.open(table) is None:
            return schema.empty_table()
        try:
            result = self._run_or_share(table, query) if is_shared else self.run(table, query)
        except MissionControlError:
            self._tables.pop(table.name)
            self._is_reopened = True
            result = self.run(table, query)
        return result.select(schema.names).cast(schema)

    def _run_or_share(self, table: contract.Table, query: str) -> "pa.Table":
        """As `run`; the result may be another process's of the same commit."""
        handle = self.open(table)
        if self._shared is None or handle is None:
            return self.run(table, query)
        name = hashlib.sha256(f"{table.name} {query}".encode()).hexdigest()[:32]
        commit = f"{handle.metadata().id} {handle.version()}"
        return self._shared.get(name, commit, lambda: {"rows": self.run(table, query)})["rows"]

    def run(self, table: contract.Table, query: str) -> "pa.Table":
        """The rows of a query, run by deltalake's query engine so that the summed rows are not copied to Python."""
        import pyarrow as pa
        from deltalake import QueryBuilder

        handle = self.open(table)
        if handle is None:
            raise MissionControlError(f"{table_url(self.url, table)} is gone")
        with said_as(f"{table_url(self.url, table)} cannot be read"):
            return pa.table(QueryBuilder(ENGINE).register("data", handle).execute(query).read_all())

    def _check_present(self) -> None:
        """Raises MissionControlError where the folder is gone, or a table that was opened has no log.

        deltalake does not report this: for a log that is gone it keeps the last known commit as the newest.
        """
        try:
            check_folder(self.url)
            for table in contract.TABLES:
                # One request, for the table that all others are summed from: each open page polls every few seconds
                if table.name in self._known and (table is contract.ERROR_AGGREGATES or not is_remote(self.url)):
                    self._check_log(table)
        except MissionControlError:
            self._tables.clear()  # A dataset that replaces it is opened anew
            self._whole = None
            raise

    def _check_log(self, table: contract.Table) -> None:
        location = table_url(self.url, table)
        with said_as(f"{location} cannot be read"):
            is_there_now = is_there(self.url, table, self.options)
        if not is_there_now:
            self._check_not_gone(table)

    def _is_newer(self, table: contract.Table) -> bool:
        """Updates a table to its newest commit; whether that commit is new."""
        handle = self._tables.get(table.name)
        if handle is None:
            return self.open(table) is not None
        version = handle.version()
        try:
            handle.update_incremental()
            link_day_folders(table_url(self.url, table))
        except _delta_errors():  # The table was recreated while the handle was open
            self._tables.pop(table.name)
            return self.open(table) is not None
        return handle.version() != version

    def _check_not_gone(self, table: contract.Table) -> None:
        """Raises MissionControlError where a table without a log existed before; it must not be read as empty."""
        if table.name in self._known:
            location = table_url(self.url, table)
            raise MissionControlError(f"{location} is gone: it was there before, and has no log now")

    def _is_whole(self, table: contract.Table) -> bool:
        """Whether a table's log states that it has all rows; reopens a table whose log was shortened meanwhile."""
        handle = self.open(table)
        if handle is None or handle is self._whole:
            return handle is not None
        try:
            known = handle.transaction_version(COMPLETE_APP)
        except _delta_errors():
            self._tables.pop(table.name)
            self._is_reopened = True
            handle = self.open(table)
            with said_as(f"{table_url(self.url, table)} cannot be read"):
                known = None if handle is None else handle.transaction_version(COMPLETE_APP)
        if known is not None:
            self._whole = handle
        return known is not None


def _delta_errors() -> tuple[type[Exception], ...]:
    """The exceptions that deltalake raises when it cannot read."""
    from deltalake.exceptions import DeltaError

    return (DeltaError, OSError)


@contextmanager
def said_as(what: str) -> Iterator[None]:
    """Reports a failure to read in one line."""
    try:
        yield
    except Exception as error:
        # A file that disappears during a read raises a plain Exception; its subclasses are bugs in this code.
        if not isinstance(error, _delta_errors()) and type(error) is not Exception:
            raise
        raise MissionControlError(f"{what}: {reason_of(error)}") from error


@contextmanager
def told_by_the_system(dataset: str) -> Iterator[None]:
    """Reports in one line why the system cannot access a path: its name is too long, or access is denied."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise MissionControlError(f"{shortened(dataset)} cannot be read: {reason}") from error
