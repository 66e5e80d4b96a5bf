"""Partial sums as rows: what the data sources have in common, and what becomes of the rows."""

from datetime import datetime
from typing import TYPE_CHECKING

from pyspark.sql.datasource import DataSource
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from streaming import contract
from streaming.pings import Envelope

if TYPE_CHECKING:
    import pyarrow as pa


class PartialSums(DataSource):
    """A data source whose tasks read pings and give their partial sums."""

    def schema(self) -> StructType:
        """contract.partial_schema(), as Spark spells it."""
        return from_arrow_schema(contract.partial_schema(), prefer_timestamp_ntz=False)


def envelope_options(envelope: Envelope) -> dict[str, str]:
    """An envelope as options of a data source."""
    submitted_at = envelope.submitted_at.isoformat() if envelope.submitted_at else None
    options = {"channel": envelope.channel, "country": envelope.country, "submitted_at": submitted_at}
    return {name: value for name, value in options.items() if value is not None}


def envelope_of(options: dict[str, str]) -> Envelope:
    """The envelope that envelope_options wrote."""
    submitted_at = options.get("submitted_at")
    return Envelope(
        options.get("channel"), options.get("country"), datetime.fromisoformat(submitted_at) if submitted_at else None
    )


def rows_of(table: contract.Table, sums: "pa.Table") -> "pa.Table":
    """The rows of one table of the dataset, sorted by its keys.

    Use is reported in whole seconds: rounding to them takes out what the order of adding put in.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = sums.select([*table.keys, *table.sums]).filter(pc.equal(sums["table"], table.name))
    if "usage_hours" in table.sums:
        hours = pc.divide(pc.round(pc.multiply(rows["usage_hours"], 3600.0)), 3600.0)
        rows = rows.set_column(rows.schema.get_field_index("usage_hours"), "usage_hours", hours)
    rows = rows.cast(contract.schema(table))
    return pa.Table.from_batches(rows.sort_by([(key, "ascending") for key in table.keys]).to_batches(), rows.schema)
