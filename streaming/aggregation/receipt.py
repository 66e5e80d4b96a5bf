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


class BatchEnd(NamedTuple):
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


def find_batch_end(
    begin: Offsets, since_ms: int, last_end: BatchEnd, max_messages: int, offsets_at: Callable[[int], Offsets]
) -> BatchEnd:
    """The end of a micro-batch of at most max_messages messages, at least one, and if possible at least half as many.

    begin, since_ms: the end of the previous micro-batch. last_end: where a micro-batch of all messages would end; it
    holds at least one. offsets_at: by partition, the offset of the first message received at a time or later.
    """

    def end_offsets_at(received_ms: int) -> dict[str, int]:
        found = offsets_at(received_ms)
        return {
            partition: min(max(found[partition], begin.get(partition, 0)), end)
            for partition, end in last_end.offsets.items()
        }

    max_messages = max(max_messages, 1)
    total = _message_count(begin, last_end.offsets)
    if total <= max_messages:
        return last_end
    low, high = (
        BatchEnd(since_ms, {partition: begin.get(partition, 0) for partition in last_end.offsets}),
        last_end._replace(received_ms=max(last_end.received_ms, since_ms) + 1),
    )
    # First guess: as if messages came evenly.
    middle_ms = since_ms + (high.received_ms - since_ms) * max_messages // total
    while high.received_ms - low.received_ms > 1 and 2 * _message_count(begin, low.offsets) < max_messages:
        middle_ms = min(max(middle_ms, low.received_ms + 1), high.received_ms - 1)
        middle = BatchEnd(middle_ms, end_offsets_at(middle_ms))
        if _message_count(begin, middle.offsets) <= max_messages:
            low = middle
        else:
            high = middle
        middle_ms = (low.received_ms + high.received_ms) // 2
    if _message_count(begin, low.offsets):
        return low
    return BatchEnd(low.received_ms, _first_messages(max_messages, low.offsets, high.offsets))


def settled(ends: Offsets, newest_ms: int, now_ms: int, offsets_at: Callable[[int], Offsets]) -> BatchEnd:
    """The end of the messages that no message received earlier can follow: those of at least SETTLE_MS ago.

    ends: where partitions end now; newest_ms: the greatest timestamp in them. A partition with messages from a clock
    that is ahead is read to its end: it must not wait for that time.
    """
    until_ms = now_ms - SETTLE_MS
    if newest_ms <= until_ms:
        return BatchEnd(newest_ms, dict(ends))
    found = offsets_at(until_ms)
    ahead = offsets_at(now_ms + SETTLE_MS) if newest_ms >= now_ms + SETTLE_MS else ends
    return BatchEnd(
        until_ms,
        {partition: end if ahead[partition] < end else min(found[partition], end) for partition, end in ends.items()},
    )


def received_since(begin: Offsets, ends: Offsets, newest_ms: int, offsets_at: Callable[[int], Offsets]) -> int:
    """The latest time before which no message from `begin` on was received, milliseconds since 1970."""
    low, high = 0, newest_ms + 1
    while high - low > 1:
        middle = (low + high) // 2
        found = offsets_at(middle)
        if all(
            min(found[partition], end) <= begin.get(partition, 0)
            for partition, end in ends.items()
            if partition in begin
        ):
            low = middle
        else:
            high = middle
    return low


def _message_count(begin: Offsets, end: Offsets) -> int:
    return sum(offset - begin.get(partition, 0) for partition, offset in end.items())


def _first_messages(max_messages: int, begin: Offsets, end: Offsets) -> dict[str, int]:
    """The offsets after the first max_messages messages of one millisecond, taken partition by partition."""
    offsets = {}
    for partition in sorted(end, key=int):
        taken = min(max_messages, end[partition] - begin[partition])
        offsets[partition] = begin[partition] + taken
        max_messages -= taken
    return offsets
