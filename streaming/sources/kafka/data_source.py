"""Spark's data source for a Kafka topic of pings."""

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pyspark.sql.datasource import DataSourceStreamReader, InputPartition
from pyspark.sql.streaming.datasource import ReadLimit, ReadMaxBytes, SupportsTriggerAvailableNow
from pyspark.sql.types import StructType

from streaming.aggregation.counter import Counter, Delivery
from streaming.aggregation.receipt import RECEIVED, SETTLE_MS, BatchEnd, Receipts, find_batch_end, settled
from streaming.aggregation.spill import BATCH_ROWS, batch_rows, rows_per_task, spilled
from streaming.errors import MissionControlError
from streaming.sources.base import Density
from streaming.sources.kafka.consumer import Range, mean_bytes, read_messages
from streaming.sources.kafka.offsets import as_json, by_partition, first_offsets, utc_now_ms
from streaming.sources.kafka.outages import BROKER_TIMEOUT_SECONDS, BrokersUnavailable, call_brokers_with_retry
from streaming.sources.kafka.topic import NoSuchTopicError, Topic
from streaming.sources.spark_source import PartialSums, by_delivery, counter_of
from streaming.spark.python_start import skip_pandas_import

if TYPE_CHECKING:
    import pyarrow as pa
    from confluent_kafka import Message

MAX_BATCH_BYTES = 4 << 30
MAX_DEDUPING_BATCH_BYTES = 1 << 30  # with deduplication, where a row is a message and a task holds all that it reads
SLOW_BATCH_BYTES = 1 << 30  # a larger one only where it is read within TARGET_BATCH_SECONDS
TARGET_BATCH_SECONDS = 10.0
FEW_MESSAGES = 300_000  # in few experiments each; fit in memory even if no two share a row, when a shuffle helps little
SMALL_BATCH_BYTES = 4 << 20  # below this size, one task is faster than several
FLUSH_ROWS = 50_000  # without rows of delays
DEDUPING_FLUSH_ROWS = 20_000  # where a row is a delivery, it has up to nine rows of delays
UNKNOWN_BYTES = 32_768.0  # assumed size of a message, until one was seen: that of a main ping
SAMPLE_SECONDS = 30.0  # how long a sample of message sizes is used
_Result = TypeVar("_Result")


@dataclass
class RangesPartition(InputPartition):
    """The ranges that one task reads. since_ms, until_ms: bounds of the times of receipt, see `receipt.Receipts`."""

    ranges: list[Range]
    since_ms: int = 0
    until_ms: int | None = None
    max_rows: int = BATCH_ROWS


class PingTopic(PartialSums):
    """Partial sums of the pings in a topic. Options: those of TopicPlan, cores, channel, country, submitted_at."""

    @classmethod
    def name(cls) -> str:
        """The name for spark.readStream.format."""
        return "missioncontrol_ping_topic"

    def streamReader(self, schema: StructType) -> "PingTopicReader":  # noqa: N802 (Spark's name)
        """The reader of a stream."""
        return PingTopicReader(dict(self.options))


