"""Kernels that are forked from one process: each is what a process of its own would be, and ends with the server."""

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from jupyter_client import BlockingKernelClient

from missioncontrol_nb.dashboard.server import fork_server
from missioncontrol_nb.dashboard.server.fork_server import IS_AVAILABLE, ForkedProcess, ForkServer
from missioncontrol_nb.dashboard.server.kernels import ForkingProvisioner
from missioncontrol_nb.dashboard.server.settings import kernel_environment
from tests.patience import PATIENCE_SECONDS, wait_until
from tests.unit.small_dataset import write

pytestmark = pytest.mark.skipif(not IS_AVAILABLE, reason="needs Linux")
PAGE = """
import asyncio, importlib, sys, threading
from missioncontrol_nb.dashboard.server import kernel
from missioncontrol_nb.dashboard.server.fork_server import PRELOADED

for name in PRELOADED:
    importlib.import_module(name)
before, threads = set(sys.modules), threading.active_count()

async def make_page():
    from missioncontrol_nb.dashboard.app import first_sight, start
    from missioncontrol_nb.dashboard.server.settings import Settings

    start(Settings(sys.argv[1], is_preheated=True)).widget.mc_task.cancel()
    await first_sight("?view=detail", 1280)

asyncio.run(make_page())
late = set(sys.modules) - before
print(threads, len(late) < 20, sorted({name.split(".")[0] for name in late} - {name.split(".")[0] for name in before}))
"""
ENVIRONMENT = {**kernel_environment(os.environ), "TZ": "Asia/Tokyo"}


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


def kernel(server: ForkServer, tmp_path: Path, name: str = "page 1") -> ForkedProcess:
    """A kernel that has started."""
    file = tmp_path / f"{name}.json"
    process = server.fork(name, ["-f", str(file)], ENVIRONMENT, str(tmp_path))
    wait_until(file.exists)
    return process


