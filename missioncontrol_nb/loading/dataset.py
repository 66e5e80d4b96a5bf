"""The grouped dataset as pandas frames; filters and columns are pushed down to its files, the query engine sums."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from missioncontrol_nb import arguments
from missioncontrol_nb.arguments import Time, Values, as_utc
from missioncontrol_nb.loading.query import (
    FILTERS,
    OFFICIAL_COLUMNS,
    Selection,
    check_dimensions,
    check_official,
    check_one_product,
    check_storage_options,
    check_unknown,
    select,
)
from missioncontrol_nb.loading.sql import (
    ENGINE,
    PRODUCT_COLUMNS,
    TRUNCATIONS,
    all_of,
    arrow_schema,
    conditions_of,
    key_of,
    more_columns,
    only_official,
    product_columns,
    sum_query,
    sum_schema,
    summed_again,
    with_products,
)
from streaming import contract
from streaming.dataset.opening import (
    check_columns,
    check_folder,
    check_whole,
    has_log,
    is_there,
    no_dataset,
    open_table,
    said_up_to,
)
from streaming.dataset.stored_products import known_products
from streaming.dataset.writer import WHOLE_APP
from streaming.errors import MissionControlError, shortened
from streaming.storage.failures import reason_of
from streaming.storage.locations import dataset_url, is_remote, show_days, table_url
from streaming.storage.s3 import check_credentials
from streaming.storage.s3 import storage_options as all_options

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from deltalake import DeltaTable

    from missioncontrol_nb.releases.calendar import Calendar

DELAY_COLUMNS = ("application", "channel", "os_name", "submission_hour", "delay_hours", "usage_hours")
BUILD_COLUMNS = ("channel", "version", "display_version", "build_id")
# Columns whose values a sender can invent; in the worst case each ping has a new value.
MADE_UP = (
    *("experiment_id", "experiment_branch", "build_id", "version", "display_version", "os_version"),
    *contract.ADDED_DIMENSIONS,
)
MANY_ROWS = 5_000_000  # Of a table, in the requested days; up to this many rows, groups are not counted
_Function = TypeVar("_Function", bound=Callable[..., Any])
MOST_GROUPS = 10_000_000  # Rows of a result; each takes 0.2 kB, and more during the query


def _with_filters(function: _Function) -> _Function:
    """The function with a signature that names its filters, for help and completion."""
    said = inspect.signature(function)
    *others, _ = said.parameters.values()
    filters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in FILTERS]
    function.__signature__ = said.replace(parameters=[*others, *filters])  # type: ignore[attr-defined]
    return function


@_with_filters
def load(
    dataset: str | Path,
    since: Time = None,
    until: Time = None,
    *,
    measures: str | Iterable[str] | None = None,
    by: str | Iterable[str] = (),
    every: str | None = "1h",
    official: "Calendar | None" = None,
    storage_options: Mapping[str, str] | None = None,
    **filters: Values,
) -> "pd.DataFrame":
    """The sums of a dataset: one row per window and combination of the `by` columns, sorted by them.

    dataset: a folder or `s3://` URL with the dataset's tables (credentials from AWS_* variables or
    storage_options), or a Parquet file of the older layout, or a folder of such files (see `legacy_parquet`).
    since, until: windows that start in [since, until); ISO text or datetimes, UTC unless they have another time zone.
    filters: values of dimensions, such as channel="beta"; an empty list of values keeps no rows. Filters, measures and
    by take one name or several, as a list, tuple, set, array, Index or Series. measures: None means all. by: dimensions
    to group by. every: `5min`, `1h`, `1d`, or None for one sum over the whole interval. official: only builds that
    this calendar knows as official.
    Filtering or grouping by `experiment_id` or `experiment_branch` counts a ping once per experiment it is in.

    Columns: `window_start` (datetime64[us, UTC]; absent for every=None), the `by` columns, `count` (pings, int),
    `usage_hours` (hours, float), the measures (events, int). A window without pings is absent. A measure is missing
    (NaN), which is not zero, where no summed row counted it, as before it was declared. A sum across its declaration
    contains only the rows that counted it, so choose a later `since`. Raises MissionControlError for unknown names,
    channels, systems and applications, where there is no dataset, and where rows of several products would be summed.
    Firefox and Fennec (Firefox for Android) are one product; an application that no product declares is another one.
    """
    from missioncontrol_nb.loading import legacy_parquet

    check_unknown(name for name in filters if name not in FILTERS)
    selection = select(since, until, filters, by=by, measures=measures, every=every)
    check_official(official)
    dataset = arguments.place("dataset", dataset)
    with _told_by_the_system(dataset):
        is_older = legacy_parquet.is_older(dataset)
    if is_older:
        return legacy_parquet.load_older(dataset, selection, official)
    opened = Dataset(dataset, storage_options)
    rows = opened.load_selection(selection, official)
    if rows.empty and not opened.tables():  # Checked last: it opens all tables, a load one or two
        raise no_dataset(str(dataset))
    return rows


class Dataset:
    """A grouped dataset whose tables stay open, for repeated queries such as those of a dashboard.

    A table that does not exist yet counts as empty; each `refresh` looks for it again. Loads return the state of the
    last refresh, unless its files were removed since. Safe for the threads of one process.
    """

    def __init__(self, url: str | Path, storage_options: Mapping[str, str] | None = None) -> None:
        """url: folder or `s3://` URL. Raises MissionControlError where the folder or the credentials are missing."""
        self.url = dataset_url(arguments.place("dataset", url))
        check_storage_options(storage_options)
        check_credentials(self.url, storage_options)
        self._options = all_options(self.url, storage_options)
        self._tables: dict[str, DeltaTable] = {}
        self._known: set[str] = set()  # The tables that have existed at any time
        self._data_up_to: tuple[int, datetime | None] | None = None
        self._whole: DeltaTable | None = None  # The handle of a table that has all rows of its source table
        self._is_reopened = False  # Since the last refresh, because files were gone
        self._applications: tuple[int, set[str]] = (-2, set())  # (table version, its applications)
        self._lock = RLock()
        with _told_by_the_system(self.url):
            check_folder(self.url)

    @property
    def products(self) -> contract.Products:
        """The products that the dataset knows: those of the package and those declared to the dataset."""
        return known_products(self._open(contract.ERROR_AGGREGATES))

    def tables(self) -> tuple[str, ...]:
        """The names of the tables that exist now."""
        return tuple(table.name for table in contract.TABLES if self._open(table) is not None)

    def load(
        self,
        since: Time = None,
        until: Time = None,
        *,
        measures: str | Iterable[str] | None = None,
        by: str | Iterable[str] = (),
        every: str | None = "1h",
        official: "Calendar | None" = None,
        **filters: Values,
    ) -> "pd.DataFrame":
        """The sums of this dataset; arguments and result as for `missioncontrol_nb.load`."""
        check_unknown(name for name in filters if name not in FILTERS)
        selection = select(since, until, filters, by=by, measures=measures, every=every)
        return self.load_selection(selection, official)

    def load_selection(self, selection: Selection, official: "Calendar | None" = None) -> "pd.DataFrame":
        """The sums of a request in the form that `select` returns."""
        check_official(official)
        fine = contract.EXPERIMENT_ERROR_AGGREGATES if selection.is_about_experiments else contract.ERROR_AGGREGATES
        check_dimensions(selection, fine, official)
        selection.check_closed_values(self.products)
        with self._lock:
            table = self._smallest(fine, selection.dimensions)
            self._check_groups(table, selection)
            measures = selection.measures_among(self._measures_of(table))
            if official is None:
                return self._sums(table, selection, measures).to_pandas()
            by_build = replace(selection, by=tuple(dict.fromkeys((*selection.by, *OFFICIAL_COLUMNS))))
            rows = self._sums(table, by_build, measures)
        return summed_again(only_official(rows, official, self.products), sum_schema(selection, measures)).to_pandas()

    def load_delays(self, since: Time = None, until: Time = None, **filters: Values) -> "pd.DataFrame":
        """The delays of usage hours by submission hour in [since, until), as input of `statistics.completeness`.

        filters: `application`, `channel`, `os_name`. Columns: these three, `submission_hour`, `delay_hours` (upper
        edge of the bucket, infinite for the last one), `usage_hours`.
        """
        selection = select(since, until, filters)
        selection.check_dimensions(DELAY_COLUMNS[:3])
        selection.check_closed_values(self.products)
        keys = ", ".join(DELAY_COLUMNS[:-1])
        query = (
            f"SELECT {keys}, sum(usage_hours) AS usage_hours FROM data "
            f"WHERE {all_of(conditions_of(selection, 'submission_hour'))} GROUP BY {keys} ORDER BY {keys}"
        )
        with self._lock:
            return self._rows(contract.REPORTING_DELAYS, query, arrow_schema(DELAY_COLUMNS)).to_pandas()

    def load_rejected(self, since: Time = None, until: Time = None) -> "pd.DataFrame":
        """The rejected pings in windows of [since, until): columns `document_type`, `reason`, `count`."""
        selection = select(since, until)
        query = (
            f"SELECT document_type, reason, sum(count) AS count FROM data WHERE {all_of(conditions_of(selection))} "
            "GROUP BY document_type, reason ORDER BY document_type, reason"
        )
        with self._lock:
            return self._rows(
                contract.REJECTED_PINGS, query, arrow_schema(("document_type", "reason", "count"))
            ).to_pandas()

    def versions(self, since: Time = None, until: Time = None, **filters: Values) -> "pd.DataFrame":
        """The builds in use: `channel`, `version`, `display_version`, `build_id`, `first_window`, `last_window`
        (starts of windows, UTC), `count` (pings), `usage_hours`. filters: as for `load`. Raises MissionControlError
        where the builds are of several products.
        """
        import pyarrow as pa

        selection = select(since, until, filters)
        selection.check_dimensions(contract.DIMENSION_NAMES)
        selection.check_closed_values(self.products)
        keys = ", ".join(BUILD_COLUMNS)
        with self._lock:
            table = self._smallest(contract.ERROR_AGGREGATES, selection.dimensions)
        query = (
            f"SELECT {keys}, min(window_start) AS first_window, max(window_start) AS last_window, "
            f"sum(count) AS count, sum(usage_hours) AS usage_hours{more_columns(product_columns(self.products))} "
            f"FROM data WHERE {all_of(conditions_of(selection, lacking=self._lacking(table)))} "
            f"GROUP BY {keys} ORDER BY {keys}"
        )
        moment = contract.arrow_type("window_start")
        schema = pa.schema(
            [
                *arrow_schema(BUILD_COLUMNS),
                ("first_window", moment),
                ("last_window", moment),
                *arrow_schema(("count", "usage_hours")),
            ]
        )
        with self._lock:
            rows = self._rows(table, query, with_products(schema))
        self._check_products(rows)
        return rows.select(schema.names).to_pandas()

    def applications(self) -> set[str]:
        """The applications that have at least one ping."""
        with self._lock:
            table = self._smallest(contract.ERROR_AGGREGATES, ["application"])
            handle = self._open(table)
            version = -1 if handle is None else handle.version()
            if self._applications[0] != version:
                rows = self._rows(table, "SELECT DISTINCT application FROM data", arrow_schema(["application"]))
                self._applications = version, {str(name) for name in rows["application"].to_pylist()}
            return self._applications[1]

    def data_up_to(self) -> datetime | None:
        """The newest submission in the loaded state (UTC), from the newest commit that names one; None if none does."""
        with self._lock:
            table = self._open(contract.ERROR_AGGREGATES)
            if table is None:
                return None
            version = table.version()
            if self._data_up_to is None or self._data_up_to[0] != version:
                with _said_as(f"{table_url(self.url, contract.ERROR_AGGREGATES)} cannot be read"):
                    said = said_up_to(table)
                self._data_up_to = (version, as_utc(contract.DATA_UP_TO, said))
            return self._data_up_to[1]

    def files_by_day(self) -> dict[date, int]:
        """The days with pings and, for each, a number that changes when its files change; takes 20 µs per file."""
        import pyarrow as pa

        with self._lock:
            table = self._open(self._smallest(contract.ERROR_AGGREGATES, ()))
            if table is None:
                return {}
            actions = pa.table(table.get_add_actions(flatten=True))
        paths: dict[date, list[str]] = {}
        for day, path in zip(
            actions["partition.submission_date"].to_pylist(), actions["path"].to_pylist(), strict=True
        ):
            paths.setdefault(day, []).append(path)
        return {day: hash(frozenset(of_day)) for day, of_day in paths.items()}

    def handle(self, table: contract.Table) -> "DeltaTable | None":
        """The table as of the last refresh; None where it does not exist yet."""
        return self._open(table)

    def refresh(self) -> bool:
        """Updates all tables to their newest commits; True if any commit is new; takes milliseconds.

        Raises MissionControlError where the dataset, or a table that existed before, is gone or unavailable.
        """
        with self._lock:
            self._check_present()
            newer = [self._is_newer(table) for table in contract.TABLES]
            is_reopened, self._is_reopened = self._is_reopened, False
        return is_reopened or any(newer)

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
            self._whole, self._data_up_to = None, None
            raise

    def _check_log(self, table: contract.Table) -> None:
        location = table_url(self.url, table)
        with _said_as(f"{location} cannot be read"):
            is_there_now = is_there(self.url, table, self._options)
        if not is_there_now:
            self._check_not_gone(table)

    def _is_newer(self, table: contract.Table) -> bool:
        """Updates a table to its newest commit; whether that commit is new."""
        handle = self._tables.get(table.name)
        if handle is None:
            return self._open(table) is not None
        version = handle.version()
        try:
            handle.update_incremental()
            show_days(table_url(self.url, table))
        except _delta_errors():  # The table was recreated while the handle was open
            self._tables.pop(table.name)
            return self._open(table) is not None
        return handle.version() != version

    def _open(self, table: contract.Table) -> "DeltaTable | None":
        """The handle of a table; None where it does not exist yet. Raises MissionControlError where it is gone."""
        from deltalake.exceptions import TableNotFoundError

        with self._lock:
            if table.name in self._tables:
                return self._tables[table.name]
            location = table_url(self.url, table)
            if not is_remote(self.url) and not has_log(location):
                check_folder(self.url)
                self._check_not_gone(table)
                check_whole(self.url)
                return None
            with _said_as(f"{location} cannot be read"):
                try:
                    handle = open_table(location, self._options)
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

    def _check_not_gone(self, table: contract.Table) -> None:
        """Raises MissionControlError where a table without a log existed before; it must not be read as empty."""
        if table.name in self._known:
            location = table_url(self.url, table)
            raise MissionControlError(f"{location} is gone: it was there before, and has no log now")

    def _smallest(self, table: contract.Table, dimensions: Iterable[str]) -> contract.Table:
        """A coarser table of this one if it has the dimensions and the sums of all rows; else this one."""
        for coarse in contract.TABLES:
            if coarse.of is table and set(dimensions) <= set(coarse.keys) and self._is_whole(coarse):
                return coarse
        return table

    def _is_whole(self, table: contract.Table) -> bool:
        """Whether a table's log states that it has all rows; reopens a table whose log was shortened meanwhile."""
        handle = self._open(table)
        if handle is None or handle is self._whole:
            return handle is not None
        try:
            known = handle.transaction_version(WHOLE_APP)
        except _delta_errors():
            self._tables.pop(table.name)
            self._is_reopened = True
            handle = self._open(table)
            with _said_as(f"{table_url(self.url, table)} cannot be read"):
                known = None if handle is None else handle.transaction_version(WHOLE_APP)
        if known is not None:
            self._whole = handle
        return known is not None

    def _measures_of(self, table: contract.Table) -> tuple[str, ...]:
        """The measures that a table has; a dataset made before a measure was declared lacks it."""
        handle = self._open(table)
        if handle is None:
            return contract.MEASURE_NAMES
        columns = {field.name for field in handle.schema().fields}
        return tuple(name for name in contract.MEASURE_NAMES if name in columns)

    def _lacking(self, table: contract.Table) -> set[str]:
        """The dimensions that a table lacks because another version made it."""
        handle = self._open(table)
        return set() if handle is None else set(table.keys) - {field.name for field in handle.schema().fields}

    def _sums(self, table: contract.Table, selection: Selection, measures: Sequence[str]) -> "pa.Table":
        """The sums of a request. Raises MissionControlError where they would include several products."""
        schema = sum_schema(selection, measures)
        if not selection.may_mix(self.products):
            return self._rows(table, sum_query(selection, measures, lacking=self._lacking(table)), schema)
        query = sum_query(selection, measures, product_columns(self.products), self._lacking(table))
        rows = self._rows(table, query, with_products(schema))
        self._check_products(rows)
        return rows.select(schema.names)

    def _check_products(self, rows: "pa.Table") -> None:
        """Raises MissionControlError where rows with PRODUCT_COLUMNS are of several products."""
        import pyarrow.compute as pc

        ends = [pc.unique(rows[name].drop_null()).to_pylist() for name in PRODUCT_COLUMNS]
        check_one_product((name for of_end in ends for name in of_end), self.products)

    def _check_groups(self, table: contract.Table, selection: Selection) -> None:
        """Raises MissionControlError where a sum would have more rows than memory holds.

        Only columns from untrusted input (MADE_UP) can have that many values. The groups are counted approximately, and
        only where a table has more than MANY_ROWS rows.
        """
        handle = self._open(table)
        made_up = [name for name in selection.by if name in MADE_UP and name not in selection.filters]
        if handle is None or not made_up or _row_count(handle, selection) <= MANY_ROWS:
            return
        keys = [key_of(name, self._lacking(table)) for name in selection.by]
        if selection.every:
            unit = TRUNCATIONS.get(selection.every)
            keys.append(f"cast(date_trunc('{unit or 'minute'}', window_start) AS varchar)")
        query = (
            f"SELECT approx_distinct(concat_ws(chr(31), {', '.join(keys)})) AS groups FROM data "
            f"WHERE {all_of(conditions_of(selection, lacking=self._lacking(table)))}"
        )
        groups = self._run(table, query)["groups"][0].as_py() or 0
        if groups > MOST_GROUPS:
            raise MissionControlError(
                f"that would be about {groups:,} rows, and {MOST_GROUPS:,} are the most: name the {made_up[0]} wanted, "
                "such as load(..., "
                f"{made_up[0]}=...), or a shorter interval with since and until, or leave {made_up[0]} out of by"
            )

    def _rows(self, table: contract.Table, query: str, schema: "pa.Schema") -> "pa.Table":
        """The result of a query of a table, named `data` in it; retried once if compaction has removed files."""
        if self._open(table) is None:
            return schema.empty_table()
        try:
            result = self._run(table, query)
        except MissionControlError:
            self._tables.pop(table.name)
            self._is_reopened = True
            result = self._run(table, query)
        return result.select(schema.names).cast(schema)

    def _run(self, table: contract.Table, query: str) -> "pa.Table":
        """The rows of a query, run by deltalake's query engine so that the summed rows are not copied to Python."""
        import pyarrow as pa
        from deltalake import QueryBuilder

        handle = self._open(table)
        if handle is None:
            raise MissionControlError(f"{table_url(self.url, table)} is gone")
        with _said_as(f"{table_url(self.url, table)} cannot be read"):
            return pa.table(QueryBuilder(ENGINE).register("data", handle).execute(query).read_all())


