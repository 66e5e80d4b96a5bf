"""Pings that are delivered twice count once: the ids of those of the last hour, kept beside Spark's checkpoint.

Spark brings the rows of all deliveries of an id to one task, by a bucket of its hash. That task knows the ids that
earlier micro-batches counted, keeps of several deliveries the first, and notes what is new under the number of its
micro-batch. One that comes again reads the same notes, for those of its own number are left out: which delivery counts
is the same each time, in all tables.

An id is noted as 16 bytes in sorted files that are mapped, not read: a task searches them and holds only what is its
micro-batch's own. Files are merged within ten minutes, and dropped as a whole. Time is that of receipt, as the topic
has it: what a client says of its own could forget all or keep all.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streaming import contract
from streaming.errors import MissionControlError
from streaming.sums import add_up

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

BUCKET_BITS = 4  # of a hash, the first: one hexadecimal digit
HOUR_SECONDS = 3600
SLICE_SECONDS = 600
FILES_A_SLICE = 8  # more are merged
SIGN = "sign.txt"
EARLY_SHARE = 0.01  # of a micro-batch's pings may be older than what it is taken to begin with
Ids = np.ndarray[Any, np.dtype[np.uint64]]  # two rows: the first and the second half of each hash, sorted by them


def drop_duplicates(partials: "DataFrame", number: int, folder: Path) -> "DataFrame":
    """Partial sums by delivery, without those of ids that were counted before; duplicates count as rejected pings.

    number: of the micro-batch; folder: where ids are noted, one that all tasks see.
    """
    from pyspark.sql import functions
    from pyspark.sql.pandas.types import from_arrow_schema

    bucket = functions.substring(functions.hex("document"), 1, 1)
    schema = from_arrow_schema(contract.partial_schema(), prefer_timestamp_ntz=False)
    return partials.repartition(bucket).mapInArrow(dropping(number, folder, _sign(folder)), schema)


def _sign(folder: Path) -> str:
    """Leaves a sign in the folder, by which tasks know that they see the same."""
    sign = str(uuid.uuid4())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SIGN).write_text(sign)
    return sign


def dropping(
    number: int, folder: Path, sign: str | None = None
) -> "Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]":
    """What a task does with its rows. sign: what the folder must hold, from where the job was started."""

    def drop(batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        import pyarrow as pa

        if sign is not None and not ((folder / SIGN).is_file() and (folder / SIGN).read_text() == sign):
            raise MissionControlError(
                f"a worker does not see {str(folder)!r}: with --dedupe name a --checkpoint that all workers share"
            )
        rows = pa.Table.from_batches(batches, contract.partial_schema(by_delivery=True))
        yield from _without_duplicates(rows, number, folder).to_batches()

    return drop


def _without_duplicates(rows: "pa.Table", number: int, folder: Path) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = contract.partial_schema().names
    named = rows.filter(pc.is_valid(rows["document"]))
    others = rows.filter(pc.is_null(rows["document"])).select(plain)
    if not len(named):
        return _summed(others)
    first = named.group_by("document", use_threads=False).aggregate([("delivery", "min"), ("received", "min")])
    first = first.rename_columns(["document", "first_delivery", "first_received"])
    is_new = _note(first, number, folder)
    named = named.join(first.append_column("is_new", pa.array(is_new)), "document", use_threads=False)
    counts = pc.and_(named["is_new"], pc.equal(named["delivery"], named["first_delivery"]))
    duplicates = _as_rejected(named.filter(pc.invert(counts)))
    return _summed(pa.concat_tables([others, named.filter(counts).select(plain), duplicates]))


def _summed(rows: "pa.Table") -> "pa.Table":
    schema = contract.partial_schema()
    return add_up(rows).select(schema.names).cast(schema)


def _as_rejected(rows: "pa.Table") -> "pa.Table":
    """A row of rejected_pings for each delivery."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = rows.filter(pc.equal(rows["table"], contract.ERROR_AGGREGATES.name))  # of each delivery one
    known = {
        "table": pa.repeat(contract.REJECTED_PINGS.name, len(rows)),
        "document_type": rows["kind"],
        "reason": pa.repeat("duplicate", len(rows)),
        **{name: rows[name] for name in (*contract.WINDOW_COLUMNS, "count", "bytes")},
    }
    schema = contract.partial_schema()
    columns = [known[field.name] if field.name in known else pa.nulls(len(rows), field.type) for field in schema]
    return pa.table(columns, schema=schema)


