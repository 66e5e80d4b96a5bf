"""Which deliveries are duplicates depends on when they were received, not on how a topic is cut into micro-batches."""

import random
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.aggregation import deduplication
from streaming.aggregation.counter import Counter, Delivery
from streaming.aggregation.receipt import SETTLE_MS, BatchEnd, Receipts, find_batch_end, received_since, settled
from streaming.aggregation.seen_ids import FIRST_NUMBER
from tests.unit.deliveries import BEGAN_MS, COUNTRIES, HOUR_MS, Counted, Log, Message, by_definition


@dataclass
class Job:
    """A job whose micro-batches are cut by their time of receipt."""

    folder: Path
    begin: dict[str, int]
    since_ms: int = 0
    number: int = FIRST_NUMBER

    def __post_init__(self) -> None:
        self.counts: list[str] = []
        self.duplicates: dict[str, int] = {}

    def read(self, log: Log, last_end: BatchEnd, room: int, times: int = 1) -> bool:
        """One micro-batch, which comes so many times; False where there is none."""
        ends = {partition: max(end, self.begin.get(partition, 0)) for partition, end in last_end.offsets.items()}
        if ends == self.begin:
            return False
        last_end = BatchEnd(max(last_end.received_ms, self.since_ms), ends)
        end = find_batch_end(self.begin, self.since_ms, last_end, room, log.offsets_at)
        assert 1 <= sum(end.offsets.values()) - sum(self.begin.values()) <= room
        results = [self._count(log, end) for _ in range(times)]
        assert all(result == results[0] for result in results)
        counts, duplicates = results[0]
        self.counts += counts
        for kind, count in duplicates.items():
            self.duplicates[kind] = self.duplicates.get(kind, 0) + count
        self.begin, self.since_ms, self.number = end.offsets, end.received_ms, self.number + 1
        return True

    def _count(self, log: Log, end: BatchEnd) -> Counted:
        counter, receipts = Counter(by_delivery=True), Receipts(self.since_ms, end.received_ms)
        for partition, stop in end.offsets.items():
            for offset in range(self.begin[partition], stop):
                message = log.partitions[int(partition)][offset]
                received_us = receipts.received_us(int(partition), message.timestamp_ms)
                counter.add(message.document, 0, Delivery((int(partition) << 48) + offset, received_us))
        kept = deduplication.duplicate_dropper(self.number, self.folder)(iter([counter.partial_sums()]))
        rows = pa.Table.from_batches(kept).to_pylist()
        counts = [row["country"] for row in rows if row["table"] == "error_aggregates" for _ in range(row["count"])]
        rejects = {row["document_type"]: row["count"] for row in rows if row["table"] == "rejected_pings"}
        return Counted(sorted(counts), rejects)

    @property
    def counted(self) -> Counted:
        return Counted(sorted(self.counts), self.duplicates)


TIMES = st.builds(
    lambda base, more: BEGAN_MS + base + more,
    st.sampled_from([0, HOUR_MS // 2, HOUR_MS, 2 * HOUR_MS, 3 * HOUR_MS]),
    st.sampled_from([-1, 0, 0, 0, 1, 2, 700, 90_000]),
)
IDS = st.sampled_from(["a", "b"])
KINDS = st.sampled_from(["main", "crash"])


@st.composite
def logs(draw: st.DrawFn) -> Log:
    drawn = draw(st.lists(st.tuples(st.integers(0, 2), TIMES, KINDS, IDS), min_size=1, max_size=25))
    partitions: list[list[Message]] = [[], [], []]
    for (partition, time, kind, name), country in zip(drawn, COUNTRIES, strict=False):
        partitions[partition].append(Message(time, kind, name, country))
    return Log(partitions)


ROOMS = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 2)), min_size=1, max_size=5)