def _row_count(handle: "DeltaTable", selection: Selection) -> int:
    """The number of a table's rows in the days of a selection, according to its log."""
    import pyarrow as pa

    actions = pa.table(handle.get_add_actions(flatten=True))
    if "num_records" not in actions.column_names:
        return 0
    days, rows = actions["partition.submission_date"].to_pylist(), actions["num_records"].to_pylist()
    first = selection.since.date() if selection.since else date.min
    last = selection.until.date() if selection.until else date.max
    return sum(count or 0 for day, count in zip(days, rows, strict=True) if first <= day <= last)


def _delta_errors() -> tuple[type[Exception], ...]:
    """The exceptions that deltalake raises when it cannot read."""
    from deltalake.exceptions import DeltaError

    return (DeltaError, OSError)


@contextmanager
def _said_as(what: str) -> Iterator[None]:
    """Reports a failure to read in one line."""
    try:
        yield
    except Exception as error:
        # A file that disappears during a read raises a plain Exception; its subclasses are bugs in this code.
        if not isinstance(error, _delta_errors()) and type(error) is not Exception:
            raise
        raise MissionControlError(f"{what}: {reason_of(error)}") from error


@contextmanager
def _told_by_the_system(dataset: str) -> Iterator[None]:
    """Reports in one line why the system cannot access a path: its name is too long, or access is denied."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise MissionControlError(f"{shortened(dataset)} cannot be read: {reason}") from error
