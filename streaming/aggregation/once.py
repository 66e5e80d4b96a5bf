"""One crash counts once: pings that report the same crash, by its event or its dump, are passed over but for the first.

The crash of a main process is sent at once and again at the next start, days later, as two documents. A ping is passed
over if another one of the same event, or of the same dump, was read before it: in an earlier micro-batch, or in the
same one and submitted earlier; and was submitted at most a number of days before or after it. Whether that other one
counted does not matter. So the first ping of a crash counts, and only the days around a ping decide.

The job decides, from the rows that tasks have packed, and notes events and dumps in its checkpoint, see
`seen_ids`: 48 bytes a ping. Files of notes are removed once all crash pings of a micro-batch are newer by so many days
and one more, because files may be read late.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from streaming import contract
from streaming.aggregation.crash_rows import unpacked
from streaming.aggregation.partial_sums import add_up, as_uncounted
from streaming.aggregation.seen_ids import LATE_US, Flags, Ids, SeenIds, Times, are_repeated, hold_between, ids_of
from streaming.aggregation.spill import BATCH_ROWS, spilled

if TYPE_CHECKING:
    import pyarrow as pa

SEEN_CRASHES_FOLDER = "crashes"  # in a checkpoint
DAY_US = 24 * 3600 * 1_000_000
SAME_CRASH = "same_crash"
_KEYS = ("crash_event", "crash_dump")


@dataclass(frozen=True)
class CountedBefore:
    """The crashes that a job has counted on other days than those that a backfill counts anew.

    folder: the job's seen crashes; since_us, until_us: when these days begin and end, microseconds since 1970.
    """

    folder: Path
    since_us: int
    until_us: int

    def hold(self, keys: "Sequence[_Keys]", window_us: int) -> Flags:
        """Which pings report crashes that count on other days.

        Such a crash was reported up to window_us before the days; or up to window_us after them, and not on them.
        """
        before, on, after = (np.zeros(keys[0].pings, bool) for _ in range(3))
        for ids, times, places, _ in keys:
            first, last = times - window_us, times + window_us
            before[places] |= hold_between(self.folder, ids, first, np.minimum(last, self.since_us - 1))
            on[places] |= hold_between(
                self.folder, ids, np.full_like(times, self.since_us), np.full_like(times, self.until_us - 1)
            )
            after[places] |= hold_between(self.folder, ids, np.maximum(first, self.until_us), last)
        return before | (after & ~on)


class _Keys(NamedTuple):
    """The events, or the dumps, of some of so many pings: hashes, times of submission, and places among the pings."""

    ids: Ids
    times: Times
    places: "np.ndarray[tuple[int], np.dtype[np.intp]]"
    pings: int


def count_once(
    sums: "pa.Table",
    number: int,
    folder: Path,
    days: int,
    counted_before: CountedBefore | None = None,
    dataset: str | None = None,
) -> "tuple[pa.Table, int]":
    """The sums of a micro-batch with its crash pings, each crash once; and how many rows of these there were.

    sums: rows of contract.partial_schema() with those of contract.CRASHES; number: of the micro-batch, from
    FIRST_NUMBER on; folder: where crashes are noted; days: how far back the same crash is looked for. dataset: where
    rows beyond BATCH_ROWS are written to files, as `spilled` does; None: nowhere.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    is_packed = pc.equal(sums["table"], contract.CRASHES)
    texts = sums.filter(is_packed)["file"].to_pylist()
    if not texts:
        return sums, 0
    pings = pa.concat_tables(map(_pings, texts))
    is_same = _find_same(pings, number, folder, days * DAY_US, counted_before)
    passed_over = pings["delivery"].filter(pa.array(is_same)).combine_chunks()
    counted = pa.Table.from_batches(spilled(_counted(texts, passed_over), dataset, BATCH_ROWS))
    others = sums.filter(pc.invert(is_packed)).select(contract.partial_schema().names).cast(contract.partial_schema())
    return add_up(pa.concat_tables([others, counted])), pc.sum(sums.filter(is_packed)["count"]).as_py()


def _pings(text: str) -> "pa.Table":
    """One row for each ping in a text of packed rows: its keys, its number and when it was submitted."""
    import pyarrow.compute as pc

    rows = unpacked(text)
    names = [*_KEYS, "delivery", "newest_submission"]
    return rows.filter(pc.equal(rows["table"], contract.ERROR_AGGREGATES.name)).select(names)


def _counted(texts: "Sequence[str]", passed_over: "pa.Array") -> "Iterator[pa.RecordBatch]":
    """The summed rows of the pings in each text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = contract.partial_schema()
    for text in texts:
        rows = unpacked(text)
        is_same = pc.is_in(rows["delivery"], value_set=passed_over)
        kept = rows.filter(pc.invert(is_same)).select(schema.names)
        summed = add_up(pa.concat_tables([kept, as_uncounted(rows.filter(is_same), SAME_CRASH)]))
        yield from summed.select(schema.names).cast(schema).to_batches()


def _find_same(
    pings: "pa.Table", number: int, folder: Path, window_us: int, counted_before: CountedBefore | None
) -> Flags:
    """Which pings report a crash that another one has reported; notes the crashes of all pings under the number."""
    submitted = pings["newest_submission"].cast("int64").to_numpy()
    deliveries = pings["delivery"].to_numpy()
    keys = [_keys(pings[name], submitted) for name in _KEYS]
    now_us = time.time_ns() // 1000
    oldest = min(int(submitted.min()), now_us)  # clocks that are ahead must not remove notes
    seen = SeenIds(folder, number, oldest - window_us - LATE_US, DAY_US)
    ids = np.concatenate([each.ids for each in keys], axis=1)
    times = np.concatenate([each.times for each in keys])
    is_same = np.zeros(len(pings), bool)
    is_same[np.concatenate([each.places for each in keys])[seen.hold(ids, times, window_us)]] = True
    for each in keys:
        is_same[each.places] |= are_repeated(each.ids, each.times, deliveries[each.places], window_us)
    if counted_before is not None:
        is_same |= counted_before.hold(keys, window_us)
    seen.add(ids, times, now_us)  # nor move them to a slice of the future
    return is_same


def _keys(hashes: "pa.ChunkedArray", submitted: Times) -> _Keys:
    places = np.flatnonzero(hashes.is_valid().to_numpy())
    return _Keys(ids_of(hashes.drop_null().to_pylist()), submitted[places], places, len(hashes))
