"""What a log says is checked when it is read: damage is one sentence, a wrong value is not taken for a right one."""

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from deltalake import CommitProperties, DeltaTable

import missioncontrol_nb as mc
from missioncontrol_nb.cli import group
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.status import Collector
from streaming import contract
from streaming.dataset import compaction, maintenance
from streaming.dataset.opening import open_all, recorded_data_up_to
from streaming.dataset.writer import open_writers
from streaming.errors import MissionControlError
from streaming.job import aggregate as aggregate_module
from streaming.job.progress import CheckpointProgress, progress_of
from streaming.job.settings import AggregateSettings
from streaming.sources.base import MIN_BATCH_BYTES, Density
from streaming.sources.files.batch_log import FileLog
from streaming.sources.kafka.offsets import first_offsets
from streaming.storage.local_files import FileInfo
from tests.spark.small_pings import crash_ping
from tests.unit.streamed_dataset import LATER, NOW, write


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset that was tended: its tables have a checkpoint."""
    folder = tmp_path_factory.mktemp("whole") / "data"
    write(folder, *[[crash_ping(minute)] for minute in range(3)])
    maintenance.maintain(str(folder), now=lambda: NOW)
    return folder


@pytest.fixture
def dataset(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "data")


def newest(dataset: Path, pattern: str) -> Path:
    return sorted((dataset / "error_aggregates" / "_delta_log").glob(pattern))[-1]


USES: dict[str, Callable[[str], object]] = {
    "load": lambda url: mc.load(url, every=None, by="country"),
    "status": lambda url: Collector(url).collect(),
    "maintain": maintenance.maintain,
    "backfill": open_all,
    "dashboard": lambda url: Dataset(url).tables(),
}


@pytest.mark.parametrize(
    ("pattern", "content", "said"),
    [
        ("*.json", b"", "is empty"),
        ("*.json", b'{"broken', "is cut short"),
        ("*.json", b"\0" * 200, "is not what Delta writes"),
        ("*.json", b"[1]\n", "is not what Delta writes"),
        ("*.checkpoint.parquet", b"", "is empty"),
        ("*.checkpoint.parquet", b"PAR1xxxxxxxx", "is cut short or no Parquet file"),
        ("_last_checkpoint", b'{"version":999,"size":3}', "names a checkpoint that is not there"),
    ],
)
def test_damaged_log_is_said_by_all_who_read_it(pattern: str, content: bytes, said: str, dataset: Path) -> None:
    file = newest(dataset, pattern)
    file.write_bytes(content)
    for use in USES.values():
        with pytest.raises(MissionControlError, match=f"the log of the table .* is damaged: {file.name} {said}"):
            use(str(dataset))
    for command in ("status", "maintain"):
        done = CliRunner().invoke(group, [command, "--dataset", str(dataset)])
        assert isinstance(done.exception, MissionControlError)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"{}", b"{}\n{}\n", b"[" * 100_000])
def test_damaged_commit_before_the_newest_is_said_and_nothing_is_written(content: bytes, tmp_path: Path) -> None:
    dataset = tmp_path / "data"
    write(dataset, *[[crash_ping(minute)] for minute in range(3)])
    *_, damaged, _ = sorted((dataset / "error_aggregates" / "_delta_log").glob("*.json"))
    damaged.write_bytes(content)
    before = sorted((dataset / "error_aggregates").rglob("*"))
    for use in (*USES.values(), aggregate):
        with pytest.raises(
            MissionControlError, match=f"damaged: {damaged.name} |the commit {damaged.name}, .* is damaged"
        ):
            use(str(dataset))
    assert sorted((dataset / "error_aggregates").rglob("*")) == before


def test_damaged_commit_that_a_checkpoint_tells_too_is_said_where_it_is_read(dataset: Path) -> None:
    first, *_ = sorted((dataset / "error_aggregates" / "_delta_log").glob("*.json"))
    first.write_bytes(b"{")
    for name in ("status", "maintain"):
        with pytest.raises(MissionControlError, match=f"is damaged: {first.name} is cut short"):
            USES[name](str(dataset))


def test_table_is_no_place_for_a_dataset(dataset: Path) -> None:
    table = dataset / "error_aggregates"
    for use in (*USES.values(), aggregate):
        with pytest.raises(MissionControlError, match=f"is one table; give the dataset's folder, {dataset}"):
            use(str(table))
    assert not (table / "error_aggregates").exists()


@pytest.mark.parametrize(
    "line", [b"{}", b"[]", b"5", b"null", b'"abc"', b'[["a",1]]', b'[[null,1,2]]', b'[["a","1",2]]', b'[["a",1,2,3]]',
             b'["abc"]', b'[["",1,2]]', b"[" * 100_000, b"nothing"],
)  # fmt: skip
def test_damaged_list_of_counted_files_is_said(line: bytes, tmp_path: Path) -> None:
    log = FileLog(tmp_path / "files.log")
    log.append([FileInfo("/a.jsonl", 1, 2)])
    with (tmp_path / "files.log").open("ab") as file:
        file.write(line + b"\n")
    for use in (log.refresh, lambda: log.files(1, 2), lambda: FileLog(tmp_path / "files.log"),
                CheckpointProgress(tmp_path, "/s", "/d", "app", 2).counted_files):  # fmt: skip
        with pytest.raises(MissionControlError, match=r"the file '.*files.log' of a checkpoint is damaged"):
            use()


@pytest.mark.parametrize("name", ["checkpoint.json", "topic.json"])
def test_checkpoint_of_brackets_is_damaged(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"[" * 100_000)
    use = {"checkpoint.json": progress_of, "topic.json": lambda folder: first_offsets(folder / name)}[name]
    with pytest.raises(MissionControlError, match=f"the file '.*{name}' of a checkpoint is damaged"):
        use(tmp_path)


@pytest.mark.parametrize(
    "said", ["NaN", "-5", "1e400", "[0, 1]", "[1, 0]", "[true, 1]", "[1.5, 2]", "{}", "[" * 100_000]
)
def test_hint_of_how_many_rows_there_are_is_passed_over_where_it_is_damaged(said: str, tmp_path: Path) -> None:
    (tmp_path / "density.json").write_text(said)
    density = Density(tmp_path / "density.json")
    assert density.rows(100) is None
    assert density.batch_bytes(1 << 40) == MIN_BATCH_BYTES


@pytest.mark.parametrize("source", ["pings/*.txt", "pings", "empty", "pings/pipe.jsonl"])
def test_source_without_a_ping_leaves_no_dataset_behind(source: str, tmp_path: Path) -> None:
    for folder in ("pings", "empty"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pings" / "a.txt").touch()
    os.mkfifo(tmp_path / "pings" / "pipe.jsonl")
    for settings in (None, AggregateSettings(checkpoint=str(tmp_path / "state"))):
        with pytest.raises(MissionControlError, match="holds no file of pings"):
            aggregate_module.aggregate(str(tmp_path / source), str(tmp_path / "data"), settings=settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "pings"]


def aggregate(dataset: str) -> object:
    """Opens the tables as a job does that begins anew."""
    return open_writers(dataset, done_batches={})


@pytest.mark.parametrize("use", [*USES.values(), aggregate], ids=[*USES, "aggregate"])
@pytest.mark.parametrize("is_emptied", [False, True])
def test_rows_whose_log_is_gone_are_not_taken_for_a_table_to_be_made(
    use: Callable[[str], object], is_emptied: bool, dataset: Path
) -> None:
    log = dataset / "error_aggregates" / "_delta_log"
    shutil.rmtree(log)
    if is_emptied:
        log.mkdir()
    before = sorted((dataset / "error_aggregates").rglob("*"))
    with pytest.raises(MissionControlError, match="error_aggregates' holds rows, and its log is gone"):
        use(str(dataset))
    assert sorted((dataset / "error_aggregates").rglob("*")) == before


@pytest.mark.parametrize("use", ["load", "status", "dashboard", "backfill", "aggregate"])
def test_table_that_is_gone_as_a_whole_is_not_made_anew_beside_the_others(use: str, dataset: Path) -> None:
    shutil.rmtree(dataset / "error_aggregates")
    uses = {**USES, "dashboard": lambda url: Dataset(url).data_up_to(), "aggregate": aggregate}
    with pytest.raises(MissionControlError, match="error_aggregates' is gone, while coarse_aggregates, "):
        uses[use](str(dataset))
    assert not (dataset / "error_aggregates").exists()


def test_other_tables_are_tended_where_the_log_of_one_is_gone(dataset: Path) -> None:
    shutil.rmtree(dataset / "coarse_aggregates" / "_delta_log")
    maintained: list[str] = []
    with pytest.raises(MissionControlError, match="coarse_aggregates' holds rows, and its log is gone"):
        maintenance.maintain(str(dataset), on_table=lambda done: maintained.append(done.table), now=lambda: LATER)
    assert set(maintained) == {table.name for table in contract.TABLES} - {"coarse_aggregates"}


def test_day_without_a_file_is_no_table_that_has_lost_its_log(tmp_path: Path) -> None:
    (tmp_path / "error_aggregates" / "submission_date=2017-10-02").mkdir(parents=True)
    open_writers(str(tmp_path))
    assert mc.load(tmp_path, every=None).empty


def test_log_without_its_hint_is_whole(dataset: Path) -> None:
    newest(dataset, "_last_checkpoint").unlink()
    assert mc.load(dataset, every=None, by="country")["count"].sum() == 3


def test_place_without_a_dataset_is_said_alike(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "begun" / "error_aggregates" / "_delta_log").mkdir(parents=True)
    places = {"typo": "no such folder", "file": "that is a file", "empty": "it holds none", "begun": "it holds none"}
    for name, said in places.items():
        for use in (USES["load"], USES["status"], USES["maintain"]):
            with pytest.raises(MissionControlError, match=f"there is no dataset at {tmp_path / name}: {said}"):
                use(str(tmp_path / name))


def test_newest_submission_that_is_none_is_passed_over(dataset: Path) -> None:
    url = str(dataset / "error_aggregates")
    tomorrow = datetime.now(UTC) + timedelta(days=2)
    for said in ("zzz", "", "9999-12-31T00:00:00+00:00", tomorrow.isoformat(), "2017-10-02T14:00:00"):
        properties = CommitProperties(custom_metadata={contract.DATA_UP_TO: said})
        DeltaTable(url).alter.set_table_properties({"delta.checkpointInterval": "100"}, commit_properties=properties)
    assert recorded_data_up_to(DeltaTable(url)) == "2017-10-02T15:22:00.000000+00:00"
    assert Dataset(dataset).data_up_to() == NOW


@pytest.mark.parametrize(
    ("setting", "hours"), [("interval 7 days", 168), ("interval 90 minutes", 2), ("interval 1 week", 168)]
)
def test_time_that_replaced_files_stay_is_read_in_all_its_units(setting: str, hours: int, dataset: Path) -> None:
    delta = DeltaTable(str(dataset / "error_aggregates"))
    delta.alter.set_table_properties({compaction.REMOVED: setting})
    maintenance.maintain(str(dataset), now=lambda: LATER, finds_orphans=False)
    told = DeltaTable(str(dataset / "error_aggregates")).metadata().configuration[compaction.REMOVED]
    assert told == f"interval {hours} hours"


def test_time_that_is_none_is_said_and_what_was_told_replaces_it(dataset: Path) -> None:
    log = dataset / "error_aggregates" / "_delta_log"
    version = DeltaTable(str(dataset / "error_aggregates")).version()
    metadata = next(
        json.loads(line)["metaData"]
        for path in sorted(log.glob("*.json"))[::-1]
        for line in path.read_text().splitlines()
        if "metaData" in json.loads(line)
    )
    metadata["configuration"][compaction.REMOVED] = "interval 99999999999999999999 hours"
    lines = [{"commitInfo": {"timestamp": 1_500_000_000_000}}, {"metaData": metadata}]
    (log / f"{version + 1:020}.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(MissionControlError, match="expected a time such as 'interval 3 hours' as the setting"):
        maintenance.maintain(str(dataset), now=lambda: LATER)
    done = maintenance.maintain(str(dataset), compaction.MaintainSettings(keep_removed_hours=2), now=lambda: LATER)
    assert len(done) == 5


def test_commit_that_says_no_time_is_said(dataset: Path) -> None:
    log = dataset / "error_aggregates" / "_delta_log"
    version = DeltaTable(str(dataset / "error_aggregates")).version()
    (log / f"{version + 1:020}.json").write_text('{"commitInfo":{"timestamp":99999999999999999}}\n')
    with pytest.raises(MissionControlError, match="does not say when it was made"):
        Collector(str(dataset)).collect()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": 1, "source": "a", "dataset": "b"}'])
def test_damaged_checkpoint_is_said(content: str, dataset: Path) -> None:
    (dataset / "_checkpoint").mkdir()
    (dataset / "_checkpoint" / "checkpoint.json").write_text(content)
    with pytest.raises(MissionControlError, match=r"checkpoint\.json' of a checkpoint is damaged"):
        Collector(str(dataset))