class PingTopicReader(DataSourceStreamReader, SupportsTriggerAvailableNow):
    """Offset: the topic's id and, by partition, the offset of the message to read next.

    When counting by delivery, also the time before which no later message was received: micro-batches are then cut by
    the time of receipt.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = {name.lower(): value for name, value in options.items()}
        config = json.loads(self._options["config"])
        self._topic = Topic(self._options["brokers"], self._options["topic"], config)
        self._fixed_end: dict[str, Any] | None = None
        self._mean_bytes, self._sampled_at = 0.0, -SAMPLE_SECONDS
        self._planned = (time.monotonic(), 0)
        self._missing_since: float | None = None

    def initialOffset(self) -> dict[str, Any]:  # noqa: N802
        """The offset where the checkpoint begins."""
        return first_offsets(Path(self._options["begins"]))

    def getDefaultReadLimit(self) -> ReadLimit:  # noqa: N802
        """The number of bytes that a micro-batch may have."""
        return ReadMaxBytes(int(self._options["max_bytes"]))

    def prepareForTriggerAvailableNow(self) -> None:  # noqa: N802
        """Fixes the end of reading: from now on, only messages that are present now are read."""
        given = self._options.get("ends")
        self._fixed_end = call_brokers_with_retry(
            lambda: self._final_end(json.loads(given) if given else None), self._topic.brokers
        )

    def latestOffset(self, start: dict[str, Any], limit: ReadLimit) -> dict[str, Any]:  # noqa: N802
        """The offset one micro-batch after start, up to the limit; start if there is nothing.

        Also start where no broker answers, unless the end is fixed: start would then mean that all has been read, so
        it waits for brokers.
        """
        if self._fixed_end is not None:
            # Asking for the ends finds a restarted broker again; requests for offsets alone go on failing.
            return self._call_while_job_runs(lambda: self._ends() and self._next(start, limit))
        try:
            return self._next(start, limit)
        except BrokersUnavailable:
            return start

    def _next(self, start: dict[str, Any], limit: ReadLimit) -> dict[str, Any]:
        ends = self._fixed_end or (self._settled() if self._is_by_delivery else self._ends())
        begin = self._begin(start, ends)
        counts = unread_counts(begin, ends)
        if not counts:
            return start
        read_share = 1.0
        if isinstance(limit, ReadMaxBytes):
            mean = self._mean_message_bytes(begin, counts)
            max_bytes = round(batch_byte_limit(limit.max_bytes, mean * self._messages_per_second()))
            if "density" in self._options:
                max_bytes = Density.of(self._options).batch_bytes(max_bytes)
            read_share = min(1.0, max_bytes / (mean * sum(counts.values())))
        planned = {partition: math.ceil(count * read_share) for partition, count in counts.items()}
        if self._is_by_delivery:
            return self._find_batch_end(start, begin, ends, sum(planned.values()))
        self._planned = (time.monotonic(), sum(planned.values()))
        return {
            "topic": ends["topic"],
            **begin,
            **{partition: begin.get(partition, 0) + planned[partition] for partition in planned},
        }

    def _find_batch_end(
        self, start: Mapping[str, Any], begin: dict[str, int], ends: Mapping[str, Any], max_messages: int
    ) -> dict[str, Any]:
        """The end of a micro-batch of at most max_messages messages, cut by their time of receipt.

        Raises BrokersUnavailable.
        """
        since_ms = start.get(RECEIVED, 0)
        last = {partition: max(end, begin.get(partition, 0)) for partition, end in by_partition(ends).items()}
        last_end = BatchEnd(max(ends[RECEIVED], since_ms), last)
        end = find_batch_end(begin, since_ms, last_end, max_messages, partial(self._offsets_at, last))
        self._planned = (time.monotonic(), sum(unread_counts(begin, end.offsets).values()))
        return {"topic": ends["topic"], **begin, **end.offsets, RECEIVED: end.received_ms}

    def _messages_per_second(self) -> float:
        """Messages a second of the previous micro-batch, which is finished when the next one is requested."""
        planned_at, messages = self._planned
        return messages / max(time.monotonic() - planned_at, 1e-3)

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> Sequence[InputPartition]:
        """A partition for each task; waits for an unavailable broker.

        Raises MissionControlError where messages are gone and the settings do not accept their loss.
        """
        ranges = self._call_while_job_runs(
            lambda: self._call_while_topic_exists(lambda: self._ranges(start, end), tolerates_loss=False)
        )
        messages = sum(each.end - each.start for each in ranges)
        cores = int(self._options["cores"])
        tasks = cores if messages * self._mean_bytes > SMALL_BATCH_BYTES or not self._mean_bytes else 1
        if self._is_by_delivery:
            since_ms, until_ms = start.get(RECEIVED, 0), end.get(RECEIVED)
            return [RangesPartition(share, since_ms, until_ms) for share in assign_whole_to_tasks(ranges, tasks)]
        shares = assign_to_tasks(ranges, tasks)
        # With many messages Spark sums the rows, on disk where necessary.
        max_rows = rows_per_task(batch_rows(self._options), len(shares) if messages <= FEW_MESSAGES else 2)
        return [RangesPartition(share, max_rows=max_rows) for share in shares]

    def read(self, partition: InputPartition) -> Iterator["pa.RecordBatch"]:
        """The partial sums of a partition."""
        skip_pandas_import()
        assert isinstance(partition, RangesPartition)
        counter = counter_of(self._options)
        receipts = Receipts(partition.since_ms, partition.until_ms)
        counted = count_ranges(self._topic, partition.ranges, counter, self._tolerates_loss, receipts)
        yield from spilled(counted, self._options.get("spill_to"), partition.max_rows)

    def commit(self, end: dict[str, Any]) -> None:
        """Does nothing: Spark's checkpoint keeps the offsets."""

    def unread_bytes(self, start: dict[str, Any]) -> int:
        """About how many bytes there are to read from start on. Raises MissionControlError where no broker answers."""

        def request() -> int:
            ends = self._ends()
            begin = self._begin(start, ends)
            counts = unread_counts(begin, ends)
            return round(self._mean_message_bytes(begin, counts) * sum(counts.values())) if counts else 0

        return call_brokers_with_retry(request, self._topic.brokers)

    def _ends(self) -> dict[str, Any]:
        """The offsets after the last messages, in the form of Spark's offsets. Raises BrokersUnavailable."""
        topic_id, offsets = self._call_while_topic_exists(self._topic.end_offsets, tolerates_loss=self._tolerates_loss)
        return {"topic": topic_id, **as_json(offsets)}

    def _offsets_at(self, partitions: Iterable[str], received_ms: int) -> dict[str, int]:
        """The offsets of the first messages that were received at a time or later. Raises BrokersUnavailable."""
        return self._call_while_topic_exists(
            lambda: self._topic.offsets_at(partitions, received_ms), tolerates_loss=self._tolerates_loss
        )

    def _newest_ms(self, partitions: Iterable[str]) -> int:
        return self._call_while_topic_exists(
            lambda: self._topic.newest_ms(partitions), tolerates_loss=self._tolerates_loss
        )

    def _settled(self) -> dict[str, Any]:
        """The end of messages that none received earlier can follow, in the form of Spark's offsets.

        Raises BrokersUnavailable.
        """
        ends = self._ends()
        end_offsets = by_partition(ends)
        end = settled(end_offsets, self._newest_ms(end_offsets), utc_now_ms(), partial(self._offsets_at, end_offsets))
        return {"topic": ends["topic"], RECEIVED: end.received_ms, **end.offsets}

    def _final_end(self, given: dict[str, Any] | None) -> dict[str, Any]:
        """The given end, or the topic's current end, in the form of Spark's offsets. Raises BrokersUnavailable.

        When counting by delivery, waits for messages that are still on their way.
        """
        ends, now_ms = given or self._ends(), utc_now_ms()
        if not self._is_by_delivery or RECEIVED in ends:
            return ends
        end_offsets = by_partition(ends)
        newest_ms = self._newest_ms(end_offsets)
        if given is None and newest_ms > now_ms - SETTLE_MS:
            time.sleep(SETTLE_MS / 1000)
            later, found = self._ends(), self._offsets_at(end_offsets, now_ms + 1)
            end_offsets = {
                partition: max(end, min(found[partition], later[partition])) for partition, end in end_offsets.items()
            }
        return {"topic": ends["topic"], RECEIVED: min(newest_ms, now_ms), **end_offsets}

    def _call_while_job_runs(self, request: Callable[[], _Result]) -> _Result:
        """The answer of brokers, waited for without limit; the job meanwhile reports the outage.

        Raises MissionControlError when the process of the job has ended.
        """
        job = os.getppid()

        def request_for_job() -> _Result:
            if os.getppid() != job:
                raise MissionControlError("the job has ended while its brokers were waited for")
            return request()

        return call_brokers_with_retry(request_for_job, self._topic.brokers, seconds=math.inf)

    def _call_while_topic_exists(self, request: Callable[[], _Result], *, tolerates_loss: bool) -> _Result:
        """The answer of brokers. Raises BrokersUnavailable, also where they report that there is no such topic.

        Raises NoSuchTopicError where they report that for half a minute, unless tolerates_loss.
        """
        try:
            answer = request()
        except NoSuchTopicError as error:
            self._missing_since = self._missing_since or time.monotonic()
            if tolerates_loss or time.monotonic() - self._missing_since < BROKER_TIMEOUT_SECONDS:
                raise BrokersUnavailable(
                    str(error)
                ) from error  # the cluster may be starting, or the topic be recreated
            raise
        except BrokersUnavailable:
            self._missing_since = None
            raise
        self._missing_since = None
        return answer

    @property
    def _is_by_delivery(self) -> bool:
        return by_delivery(self._options)

    @property
    def _tolerates_loss(self) -> bool:
        return self._options["on_data_loss"] == "count"

    def _begin(self, start: dict[str, Any], ends: dict[str, Any]) -> dict[str, int]:
        """The offsets to continue at; a recreated topic, and a new partition, begin at their first message."""
        if start["topic"] == ends["topic"]:
            return by_partition(start)
        if not self._tolerates_loss:
            self._refuse_new_topic()
        return {}

    def _refuse_new_topic(self) -> NoReturn:
        raise MissionControlError(
            f"the topic {self._topic.url!r} was deleted and made anew since the checkpoint was written: what of the "
            "old one was not read is lost. To go on with the new one and count the loss: --on-data-loss count"
        )

    def _ranges(self, start: dict[str, Any], end: dict[str, Any]) -> list[Range]:
        from confluent_kafka.admin import OffsetSpec

        begin = self._begin(start, end)
        topic_id, _ = self._topic.describe()
        if topic_id != end["topic"]:  # the messages planned before a kill were deleted with the topic
            planned = sum(unread_counts(begin, end).values())
            return [Range(-1, 0, 0, lost=planned)] if self._tolerates_loss else self._refuse_new_topic()
        wanted = {int(partition): offset for partition, offset in by_partition(end).items()}
        firsts = self._topic.offsets(list(wanted), OffsetSpec.earliest())
        ranges = []
        for partition, stop in sorted(wanted.items()):
            first = begin.get(str(partition), 0)
            lost = min(max(firsts[partition] - first, 0), stop - first)
            if lost > 0 and str(partition) in begin and not self._tolerates_loss:
                raise _loss(self._topic, partition, lost)
            if stop > first:
                ranges.append(Range(partition, first + lost, stop, lost if str(partition) in begin else 0))
        if start["topic"] != end["topic"]:
            ranges.append(Range(-1, 0, 0, lost=1))  # their number is unknown
        return ranges

    def _mean_message_bytes(self, begin: Mapping[str, int], counts: Mapping[str, int]) -> float:
        """The mean size of some of the next messages, in bytes."""
        if time.monotonic() - self._sampled_at > SAMPLE_SECONDS:
            begin_offsets = {int(partition): begin.get(partition, 0) for partition in counts}
            self._mean_bytes = mean_bytes(self._topic, begin_offsets) or self._mean_bytes or UNKNOWN_BYTES
            self._sampled_at = time.monotonic()
        return self._mean_bytes


