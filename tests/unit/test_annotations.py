"""Data incidents are written down, listed and removed, by the library and by the command."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

import missioncontrol_nb as mc
from missioncontrol_nb.cli import group
from missioncontrol_nb.incidents import Incident, incidents_of
from missioncontrol_nb.incidents.files import LocalFiles
from streaming.dataset.compaction import MaintainSettings
from streaming.dataset.maintenance import maintain
from streaming.errors import MissionControlError
from tests.unit.small_dataset import CALENDAR, write

SINCE, UNTIL = datetime(2017, 10, 5, 10, tzinfo=UTC), datetime(2017, 10, 5, 12, 30, tzinfo=UTC)
TIMES = ("--since", "2017-10-05T10:00Z", "--until", "2017-10-05T12:30Z")
USUAL = {"since": "2017-10-05T10:00:00Z", "until": "2017-10-05T12:30:00Z", "text": "pings came twice"}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset of one row."""
    write(tmp_path, "window  usage_hours  main_crashes\n05T10:00  900  2", "05T10:20")
    return tmp_path


def annotate(dataset: Path, *arguments: str) -> Result:
    """What the command does."""
    return CliRunner().invoke(group, ["annotate", "--dataset", str(dataset), *arguments])


def put(dataset: Path, name: str, content: str) -> Path:
    """Writes an annotation's file by hand."""
    path = dataset / "annotations" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    return path


def test_incident_is_listed_with_its_limits_until_it_is_removed(dataset: Path) -> None:
    every = mc.annotate(dataset, SINCE, UNTIL, "pings came twice")
    limits = {"product": "Firefox", "channel": "beta", "os_name": "Linux", "measure": "gpu_crashes"}
    one = mc.annotate(dataset, "2017-10-04", "2017-10-04T02:00+01:00", "a driver was taken for ours", **limits)
    listed = mc.annotations(dataset)
    assert listed["id"].tolist() == [one, every]
    assert listed["since"].tolist() == [pd.Timestamp("2017-10-04", tz="UTC"), pd.Timestamp(SINCE)]
    assert listed["until"].tolist() == [pd.Timestamp("2017-10-04T01:00", tz="UTC"), pd.Timestamp(UNTIL)]
    assert [str(listed.dtypes[name]) for name in ("since", "until")] == ["datetime64[us, UTC]"] * 2
    assert listed[[*limits]].iloc[0].to_dict() == limits
    assert listed[[*limits]].iloc[1].isna().all()
    mc.remove_annotation(dataset, every)
    assert mc.annotations(mc.Dataset(dataset))["text"].tolist() == ["a driver was taken for ours"]
    mc.remove_annotation(dataset, one)
    assert mc.annotations(dataset).empty
    assert str(mc.annotations(dataset).dtypes["since"]) == "datetime64[us, UTC]"


def test_same_incident_again_changes_nothing(dataset: Path) -> None:
    first = mc.annotate(dataset, SINCE, UNTIL, "pings came twice")
    [path] = (dataset / "annotations").iterdir()
    written = path.stat().st_mtime_ns
    assert mc.annotate(dataset, SINCE, UNTIL, "pings came twice") == first
    assert mc.annotate(dataset, SINCE, UNTIL, "pings came thrice") != first
    assert path.stat().st_mtime_ns == written
    assert len(mc.annotations(dataset)) == 2


def test_writers_at_once_lose_nothing_and_leave_no_unfinished_file(dataset: Path) -> None:
    texts = [f"incident {number % 20}" for number in range(60)]
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda text: mc.annotate(dataset, SINCE, UNTIL, text), texts))
    assert len(set(ids)) == 20
    assert sorted(mc.annotations(dataset)["text"]) == sorted(set(texts))
    assert {path.suffix for path in (dataset / "annotations").iterdir()} == {".json"}


