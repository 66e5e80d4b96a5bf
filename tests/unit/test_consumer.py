"""Messages of a topic on their way through a consumer: which are of a range, and what stands between them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from confluent_kafka import KafkaError, TopicPartition

from streaming.errors import MissionControlError
from streaming.sources.kafka.consumer import Range, _RangeReader
from streaming.sources.kafka.topic import Topic, is_topic

TOPIC = Topic("localhost:9092", "pings")


class FakeMessage(NamedTuple):
    """What a consumer hands out: a message, or with a code what stands for one."""

    partition_: int
    offset_: int
    code: int | None = None

    def partition(self) -> int:
        return self.partition_

    def offset(self) -> int:
        return self.offset_

    def error(self) -> KafkaError | None:
        return None if self.code is None else KafkaError(self.code)


class Consumer:
    """Hands out what is written down, and notes what is called; kept: the offsets that a partition still has."""

    def __init__(self, *taken: list[FakeMessage], kept: tuple[int, int] = (0, 9)) -> None:
        self._taken, self._kept = list(taken), kept
        self.calls: list[tuple[str, int, int]] = []

    def poll(self, _: float) -> FakeMessage:
        return self._taken[0].pop(0)

    def consume(self, _: int, timeout: float) -> list[FakeMessage]:
        return self._taken.pop(0)

    def get_watermark_offsets(self, _: TopicPartition, timeout: float) -> tuple[int, int]:
        return self._kept

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self.calls += [("assign", assigned.partition, assigned.offset) for assigned in partitions]

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        self.calls += [("unassign", assigned.partition, 0) for assigned in partitions]


def read(consumer: Any, *ranges: Range, lost: list[tuple[int, int]] | None = None) -> Iterator[tuple[int, int]]:
    """Partition and offset of each message of ranges; lost: gets those that are gone."""
    lost_messages = [] if lost is None else lost
    reader = _RangeReader(TOPIC, consumer, ranges, lambda partition, count: lost_messages.append((partition, count)))
    for messages in reader.messages():
        yield from ((message.partition(), message.offset()) for message in messages)  # type: ignore[misc]


def test_range_that_ends_amid_the_messages_of_another_one_takes_none_beyond():
    consumer = Consumer(
        [
            FakeMessage(1, 0),
            FakeMessage(0, 0),
            FakeMessage(0, 1),
            FakeMessage(1, 1),
            FakeMessage(0, 2),
            FakeMessage(1, 2),
            FakeMessage(1, 3),
        ]
    )
    assert list(read(consumer, Range(0, 0, 2), Range(1, 0, 3))) == [(1, 0), (0, 0), (0, 1), (1, 1), (1, 2)]
    assert consumer.calls == [("unassign", 0, 0), ("unassign", 1, 0)]


def test_message_beyond_a_range_whose_last_one_was_compacted_away_ends_it():
    consumer = Consumer([FakeMessage(0, 0), FakeMessage(0, 5)])
    assert list(read(consumer, Range(0, 0, 3))) == [(0, 0)]
    assert consumer.calls == [("unassign", 0, 0)]


def test_partition_that_seems_to_end_amid_messages_goes_on():
    end = FakeMessage(1, 1, KafkaError._PARTITION_EOF)
    consumer = Consumer(
        [FakeMessage(1, 0), end, FakeMessage(0, 0), FakeMessage(1, 1)], [FakeMessage(0, 1), FakeMessage(1, 2)]
    )
    reader = _RangeReader(TOPIC, consumer, [Range(0, 0, 2), Range(1, 0, 3)], lambda *_: None)  # type: ignore[arg-type]
    messages = reader.messages()
    assert len(next(messages)) == 3
    assert not reader._stalled_since, "it is not waited for any more"
    assert len(next(messages)) == 2
    assert list(messages) == []


def test_range_of_aborted_messages_ends_where_its_partition_does():
    consumer = Consumer([FakeMessage(0, 0), FakeMessage(0, 3, KafkaError._PARTITION_EOF)])
    assert list(read(consumer, Range(0, 0, 3))) == [(0, 0)]


def test_messages_that_are_gone_amid_others_are_told_and_passed_over():
    lost: list[tuple[int, int]] = []
    gone = FakeMessage(0, 1, KafkaError._AUTO_OFFSET_RESET)
    consumer = Consumer(
        [FakeMessage(0, 0), gone, FakeMessage(1, 0)], [FakeMessage(0, 5), FakeMessage(0, 6)], kept=(5, 9)
    )
    assert list(read(consumer, Range(0, 0, 7), Range(1, 0, 1), lost=lost)) == [(0, 0), (1, 0), (0, 5), (0, 6)]
    assert lost == [(0, 4)]
    assert ("assign", 0, 5) in consumer.calls


def test_topic_that_cannot_be_read_ends_it_amid_messages():
    consumer = Consumer([FakeMessage(0, 0), FakeMessage(0, 1, KafkaError.TOPIC_AUTHORIZATION_FAILED)])
    with pytest.raises(MissionControlError, match="cannot read partition 0 of 'kafka://localhost:9092/pings'"):
        list(read(consumer, Range(0, 0, 7)))


@pytest.mark.parametrize("url", ["KAFKA://h:1/T", "Kafka://h:1/T", "kafka://h:1/T"])
def test_scheme_of_a_topic_is_of_any_case(url):
    assert is_topic(url)
    assert Topic.of(url, {}) == Topic("h:1", "T")
    assert Topic.of(url, {}).url == "kafka://h:1/T"


@pytest.mark.parametrize("place", ["kafka", "kafka:/h:1/t", "s3://kafka", "kafka.json"])
def test_what_is_no_topic(place):
    assert not is_topic(place)