def new_folder(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("notes")


@settings(max_examples=60, deadline=None)
@given(logs(), ROOMS)
def test_any_cut_into_micro_batches_gives_what_the_definition_says(
    tmp_path_factory: pytest.TempPathFactory, log: Log, rooms: list[tuple[int, int]]
) -> None:
    job = Job(new_folder(tmp_path_factory), dict.fromkeys(log.ends, 0))
    number = 0
    while job.read(log, BatchEnd(log.newest_ms, log.ends), *rooms[number % len(rooms)]):
        number += 1
    assert job.counted == by_definition(log)


@settings(max_examples=30, deadline=None)
@given(logs(), TIMES, st.integers(1, 12))
def test_job_that_begins_at_a_time_and_has_read_the_hour_before_counts_as_if_it_had_read_all(
    tmp_path_factory: pytest.TempPathFactory, log: Log, begins_ms: int, room: int
) -> None:
    folder, newest = new_folder(tmp_path_factory), BatchEnd(log.newest_ms, log.ends)
    begins_ms = min(begins_ms, log.newest_ms)
    start, earlier = (
        {partition: min(offset, log.ends[partition]) for partition, offset in log.offsets_at(moment).items()}
        for moment in (begins_ms, begins_ms - HOUR_MS)
    )
    before = Job(folder, earlier, begins_ms - HOUR_MS, number=0)
    while before.read(log, BatchEnd(begins_ms, start), room):
        pass
    job = Job(folder, start, begins_ms)
    while job.read(log, newest, room):
        pass
    assert job.counted == by_definition(log, start)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), TIMES, KINDS, IDS, st.integers(0, SETTLE_MS - 1)), min_size=1, max_size=25),
    st.lists(st.integers(0, 4 * HOUR_MS), max_size=6),
    ROOMS,
)
def test_job_that_follows_a_topic_counts_what_the_definition_says_of_the_topic(
    tmp_path_factory: pytest.TempPathFactory,
    sent: list[tuple[int, int, str, str, int]],
    looks: list[int],
    rooms: list[tuple[int, int]],
) -> None:
    """Messages are seen up to SETTLE_MS after their timestamp, and not in its order."""
    arriving = sorted(
        (time + delay, partition, Message(time, kind, name, country))
        for (partition, time, kind, name, delay), country in zip(sent, COUNTRIES, strict=False)
    )
    job = Job(new_folder(tmp_path_factory), {"0": 0, "1": 0, "2": 0})
    log = Log([[], [], []])
    last_ms = arriving[-1][0] + 2 * SETTLE_MS
    moments = [*sorted(BEGAN_MS + look for look in looks), *range(last_ms, last_ms + len(arriving))]
    for number, now_ms in enumerate(moments):
        seen = [each for each in arriving if each[0] <= now_ms]
        log = Log([[message for _, at, message in seen if at == partition] for partition in range(3)])
        last_end = settled(log.ends, log.newest_ms, now_ms, log.offsets_at)
        job.read(log, last_end, *rooms[number % len(rooms)])
    assert job.counted == by_definition(log)


def test_message_of_a_clock_that_is_ahead_is_counted_when_it_is_seen() -> None:
    ahead = Message(BEGAN_MS + 2 * HOUR_MS, "main", "a", "DE")
    later = Message(BEGAN_MS, "main", "a", "FR")
    log = Log([[ahead, later], [later]])
    end = settled(log.ends, log.newest_ms, BEGAN_MS + SETTLE_MS, log.offsets_at)
    assert end == (BEGAN_MS, {"0": 2, "1": 0})
    receipts = Receipts(BEGAN_MS - 10, end.received_ms)
    assert [receipts.received_us(0, message.timestamp_ms) for message in (ahead, later)] == [BEGAN_MS * 1000] * 2


def test_micro_batches_hold_half_of_what_they_may_at_least() -> None:
    log = Log(
        [[Message(BEGAN_MS + 40 * n**2 + partition, "main", "a", "DE") for n in range(500)] for partition in range(3)]
    )
    asked: list[int] = []

    def offsets_at(received_ms: int) -> dict[str, int]:
        asked.append(received_ms)
        return {
            str(partition): bisect_left(messages, received_ms, key=lambda message: message.timestamp_ms)
            for partition, messages in enumerate(log.partitions)
        }

    begin, since_ms, sizes = dict.fromkeys(log.ends, 0), 0, []
    while begin != log.ends:
        end = find_batch_end(begin, since_ms, BatchEnd(log.newest_ms, log.ends), 100, offsets_at)
        sizes.append(sum(end.offsets.values()) - sum(begin.values()))
        begin, since_ms = end.offsets, end.received_ms
    assert all(50 <= size <= 100 for size in sizes[:-1])
    assert len(asked) < 45 + 8 * len(sizes)  # the first knows nothing of when messages begin


def test_messages_of_one_millisecond_are_cut_partition_by_partition() -> None:
    log = Log([[Message(BEGAN_MS, "main", "a", "DE")] * 4 for _ in range(2)])
    last_end = BatchEnd(BEGAN_MS, log.ends)
    first = find_batch_end({"0": 0, "1": 0}, 0, last_end, 3, log.offsets_at)
    assert first == (BEGAN_MS, {"0": 3, "1": 0})
    second = find_batch_end(first.offsets, BEGAN_MS, last_end, 3, log.offsets_at)
    assert second == (BEGAN_MS, {"0": 4, "1": 2})


@settings(max_examples=60, deadline=None)
@given(logs(), st.integers(0, 2**32))
def test_time_since_which_messages_from_any_offsets_on_are_received(log: Log, seed: int) -> None:
    begin = {partition: random.Random(seed).randint(0, end) for partition, end in log.ends.items()}
    later = [
        time
        for partition, messages in enumerate(log.partitions)
        for offset, time in enumerate(accumulate((message.timestamp_ms for message in messages), max))
        if offset >= begin[str(partition)]
    ]
    assert received_since(begin, log.ends, log.newest_ms, log.offsets_at) == min(later, default=log.newest_ms)