def _note(first: "pa.Table", number: int, folder: Path) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Which of the ids are new; those are noted under the micro-batch's number, each in its bucket."""
    ids = ids_of(first["document"].to_pylist())
    seconds = first["first_received"].to_numpy() // 1_000_000
    is_new = np.empty(ids.shape[1], bool)
    buckets = ids[0] >> np.uint64(64 - BUCKET_BITS)
    for bucket in np.unique(buckets):
        places = np.flatnonzero(buckets == bucket)
        begins = int(np.quantile(seconds[places], EARLY_SHARE, method="lower")) - HOUR_SECONDS
        notes = Notes(folder / str(bucket), number, begins)
        is_new[places] = ~notes.hold(ids[:, places])
        added = places[is_new[places]]
        notes.add(ids[:, added], int(seconds[places].max()))
    return is_new


def ids_of(hashes: list[bytes]) -> Ids:
    """Hashes of 16 bytes, as numbers."""
    return np.frombuffer(b"".join(hashes), ">u8").astype(np.uint64).reshape(-1, 2).T


@dataclass(frozen=True)
class _File:
    """Ids of the micro-batches from first to last; slice_: when the newest came, in tens of minutes since 1970."""

    path: Path
    first: int
    last: int
    slice_: int

    @classmethod
    def at(cls, path: Path) -> "_File":
        """The file of a path."""
        slice_, first, last = map(int, path.stem.split("-"))
        return cls(path, first, last, slice_)


class Notes:
    """The ids of a bucket that micro-batches before one have counted, since about a moment, seconds since 1970."""

    def __init__(self, folder: Path, number: int, begins: int) -> None:
        self._folder, self._number = folder, number
        folder.mkdir(parents=True, exist_ok=True)
        files = _whole_files(folder, number)
        # A micro-batch that comes again must find the same, so a file is left out by what merging leaves as it is.
        self._files = [file for file in files if file.slice_ >= begins // SLICE_SECONDS]
        for file in files:
            if file not in self._files:
                file.path.unlink(missing_ok=True)
        self._merge()

    def hold(self, ids: Ids) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        """Which of some ids are among them."""
        found = np.zeros(ids.shape[1], bool)
        for file in self._files:
            found |= _is_among(ids, np.load(file.path, mmap_mode="r"))
        return found

    def add(self, ids: Ids, newest: int) -> None:
        """Notes the ids of the micro-batch itself."""
        if ids.shape[1]:
            self._write(ids, _File(self._folder, self._number, self._number, newest // SLICE_SECONDS))

    def _write(self, ids: Ids, file: _File) -> _File:
        path = self._folder / f"{file.slice_}-{file.first}-{file.last}.npy"
        unfinished = path.with_suffix(".tmp")
        with unfinished.open("wb") as output:
            np.save(output, ids[:, np.lexsort((ids[1], ids[0]))])
            output.flush()
            os.fsync(output.fileno())
        unfinished.replace(path)
        return _File(path, file.first, file.last, file.slice_)

    def _merge(self) -> None:
        """Of each slice with many files one. All are of micro-batches that are done and will not come again."""
        for slice_ in {file.slice_ for file in self._files}:
            files = [file for file in self._files if file.slice_ == slice_]
            if len(files) > FILES_A_SLICE:
                ids = np.concatenate([np.load(file.path, mmap_mode="r") for file in files], axis=1)
                first, last = min(file.first for file in files), max(file.last for file in files)
                merged = self._write(ids, _File(self._folder, first, last, slice_))
                self._files = [file for file in self._files if file.slice_ != slice_] + [merged]
                for file in files:
                    file.path.unlink(missing_ok=True)


def _whole_files(folder: Path, before: int) -> list[_File]:
    """The files of micro-batches before one, without those that were merged into another and not yet removed."""
    files = [_File.at(path) for path in folder.glob("*.npy")]
    files = [file for file in files if file.last < before]
    return [
        file
        for file in files
        if not any(
            other is not file and other.slice_ == file.slice_ and other.first <= file.first and file.last <= other.last
            for other in files
        )
    ]


def _is_among(ids: Ids, sorted_ids: Ids) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Which ids are in a sorted file."""
    highs, lows = sorted_ids
    places = np.searchsorted(highs, ids[0])
    inside = places < len(highs)
    found = np.zeros(ids.shape[1], bool)
    candidates = np.flatnonzero(inside)
    candidates = candidates[highs[places[candidates]] == ids[0, candidates]]
    found[candidates] = lows[places[candidates]] == ids[1, candidates]
    for place in candidates[~found[candidates]]:  # ids with the same first half, which chance alone hardly makes
        same = slice(places[place], np.searchsorted(highs, ids[0, place], side="right"))
        found[place] = bool((lows[same] == ids[1, place]).any())
    return found
