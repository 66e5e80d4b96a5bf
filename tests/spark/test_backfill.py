"""Whole days counted anew: what they become, what stays, what is refused; also beside a job that goes on counting."""

import json
import os
import shutil
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from missioncontrol_nb.commands.backfill import _as_text
from streaming import contract
from streaming.dataset import compaction, maintenance
from streaming.dataset.day_sums import as_rows, day_sums
from streaming.dataset.writer import append
from streaming.errors import MissionControlError
from streaming.job import snapshot
from streaming.job.aggregate import aggregate
from streaming.job.backfill import backfill
from streaming.job.backfill_settings import BackfillSettings, BackfillStopped, DayChange
from streaming.job.settings import AggregateSettings
from streaming.sources.kafka.source import TopicSettings
from streaming.storage.retry import RetryPolicy
from tests.patience import PATIENCE_SECONDS, wait_until
from tests.plain_loop import plain_sums
from tests.services.kafka import RECEIVED_MS, Broker
from tests.spark.engines import SPARK_IN_LONG_TESTS, engine
from tests.spark.jobs import MISSIONCONTROL, ROOT, start
from tests.spark.small_pings import crash_ping, dataset_sums, main_ping, sums_by_plain_loop, write_pings

DAYS = [date(2017, 10, day) for day in (1, 2, 3)]
FIRST, SECOND, THIRD = DAYS
FEWER = BackfillSettings(fewer=True)


def of_day(day: date, count: int, *, hours: int = 2, country: str = "DE") -> list[bytes]:
    """A crash, a main ping in an experiment and a bad one, so many times, spread over a day from 2 h on."""
    enrolled = {"environment": {"system": {"os": {"name": "Linux", "version": "4.4"}}, "experiments": {"a": "b"}}}
    pings = []
    for number in range(count):
        at = {"submission_timestamp": f"{day}T{2 + number % 20:02}:07:00Z"}
        info = {"info": {"subsessionLength": hours * 3600, "subsessionStartDate": f"{day}T00:00:00Z"}}
        pings += [crash_ping(country=country, **at), main_ping(payload=info, **enrolled, **at)]
        pings.append(crash_ping(country=country, **at).replace(b"Windows_NT", b"Windows_ME"))
    return pings


@pytest.fixture(scope="module", params=SPARK_IN_LONG_TESTS)
def spark(request: pytest.FixtureRequest) -> SparkSession | None:
    return engine(request)


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """Pings of three days, those of the second counted in part only."""
    folder = tmp_path / "live"
    folder.mkdir()
    for day, count in ((FIRST, 4), (SECOND, 3), (THIRD, 5)):
        write_pings(folder, f"{day}.jsonl", of_day(day, count))
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """All pings of the second day, and some of the others."""
    folder = tmp_path / "archive"
    folder.mkdir()
    write_pings(folder, "all.jsonl", [*of_day(SECOND, 6, hours=3), *of_day(FIRST, 1), *of_day(THIRD, 1)])
    return folder


@pytest.fixture
def dataset(spark: SparkSession, live: Path, tmp_path: Path) -> Path:
    aggregate(str(live), str(tmp_path / "dataset"), spark=spark)
    return tmp_path / "dataset"


def versions(dataset: Path) -> list[int]:
    return [DeltaTable(str(dataset / table.name)).version() for table in contract.TABLES]


def sums_of(documents: Iterable[bytes]) -> dict:
    return plain_sums((document, RECEIVED_MS * 1000) for document in documents)


def pings_of(changes: list[DayChange]) -> dict[tuple[date, str], tuple[float, float]]:
    return {(change.day, change.table): (change.before["count"], change.after["count"]) for change in changes
            if change.is_changed and "count" in change.after}  # fmt: skip


