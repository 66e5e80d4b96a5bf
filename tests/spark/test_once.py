"""One crash counts once, of files and topics, across micro-batches, runs, kills and backfills; so do lines of files."""

import json
import random
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from missioncontrol_nb.simulator import Bad, Fleet
from missioncontrol_nb.simulator.batches import batches
from missioncontrol_nb.simulator.today import TODAY, calendar_of_today
from streaming import contract
from streaming.aggregation import crash_rows, once
from streaming.aggregation.deduplication import SEEN_IDS_FOLDER
from streaming.aggregation.once import SEEN_CRASHES_FOLDER
from streaming.errors import MissionControlError
from streaming.job.aggregate import aggregate
from streaming.job.backfill import backfill
from streaming.job.backfill_settings import BackfillSettings
from streaming.job.checkpoint import Checkpoint
from streaming.job.settings import AggregateSettings
from tests.real_pings import glean
from tests.services.kafka import Broker
from tests.spark.engines import SPARK_IN_LONG_TESTS, engine
from tests.spark.small_pings import Sums, crash_report, dataset_sums, main_ping, write_pings

PLAIN = AggregateSettings()
SMALL = AggregateSettings(max_batch_bytes=20_000)


def twins(count: int, *, first: int = 0) -> tuple[list[bytes], list[bytes]]:
    """Crashes of main processes: as they are reported at once, and a few hours or days later."""
    drawn = random.Random(first)
    at_once = [crash_report(number, drawn.randrange(48 * 60)) for number in range(first, first + count)]
    later = [
        crash_report(number, drawn.randrange(50 * 60, 190 * 60), reason="event_found")
        for number in range(first, first + count)
    ]
    return at_once, later


def others(count: int) -> list[bytes]:
    """Pings of other kinds, which are no crashes."""
    baseline = json.dumps(glean("firefox-desktop", "baseline")).encode()
    return [baseline if number % 2 else main_ping(number) for number in range(count)]


def sums_without(reason: str, dataset: Path) -> tuple[Sums, int]:
    """The sums of a dataset without the pings that do not count for a reason, and how many there are of them."""
    sums = dataset_sums(dataset)
    rejected = sums[contract.REJECTED_PINGS.name]
    return sums, sum(rejected.pop(key)[0] for key in list(rejected) if key[-1] == reason)


MODIFIED_S = 1_785_000_000  # of all files


@pytest.fixture(scope="module", params=SPARK_IN_LONG_TESTS)
def spark(request: pytest.FixtureRequest) -> SparkSession | None:
    return engine(request)


@pytest.fixture
def plain_sums(spark: SparkSession, tmp_path: Path) -> Callable[[Sequence[bytes]], Sums]:
    """The sums of pings of which none is dropped."""

    def count(documents: Sequence[bytes]) -> Sums:
        (tmp_path / "plain").mkdir()
        write_pings(tmp_path / "plain", "all.jsonl", list(documents), MODIFIED_S)
        settings = AggregateSettings(once_days=0)
        aggregate(str(tmp_path / "plain"), str(tmp_path / "counted"), settings=settings, spark=spark)
        return dataset_sums(tmp_path / "counted")

    return count


def write_files(folder: Path, documents: Sequence[bytes], *, name: str, files: int = 4) -> None:
    """Writes pings into some files, dealt out one by one."""
    folder.mkdir(exist_ok=True)
    for number in range(files):
        write_pings(folder, f"{name}{number}.jsonl", list(documents[number::files]), MODIFIED_S)


@pytest.mark.parametrize(
    "settings", [PLAIN, SMALL, replace(SMALL, write_from="workers")], ids=["one", "many", "workers"]
)
def test_crashes_in_files_count_once(
    settings: AggregateSettings, spark: SparkSession, plain_sums: Any, tmp_path: Path
) -> None:
    at_once, later = twins(60)
    source, dataset = tmp_path / "pings", tmp_path / "dataset"
    write_files(source, [*at_once, *later[:10], *others(40)], name="a")
    first = aggregate(str(source), str(dataset), settings=settings, spark=spark)
    write_files(source, later[10:], name="b")
    second = aggregate(str(source), str(dataset), settings=settings, spark=spark)
    assert [first.passed_over, second.passed_over] == [{"same_crash": 10}, {"same_crash": 50}]
    assert (first.accepted, second.accepted, first.rejected) == (100, 0, {})
    assert sums_without("same_crash", dataset) == (plain_sums([*at_once, *others(40)]), 60)


