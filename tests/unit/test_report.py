"""A report of a simulated fleet, by the command and by papermill alone, and what becomes of runs that end early."""

import errno
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from click.testing import CliRunner

from missioncontrol_nb import report
from missioncontrol_nb.cli import group
from missioncontrol_nb.report import running
from missioncontrol_nb.report.page import alarms_of, page_of
from missioncontrol_nb.report.parameters import Subject
from missioncontrol_nb.report.running import packaged_notebook, run_report
from missioncontrol_nb.report.shelves import shelf_of
from streaming import contract
from streaming.errors import MissionControlError
from tests.patience import wait_until
from tests.report_checks import FILES, faults

NOW, BEFORE = "2017-10-02T12:00:00Z", "2017-09-30T12:00:00Z"
BAD = ["--bad", "56.0", "--bad-os", "Windows_NT", "--bad-since", "2017-10-01T00:00:00Z", "--bad-factor", "3"]
PROGRAM = Path(sys.executable).with_name("missioncontrol")
KILLS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a fleet named as the notebook's default, that went wrong a day and a half ago."""
    made = tmp_path_factory.mktemp("report")
    command = [PROGRAM, "simulate", "--history", "fleet", "--days", "38", "--now", NOW, *BAD]
    subprocess.run(command, cwd=made, check=True, capture_output=True)
    return made


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for temporary files whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as made:
        yield Path(made)


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [PROGRAM, "report", "--dataset", "fleet", "--out", "reports", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def published(folder: Path) -> list[subprocess.CompletedProcess[str]]:
    """The reports of a moment before the rise, and of the newest data."""
    return [run(folder, "--as-of", BEFORE), run(folder)]


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / "reports" / name).read_text())


def without_run(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in ("run", "page_sha256")}


def test_exit_code_says_whether_an_alarm_is_up(published):
    assert [each.returncode for each in published] == [0, 3], [each.stderr for each in published]
    assert published[0].stdout.startswith("Fine: 56.0 on release crashes no more than expected")
    assert "\nBad on Windows: 56.0 on release has " in published[1].stdout
    assert published[1].stdout.endswith("reports/2017-10-02T12-00Z/report.html\n")
    assert "It is published in " in published[1].stderr


def test_report_of_old_data_says_how_old_they_are_wherever_it_is_read(folder, published):
    record = read(folder, "latest.json")
    said = record["stale"]
    assert re.fullmatch(
        r"Data are \d+ days old: by .*, nothing newer than Mon 2 Oct 2017, 12:00 UTC had arrived\.", said
    )
    assert record["data_age_hours"] == 24 * int(said.split()[2])
    assert published[1].stdout.startswith(f"{said}\nBad on Windows")
    page = (folder / "reports" / "latest.html").read_text()
    assert said in page[: page.index("Bad on Windows")]
    assert read(folder, "2017-09-30T12-00Z/alarms.json")["stale"] == ""


def test_report_has_its_files_and_is_the_latest(folder, published):
    assert faults(shelf_of(str(folder / "reports"))) == []
    newest = folder / "reports" / "2017-10-02T12-00Z"
    assert sorted(each.name for each in newest.iterdir()) == sorted(FILES)
    assert (newest / "report.html").read_bytes() == (folder / "reports" / "latest.html").read_bytes()
    assert 50_000 < (newest / "report.html").stat().st_size < 1_000_000
    assert (newest / "headline.png").stat().st_size < 500_000


def test_alarm_is_new_against_the_report_before(folder, published):
    alarms = read(folder, "latest.json")
    [up] = [each["event"] for each in alarms["open"]]
    assert (up["os_name"], up["measure"], up["display_version"]) == ("Windows_NT", "content_crashes", "56.0")
    assert [each["event"] for each in alarms["changes"]] == ["alarm"]
    assert (alarms["state"], alarms["as_of"], alarms["previous"]) == ("alarm", NOW, BEFORE)
    assert read(folder, "2017-09-30T12-00Z/alarms.json")["open"] == []
    page = (folder / "reports" / "latest.html").read_text()
    assert "Since the report of Sat 30 Sep 2017, 12:00 UTC" in page
    assert page.count("<svg") > 8


