"""Deduplication: pings delivered again within an hour count once, by ids noted beside Spark's checkpoint.

A delivery is a duplicate if the same kind of ping with the same id was received up to an hour before it, whether or not
the earlier delivery was a duplicate too. So only the hour before a delivery decides. The boundaries of micro-batches
and the point where counting began do not matter. `receipt` defines when a message was received.

Spark sends the rows of all deliveries of an id to one task, by a bucket of the id's hash. The task looks up each id in
the ids that earlier micro-batches saw, and notes when its own ids were last received, under the number of its
micro-batch. A repeated micro-batch ignores the ids of its own number, so it decides the same for all tables.

An id with its time takes 24 bytes. Ids are in sorted files that are memory-mapped, not read: a task searches them and
holds only its own micro-batch in memory. Files of the same ten minutes of receipt are merged. Files are removed once no
later delivery can need them.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streaming import contract
from streaming.aggregation.partial_sums import add_up
from streaming.aggregation.receipt import HOUR_MS
from streaming.aggregation.spill import Spool, spilled
from streaming.errors import MissionControlError
from streaming.storage.durability import make_folder, sync_folder

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

BUCKET_BITS = 4  # the first bits of a hash: one hexadecimal digit
SLICE_SECONDS = 600
FILES_A_SLICE = 8  # a slice with more files is merged
TOKEN_FILE = "sign.txt"
SEEN_IDS_FOLDER = "deliveries"  # in a checkpoint
UNFINISHED_SEEN_IDS_FOLDER = "deliveries.unfinished"
OLD_SEEN_IDS_FOLDER = "documents"  # ids of versions that did not distinguish kinds of pings
FIRST_NUMBER = 1 << 32  # of the job's micro-batch 0; lower numbers are used for reading the hour before the first one
Ids = np.ndarray[Any, np.dtype[np.uint64]]  # two rows: the first and the second half of each hash
Times = np.ndarray[Any, np.dtype[np.int64]]  # times of receipt, microseconds since 1970
_HOUR_US = HOUR_MS * 1000
_SLICE_US = SLICE_SECONDS * 1_000_000
_NEVER = -(1 << 62)


def drop_duplicates(
    partials: "DataFrame", number: int, folder: Path, dataset: str | None = None, max_rows: int = 0
) -> "DataFrame":
    """Partial sums by delivery, without those of duplicates, which count as rejected pings.

    number: of the micro-batch, from FIRST_NUMBER on; folder: where ids are noted, visible to all tasks. dataset,
    max_rows: passed to spilled: where tasks write rows that exceed what they may pass on.
    """
    from pyspark.sql import functions
    from pyspark.sql.pandas.types import from_arrow_schema

    bucket = functions.substring(functions.hex("document"), 1, 1)
    schema = from_arrow_schema(contract.partial_schema(), prefer_timestamp_ntz=False)
    drop = duplicate_dropper(number, folder, write_token(folder), dataset, max_rows)
    return partials.repartition(bucket).mapInArrow(drop, schema)


def write_token(folder: Path) -> str:
    """Writes a random token that marks a folder of seen ids, and by which tasks check that they see the same folder."""
    token = str(uuid.uuid4())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOKEN_FILE).write_text(token)
    return token


def duplicate_dropper(
    number: int, folder: Path, token: str | None = None, dataset: str | None = None, max_rows: int = 0
) -> "Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]":
    """The function that a task applies to its rows. token: what the driver wrote into the token's file."""

    def drop(batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        if token is not None and not ((folder / TOKEN_FILE).is_file() and (folder / TOKEN_FILE).read_text() == token):
            raise MissionControlError(
                f"a worker does not see {str(folder)!r}: with --dedupe name a --checkpoint that all workers share"
            )
        yield from spilled(_without_duplicates(batches, number, folder), dataset, max_rows)

    return drop


def remove_seen_ids(checkpoint: Path) -> None:
    """Removes a checkpoint's seen ids, when micro-batches that note none follow; removes no other files."""
    _remove(checkpoint / UNFINISHED_SEEN_IDS_FOLDER)
    if (checkpoint / SEEN_IDS_FOLDER / TOKEN_FILE).is_file():
        (checkpoint / SEEN_IDS_FOLDER).rename(
            checkpoint / UNFINISHED_SEEN_IDS_FOLDER
        )  # partly removed ids must not look complete
        sync_folder(checkpoint)
        _remove(checkpoint / UNFINISHED_SEEN_IDS_FOLDER)
    _remove(checkpoint / OLD_SEEN_IDS_FOLDER)


def _remove(folder: Path) -> None:
    if (folder / TOKEN_FILE).is_file():
        for bucket in range(1 << BUCKET_BITS):
            shutil.rmtree(folder / str(bucket), ignore_errors=True)
        (folder / TOKEN_FILE).unlink()
        if not any(folder.iterdir()):
            folder.rmdir()


def _without_duplicates(batches: "Iterable[pa.RecordBatch]", number: int, folder: Path) -> "Iterator[pa.RecordBatch]":
    """Reads the rows twice, since duplicates are known only at the end; memory holds only the deliveries' ids."""
    import pyarrow as pa
    import pyarrow.compute as pc

    seen = []
    with Spool(contract.partial_schema(by_delivery=True)) as rows:
        for batch in batches:
            rows.add(batch)
            seen.append(_deliveries(pa.Table.from_batches([batch])))
        deliveries = _deliveries(pa.concat_tables(seen)) if seen else None
        repeated = pa.array([], pa.int64())
        if deliveries is not None and len(deliveries):
            repeated = (
                deliveries["delivery"].filter(pa.array(_find_duplicates(deliveries, number, folder))).combine_chunks()
            )
        for chunk in rows.chunks():
            is_named = pc.is_valid(chunk["document"])
            is_duplicate = pc.and_(is_named, pc.is_in(chunk["delivery"], value_set=repeated))
            counted = chunk.filter(pc.invert(is_duplicate)).select(contract.partial_schema().names)
            yield from _summed(pa.concat_tables([counted, _as_rejected(chunk.filter(is_duplicate))])).to_batches()


def _deliveries(rows: "pa.Table") -> "pa.Table":
    """Each delivery of a document that has an id, and its time of receipt."""
    import pyarrow.compute as pc

    named = rows.select(["document", "delivery", "received"]).filter(pc.is_valid(rows["document"]))
    found = named.group_by(["document", "delivery"], use_threads=False).aggregate([("received", "min")])
    return found.select(["document", "delivery", "received_min"]).rename_columns(["document", "delivery", "received"])


def _summed(rows: "pa.Table") -> "pa.Table":
    schema = contract.partial_schema()
    return add_up(rows).select(schema.names).cast(schema)


def _as_rejected(rows: "pa.Table") -> "pa.Table":
    """A row of rejected_pings for each delivery."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = rows.filter(pc.equal(rows["table"], contract.ERROR_AGGREGATES.name))  # one row for each delivery
    known = {
        "table": pa.repeat(contract.REJECTED_PINGS.name, len(rows)),
        "document_type": rows["kind"],
        "reason": pa.repeat("duplicate", len(rows)),
        **{name: rows[name] for name in (*contract.WINDOW_COLUMNS, "count", "bytes")},
    }
    schema = contract.partial_schema()
    columns = [known[field.name] if field.name in known else pa.nulls(len(rows), field.type) for field in schema]
    return pa.table(columns, schema=schema)


def _find_duplicates(deliveries: "pa.Table", number: int, folder: Path) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Which deliveries are duplicates; notes the last one of each id under the number, in the bucket of the id."""
    ids, times = ids_of(deliveries["document"].to_pylist()), deliveries["received"].to_numpy()
    order = np.lexsort((deliveries["delivery"].to_numpy(), times, ids[1], ids[0]))
    ids, times = ids[:, order], times[order]
    is_same = (ids[:, 1:] == ids[:, :-1]).all(axis=0)  # as the delivery before
    is_first, is_last = np.append(True, ~is_same), np.append(~is_same, True)
    before = np.append(_NEVER, times[:-1])
    buckets = ids[0] >> np.uint64(64 - BUCKET_BITS)
    for bucket in np.unique(buckets):
        is_here = buckets == bucket
        seen_ids = SeenIds(folder / str(bucket), number, int(times[is_here].min()) - _HOUR_US)
        first, last = is_here & is_first, is_here & is_last
        before[first] = seen_ids.last_received(ids[:, first])
        seen_ids.add(ids[:, last], times[last])
    is_duplicate = np.empty(len(times), bool)
    is_duplicate[order] = times - before <= _HOUR_US
    return is_duplicate


def ids_of(hashes: list[bytes]) -> Ids:
    """Hashes of 16 bytes, as numbers."""
    return np.frombuffer(b"".join(hashes), ">u8").astype(np.uint64).reshape(-1, 2).T


@dataclass(frozen=True)
class _IdsFile:
    """Ids of the micro-batches from first to last.

    slice_: when the newest id was received, in tens of minutes since 1970.
    """

    path: Path
    first: int
    last: int
    slice_: int

    @classmethod
    def at(cls, path: Path) -> "_IdsFile":
        """The file at a path."""
        slice_, first, last = map(int, path.stem.split("-"))
        return cls(path, first, last, slice_)


class SeenIds:
    """When the ids of a bucket were last received in earlier micro-batches.

    number: of the current micro-batch; since_us: older ids may be removed.
    """

    def __init__(self, folder: Path, number: int, since_us: int) -> None:
        self._folder, self._number = folder, number
        make_folder(folder)
        self._files = []
        for file in _complete_files(folder, number):
            if (file.slice_ + 1) * _SLICE_US > since_us:
                self._files.append(file)
            else:
                file.path.unlink(missing_ok=True)
        self._merge()

    def last_received(self, ids: Ids) -> Times:
        """When each of some ids was last received, microseconds since 1970; long before 1970 where none is noted."""
        last_received = np.full(ids.shape[1], _NEVER)
        for file in self._files:
            *known, times = np.load(file.path, mmap_mode="r")
            indices = _indices_among(ids, known)
            found = np.flatnonzero(indices >= 0)
            last_received[found] = np.maximum(last_received[found], times[indices[found]].astype(np.int64))
        return last_received

    def add(self, ids: Ids, times: Times) -> None:
        """Notes the ids of the micro-batch itself, each once."""
        if ids.shape[1]:
            newest = int(times.max()) // _SLICE_US
            self._write(
                np.vstack([ids, times.astype(np.uint64)]), _IdsFile(self._folder, self._number, self._number, newest)
            )

    def _write(self, rows: Ids, file: _IdsFile) -> _IdsFile:
        """Writes ids, one a column, and their times in a third row; only the last time of an id that occurs again."""
        path = self._folder / f"{file.slice_}-{file.first}-{file.last}.npy"
        unfinished = path.with_suffix(".tmp")
        rows = rows[:, np.lexsort((rows[2], rows[1], rows[0]))]
        is_last = np.append((rows[:2, 1:] != rows[:2, :-1]).any(axis=0), True)
        with unfinished.open("wb") as output:
            np.save(output, rows[:, is_last])
            output.flush()
            os.fsync(output.fileno())
        unfinished.replace(path)
        sync_folder(self._folder)  # a table that relies on the ids may survive a power cut, so they must too
        return _IdsFile(path, file.first, file.last, file.slice_)

    def _merge(self) -> None:
        """Merges the files of each slice with many files. All are of finished micro-batches, which are not repeated."""
        for slice_ in {file.slice_ for file in self._files}:
            files = [file for file in self._files if file.slice_ == slice_]
            if len(files) > FILES_A_SLICE:
                rows = np.concatenate([np.load(file.path, mmap_mode="r") for file in files], axis=1)
                first, last = min(file.first for file in files), max(file.last for file in files)
                merged = self._write(rows, _IdsFile(self._folder, first, last, slice_))
                self._files = [file for file in self._files if file.slice_ != slice_] + [merged]
                for file in files:
                    file.path.unlink(missing_ok=True)


def _complete_files(folder: Path, before: int) -> list[_IdsFile]:
    """The files of micro-batches before one, without files that were merged into another and not yet removed."""
    files = [_IdsFile.at(path) for path in folder.glob("*.npy")]
    files = [file for file in files if file.last < before]
    return [
        file
        for file in files
        if not any(
            other is not file and other.slice_ == file.slice_ and other.first <= file.first and file.last <= other.last
            for other in files
        )
    ]


def _indices_among(ids: Ids, known: Sequence[Ids]) -> "np.ndarray[Any, np.dtype[np.intp]]":
    """The position of each id in a sorted file; -1 where the file lacks the id."""
    highs, lows = known
    indices = np.searchsorted(highs, ids[0])
    found = np.full(ids.shape[1], -1)
    candidates = np.flatnonzero(indices < len(highs))
    candidates = candidates[highs[indices[candidates]] == ids[0, candidates]]
    is_match = lows[indices[candidates]] == ids[1, candidates]
    found[candidates[is_match]] = indices[candidates[is_match]]
    for candidate in candidates[~is_match]:  # ids with the same first half: very unlikely by chance
        first, end = indices[candidate], np.searchsorted(highs, ids[0, candidate], side="right")
        same = np.flatnonzero(lows[first:end] == ids[1, candidate])
        if len(same):
            found[candidate] = first + same[0]
    return found