def test_rows_of_crashes_that_are_too_many_for_the_driver_are_written_to_files(
    spark: SparkSession, plain_sums: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once, "BATCH_ROWS", 20)
    monkeypatch.setattr(crash_rows, "PACKED_ROWS", 7)
    at_once, later = twins(60)
    source, dataset = tmp_path / "pings", tmp_path / "dataset"
    write_files(source, [*at_once, *later, *others(40)], name="a")
    aggregate(str(source), str(dataset), spark=spark)
    assert sums_without("same_crash", dataset) == (plain_sums([*at_once, *others(40)]), 60)


@pytest.mark.parametrize("dedupe", [False, True])
def test_crashes_in_a_topic_count_once(
    dedupe: bool, broker: Broker, spark: SparkSession, plain_sums: Any, tmp_path: Path
) -> None:
    topic, dataset = f"pings-{uuid.uuid4().hex[:8]}", tmp_path / "dataset"
    broker.create(topic, 4)
    at_once, later = twins(60)
    again = at_once[::7] if dedupe else []  # the same documents, delivered twice
    settings = replace(SMALL, dedupe=dedupe)
    for sent in ([*at_once, *again, *others(40)], later):
        broker.send(topic, sent)
        aggregate(f"kafka://{broker.address}/{topic}", str(dataset), settings=settings, spark=spark)
    sums, passed_over = sums_without("same_crash", dataset)
    rejected = sums[contract.REJECTED_PINGS.name]
    assert sum(rejected.pop(key)[0] for key in list(rejected) if key[-1] == "duplicate") == len(again)
    assert (sums, passed_over) == (plain_sums([*at_once, *others(40)]), 60)


KILL = """
import os, sys
from streaming.job.aggregate import aggregate
from streaming.job.settings import AggregateSettings
settings = AggregateSettings(dedupe=sys.argv[3] == "True", master="local[2]")
aggregate(*sys.argv[1:3], settings=settings, on_commit=lambda table, number: os.kill(os.getpid(), 9))
"""


@pytest.mark.parametrize("dedupe", [False, True])
def test_job_of_files_killed_after_a_commit_decides_the_same_for_all_tables(
    dedupe: bool, spark: SparkSession, plain_sums: Any, tmp_path: Path
) -> None:
    """The micro-batch comes again on other cores, and the same ping of each crash must count."""
    source, dataset = tmp_path / "pings", tmp_path / "dataset"
    at_once, later = twins(60)
    again = [*at_once[::5], *at_once[::7]] if dedupe else []
    dealt = [*later, *at_once, *again]  # of a micro-batch, the order of submission counts
    random.Random(3).shuffle(dealt)
    write_files(source, dealt, name="a")
    killed = subprocess.run([sys.executable, "-c", KILL, source, dataset, str(dedupe)], capture_output=True)
    assert killed.returncode == -9
    aggregate(str(source), str(dataset), settings=AggregateSettings(dedupe=dedupe), spark=spark)
    sums, passed_over = sums_without("same_crash", dataset)
    rejected = sums[contract.REJECTED_PINGS.name]
    assert sum(rejected.pop(key)[0] for key in list(rejected) if key[-1] == "duplicate") == len(again)
    assert (sums, passed_over) == (plain_sums(at_once), 60)


def test_checkpoint_without_notes_goes_on_and_looks_back_from_then_on(spark: SparkSession, tmp_path: Path) -> None:
    source, dataset = tmp_path / "pings", tmp_path / "dataset"
    at_once, later = twins(40)
    write_files(source, at_once[:20], name="a")
    off = AggregateSettings(once_days=0)
    aggregate(str(source), str(dataset), settings=off, spark=spark)
    assert not (dataset / "_checkpoint" / SEEN_CRASHES_FOLDER).exists()
    write_files(source, at_once[20:], name="b")
    assert aggregate(str(source), str(dataset), spark=spark).accepted == 20
    write_files(source, later, name="c")
    assert aggregate(str(source), str(dataset), spark=spark).passed_over == {"same_crash": 20}