def test_papermill_alone_gives_the_same_report_byte_for_byte(folder, published):
    made = nbformat.read(folder / "reports" / "2017-10-02T12-00Z" / "report.ipynb", 4)
    command = [sys.executable, "-m", "papermill", str(packaged_notebook()), "out.ipynb", "--no-progress-bar"]
    for name, value in made.metadata["missioncontrol"]["parameters"].items():
        command += ["-r", name, value]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    ours, theirs = (alarms_of(each) for each in (made, nbformat.read(folder / "out.ipynb", 4)))
    assert ours == theirs == without_run(read(folder, "latest.json"))
    page = page_of(nbformat.read(folder / "out.ipynb", 4), "Firefox Release, Mon 2 Oct 2017, 12:00 UTC")
    assert page == (folder / "reports" / "latest.html").read_text()


def test_times_of_a_run_stand_in_one_place(folder, published):
    text = (folder / "reports" / "2017-10-02T12-00Z" / "report.ipynb").read_text()
    notebook = json.loads(text)
    assert [set(cell["metadata"]) - {"tags"} for cell in notebook["cells"]] == [set()] * len(notebook["cells"])
    assert notebook["metadata"]["missioncontrol"]["run"] == read(folder, "latest.json")["run"]
    assert text.count(read(folder, "latest.json")["run"]["made_at"]) == 1


def failure(folder: Path, tmp_path: Path, *sources: str, shown: str | None = None) -> tuple[str, str]:
    """What is said of a run of a notebook with these cells, which fails, and the notebook that it keeps.

    shown: what the cell with the alarms shows, as Python; None: there is none.
    """
    notebook = nbformat.read(packaged_notebook(), 4)
    notebook.cells = [notebook.cells[1], *map(nbformat.v4.new_code_cell, sources)]
    if shown is not None:
        source = f"from IPython.display import JSON\nJSON({shown})"
        notebook.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": ["alarms"]}))
    nbformat.write(notebook, tmp_path / "mine.ipynb")
    parameters = report.Parameters(dataset=str(folder / "fleet"), as_of="2017-10-02T11:00Z")
    with pytest.raises(MissionControlError) as error:
        run_report(parameters, str(tmp_path / "reports"), notebook=tmp_path / "mine.ipynb")
    [kept] = (tmp_path / "reports" / "failed").glob("2017-10-02T11-00Z-*/report.ipynb")
    assert str(kept) in str(error.value)
    assert shelf_of(str(tmp_path / "reports")).names() == []
    return str(error.value), kept.read_text()


def test_failed_run_keeps_its_notebook_and_leaves_the_latest(folder, published, tmp_path):
    shutil.copytree(folder / "reports", tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "reports")
    before = (tmp_path / "reports" / "latest.json").read_bytes()
    shutil.rmtree(tmp_path / "reports" / "2017-10-02T12-00Z")
    shutil.rmtree(tmp_path / "reports" / "2017-09-30T12-00Z")
    said, kept = failure(folder, tmp_path, "1 / 0")
    assert "the report could not be made: ZeroDivisionError: division by zero; the notebook as far as it came" in said
    assert "ZeroDivisionError" in kept
    assert (tmp_path / "reports" / "latest.json").read_bytes() == before


RECORD = {
    "dataset": "FLEET", "product": "Firefox", "channels": ["release"], "as_of": "2017-10-02T11:00:00Z", "open": [],
    "state": "fine", "headlines": [{"channel": "release", "state": "fine", "sentence": "Fine", "text": ""}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"state": None, "as_of": "2017-10-02"}, "that are not this report's, by their as_of, state"),
        ({"headlines": [{"channel": "release", "state": "fine", "sentence": 3, "text": ""}]}, "by their headlines"),
        ({"headlines": []}, "by their headlines"),
        ({"channels": ["beta"], "product": "Fenix", "dataset": ""}, "by their dataset, product, channels"),
        ({"open": [3]}, "is not that of a report"),
        ({"mine": float("nan")}, "that are no JSON"),
    ],
)
def test_alarms_of_another_form_are_not_published(change, said):
    subject = subject_of_record(RECORD)
    assert running._checked(RECORD, "mine.ipynb", subject) == RECORD
    with pytest.raises(MissionControlError, match=said):
        running._checked(RECORD | change, "mine.ipynb", subject)


