"""A local table survives a power cut: what was acknowledged is there, what was damaged is set aside and repeated."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from streaming import contract
from streaming.dataset.writer import TableWriter, sync_tables
from streaming.errors import MissionControlError
from streaming.storage.durability import Unsynced, set_aside_damaged_commits
from streaming.storage.locations import table_url

TABLE = contract.REJECTED_PINGS
APP = "a job"
DONE_BATCHES = {APP: -1}  # nothing


def rows(count: int) -> pa.Table:
    from datetime import UTC, date, datetime, timedelta

    start = datetime(2017, 10, 2, 14, tzinfo=UTC)
    keys = {"submission_date": date(2017, 10, 2), "window_start": start, "window_end": start + timedelta(minutes=5)}
    return pa.Table.from_pylist(
        [{**keys, "document_type": "main", "reason": "empty", "count": count}], schema=contract.schema(TABLE)
    )


def counted(dataset: Path) -> int:
    delta = DeltaTable(table_url(dataset, TABLE))
    return sum(delta.to_pyarrow_table(filesystem=None).column("count").to_pylist())


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three micro-batches of 1, 2 and 4 pings."""
    writer = TableWriter(str(tmp_path / "data"), TABLE)
    for batch, count in enumerate((1, 2, 4)):
        writer.append(rows(count), batch, APP)
    sync_tables([writer])
    return tmp_path / "data"


def newest_commit(dataset: Path) -> Path:
    return max((dataset / TABLE.name / "_delta_log").glob("*.json"))


def test_damaged_newest_commit_is_set_aside_and_its_batch_is_appended_again(dataset: Path) -> None:
    newest_commit(dataset).write_bytes(b"")
    said: list[str | None] = []
    writer = writer_that_says(dataset, said)
    assert writer.transaction(APP) == 1
    assert len(said) == 1
    assert "damaged" in str(said[0])
    assert writer.append(rows(4), 2, APP) is True
    assert counted(dataset) == 7


def writer_that_says(dataset: Path, said: list[str | None]) -> TableWriter:
    from streaming.storage.retry import RetryPolicy

    return TableWriter(str(dataset), TABLE, RetryPolicy(said.append), DONE_BATCHES)


@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_commit_whose_data_file_is_damaged_is_set_aside(dataset: Path, damage: str) -> None:
    [added] = [json.loads(line)["add"] for line in newest_commit(dataset).read_text().splitlines() if '"add"' in line]
    path = dataset / TABLE.name / added["path"]
    if damage == "gone":
        path.unlink()
    else:
        os.truncate(path, 0 if damage == "empty" else added["size"] - 1)
    writer = writer_that_says(dataset, [])
    assert writer.transaction(APP) == 1
    assert writer.append(rows(4), 2, APP) is True
    assert counted(dataset) == 7


def test_commits_after_a_damaged_one_are_set_aside_with_it(dataset: Path) -> None:
    log = dataset / TABLE.name / "_delta_log"
    commits = sorted(log.glob("*.json"))
    commits[-2].write_bytes(b'{"commitInfo"')
    assert len(set_aside_damaged_commits(log.parent, TABLE.name, DONE_BATCHES)) == 2
    assert DeltaTable(str(log.parent)).transaction_version(APP) == 0
    assert counted(dataset) == 1
    assert len(list(log.glob(".damaged-*"))) == 2


def test_commit_that_comes_after_a_missing_one_is_set_aside(dataset: Path) -> None:
    sorted((dataset / TABLE.name / "_delta_log").glob("*.json"))[-2].unlink()
    assert len(set_aside_damaged_commits(dataset / TABLE.name, TABLE.name, DONE_BATCHES)) == 1
    assert DeltaTable(str(dataset / TABLE.name)).transaction_version(APP) == 0


def test_commits_before_a_checkpoint_may_be_missing(dataset: Path) -> None:
    DeltaTable(str(dataset / TABLE.name)).create_checkpoint()
    sorted((dataset / TABLE.name / "_delta_log").glob("*.json"))[-2].unlink()
    assert set_aside_damaged_commits(dataset / TABLE.name, TABLE.name, DONE_BATCHES) == []
    assert counted(dataset) == 7


def test_damage_that_a_job_went_on_after_is_an_error_and_nothing_is_renamed(dataset: Path) -> None:
    commits = sorted((dataset / TABLE.name / "_delta_log").glob("*.json"))
    commits[-2].write_bytes(b"")
    with pytest.raises(MissionControlError, match="others went on after it"):
        set_aside_damaged_commits(dataset / TABLE.name, TABLE.name, {APP: 2})
    with pytest.raises(MissionControlError, match="others went on after it"):
        set_aside_damaged_commits(dataset / TABLE.name, TABLE.name, {"another job": -1})
    assert sorted((dataset / TABLE.name / "_delta_log").glob("*.json")) == commits


def test_writer_that_is_no_job_sets_nothing_aside(dataset: Path) -> None:
    newest_commit(dataset).write_bytes(b"")
    with pytest.raises(MissionControlError, match="damaged"):
        TableWriter(str(dataset), TABLE)
    assert newest_commit(dataset).read_bytes() == b""


def test_damaged_table_of_another_name_is_left_alone(dataset: Path) -> None:
    newest_commit(dataset).write_bytes(b"")
    assert set_aside_damaged_commits(dataset / TABLE.name, "another", DONE_BATCHES) == []
    assert newest_commit(dataset).read_bytes() == b""


def test_sound_table_is_left_alone(dataset: Path) -> None:
    assert set_aside_damaged_commits(dataset / TABLE.name, TABLE.name, DONE_BATCHES) == []


def test_file_that_a_later_commit_replaced_may_be_gone(dataset: Path) -> None:
    delta = DeltaTable(table_url(dataset, TABLE))
    delta.optimize.compact()
    delta.vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert set_aside_damaged_commits(dataset / TABLE.name, TABLE.name, DONE_BATCHES) == []
    assert counted(dataset) == 7


def test_damaged_checkpoint_of_the_log_is_set_aside(dataset: Path) -> None:
    delta = DeltaTable(table_url(dataset, TABLE))
    delta.create_checkpoint()
    [checkpoint] = (dataset / TABLE.name / "_delta_log").glob("*.checkpoint.parquet")
    os.truncate(checkpoint, 100)
    set_aside_damaged_commits(dataset / TABLE.name, TABLE.name, DONE_BATCHES)
    assert counted(dataset) == 7


def test_all_files_of_all_commits_are_made_durable(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Unsynced] = []
    monkeypatch.setattr(Unsynced, "sync", lambda self: synced.append(self))
    writer = TableWriter(str(dataset), TABLE)  # a new process knows nothing of what an earlier one synchronised
    table = dataset / TABLE.name
    assert set(table.rglob("*.parquet")) <= synced[0].files
    assert set((table / "_delta_log").glob("*.json")) <= synced[0].files
    assert {table, table / "_delta_log", table / "submission_date=2017-10-02", dataset} <= synced[0].folders
    TableWriter(str(dataset), TABLE).append(rows(8), 3, APP)  # somebody else's commit
    writer.append(rows(16), 4, APP)
    synced.clear()
    sync_tables([writer])
    assert len([path for path in synced[0].files if path.suffix == ".parquet"]) == 2
    assert len([path for path in synced[0].files if path.suffix == ".json"]) == 2