def test_job_that_sees_no_crash_pings_notes_nothing(spark: SparkSession, tmp_path: Path) -> None:
    source, dataset = tmp_path / "pings", tmp_path / "dataset"
    write_files(source, others(20), name="a")
    aggregate(str(source), str(dataset), spark=spark)
    assert not (dataset / "_checkpoint" / SEEN_CRASHES_FOLDER).exists()


def test_dataset_of_the_simulated_fleet_of_today_has_the_true_number_of_crashes(
    spark: SparkSession, plain_sums: Any, tmp_path: Path
) -> None:
    """The fleet reports each main crash at once and, while it is played, most of them again."""
    source, dataset = tmp_path / "pings", tmp_path / "dataset"
    start = datetime(2026, 7, 25, 12, tzinfo=UTC)
    fleet = Fleet(calendar_of_today(), seed=7, rate=0.3, bad=[Bad("153.0", start, "main_crashes", 300.0)], era=TODAY)
    documents: list[bytes] = []
    for number, batch in enumerate(islice(batches(fleet, start, timedelta(minutes=5)), 8)):
        write_files(source, batch.documents, name=str(number), files=2)
        documents += batch.documents
    found = aggregate(str(source), str(dataset), settings=replace(PLAIN, max_batch_bytes=2 << 20), spark=spark)
    first_reports = [document for document in documents if b'"event_found"' not in document]
    seconds = len(documents) - len(first_reports)
    assert found.passed_over["same_crash"] > seconds * 0.8  # of the others, older versions send telemetry's crash pings
    sums, passed_over = sums_without("same_crash", dataset)
    expected = plain_sums(first_reports)
    for each in (sums, expected):
        rejected = each[contract.REJECTED_PINGS.name]
        for key in [key for key in rejected if key[-1] == "other_source"]:
            del rejected[key]
    assert sums == expected
    assert passed_over > 100


def test_pings_of_files_are_dropped_beside_bad_ones_and_notes_go_when_nobody_needs_them(
    spark: SparkSession, tmp_path: Path
) -> None:
    source, dataset = tmp_path / "pings", tmp_path / "dataset"
    at_once, _ = twins(10)
    write_files(source, [*at_once, b"no json", *at_once[:3], b"{", b""], name="a", files=2)
    (source / "empty.jsonl").touch()
    found = aggregate(str(source), str(dataset), settings=AggregateSettings(dedupe=True), spark=spark)
    assert (found.accepted, found.rejected) == (10, {"duplicate": 3, "not_json": 2, "empty": 1})
    notes = dataset / "_checkpoint" / SEEN_IDS_FOLDER
    assert list(notes.glob("*/*.npy"))
    write_files(source, others(1), name="b", files=1)
    aggregate(str(source), str(dataset), spark=spark)
    assert not notes.exists()


