"""Rows of which a task has too many to pass on: the same tables, written by the task, once whatever is repeated."""

import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from streaming import contract
from streaming.aggregation import spill
from streaming.job import run
from streaming.job.aggregate import aggregate
from streaming.sources.files import splits
from tests.spark.small_pings import crash_ping, dataset_sums, main_ping, sums_by_plain_loop, write_pings

SYSTEM = {"os": {"name": "Darwin", "version": "16.7"}}


def distinct_pings(first: int, count: int) -> list[bytes]:
    """Main pings, each in 20 experiments that no other is in."""
    return [
        main_ping(
            number % 60,
            environment={"system": SYSTEM, "experiments": {f"{number}-{place}": "a" for place in range(20)}},
        )
        for number in range(first, first + count)
    ]


@pytest.fixture
def pings(tmp_path: Path) -> Path:
    folder = tmp_path / "pings"
    folder.mkdir()
    write_pings(folder, "a.jsonl", [*distinct_pings(0, 200), crash_ping(9 * 60 + 59), b"{"])
    write_pings(folder, "b.jsonl", [crash_ping(12 * 60 - 15 * 60 + 600), b"{}", *distinct_pings(100, 200)])
    return folder


def files_of(dataset: Path, table: contract.Table) -> int:
    return len(DeltaTable(str(dataset / table.name)).file_uris())


@pytest.mark.parametrize("is_summed_by_spark", [False, True])
def test_tables_are_the_same_when_tasks_write_what_they_have_no_room_for(
    spark: SparkSession, pings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_summed_by_spark: bool
) -> None:
    monkeypatch.setattr(spill, "BATCH_ROWS", 400)
    if is_summed_by_spark:
        monkeypatch.setattr(splits, "FEW_BYTES", 0)
    dataset, batches = tmp_path / "dataset", []
    passed = []
    written_of = run.Run._written

    def noticed(*arguments: object) -> object:
        sums, written = written_of(*arguments)  # type: ignore[arg-type]
        passed.append((len(sums), written))
        return sums, written

    monkeypatch.setattr(run.Run, "_written", noticed)
    summary = aggregate(str(pings), str(dataset), spark=spark, on_batch=batches.append)
    assert (summary.accepted, summary.rejected) == (402, {"not_json": 1, "document_type": 1})
    assert {Path(name).name: reasons for name, reasons in batches[0].bad_files.items()} == {
        "a.jsonl": {"not_json": 1},
        "b.jsonl": {"document_type": 1},
    }
    assert batches[0].data_up_to is not None
    assert batches[0].bytes == sum(len(line) for path in pings.iterdir() for line in path.read_bytes().split(b"\n"))
    assert dataset_sums(dataset) == sums_by_plain_loop(pings)
    [(rows, written)] = passed
    assert rows < 500  # of 8,000
    assert len(written[contract.EXPERIMENT_ERROR_AGGREGATES.name]) >= 1


def test_what_tasks_wrote_for_a_table_that_has_the_micro_batch_is_not_committed(
    spark: SparkSession, pings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "BATCH_ROWS", 400)
    dataset = tmp_path / "dataset"

    def stops(table: str, batch: int) -> None:
        if table == contract.COARSE_AGGREGATES.name:
            raise RuntimeError("killed between two tables")

    with pytest.raises(RuntimeError, match="between two tables"):
        aggregate(str(pings), str(dataset), spark=spark, on_commit=stops)
    before = files_of(dataset, contract.ERROR_AGGREGATES)
    aggregate(str(pings), str(dataset), spark=spark)
    assert files_of(dataset, contract.ERROR_AGGREGATES) == before
    assert dataset_sums(dataset) == sums_by_plain_loop(pings)
    shutil.rmtree(dataset / "_checkpoint" / "spark")  # all of it again
    write_pings(pings, "c.jsonl", distinct_pings(300, 200))
    aggregate(str(pings), str(dataset), spark=spark)
    assert dataset_sums(dataset) == sums_by_plain_loop(pings)
