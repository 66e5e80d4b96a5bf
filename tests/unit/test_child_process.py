"""A program in a process of its own: its lines, its end, and nothing of it that stays open."""

import signal
import sys
import threading
from pathlib import Path

import pytest

from streaming.child_process import ChildProcess
from tests.patience import PATIENCE_SECONDS, wait_until

IGNORES_SIGTERM = (
    "import signal, sys, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(999)"
)
ENDS_WITH_INPUT = "import sys; print('up', flush=True); sys.exit(len(sys.stdin.read()))"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_lines_of_both_streams_come_apart_or_together() -> None:
    code = "import sys; print('one', flush=True); print('two', file=sys.stderr); sys.exit(3)"
    out, errors = list[str](), list[str]()
    assert ChildProcess(python(code), out.append, on_error_line=errors.append).wait() == 3
    assert (out, errors) == (["one"], ["two"])
    both = list[str]()
    assert ChildProcess(python(code), both.append).wait() == 3
    assert sorted(both) == ["one", "two"]


def test_errors_may_go_to_a_file(tmp_path: Path) -> None:
    code = "import sys; print('two', file=sys.stderr)"
    assert ChildProcess(python(code), print, error_log=tmp_path / "log").wait() == 0
    assert (tmp_path / "log").read_text() == "two\n"


def test_program_that_reads_its_input_notices_its_end() -> None:
    is_up = threading.Event()
    process = ChildProcess(python(ENDS_WITH_INPUT), lambda _: is_up.set(), has_input=True)
    assert is_up.wait(PATIENCE_SECONDS)
    assert process.is_running
    process.close_input()
    assert process.wait() == 0
    assert not process.is_running


def test_program_that_does_not_heed_a_signal_is_killed() -> None:
    lines = list[str]()
    process = ChildProcess(python(IGNORES_SIGTERM), lines.append)
    wait_until(lambda: lines == ["up"])
    assert process.end(signal.SIGTERM, 0.2) == -signal.SIGKILL
    assert process.end(signal.SIGTERM, 0.2) == -signal.SIGKILL, "to end it twice does no harm"


def test_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ChildProcess([str(tmp_path / "nothing")], print)