def test_nothing_is_noted_before_the_record_of_the_micro_batch_is_durable(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a micro-batch that a power cut undid is planned anew, smaller, and the next one meets its own notes."""

    def fail(*_: object) -> None:
        raise MissionControlError("the disk does not answer")

    source, dataset = tmp_path / "pings", tmp_path / "dataset"
    at_once, later = twins(10)
    write_files(source, [*at_once, *later], name="a")
    monkeypatch.setattr(Checkpoint, "sync", fail)
    with pytest.raises(MissionControlError, match="the disk does not answer"):
        aggregate(str(source), str(dataset), settings=AggregateSettings(dedupe=True), spark=spark)
    for name in (SEEN_IDS_FOLDER, SEEN_CRASHES_FOLDER):
        assert not list((dataset / "_checkpoint" / name).rglob("*.npy"))


DAYS = [date(2026, 11, 20 + day) for day in range(8)]


def test_backfill_of_any_day_changes_nothing_where_the_job_was_right(spark: SparkSession, tmp_path: Path) -> None:
    """From the job's own folder, and from an archive of that day alone."""
    source, dataset = tmp_path / "pings", tmp_path / "dataset"
    at_once, later = twins(60)
    write_files(source, at_once, name="a")
    aggregate(str(source), str(dataset), spark=spark)
    write_files(source, later, name="b")
    aggregate(str(source), str(dataset), spark=spark)
    for day in DAYS[1:4]:
        archive = tmp_path / str(day)
        of_day = [ping for ping in [*at_once, *later] if json.loads(ping)["submission_timestamp"].startswith(str(day))]
        write_files(archive, of_day, name="all", files=1)
        for taken, settings in ((source, BackfillSettings()), (archive, BackfillSettings(unfinished=True))):
            changes = backfill(str(taken), str(dataset), day, day, settings=settings, spark=spark)
            assert changes
            assert not any(change.is_changed for change in changes)


def test_backfill_counts_a_crash_once_that_the_job_saw_on_another_day_only(spark: SparkSession, tmp_path: Path) -> None:
    """The first day was lost on its way to the job, which counted the crashes when they were reported again."""
    source, dataset, archive = tmp_path / "pings", tmp_path / "dataset", tmp_path / "archive"
    at_once = [crash_report(number, 60 + number) for number in range(40)]
    later = [crash_report(number, 30 * 60 + number, reason="event_found") for number in range(20)]
    write_files(source, later, name="b")
    aggregate(str(source), str(dataset), spark=spark)
    write_files(archive, at_once, name="a")
    settings = BackfillSettings(unfinished=True)
    backfill(str(archive), str(dataset), DAYS[0], DAYS[0], settings=settings, spark=spark)
    sums = dataset_sums(dataset)
    counted = dict.fromkeys(DAYS[:2], 0)
    for key, row in sums["error_aggregates"].items():
        counted[key[0]] += row[1]
    assert counted == {DAYS[0]: 20, DAYS[1]: 20}
    shutil.rmtree(dataset / "_checkpoint" / SEEN_CRASHES_FOLDER)  # nobody knows any more
    backfill(str(archive), str(dataset), DAYS[0], DAYS[0], settings=settings, spark=spark)
    assert sum(row[1] for row in dataset_sums(dataset)["error_aggregates"].values()) == 60


# ---------- lines of files that are there twice ----------
def sent_again(number: int, hours: float) -> bytes:
    """A main ping with an id, as a receiver writes it each time that it is sent."""
    moment = (datetime(2017, 10, 2, 14, tzinfo=UTC) + timedelta(hours=hours)).isoformat()
    return main_ping(0, document_id=str(uuid.UUID(int=number)), submission_timestamp=moment)


@pytest.mark.parametrize("max_batch_bytes", [None, 5_000])
def test_line_that_a_receiver_wrote_twice_counts_once(
    max_batch_bytes: int | None, spark: SparkSession, plain_sums: Any, tmp_path: Path
) -> None:
    source, dataset = tmp_path / "pings", tmp_path / "dataset"
    settings = AggregateSettings(dedupe=True, max_batch_bytes=max_batch_bytes)
    first = [sent_again(number, number / 300) for number in range(100)]
    in_the_same_file = [sent_again(number, number / 300 + 0.01) for number in range(0, 100, 4)]
    in_another_file = [sent_again(number, number / 300 + 0.9) for number in range(0, 100, 3)]
    without_id = [main_ping(5), main_ping(5)]
    write_files(source, [*first, *in_the_same_file, *without_id], name="a", files=1)
    write_files(source, in_another_file, name="b", files=3)
    aggregate(str(source), str(dataset), settings=settings, spark=spark)
    write_files(source, first[10:20], name="copied")
    aggregate(str(source), str(dataset), settings=settings, spark=spark)
    expected = plain_sums([*first, *without_id])
    assert sums_without("duplicate", dataset) == (expected, len(in_the_same_file) + len(in_another_file) + 10)


def test_lines_may_be_read_up_to_a_day_late(spark: SparkSession, tmp_path: Path) -> None:
    source, dataset, settings = tmp_path / "pings", tmp_path / "dataset", AggregateSettings(dedupe=True)
    counted = []
    for number, hours in enumerate([0, 20, 0.5, 43, 0.5]):
        write_files(source, [sent_again(7, hours)], name=str(number), files=1)
        counted.append(aggregate(str(source), str(dataset), settings=settings, spark=spark).accepted)
    assert counted == [1, 1, 0, 1, 1]  # after a ping of 43 o'clock, notes of before 18 o'clock are gone
