"""The grouped dataset as pandas frames: filters and columns pushed down to its files, sums made where they are read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from missioncontrol_nb import arguments
from missioncontrol_nb.arguments import Time, Values, as_utc
from missioncontrol_nb.selection import Selection, check_one_product, select
from streaming import contract
from streaming.errors import MissionControlError, shortened, unknown_name
from streaming.opening import (
    check_columns,
    check_folder,
    check_whole,
    has_log,
    is_there,
    no_dataset,
    open_table,
    reason_of,
    said_up_to,
)
from streaming.places import dataset_url, is_remote, show_days, table_url
from streaming.table import WHOLE_APP, check_credentials
from streaming.table import storage_options as all_options

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from deltalake import DeltaTable

    from missioncontrol_nb.releases import Calendar

FILTERS = tuple(dict.fromkeys((*contract.DIMENSIONS, *contract.EXPERIMENT_DIMENSIONS)))
ARGUMENTS = ("measures", "by", "every", "since", "until", "official")
DELAY_COLUMNS = ("application", "channel", "os_name", "submission_hour", "delay_hours", "usage_hours")
OFFICIAL_COLUMNS = ("application", "channel", "display_version", "build_id")
BUILD_COLUMNS = ("channel", "version", "display_version", "build_id")
# Columns whose values a sender can invent: at worst a new value with each ping.
MADE_UP = ("experiment_id", "experiment_branch", "build_id", "version", "display_version", "os_version")
MANY_ROWS = 5_000_000  # of a table, in the days that are asked for
MOST_GROUPS = 10_000_000  # rows of a sum, 0.2 kB each and more while they are made
_TRUNCATIONS = {"1h": "hour", "1d": "day"}
# The first and the last of the products that rows are of, by name: where they differ, there are several.
_OF_PRODUCT = ", ".join(f"'{name}'" for name in contract.PRODUCT)
_PRODUCT = f"CASE WHEN application IN ({_OF_PRODUCT}) THEN '{contract.PRODUCT[0]}' ELSE application END"
_PRODUCT_COLUMNS = {"first_product": f"min({_PRODUCT})", "last_product": f"max({_PRODUCT})"}
# For many small files: more of them at a time than there are cores, and no page index, which is one more read of each.
# Two weeks by 5 minutes out of 360 files on 2 cores: 0.18 s instead of 0.25 s.
_ENGINE = {
    "datafusion.execution.target_partitions": "8",
    "datafusion.execution.parquet.enable_page_index": "false",
}


def load(
    dataset: str | Path,
    since: Time = None,
    until: Time = None,
    *,
    channel: Values = None,
    os_name: Values = None,
    application: Values = None,
    version: Values = None,
    display_version: Values = None,
    build_id: Values = None,
    country: Values = None,
    os_version: Values = None,
    architecture: Values = None,
    experiment_id: Values = None,
    experiment_branch: Values = None,
    measures: str | Iterable[str] | None = None,
    by: str | Iterable[str] = (),
    every: str | None = "1h",
    official: "Calendar | None" = None,
    storage_options: Mapping[str, str] | None = None,
    **unknown: Any,
) -> "pd.DataFrame":
    """The sums of a dataset: one row per window and combination of the `by` columns, sorted by them.

    dataset: a folder or `s3://` URL with the dataset's tables (credentials from AWS_* variables or
    storage_options), or a Parquet file, or folder of them, of the older layout (see `older_layout`).
    since, until: windows that start in [since, until); ISO text or datetimes, UTC unless they say otherwise.
    Filters, measures and by take one name or several, as a list, tuple, set, array, Index or Series; a filter of no
    values keeps no rows. measures: None is all. by: dimensions to keep apart. every: `5min`, `1h`,
    `1d`, or None for one sum over the whole interval. official: only builds that this calendar knows as official.
    Filtering or grouping by `experiment_id` or `experiment_branch` counts a ping once per experiment it is in.

    Columns: `window_start` (datetime64[us, UTC]; absent for every=None), the `by` columns, `count` (pings, int),
    `usage_hours` (hours, float), the measures (events, int). A window in which there is nothing is absent. Where no
    row of a sum counted a measure, as before it was declared, it is missing (NaN), which is not zero; a sum over that
    moment is of the rows that did, so begin with `since` behind it. Raises MissionControlError for unknown names,
    channels, systems and applications, where there is no dataset, and where rows of several products would be summed:
    Firefox and Fennec, which is Firefox for Android, are one, any other application is another.
    """
    from missioncontrol_nb import older_layout

    filters: dict[str, Values] = {
        "channel": channel,
        "os_name": os_name,
        "application": application,
        "version": version,
        "display_version": display_version,
        "build_id": build_id,
        "country": country,
        "os_version": os_version,
        "architecture": architecture,
        "experiment_id": experiment_id,
        "experiment_branch": experiment_branch,
    }
    _check_unknown(unknown)
    selection = select(since, until, filters, by=by, measures=measures, every=every)
    _check_official(official)
    dataset = arguments.place("dataset", dataset)
    with _told_by_the_system(dataset):
        is_older = older_layout.is_older(dataset)
    if is_older:
        return older_layout.load_older(dataset, selection, official)
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
        _check_storage_options(storage_options)
        check_credentials(self.url, storage_options)
        self._options = all_options(self.url, storage_options)
        self._tables: dict[str, DeltaTable] = {}
        self._known: set[str] = set()  # the tables that were there at any time
        self._data_up_to: tuple[int, datetime | None] | None = None
        self._whole: DeltaTable | None = None  # the handle of a table that holds all of the one it sums
        self._is_reopened = False  # since the last refresh, because files were gone
        self._lock = RLock()
        with _told_by_the_system(self.url):
            check_folder(self.url)

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
        _check_unknown({name: value for name, value in filters.items() if name not in FILTERS})
        selection = select(since, until, filters, by=by, measures=measures, every=every)
        return self.load_selection(selection, official)

    def load_selection(self, selection: Selection, official: "Calendar | None" = None) -> "pd.DataFrame":
        """The sums of a request that has been put into one form."""
        _check_official(official)
        fine = contract.EXPERIMENT_ERROR_AGGREGATES if selection.is_about_experiments else contract.ERROR_AGGREGATES
        _check_dimensions(selection, fine, official)
        selection.check_closed_values()
        with self._lock:
            table = self._smallest(fine, selection.dimensions)
            self._check_groups(table, selection)
            measures = selection.measures_among(self._measures_of(table))
            if official is None:
                return self._sums(table, selection, measures).to_pandas()
            by_build = replace(selection, by=tuple(dict.fromkeys((*selection.by, *OFFICIAL_COLUMNS))))
            rows = self._sums(table, by_build, measures)
        return _summed_again(_only_official(rows, official), _sum_schema(selection, measures)).to_pandas()

    def load_delays(self, since: Time = None, until: Time = None, **filters: Values) -> "pd.DataFrame":
        """How late usage hours came, by submission hour in [since, until): what `rates.completeness` takes.

        filters: `application`, `channel`, `os_name`. Columns: those, `submission_hour`, `delay_hours` (upper edge
        of the bucket, the last one infinite), `usage_hours`.
        """
        selection = select(since, until, filters)
        selection.check_dimensions(DELAY_COLUMNS[:3])
        selection.check_closed_values()
        keys = ", ".join(DELAY_COLUMNS[:-1])
        query = (
            f"SELECT {keys}, sum(usage_hours) AS usage_hours FROM data "
            f"WHERE {_all(_conditions(selection, 'submission_hour'))} GROUP BY {keys} ORDER BY {keys}"
        )
        with self._lock:
            return self._rows(contract.REPORTING_DELAYS, query, _schema(DELAY_COLUMNS)).to_pandas()

    def load_rejected(self, since: Time = None, until: Time = None) -> "pd.DataFrame":
        """What was not counted, in windows of [since, until): columns `document_type`, `reason`, `count`."""
        selection = select(since, until)
        query = (
            f"SELECT document_type, reason, sum(count) AS count FROM data WHERE {_all(_conditions(selection))} "
            "GROUP BY document_type, reason ORDER BY document_type, reason"
        )
        with self._lock:
            return self._rows(contract.REJECTED_PINGS, query, _schema(("document_type", "reason", "count"))).to_pandas()

    def versions(self, since: Time = None, until: Time = None, **filters: Values) -> "pd.DataFrame":
        """The builds in use: `channel`, `version`, `display_version`, `build_id`, `first_window`, `last_window`
        (starts of windows, UTC), `count` (pings), `usage_hours`. filters: as for `load`. Raises MissionControlError
        where builds of several products are among them.
        """
        import pyarrow as pa

        selection = select(since, until, filters)
        selection.check_dimensions(contract.DIMENSIONS)
        selection.check_closed_values()
        keys = ", ".join(BUILD_COLUMNS)
        query = (
            f"SELECT {keys}, min(window_start) AS first_window, max(window_start) AS last_window, "
            f"sum(count) AS count, sum(usage_hours) AS usage_hours{_more(_PRODUCT_COLUMNS)} "
            f"FROM data WHERE {_all(_conditions(selection))} GROUP BY {keys} ORDER BY {keys}"
        )
        moment = contract.arrow_type("window_start")
        schema = pa.schema(
            [
                *_schema(BUILD_COLUMNS),
                ("first_window", moment),
                ("last_window", moment),
                *_schema(("count", "usage_hours")),
            ]
        )
        with self._lock:
            table = self._smallest(contract.ERROR_AGGREGATES, selection.dimensions)
            rows = self._rows(table, query, _with_products(schema))
        _check_products(rows)
        return rows.select(schema.names).to_pandas()

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
            self._check_unknown(table)

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
                self._check_unknown(table)
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
                self._check_unknown(table)
            return self._tables.get(table.name)

    def _check_unknown(self, table: contract.Table) -> None:
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

    def _sums(self, table: contract.Table, selection: Selection, measures: Sequence[str]) -> "pa.Table":
        """The sums of a request. Raises MissionControlError where they would be over several products."""
        schema = _sum_schema(selection, measures)
        if not selection.may_mix_products:
            return self._rows(table, _sum_query(selection, measures), schema)
        rows = self._rows(table, _sum_query(selection, measures, _PRODUCT_COLUMNS), _with_products(schema))
        _check_products(rows)
        return rows.select(schema.names)

    def _check_groups(self, table: contract.Table, selection: Selection) -> None:
        """Raises MissionControlError where a sum would have more rows than memory holds.

        Only names that strangers make up can be so many. They are counted, about, where a table has many rows at all.
        """
        handle = self._open(table)
        made_up = [name for name in selection.by if name in MADE_UP and name not in selection.filters]
        if handle is None or not made_up or _row_count(handle, selection) <= MANY_ROWS:
            return
        keys = [_name(name) for name in selection.by]
        if selection.every:
            unit = _TRUNCATIONS.get(selection.every)
            keys.append(f"cast(date_trunc('{unit or 'minute'}', window_start) AS varchar)")
        query = (
            f"SELECT approx_distinct(concat_ws(chr(31), {', '.join(keys)})) AS groups FROM data "
            f"WHERE {_all(_conditions(selection))}"
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
            return pa.table(QueryBuilder(_ENGINE).register("data", handle).execute(query).read_all())


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


def _check_unknown(filters: Iterable[str]) -> None:
    for name in filters:
        raise unknown_name("filter", name, (*FILTERS, *ARGUMENTS))


def _check_official(official: Any) -> None:
    """Raises MissionControlError for what is no calendar. Whoever has one has imported its module."""
    if official is None:
        return
    from missioncontrol_nb.releases import Calendar

    arguments.instance("official", official, Calendar, "a release calendar such as load_calendar() gives")


def _check_storage_options(storage_options: Any) -> None:
    """Raises MissionControlError for what is no mapping of text to text that UTF-8 can hold."""
    if storage_options is None:
        return
    options = arguments.instance("storage_options", storage_options, Mapping, "a dict of text to text")  # type: ignore[type-abstract]
    for each in (*options, *options.values()):
        arguments.utf8("storage_options", arguments.instance("storage_options", each, str, "a dict of text to text"))


def _check_dimensions(selection: Selection, table: contract.Table, official: "Calendar | None") -> None:
    known = set(table.keys) - set(contract.WINDOW_COLUMNS)
    everywhere = known | set(contract.DIMENSIONS)
    selection.check_dimensions(everywhere)
    missing = [name for name in selection.dimensions if name not in known]
    if selection.is_about_experiments and (missing or official is not None):
        what = ", ".join(missing) or "official builds"
        raise MissionControlError(
            f"experiments are counted by {', '.join(contract.EXPERIMENT_DIMENSIONS)} only, not by {what}"
        )


def _schema(columns: Iterable[str]) -> "pa.Schema":
    import pyarrow as pa

    return pa.schema([(column, contract.arrow_type(column)) for column in columns])


def _sum_schema(selection: Selection, measures: Sequence[str]) -> "pa.Schema":
    window = ("window_start",) if selection.every else ()
    return _schema((*window, *selection.by, "count", "usage_hours", *measures))


def _only_official(rows: "pa.Table", calendar: "Calendar") -> "pa.Table":
    """The rows whose build is official. There are few builds, so each is asked about once.

    The calendar is that of one product: of another one's builds it knows none.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    builds = rows.group_by(list(OFFICIAL_COLUMNS)).aggregate([]).to_pylist()
    official = [
        build
        for build in builds
        if build["application"] in contract.PRODUCT
        and calendar.is_official(build["display_version"], build["channel"], build["build_id"])
    ]
    if len(official) == len(builds):
        return rows
    names = [" ".join(build[column] for column in OFFICIAL_COLUMNS) for build in official]
    of_rows = pc.binary_join_element_wise(*(rows[column] for column in OFFICIAL_COLUMNS), " ")
    return rows.filter(pc.is_in(of_rows, pa.array(names, pa.string())))


