"""The grouped dataset as pandas frames: filters and columns pushed down to its files, sums made where they are read."""

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
# Columns whose values a sender can invent: at worst a new value with each ping.
MADE_UP = (
    *("experiment_id", "experiment_branch", "build_id", "version", "display_version", "os_version"),
    *contract.ADDED_DIMENSIONS,
)
MANY_ROWS = 5_000_000  # of a table, in the days that are asked for
_Function = TypeVar("_Function", bound=Callable[..., Any])
MOST_GROUPS = 10_000_000  # rows of a sum, 0.2 kB each and more while they are made


def _with_filters(function: _Function) -> _Function:
    """The function, whose signature names the filters that it takes, for help and completion."""
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
    storage_options), or a Parquet file, or folder of them, of the older layout (see `legacy_parquet`).
    since, until: windows that start in [since, until); ISO text or datetimes, UTC unless they say otherwise.
    filters: values of dimensions, such as channel="beta"; no values keep no rows. Filters, measures and by take one
    name or several, as a list, tuple, set, array, Index or Series. measures: None is all. by: dimensions to keep apart.
    every: `5min`, `1h`, `1d`, or None for one sum over the whole interval. official: only builds that this calendar
    knows as official.
    Filtering or grouping by `experiment_id` or `experiment_branch` counts a ping once per experiment it is in.

    Columns: `window_start` (datetime64[us, UTC]; absent for every=None), the `by` columns, `count` (pings, int),
    `usage_hours` (hours, float), the measures (events, int). A window in which there is nothing is absent. Where no
    row of a sum counted a measure, as before it was declared, it is missing (NaN), which is not zero; a sum over that
    moment is of the rows that did, so begin with `since` behind it. Raises MissionControlError for unknown names,
    channels, systems and applications, where there is no dataset, and where rows of several products would be summed:
    Firefox and Fennec, which is Firefox for Android, are one; an application that no product declares is another.
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
    if rows.empty and not opened.tables():  # asked last, for it opens all tables, and a load takes one or two
        raise no_dataset(str(dataset))
    return rows