def test_day_becomes_what_the_source_says_and_the_others_stay(spark, dataset, archive):
    changes = backfill(str(archive), str(dataset), SECOND, SECOND, spark=spark)
    expected = [*of_day(FIRST, 4), *of_day(SECOND, 6, hours=3), *of_day(THIRD, 5)]
    assert dataset_sums(dataset) == sums_of(expected)
    assert pings_of(changes).items() >= {
        ((SECOND, "error_aggregates"), (6, 12)),
        ((SECOND, "experiment_error_aggregates"), (3, 6)),
        ((SECOND, "rejected_pings"), (3, 6)),
    }
    assert {change.day for change in changes} == {SECOND}
    totals = next(change for change in changes if change.table == "error_aggregates")
    assert (totals.before["usage_hours"], totals.after["usage_hours"]) == (6, 18)
    assert (totals.before["main_crashes"], totals.after["main_crashes"]) == (3, 6)
    handle = DeltaTable(str(dataset / "error_aggregates"))
    newest = handle.history(1)[0]
    assert newest[snapshot.BACKFILLED] == "2017-10-02"
    assert newest[contract.DATA_UP_TO] == "2017-10-03T06:07:00.000000+00:00", "as far as before"

    before = versions(dataset)
    again = backfill(str(archive), str(dataset), SECOND, SECOND, spark=spark)
    assert [change.is_changed for change in again] == [False] * len(contract.TABLES)
    assert versions(dataset) == before, "the second time nothing is written"


def test_days_of_a_new_dataset_are_made_and_say_how_far_they_go(spark, archive, tmp_path):
    made = tmp_path / "made"
    changes = backfill(str(archive), str(made), FIRST, SECOND, spark=spark)
    assert dataset_sums(made) == sums_of([*of_day(SECOND, 6, hours=3), *of_day(FIRST, 1)])
    assert {change.day for change in changes if change.is_changed} == {FIRST, SECOND}
    newest = datetime.fromisoformat(DeltaTable(str(made / "error_aggregates")).history(1)[0][contract.DATA_UP_TO])
    assert newest == datetime(2017, 10, 3, tzinfo=UTC), "not further than the days that were asked for"


def test_dry_run_says_what_would_change_and_changes_nothing(spark, dataset, archive):
    before = versions(dataset)
    changes = backfill(
        str(archive), str(dataset), SECOND, SECOND, settings=BackfillSettings(dry_run=True), spark=spark
    )  # fmt: skip
    assert pings_of(changes)[SECOND, "error_aggregates"] == (6, 12)
    assert versions(dataset) == before
    said = _as_text(changes, dry_run=True)
    assert "error_aggregates             pings 6 -> 12, usage hours 6.00 -> 18.00, main crashes 3 -> 6" in said
    assert "reporting_delays             usage hours 6.00 -> 18.00" in said
    assert said.endswith("1 day would change")


def test_days_of_which_nobody_has_a_ping_are_said_to_be_such():
    assert _as_text([], dry_run=False) == (
        "Nothing was changed: neither the source nor the dataset has pings that were submitted on these days"
    )


def test_lost_checkpoint_is_made_good_by_counting_again_and_a_backfill(spark, dataset, live):
    everything = [*of_day(FIRST, 4), *of_day(SECOND, 3), *of_day(THIRD, 5)]
    shutil.rmtree(dataset / "_checkpoint")
    with pytest.raises(MissionControlError, match=r"holds pings from .* already.*--recount"):
        aggregate(str(live), str(dataset), spark=spark)
    aggregate(str(live), str(dataset), settings=AggregateSettings(recount=True), spark=spark)
    assert pings_in(dataset) == 2 * len(everything)
    backfill(str(live), str(dataset), FIRST, THIRD, settings=FEWER, spark=spark)
    assert dataset_sums(dataset) == sums_of(everything)
    later = of_day(THIRD, 2)
    write_pings(live, "later.jsonl", later)
    aggregate(str(live), str(dataset), spark=spark)
    assert dataset_sums(dataset) == sums_of([*everything, *later]), "the new checkpoint goes on"


