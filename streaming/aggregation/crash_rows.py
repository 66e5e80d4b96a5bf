"""Rows of crash pings on their way to the driver: by delivery and packed, because only all of them together tell which
pings report the same crash.

About a hundred bytes a ping: as rows of their own they would be some 0.6 kB in Spark, and Spark would shuffle them.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import TYPE_CHECKING

from streaming import contract

if TYPE_CHECKING:
    import pyarrow as pa

PACKED_ROWS = 4096  # at most, in one text


def packed(rows: "pa.Table") -> "Iterator[pa.RecordBatch]":
    """Rows of contract.partial_schema(by_delivery=True) as rows of contract.CRASHES, whose `count` is that of rows."""
    import pyarrow as pa

    schema = contract.partial_schema(by_delivery=True)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    for start in range(0, len(rows), PACKED_ROWS):
        some, output = rows.slice(start, PACKED_ROWS), pa.BufferOutputStream()
        with pa.ipc.new_stream(output, schema, options=options) as stream:
            stream.write_table(some.select(schema.names).cast(schema))
        line = {"table": contract.CRASHES, "file": b64encode(output.getvalue()).decode(), "count": len(some)}
        yield pa.RecordBatch.from_pylist([line], schema=contract.partial_schema())


def unpacked(text: str) -> "pa.Table":
    """The rows in the text of a row of contract.CRASHES."""
    import pyarrow as pa

    return pa.ipc.open_stream(b64decode(text)).read_all()
