"""The grouped dataset as pandas frames; filters and columns are pushed down to its files, the query engine sums."""

import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from missioncontrol_nb import arguments
from missioncontrol_nb.arguments import Time, Values, as_utc
from missioncontrol_nb.loading.cells import cell_dimensions, cell_rows
from missioncontrol_nb.loading.handles import Handles, said_as, told_by_the_system
from missioncontrol_nb.loading.query import (
    FILTERS,
    OFFICIAL_COLUMNS,
    Selection,
    check_dimensions,
    check_official,
    check_one_product,
    check_unknown,
    select,
)
from missioncontrol_nb.loading.reported import as_reported
from missioncontrol_nb.loading.sql import (
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
from missioncontrol_nb.loading.table_cache import TableCache
from streaming import contract
from streaming.dataset.opening import no_dataset, recorded_data_up_to
from streaming.dataset.stored_products import known_products
from streaming.errors import MissionControlError
from streaming.storage.locations import table_url

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
    `usage_hours` and `active_hours` (hours, float; `active_hours`: of those in which Glean baseline pings say that the
    user was active), the measures (events, int). A window without pings is absent. A measure is missing
    (NaN), which is not zero, where no summed row counted it, as before it was declared, and where none of the summed
    versions could report it on its channel and system: the clients do not have it, or none of the kinds of ping that
    report it has ever come. A sum in which only some versions report it is over the usage of all, like a sum across its
    declaration, so choose versions or a later `since`. measures can also name the numbers of pings by
    kind, `main_pings` and `crash_pings`.

    Raises MissionControlError for unknown names, channels, systems and applications, where there is no dataset, and
    where rows of several products would be summed. Firefox and Fennec (Firefox for Android) are one product; an
    application that no product declares is another one.
    """
    from missioncontrol_nb.loading import legacy_parquet

    check_unknown(name for name in filters if name not in FILTERS)
    selection = select(since, until, filters, by=by, measures=measures, every=every)
    check_official(official)
    dataset = arguments.place("dataset", dataset)
    with told_by_the_system(dataset):
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

    at: datetime | None = None  # the moment whose state is read, see DatasetAsOf; None: the newest

    def __init__(
        self,
        url: str | Path,
        storage_options: Mapping[str, str] | None = None,
        *,
        cache: TableCache | None = None,
    ) -> None:
        """url: folder or `s3://` URL. cache: what other processes have read from this dataset.

        Raises MissionControlError where the folder or the credentials are missing.
        """
        if cache is not None:
            arguments.instance("cache", cache, TableCache, "a TableCache")
        self._handles = Handles(url, storage_options, cache)
        self.url, self.cache = self._handles.url, cache

    @property
    def products(self) -> contract.Products:
        """The products that the dataset knows: those of the package and those declared to the dataset."""
        return known_products(self._handles.open(contract.ERROR_AGGREGATES))

    @property
    def storage_options(self) -> "Mapping[str, str] | None":
        """deltalake's options for the dataset's store, beyond the environment; None where it needs none."""
        return self._handles.options

    def tables(self) -> tuple[str, ...]:
        """The names of the tables that exist now."""
        return tuple(table.name for table in contract.TABLES if self._handles.open(table) is not None)

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
        return self._load(selection, official, self._reported_sums)

    def load_counted(
        self, selection: Selection, official: "Calendar | None" = None, *, is_shared: bool = True
    ) -> "pd.DataFrame":
        """The sums as they were counted: a measure is 0 also where no ping could report it.

        They include the numbers of pings by kind, if the request names no measures. is_shared: whether other processes
        may need the same sums, so that the cache keeps them.
        """
        return self._load(selection, official, partial(self._sums, is_shared=is_shared), contract.PING_COUNTS)

    def _load(
        self,
        selection: Selection,
        official: "Calendar | None",
        sums: "Callable[[contract.Table, Selection, Sequence[str]], pa.Table]",
        also: Sequence[str] = (),
    ) -> "pd.DataFrame":
        check_official(official)
        fine = contract.EXPERIMENT_ERROR_AGGREGATES if selection.is_about_experiments else contract.ERROR_AGGREGATES
        check_dimensions(selection, fine, official)
        selection.check_closed_values(self.products)
        with self._handles.lock:
            table = self._handles.smallest(fine, selection.dimensions)
            self._check_groups(table, selection)
            has_active = bool(self._handles.columns(table, (contract.ACTIVE_SECONDS,)))
            known = (
                *((contract.ACTIVE_HOURS,) if has_active else ()),
                *self._handles.columns(table, (*contract.MEASURE_NAMES, *contract.PING_COUNTS)),
            )
            usual = (*contract.MEASURE_NAMES, *(also or (contract.ACTIVE_HOURS,)))
            measures = selection.measures_among(known, [name for name in known if name in usual])
            if official is None:
                return sums(table, selection, measures).to_pandas()
            by_build = replace(selection, by=tuple(dict.fromkeys((*selection.by, *OFFICIAL_COLUMNS))))
            rows = sums(table, by_build, measures)
        return summed_again(only_official(rows, official, self.products), sum_schema(selection, measures)).to_pandas()

    def load_cells(
        self, selections: Sequence[Selection], measures: Sequence[str]
    ) -> "tuple[tuple[str, ...], list[pa.Table]]":
        """The sums of all builds by day or hour and by all dimensions of people and their systems, see `cells`.

        selections: with `every` of 1d or 1h; other fields than the interval and the filters do not count. Returns the
        dimensions, and a table for each selection; nothing where that would be too much to read.
        """
        with self._handles.lock:
            dimensions = cell_dimensions(self._handles, selections)
            return dimensions, [
                cell_rows(self._handles, each, dimensions, measures) for each in selections if dimensions
            ]

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
        with self._handles.lock:
            return self._handles.rows(contract.REPORTING_DELAYS, query, arrow_schema(DELAY_COLUMNS)).to_pandas()

    def load_rejected(self, since: Time = None, until: Time = None) -> "pd.DataFrame":
        """The rejected pings in windows of [since, until): columns `document_type`, `reason`, `count`."""
        return self._load_uncounted(select(since, until), "NOT IN")

    def load_passed_over(self, since: Time = None, until: Time = None) -> "pd.DataFrame":
        """The good pings that do not count, such as those of other kinds: arguments and columns as `load_rejected`."""
        return self._load_uncounted(select(since, until), "IN")

    def _load_uncounted(self, selection: Selection, is_in: str) -> "pd.DataFrame":
        reasons = ", ".join(f"'{reason}'" for reason in sorted(contract.PASSED_OVER))
        conditions = all_of([*conditions_of(selection), f"reason {is_in} ({reasons})"])
        query = (
            f"SELECT document_type, reason, sum(count) AS count FROM data WHERE {conditions} "
            "GROUP BY document_type, reason ORDER BY document_type, reason"
        )
        with self._handles.lock:
            return self._handles.rows(
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
        with self._handles.lock:
            table = self._handles.smallest(contract.ERROR_AGGREGATES, selection.dimensions)
            keys = self._handles.keys(table)
        columns = ", ".join(f"{key_of(name, keys)} AS {name}" for name in BUILD_COLUMNS)
        query = (
            f"SELECT {columns}, min(window_start) AS first_window, max(window_start) AS last_window, "
            f"sum(count) AS count, sum(usage_hours) AS usage_hours{more_columns(product_columns(self.products))} "
            f"FROM data WHERE {all_of(conditions_of(selection, keys=keys))} "
            "GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
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
        with self._handles.lock:
            rows = self._handles.rows(table, query, with_products(schema))
        self._check_products(rows)
        return rows.select(schema.names).to_pandas()

    def applications(self) -> set[str]:
        """The applications that have at least one ping."""
        with self._handles.lock:
            table = self._handles.smallest(contract.ERROR_AGGREGATES, ["application"])
            return self._handles.cached(table, "applications", lambda _: self._read_applications(table)) or set()

    def _read_applications(self, table: contract.Table) -> set[str]:
        rows = self._handles.rows(table, "SELECT DISTINCT application FROM data", arrow_schema(["application"]))
        return {str(name) for name in rows["application"].to_pylist()}

    def data_up_to(self) -> datetime | None:
        """The newest submission in the loaded state (UTC), from the newest commit that names one; None if none does."""
        return self._handles.cached(contract.ERROR_AGGREGATES, "data_up_to", self._read_data_up_to)

    def _read_data_up_to(self, handle: "DeltaTable") -> datetime | None:
        with said_as(f"{table_url(self.url, contract.ERROR_AGGREGATES)} cannot be read"):
            said = recorded_data_up_to(handle)
        return as_utc(contract.DATA_UP_TO, said)

    def files_by_day(self) -> dict[date, str]:
        """The days with pings and, for each, a text that changes when its files change; takes 20 µs per file."""
        import pyarrow as pa

        with self._handles.lock:
            table = self._handles.open(self._handles.smallest(contract.ERROR_AGGREGATES, ()))
            if table is None:
                return {}
            actions = pa.table(table.get_add_actions(flatten=True))
        paths: dict[date, list[str]] = {}
        for day, path in zip(
            actions["partition.submission_date"].to_pylist(), actions["path"].to_pylist(), strict=True
        ):
            paths.setdefault(day, []).append(path)
        return {day: hashlib.sha256("\n".join(sorted(of_day)).encode()).hexdigest() for day, of_day in paths.items()}

    def window(self) -> timedelta:
        """The length of the dataset's windows, taken from any row; that of the contract where there is none."""
        found = self._handles.cached(contract.ERROR_AGGREGATES, "window", lambda _: self._read_window())
        return found or contract.WINDOW

    def _read_window(self) -> timedelta | None:
        query = "SELECT window_start, window_end FROM data LIMIT 1"
        schema = arrow_schema(("window_start", "window_end"))
        with self._handles.lock:
            rows = self._handles.rows(contract.ERROR_AGGREGATES, query, schema).to_pylist()
        return rows[0]["window_end"] - rows[0]["window_start"] if rows else None

    def handle(self, table: contract.Table) -> "DeltaTable | None":
        """The table as of the last refresh; None where it does not exist yet."""
        return self._handles.open(table)

    def refresh(self) -> bool:
        """Updates all tables to their newest commits; True if any commit is new; takes milliseconds.

        Raises MissionControlError where the dataset, or a table that existed before, is gone or unavailable.
        """
        return self._handles.refresh()

    def _sums(
        self, table: contract.Table, selection: Selection, measures: Sequence[str], *, is_shared: bool = True
    ) -> "pa.Table":
        """The sums of a request. Raises MissionControlError where they would include several products."""
        schema = sum_schema(selection, measures)
        if not selection.may_mix(self.products):
            query = sum_query(selection, measures, keys=self._handles.keys(table))
            return self._handles.rows(table, query, schema, is_shared=is_shared)
        query = sum_query(selection, measures, product_columns(self.products), self._handles.keys(table))
        rows = self._handles.rows(table, query, with_products(schema), is_shared=is_shared)
        self._check_products(rows)
        return rows.select(schema.names)

    def _reported_sums(self, table: contract.Table, selection: Selection, measures: Sequence[str]) -> "pa.Table":
        """The sums of a request; a measure is null instead of 0 where no ping of the summed rows could report it."""
        sums = self._sums(table, selection, measures)
        return as_reported(self._handles, table, selection, self.products, sums, self.at)

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
        handle = self._handles.open(table)
        made_up = [name for name in selection.by if name in MADE_UP and name not in selection.filters]
        if handle is None or not made_up or self._handles.row_count(table, selection) <= MANY_ROWS:
            return
        keys = [key_of(name, self._handles.keys(table)) for name in selection.by]
        if selection.every:
            unit = TRUNCATIONS.get(selection.every)
            keys.append(f"cast(date_trunc('{unit or 'minute'}', window_start) AS varchar)")
        query = (
            f"SELECT approx_distinct(concat_ws(chr(31), {', '.join(keys)})) AS groups FROM data "
            f"WHERE {all_of(conditions_of(selection, keys=self._handles.keys(table)))}"
        )
        groups = self._handles.run(table, query)["groups"][0].as_py() or 0
        if groups > MOST_GROUPS:
            raise MissionControlError(
                f"that would be about {groups:,} rows, and {MOST_GROUPS:,} are the most: name the {made_up[0]} wanted, "
                "such as load(..., "
                f"{made_up[0]}=...), or a shorter interval with since and until, or leave {made_up[0]} out of by"
            )