def test_lost_checkpoint_of_a_topic_is_made_good_from_an_hour_before_on(spark, broker: Broker, tmp_path: Path) -> None:
    """As the guide says. Of the second day the topic has no longer all, so that day is left alone."""
    topic, dataset, found = f"pings-{uuid.uuid4().hex[:8]}", tmp_path / "dataset", str(tmp_path / "new")
    broker.create(topic, 1)
    url, everything = f"kafka://{broker.address}/{topic}", [*of_day(SECOND, 6), *of_day(THIRD, 5)]
    producer = Producer({"bootstrap.servers": broker.address})
    for document in everything:
        sent_at = datetime.fromisoformat(json.loads(document)["submission_timestamp"])
        producer.produce(topic, document, timestamp=round(sent_at.timestamp() * 1000))
    producer.flush()
    aggregate(url, str(dataset), spark=spark)
    shutil.rmtree(dataset / "_checkpoint")
    admin, gone = broker.admin(), TopicPartition(topic, 0, 10)
    admin.delete_records([gone])[gone].result()

    Path(found).mkdir()
    (Path(found) / "notes.txt").write_text("somebody's")
    with pytest.raises(MissionControlError, match=r"holds pings from .* already"):
        aggregate(url, str(dataset), settings=AggregateSettings(checkpoint=found), spark=spark)
    left = {path.name for path in Path(found).iterdir()}
    assert left == {"lock", "notes.txt"}, "else it would begin at the topic's first ping"
    an_hour_before = datetime(2017, 10, 3, 5, 7, tzinfo=UTC)  # data up to 6:07
    counting = AggregateSettings(checkpoint=found, recount=True, topic=TopicSettings(an_hour_before))
    assert aggregate(url, str(dataset), settings=counting, spark=spark).pings == 6
    assert pings_in(dataset) == len(everything) + 6
    settings = BackfillSettings(fewer=True, counting=AggregateSettings(checkpoint=found))
    backfill(url, str(dataset), THIRD, THIRD, settings=settings, spark=spark)
    assert dataset_sums(dataset) == sums_of(everything)
    assert aggregate(url, str(dataset), settings=settings.counting, spark=spark).pings == 0


def test_what_would_lose_or_double_pings_is_refused(spark, dataset, archive, live, tmp_path):
    before = versions(dataset)

    def refused(match: str, source: Path, since: date, until: date, **settings: object) -> None:
        with pytest.raises(MissionControlError, match=match):
            backfill(str(source), str(dataset), since, until, settings=BackfillSettings(**settings), spark=spark)

    today = datetime.now(UTC).date()
    refused("--from not after --to", archive, THIRD, FIRST)
    refused("the dataset holds 8 pings and 4 rejected ones, and the source 2 and 1.*--fewer", archive, FIRST, SECOND)
    refused("days that are over.*--unfinished", archive, SECOND, today)
    refused("has behind it by an hour; got --to 2017-10-03.*--unfinished", archive, SECOND, THIRD)
    elsewhere = AggregateSettings(checkpoint=str(tmp_path / "none"))
    refused("--dedupe computes on one machine", archive, SECOND, SECOND,
            counting=AggregateSettings(dedupe=True, master="spark://host:7077"))  # fmt: skip
    refused("expected --checkpoint", archive, SECOND, SECOND, counting=elsewhere)
    (dataset / "_checkpoint").rename(tmp_path / "moved")
    refused("without its checkpoint.*--checkpoint", live, SECOND, SECOND)
    (archive / "loop.json").symlink_to(archive / "loop.json")
    refused("is not whole, nothing was changed: file_unreadable 1", archive, SECOND, SECOND)
    (archive / "loop.json").unlink()
    assert versions(dataset) == before
    changes = backfill(str(archive), str(dataset), FIRST, SECOND, settings=FEWER, spark=spark)
    assert pings_of(changes)[FIRST, "error_aggregates"] == (8, 2)


def test_another_backfill_or_rows_taken_out_meanwhile_are_noticed(spark, dataset, archive, monkeypatch):
    monkeypatch.setattr(compaction, "LOG_MINUTES", 0)

    def other_backfill(_: float) -> None:
        backfill(str(archive), str(dataset), SECOND, SECOND, spark=spark)
        for _ in range(2):
            maintenance.maintain(str(dataset))
        assert len(list((dataset / "error_aggregates" / "_delta_log").glob("*.json"))) <= 2, "the log is forgotten"

    with pytest.raises(MissionControlError, match="another backfill has replaced 2017-10-02 meanwhile"):
        backfill(str(archive), str(dataset), SECOND, SECOND, on_start=other_backfill, spark=spark)

    def delete(_: float) -> None:
        DeltaTable(str(dataset / "error_aggregates")).delete("submission_date = DATE '2017-10-02'")

    with pytest.raises(MissionControlError, match="taken out of error_aggregates meanwhile"):
        backfill(str(archive), str(dataset), SECOND, SECOND, on_start=delete, spark=spark)


