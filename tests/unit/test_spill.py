"""Rows that a task passes on and rows that it writes; how much the next micro-batch reads."""

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder
from pyspark.sql.streaming.datasource import ReadMaxBytes

from streaming import contract
from streaming.aggregation import spill
from streaming.aggregation.counter import Counter, Delivery
from streaming.aggregation.deduplication import duplicate_dropper
from streaming.aggregation.partial_sums import add_up
from streaming.aggregation.spill import files_of, rows_per_task, spilled, with_rows
from streaming.dataset.writer import open_writers
from streaming.errors import MissionControlError
from streaming.sources import base
from streaming.sources.files.batch_log import FileLog
from streaming.sources.files.data_source import PingFilesReader
from streaming.sources.files.listing import list_files
from streaming.sources.files.reader import count_splits
from streaming.sources.files.source import FilePlan
from streaming.sources.files.splits import FEW_BYTES, SPLIT_BYTES, assign_to_tasks, have_few_rows, select_batch
from streaming.storage.local_files import FileInfo
from streaming.storage.retry import NO_RETRIES
from tests.spark.small_pings import dataset_sums, main_ping, sums_by_plain_loop, write_pings


def counted(first: int, count: int) -> pa.RecordBatch:
    """A row for each ping's experiment, one for their totals, and one for their delays: all are below 15 minutes."""
    counter, payload = Counter(), {"info": {"subsessionLength": 600, "subsessionStartDate": "2017-10-02T13:50:00Z"}}
    for number in range(first, first + count):
        system = {"os": {"name": "Darwin", "version": "16.7"}}
        environment = {"system": system, "experiments": {str(number): "a"}}
        counter.add(main_ping(environment=environment, payload=payload), 0)
    return counter.partial_sums()


def experiment_pings(rows: pa.Table) -> int:
    is_of_experiment = [name == contract.EXPERIMENT_ERROR_AGGREGATES.name for name in rows["table"].to_pylist()]
    counts = rows.filter(pa.array(is_of_experiment))["count"].to_pylist()
    return sum(counts)


def test_rows_that_there_is_room_for_are_passed_on_as_they_are(tmp_path: Path) -> None:
    batches = [counted(0, 5), counted(5, 5)]
    assert list(spilled(batches, str(tmp_path), 14)) == batches
    assert not list(tmp_path.rglob("*.parquet"))


def test_nothing_is_written_where_tasks_do_not_see_the_dataset() -> None:
    batches = [counted(0, 5), counted(5, 5)]
    assert list(spilled(batches, None, 0)) == batches


def test_rows_beyond_the_room_are_files_of_few_rows_that_name_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "CHUNK_ROWS", 20)
    writers = open_writers(str(tmp_path), apps=())
    batches = [counted(0, 8), *(counted(10 * number, 10) for number in range(1, 6))]
    said = pa.Table.from_batches(spilled(batches, str(tmp_path), 10))
    sums, files = files_of(add_up(said))
    assert experiment_pings(sums) == 58
    assert len(files[contract.EXPERIMENT_ERROR_AGGREGATES.name]) == 3
    everything = with_rows(sums, files, str(tmp_path))
    for writer in writers:
        writer.append(everything[writer.table.name], 0, "app")
    delta = DeltaTable(str(tmp_path / contract.EXPERIMENT_ERROR_AGGREGATES.name))
    query = "select count(*), sum(count), count(distinct experiment_id) from data"
    found = pa.table(QueryBuilder().register("data", delta).execute(query).read_all())
    assert [column[0].as_py() for column in found.columns] == [58, 58, 58]
    assert len(delta.file_uris()) == 4


def test_a_share_of_a_source_has_the_sums_of_a_plain_loop_whatever_its_room(tmp_path: Path) -> None:
    folder = tmp_path / "pings"
    folder.mkdir()
    write_pings(folder, "a.jsonl", [*(main_ping(minute) for minute in range(30)), b"{", b"[]"])
    for room in (0, 10, 1_000):
        dataset = tmp_path / str(room)
        writers = open_writers(str(dataset), apps=())
        [splits] = assign_to_tasks(list_files(str(folder)), 1)
        said = pa.Table.from_batches(spilled(count_splits(splits, Counter()), str(dataset), room))
        sums, files = files_of(add_up(said))
        for writer in writers:
            writer.append(with_rows(sums, files, str(dataset))[writer.table.name], 0, "app")
        assert dataset_sums(dataset) == sums_by_plain_loop(folder)


def test_files_of_a_repeated_micro_batch_are_committed_only_to_tables_that_lack_it(tmp_path: Path) -> None:
    folder, dataset = tmp_path / "pings", tmp_path / "dataset"
    folder.mkdir()
    write_pings(folder, "a.jsonl", [*(main_ping(minute) for minute in range(30)), b"{"])
    [splits] = assign_to_tasks(list_files(str(folder)), 1)
    writers = open_writers(str(dataset), apps=())
    for has_ended in (False, True):
        said = pa.Table.from_batches(spilled(count_splits(splits, Counter()), str(dataset), 0))
        everything = with_rows(*files_of(add_up(said)), str(dataset))
        for writer in writers if has_ended else writers[:2]:
            is_new = writer.append(everything[writer.table.name], 0, "app")
            assert is_new == (not has_ended or writer not in writers[:2])
    assert dataset_sums(dataset) == sums_by_plain_loop(folder)


