"""Rows of the dataset, summed: out of partial sums, by fewer keys, or again once they are many."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from streaming import contract

if TYPE_CHECKING:
    import pyarrow as pa


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[str]) -> str:
    """Columns' names in SQL, one after the other."""
    return ", ".join(map(quoted, names))


_TIMES = (*contract.WINDOW_COLUMNS, "submission_hour")


def rows_of(table: contract.Table, partials: "pa.Table") -> "pa.Table":
    """The rows of one table of the dataset, sorted by its keys, out of rows of contract.partial_schema().

    Of those no two share a key.
    """
    rows = share_of(table, partials)
    return _in_form(table, by_keys(table, rows) if table.of else rows)


def share_of(table: contract.Table, partials: "pa.Table") -> "pa.Table":
    """The keys and sums of partial sums that belong to a table, or to the one that it sums."""
    import pyarrow.compute as pc

    counted = table.of or table
    return partials.select([*counted.keys, *counted.sums]).filter(pc.equal(partials["table"], counted.name))


def summed_rows(table: contract.Table, shares: "pa.Table") -> "pa.Table":
    """The rows of a table out of what share_of gave, of which several may share a key."""
    return _in_form(table, by_keys(table, shares))


def add_up(partials: "pa.Table") -> "pa.Table":
    """Rows of contract.partial_schema() of which no two share a key, out of those of several tasks."""
    keys, sums = [*contract.PARTIAL_KEYS, "file"], [*contract.COUNTS, "bytes"]
    asked = [*((name, "sum") for name in sums), ("newest_submission", "max")]
    summed = partials.group_by(keys, use_threads=False).aggregate(asked)
    return summed.rename_columns([*keys, *sums, "newest_submission"])


def by_keys(table: contract.Table, rows: "pa.Table") -> "pa.Table":
    """Rows, of another table too, summed by the keys of a table."""
    summed = rows.group_by(list(table.keys), use_threads=False).aggregate([(name, "sum") for name in table.sums])
    return summed.rename_columns([*table.keys, *table.sums])


def sum_query(table: contract.Table, condition: str = "TRUE") -> str:
    """SQL that sums the rows of `data`, of another table too, by the keys of a table; in the order of a file."""
    keys = listed(table.keys)
    sums = ", ".join(f"{_summed(name)} AS {quoted(name)}" for name in table.sums)
    return f"SELECT {keys}, {sums} FROM data WHERE {condition} GROUP BY {keys} ORDER BY {listed(file_order(table))}"


def file_order(table: contract.Table) -> tuple[str, ...]:
    """By what the rows of a large file are sorted: dimensions first, so that a slice lies together; time last.

    Which windows a file has is known without it. A slice of an hour's 1.2 million rows then is in few row groups.
    """
    return (*(key for key in table.keys if key not in _TIMES), *(key for key in table.keys if key in _TIMES))


def _summed(name: str) -> str:
    """The sum of a column in SQL; null where all of its rows are: a sum over nothing counted is none."""
    total = f"sum({quoted(name)})"
    return f"round({total} * 3600) / 3600" if name == "usage_hours" else total


def _in_form(table: contract.Table, rows: "pa.Table") -> "pa.Table":
    """Rows as the table has them.

    Use is reported in whole seconds: rounding to them takes out what the order of adding put in.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if "usage_hours" in table.sums:
        hours = pc.divide(pc.round(pc.multiply(rows["usage_hours"], 3600.0)), 3600.0)
        rows = rows.set_column(rows.schema.get_field_index("usage_hours"), "usage_hours", hours)
    rows = rows.select([*table.keys, *table.sums]).cast(contract.schema(table))
    rows = rows.sort_by([(key, "ascending") for key in table.keys])
    return pa.Table.from_batches(rows.to_batches(), rows.schema)
