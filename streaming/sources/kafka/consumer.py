"""Reads ranges of messages from a topic's partitions."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from streaming.errors import MissionControlError
from streaming.sources.kafka import outages
from streaming.sources.kafka import topic as kafka_topic
from streaming.sources.kafka.topic import Topic, is_final, open_consumer

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

MAX_POLLED_MESSAGES = 50  # messages; a consumer holds this many besides its queue, whatever their size
SAMPLED_MESSAGES = 200  # for estimating the size of messages
SAMPLED_FOR_SECONDS = 2.0


class Range(NamedTuple):
    """Messages of a partition from start to before end. lost: how many before start are permanently gone."""

    partition: int
    start: int
    end: int
    lost: int = 0


def read_messages(
    topic: Topic, ranges: Sequence[Range], on_lost: Callable[[int, int], None]
) -> Iterator["list[Message]"]:
    """The messages of ranges, several at a time, in order within a partition. Waits for an unavailable broker.

    on_lost: called with a partition and the number of messages of its range that are gone. Raises MissionControlError
    where the topic cannot be read.
    """
    from confluent_kafka import TopicPartition

    consumer = open_consumer(topic)
    consumer.assign([TopicPartition(topic.name, each.partition, each.start) for each in ranges])
    try:
        yield from _RangeReader(topic, consumer, ranges, on_lost).messages()
    finally:
        consumer.unassign()


class _RangeReader:
    """Ranges while a consumer reads them: the parts that are still to be read."""

    def __init__(
        self, topic: Topic, consumer: "Consumer", ranges: Sequence[Range], on_lost: Callable[[int, int], None]
    ) -> None:
        self._topic, self._consumer, self._on_lost = topic, consumer, on_lost
        self._next_offsets = {each.partition: each.start for each in ranges}
        self._ends = {each.partition: each.end for each in ranges}
        self._stalled_since: dict[int, float] = {}

    def messages(self) -> Iterator["list[Message]"]:
        """All messages of the ranges."""
        while self._ends:
            yield self._wanted(poll_messages(self._consumer, 1.0))
            for partition in [each for each in self._stalled_since if self._is_stalled(each)]:
                self._skip_lost(partition)

    def _wanted(self, messages: "list[Message]") -> "list[Message]":
        """The given messages that are in the ranges."""
        wanted = []
        for message in messages:
            partition: int = message.partition()  # type: ignore[assignment]
            end = self._ends.get(partition)
            if end is None:
                continue
            if message.error() is not None:
                self._handle_event(message)
                continue
            next_offset: int = message.offset() + 1  # type: ignore[operator]
            if next_offset <= end:
                wanted.append(message)
            if next_offset < end and not self._stalled_since:
                self._next_offsets[partition] = next_offset
            else:
                self._advance_to(partition, next_offset)
        return wanted

    def _is_stalled(self, partition: int) -> bool:
        return time.monotonic() - self._stalled_since.get(partition, math.inf) > outages.BROKER_TIMEOUT_SECONDS

    def _advance_to(self, partition: int, offset: int) -> None:
        from confluent_kafka import TopicPartition

        self._next_offsets[partition] = offset
        self._stalled_since.pop(partition, None)
        if offset >= self._ends[partition]:
            del self._ends[partition]
            self._consumer.incremental_unassign([TopicPartition(self._topic.name, partition)])

    def _handle_event(self, message: "Message") -> None:
        """Handles an event instead of a message: a partition's end, lost messages, a broker that cannot be read."""
        from confluent_kafka import KafkaError

        partition, error = message.partition(), message.error()
        assert error
        assert partition is not None
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._skip_lost(partition)
            return
        if is_final(error) or (error.code() != KafkaError._PARTITION_EOF and self._is_stalled(partition)):
            raise MissionControlError(f"cannot read partition {partition} of {self._topic.url!r}: {error.str()}")
        if error.code() == KafkaError._PARTITION_EOF:
            self._advance_to(partition, message.offset() or 0)
        if partition in self._ends:  # a partition may appear to end early just after its broker has started
            self._stalled_since.setdefault(partition, time.monotonic())

    def _skip_lost(self, partition: int) -> None:
        """Continues at the first message that the partition still has; without any, at the end of the range."""
        from confluent_kafka import KafkaException, TopicPartition

        offset, end = self._next_offsets[partition], self._ends[partition]
        topic_partition = TopicPartition(self._topic.name, partition)
        try:
            first, after = self._consumer.get_watermark_offsets(
                topic_partition, timeout=kafka_topic.REQUEST_TIMEOUT_SECONDS
            )
        except KafkaException:
            first, after = offset, end  # the broker is unavailable: try that offset again
        kept = max(first, offset) if after > offset else end
        if kept > offset:
            self._on_lost(partition, min(kept, end) - offset)
        self._advance_to(partition, min(kept, end))
        if kept < end:
            self._consumer.incremental_unassign([topic_partition])
            self._consumer.incremental_assign([TopicPartition(self._topic.name, partition, kept)])


def mean_bytes(topic: Topic, offsets: Mapping[int, int]) -> float:
    """The mean size in bytes of some messages from an offset of each partition on; 0 where none arrives."""
    from confluent_kafka import TopicPartition

    consumer = open_consumer(topic)
    consumer.assign([TopicPartition(topic.name, partition, offset) for partition, offset in offsets.items()])
    sizes: list[int] = []
    deadline = time.monotonic() + SAMPLED_FOR_SECONDS
    while len(sizes) < SAMPLED_MESSAGES and time.monotonic() < deadline:
        messages = poll_messages(consumer, 0.2)
        sizes += [len(message.value() or b"") for message in messages if message.error() is None]
        if not messages and sizes:
            break
    consumer.unassign()
    return sum(sizes) / len(sizes) if sizes else 0.0


def poll_messages(consumer: "Consumer", seconds: float) -> "list[Message]":
    """Some messages, as soon as there is one. `consume` alone would wait until there are as many as it may take."""
    first = consumer.poll(seconds)
    return [] if first is None else [first, *consumer.consume(MAX_POLLED_MESSAGES - 1, timeout=0)]
