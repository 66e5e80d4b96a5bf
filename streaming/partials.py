"""What the data sources have in common: partial sums as rows, and how an envelope reaches Spark's tasks."""

from collections.abc import Mapping
from datetime import datetime

from pyspark.sql.datasource import DataSource
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from streaming import contract
from streaming.pings import Envelope


class PartialSums(DataSource):
    """A data source whose tasks read pings and give their partial sums."""

    def schema(self) -> StructType:
        """contract.partial_schema(), as Spark spells it."""
        schema = contract.partial_schema(by_delivery=by_delivery(self.options))
        return from_arrow_schema(schema, prefer_timestamp_ntz=False)


def by_delivery(options: Mapping[str, str]) -> bool:
    """Whether rows are to be kept apart by delivery, so that duplicates can be dropped."""
    return options.get("by_delivery") == "true"


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