def test_stream_that_stays_in_its_micro_batch_is_waited_for_and_said(monkeypatch):
    monkeypatch.setattr(snapshot, "MICRO_BATCH_NOTICE_SECONDS", 0.0)
    monkeypatch.setattr(snapshot, "MICRO_BATCH_TIMEOUT_SECONDS", 0.2)
    told: list[str] = []
    with pytest.raises(MissionControlError, match="does not end the micro-batch"):
        snapshot.await_snapshot(lambda: None, "data", RetryPolicy(), told.append)
    assert told == ["waiting for the stream to end its micro-batch"]
    stopped = RetryPolicy()
    stopped.stop.set()
    with pytest.raises(BackfillStopped):
        snapshot.await_snapshot(lambda: None, "data", stopped, told.append)


def test_told_to_stop_it_ends_between_two_replacements_and_is_taken_up_later(spark, dataset, archive, tmp_path):
    stop = threading.Event()
    with pytest.raises(BackfillStopped) as stopped:
        backfill(
            str(archive), str(dataset), SECOND, SECOND, on_change=lambda change: stop.set(), stop=stop, spark=spark
        )  # fmt: skip
    assert [change.table for change in stopped.value.changes] == ["error_aggregates"]
    changes = backfill(str(archive), str(dataset), SECOND, SECOND, spark=spark)
    assert [change.is_changed for change in changes] == [False, *[True] * (len(contract.TABLES) - 1)]
    assert dataset_sums(dataset) == sums_of([*of_day(FIRST, 4), *of_day(SECOND, 6, hours=3), *of_day(THIRD, 5)])


# ---------- beside a job ----------
class Sender:
    """Writes late pings of the second day and new ones of the third into a folder until told to stop."""

    def __init__(self, send) -> None:
        self._send, self._stop, self.sent = send, threading.Event(), []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        for number in range(10_000):
            pings = [*of_day(SECOND, 1 + number % 3, country="FR"), *of_day(THIRD, 1)]
            self._send(number, pings)
            self.sent += pings
            if self._stop.wait(0.2):
                return

    def start(self, *_: object) -> None:
        self._thread.start()

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.ident:
            self._thread.join()


def wait_until_counted(dataset: Path, pings: int) -> None:
    """Until the job beside has counted so many, accepted or not."""
    wait_until(lambda: (dataset / contract.REJECTED_PINGS.name).exists() and pings_in(dataset) >= pings)


def pings_in(dataset: Path) -> int:
    sums = dataset_sums(dataset)
    accepted = sum(row[contract.COUNTS.index("count")] for row in sums[contract.ERROR_AGGREGATES.name].values())
    return accepted + sum(row[0] for row in sums[contract.REJECTED_PINGS.name].values())


@contextmanager
def following(source: Path | str, dataset: Path) -> Iterator[None]:
    """A job of its own process that counts whatever comes."""
    job = start(source, dataset, "--follow", "--trigger", "0.1")  # type: ignore[arg-type]
    try:
        yield
        job.send_signal(signal.SIGINT)
        _, errors = job.communicate(timeout=PATIENCE_SECONDS)
        assert job.returncode == 0, errors
    finally:
        job.kill()
        job.communicate()


def test_beside_a_job_that_goes_on_counting_nothing_is_lost(spark, live, archive, dataset):
    sender = Sender(lambda number, pings: write_pings(live, f"late-{number}.jsonl", pings))
    early, seen = of_day(THIRD, 1), list[int]()

    def wait_for_more(change: DayChange) -> None:
        """The job appends to all tables between any two replacements."""
        seen.append(pings_in(dataset))
        wait_until_counted(dataset, seen[-1] + 10)

    with following(live, dataset):
        write_pings(live, "early.jsonl", early)
        wait_until_counted(dataset, 39)
        with sender:
            backfill(
                str(archive), str(dataset), SECOND, SECOND, on_start=sender.start, on_change=wait_for_more, spark=spark
            )  # fmt: skip
        expected = [*of_day(FIRST, 4), *of_day(SECOND, 6, hours=3), *of_day(THIRD, 5), *early, *sender.sent]
        wait_until_counted(dataset, len(expected))
    assert len(seen) == len(contract.TABLES)
    assert dataset_sums(dataset) == sums_of(expected)


