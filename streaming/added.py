"""Files that a cluster's tasks write into a dataset's tables, for the driver to commit: no grouped row comes to it.

A task that runs again writes other files; only those of the run that Spark reports are committed. The others, and those
of a job that was killed, are in no commit, and vacuuming removes them.
"""

import json
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streaming import contract
from streaming.errors import MissionControlError
from streaming.sums import rows_of
from streaming.table import is_remote, table_url

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake.transaction import AddAction
    from pyspark.sql import DataFrame

_ADDED = "added"  # a column beside those of partial sums: what a commit says of a file, as JSON
_NOTED = ("table", "reason", "file")  # what a run reports of a micro-batch is told apart by


def write_files(sums: "DataFrame", dataset: str) -> "tuple[pa.Table, dict[str, list[AddAction]]]":
    """Write the rows of sums, from the tasks that have them, into the tables' folders; nothing is committed.

    Returns what is left to note of the rows, of contract.partial_schema() with most keys null, and the files by table.
    Raises MissionControlError where the driver does not see what the tasks wrote.
    """
    from deltalake.transaction import AddAction
    from pyspark.sql.pandas.types import from_arrow_schema

    said = sums.mapInArrow(
        partial(_write_share, dataset=dataset), from_arrow_schema(_schema(), prefer_timestamp_ntz=False)
    ).toArrow()
    files: dict[str, list[AddAction]] = {table.name: [] for table in contract.TABLES}
    for table, added in zip(said["table"].to_pylist(), said[_ADDED].to_pylist(), strict=True):
        if added is not None:
            files[table].append(AddAction(**json.loads(added)))
    _check_seen(dataset, files)
    return said.filter(said[_ADDED].is_null()).drop_columns(_ADDED), files


def _schema() -> "pa.Schema":
    import pyarrow as pa

    return contract.partial_schema().append(pa.field(_ADDED, pa.string()))


def _write_share(batches: "Iterator[pa.RecordBatch]", dataset: str) -> "Iterator[pa.RecordBatch]":
    """What one task writes, and what it says of it."""
    import pyarrow as pa

    share = list(batches)
    if not share:
        return
    schema = contract.partial_schema()
    sums = pa.Table.from_batches(share).select(schema.names).cast(schema)
    noted = sums.group_by(list(_NOTED)).aggregate([("count", "sum"), ("bytes", "sum"), ("newest_submission", "max")])
    noted = noted.rename_columns([*_NOTED, "count", "bytes", "newest_submission"])
    added = [
        {"table": table.name, _ADDED: json.dumps(each)}
        for table in contract.TABLES
        for each in _write(rows_of(table, sums), table_url(dataset, table))
    ]
    yield from pa.Table.from_pylist([*noted.to_pylist(), *added], schema=_schema()).to_batches()


def _write(rows: "pa.Table", url: str) -> Iterator[dict[str, Any]]:
    """A file for each day; what Delta's AddAction takes."""
    import fsspec
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for day in pc.unique(rows["submission_date"]).to_pylist():
        share = rows.filter(pc.equal(rows["submission_date"], day)).drop_columns("submission_date")
        path = f"submission_date={day}/part-{uuid.uuid4()}.snappy.parquet"
        with fsspec.open(f"{url}/{path}", "wb", auto_mkdir=not is_remote(url)) as file:
            pq.write_table(share, file)
            size = file.tell()
        yield {
            "path": path,
            "size": size,
            "partition_values": {"submission_date": str(day)},
            "modification_time": time.time_ns() // 1_000_000,
            "data_change": True,
            "stats": json.dumps(_statistics(share)),
        }


def _statistics(rows: "pa.Table") -> dict[str, Any]:
    """What lets a reader pass over a file: the range of each column but those of fractions, which may be infinite."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ranges = {
        name: pc.min_max(rows[name]).as_py() for name in rows.column_names if not pa.types.is_floating(rows[name].type)
    }
    ends = {
        end: {name: _as_json(each[end]) for name, each in ranges.items() if each[end] is not None}
        for end in ("min", "max")
    }
    nulls = {name: rows[name].null_count for name in rows.column_names}
    return {"numRecords": len(rows), "minValues": ends["min"], "maxValues": ends["max"], "nullCount": nulls}


def _as_json(value: Any) -> Any:
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if isinstance(value, datetime) else value


def _check_seen(dataset: str, files: "dict[str, list[AddAction]]") -> None:
    if is_remote(dataset):
        return
    unseen = [f"{table}/{each.path}" for table, added in files.items() for each in added
              if not Path(dataset, table, each.path).is_file()]  # fmt: skip
    if unseen:
        raise MissionControlError(
            f"workers wrote {unseen[0]!r} and it is not in the dataset {dataset!r} here: with --write-from workers the "
            "dataset must be a folder that all share, or an s3:// URL"
        )
