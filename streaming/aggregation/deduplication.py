"""Deduplication: pings delivered again within an hour count once, by ids noted in a job's checkpoint.

A delivery is a duplicate if the same kind of ping with the same id was received up to an hour before it, whether or not
the earlier delivery was a duplicate too. So only the hour before a delivery decides. `receipt` defines when a message
was received; the micro-batches of a topic are in that order, so their boundaries and the point where counting began do
not matter. A line of a file was received when it was submitted. Files may be read in another order: a delivery that was
read before, and received up to an hour before or after, makes a later one a duplicate.

The rows of all deliveries of an id go to one task, by a bucket of the id's hash. The task looks up each id in
the ids that earlier micro-batches noted, and notes its own, see `seen_ids`. Files of notes are removed once no later
delivery can need them; those for files of pings a day later, because files may be read late.
"""

import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from streaming import contract
from streaming.aggregation.crash_rows import packed
from streaming.aggregation.partial_sums import add_up, as_uncounted
from streaming.aggregation.receipt import HOUR_MS
from streaming.aggregation.seen_ids import Flags, SeenIds, are_repeated, ids_of
from streaming.aggregation.spill import Spool, spilled
from streaming.errors import MissionControlError
from streaming.storage.durability import sync_folder

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

BUCKET_BITS = 4  # the first bits of a hash: one hexadecimal digit
SLICE_SECONDS = 600
TOKEN_FILE = "sign.txt"
SEEN_IDS_FOLDER = "deliveries"  # in a checkpoint
UNFINISHED_SEEN_IDS_FOLDER = "deliveries.unfinished"
OLD_SEEN_IDS_FOLDER = "documents"  # ids of versions that did not distinguish kinds of pings
_HOUR_US = HOUR_MS * 1000
_SLICE_US = SLICE_SECONDS * 1_000_000


def drop_duplicates(
    partials: "DataFrame",
    number: int,
    folder: Path,
    dataset: str | None = None,
    max_rows: int = 0,
    late_us: int = 0,
) -> "DataFrame":
    """Partial sums by delivery, without those of duplicates, which count as rejected pings.

    number: of the micro-batch, from FIRST_NUMBER on; folder: where ids are noted, visible to all tasks. dataset,
    max_rows: passed to spilled: where tasks write rows that exceed what they may pass on. late_us: how long after
    others a delivery may be read that was received before them, microseconds.
    """
    from pyspark.sql import functions
    from pyspark.sql.pandas.types import from_arrow_schema

    bucket = functions.substring(functions.hex("document"), 1, 1)
    schema = from_arrow_schema(contract.partial_schema(), prefer_timestamp_ntz=False)
    drop = duplicate_dropper(number, folder, write_token(folder), dataset, max_rows, late_us)
    return partials.repartition(bucket).mapInArrow(drop, schema)


def write_token(folder: Path) -> str:
    """Writes a random token that marks a folder of seen ids, and by which tasks check that they see the same folder."""
    token = str(uuid.uuid4())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOKEN_FILE).write_text(token)
    return token


def duplicate_dropper(
    number: int,
    folder: Path,
    token: str | None = None,
    dataset: str | None = None,
    max_rows: int = 0,
    late_us: int = 0,
) -> "Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]":
    """The function that a task applies to its rows. token: what the driver wrote into the token's file."""

    def drop(batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        if token is not None and not ((folder / TOKEN_FILE).is_file() and (folder / TOKEN_FILE).read_text() == token):
            raise MissionControlError(
                f"a worker does not see {str(folder)!r}: with --dedupe name a --checkpoint that all workers share"
            )
        yield from spilled(_without_duplicates(batches, number, folder, late_us), dataset, max_rows)

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


def _without_duplicates(
    batches: "Iterable[pa.RecordBatch]", number: int, folder: Path, late_us: int
) -> "Iterator[pa.RecordBatch]":
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
            are_duplicates = pa.array(_find_duplicates(deliveries, number, folder, late_us))
            repeated = deliveries["delivery"].filter(are_duplicates).combine_chunks()
        for chunk in rows.chunks():
            is_named = pc.is_valid(chunk["document"])
            is_duplicate = pc.and_(is_named, pc.is_in(chunk["delivery"], value_set=repeated))
            counted = chunk.filter(pc.invert(is_duplicate))
            of_crashes = pc.or_(pc.is_valid(counted["crash_event"]), pc.is_valid(counted["crash_dump"]))
            if pc.any(of_crashes).as_py():
                yield from packed(counted.filter(of_crashes))
                counted = counted.filter(pc.invert(of_crashes))
            summed = counted.select(contract.partial_schema().names)
            rejected = as_uncounted(chunk.filter(is_duplicate), "duplicate")
            yield from _summed(pa.concat_tables([summed, rejected])).to_batches()


def _deliveries(rows: "pa.Table") -> "pa.Table":
    """Each delivery of a document that has an id, and its time of receipt."""
    import pyarrow.compute as pc

    named = rows.select(["document", "delivery", "received"]).filter(pc.is_valid(rows["document"]))
    found = named.group_by(["document", "delivery"], use_threads=False).aggregate([("received", "min")])
    return found.select(["document", "delivery", "received_min"]).rename_columns(["document", "delivery", "received"])


def _summed(rows: "pa.Table") -> "pa.Table":
    schema = contract.partial_schema()
    return add_up(rows).select(schema.names).cast(schema)


def _find_duplicates(deliveries: "pa.Table", number: int, folder: Path, late_us: int) -> Flags:
    """Which deliveries are duplicates; notes all of them under the number, each in the bucket of its id."""
    ids, times = ids_of(deliveries["document"].to_pylist()), deliveries["received"].to_numpy()
    is_duplicate = are_repeated(ids, times, deliveries["delivery"].to_numpy(), _HOUR_US)
    buckets = ids[0] >> np.uint64(64 - BUCKET_BITS)
    for bucket in np.unique(buckets):
        here = np.flatnonzero(buckets == bucket)
        oldest = min(int(times[here].min()), time.time_ns() // 1000)  # clocks that are ahead must not remove notes
        since_us = oldest - _HOUR_US - late_us
        seen_ids = SeenIds(folder / str(bucket), number, since_us, _SLICE_US)
        is_duplicate[here] |= seen_ids.hold(ids[:, here], times[here], _HOUR_US)
        seen_ids.add(ids[:, here], times[here])
    return is_duplicate
