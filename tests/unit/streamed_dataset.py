"""A dataset as the appends of a job make it, and times at which it is maintained."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from streaming import contract
from streaming.aggregation.counter import Counter
from streaming.aggregation.partial_sums import rows_of
from streaming.dataset.writer import open_writers

NOW = datetime(2017, 10, 2, 15, 22, tzinfo=UTC)
LATER = NOW + timedelta(days=3)


def write(dataset: Path, *batches: list[bytes], first: int = 0) -> None:
    """Appends micro-batches as a job does."""
    writers = open_writers(str(dataset))
    for number, documents in enumerate(batches, first):
        counter = Counter()
        for document in documents:
            counter.add(document, 0)
        sums = pa.Table.from_batches([counter.partial_sums()])
        for writer in writers:
            up_to = NOW if writer.table is contract.ERROR_AGGREGATES else None
            writer.append(rows_of(writer.table, sums), number, "stream", up_to)
