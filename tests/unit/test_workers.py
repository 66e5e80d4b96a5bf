"""Worker processes: what becomes of tasks, of errors, and of the processes themselves."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import psutil
import pytest

from streaming.embedded.workers import Workers
from streaming.errors import MissionControlError
from streaming.job import embedded_engine
from streaming.sources.files.splits import FileSplit
from tests.patience import wait_until

# Started by another Python process, which is then killed.
PARENT = """
import sys, threading, time
from pathlib import Path
from streaming.embedded.workers import Workers
folder = Path(sys.argv[1])
with (folder / "lock").open("ab") as lock, Workers(2, folder / "log", lock) as workers:
    tasks = [(3600,), (3600,)]
    list(workers.map(time.sleep, tasks, threading.Event(), lambda: (folder / "busy").touch()))
"""


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    with (tmp_path / "lock").open("ab") as lock, Workers(2, tmp_path / "log", lock) as started:
        yield started


def map_all(workers: Workers, function: object, tasks: list[tuple[object, ...]]) -> list[object]:
    return list(workers.map(function, tasks, threading.Event(), lambda: None))  # type: ignore[arg-type]


def raise_expected(said: str) -> None:
    raise MissionControlError(said)


def test_each_task_has_its_result_whichever_process_does_it(workers: Workers) -> None:
    assert sorted(map_all(workers, abs, [(-number,) for number in range(20)])) == list(range(20))  # type: ignore[type-var]
    processes = set(map_all(workers, os.getpid, [()] * 50))
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert map_all(workers, abs, []) == []


def test_errors_are_passed_on(workers: Workers) -> None:
    with pytest.raises(MissionControlError, match=r"^the store does not answer$"):
        map_all(workers, raise_expected, [("the store does not answer",)])
    with pytest.raises(ZeroDivisionError):
        map_all(workers, divmod, [(1, 0)])


def test_killed_process_is_an_error_that_says_what_to_do(workers: Workers) -> None:
    with pytest.raises(MissionControlError, match="ended with exit code -9: was it killed"):
        map_all(workers, os.kill, [(0, signal.SIGKILL)])


def test_stop_ends_busy_processes_at_once(tmp_path: Path) -> None:
    stop, others = threading.Event(), set(psutil.Process().children())
    with (tmp_path / "lock").open("ab") as lock, Workers(2, tmp_path / "log", lock) as workers:
        assert list(workers.map(time.sleep, [(3600,)] * 2, stop, stop.set)) == []
        started = set(psutil.Process().children()) - others
    assert len(started) == 2
    assert not any(process.is_running() for process in started)


def test_processes_end_with_a_killed_job(tmp_path: Path) -> None:
    job = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)])
    wait_until((tmp_path / "busy").exists, "busy workers")
    children = psutil.Process(job.pid).children()
    job.kill()
    job.wait()
    assert len(children) == 2
    assert psutil.wait_procs(children, timeout=30)[1] == []


def test_process_that_is_told_to_end_goes_on_until_the_job_decides(workers: Workers) -> None:
    """A terminal, or a service manager, tells all processes of a job to end."""
    assert map_all(workers, os.getpid, [()])
    [process] = workers._processes.values()
    for number in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    assert map_all(workers, abs, [(-1,)]) == [1]


def test_process_that_ended_because_of_a_stop_is_no_error(tmp_path: Path) -> None:
    stop = threading.Event()
    with (tmp_path / "lock").open("ab") as lock, Workers(1, tmp_path / "log", lock) as workers:
        threading.Timer(0.3, stop.set).start()
        assert list(workers.map(os.kill, [(0, signal.SIGKILL)], stop, lambda: None)) == []


def test_task_that_a_process_cannot_load_is_an_error(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    here = ModuleType("only_here")
    exec("def task() -> None: ...", here.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", here)
    with pytest.raises(ModuleNotFoundError, match="only_here") as raised:
        map_all(workers, here.task, [()])
    assert any("Traceback" in note for note in raised.value.__notes__)


def test_error_of_the_system_is_raised_as_it_is(workers: Workers) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        map_all(workers, os.listdir, [("/no/such/folder",)])
    assert raised.value.filename == "/no/such/folder"


def test_error_that_cannot_be_passed_on_comes_as_its_traceback(workers: Workers) -> None:
    with pytest.raises(RuntimeError, match="UnpicklableError"):
        map_all(workers, exec, [("class UnpicklableError(Exception): ...\nraise UnpicklableError(lambda: 0)", {})])


@pytest.mark.parametrize(
    ("sizes", "is_quick"),
    [({}, True), ({"a.jsonl": 4 << 20}, True), ({"a.jsonl": 5 << 20}, False), ({"a.jsonl.gz": 1 << 20}, False),
     ({"a.jsonl.gz": 600_000}, True), ({f"{number}.json": 10 for number in range(200)}, False)],
)  # fmt: skip
def test_small_parts_are_counted_by_the_job_itself(sizes: dict[str, int], is_quick: bool) -> None:
    splits = [FileSplit(path, 0, size, 0) for path, size in sizes.items()]
    assert embedded_engine._are_quick([SimpleNamespace(splits=splits)]) is is_quick
