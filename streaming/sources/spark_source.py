"""Common parts of Spark's data sources of pings: partial sums as rows, and options for reading pings."""

import json
from collections.abc import Mapping
from datetime import datetime

from pyspark.sql.datasource import DataSource
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from streaming import contract
from streaming.aggregation.counter import Counter
from streaming.contract.products.product_file import as_document, product_of
from streaming.pings.envelope import Envelope


class PartialSums(DataSource):
    """A data source whose tasks read pings and return their partial sums."""

    def schema(self) -> StructType:
        """contract.partial_schema() as a Spark schema."""
        schema = contract.partial_schema(by_delivery=by_delivery(self.options))
        return from_arrow_schema(schema, prefer_timestamp_ntz=False)


def by_delivery(options: Mapping[str, str]) -> bool:
    """Whether rows are kept separate by delivery, so that duplicates can be dropped."""
    return options.get("by_delivery") == "true"


def reading_options(envelope: Envelope, products: contract.Products) -> dict[str, str]:
    """The options of a data source that define how pings are read."""
    submitted_at = envelope.submitted_at.isoformat() if envelope.submitted_at else None
    options = {"channel": envelope.channel, "country": envelope.country, "submitted_at": submitted_at}
    declared = [as_document(product) for product in products if product not in contract.PRODUCTS]
    options["products"] = json.dumps(declared)
    return {name: value for name, value in options.items() if value is not None}


def counter_of(options: Mapping[str, str]) -> Counter:
    """A counter of pings for options that reading_options made."""
    submitted_at = options.get("submitted_at")
    moment = datetime.fromisoformat(submitted_at) if submitted_at else None
    declared = map(product_of, json.loads(options.get("products", "[]")))
    return Counter(
        Envelope(options.get("channel"), options.get("country"), moment),
        products=contract.with_declared((), tuple(declared)),
        by_delivery=by_delivery(options),
        once=options.get("once") == "true",
    )