def test_duplicates_are_found_alike_whether_a_task_holds_its_rows_or_keeps_them_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    for first in range(0, 60, 6):
        counter = Counter(by_delivery=True)
        for number in range(first, first + 6):
            named = {} if number % 5 == 0 else {"document_id": str(number % 20)}
            counter.add(main_ping(number % 30, **named), 10**15, Delivery(number, 10**15 + number))
        batches.append(counter.partial_sums())
    found = {}
    for rows in (7, 1_000):
        monkeypatch.setattr(spill, "CHUNK_ROWS", rows)
        kept = pa.Table.from_batches(duplicate_dropper(0, tmp_path / str(rows))(iter(batches)))
        sums = add_up(kept).select(contract.partial_schema().names)
        found[rows] = sorted(map(repr, sums.to_pylist()))
    assert found[7] == found[1_000]
    assert any("duplicate" in row for row in found[7])


def test_a_folder_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MissionControlError, match="cannot write"):
        list(spilled([counted(0, 5)], str(tmp_path / "file"), 0))


def test_the_rooms_of_few_tasks_together_are_that_of_a_micro_batch() -> None:
    assert [rows_per_task(300_000, tasks) for tasks in (0, 1, 2, 60, 1000)] == [300_000, 300_000, 150_000, 5_000, 5_000]


def reader_of(folder: Path, density: Path) -> PingFilesReader:
    options = {"log": str(density.with_name("files.log")), "source": str(folder), "density": str(density)}
    return PingFilesReader({**options, "max_bytes": "1000000", "outage_notices": str(density.parent), "cores": "2"})


def test_a_micro_batch_is_cut_by_the_rows_that_the_one_before_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "MIN_BATCH_BYTES", 100)
    folder, density = tmp_path / "pings", tmp_path / "density.json"
    folder.mkdir()
    for name in "abcdefgh":
        (folder / f"{name}.jsonl").write_bytes(bytes(100))
    reader = reader_of(folder, density)

    def planned(number: int) -> int:
        end = reader.latestOffset({"batch": number}, ReadMaxBytes(1_000_000))
        return len(reader._log.files(number, end["batch"]))

    base.Density(density).note(base.MAX_BATCH_ROWS, 300)
    assert planned(0) == 3
    base.Density(density).note(10 * base.MAX_BATCH_ROWS, 300)
    assert planned(1) == 1
    base.Density(density).note(1, 300)
    assert planned(2) == 4


def test_as_long_as_no_density_is_known_a_micro_batch_is_small(tmp_path: Path) -> None:
    density = base.Density(tmp_path / "density.json")
    assert density.batch_bytes(7) == 7
    assert density.batch_bytes(1 << 40) == base.MIN_BATCH_BYTES
    (tmp_path / "density.json").write_text("[1")
    assert density.batch_bytes(1 << 40) == base.MIN_BATCH_BYTES
    for size in (0, 1 << 20):  # messages of aborted transactions, empty lines
        density.note(0, size)
        assert density.batch_bytes(1 << 36) == 1 << 36


def test_rows_are_few_where_bytes_are_or_where_the_micro_batch_before_says_so(tmp_path: Path) -> None:
    density = base.Density(tmp_path / "density.json")
    many_bytes = [FileInfo("/a.jsonl", 4 * SPLIT_BYTES, 0)]  # for four tasks, of which each may make all rows
    assert have_few_rows([FileInfo("/a.jsonl", FEW_BYTES, 0)], 1, density)
    assert not have_few_rows(many_bytes, 1, density)  # as long as nothing is known
    density.note(spill.BATCH_ROWS // 8, 2 * SPLIT_BYTES)
    assert have_few_rows(many_bytes, 1, density)
    assert have_few_rows(many_bytes, 4, density)
    assert not have_few_rows(many_bytes, 5, density)
    density.note(spill.BATCH_ROWS // 8 + 1, 2 * SPLIT_BYTES)
    assert not have_few_rows(many_bytes, 1, density)
    density.note(spill.BATCH_ROWS // 2, FEW_BYTES)
    assert have_few_rows([FileInfo("/a.jsonl.gz", FEW_BYTES // 4, 0)], 1, density)  # density is that of packed bytes


def test_a_plan_knows_how_much_its_newest_micro_batch_reads(tmp_path: Path) -> None:
    plan = FilePlan(str(tmp_path / "pings"), tmp_path / "files.log", tmp_path, 1 << 40, NO_RETRIES)
    assert plan.newest_bytes() == 0
    for number, size in enumerate((7, 5)):
        FileLog(tmp_path / "files.log").append(
            [FileInfo(f"/{number}.jsonl", size, 0), FileInfo(f"/{number}.json", -1, 0)]
        )
        assert plan.has_few_rows(number, 1)
        assert plan.newest_bytes() == size


def test_a_micro_batch_has_a_limit_of_files_for_empty_ones_have_no_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.sources.files.splits.MAX_FILES", 3)
    listed = list_files_of(5)
    assert select_batch(listed, set(), 100) == listed[:3]
    assert select_batch(listed, {listed[0].path}, None) == listed[1:4]


def list_files_of(count: int) -> list:
    return [FileInfo(f"/{number}", 0, number) for number in range(count)]