def test_a_page_finds_imported_what_it_needs(tmp_path: Path) -> None:
    write(tmp_path, "window  display_version  usage_hours\n05T10:00  56.0  9", "05T10:20")
    command = [sys.executable, "-c", PAGE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("1 True ['click']\n", 0), done.stderr  # for the folder of a calendar


def test_fork_is_a_process_as_others(server: ForkServer, tmp_path: Path) -> None:
    process = kernel(server, tmp_path)
    assert process.poll() is None
    said = psutil.Process(process.pid)
    assert (said.name(), said.cwd(), os.getsid(process.pid)) == ("page 1", str(tmp_path), process.pid)
    assert not [each for each in said.open_files() if each.path.endswith(".arrow")]
    process.terminate()
    assert process.wait() == process.poll() == 0
    wait_until(lambda: not psutil.pid_exists(process.pid))
    process.kill()  # of a process that has ended: nothing happens


def test_fork_answers_as_a_kernel_and_knows_widgets(server: ForkServer, tmp_path: Path) -> None:
    """They register with the kernel when they are imported, which was before there was one."""
    process = kernel(server, tmp_path)
    client = BlockingKernelClient(connection_file=str(tmp_path / "page 1.json"))
    client.load_connection_file()
    client.start_channels()
    said: list[str] = []
    try:
        client.execute_interactive(
            "print(sorted(get_ipython().kernel.comm_manager.targets))",
            output_hook=lambda message: said.append(message["content"].get("text", "")),
            timeout=PATIENCE_SECONDS,
        )
    finally:
        client.stop_channels()
        process.kill()
    assert "['jupyter.widget', 'jupyter.widget.control']\n" in said


def test_descriptors_are_given_back(server: ForkServer, tmp_path: Path) -> None:
    kernel(server, tmp_path, "page 1").kill()
    ours = psutil.Process()
    (theirs,) = [each for each in ours.children() if "missioncontrol_nb.dashboard.server.fork_server" in each.cmdline()]
    before = ours.num_fds(), theirs.num_fds()
    for number in range(3):
        process = kernel(server, tmp_path, f"page {number + 2}")
        process.kill()
        process.wait()
    assert (ours.num_fds(), theirs.num_fds()) == before


def test_kernels_end_with_their_server_however_it_ends(tmp_path: Path) -> None:
    server = ForkServer()
    first = kernel(server, tmp_path, "first")
    (theirs,) = [each for each in psutil.Process().children() if each.pid == psutil.Process(first.pid).ppid()]
    theirs.kill()
    assert first.wait() == 0
    second = kernel(server, tmp_path, "second")  # by a process that was started anew
    server.close()
    assert second.wait() == 0
    with pytest.raises(OSError, match="the server is ending"):
        server.fork("third", [], ENVIRONMENT, None)


def test_pages_live_on_where_no_further_one_can_be_forked(server: ForkServer, tmp_path: Path) -> None:
    first = kernel(server, tmp_path, "first")
    parent = psutil.Process(first.pid).parent()
    assert parent is not None
    for process in (parent, psutil.Process()):
        with no_further_descriptor(process), pytest.raises(OSError, match=r"could not be forked: .*oo many open files"):
            server.fork("second", [], ENVIRONMENT, None)
        wait_until(lambda: [child.pid for child in parent.children()] == [first.pid])
    kernel(server, tmp_path, "third").kill()
    assert first.poll() is None
    first.kill()


@contextlib.contextmanager
def no_further_descriptor(process: psutil.Process) -> Iterator[None]:
    usual = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    listed = list(Path(f"/proc/{process.pid}/fd").iterdir())  # of this process, also that of the listing itself
    taken = {int(file.name) for file in listed if file.is_symlink()}
    next_one = next(number for number in count() if number not in taken)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (next_one, usual[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, usual)


def test_late_answer_is_not_taken_for_that_of_the_next_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = ForkServer()
    monkeypatch.setattr(fork_server, "FORK_SECONDS", 0.001)
    with pytest.raises(TimeoutError):
        server.fork("first", ["-f", str(tmp_path / "first.json")], ENVIRONMENT, None)
    monkeypatch.undo()
    second = kernel(server, tmp_path, "second")
    assert psutil.Process(second.pid).name() == "second"
    server.close()


def test_server_that_hangs_is_ended_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 3600\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(hanging))
    monkeypatch.setattr(fork_server, "FORK_SECONDS", 3600.0)
    server, errors = ForkServer(), []

    def fork() -> None:
        try:
            server.fork("page", [], ENVIRONMENT, None)
        except OSError as error:
            errors.append(str(error))

    forking = threading.Thread(target=fork, daemon=True)
    forking.start()
    children = psutil.Process().children
    wait_until(lambda: any("sleep" in child.name() for child in children()))
    server.close()
    forking.join(PATIENCE_SECONDS)
    assert errors == ["no kernel is forked any more: the server is ending"] or "reset" in errors[0]
    assert not any("sleep" in child.name() for child in children())


def test_server_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    server = ForkServer()
    with pytest.raises(OSError, match=r"has ended|Broken pipe|reset"):
        server.fork("page", [], ENVIRONMENT, None)
    server.close()


def test_signal_reaches_the_process_that_was_forked_and_no_other(server: ForkServer, tmp_path: Path) -> None:
    both = [kernel(server, tmp_path, name) for name in ("one", "two")]
    both[0].send_signal(signal.SIGKILL)
    assert both[0].wait() == 0
    assert both[1].poll() is None
    both[1].kill()
    assert both[1].wait() == 0


def test_kernel_whose_start_is_cancelled_is_ended() -> None:
    """As when a visitor leaves while the page's kernel is being forked."""
    may_return, killed = threading.Event(), threading.Event()
    process = SimpleNamespace(pid=1, kill=killed.set)

    def fork(*_: object) -> SimpleNamespace:
        assert may_return.wait(PATIENCE_SECONDS)
        return process

    async def start_and_cancel() -> None:
        manager = SimpleNamespace(parent=SimpleNamespace(fork_server=SimpleNamespace(fork=fork)))
        provisioner: Any = SimpleNamespace(parent=manager, kernel_id="0123456789")
        start = asyncio.create_task(ForkingProvisioner.launch_kernel(provisioner, [], env={}))
        await asyncio.sleep(0)
        start.cancel()
        try:
            with pytest.raises(asyncio.CancelledError):
                await start
            assert not killed.is_set()
        finally:
            may_return.set()
        assert await asyncio.to_thread(killed.wait, PATIENCE_SECONDS)

    asyncio.run(start_and_cancel())
