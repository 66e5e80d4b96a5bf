"""Which deliveries are duplicates depends on when they were received, not on how a topic is cut into micro-batches."""

import random
import sys
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming import contract
from streaming.aggregation import deduplication
from streaming.aggregation.counter import Counter, Delivery
from streaming.aggregation.receipt import SETTLE_MS, Cut, Receipts, cut, received_since, settled
from tests.unit.test_counting import ping

HOUR_MS = 3_600_000
BEGAN_MS = 1_506_945_600_000  # 2 October 2017, 12:00 UTC
COUNTRIES = sorted(contract.COUNTRIES)


class Message(NamedTuple):
    """A delivery, told from others by its country. timestamp_ms: as its topic has it."""

    timestamp_ms: int
    kind: str
    name: str
    country: str

    @property
    def document(self) -> bytes:
        used = {"subsessionLength": 3600, "subsessionStartDate": "2017-10-02T13:00:00Z"}
        return ping(
            self.kind, "2017-10-02T14:00:00Z", document_id=self.name, normalized_country_code=self.country,
            payload={"info": used},
        )  # fmt: skip


class Log:
    """A topic as a broker answers for it: partitions of messages."""

    def __init__(self, partitions: list[list[Message]]) -> None:
        self.partitions = partitions

    @property
    def ends(self) -> dict[str, int]:
        return {str(place): len(messages) for place, messages in enumerate(self.partitions)}

    @property
    def newest_ms(self) -> int:
        return max((message.timestamp_ms for messages in self.partitions for message in messages), default=0)

    def offsets_at(self, received_ms: int) -> dict[str, int]:
        """By partition, the first message whose own timestamp is that or later, as Kafka finds it."""
        found = {}
        for place, messages in enumerate(self.partitions):
            matching = (n for n, message in enumerate(messages) if message.timestamp_ms >= received_ms)
            found[str(place)] = next(matching, sys.maxsize)
        return found


class Counted(NamedTuple):
    """Countries of the deliveries that count; duplicates by kind."""

    countries: list[str]
    duplicates: dict[str, int]


def by_definition(log: Log, begin: dict[str, int] | None = None) -> Counted:
    """Each delivery compared with all before it; from some offsets on."""
    received = []
    for place, messages in enumerate(log.partitions):
        times = accumulate((message.timestamp_ms for message in messages), max)
        received += [(time, place, offset, messages[offset]) for offset, time in enumerate(times)]
    received.sort(key=lambda each: each[:3])
    counts: list[str] = []
    duplicates: dict[str, int] = {}
    for number, (time, place, offset, message) in enumerate(received):
        if begin and offset < begin[str(place)]:
            continue
        if message.name and any(
            (other.kind, other.name) == (message.kind, message.name) and earlier >= time - HOUR_MS
            for earlier, _, _, other in received[:number]
        ):
            duplicates[message.kind] = duplicates.get(message.kind, 0) + 1
        else:
            counts.append(message.country)
    return Counted(sorted(counts), duplicates)


@dataclass
class Job:
    """A job whose micro-batches are cut by their time of receipt."""

    folder: Path
    begin: dict[str, int]
    since_ms: int = 0
    number: int = deduplication.FIRST_NUMBER

    def __post_init__(self) -> None:
        self.counts: list[str] = []
        self.duplicates: dict[str, int] = {}

    def read(self, log: Log, all_: Cut, room: int, times: int = 1) -> bool:
        """One micro-batch, which comes so many times; False where there is none."""
        ends = {place: max(end, self.begin.get(place, 0)) for place, end in all_.offsets.items()}
        if ends == self.begin:
            return False
        all_ = Cut(max(all_.received_ms, self.since_ms), ends)
        end = cut(self.begin, self.since_ms, all_, room, log.offsets_at)
        assert 1 <= sum(end.offsets.values()) - sum(self.begin.values()) <= room
        results = [self._count(log, end) for _ in range(times)]
        assert all(result == results[0] for result in results)
        counts, duplicates = results[0]
        self.counts += counts
        for kind, count in duplicates.items():
            self.duplicates[kind] = self.duplicates.get(kind, 0) + count
        self.begin, self.since_ms, self.number = end.offsets, end.received_ms, self.number + 1
        return True

    def _count(self, log: Log, end: Cut) -> Counted:
        counter, receipts = Counter(by_delivery=True), Receipts(self.since_ms, end.received_ms)
        for place, stop in end.offsets.items():
            for offset in range(self.begin[place], stop):
                message = log.partitions[int(place)][offset]
                received_us = receipts.received_us(int(place), message.timestamp_ms)
                counter.add(message.document, 0, Delivery((int(place) << 48) + offset, received_us))
        kept = deduplication.dropping(self.number, self.folder)(iter([counter.partial_sums()]))
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
    for (place, time, kind, name), country in zip(drawn, COUNTRIES, strict=False):
        partitions[place].append(Message(time, kind, name, country))
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
    while job.read(log, Cut(log.newest_ms, log.ends), *rooms[number % len(rooms)]):
        number += 1
    assert job.counted == by_definition(log)


