"""Tables whose files tasks write and the driver commits: the same sums, once, whatever is repeated."""

import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable, QueryBuilder
from deltalake.transaction import AddAction
from pyspark.sql import SparkSession

from streaming import contract
from streaming.dataset.worker_writes import check_visible
from streaming.dataset.writer import TableWriter
from streaming.errors import MissionControlError
from streaming.job.aggregate import aggregate
from streaming.job.settings import AggregateSettings
from tests.spark.small_pings import crash_ping, dataset_sums, main_ping, sums_by_plain_loop, total_pings, write_pings

WORKERS = AggregateSettings(write_from="workers")
EXPERIMENTS = {"environment": {"system": {"os": {"name": "Darwin", "version": "16.7"}}, "experiments": {"a": "b"}}}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "pings"
    folder.mkdir()
    days = [crash_ping(minute) for minute in (0, 5, 24 * 60 - 15 * 60, 9 * 60 + 59)]
    write_pings(folder, "a.jsonl", [*days, main_ping(3, **EXPERIMENTS), crash_ping(country="FR"), b"{"])
    write_pings(folder, "b.jsonl", [main_ping(minute, hours=2) for minute in range(30)])
    return folder


def test_tables_that_workers_write_hold_the_same_sums(spark: SparkSession, source: Path, tmp_path: Path) -> None:
    batches = []
    dataset = tmp_path / "dataset"
    summary = aggregate(str(source), str(dataset), settings=WORKERS, spark=spark, on_batch=batches.append)
    assert (summary.accepted, summary.rejected) == (36, {"not_json": 1})
    assert batches[0].bad_files == {str(source / "a.jsonl"): {"not_json": 1}}
    assert batches[0].data_up_to
    assert dataset_sums(dataset) == sums_by_plain_loop(source)


def test_what_is_repeated_counts_once(spark: SparkSession, source: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    aggregate(str(source), str(dataset), settings=WORKERS, spark=spark)
    shutil.rmtree(dataset / "_checkpoint" / "spark")
    write_pings(source, "c.jsonl", [crash_ping()])
    aggregate(str(source), str(dataset), settings=WORKERS, spark=spark)
    assert dataset_sums(dataset) == sums_by_plain_loop(source)
    assert total_pings(dataset) == 38


def test_readers_find_rows_by_the_ranges_that_files_are_said_to_have(
    spark: SparkSession, source: Path, tmp_path: Path
) -> None:
    aggregate(str(source), str(tmp_path / "dataset"), settings=WORKERS, spark=spark)
    delta = DeltaTable(str(tmp_path / "dataset" / contract.ERROR_AGGREGATES.name))
    ranges = QueryBuilder().register("rows", delta)

    def pings(condition: str) -> int | None:
        return ranges.execute(f"select sum(count) from rows where {condition}").read_all()[0][0].as_py()

    assert pings("country = 'FR'") == 1
    assert pings("country = 'US'") is None
    assert pings("window_start >= timestamp '2017-10-02T14:05:00Z' and window_start < '2017-10-02T14:10:00Z'") == 6
    assert pings("os_name = 'Darwin' and build_id >= '20170926190823'") == 1


def test_nothing_summed_is_committed_as_nothing(tmp_path: Path) -> None:
    writer = TableWriter(str(tmp_path), contract.ERROR_AGGREGATES)
    assert writer.append([], 0, "app")
    assert not writer.append([], 0, "app")
    assert writer.transaction("app") == 0


def test_files_that_only_workers_see_are_not_committed(tmp_path: Path) -> None:
    file = AddAction("submission_date=2017-10-02/part-0.parquet", 1, {"submission_date": "2017-10-02"}, 0, True, "{}")
    with pytest.raises(MissionControlError, match="must be a folder that all share"):
        check_visible(str(tmp_path), {contract.ERROR_AGGREGATES.name: [file]})
