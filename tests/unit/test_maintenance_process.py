"""Upkeep beside a job: a process that tends, is replaced when it dies, and never outlives the job."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from streaming import child_process, contract
from streaming.aggregation.counter import Counter
from streaming.aggregation.partial_sums import rows_of
from streaming.dataset.writer import open_writers
from streaming.job import maintenance_process
from tests.patience import wait_until
from tests.services.cluster import lives
from tests.spark.small_pings import crash_ping

BATCHES = 9


def maintenance_processes(parent: int | None = None) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(parent).children():
        with suppress(psutil.Error):  # it has just died
            found += [child] if "streaming.job.maintenance_process" in child.cmdline() else []
    return found


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A day that is over, of a small file for each of BATCHES micro-batches."""
    append_batches(tmp_path, 0)
    return tmp_path


def append_batches(dataset: Path, first: int) -> None:
    writers = open_writers(str(dataset))
    for number in range(first, first + BATCHES):
        counter = Counter()
        counter.add(crash_ping(number), 0)
        sums = pa.Table.from_batches([counter.partial_sums()])
        for writer in writers:
            writer.append(rows_of(writer.table, sums), number, "stream")


def files(dataset: Path) -> int:
    return len(DeltaTable(str(dataset / contract.ERROR_AGGREGATES.name)).file_uris())


def test_dataset_is_tended_by_a_process_of_low_priority_that_ends_with_the_job(dataset):
    assert files(dataset) == BATCHES
    before, told = os.getpriority(os.PRIO_PROCESS, 0), list[str]()
    with maintenance_process.maintained(str(dataset), told.append, every_seconds=0.1):
        wait_until(lambda: files(dataset) == 1, "upkeep")
        [process] = maintenance_processes()
        assert process.nice() == min(before + child_process.NICENESS, 19)
        assert os.getpriority(os.PRIO_PROCESS, 0) == before
        group = Path(f"/proc/{process.pid}/autogroup")
        assert not group.exists() or group.read_text().endswith(f" nice {child_process.NICENESS}\n")
        process.terminate()  # as whoever ends a whole service does, though the job goes on for a moment
        process.suspend()  # else it might leave a few of them, which are no trouble
        append_batches(dataset, BATCHES)
        process.resume()
        wait_until(lambda: files(dataset) == 1, "upkeep once more")
        assert maintenance_processes() == [process]
    assert not process.is_running()
    assert told == []


def test_one_that_does_not_start_is_tried_again(dataset, monkeypatch):
    told: list[str] = []
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(sys, "executable", str(dataset / "none"))
        with maintenance_process.maintained(str(dataset), told.append, every_seconds=0.1):
            wait_until(lambda: len(told) > 1, "two notices")
            elsewhere.undo()
            wait_until(lambda: files(dataset) == 1, "upkeep")
    assert told[0].startswith("maintenance did not start (")
    assert told[0].endswith(") and will be tried again")


def test_one_that_dies_is_replaced_and_said(dataset):
    told: list[str] = []
    with maintenance_process.maintained(str(dataset), told.append, every_seconds=0.1):
        wait_until(lambda: bool(maintenance_processes()), "upkeep")
        [process] = maintenance_processes()
        process.kill()
        wait_until(lambda: any(other != process for other in maintenance_processes()), "another one")
        wait_until(lambda: files(dataset) == 1, "upkeep")
    assert told == ["maintenance ended with exit code -9 and will be tried again"]


def test_what_fails_is_said(tmp_path):
    told: list[str] = []
    with maintenance_process.maintained(str(tmp_path), told.append, every_seconds=0.1):
        wait_until(lambda: bool(told), "a notice")
    assert len(told) == 1
    assert told[0].startswith(f"maintenance failed and will be tried again: there is no dataset at {tmp_path}")


def test_one_that_hangs_is_ended(dataset, monkeypatch):
    monkeypatch.setattr(maintenance_process, "MAINTENANCE_STOP_TIMEOUT_SECONDS", 0.1)
    with maintenance_process.maintained(str(dataset), print):
        wait_until(lambda: bool(maintenance_processes()), "upkeep")
        [process] = maintenance_processes()
        process.suspend()
    assert not process.is_running()


def test_one_whose_job_is_killed_ends(dataset):
    code = "import time; from streaming.job.maintenance_process import maintained\n"
    code += f"with maintained({str(dataset)!r}, print): time.sleep(99)"
    with subprocess.Popen([sys.executable, "-c", code]) as job:
        wait_until(lambda: bool(maintenance_processes(job.pid)), "upkeep", job)
        [process] = maintenance_processes(job.pid)
        job.send_signal(signal.SIGKILL)
    wait_until(lambda: not lives(process), "its end")


def test_one_that_is_busy_when_its_job_is_killed_ends_in_time(dataset):
    code = (
        "import sys, time; from streaming.dataset import maintenance; "
        "from streaming.job import maintenance_process; maintenance_process.MAINTENANCE_STOP_TIMEOUT_SECONDS = 0.1\n"
        "maintenance.follow = lambda *_, **__: (print('busy', flush=True), time.sleep(99))\n"
        f"sys.argv = ['upkeep', {str(dataset)!r}, '1']; maintenance_process.main()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"busy\n"
        process.stdin.close()
        assert process.wait(20) == 1