def test_name_that_is_taken_is_refused_without_hard_links_too(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    files = LocalFiles(str(dataset))
    assert [files.create("one", content) for content in (b"1", b"2")] == [True, False]
    assert files.read("one") == b"1"
    assert [path.name for path in (dataset / "annotations").iterdir()] == ["one.json"]


def test_only_incidents_that_concern_the_data_are_given(dataset: Path) -> None:
    mc.annotate(dataset, SINCE, UNTIL, "all")
    mc.annotate(dataset, SINCE + timedelta(days=1), UNTIL + timedelta(days=1), "beta", channel="beta")
    mc.annotate(dataset, SINCE, UNTIL, "gpu", measure="gpu_crashes")
    opened = mc.Dataset(dataset)

    def texts(*about: str | None, **span: datetime) -> list[str]:
        return sorted(each.text for each in incidents_of(opened, *about, **span))

    assert texts() == ["all", "beta", "gpu"]
    assert texts("Firefox", "release", "Linux", "main_crashes") == ["all"]
    assert texts(None, "beta") == ["all", "beta", "gpu"]
    assert texts("Other") == ["all", "beta", "gpu"]
    assert texts(since=UNTIL) == ["beta"]
    assert texts(until=SINCE) == []
    assert texts(since=UNTIL - timedelta(seconds=1), until=UNTIL) == ["all", "gpu"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"until": SINCE}, "expected until after since"),
        ({"since": None}, "expected two times"),
        ({"text": "  "}, "expected a text of 1 to 1,000 characters"),
        ({"text": "x" * 1001}, "got one of 1,001"),
        ({"product": "Firefux"}, "did you mean Firefox"),
        ({"channel": "realease"}, "did you mean release"),
        ({"os_name": "Windows"}, "Windows_NT"),
        ({"measure": "main_crash"}, "main_crashes"),
    ],
)
def test_wrong_arguments_are_told_and_write_nothing(changed: dict[str, object], said: str, dataset: Path) -> None:
    with pytest.raises(MissionControlError, match=said):
        mc.annotate(**{"dataset": dataset, "since": SINCE, "until": UNTIL, "text": "x", **changed})  # type: ignore[arg-type]
    assert not (dataset / "annotations").exists()


def test_folder_without_a_dataset_is_told_and_not_written_to(tmp_path: Path) -> None:
    for arguments in (["--list"], ["--remove", "x"], [*TIMES, "x"]):
        assert "holds none of a dataset's tables" in str(annotate(tmp_path, *arguments).exception)
    assert incidents_of(mc.Dataset(tmp_path)) == ()
    with pytest.raises(MissionControlError, match="there is no dataset"):
        mc.annotate(tmp_path, SINCE, UNTIL, "x")
    with pytest.raises(MissionControlError, match="there is no dataset"):
        mc.annotate(tmp_path / "nothing", SINCE, UNTIL, "x")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"since": "2017-10-05T10:00:00Z", "unt', "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", r"it holds \[\]"),
        ("{}", "it has no since"),
        (json.dumps(USUAL | {"chanel": "beta"}), "the unknown field 'chanel'"),
        (json.dumps(USUAL | {"channel": 5}), "its channel is 5, not text"),
        (json.dumps(USUAL | {"channel": ""}), "its channel is '', not text"),
        (json.dumps(USUAL | {"until": "noon"}), "until takes an ISO time like"),
        (json.dumps(USUAL | {"until": "2017-10-05"}), "expected until after since"),
    ],
)
def test_damaged_file_is_told_and_left_alone(content: str, said: str, dataset: Path) -> None:
    path = put(dataset, "by-hand.json", content)
    other = mc.annotate(dataset, SINCE, UNTIL, "pings came twice")
    for read in (mc.annotations, mc.judge, lambda folder: mc.remove_annotation(folder, "by-hand")):
        with pytest.raises(MissionControlError, match=said) as error:
            read(dataset)
        assert str(path) in str(error.value)
        assert "expected a JSON object with since and until (ISO 8601, UTC), text" in str(error.value)
        assert "Correct the file, or delete it" in str(error.value)
    listed = annotate(dataset, "--list")
    assert listed.output.startswith(
        f"{other}  2017-10-05T10:00:00Z to 2017-10-05T12:30:00Z  all data: pings came twice"
    )
    assert isinstance(listed.exception, MissionControlError)
    assert path.read_text() == content


def test_file_written_by_hand_counts_and_is_never_replaced(dataset: Path) -> None:
    written = mc.annotate(dataset, SINCE, UNTIL, "pings came twice")
    path = put(dataset, f"{written}.json", json.dumps(USUAL | {"channel": "beta", "measure": None}))
    put(dataset, "mine.json", json.dumps(USUAL | {"since": "2017-10-05", "text": "mine"}))
    for unfinished in (".mine.json", "mine.json~", "mine.json.tmp"):
        put(dataset, unfinished, "{")
    assert mc.annotations(dataset)["id"].tolist() == ["mine", written]
    assert mc.annotations(dataset)["channel"].tolist()[1] == "beta"
    with pytest.raises(MissionControlError, match="was edited by hand and now holds another incident: nothing was"):
        mc.annotate(dataset, SINCE, UNTIL, "pings came twice")
    assert json.loads(path.read_text())["channel"] == "beta"


def test_upkeep_leaves_annotations_alone(dataset: Path) -> None:
    write(dataset, "window  usage_hours  main_crashes\n07T10:05  900  2")
    mc.annotate(dataset, SINCE, UNTIL, "pings came twice")
    before = {path: path.read_bytes() for path in (dataset / "annotations").iterdir()}
    assert maintain(str(dataset), MaintainSettings(keep_days=1))[0].days == [date(2017, 10, 5)]
    assert {path: path.read_bytes() for path in (dataset / "annotations").iterdir()} == before


