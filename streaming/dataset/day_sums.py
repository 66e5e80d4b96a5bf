"""Sums of a table's day, one row per combination of keys: computing, adding, subtracting, turning into rows again.

A sum is a whole number. It is null where none of its rows counted the measure, as before the measure was declared;
null plus a number is that number.

Usage is in whole seconds, as pings report it: sums of hours differ in their last digits by the order of addition.
"""

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from streaming import contract
from streaming.aggregation.partial_sums import sum_query
from streaming.dataset.columns import as_found, check_no_unknown_counts

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

USAGE_SECONDS = "usage_seconds"  # stands for usage_hours


def columns_of(table: contract.Table) -> dict[str, str]:
    """The names of a table's sum columns, and the name of each in this module."""
    return {name: USAGE_SECONDS if name == "usage_hours" else name for name in table.sums}


def sums_schema(table: contract.Table) -> "pa.Schema":
    """The Arrow schema of a table's sums."""
    import pyarrow as pa

    keys = [(key, contract.arrow_type(key)) for key in table.keys]
    return pa.schema([*keys, *((name, pa.int64()) for name in columns_of(table).values())])


def on_day(day: date) -> str:
    """The SQL condition for rows of a day of submission."""
    return f"submission_date = DATE '{day.isoformat()}'"


def day_sums(handle: "DeltaTable | None", table: contract.Table, day: date) -> "pa.Table":
    """The sums of a day in the snapshot that a table's handle has; empty where there is no table.

    Raises MissionControlError where the day holds counts of a measure that this version does not know: replacing the
    day would lose them.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from deltalake import QueryBuilder

    schema = sums_schema(table)
    if handle is None:
        return schema.empty_table()
    check_no_unknown_counts(table, handle, on_day(day))
    found = as_found(table, handle)
    counted, stored_keys = set(found.sums), set(found.keys)
    stored_table = replace(
        table,
        keys=tuple(name for name in table.keys if name in stored_keys),
        sums=tuple(name for name in table.sums if name in counted),
    )
    rows = pa.table(QueryBuilder().register("data", handle).execute(sum_query(stored_table, on_day(day))).read_all())
    nothing = pa.nulls(len(rows), pa.string())
    columns = {name: rows[name] if name in stored_keys else nothing for name in table.keys}
    for name, sum_name in columns_of(table).items():
        if name not in counted:
            columns[sum_name] = pa.nulls(len(rows), pa.int64())
        else:
            columns[sum_name] = pc.round(pc.multiply(rows[name], 3600.0)) if sum_name == USAGE_SECONDS else rows[name]
    return pa.table(columns).cast(schema)


def rows_on(handle: "DeltaTable | None", day: date) -> int:
    """The number of rows that a table has for a day, according to its log."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if handle is None:
        return 0
    actions = pa.table(handle.get_add_actions(flatten=True))
    if not len(actions):
        return 0
    is_of_day = pc.equal(actions["partition.submission_date"].cast(pa.date32()), pa.scalar(day))
    return pc.sum(actions.filter(is_of_day)["num_records"]).as_py() or 0


def days_of(handle: "DeltaTable | None") -> set[date]:
    """The days for which a table has rows."""
    import pyarrow as pa

    if handle is None:
        return set()
    return set(pa.table(handle.get_add_actions(flatten=True))["partition.submission_date"].to_pylist())


def added(table: contract.Table, first: "pa.Table", second: "pa.Table") -> "pa.Table":
    """Two tables of sums, added up by key."""
    import pyarrow as pa

    names = list(columns_of(table).values())
    grouped = pa.concat_tables([first, second]).group_by(list(table.keys))
    result = grouped.aggregate([(name, "sum") for name in names])
    return result.rename_columns([*table.keys, *names]).select(sums_schema(table).names)


def subtracted(table: contract.Table, sums: "pa.Table", less: "pa.Table") -> "pa.Table":
    """Sums minus `less`, without rows whose differences are all 0 or null; negative where `less` is greater."""
    import pyarrow.compute as pc

    for name in columns_of(table).values():
        less = less.set_column(less.schema.get_field_index(name), name, pc.negate(less[name]))
    rest = added(table, sums, less)
    adds = None
    for name in columns_of(table).values():
        is_some = pc.not_equal(pc.fill_null(rest[name], 0), 0)
        adds = is_some if adds is None else pc.or_(adds, is_some)
    return rest.filter(adds)


def are_same(table: contract.Table, first: "pa.Table", second: "pa.Table") -> bool:
    """Whether two tables of sums have the same keys and the same sums; null and 0 are not the same."""
    names, order = sums_schema(table).names, [(key, "ascending") for key in table.keys]
    return len(first) == len(second) and first.select(names).sort_by(order).equals(second.select(names).sort_by(order))


def has_negative(table: contract.Table, sums: "pa.Table") -> bool:
    """Whether any sum is negative: more was subtracted than there was."""
    import pyarrow.compute as pc

    return any((pc.min(sums[name]).as_py() or 0) < 0 for name in columns_of(table).values())


def totals(table: contract.Table, sums: "pa.Table") -> dict[str, float]:
    """The totals of all rows, by the table's column; usage in hours."""
    import pyarrow.compute as pc

    whole = {name: pc.sum(sums[sum_name]).as_py() or 0 for name, sum_name in columns_of(table).items()}
    return {name: total / 3600 if name == "usage_hours" else total for name, total in whole.items()}


def as_rows(table: contract.Table, sums: "pa.Table") -> "pa.Table":
    """Sums as rows of the dataset, sorted by their keys."""
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = contract.schema(table)
    columns = {name: sums[name] for name in table.keys}
    for name, sum_name in columns_of(table).items():
        is_hours = sum_name == USAGE_SECONDS
        columns[name] = pc.divide(sums[sum_name].cast(pa.float64()), 3600.0) if is_hours else sums[sum_name]
    rows = pa.table([columns[name] for name in schema.names], schema=schema)
    return rows.sort_by([(key, "ascending") for key in table.keys])