def add_wrong_rows(dataset: Path) -> None:
    """Doubles the dataset's rows of the second day, as no job would."""
    for table in contract.TABLES:
        sums = day_sums(DeltaTable(str(dataset / table.name)), table, SECOND)
        append(str(dataset), table, as_rows(table, sums), 0, f"wrong {uuid.uuid4()}")


@pytest.mark.long
def test_files_that_a_running_job_reads_count_once_whether_it_has_counted_them_yet_or_not(live, dataset, tmp_path):
    sender = Sender(lambda number, pings: write_pings(live, f"late-{number}.jsonl", pings))
    add_wrong_rows(dataset)
    days = ("--from", FIRST, "--to", THIRD)
    with following(live, dataset):
        with sender:
            wait_until_counted_beyond(dataset, sender)
            done = command(tmp_path, live, "--dataset", dataset, *days, "--fewer", "--json")
            output, errors = done.communicate(timeout=PATIENCE_SECONDS)
        wait_until_counted(dataset, 36 + len(sender.sent))
    assert done.returncode == 0, errors
    assert dataset_sums(dataset) == sums_by_plain_loop(live)
    said = json.loads(output)
    assert (said["dry_run"], len(said["tables"])) == (False, 3 * len(contract.TABLES))
    assert said["changed"] >= len(contract.TABLES)
    found = {(table["day"], table["table"]): table for table in said["tables"]}
    totals = found[SECOND.isoformat(), "error_aggregates"]
    assert totals["before"]["count"] - totals["after"]["count"] == 6
    assert totals["before"]["usage_hours"] - totals["after"]["usage_hours"] == 6
    assert list((tmp_path / "scratch").iterdir()) == []


def wait_until_counted_beyond(dataset: Path, sender: Sender) -> None:
    """Until the job counts what the sender, which starts now, sends."""
    before = pings_in(dataset)
    sender.start()
    wait_until_counted(dataset, before + 1)


@pytest.mark.long
def test_topic_that_a_running_job_reads_counts_once_whether_it_has_counted_it_yet_or_not(
    spark: SparkSession, broker: Broker, tmp_path: Path
) -> None:
    topic, dataset = f"pings-{uuid.uuid4().hex[:8]}", tmp_path / "dataset"
    broker.create(topic, 3)
    url, first = f"kafka://{broker.address}/{topic}", [*of_day(SECOND, 4), *of_day(THIRD, 2)]
    broker.send(topic, first)
    aggregate(url, str(dataset), spark=spark)
    add_wrong_rows(dataset)
    sender = Sender(lambda number, pings: broker.send(topic, pings))
    with following(url, dataset):
        with sender:
            wait_until_counted_beyond(dataset, sender)
            changes = backfill(url, str(dataset), FIRST, THIRD, settings=FEWER, spark=spark)
        wait_until_counted(dataset, len(first) + len(sender.sent))
    assert any(change.is_changed for change in changes)
    assert dataset_sums(dataset) == sums_of([*first, *sender.sent])


# ---------- the command ----------
def command(tmp_path: Path, *arguments: object) -> subprocess.Popen[str]:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    environment = os.environ | {"TMPDIR": str(scratch)}
    given = [*MISSIONCONTROL, "backfill", *map(str, arguments), "--master", "local[1]"]
    return subprocess.Popen(
        given, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip


def test_command_ended_by_ctrl_c_leaves_nothing_behind(dataset: Path, archive: Path, tmp_path: Path):
    days = ("--dataset", dataset, "--from", "2017-10-02", "--to", "2017-10-02")
    many = 20_000 * b"\n".join([*of_day(SECOND, 6, hours=3), b""])
    (archive / "many.jsonl").write_bytes(many)  # which take longer to count than it takes to send a signal
    job = command(tmp_path, archive, *days)
    scratch = tmp_path / "scratch"
    pause = threading.Event()
    while not any(scratch.glob("missioncontrol-backfill-*/checkpoint/spark/offsets/0")):
        assert job.poll() is None, job.communicate()
        pause.wait(0.05)
    before = versions(dataset)
    job.send_signal(signal.SIGINT)
    output, errors = job.communicate(timeout=PATIENCE_SECONDS)
    assert (job.returncode, output, errors) == (130, "", "stopped; nothing was changed\n")
    assert list(scratch.iterdir()) == []
    assert versions(dataset) == before
