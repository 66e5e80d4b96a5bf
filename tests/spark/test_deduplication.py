"""Pings that are delivered twice count once, across partitions, micro-batches, runs and kills."""

import json
import random
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Producer
from pyspark.sql import DataFrame, SparkSession

from streaming import contract
from streaming.aggregation import deduplication, seen_ids
from streaming.aggregation.counter import Counter, Delivery
from streaming.aggregation.partial_sums import rows_of
from streaming.job import spark_engine
from streaming.job.aggregate import aggregate
from streaming.job.backfill import backfill
from streaming.job.backfill_settings import BackfillSettings
from streaming.job.settings import AggregateSettings
from streaming.sources.kafka.source import TopicSettings
from tests.plain_loop import plain_sums
from tests.services.kafka import RECEIVED_MS, Broker
from tests.spark.small_pings import crash_ping, dataset_sums, main_ping
from tests.unit.deliveries import BEGAN_MS, COUNTRIES, Counted, Log, Message, by_definition

MOMENT = 1_506_953_400  # seconds since 1970
HOUR_US = 3_600_000_000
DAY = date(2017, 10, 2)


def named(number: int, minute: int = 0, **changes: object) -> bytes:
    """A ping with an id of its own."""
    make = (crash_ping, main_ping)[number % 2]
    return make(minute, document_id=str(uuid.UUID(int=number)), **changes)


def test_ping_counts_once_however_often_it_is_delivered(broker: Broker, spark, tmp_path: Path) -> None:
    topic = f"pings-{uuid.uuid4().hex[:8]}"
    broker.create(topic, 4)
    settings = AggregateSettings(dedupe=True, max_batch_bytes=20_000)
    url, dataset = f"kafka://{broker.address}/{topic}", str(tmp_path / "dataset")
    experiments = {"environment": {"system": {"os": {"name": "Darwin", "version": "16"}}, "experiments": {"a": "b"}}}
    once = [named(number, number % 50) for number in range(300)] + [named(1001, 3, **experiments)]
    without_id = [crash_ping(), crash_ping(), b"nonsense", None]
    deliveries: list[bytes] = []
    for first, last in ((0, 200), (100, 301)):
        sent = [*once[first:last], *random.Random(1).sample(once[first:last], 50)]
        random.Random(2).shuffle(sent)
        broker.send(topic, sent)
        assert aggregate(url, dataset, settings=settings, spark=spark).pings == len(sent)
        deliveries += sent
    broker.send(topic, without_id)
    assert aggregate(url, dataset, settings=settings, spark=spark).accepted == 2
    sums = dataset_sums(Path(dataset))
    expected = plain_sums((ping or b"", RECEIVED_MS * 1000) for ping in [*once, *without_id])
    rejected = sums.pop("rejected_pings")
    duplicates = {key: count for key, (count,) in rejected.items() if key[-1] == "duplicate"}
    assert {name: sums[name] for name in sums} == {name: expected[name] for name in sums}
    assert {key[3] for key in duplicates} == {"crash", "main"}
    assert sum(duplicates.values()) == len(deliveries) - len(once)


def test_job_killed_while_it_drops_duplicates_counts_each_ping_once(broker: Broker, spark, tmp_path: Path) -> None:
    """After a table's commit: the micro-batch comes again, and the same delivery of each ping must count."""
    topic = f"pings-{uuid.uuid4().hex[:8]}"
    broker.create(topic, 4)
    url, dataset = f"kafka://{broker.address}/{topic}", str(tmp_path / "dataset")
    once = [named(number, number % 50) for number in range(200)]
    # The deliveries of a ping differ in their minute: one alone may count, and in all tables the same.
    again = [named(number, (number + 5) % 50) for number in range(0, 200, 3)]
    broker.send(topic, [*once, *again])
    kill = (
        "import os, sys\n"
        "from streaming.job.aggregate import aggregate\nfrom streaming.job.settings import AggregateSettings\n"
        "settings = AggregateSettings(dedupe=True, master='local[2]')\n"
        "aggregate(*sys.argv[1:], settings=settings, on_commit=lambda table, number: os.kill(os.getpid(), 9))\n"
    )
    assert subprocess.run([sys.executable, "-c", kill, url, dataset], capture_output=True).returncode == -9
    aggregate(url, dataset, settings=AggregateSettings(dedupe=True), spark=spark)
    sums = dataset_sums(Path(dataset))
    by_table = {name: sum(row[1] for row in sums[name].values()) for name in ("error_aggregates", "coarse_aggregates")}
    assert by_table == {"error_aggregates": 200, "coarse_aggregates": 200}
    assert windows_of(sums["error_aggregates"]) == windows_of(sums["coarse_aggregates"])
    assert sum(row[0] for row in sums["rejected_pings"].values()) == len(again)