def subject_of_record(record: dict[str, Any]) -> Subject:
    dataset = SimpleNamespace(url=record["dataset"])
    moment = datetime.fromisoformat(record["as_of"])
    return Subject(dataset, contract.FIREFOX, ("release",), moment)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sources", "shown", "said", "kept_text"),
    [
        (["print('x')"], None, "mine.ipynb shows no alarms", '"x\\n"'),
        (["print('x')"], "{'state': 'fine'}", "by their dataset, product, channels, as_of, headlines", '"x\\n"'),
        (["print('x' * 3_000_000)"], "RECORD", r"the page has 3.\d MB; expected 2 at most", "xxx"),
        (["import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"], None, "Kernel died", "SIGKILL"),
    ],
)
def test_run_that_fails_after_its_cells_keeps_its_notebook(folder, tmp_path, sources, shown, said, kept_text):
    if shown == "RECORD":
        shown = repr(RECORD | {"dataset": str(folder / "fleet")})
    told, kept = failure(folder, tmp_path, *sources, shown=shown)
    assert re.search(said, told)
    assert kept_text in kept


def test_store_that_fails_at_publishing_keeps_the_notebook(folder, tmp_path, monkeypatch):
    def fail(*_: Any) -> None:
        raise MissionControlError("cannot reach the store")

    monkeypatch.setattr(running, "publish", fail)
    shown = repr(RECORD | {"dataset": str(folder / "fleet")})
    said, kept = failure(folder, tmp_path, "print('x')", shown=shown)
    assert "the report could not be published: cannot reach the store; the notebook as far as it came" in said
    assert '"x\\n"' in kept