def unread_counts(begin: Mapping[str, Any], ends: Mapping[str, Any]) -> dict[str, int]:
    """The number of unread messages by partition, for partitions that have any."""
    counts = {partition: end - begin.get(partition, 0) for partition, end in by_partition(ends).items()}
    return {partition: count for partition, count in counts.items() if count > 0}


def batch_byte_limit(max_bytes: int, bytes_a_second: float) -> float:
    """The most bytes of a micro-batch: many only if read quickly, because pages wait for it and kills repeat it."""
    return min(max_bytes, max(SLOW_BATCH_BYTES, bytes_a_second * TARGET_BATCH_SECONDS))


def assign_to_tasks(ranges: Sequence[Range], tasks: int) -> list[list[Range]]:
    """The ranges for each task, split so that each task has equally many messages; the same at each call."""
    quota = max(1, -(-sum(each.end - each.start for each in ranges) // tasks))
    shares: list[list[Range]] = [[]]
    remaining = quota
    for partition, start, end, lost in ranges:
        first = start
        while first < end or lost:
            if not remaining:
                shares.append([])
                remaining = quota
            stop = min(end, first + remaining)
            shares[-1].append(Range(partition, first, stop, lost))
            remaining -= stop - first
            first, lost = stop, 0
    return shares


def assign_whole_to_tasks(ranges: Sequence[Range], tasks: int) -> list[list[Range]]:
    """The ranges for each task, none of them split; the same at each call."""
    shares: list[list[Range]] = [[] for _ in range(min(tasks, len(ranges)))]
    for each in sorted(ranges, key=lambda each: (each.start - each.end, each.partition)):
        min(shares, key=lambda share: sum(each.end - each.start for each in share)).append(each)
    return shares


def _loss(topic: Topic, partition: int, lost: int) -> MissionControlError:
    return MissionControlError(
        f"{lost:,} messages of partition {partition} of {topic.url!r} fell off the topic's retention before they were "
        "read. To go on without them and count the loss: --on-data-loss count"
    )


def count_ranges(
    topic: Topic, ranges: Sequence[Range], counter: Counter, tolerates_loss: bool, receipts: Receipts | None = None
) -> Iterator["pa.RecordBatch"]:
    """Reads, decodes and sums; yields batches of contract.partial_schema().

    A message without a value is rejected with the reason `empty`. receipts: for a counter by delivery, else unused.
    Raises MissionControlError where messages were lost since the ranges were planned, unless tolerates_loss.
    """

    def count_lost(partition: int, count: int) -> None:
        if not tolerates_loss:
            raise _loss(topic, partition, count)
        counter.reject("messages_lost", time.time_ns() // 1000, pings=count)

    for each in ranges:
        if each.lost:
            count_lost(each.partition, each.lost)
    flush_rows = DEDUPING_FLUSH_ROWS if counter.by_delivery else FLUSH_ROWS
    for messages in read_messages(topic, [each for each in ranges if each.end > each.start], count_lost):
        counter.add_all(
            [message.value() or b"" for message in messages],
            [message.timestamp()[1] * 1000 for message in messages],
            _deliveries(messages, receipts if counter.by_delivery else None),
        )
        del messages  # frees them before the next ones arrive: they may be large
        if len(counter) > flush_rows:
            yield counter.partial_sums()
    if len(counter):
        yield counter.partial_sums()


def _deliveries(messages: "Sequence[Message]", receipts: Receipts | None) -> Callable[[int], Delivery]:
    """Gives a message's number, which orders messages by partition, then by offset, and its time of receipt."""
    if receipts is None:
        return lambda place: Delivery(_number(messages[place]))
    # The time of receipt is that of earlier messages too, so all are asked for, in order.
    times = [receipts.received_us(message.partition() or 0, message.timestamp()[1]) for message in messages]
    return lambda place: Delivery(_number(messages[place]), times[place])


def _number(message: "Message") -> int:
    return ((message.partition() or 0) << 48) + (message.offset() or 0)