def _summed_again(rows: "pa.Table", schema: "pa.Schema") -> "pa.Table":
    """Rows that were summed by more keys than those of the schema, summed by those; in the order they came in."""
    sums = [name for name in schema.names if name in contract.COUNTS]
    keys = [name for name in schema.names if name not in sums]
    if not len(rows) or set(rows.column_names) == set(schema.names):
        return rows.select(schema.names)
    summed = rows.group_by(keys, use_threads=False).aggregate([(name, "sum") for name in sums])
    return summed.rename_columns([name.removesuffix("_sum") for name in summed.column_names]).select(schema.names)


def _with_products(schema: "pa.Schema") -> "pa.Schema":
    import pyarrow as pa

    return pa.schema([*schema, *((name, pa.string()) for name in _PRODUCT_COLUMNS)])


def _check_products(rows: "pa.Table") -> None:
    """Raises MissionControlError where rows with _PRODUCT_COLUMNS are of several products."""
    import pyarrow.compute as pc

    ends = [pc.unique(rows[name].drop_null()).to_pylist() for name in _PRODUCT_COLUMNS]
    check_one_product(name for of_end in ends for name in of_end)


def _sum_query(selection: Selection, measures: Sequence[str], more: Mapping[str, str] | None = None) -> str:
    """The SQL of a request. more: further columns by name. HAVING: without it, a sum over nothing is a row of nulls."""
    keys = [_name(name) for name in selection.by]
    columns = list(keys)
    if selection.every:
        unit = _TRUNCATIONS.get(selection.every)
        columns.insert(0, f"date_trunc('{unit}', window_start) AS window_start" if unit else "window_start")
    places = ", ".join(str(place) for place in range(1, len(columns) + 1))
    columns += [f"sum({_name(name)}) AS {_name(name)}" for name in ("count", "usage_hours", *measures)]
    grouped = f"GROUP BY {places} HAVING count(*) > 0 ORDER BY {places}" if places else "HAVING count(*) > 0"
    selected = ", ".join(columns) + _more(more or {})
    return f"SELECT {selected} FROM data WHERE {_all(_conditions(selection))} {grouped}"


