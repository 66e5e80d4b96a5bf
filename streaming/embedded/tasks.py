"""The tasks of worker processes: counting a part of a source, and dropping duplicates among all parts."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from streaming import contract
from streaming.aggregation.deduplication import BUCKET_BITS, duplicate_dropper

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql.datasource import DataSource

BUCKETS = 1 << BUCKET_BITS


def count(data_source: "type[DataSource]", options: dict[str, str], part: Any) -> "list[pa.RecordBatch]":
    """The partial sums of a part of a source."""
    return list(data_source(options).streamReader(None).read(part))  # type: ignore[arg-type]


def count_into_buckets(
    data_source: "type[DataSource]", options: dict[str, str], part: Any, number: int, folder: Path
) -> None:
    """Writes the partial sums of a part by delivery into a file for each bucket of ids. number: of the part."""
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = contract.partial_schema(by_delivery=True)
    with ExitStack() as stack:
        outputs: dict[int, pa.RecordBatchStreamWriter] = {}
        batches: Any = data_source(options).streamReader(None).read(part)  # type: ignore[arg-type]
        for batch in batches:
            # The first byte of a hash; rows without an id are never duplicates.
            first = pc.binary_slice(batch["document"], 0, 1).fill_null(b"\0")
            firsts = pa.array([each[0] >> (8 - BUCKET_BITS) for each in first.to_pylist()], pa.int8())
            for bucket in pc.unique(firsts).to_pylist():
                if bucket not in outputs:
                    file = stack.enter_context(_path(folder, bucket, number).open("wb"))
                    options_ = pa.ipc.IpcWriteOptions(compression="lz4")
                    outputs[bucket] = stack.enter_context(pa.ipc.new_stream(file, schema, options=options_))
                outputs[bucket].write_batch(batch.filter(pc.equal(firsts, bucket)))


class Dropping(NamedTuple):
    """How duplicates are dropped. folder: of the parts' buckets; others: as of `duplicate_dropper`."""

    folder: Path
    number: int
    seen_ids: Path
    dataset: str | None
    max_rows: int
    late_us: int


def drop_duplicates(bucket: int, dropping: Dropping) -> "list[pa.RecordBatch]":
    """The partial sums of a bucket, without those of duplicates."""
    _, number, seen_ids, dataset, max_rows, late_us = dropping
    return list(
        duplicate_dropper(number, seen_ids, None, dataset, max_rows, late_us)(_rows_of(dropping.folder, bucket))
    )


def _rows_of(folder: Path, bucket: int) -> "Iterator[pa.RecordBatch]":
    import pyarrow as pa

    for path in sorted(folder.glob(_path(folder, bucket, "*").name)):
        with path.open("rb") as file, pa.ipc.open_stream(file) as batches:
            yield from batches


def _path(folder: Path, bucket: int, number: int | str) -> Path:
    return folder / f"{bucket}-{number}.arrow"
