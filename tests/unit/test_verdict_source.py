"""Verdicts of real datasets: computed once for all pages, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from missioncontrol_nb.dashboard import verdict_source
from missioncontrol_nb.dashboard.verdict_source import VerdictSource
from missioncontrol_nb.judgement.apart import judge_apart
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.loading.table_cache import TableCache
from missioncontrol_nb.monitor import Monitor
from streaming import contract
from streaming.errors import MissionControlError
from tests.unit.small_dataset import CALENDAR, moment, write
from tests.unit.small_verdicts import tables_of, verdict

ROWS = """
    window    display_version  usage_hours  main_crashes
    02T10:00  55.0.3           9000         9
    05T13:00  56.0             900          3
    05T13:05  56.0             900          2
"""
PLACE = "release", "Windows_NT", "56.0", "main_crashes"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "dataset", ROWS, "05T13:14")
    return tmp_path / "dataset"


def test_one_version_before_is_too_early_and_says_why(folder: Path) -> None:
    source = VerdictSource(Dataset(folder), CALENDAR)
    assert source.newest(contract.FIREFOX, True).verdicts is None
    source.judge(contract.FIREFOX, True)
    found = source.newest(contract.FIREFOX, True)
    assert found.is_current
    assert found.verdicts.at == moment("05T13:10")  # as of each five minutes of data
    series = found.verdicts.of(*PLACE).series
    assert (series.state, series.events, series.why) == (
        "too early",
        5,
        "fewer than two earlier releases to compare with",
    )
    row = Monitor(folder, CALENDAR).table("release", "Windows_NT").rows[0]
    table = Monitor(folder, CALENDAR).table("release", "Windows_NT")
    assert found.standing(table, "Windows_NT", row).state == "early"


def test_where_the_process_fails_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissionControlError, match=r"could not be judged: .*there is no dataset at /nowhere"):
        judge_apart("/nowhere", CALENDAR, None)


def test_process_ends_with_the_one_that_asked_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    code = "import pathlib, sys, threading, time\nfrom missioncontrol_nb.judgement import apart\n"
    code += "folder = pathlib.Path(sys.argv[1])\n"
    code += "threading.Thread(target=apart._end_with_asker, args=(folder,), daemon=True).start()\ntime.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code, folder], stdin=subprocess.PIPE)
    process.stdin.write(b"a request\n")
    process.stdin.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.stdin.close()
    assert process.wait(60) == 1
    assert not folder.exists()


class Counting:
    """Stands for the process, which takes a second, where a test counts how often it would run."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, *_: object, **options: object) -> "dict[str, pa.Table]":
        self.runs += 1
        return dict(tables_of([verdict("fine", measure="main_crashes")], (), moment("05T13:10")))


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Counting:
    counting = Counting()
    monkeypatch.setattr(verdict_source, "judge_apart", counting)
    return counting


def test_pages_with_a_cache_judge_once_for_all(folder: Path, tmp_path: Path, process: Counting) -> None:
    (tmp_path / "cache").mkdir()
    sources = [VerdictSource(Dataset(folder, cache=TableCache(tmp_path / "cache")), CALENDAR) for _ in range(3)]
    sources[0].judge(contract.FIREFOX, True)
    assert sources[1].newest(contract.FIREFOX, True).is_current
    sources[2].judge(contract.FIREFOX, True)
    assert process.runs == 1
    assert sources[1].newest(contract.FIREFOX, False).verdicts is None  # all builds are another question
    sources[1].judge(contract.FIREFOX, False)
    assert process.runs == 2


def test_new_data_are_judged_every_five_minutes_and_older_verdicts_stay(folder: Path, process: Counting) -> None:
    dataset = Dataset(folder)
    source = VerdictSource(dataset, CALENDAR)
    source.judge(contract.FIREFOX, True)
    write(folder, "window usage_hours main_crashes\n05T13:10 900 1", "05T13:14:50")
    dataset.refresh()
    assert source.newest(contract.FIREFOX, True).is_current
    write(folder, "window usage_hours main_crashes\n05T13:10 900 1", "05T13:16")
    dataset.refresh()
    found = source.newest(contract.FIREFOX, True)
    assert (found.is_current, found.verdicts is not None) == (False, True)
    source.judge(contract.FIREFOX, True)
    assert (process.runs, source.newest(contract.FIREFOX, True).is_current) == (2, True)


def test_past_day_that_is_replaced_is_judged_anew(folder: Path, process: Counting) -> None:
    dataset = Dataset(folder)
    source = VerdictSource(dataset, CALENDAR)
    source.judge(contract.FIREFOX, True)
    write(folder, "window display_version usage_hours main_crashes\n02T11:00 55.0.3 900 1", "05T13:14")
    dataset.refresh()
    assert not source.newest(contract.FIREFOX, True).is_current


def test_old_verdicts_are_not_shown(folder: Path, process: Counting) -> None:
    dataset = Dataset(folder)
    source = VerdictSource(dataset, CALENDAR)
    source.judge(contract.FIREFOX, True)
    write(folder, "window usage_hours main_crashes\n05T14:30 900 1", "05T14:31")
    dataset.refresh()
    assert source.newest(contract.FIREFOX, True).verdicts is None
