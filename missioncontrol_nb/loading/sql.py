"""The SQL of a selection, and the Arrow schemas and sums of its result."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from missioncontrol_nb.loading.query import OFFICIAL_COLUMNS, Selection
from streaming import contract

if TYPE_CHECKING:
    import pyarrow as pa

    from missioncontrol_nb.releases.calendar import Calendar

TRUNCATIONS = {"1h": "hour", "1d": "day"}
_MISSING = {dimension.name: dimension.missing for dimension in contract.DIMENSIONS if dimension.at}
NO_KEYS: Mapping[str, str] = {}
# The first and the last name of the rows' products; if they differ, the rows are of several products.
PRODUCT_COLUMNS = ("first_product", "last_product")
# For many small files: reads more files at a time than there are cores, and no page index, which costs one more read
# per file. Two weeks by 5 minutes from 360 files on 2 cores take 0.18 s instead of 0.25 s.
ENGINE = {
    "datafusion.execution.target_partitions": "8",
    "datafusion.execution.parquet.enable_page_index": "false",
}


def product_columns(products: contract.Products) -> dict[str, str]:
    """The SQL of PRODUCT_COLUMNS."""
    of_others = [(name, product.name) for name, product in products.by_application.items() if name != product.name]
    cases = " ".join(f"WHEN {_text(name)} THEN {_text(product)}" for name, product in of_others)
    product = f"CASE application {cases} ELSE application END" if cases else "application"
    return dict(zip(PRODUCT_COLUMNS, (f"min({product})", f"max({product})"), strict=True))


def arrow_schema(columns: Iterable[str]) -> "pa.Schema":
    """The schema of some columns of the contract."""
    import pyarrow as pa

    return pa.schema([(column, contract.arrow_type(column)) for column in columns])


def sum_schema(selection: Selection, measures: Sequence[str]) -> "pa.Schema":
    """The schema of a selection's sums."""
    window = ("window_start",) if selection.every else ()
    return arrow_schema((*window, *selection.by, "count", "usage_hours", *measures))


def only_official(rows: "pa.Table", calendar: "Calendar", products: contract.Products) -> "pa.Table":
    """The rows whose build is official; there are few builds, so each is checked once.

    The calendar is of one product. Of a product without a calendar all builds are official, of an unknown application
    none.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    builds = rows.group_by(list(OFFICIAL_COLUMNS)).aggregate([]).to_pylist()
    official = [build for build in builds if _is_official(build, calendar, products)]
    if len(official) == len(builds):
        return rows
    names = [" ".join(build[column] for column in OFFICIAL_COLUMNS) for build in official]
    of_rows = pc.binary_join_element_wise(*(rows[column] for column in OFFICIAL_COLUMNS), " ")
    return rows.filter(pc.is_in(of_rows, pa.array(names, pa.string())))


def _is_official(build: Mapping[str, str], calendar: "Calendar", products: contract.Products) -> bool:
    product = products.by_application.get(build["application"])
    if product is None or product.calendar is None:
        return product is not None
    return calendar.is_official(build["display_version"], build["channel"], build["build_id"])


def summed_again(rows: "pa.Table", schema: "pa.Schema") -> "pa.Table":
    """Rows that were summed by more keys than the schema has, summed by the schema's keys, in their original order."""
    sums = [name for name in schema.names if name in (*contract.COUNTS, contract.ACTIVE_HOURS)]
    keys = [name for name in schema.names if name not in sums]
    if not len(rows) or set(rows.column_names) == set(schema.names):
        return rows.select(schema.names)
    summed = rows.group_by(keys, use_threads=False).aggregate([(name, "sum") for name in sums])
    return summed.rename_columns([name.removesuffix("_sum") for name in summed.column_names]).select(schema.names)


def with_products(schema: "pa.Schema") -> "pa.Schema":
    """The schema with PRODUCT_COLUMNS added."""
    import pyarrow as pa

    return pa.schema([*schema, *((name, pa.string()) for name in PRODUCT_COLUMNS)])


def sum_query(
    selection: Selection,
    measures: Sequence[str],
    more: Mapping[str, str] | None = None,
    keys: Mapping[str, str] = NO_KEYS,
) -> str:
    """The SQL of a request; more: further columns by name; keys: see `Handles.keys`.

    Without HAVING, a sum over no rows would be a row of nulls.
    """
    columns = [f"{key_of(name, keys)} AS {quoted_name(name)}" for name in selection.by]
    if selection.every:
        unit = TRUNCATIONS.get(selection.every)
        columns.insert(0, f"date_trunc('{unit}', window_start) AS window_start" if unit else "window_start")
    places = ", ".join(str(place) for place in range(1, len(columns) + 1))
    columns += [f"{sum_of(name)} AS {quoted_name(name)}" for name in ("count", "usage_hours", *measures)]
    grouped = f"GROUP BY {places} HAVING count(*) > 0 ORDER BY {places}" if places else "HAVING count(*) > 0"
    selected = ", ".join(columns) + more_columns(more or {})
    return f"SELECT {selected} FROM data WHERE {all_of(conditions_of(selection, keys=keys))} {grouped}"


