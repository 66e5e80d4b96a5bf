"""Times of receipt of a topic's messages, and micro-batches that are cut by these times; pure, no Kafka.

A message's time of receipt is the greatest timestamp among its own and those of earlier messages in its partition. So
times of receipt never decrease within a partition, and a moment divides every partition into messages before and after
it. Where each micro-batch ends at such a moment, micro-batches follow one another in the order of receipt, whatever
their size. Messages of the same millisecond are ordered by partition, then by offset.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

RECEIVED = "time"
"""The key of a time in Spark's offsets, beside `topic` and the partitions: no later message was received before it."""
HOUR_MS = 3_600_000
SETTLE_MS = 5000  # a message is visible in its partition at most this long after its time of receipt
Offsets = Mapping[str, int]  # by partition, the offset of the message to read next


class Cut(NamedTuple):
    """The end of a micro-batch: no later message is received before received_ms, milliseconds since 1970."""

    received_ms: int
    offsets: dict[str, int]


class Receipts:
    """Times of receipt of a micro-batch's messages, which must be given in the order of their partition.

    since_ms, until_ms: the micro-batch's bounds. A timestamp after until_ms is from a clock that is ahead: its message
    counts as received at until_ms.
    """

    def __init__(self, since_ms: int = 0, until_ms: int | None = None) -> None:
        self._since_ms, self._until_ms = since_ms, until_ms
        self._newest: dict[int, int] = {}

    def received_us(self, partition: int, timestamp_ms: int) -> int:
        """The time of receipt of a partition's next message, microseconds since 1970."""
        if self._until_ms is not None and timestamp_ms > self._until_ms:
            return self._until_ms * 1000
        newest = max(self._newest.get(partition, self._since_ms), timestamp_ms)
        self._newest[partition] = newest
        return newest * 1000


def cut(begin: Offsets, since_ms: int, all_: Cut, room: int, offsets_at: Callable[[int], Offsets]) -> Cut:
    """The end of a micro-batch of at most `room` messages, at least one, and if possible at least half of `room`.

    begin, since_ms: the end of the previous micro-batch. all_: where a micro-batch of all messages would end; it holds
    at least one. offsets_at: by partition, the offset of the first message received at a time or later.
    """

    def before(received_ms: int) -> dict[str, int]:
        found = offsets_at(received_ms)
        return {place: min(max(found[place], begin.get(place, 0)), end) for place, end in all_.offsets.items()}

    room = max(room, 1)
    total = _messages(begin, all_.offsets)
    if total <= room:
        return all_
    low, high = (
        Cut(since_ms, {place: begin.get(place, 0) for place in all_.offsets}),
        all_._replace(received_ms=max(all_.received_ms, since_ms) + 1),
    )
    middle_ms = since_ms + (high.received_ms - since_ms) * room // total  # first guess: as if messages came evenly
    while high.received_ms - low.received_ms > 1 and 2 * _messages(begin, low.offsets) < room:
        middle_ms = min(max(middle_ms, low.received_ms + 1), high.received_ms - 1)
        middle = Cut(middle_ms, before(middle_ms))
        if _messages(begin, middle.offsets) <= room:
            low = middle
        else:
            high = middle
        middle_ms = (low.received_ms + high.received_ms) // 2
    if _messages(begin, low.offsets):
        return low
    return Cut(low.received_ms, _first(room, low.offsets, high.offsets))


def settled(ends: Offsets, newest_ms: int, now_ms: int, offsets_at: Callable[[int], Offsets]) -> Cut:
    """The end of the messages that no message received earlier can follow: those of at least SETTLE_MS ago.

    ends: where partitions end now; newest_ms: the greatest timestamp in them. A partition with messages from a clock
    that is ahead is read to its end: it must not wait for that time.
    """
    until_ms = now_ms - SETTLE_MS
    if newest_ms <= until_ms:
        return Cut(newest_ms, dict(ends))
    found = offsets_at(until_ms)
    ahead = offsets_at(now_ms + SETTLE_MS) if newest_ms >= now_ms + SETTLE_MS else ends
    return Cut(
        until_ms,
        {place: end if ahead[place] < end else min(found[place], end) for place, end in ends.items()},
    )


def received_since(begin: Offsets, ends: Offsets, newest_ms: int, offsets_at: Callable[[int], Offsets]) -> int:
    """The latest time before which no message from `begin` on was received, milliseconds since 1970."""
    low, high = 0, newest_ms + 1
    while high - low > 1:
        middle = (low + high) // 2
        found = offsets_at(middle)
        if all(min(found[place], end) <= begin.get(place, 0) for place, end in ends.items() if place in begin):
            low = middle
        else:
            high = middle
    return low


def _messages(begin: Offsets, end: Offsets) -> int:
    return sum(offset - begin.get(place, 0) for place, offset in end.items())


def _first(room: int, begin: Offsets, end: Offsets) -> dict[str, int]:
    """The offsets after the first `room` messages of one millisecond, taken partition by partition."""
    offsets = {}
    for place in sorted(end, key=int):
        taken = min(room, end[place] - begin[place])
        offsets[place] = begin[place] + taken
        room -= taken
    return offsets
