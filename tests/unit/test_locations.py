"""Names of datasets and sources: each is a place of its own, or is refused in a sentence."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

import missioncontrol_nb as mc
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.simulator.history import new_dataset
from missioncontrol_nb.status import Collector
from streaming import contract
from streaming.dataset import maintenance
from streaming.dataset.compaction import MaintainSettings, TableMaintainer
from streaming.dataset.day_sums import day_sums
from streaming.dataset.opening import open_table
from streaming.dataset.writer import open_writers
from streaming.errors import MissionControlError
from streaming.job.aggregate import aggregate
from streaming.job.checkpoint import open_checkpoint
from streaming.job.settings import AggregateSettings
from streaming.storage.locations import (
    check_apart,
    dataset_url,
    normal_url,
    plain_folder,
    source_url,
    table_url,
    with_real_paths,
)
from tests.spark.small_pings import crash_ping, main_ping
from tests.unit.streamed_dataset import LATER, NOW, write

ROOT = Path(__file__).parents[2]
ODD = ("a%20b", "a%2Fb", "a[1]b", "a\\b", "x^y|z", "a\nb", "%", "a b?c#d", "?", "#")
PLAIN = ("x🔥y", "données", "a::b", "s3:", "{a}*<b>&'\"~")


@pytest.mark.parametrize("name", [*ODD, *PLAIN])
def test_dataset_of_any_name_is_written_read_and_tended_where_it_is(name: str, tmp_path: Path) -> None:
    dataset = tmp_path / "all" / name
    write(dataset, [crash_ping(1)])
    reader = Dataset(dataset)
    assert reader.load(every=None)["count"].tolist() == [1]
    later = [crash_ping(minute, submission_timestamp=f"2017-10-03T14:{minute:02}:00Z") for minute in range(6)]
    write(dataset, *[[each, b"nonsense"] for each in later], first=1)
    assert reader.refresh()
    assert reader.load(every="1d", by="country")["count"].tolist() == [1, 6], "of a day that came later"
    state = Collector(str(dataset)).collect()
    assert (reader.data_up_to(), state.data_up_to, len(state.tables)) == (NOW, NOW, len(contract.TABLES))
    maintenance.maintain(str(dataset), MaintainSettings(keep_removed_hours=1), now=lambda: LATER)
    assert [int(mc.load(dataset, every=None, **of)["count"].sum()) for of in ({}, {"country": "DE"})] == [7, 7]
    assert [path.name for path in (tmp_path / "all").iterdir()] == [name]
    assert {path.name for path in dataset.iterdir()} == {table.name for table in contract.TABLES}


def test_table_of_an_odd_name_gets_its_checkpoints(tmp_path: Path) -> None:
    """Delta's library makes one by itself with each hundredth commit."""
    dataset = tmp_path / "a%20[b]\\"
    write(dataset, *[[crash_ping(number % 60)] for number in range(101)])
    log = dataset / "error_aggregates" / "_delta_log"
    assert list(log.glob("*.checkpoint.parquet"))
    maintainer = TableMaintainer(str(dataset), contract.ERROR_AGGREGATES)
    for _ in range(2):
        maintainer.clean_log()
    assert mc.load(dataset, every=None)["count"].tolist() == [101]
    delta = open_table(maintainer.url, None)
    assert pa.compute.sum(day_sums(delta, maintainer.table, NOW.date())["count"]).as_py() == 101


def test_message_about_a_table_of_an_odd_name_names_it(tmp_path: Path) -> None:
    dataset = tmp_path / "a%20b"
    write(dataset, [crash_ping(1)])
    reader = Dataset(dataset)
    for file in (dataset / "coarse_aggregates").glob("*/*.parquet"):
        file.unlink()
    with pytest.raises(MissionControlError, match="a%20b") as said:
        reader.load(every=None)
    assert "missioncontrol-" not in str(said.value)


def test_process_leaves_nothing_of_what_stood_for_odd_names(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    code = (
        "import sys, missioncontrol_nb as mc; from tests.unit.test_locations import *\n"
        "write(Path(sys.argv[1]), [crash_ping(1)]); print(mc.load(sys.argv[1], every=None)['count'].tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a%20b")], cwd=ROOT, capture_output=True, text=True, check=True,
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary"), "LC_ALL": "C"},
    )  # fmt: skip
    assert done.stdout == "[1]\n"
    assert list((tmp_path / "temporary").iterdir()) == []
    assert len(list((tmp_path / "a%20b").iterdir())) == 5