@settings(max_examples=30, deadline=None)
@given(logs(), TIMES, st.integers(1, 12))
def test_job_that_begins_at_a_time_and_has_read_the_hour_before_counts_as_if_it_had_read_all(
    tmp_path_factory: pytest.TempPathFactory, log: Log, begins_ms: int, room: int
) -> None:
    folder, newest = new_folder(tmp_path_factory), Cut(log.newest_ms, log.ends)
    begins_ms = min(begins_ms, log.newest_ms)
    start, earlier = (
        {place: min(offset, log.ends[place]) for place, offset in log.offsets_at(moment).items()}
        for moment in (begins_ms, begins_ms - HOUR_MS)
    )
    before = Job(folder, earlier, begins_ms - HOUR_MS, number=0)
    while before.read(log, Cut(begins_ms, start), room):
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
        (time + delay, place, Message(time, kind, name, country))
        for (place, time, kind, name, delay), country in zip(sent, COUNTRIES, strict=False)
    )
    job = Job(new_folder(tmp_path_factory), {"0": 0, "1": 0, "2": 0})
    log = Log([[], [], []])
    last_ms = arriving[-1][0] + 2 * SETTLE_MS
    moments = [*sorted(BEGAN_MS + look for look in looks), *range(last_ms, last_ms + len(arriving))]
    for number, now_ms in enumerate(moments):
        seen = [each for each in arriving if each[0] <= now_ms]
        log = Log([[message for _, at, message in seen if at == place] for place in range(3)])
        all_ = settled(log.ends, log.newest_ms, now_ms, log.offsets_at)
        job.read(log, all_, *rooms[number % len(rooms)])
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
    log = Log([[Message(BEGAN_MS + 40 * n**2 + place, "main", "a", "DE") for n in range(500)] for place in range(3)])
    asked: list[int] = []

    def offsets_at(received_ms: int) -> dict[str, int]:
        asked.append(received_ms)
        return {
            str(place): bisect_left(messages, received_ms, key=lambda message: message.timestamp_ms)
            for place, messages in enumerate(log.partitions)
        }

    begin, since_ms, sizes = dict.fromkeys(log.ends, 0), 0, []
    while begin != log.ends:
        end = cut(begin, since_ms, Cut(log.newest_ms, log.ends), 100, offsets_at)
        sizes.append(sum(end.offsets.values()) - sum(begin.values()))
        begin, since_ms = end.offsets, end.received_ms
    assert all(50 <= size <= 100 for size in sizes[:-1])
    assert len(asked) < 45 + 8 * len(sizes)  # the first knows nothing of when messages begin


def test_messages_of_one_millisecond_are_cut_partition_by_partition() -> None:
    log = Log([[Message(BEGAN_MS, "main", "a", "DE")] * 4 for _ in range(2)])
    all_ = Cut(BEGAN_MS, log.ends)
    first = cut({"0": 0, "1": 0}, 0, all_, 3, log.offsets_at)
    assert first == (BEGAN_MS, {"0": 3, "1": 0})
    second = cut(first.offsets, BEGAN_MS, all_, 3, log.offsets_at)
    assert second == (BEGAN_MS, {"0": 4, "1": 2})


@settings(max_examples=60, deadline=None)
@given(logs(), st.integers(0, 2**32))
def test_time_since_which_messages_from_any_offsets_on_are_received(log: Log, seed: int) -> None:
    begin = {place: random.Random(seed).randint(0, end) for place, end in log.ends.items()}
    later = [
        time
        for place, messages in enumerate(log.partitions)
        for offset, time in enumerate(accumulate((message.timestamp_ms for message in messages), max))
        if offset >= begin[str(place)]
    ]
    assert received_since(begin, log.ends, log.newest_ms, log.offsets_at) == min(later, default=log.newest_ms)