def more_columns(columns: Mapping[str, str]) -> str:
    """Further columns of an SQL query, by name."""
    return "".join(f", {expression} AS {quoted_name(name)}" for name, expression in columns.items())


def conditions_of(
    selection: Selection, time_column: str = "window_start", keys: Mapping[str, str] = NO_KEYS
) -> list[str]:
    """The conditions on the rows; those on submission_date let the engine skip whole partitions."""
    conditions = [is_among(key_of(name, keys), values) for name, values in selection.filters.items()]
    if "os_version" in selection.filters:  # also as older rows have it
        raw = is_among("os_version", selection.filters["os_version"])
        conditions = [f"({each} OR {raw})" if _LINUX_VERSION in each else each for each in conditions]
    if selection.since:
        conditions.append(f"submission_date >= {_date(selection.since)}")
        conditions.append(f"{time_column} >= {_moment(selection.since)}")
    if selection.until:
        conditions.append(f"submission_date <= {_date(selection.until)}")
        conditions.append(f"{time_column} < {_moment(selection.until)}")
    return conditions


def key_of(name: str, keys: Mapping[str, str]) -> str:
    """A dimension in SQL; rows from before it was declared get the value of pings that do not report it.

    A version of Linux is cut to two numbers, as it is in rows that were counted since that is all of it that counts.
    keys: see `Handles.keys`.
    """
    if name == "os_version":
        return f"CASE WHEN os_name = 'Linux' AND os_version LIKE '%.%.%' THEN {_LINUX_VERSION} ELSE os_version END"
    if name in keys or name not in _MISSING:
        return keys.get(name, quoted_name(name))
    return f"coalesce({quoted_name(name)}, {_text(_MISSING[name])})"


_LINUX_VERSION = "concat(split_part(os_version, '.', 1), '.', split_part(os_version, '.', 2))"


def missing_key(name: str) -> str:
    """In SQL, the value of a dimension in a table that lacks it."""
    return _text(_MISSING[name])


def sum_of(name: str) -> str:
    """The sum of a column in SQL; active hours stand as seconds in the tables."""
    return f"sum({contract.ACTIVE_SECONDS}) / 3600.0" if name == contract.ACTIVE_HOURS else f"sum({quoted_name(name)})"


# Builds whose crash pings do not say the display version (153.0 for 153.0b3) while their other pings do.
_SAYS_LESS = "display_version = version"
_SAYING_LESS = f"SELECT build_id FROM data WHERE glean_crash_pings > 0 AND {_SAYS_LESS}"
ANY_SAYING_LESS_QUERY = f"{_SAYING_LESS} LIMIT 1"  # where there is none, it takes a fifth of the other query
DISPLAY_VERSIONS_QUERY = (
    "SELECT application, channel, version, build_id, display_version, sum(count) AS count FROM data "
    f"WHERE NOT ({_SAYS_LESS}) AND build_id IN ({_SAYING_LESS}) "
    "GROUP BY 1, 2, 3, 4, 5 ORDER BY count DESC LIMIT 1000"
)
_BUILD = ("application", "channel", "version", "build_id")


def display_version_key(rows: "pa.Table") -> str | None:
    """The display version in SQL, where that of other pings of the same build stands for one that says less.

    rows: the result of DISPLAY_VERSIONS_QUERY; None where there are none. Of several display versions of a build, it is
    the one that most pings have.
    """
    said: dict[tuple[str, ...], str] = {}
    for row in rows.to_pylist():
        said.setdefault(tuple(row[name] for name in _BUILD), row["display_version"])
    if not said:
        return None
    cases = []
    for build, shown in said.items():
        is_build = all_of(f"{name} = {_text(value)}" for name, value in zip(_BUILD, build, strict=True))
        cases.append(f"WHEN {is_build} THEN {_text(shown)}")
    return f"CASE WHEN NOT ({_SAYS_LESS}) THEN display_version {' '.join(cases)} ELSE display_version END"


def all_of(conditions: Iterable[str]) -> str:
    """Conditions joined by AND; TRUE without any."""
    return " AND ".join(conditions) or "TRUE"


def is_among(expression: str, values: Iterable[str]) -> str:
    """An expression's value is one of some texts, in SQL."""
    listed = ", ".join(_text(value) for value in values)
    return f"{expression} IN ({listed})" if listed else "FALSE"


def _text(value: str) -> str:
    """An SQL literal; in this dialect a quote is doubled, and no other character is special."""
    return "'" + value.replace("'", "''") + "'"


def quoted_name(name: str) -> str:
    """An SQL identifier; callers have checked the name against the contract."""
    return '"' + name.replace('"', '""') + '"'


def _date(moment: datetime) -> str:
    return f"DATE '{moment.date().isoformat()}'"  # strftime writes the year 1 without leading zeros


def _moment(moment: datetime) -> str:
    microseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return f"arrow_cast({microseconds}, 'Timestamp(Microsecond, Some(\"UTC\"))')"