def test_folder_of_any_name_has_a_plain_one_for_java(tmp_path: Path) -> None:
    assert plain_folder(Path("/srv/a_b-c.d")) == Path("/srv/a_b-c.d")
    for name in (*ODD, *PLAIN, "a,b", "a b"):
        (tmp_path / name).mkdir()
        plain = plain_folder(tmp_path / name)
        assert plain.samefile(tmp_path / name)
        assert set(str(plain)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-")
        assert with_real_paths(f"cannot read {plain}/x") == f"cannot read {tmp_path / name}/x"


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/prod?region=eu-central-1", "s3://bucket/prod#x", "s3://bucket/prod?", "s3://bucket?x/prod",
        "s3://bucket/a%20b", "s3://bucket/a[1]", "s3://bucket/a\\b", "s3://bucket/x^y", "s3://bucket/a\nb",
        "s3://bucket/x/../prod", "s3://bucket/./prod", "s3://bucket/x//prod", "s3://key:secret@bucket/prod", "s3:///prod",
        "s3:/bucket/prod", "file:///srv/prod?x", "file:///srv/prod#x", "file://host/srv/prod", "a\0b", "a\udc80b",
    ],
)  # fmt: skip
def test_name_that_others_would_take_for_another_place_is_refused(url: str) -> None:
    with pytest.raises(MissionControlError, match=r"expected .*; got "):
        dataset_url(url)


@pytest.mark.parametrize("url", ["http://x/y", "gs://bucket/key", "memory://x", "kafka://h:1/t", "hdfs://host/x"])
@pytest.mark.parametrize("take", [dataset_url, mc.load, mc.Dataset, Collector, maintenance.maintain, open_writers])
def test_store_that_holds_no_datasets_is_refused_at_once(url: str, take: Callable[[str], object]) -> None:
    with pytest.raises(MissionControlError, match=f"expected a folder or s3://BUCKET/KEY as dataset; got '{url}'"):
        take(url)


def test_job_for_a_store_that_holds_no_datasets_leaves_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    settings = AggregateSettings(checkpoint=str(tmp_path / "state"))
    with pytest.raises(MissionControlError, match="expected a folder or s3://BUCKET/KEY as dataset; got 'http://x/y'"):
        aggregate(str(tmp_path / "a.json"), "http://x/y", settings=settings)
    assert not (tmp_path / "state").exists()


def test_one_place_is_spelled_one_way() -> None:
    assert dataset_url("s3://bucket/top/a b🔥") == dataset_url("S3://bucket/top/a b🔥/") == "s3://bucket/top/a b🔥"
    assert dataset_url("s3://bucket") == "s3://bucket"
    assert normal_url("file:///srv/a%20b%3Fc") == normal_url("FILE:///srv/a%20b%3Fc") == "/srv/a b?c"
    assert normal_url("/srv/a%20b?c#d/../e") == "/srv/e"


def test_source_in_a_bucket_may_be_a_glob_and_has_no_options() -> None:
    assert source_url("s3://bucket/2017-10-??/*.jsonl") == "s3://bucket/2017-10-??/*.jsonl"
    with pytest.raises(MissionControlError, match="is not an object key here"):
        source_url("s3://bucket/pings?region=eu-central-1")


# A source and a checkpoint are apart.


APART = """
    pings           | state            | yes
    pings           | pings            | no
    pings           | pings/state      | no
    pings           | pings/a/b        | no
    pings           | pings/_state     | yes
    pings           | pings/.a/state   | yes
    pings           | pings2           | yes
    pings/a         | pings            | no
    pings/x.json    | pings            | no
    link            | pings/state      | no
    pings           | link/state       | no
    pings/*.jsonl   | pings/state      | yes
    pings/*/*.json  | pings/state      | no
    pings/**        | pings/a/state    | no
    pings/**/*.json | pings/_state     | yes
    pings/*.jsonl   | pings            | no
    pings/2017-*/*  | pings/2017-10/_c | yes
"""


@pytest.mark.parametrize("case", APART.split("\n")[1:-1], ids=str.split)
def test_checkpoint_whose_files_would_be_counted_as_pings_is_refused(case: str, tmp_path: Path) -> None:
    source, checkpoint, is_apart = map(str.strip, case.split("|"))
    (tmp_path / "pings" / "a").mkdir(parents=True)
    (tmp_path / "link").symlink_to("pings")
    with (
        nullcontext()
        if is_apart == "yes"
        else pytest.raises(MissionControlError, match="expected a checkpoint outside")
    ):
        check_apart(f"{tmp_path}/{source}", tmp_path / checkpoint)
    check_apart(f"s3://{source}", tmp_path / checkpoint)


