"""A folder that holds no pings yet."""

import threading
from pathlib import Path

from pyspark.sql import SparkSession

from streaming.job import AggregateSettings, Batch, aggregate
from tests.spark.small_pings import crash_ping


def test_empty_folder_holds_no_pings_until_it_does(spark: SparkSession, tmp_path: Path) -> None:
    pings, dataset = tmp_path / "pings", tmp_path / "dataset"
    pings.mkdir()
    assert aggregate(str(pings), str(dataset), spark=spark).pings == 0
    (pings / "one.json").write_bytes(crash_ping())
    assert aggregate(str(pings), str(dataset), spark=spark).accepted == 1


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
    threading.Timer(0.5, stop.set).start()
    settings = AggregateSettings(follow=True, trigger_seconds=60)
    assert (
        aggregate(str(tmp_path / "pings"), str(tmp_path / "dataset"), settings=settings, stop=stop, spark=spark).pings
        == 0
    )