class Dataset:
    """A grouped dataset, its tables held open: what a dashboard queries again and again.

    A table that is not there yet is empty, and is looked for at each `refresh`. What is loaded is the state of
    the last refresh, unless its files were removed since. Safe for the threads of one process.
    """

    def __init__(self, url: str | Path, storage_options: Mapping[str, str] | None = None) -> None:
        """url: folder or `s3://` URL. Raises MissionControlError where there is no folder, or no credentials."""
        self.url = dataset_url(arguments.place("dataset", url))
        check_storage_options(storage_options)
        check_credentials(self.url, storage_options)
        self._options = all_options(self.url, storage_options)
        self._tables: dict[str, DeltaTable] = {}
        self._known: set[str] = set()  # the tables that were there at any time
        self._data_up_to: tuple[int, datetime | None] | None = None
        self._whole: DeltaTable | None = None  # the handle of a table that holds all of the one it sums
        self._is_reopened = False  # since the last refresh, because files were gone
        self._applications: tuple[int, set[str]] = (-2, set())  # of a version of a table
        self._lock = RLock()
        with _told_by_the_system(self.url):
            check_folder(self.url)

    @property
    def products(self) -> contract.Products:
        """The products that the dataset knows: those of the package and those that were declared to it."""
        return known_products(self._open(contract.ERROR_AGGREGATES))

    def tables(self) -> tuple[str, ...]:
        """The names of the tables that are there now."""
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
        """The sums, as `missioncontrol_nb.load` of this dataset gives them, with its arguments."""
        check_unknown(name for name in filters if name not in FILTERS)
        selection = select(since, until, filters, by=by, measures=measures, every=every)
        return self.load_selection(selection, official)

    def load_selection(self, selection: Selection, official: "Calendar | None" = None) -> "pd.DataFrame":
        """The sums of a request that has been put into one form."""
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
        """How late usage hours came, by submission hour in [since, until): what `statistics.completeness` takes.

        filters: `application`, `channel`, `os_name`. Columns: those, `submission_hour`, `delay_hours` (upper edge
        of the bucket, the last one infinite), `usage_hours`.
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
        """What was not counted, in windows of [since, until): columns `document_type`, `reason`, `count`."""
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
        where builds of several products are among them.
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
        """The applications that have any pings."""
        with self._lock:
            table = self._smallest(contract.ERROR_AGGREGATES, ["application"])
            handle = self._open(table)
            version = -1 if handle is None else handle.version()
            if self._applications[0] != version:
                rows = self._rows(table, "SELECT DISTINCT application FROM data", arrow_schema(["application"]))
                self._applications = version, {str(name) for name in rows["application"].to_pylist()}
            return self._applications[1]

    def data_up_to(self) -> datetime | None:
        """The newest submission in what is loaded (UTC): what the newest commit that says so says; None without."""
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
        """The days that hold pings and, for each, a number that changes when its files do. Takes 20 µs a file."""
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
        """The table as of the last refresh; None when it is not there yet."""
        return self._open(table)

    def refresh(self) -> bool:
        """Turns to the newest commits; True if there is one that was not known yet. Takes milliseconds.

        Raises MissionControlError where the dataset is gone, or one of its tables that was there, or out of reach.
        """
        with self._lock:
            self._check_present()
            newer = [self._is_newer(table) for table in contract.TABLES]
            is_reopened, self._is_reopened = self._is_reopened, False
        return is_reopened or any(newer)

    def _check_present(self) -> None:
        """Raises MissionControlError where there is no folder any more, or a table that was opened has no log.

        deltalake says nothing of it: the newest commit of a log that is gone is the one known last.
        """
        try:
            check_folder(self.url)
            for table in contract.TABLES:
                # one request, of the table that all others sum: each page of each visitor asks every few seconds
                if table.name in self._known and (table is contract.ERROR_AGGREGATES or not is_remote(self.url)):
                    self._check_log(table)
        except MissionControlError:
            self._tables.clear()  # whatever comes in its place is opened anew
            self._whole, self._data_up_to = None, None
            raise

    def _check_log(self, table: contract.Table) -> None:
        location = table_url(self.url, table)
        with _said_as(f"{location} cannot be read"):
            is_there_now = is_there(self.url, table, self._options)
        if not is_there_now:
            self._check_not_gone(table)

    def _is_newer(self, table: contract.Table) -> bool:
        """Whether the newest commit of a table, which is now turned to, was not known yet."""
        handle = self._tables.get(table.name)
        if handle is None:
            return self._open(table) is not None
        version = handle.version()
        try:
            handle.update_incremental()
            show_days(table_url(self.url, table))
        except _delta_errors():  # a table that was made anew under the handle
            self._tables.pop(table.name)
            return self._open(table) is not None
        return handle.version() != version

    def _open(self, table: contract.Table) -> "DeltaTable | None":
        """The handle of a table; None when it is not there yet. Raises MissionControlError when it is there no more."""
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
        """Raises MissionControlError where a table without a log was there before: it is not to be read as empty."""
        if table.name in self._known:
            location = table_url(self.url, table)
            raise MissionControlError(f"{location} is gone: it was there before, and has no log now")

    def _smallest(self, table: contract.Table, dimensions: Iterable[str]) -> contract.Table:
        """A table that sums this one, where it has the dimensions and all of the rows; else this one."""
        for coarse in contract.TABLES:
            if coarse.of is table and set(dimensions) <= set(coarse.keys) and self._is_whole(coarse):
                return coarse
        return table

    def _is_whole(self, table: contract.Table) -> bool:
        """Whether a table says so; the newest commits say it where the log was shortened under the handle."""
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
        """The measures that a table has: a dataset made before one was declared lacks it."""
        handle = self._open(table)
        if handle is None:
            return contract.MEASURE_NAMES
        columns = {field.name for field in handle.schema().fields}
        return tuple(name for name in contract.MEASURE_NAMES if name in columns)

    def _lacking(self, table: contract.Table) -> set[str]:
        """The dimensions that a table was made without, by another version."""
        handle = self._open(table)
        return set() if handle is None else set(table.keys) - {field.name for field in handle.schema().fields}

    def _sums(self, table: contract.Table, selection: Selection, measures: Sequence[str]) -> "pa.Table":
        """The sums of a request. Raises MissionControlError where they would be over several products."""
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

        Only names that strangers make up can be so many. They are counted, about, where a table has many rows at all.
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
        """What a query of a table, named `data` there, gives; read again once when its files were compacted away."""
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
        """The rows of a query, by the engine that deltalake brings: summing there moves no row to Python."""
        import pyarrow as pa
        from deltalake import QueryBuilder

        handle = self._open(table)
        if handle is None:
            raise MissionControlError(f"{table_url(self.url, table)} is gone")
        with _said_as(f"{table_url(self.url, table)} cannot be read"):
            return pa.table(QueryBuilder(ENGINE).register("data", handle).execute(query).read_all())


def _row_count(handle: "DeltaTable", selection: Selection) -> int:
    """How many rows a table has of the days of a selection, by its log."""
    import pyarrow as pa

    actions = pa.table(handle.get_add_actions(flatten=True))
    if "num_records" not in actions.column_names:
        return 0
    days, rows = actions["partition.submission_date"].to_pylist(), actions["num_records"].to_pylist()
    first = selection.since.date() if selection.since else date.min
    last = selection.until.date() if selection.until else date.max
    return sum(count or 0 for day, count in zip(days, rows, strict=True) if first <= day <= last)


def _delta_errors() -> tuple[type[Exception], ...]:
    """What deltalake raises when it cannot read."""
    from deltalake.exceptions import DeltaError

    return (DeltaError, OSError)


@contextmanager
def _said_as(what: str) -> Iterator[None]:
    """Says a failure to read in one line."""
    try:
        yield
    except Exception as error:
        # A file that is gone while its rows are read is a bare Exception; subclasses of it are bugs of ours.
        if not isinstance(error, _delta_errors()) and type(error) is not Exception:
            raise
        raise MissionControlError(f"{what}: {reason_of(error)}") from error


@contextmanager
def _told_by_the_system(dataset: str) -> Iterator[None]:
    """Says in one line why the system cannot tell what is at a path: its name is too long, or nobody may look there."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise MissionControlError(f"{shortened(dataset)} cannot be read: {reason}") from error
