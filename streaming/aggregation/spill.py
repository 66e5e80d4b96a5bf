"""Rows beyond what a task may pass on: written into the tables' folders, so that memory stays bounded.

Rows that a task passes on go through Spark's JVM to the driver, at about 0.6 kB of memory a row. Beyond its limit
a task writes its rows to files itself, and passes on the data that a commit needs about each file. The driver commits
these files with the rest of the micro-batch. Files of a task that failed, or of a micro-batch that a table has already,
are in no commit; `missioncontrol maintain` reports how many there are.
"""

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

from streaming import contract
from streaming.aggregation.partial_sums import partials_of, rows_of, summed_rows
from streaming.errors import MissionControlError
from streaming.storage.locations import is_remote, is_s3, table_url
from streaming.storage.retry import RetryPolicy
from streaming.storage.store_errors import call_with_retry

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake.transaction import AddAction

BATCH_ROWS = 300_000  # that all tasks of a micro-batch together may pass on
MAX_SHARES = 60  # a task may pass on at least this fraction of them; few rows even for a hundred tasks
CHUNK_ROWS = 200_000  # rows that are written at once; 0.1 GB of memory
_REPORTED_COLUMNS = ("table", "reason")  # a run reports written rows grouped by these columns


def rows_per_task(batch_rows: int, tasks: int) -> int:
    """How many rows each of some tasks may pass to the driver, if all together may pass batch_rows."""
    return batch_rows // min(max(tasks, 1), MAX_SHARES)


def batch_rows(options: Mapping[str, str]) -> int:
    """How many rows all tasks of a micro-batch may pass on, from the options of a data source."""
    return int(options.get("batch_rows", BATCH_ROWS))


def spilled(batches: "Iterable[pa.RecordBatch]", dataset: str | None, max_rows: int) -> "Iterator[pa.RecordBatch]":
    """A task's rows of contract.partial_schema(): passed on as they are up to max_rows, the others written to files.

    For the written rows it yields rows of contract.WRITTEN_FILES and, with null keys, rows with the totals that are
    still to be noted. dataset: where files are written; None: nowhere, and all rows are passed on as they are.
    Raises MissionControlError where the dataset cannot be written.
    """
    unwritten, passed, is_full = _UnwrittenRows(), 0, False
    for batch in batches:
        is_full = is_full or passed + len(batch) > max_rows
        if dataset is None or not is_full:
            passed += len(batch)
            yield batch
            continue
        yield from unwritten.add(batch)
        if unwritten.rows >= CHUNK_ROWS:
            yield unwritten.write(dataset)
    if unwritten.rows and dataset is not None:
        yield unwritten.write(dataset)


class Spool:
    """Rows that are read twice: few are kept in memory, many in an unnamed temporary file."""

    def __init__(self, schema: "pa.Schema") -> None:
        self._schema = schema
        self._held: list[pa.RecordBatch] = []
        self._file: IO[bytes] | None = None
        self._output: pa.RecordBatchStreamWriter | None = None

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, batch: "pa.RecordBatch") -> None:
        """Adds rows."""
        import pyarrow as pa

        self._held.append(batch)
        if sum(map(len, self._held)) < CHUNK_ROWS:
            return
        if self._output is None:
            self._file = TemporaryFile()  # noqa: SIM115
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._output = pa.ipc.new_stream(self._file, self._schema, options=options)
        for each in self._held:
            self._output.write_batch(each)
        self._held = []

    def chunks(self) -> "Iterator[pa.Table]":
        """All rows that were added, about CHUNK_ROWS at a time."""
        import pyarrow as pa

        if self._output is not None and self._file is not None:
            self._output.close()
            self._file.seek(0)
            chunk: list[pa.RecordBatch] = []
            for batch in pa.ipc.open_stream(self._file):
                chunk.append(batch)
                if sum(map(len, chunk)) >= CHUNK_ROWS:
                    yield pa.Table.from_batches(chunk, self._schema)
                    chunk = []
            self._held = [*chunk, *self._held]
        if self._held:
            yield pa.Table.from_batches(self._held, self._schema)


