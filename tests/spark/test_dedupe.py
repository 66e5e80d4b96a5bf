"""Pings that are delivered twice count once, across partitions, micro-batches, runs and kills."""

import json
import random
import subprocess
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from streaming import contract, dedupe
from streaming.counting import Counter, Delivery
from streaming.errors import MissionControlError
from streaming.job import AggregateSettings, aggregate
from streaming.sums import rows_of
from tests.plain_loop import plain_sums
from tests.services.kafka import RECEIVED_MS, Broker
from tests.spark.small_pings import crash_ping, dataset_sums, main_ping

MOMENT = 1_506_953_400  # seconds since 1970
HOUR_US = 3_600_000_000


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
        "from streaming.job import AggregateSettings, aggregate\n"
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


def test_files_are_not_searched_for_duplicates(tmp_path: Path) -> None:
    (tmp_path / "ping.json").write_bytes(crash_ping())
    with pytest.raises(MissionControlError, match="--dedupe has no effect on files"):
        aggregate(str(tmp_path / "ping.json"), str(tmp_path / "d"), settings=AggregateSettings(dedupe=True))


# ---------- the notes alone ----------
def counted(documents: Iterable[bytes], number: int, folder: Path, received_us: int = 0) -> int:
    """How many pings of a micro-batch count; of its rows no two share a key."""
    counter = Counter(by_delivery=True)
    for delivery, document in enumerate(documents):
        counter.add(document, 0, Delivery(delivery, received_us))
    kept = dedupe.dropping(number, folder)(iter([counter.partial_sums()]))
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
        notes = dedupe.Notes(tmp_path, number, now_us - HOUR_US)
        ids = some_ids(number, 20)
        assert (notes.latest(ids) < 0).all()
        for other in range(max(0, number - HOUR_US // 1_000_000 // seconds), number, 17):
            assert (notes.latest(some_ids(other, 20)) == (MOMENT + other * seconds) * 1_000_000).all()
        notes.add(ids, np.full(20, now_us))
    files = list(tmp_path.glob("*"))
    slices = HOUR_US // 1_000_000 // dedupe.SLICE_SECONDS + 2
    assert len(files) <= slices * (dedupe.FILES_A_SLICE + 1)
    held = sum(np.load(file).shape[1] for file in files)
    assert held <= 20 * slices * dedupe.SLICE_SECONDS / seconds


def test_merging_keeps_when_an_id_was_received_last(tmp_path: Path) -> None:
    ids = some_ids(1, 3)
    for number in range(dedupe.FILES_A_SLICE + 1):
        dedupe.Notes(tmp_path, number, 0).add(ids, MOMENT * 1_000_000 + np.array([number, 0, 7 - number]))
    notes = dedupe.Notes(tmp_path, dedupe.FILES_A_SLICE + 1, 0)
    assert len(list(tmp_path.glob("*.npy"))) == 1
    assert (notes.latest(ids) - MOMENT * 1_000_000).tolist() == [dedupe.FILES_A_SLICE, 0, 7]


def test_merging_that_was_broken_off_changes_nothing(tmp_path: Path) -> None:
    for number in range(dedupe.FILES_A_SLICE + 1):
        dedupe.Notes(tmp_path, number, 0).add(some_ids(number, 5), np.full(5, MOMENT * 1_000_000 + number))
    kept = {file.name: file.read_bytes() for file in tmp_path.glob("*.npy")}
    number = dedupe.FILES_A_SLICE + 1
    dedupe.Notes(tmp_path, number, 0)
    assert len(list(tmp_path.glob("*.npy"))) == 1
    for name, content in kept.items():  # as if killed before they were removed
        (tmp_path / name).write_bytes(content)
    notes = dedupe.Notes(tmp_path, number, 0)
    assert all((notes.latest(some_ids(other, 5)) == MOMENT * 1_000_000 + other).all() for other in range(number))
    assert (notes.latest(some_ids(99, 5)) < 0).all()


def test_ids_that_share_half_of_their_hash_are_told_apart(tmp_path: Path) -> None:
    known = np.array([[7, 7, 7, 9], [1, 3, 5, 1]], np.uint64)
    dedupe.Notes(tmp_path, 0, 0).add(known, np.arange(4) + 10)
    asked = np.array([[7, 7, 7, 7, 9, 9, 8, 10], [1, 2, 3, 5, 1, 3, 1, 1]], np.uint64)
    latest: list[int] = np.maximum(dedupe.Notes(tmp_path, 1, 0).latest(asked), 0).tolist()
    assert latest == [10, 0, 11, 12, 13, 0, 0, 0]


def test_notes_are_forgotten_and_nobody_elses_files(tmp_path: Path) -> None:
    for folder in (dedupe.FOLDER, dedupe.OLDER_FOLDER):
        dedupe.leave_sign(tmp_path / folder)
        dedupe.Notes(tmp_path / folder / "3", 0, 0).add(some_ids(1, 2), np.arange(2))
    dedupe.forget(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / dedupe.OLDER_FOLDER / "3").mkdir(parents=True)  # a folder of that name that is not ours
    dedupe.forget(tmp_path)
    assert (tmp_path / dedupe.OLDER_FOLDER / "3").is_dir()


def some_ids(seed: int, count: int) -> dedupe.Ids:
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