def test_job_with_a_new_checkpoint_among_its_pings_is_refused(tmp_path: Path) -> None:
    source, dataset, state = tmp_path / "pings", tmp_path / "data", tmp_path / "pings" / "state"
    source.mkdir()
    (source / "a.json").write_text("{}")
    with pytest.raises(MissionControlError, match=f"expected a checkpoint outside of the source '{source}'.*'{state}'"):
        aggregate(str(source), str(dataset), settings=AggregateSettings(checkpoint=str(state)))
    assert [path.name for path in source.iterdir()] == ["a.json"]


# What is removed is ours.


def age(folder: Path, days: int = 3) -> None:
    for path in folder.rglob("*"):
        moment = path.stat().st_mtime - timedelta(days=days).total_seconds()
        os.utime(path, (moment, moment))


def test_files_that_no_commit_named_stay_and_data_files_among_them_are_reported(tmp_path: Path) -> None:
    write(tmp_path, *[[crash_ping(minute), main_ping(minute)] for minute in range(6)])
    table = tmp_path / "error_aggregates"
    foreign = [
        table / "notes.txt", table / "x.parquet", table / "submission_date=2017-10-02" / "notes.txt",
        table / "below" / "error_aggregates" / "submission_date=2017-10-02" / "part-1.parquet",
        table / "_delta_log" / "notes.txt",
    ]  # fmt: skip
    left = table / "submission_date=2017-10-02" / "part-left.parquet"
    for path in (*foreign, left):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("of somebody")
    age(tmp_path)
    for _ in range(2):
        done = maintenance.maintain(
            str(tmp_path), MaintainSettings(1, None, 1), now=lambda: LATER + timedelta(days=9999)
        )
    assert [path.name for path in (*foreign, left) if not path.is_file()] == []
    assert done[0].unnamed is not None
    assert (done[0].unnamed.files, done[0].unnamed.bytes) == (1, len("of somebody"))
    assert done[0].unnamed.oldest is not None
    assert [each.unnamed.files for each in done[1:] if each.unnamed] == [0, 0, 0, 0]


def test_table_of_somebody_else_is_refused_and_left(tmp_path: Path) -> None:
    url = table_url(str(tmp_path), contract.ERROR_AGGREGATES)
    ours, theirs = contract.schema(contract.ERROR_AGGREGATES), pa.schema([("submission_date", pa.date32())])
    for name, schema in (("theirs", ours), ("error_aggregates", theirs)):
        DeltaTable.create(url, schema, name=name, partition_by=["submission_date"], mode="overwrite")
        files = sorted(path for path in tmp_path.rglob("*"))
        for touch in (lambda: open_writers(str(tmp_path)), lambda: maintenance.maintain(str(tmp_path))):
            with pytest.raises(MissionControlError, match="is not one of Mission Control's"):
                touch()
        assert sorted(path for path in tmp_path.rglob("*")) == files
    with pytest.raises(MissionControlError, match="lacks the column"):
        mc.load(tmp_path)


def test_log_that_names_a_file_elsewhere_removes_nothing(tmp_path: Path) -> None:
    write(tmp_path, [crash_ping(1)])
    (tmp_path / "precious.parquet").write_text("x")
    log = tmp_path / "error_aggregates" / "_delta_log"
    with (log / f"{2:020}.json").open("w") as commit:
        commit.write('{"commitInfo":{"timestamp":1}}\n')
        commit.write('{"remove":{"path":"x.parquet","deletionTimestamp":1,"dataChange":true}}\n')
    (tmp_path / "error_aggregates" / "x.parquet").write_text("x")
    with pytest.raises(MissionControlError, match="and it cannot be one"):
        maintenance.maintain(str(tmp_path), now=lambda: LATER)
    assert (tmp_path / "error_aggregates" / "x.parquet").is_file()


def test_checkpoint_takes_no_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "thesis.txt").write_text("x")
    with (
        pytest.raises(MissionControlError, match="is no checkpoint"),
        open_checkpoint(tmp_path, "/pings", str(tmp_path / "data")),
    ):
        pass
    assert (tmp_path / "scratch" / "thesis.txt").is_file()


def test_history_that_is_broken_off_removes_only_what_it_wrote(tmp_path: Path) -> None:
    (tmp_path / "error_aggregates").mkdir()
    (tmp_path / "error_aggregates" / "notes.txt").write_text("x")
    with pytest.raises(MissionControlError, match="is no table"), new_dataset(str(tmp_path)):
        raise KeyboardInterrupt
    assert (tmp_path / "error_aggregates" / "notes.txt").is_file()
