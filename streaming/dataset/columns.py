"""Columns of tables that another version of this code made: missing columns, and columns unknown to this version."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from streaming import contract
from streaming.aggregation.partial_sums import quoted
from streaming.errors import MissionControlError

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties

# How columns of a newer version are treated: whole numbers are counts of events and are summed, the key types
# distinguish rows. Fractions, and columns of any other type, may be either.
_COUNT_TYPES = ("long", "integer", "short", "byte")
_KEY_TYPES = ("string", "boolean", "date", "timestamp", "timestamp_ntz")


def as_found(table: contract.Table, delta: "DeltaTable") -> contract.Table:
    """The table with the keys and sums that it really has; columns that this version does not declare come last.

    Raises MissionControlError where rows cannot be summed without loss.
    """
    types = _types(delta)
    missing = [key for key in table.keys if key not in types and key not in contract.ADDED_DIMENSIONS]
    if missing:
        raise MissionControlError(
            f"{table.name} has no column {missing[0]!r}, which its rows are told apart by: it was made by another "
            "version of Mission Control. Count into a new dataset"
        )
    keys, sums = [key for key in table.keys if key in types], [name for name in table.sums if name in types]
    for name in unknown_columns(table, delta):
        if types[name] in _COUNT_TYPES:
            sums.append(name)
        elif types[name] in _KEY_TYPES:
            keys.append(name)
        else:
            raise MissionControlError(
                f"{table.name} has a column {name!r} of type {types[name]}, which this version of Mission Control does "
                "not know: use the version that wrote it"
            )
    return replace(table, keys=tuple(keys), sums=tuple(sums))


def unknown_columns(table: contract.Table, delta: "DeltaTable") -> list[str]:
    """The columns of a table that this version of the code does not declare."""
    return [name for name in _types(delta) if name not in (*table.keys, *table.sums)]


def schema_of(delta: "DeltaTable") -> "pa.Schema":
    """The Arrow schema that a table really has."""
    import pyarrow as pa

    return pa.schema(delta.schema().to_arrow())


def fitted(rows: "pa.Table", delta: "DeltaTable") -> "pa.Table":
    """Rows with the columns of a table, in its order; null in columns that the rows lack: they were not counted.

    Raises MissionControlError where the rows have a column that the table lacks.
    """
    import pyarrow as pa

    schema = schema_of(delta)
    lost = [name for name in rows.column_names if name not in schema.names]
    if lost:
        raise MissionControlError(f"{delta.table_uri} has no column {lost[0]!r} to write to")
    columns = [
        rows[field.name].cast(field.type) if field.name in rows.column_names else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def add_missing(
    schema: "pa.Schema",
    delta: "DeltaTable",
    properties: "Callable[[DeltaTable], CommitProperties | None]",
    after: "PostCommitHookProperties | None" = None,
) -> None:
    """Adds the columns of a schema that a table lacks; existing rows get null, because they did not count them.

    Makes one commit, or none where no column is missing. properties: called for the properties of that commit; after:
    what deltalake does after it. Fails with Delta's CommitFailedError where another writer has committed in the
    meantime.
    """
    from deltalake import Field

    types = _types(delta)
    missing = [Field.from_arrow(field) for field in schema if field.name not in types]
    if missing:
        delta.alter.add_columns(missing, commit_properties=properties(delta), post_commithook_properties=after)


def check_no_unknown_counts(table: contract.Table, delta: "DeltaTable", condition: str) -> None:
    """Raises MissionControlError where matching rows hold counts of unknown measures, or values of unknown keys."""
    import pyarrow as pa
    from deltalake import QueryBuilder

    names = unknown_columns(table, delta)
    if not names:
        return
    counted = ", ".join(f"count({quoted(name)})" for name in names)
    query = f"SELECT {counted} FROM data WHERE {condition}"
    (row,) = pa.table(QueryBuilder().register("data", delta).execute(query).read_all()).to_pylist()
    held = [name for name, number in zip(names, row.values(), strict=True) if number]
    if held:
        raise MissionControlError(
            f"{table.name} holds counts of {', '.join(map(repr, held))} where {condition}: this version of Mission "
            "Control does not count them, and they would be lost. Use the version that wrote them"
        )


def _types(delta: "DeltaTable") -> Mapping[str, str]:
    """The columns of a table, in its order, and Delta's names of their types."""
    return {field.name: str(getattr(field.type, "type", field.type)) for field in delta.schema().fields}