def test_kernel_is_of_this_python_and_needs_no_short_temporary_folder(folder, tmp_path, monkeypatch):
    """Another environment has installed a kernel of the same name; and paths of Unix sockets have 107 bytes at most."""
    other = tmp_path / "share" / "kernels" / "python3"
    other.mkdir(parents=True)
    (other / "kernel.json").write_text(json.dumps({"argv": ["/bin/false"], "display_name": "", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    long = tmp_path / ("x" * 94)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    said, _ = failure(folder, tmp_path, "import sys\nraise ValueError(sys.executable)")
    assert f"ValueError: {sys.executable};" in said


def test_run_without_an_executed_notebook_keeps_its_source(folder, tmp_path, monkeypatch):
    """As where the folder for temporary files is full: papermill writes the beginning of a notebook."""

    def fill(_: Any, path: str, *__: Any, **___: Any) -> None:
        Path(path).write_text('{"cells": [')
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("papermill.execute_notebook", fill)
    said, kept = failure(folder, tmp_path, "1 / 0")
    assert "No space left on device: '" in said
    assert "mc-report-" in said
    assert json.loads(kept)["cells"][1]["source"] == ["1 / 0"]


@pytest.mark.parametrize("result", [SimpleNamespace(cells=[]), MissionControlError("the kernel died")])
def test_run_that_was_told_to_end_publishes_nothing_whoever_took_the_exception(folder, tmp_path, monkeypatch, result):
    def execute(*_: Any, **__: Any) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(running, "_execute", execute)
    monkeypatch.setattr(running, "alarms_of", lambda executed: None)
    monkeypatch.setattr(running, "_checked", lambda *_: {})
    monkeypatch.setattr(running, "files_of", lambda *_: {})
    with pytest.raises(running.ReportEndedError):
        run_report(report.Parameters(str(folder / "fleet")), str(tmp_path / "out"), is_ended=lambda: True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--channel", "relese"], "unknown channel 'relese'; did you mean release"),
        (["--product", "Firefx"], "Firefox"),
        (["--as-of", "2017-13-01"], "--as-of takes an ISO time like '2017-10-07T14:00' (UTC), not"),
        (["--as-of", "2317-10-02"], "'2317-10-02' lies in the future"),
        (["--channel", "beta"], "name another --out"),
        (["--notebook", "none.ipynb"], "there is none at 'none.ipynb'"),
        (["--previous", "nothing"], "there is no alarms.json in"),
        (["--releases", "nothing.json"], "the release calendar nothing.json cannot be read"),
        (["--channel", ","], "expected a product and a channel"),
    ],
)
def test_wrong_argument_is_told_before_anything_runs(folder, published, options, said, monkeypatch):
    monkeypatch.chdir(folder)
    ran = CliRunner().invoke(group, ["report", "--dataset", "fleet", "--out", "reports", *options])
    assert isinstance(ran.exception, MissionControlError)
    assert said in str(ran.exception)
    assert "Making the report" not in ran.output


@pytest.mark.long
def test_kills_of_runs_leave_no_half_report(folder, published):
    """Each of another moment, at any time of its life. Kills while it publishes: test_report_shelves.py."""
    chance, shelf = random.Random(0), shelf_of(str(folder / "killed"))
    shutil.copytree(folder / "reports", folder / "killed", dirs_exist_ok=True)
    command = [PROGRAM, "report", "--dataset", "fleet", "--out", "killed", "--as-of"]
    length = read(folder, "latest.json")["run"]["seconds"] + 2
    for number in range(KILLS):
        moment = f"2017-10-01T{1 + number:02}:00Z"
        with subprocess.Popen([*command, moment], cwd=folder, stderr=subprocess.DEVNULL) as process:
            time.sleep(chance.uniform(0.1, 1.1) * length)
            process.kill()
        assert faults(shelf, lambda notebook: bool(notebook["cells"])) == []
        assert shelf.read("latest.html") is not None


@pytest.mark.long
def test_full_temporary_folder_leaves_no_half_report_and_the_next_run_makes_one(folder, tmp_path):
    """No file can be larger than 50 kB, as the executed notebook is. A full --out: test_report_shelves.py."""
    options = f"--dataset fleet --out {tmp_path}/reports --as-of {NOW}"
    limited = f"ulimit -f 50; exec {PROGRAM} report {options}"
    ran = subprocess.run(["bash", "-c", limited], cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "File too large: '" in ran.stderr
    shelf = shelf_of(f"{tmp_path}/reports")
    assert shelf.names() == []
    assert [each.name for each in (tmp_path / "reports").glob("*") if each.name != "failed"] == []
    again = subprocess.run([PROGRAM, "report", *options.split()], cwd=folder, capture_output=True, text=True)
    assert again.returncode == 3
    assert faults(shelf) == []


@pytest.mark.long
def test_run_that_is_ended_in_order_leaves_nothing(folder, short_folder):
    command = [PROGRAM, "report", "--dataset", "fleet", "--out", "ended"]
    environment = os.environ | {"TMPDIR": str(short_folder)}
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, env=environment) as process:
        wait_until(lambda: list(short_folder.glob("mc-report-*")))
        time.sleep(3)  # its kernel is starting, or has
        process.terminate()
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 143
    assert said.startswith("Making the report as of Mon 2 Oct 2017, 12:00 UTC; the one before: none")
    assert "this is a fault of Mission Control" not in said
    assert list(short_folder.glob("mc-report-*")) == []
    assert not (folder / "ended").exists()


def test_channel_without_a_release_is_no_good_verdict(folder):
    """Made again, the report says that nothing has changed."""
    made, again = (run(folder, "--as-of", BEFORE, "--channel", "aurora", "--out", "aurora") for _ in range(2))
    assert (made.returncode, again.returncode) == (4, 4)
    assert made.stdout.startswith("No version on the aurora channel has sent a ping\n")
    assert "Nothing was judged: this is no verdict" in made.stderr
    assert "It is published in " in made.stderr
    assert "Nothing has changed: " in again.stderr
    page = (folder / "aurora" / "latest.html").read_text()
    assert "Nothing was judged there: this is no verdict, neither a good one nor a bad one." in page
    assert "No alarm is up" not in page
    assert json.loads((folder / "aurora" / "latest.json").read_text())["state"] == "none"
    assert [each.name for each in (folder / "aurora").glob("2017*")] == ["2017-09-30T12-00Z"]