class _UnwrittenRows:
    """Rows of a task that are still to be written."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.rows = 0
        self._held: dict[contract.Table, list[pa.Table]] = {table: [] for table in contract.COUNTED_TABLES}

    def add(self, batch: "pa.RecordBatch") -> "Iterator[pa.RecordBatch]":
        """Keeps the rows of tables; yields the other rows, and the totals to note of the kept ones."""
        import pyarrow as pa
        import pyarrow.compute as pc

        schema = contract.partial_schema()
        partials = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
        is_row = pc.is_valid(partials["submission_date"])
        yield from partials.filter(pc.invert(is_row)).to_batches()
        totals = partials.select([*_REPORTED_COLUMNS, "count", "bytes", "newest_submission"]).filter(is_row)
        totals = totals.group_by(list(_REPORTED_COLUMNS), use_threads=False).aggregate(
            [("count", "sum"), ("bytes", "sum"), ("newest_submission", "max")]
        )
        totals = totals.rename_columns([*_REPORTED_COLUMNS, "count", "bytes", "newest_submission"])
        yield pa.RecordBatch.from_pylist(totals.to_pylist(), schema=schema)
        for table, held in self._held.items():
            rows = partials_of(table, partials)
            if len(rows):
                held.append(rows)
                self.rows += len(rows)

    def write(self, dataset: str) -> "pa.RecordBatch":
        """Writes the rows, one file a table and day; returns the data that a commit needs about these files."""
        import pyarrow as pa

        files = [
            {"table": contract.WRITTEN_FILES, "file": json.dumps([table.name, each])}
            for table in contract.TABLES
            if self._held[table.of or table]
            for each in write_rows(
                summed_rows(table, pa.concat_tables(self._held[table.of or table])), table_url(dataset, table)
            )
        ]
        self._clear()
        return pa.RecordBatch.from_pylist(files, schema=contract.partial_schema())


def files_of(sums: "pa.Table") -> "tuple[pa.Table, dict[str, list[AddAction]]]":
    """The sums without the rows that name written files, and the written files by table."""
    import pyarrow.compute as pc
    from deltalake.transaction import AddAction

    files: dict[str, list[AddAction]] = {table.name: [] for table in contract.TABLES}
    is_file = pc.equal(sums["table"], contract.WRITTEN_FILES)
    for description in sums.filter(is_file)["file"].to_pylist():
        table, added = json.loads(description)
        files[table].append(AddAction(**added))
    return sums.filter(pc.invert(is_file)), files


def with_rows(sums: "pa.Table", files: "dict[str, list[AddAction]]", dataset: str) -> "dict[str, list[AddAction]]":
    """Writes the rows that tasks passed on; returns the given files and the new ones, by table."""
    import pyarrow.compute as pc
    from deltalake.transaction import AddAction

    partials = sums.filter(pc.is_valid(sums["submission_date"]))
    return {
        table.name: [
            *files[table.name],
            *(AddAction(**each) for each in write_rows(rows_of(table, partials), table_url(dataset, table))),
        ]
        for table in contract.TABLES
    }


def write_rows(rows: "pa.Table", url: str) -> Iterator[dict[str, Any]]:
    """Writes a file for each day; yields the arguments of Delta's AddAction. url: of the table, as from table_url.

    Raises MissionControlError where the folder cannot be written.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for day in pc.unique(rows["submission_date"]).to_pylist():
        day_rows = rows.filter(pc.equal(rows["submission_date"], day)).drop_columns("submission_date")
        path = f"submission_date={day}/part-{uuid.uuid4()}.snappy.parquet"
        content = BytesIO()
        pq.write_table(day_rows, content)
        _write_file(f"{url}/{path}", content.getbuffer())
        yield {
            "path": path,
            "size": len(content.getbuffer()),
            "partition_values": {"submission_date": str(day)},
            "modification_time": time.time_ns() // 1_000_000,
            "data_change": True,
            "stats": json.dumps(_statistics(day_rows)),
        }


def _write_file(url: str, content: memoryview) -> None:
    """Writes a file. The name is used literally: fsspec.open would read :: in it as a chain of URLs."""
    import fsspec

    def attempt(_: bool) -> None:
        if not is_remote(url):
            Path(url).parent.mkdir(parents=True, exist_ok=True)
            Path(url).write_bytes(content)
            return
        with fsspec.filesystem("s3").open(url, "wb") if is_s3(url) else fsspec.open(url, "wb") as file:
            file.write(content)

    try:
        call_with_retry(attempt, url, RetryPolicy())
    except OSError as error:
        raise MissionControlError(f"cannot write {url!r}: {error}") from error


def _statistics(rows: "pa.Table") -> dict[str, Any]:
    """Statistics for skipping a file: the range of each column except fractions, which may be infinite."""
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