def _more(columns: Mapping[str, str]) -> str:
    """Further columns of an SQL query, by name."""
    return "".join(f", {expression} AS {_name(name)}" for name, expression in columns.items())


def _conditions(selection: Selection, time_column: str = "window_start") -> list[str]:
    """The conditions on the rows. Those on submission_date let whole partitions be left unread."""
    conditions = [_is_among(_name(name), values) for name, values in selection.filters.items()]
    if selection.since:
        conditions.append(f"submission_date >= {_date(selection.since)}")
        conditions.append(f"{time_column} >= {_moment(selection.since)}")
    if selection.until:
        conditions.append(f"submission_date <= {_date(selection.until)}")
        conditions.append(f"{time_column} < {_moment(selection.until)}")
    return conditions


def _all(conditions: Iterable[str]) -> str:
    return " AND ".join(conditions) or "TRUE"


def _is_among(expression: str, values: Iterable[str]) -> str:
    listed = ", ".join(_text(value) for value in values)
    return f"{expression} IN ({listed})" if listed else "FALSE"


def _text(value: str) -> str:
    """An SQL literal: in this dialect a quote is doubled, and nothing else is special."""
    return "'" + value.replace("'", "''") + "'"


def _name(name: str) -> str:
    """An SQL identifier; names are checked against the contract before they come here."""
    return '"' + name.replace('"', '""') + '"'


def _date(moment: datetime) -> str:
    return f"DATE '{moment.date().isoformat()}'"  # strftime writes the year 1 as 1


def _moment(moment: datetime) -> str:
    microseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return f"arrow_cast({microseconds}, 'Timestamp(Microsecond, Some(\"UTC\"))')"
