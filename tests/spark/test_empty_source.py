"""A folder that holds no pings yet."""

import os
import threading
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery

from streaming import contract
from streaming.errors import MissionControlError
from streaming.job import results, run, spark_engine
from streaming.job.aggregate import aggregate
from streaming.job.settings import AggregateSettings, Batch
from tests.spark.small_pings import crash_ping, table_sums


def test_folder_without_pings_is_refused_until_it_has_one(spark: SparkSession, tmp_path: Path) -> None:
    pings, dataset = tmp_path / "pings", tmp_path / "dataset"
    pings.mkdir()
    (pings / "a.txt").write_bytes(crash_ping())
    with pytest.raises(MissionControlError, match=r"holds no file of pings.*passed over: 1 whose .*'.*a.txt'"):
        aggregate(str(pings), str(dataset), spark=spark)
    (pings / "one.NDJSON").write_bytes(crash_ping())
    os.mkfifo(pings / "p.jsonl")
    summary = aggregate(str(pings), str(dataset), spark=spark)
    assert (summary.accepted, summary.finished) == (1, True)
    assert {record["reason"] for record in summary.ignored_files.as_records()} == {"unknown_name", "no_regular_file"}
    assert aggregate(str(pings), str(dataset), spark=spark).pings == 0
    (pings / "one.NDJSON").unlink()
    with pytest.raises(MissionControlError, match="holds no file of pings"):
        aggregate(str(pings), str(dataset), spark=spark)


def test_follow_waits_for_the_first_file_of_an_empty_folder(spark: SparkSession, tmp_path: Path) -> None:
    pings = tmp_path / "pings"
    pings.mkdir()
    stop = threading.Event()
    batches: list[Batch] = []

    def on_start(_: float) -> None:
        threading.Timer(1.0, write_first).start()

    def write_first() -> None:
        (pings / "one.json.tmp").write_bytes(crash_ping())
        (pings / "one.json.tmp").rename(pings / "one.json")

    def on_batch(batch: Batch) -> None:
        batches.append(batch)
        stop.set()

    settings = AggregateSettings(follow=True, trigger_seconds=0.1)
    aggregate(
        str(pings), str(tmp_path / "dataset"), settings=settings, on_start=on_start, on_batch=on_batch, stop=stop,
        spark=spark,
    )  # fmt: skip
    assert [(batch.number, batch.files, batch.pings) for batch in batches] == [(0, 1, 1)]


def test_follow_of_an_empty_folder_ends_when_told(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "pings").mkdir()
    stop = threading.Event()
    settings = AggregateSettings(follow=True, trigger_seconds=60)
    said: list[str] = []
    summary = aggregate(
        str(tmp_path / "pings"), str(tmp_path / "dataset"), settings=settings, stop=stop, on_notice=said.append,
        on_start=lambda _: threading.Timer(0.5, stop.set).start(), spark=spark,
    )  # fmt: skip
    assert (summary.pings, summary.finished) == (0, True)
    assert [notice.partition("; ")[2] for notice in said] == ["nothing is there: waiting for one"]


def test_run_that_is_stopped_before_all_was_read_is_not_finished(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_bytes(crash_ping())
    stop = threading.Event()
    stop.set()
    assert not aggregate(str(tmp_path / "one.json"), str(tmp_path / "d"), stop=stop, spark=spark).finished


def test_job_killed_while_spark_noted_its_first_micro_batch_begins_again(spark: SparkSession, tmp_path: Path) -> None:
    pings, dataset = tmp_path / "pings", tmp_path / "dataset"
    pings.mkdir()
    stop, follows = threading.Event(), AggregateSettings(follow=True)
    aggregate(str(pings), str(dataset), settings=follows, stop=stop, on_start=lambda _: stop.set(), spark=spark)
    for name in ("metadata", "offsets/.0.0f3c.tmp"):
        left = dataset / "_checkpoint" / "spark" / name
        left.parent.mkdir(parents=True, exist_ok=True)
        left.touch()
    (pings / "one.json").write_bytes(crash_ping())
    assert aggregate(str(pings), str(dataset), spark=spark).accepted == 1
    assert aggregate(str(pings), str(dataset), spark=spark).pings == 0


def test_stop_between_summing_and_committing_ends_and_loses_nothing(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream waits to commit while it is being ended: neither may wait for the other."""
    pings, dataset = tmp_path / "pings", str(tmp_path / "dataset")
    pings.mkdir()
    (pings / "one.json").write_bytes(crash_ping())
    stop, is_ending = threading.Event(), threading.Event()
    end, newest = spark_engine._SparkStream._end, results.newest_submission

    def end_now(stream: spark_engine._SparkStream, query: StreamingQuery, *, java_has_ended: bool) -> None:
        is_ending.set()
        end(stream, query, java_has_ended=java_has_ended)

    def wait_for_the_end(sums: pa.Table) -> datetime | None:
        stop.set()
        if spark is not None:
            is_ending.wait(60)
        return newest(sums)

    monkeypatch.setattr(spark_engine._SparkStream, "_end", end_now)
    monkeypatch.setattr(run, "newest_submission", wait_for_the_end)
    settings = AggregateSettings(follow=True, trigger_seconds=0.1)
    ending = threading.Thread(target=aggregate, args=(str(pings), dataset),
                              kwargs={"settings": settings, "stop": stop, "spark": spark})  # fmt: skip
    ending.start()
    ending.join(60)
    assert not ending.is_alive()
    monkeypatch.undo()
    aggregate(str(pings), dataset, spark=spark)
    assert sum(row[1] for row in table_sums(tmp_path / "dataset", contract.ERROR_AGGREGATES).values()) == 1