def test_id_of_no_annotation_is_told_with_those_that_are_near(dataset: Path) -> None:
    with pytest.raises(MissionControlError, match="the dataset has none"):
        mc.remove_annotation(dataset, "abc")
    written = mc.annotate(dataset, SINCE, UNTIL, "x")
    outside = dataset / "outside.json"
    outside.write_text(json.dumps(USUAL))
    for unknown in (f"{written}0", "../outside", f"{written}.json"):
        with pytest.raises(MissionControlError, match=f"did you mean {written}"):
            mc.remove_annotation(dataset, unknown)
    assert outside.exists()


def test_folder_that_cannot_be_used_is_told(dataset: Path) -> None:
    (dataset / "annotations").write_text("a file")
    with pytest.raises(MissionControlError, match="annotations cannot be read: Not a directory"):
        mc.annotations(dataset)
    with pytest.raises(MissionControlError, match=r"cannot be written: (File exists|Not a directory)"):
        mc.annotate(dataset, SINCE, UNTIL, "x")


def test_document_holds_what_was_written(dataset: Path) -> None:
    written = mc.annotate(dataset, SINCE, UNTIL, "größer\x1b[2J", channel="beta")
    stored = json.loads((dataset / "annotations" / f"{written}.json").read_text())
    assert stored == {**USUAL, "text": "größer\x1b[2J", "channel": "beta"}
    assert "\x1b" not in annotate(dataset, "--list").output
    assert Incident(SINCE, UNTIL, "größer\x1b[2J", channel="beta").content_id == written


def test_command_adds_lists_and_removes(dataset: Path) -> None:
    assert annotate(dataset, "--list").output == "Nothing was written down.\n"
    assert annotate(dataset, "--list", "--json").output == ""
    added = annotate(dataset, *TIMES, "pings came twice", "--channel", "beta", "--measure", "main_crashes")
    assert added.exit_code == 0, added.output
    written = added.output.strip()
    assert len(written) == 10
    line = f"{written}  2017-10-05T10:00:00Z to 2017-10-05T12:30:00Z  beta, main_crashes: pings came twice\n"
    assert annotate(dataset, "--list").output == line
    listed = annotate(dataset, "--list", "--json")
    limits = {"product": None, "channel": "beta", "os_name": None, "measure": "main_crashes"}
    assert [json.loads(each) for each in listed.output.splitlines()] == [{"id": written, **USUAL, **limits}]
    gone = annotate(dataset, "--remove", written)
    assert (gone.exit_code, gone.output) == (0, f"removed {line}")
    assert annotate(dataset, "--list").output == "Nothing was written down.\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "expected one of a TEXT"),
        (["--list", "--remove", "x"], 2, "expected one of a TEXT"),
        ([*TIMES], 2, "--since has no effect without a TEXT"),
        (["x", "--since", "2017-10-05"], 2, "got no --until"),
        (["x", *TIMES, "--json"], 2, "--json has no effect without --list"),
        (["--list", "--channel", "beta"], 2, "--channel has no effect without a TEXT"),
        (["x", "--since", "2017-10-05", "--until", "noon"], 1, "--until takes an ISO time like"),
        (["x", *TIMES, "--os-name", "Windows"], 1, "Windows_NT"),
        (["--remove", "x"], 1, "the dataset has none"),
    ],
)
def test_misused_command_says_what_was_expected(arguments: list[str], code: int, said: str, dataset: Path) -> None:
    done = annotate(dataset, *arguments)
    assert done.exit_code == code
    assert said in f"{done.output}{done.exception}"
    assert not (dataset / "annotations").exists()


def test_judge_leaves_out_the_hours_that_the_command_wrote_down(dataset: Path) -> None:
    write(dataset, "window  usage_hours  main_crashes\n05T13:00  700  5", "05T13:20")

    def main_crashes() -> tuple[int, str]:
        found = mc.judge(dataset, releases=CALENDAR)
        [row] = found[found["measure"] == "main_crashes"].to_dict("records")
        return row["events"], row["why"]

    assert main_crashes() == (7, "fewer than two earlier releases to compare with")
    written = annotate(dataset, *TIMES, "pings came twice").output.strip()
    assert main_crashes() == (5, "fewer than two earlier releases to compare with")
    annotate(dataset, "--since", "2017-10-05", "--until", "2017-10-06", "a day", "--measure", "main_crashes")
    assert main_crashes() == (0, "all hours so far are in data incidents")
    annotate(dataset, "--remove", written)
    assert main_crashes()[0] == 0
