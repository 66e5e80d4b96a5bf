"""Sums rows of the dataset: from partial sums, by fewer keys, or again once there are many rows."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from streaming import contract

if TYPE_CHECKING:
    import pyarrow as pa


def quoted(name: str) -> str:
    """A column's name, quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[str]) -> str:
    """Column names, quoted for SQL and separated by commas."""
    return ", ".join(map(quoted, names))


_TIMES = (*contract.WINDOW_COLUMNS, "submission_hour")


def rows_of(table: contract.Table, partials: "pa.Table") -> "pa.Table":
    """The rows of one table of the dataset, sorted by its keys, from rows of contract.partial_schema().

    No two of the partial sums may share a key.
    """
    rows = partials_of(table, partials)
    return _in_form(table, by_keys(table, rows) if table.of else rows)


def partials_of(table: contract.Table, partials: "pa.Table") -> "pa.Table":
    """The keys and sums of the partial sums that belong to a table, or to the table whose rows it sums."""
    import pyarrow.compute as pc

    counted = table.of or table
    return partials.select([*counted.keys, *counted.sums]).filter(pc.equal(partials["table"], counted.name))


def summed_rows(table: contract.Table, partials: "pa.Table") -> "pa.Table":
    """The rows of a table from results of partials_of, in which several rows may share a key."""
    return _in_form(table, by_keys(table, partials))


def add_up(partials: "pa.Table") -> "pa.Table":
    """Rows of contract.partial_schema() of which no two share a key, summed from the rows of several tasks."""
    keys, sums = [*contract.PARTIAL_KEYS, "file"], [*contract.COUNTS, "bytes"]
    aggregations = [*((name, "sum") for name in sums), ("newest_submission", "max")]
    summed = partials.group_by(keys, use_threads=False).aggregate(aggregations)
    return summed.rename_columns([*keys, *sums, "newest_submission"])


def as_uncounted(rows: "pa.Table", reason: str) -> "pa.Table":
    """A row of rejected_pings for each delivery in rows by delivery. reason: a key of REASONS."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = rows.filter(pc.equal(rows["table"], contract.ERROR_AGGREGATES.name))  # one row for each delivery
    known = {
        "table": pa.repeat(contract.REJECTED_PINGS.name, len(rows)),
        "document_type": rows["kind"],
        "reason": pa.repeat(reason, len(rows)),
        **{name: rows[name] for name in (*contract.WINDOW_COLUMNS, "count", "bytes")},
    }
    schema = contract.partial_schema()
    columns = [known[field.name] if field.name in known else pa.nulls(len(rows), field.type) for field in schema]
    return pa.table(columns, schema=schema)


def by_keys(table: contract.Table, rows: "pa.Table") -> "pa.Table":
    """Rows, also those of another table, summed by the keys of a table."""
    summed = rows.group_by(list(table.keys), use_threads=False).aggregate([(name, "sum") for name in table.sums])
    return summed.rename_columns([*table.keys, *table.sums])


def sum_query(table: contract.Table, condition: str = "TRUE") -> str:
    """SQL that sums the rows of `data`, also those of another table, by the keys of a table; sorted by file_order."""
    keys = listed(table.keys)
    sums = ", ".join(f"{_summed(name)} AS {quoted(name)}" for name in table.sums)
    return f"SELECT {keys}, {sums} FROM data WHERE {condition} GROUP BY {keys} ORDER BY {listed(file_order(table))}"


def file_order(table: contract.Table) -> tuple[str, ...]:
    """The columns by which the rows of a large file are sorted: dimensions first, time last.

    With dimensions first, the rows of a slice are adjacent: a slice of an hour's 1.2 million rows is in few row groups.
    The windows of a file are known without sorting by time.
    """
    return (*(key for key in table.keys if key not in _TIMES), *(key for key in table.keys if key in _TIMES))


def _summed(name: str) -> str:
    """The sum of a column in SQL; null where all of its rows are null: without counts there is no sum."""
    total = f"sum({quoted(name)})"
    return f"round({total} * 3600) / 3600" if name == "usage_hours" else total


def _in_form(table: contract.Table, rows: "pa.Table") -> "pa.Table":
    """Rows with the columns, types and order of the table.

    Usage is reported in whole seconds: rounding to seconds removes the differences that the order of addition makes.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if "usage_hours" in table.sums:
        hours = pc.divide(pc.round(pc.multiply(rows["usage_hours"], 3600.0)), 3600.0)
        rows = rows.set_column(rows.schema.get_field_index("usage_hours"), "usage_hours", hours)
    rows = rows.select([*table.keys, *table.sums]).cast(contract.schema(table))
    rows = rows.sort_by([(key, "ascending") for key in table.keys])
    return pa.Table.from_batches(rows.to_batches(), rows.schema)