def windows_of(sums: dict[tuple, tuple]) -> dict[object, int]:
    counts: dict[object, int] = {}
    for key, row in sums.items():
        counts[key[1]] = counts.get(key[1], 0) + row[1]
    return counts


@pytest.fixture
def sent(broker: Broker) -> "Sent":
    """A new topic of three partitions."""
    topic = f"pings-{uuid.uuid4().hex[:8]}"
    broker.create(topic, 3)
    return Sent(broker, topic, Log([[], [], []]))


@dataclass
class Sent:
    """A topic, and what it holds."""

    broker: Broker
    topic: str
    log: Log

    @property
    def url(self) -> str:
        return f"kafka://{self.broker.address}/{self.topic}"

    def send(self, messages: list[tuple[int, Message]]) -> None:
        """Sends messages, each with its partition."""
        producer = Producer({"bootstrap.servers": self.broker.address, "log_level": 0})
        for place, message in messages:
            producer.produce(self.topic, message.document, partition=place, timestamp=message.timestamp_ms)
            self.log.partitions[place].append(message)
        assert producer.flush(60) == 0


def some_deliveries(count: int) -> list[tuple[int, Message]]:
    """Deliveries of few ids of both kinds in three hours with partitions: quarter by quarter, each in no order."""
    chosen = random.Random(5)
    deliveries = [
        (
            chosen.randrange(3),
            Message(
                BEGAN_MS + chosen.randrange(3 * 3_600_000),
                chosen.choice(["main", "crash"]),
                f"id {chosen.randrange(count // 8)}",
                COUNTRIES[number],
            ),
        )
        for number in range(count)
    ]
    deliveries.sort(key=lambda delivery: delivery[1].timestamp_ms)
    quarters = [deliveries[first : first + count // 4] for first in range(0, count, count // 4)]
    for quarter in quarters:
        chosen.shuffle(quarter)
    return [delivery for quarter in quarters for delivery in quarter]


def counted_in(dataset: Path) -> Counted:
    """Countries of the pings that count, and duplicates by kind."""
    sums = dataset_sums(dataset)
    countries = [country for (*_, country), (_, count, *_) in sums["error_aggregates"].items() for _ in range(count)]
    rejected = {key[3]: count for key, (count,) in sums["rejected_pings"].items() if key[4] == "duplicate"}
    return Counted(sorted(countries), rejected)


def test_many_small_micro_batches_and_a_backfill_in_one_agree_about_duplicates(
    sent: Sent, spark: SparkSession, tmp_path: Path
) -> None:
    dataset, batches = str(tmp_path / "dataset"), []
    sent.send(some_deliveries(200))
    small = AggregateSettings(dedupe=True, max_batch_bytes=10_000)
    aggregate(sent.url, dataset, settings=small, spark=spark, on_batch=batches.append)
    assert len(batches) > 5
    assert counted_in(Path(dataset)) == by_definition(sent.log)
    whole = BackfillSettings(AggregateSettings(dedupe=True))
    changes = backfill(sent.url, dataset, DAY, DAY, settings=whole, spark=spark)
    assert not any(change.is_changed for change in changes)


def test_job_knows_what_was_received_in_the_hour_before_it_began_and_before_it_was_told_to(
    sent: Sent, spark: SparkSession, tmp_path: Path
) -> None:
    """It begins at a time, loses its notes, and is started once without --dedupe."""
    dataset, deliveries = str(tmp_path / "dataset"), some_deliveries(200)
    begins = TopicSettings(datetime.fromtimestamp(BEGAN_MS / 1000 + 3600, UTC))
    settings = AggregateSettings(dedupe=True, max_batch_bytes=50_000, topic=begins)
    sent.send(deliveries[:100])
    found = sent.log.offsets_at(BEGAN_MS + 3_600_000)
    begin = {place: min(found[place], end) for place, end in sent.log.ends.items()}
    aggregate(sent.url, dataset, settings=settings, spark=spark)
    assert counted_in(Path(dataset)) == by_definition(sent.log, begin)
    shutil.rmtree(tmp_path / "dataset" / "_checkpoint" / deduplication.SEEN_IDS_FOLDER)
    sent.send(deliveries[100:150])
    aggregate(sent.url, dataset, settings=settings, spark=spark)
    assert counted_in(Path(dataset)) == by_definition(sent.log, begin)
    sent.send([(0, Message(sent.log.newest_ms, "main", "", COUNTRIES[-1]))])  # without an id
    aggregate(sent.url, dataset, settings=replace(settings, dedupe=False), spark=spark)
    assert not (tmp_path / "dataset" / "_checkpoint" / deduplication.SEEN_IDS_FOLDER).exists()
    sent.send(deliveries[150:])
    aggregate(sent.url, dataset, settings=settings, spark=spark)
    assert counted_in(Path(dataset)) == by_definition(sent.log, begin)


def test_hour_before_whose_reading_failed_midway_is_read_again_whole(
    sent: Sent, session: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where Spark's Python did not start in time: the job then starts its streams again."""
    dataset, deliveries = str(tmp_path / "dataset"), some_deliveries(200)
    begins = TopicSettings(datetime.fromtimestamp(BEGAN_MS / 1000 + 3600, UTC))
    settings = AggregateSettings(dedupe=True, max_batch_bytes=10_000, topic=begins)
    sent.send(deliveries[:100])
    found = sent.log.offsets_at(BEGAN_MS + 3_600_000)
    begin = {place: min(found[place], end) for place, end in sent.log.ends.items()}
    read = []

    def drop_or_fail(partials: DataFrame, number: int, folder: Path, *others: Any) -> DataFrame:
        read.append(number)
        if len(read) == 3:
            raise OSError("Python worker failed to connect back")
        return deduplication.drop_duplicates(partials, number, folder, *others)

    monkeypatch.setattr(spark_engine, "drop_duplicates", drop_or_fail)
    aggregate(sent.url, dataset, settings=settings, spark=session)
    assert read[:4] == [0, 1, 2, 0]
    assert counted_in(Path(dataset)) == by_definition(sent.log, begin)


# ---------- the notes alone ----------
def counted(documents: Iterable[bytes], number: int, folder: Path, received_us: int = 0) -> int:
    """How many pings of a micro-batch count; of its rows no two share a key."""
    counter = Counter(by_delivery=True)
    for delivery, document in enumerate(documents):
        counter.add(document, 0, Delivery(delivery, received_us))
    kept = deduplication.duplicate_dropper(number, folder)(iter([counter.partial_sums()]))
    rows = pa.Table.from_batches(kept).to_pylist()
    keys = [tuple(row[key] for key in contract.PARTIAL_KEYS) for row in rows]
    assert len(keys) == len(set(keys))
    return sum(row["count"] for row in rows if row["table"] == contract.ERROR_AGGREGATES.name)


def test_notes_of_a_micro_batch_do_not_count_when_it_comes_again(tmp_path: Path) -> None:
    first, second = [named(number) for number in range(50)], [named(number) for number in range(25, 75)]
    assert counted(first, 0, tmp_path) == 50
    for _ in range(3):
        assert counted(second, 1, tmp_path) == 25
    assert counted(first, 2, tmp_path) == 0


def test_ping_of_another_kind_with_the_same_id_counts(tmp_path: Path) -> None:
    name = str(uuid.UUID(int=7))
    assert counted([main_ping(document_id=name), crash_ping(document_id=name)], 0, tmp_path) == 2
    assert counted([main_ping(document_id=name), crash_ping(document_id=name)], 1, tmp_path) == 0


def test_ping_counts_again_when_none_like_it_was_received_for_an_hour(tmp_path: Path) -> None:
    for number, (received_us, count) in enumerate(
        [(0, 1), (HOUR_US, 0), (2 * HOUR_US, 0), (3 * HOUR_US + 1, 1), (4 * HOUR_US + 1, 0), (6 * HOUR_US, 1)]
    ):
        assert counted([named(1)], number, tmp_path, MOMENT * 1_000_000 + received_us) == count


def test_notes_are_merged_and_forgotten_by_the_hour(tmp_path: Path) -> None:
    seconds = 90
    for number in range(150):
        now_us = (MOMENT + number * seconds) * 1_000_000
        seen = seen_of(tmp_path, number, now_us - HOUR_US)
        ids = some_ids(number, 20)
        assert not held(seen, ids, now_us, HOUR_US).any()
        for other in range(max(0, number - HOUR_US // 1_000_000 // seconds), number, 17):
            other_us = (MOMENT + other * seconds) * 1_000_000
            assert held(seen, some_ids(other, 20), now_us, now_us - other_us).all()
            assert not held(seen, some_ids(other, 20), now_us, now_us - other_us - 1).any()
        seen.add(ids, np.full(20, now_us))
    files = list(tmp_path.glob("*"))
    slices = HOUR_US // 1_000_000 // deduplication.SLICE_SECONDS + 2
    assert len(files) <= (slices - 1) * seen_ids.FILES_A_SLICE // 4 + seen_ids.FILES_A_SLICE + 1
    noted = sum(np.load(file).shape[1] for file in files)
    assert noted <= 20 * slices * deduplication.SLICE_SECONDS / seconds


def seen_of(folder: Path, number: int, since_us: int = 0) -> seen_ids.SeenIds:
    return seen_ids.SeenIds(folder, number, since_us, deduplication.SLICE_SECONDS * 1_000_000)


def held(seen: seen_ids.SeenIds, ids: seen_ids.Ids, received_us: int, window_us: int = 0) -> seen_ids.Flags:
    return seen.hold(ids, np.full(ids.shape[1], received_us), window_us)


def test_merging_keeps_each_time_at_which_an_id_was_received(tmp_path: Path) -> None:
    ids, now_us = some_ids(1, 3), MOMENT * 1_000_000
    for number in range(seen_ids.FILES_A_SLICE + 1):
        seen_of(tmp_path, number).add(ids, now_us + np.array([number, 0, 70 - 10 * number]))
    seen = seen_of(tmp_path, seen_ids.FILES_A_SLICE + 1)
    [merged] = tmp_path.glob("*.npy")
    assert np.load(merged).shape[1] == 9 + 1 + 9
    assert held(seen, ids, now_us + 8).tolist() == [True, False, False]
    assert held(seen, ids, now_us).tolist() == [True, True, True]
    assert held(seen, ids, now_us + 35).tolist() == [False, False, False]
    assert held(seen, ids, now_us + 35, 5).tolist() == [False, False, True]
    assert held(seen, ids, now_us + 35, 27).tolist() == [True, False, True]


def test_each_id_is_written_anew_only_as_often_as_its_file_doubles(tmp_path: Path) -> None:
    for number in range(300):
        seen_of(tmp_path, number).add(some_ids(number, 5), np.full(5, MOMENT * 1_000_000))
    sizes = [np.load(file).shape[1] for file in tmp_path.glob("*.npy")]
    assert sum(sizes) == 300 * 5
    assert max(sizes) >= sum(sizes) // 2
    assert len(sizes) <= 12


def test_older_slice_that_still_gets_ids_is_not_written_anew_at_each_micro_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    save = np.save
    monkeypatch.setattr(np, "save", lambda file, rows: (written.append(rows.shape[1]), save(file, rows)))
    for number in range(300):
        later_us = HOUR_US * 24 if number == 3 else 0
        seen_of(tmp_path, number).add(some_ids(number, 5), np.full(5, MOMENT * 1_000_000 + later_us))
    assert sum(written) < 30 * 300 * 5
    assert len(list(tmp_path.glob("*.npy"))) <= 6


def test_merging_that_was_broken_off_changes_nothing(tmp_path: Path) -> None:
    now_us = MOMENT * 1_000_000
    for number in range(seen_ids.FILES_A_SLICE + 1):
        seen_of(tmp_path, number).add(some_ids(number, 5), np.full(5, now_us + number))
    kept = {file.name: file.read_bytes() for file in tmp_path.glob("*.npy")}
    number = seen_ids.FILES_A_SLICE + 1
    seen_of(tmp_path, number)
    assert len(list(tmp_path.glob("*.npy"))) == 1
    for name, content in kept.items():  # as if killed before they were removed
        (tmp_path / name).write_bytes(content)
    seen = seen_of(tmp_path, number)
    assert all(held(seen, some_ids(other, 5), now_us + other).all() for other in range(number))
    assert not held(seen, some_ids(99, 5), now_us, 10**9).any()


def test_ids_that_share_half_of_their_hash_are_told_apart(tmp_path: Path) -> None:
    known = np.array([[7, 7, 7, 7, 9], [1, 3, 3, 5, 1]], np.uint64)
    seen_of(tmp_path, 0).add(known, np.array([10, 11, 21, 12, 13]))
    asked = np.array([[7, 7, 7, 7, 9, 9, 8, 10], [1, 2, 3, 5, 1, 3, 1, 1]], np.uint64)
    seen = seen_of(tmp_path, 1)
    expected = [True, False, True, True, True, False, False, False]
    assert held(seen, asked, 12, 2).tolist() == expected
    assert [held(seen, asked[:, [2]], time, 2).all() for time in (8, 9, 13, 14, 18, 19, 23, 24)] == [
        *(False, True, True, False, False, True, True, False)
    ]


def test_notes_are_forgotten_and_nobody_elses_files(tmp_path: Path) -> None:
    for folder in (deduplication.SEEN_IDS_FOLDER, deduplication.OLD_SEEN_IDS_FOLDER):
        deduplication.write_token(tmp_path / folder)
        seen_of(tmp_path / folder / "3", 0).add(some_ids(1, 2), np.arange(2))
    deduplication.remove_seen_ids(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / deduplication.OLD_SEEN_IDS_FOLDER / "3").mkdir(parents=True)  # a folder of that name that is not ours
    deduplication.remove_seen_ids(tmp_path)
    assert (tmp_path / deduplication.OLD_SEEN_IDS_FOLDER / "3").is_dir()


def some_ids(seed: int, count: int) -> seen_ids.Ids:
    return np.random.default_rng(seed).integers(0, 2**64, (2, count), np.uint64, endpoint=False)


def test_pings_keep_their_sums_by_delivery() -> None:
    documents = [named(number, number % 7) for number in range(40)] + [crash_ping(), b"{", json.dumps([]).encode()]
    together, apart = Counter(), Counter(by_delivery=True)
    for number, document in enumerate(documents):
        together.add(document, 0)
        apart.add(document, 0, Delivery(number, 0))
    assert len(apart) > len(together)
    sums = [pa.Table.from_batches([counter.partial_sums()]) for counter in (together, apart)]
    for table in contract.TABLES:
        keys, values = list(table.keys), [(name, "sum") for name in table.sums]
        summed = [rows_of(table, each).group_by(keys).aggregate(values).sort_by([(k, "ascending") for k in keys])
                  for each in sums]  # fmt: skip
        assert summed[0].equals(summed[1])
