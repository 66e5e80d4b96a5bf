"""Temporary folders: removed at the end, and after a process that was killed by the next one."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from streaming.storage.temporary import short_parent, temporary_folder

HOLDER = """
import sys
from streaming.storage.temporary import temporary_folder
with temporary_folder("mc-test-", sys.argv[1]) as folder:
    (folder / "large").write_text("content")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_folder_of_a_killed_process_is_removed_by_the_next(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        with temporary_folder("mc-test-", str(tmp_path)):
            assert (left / "large").exists()  # in use
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (left / "large").exists()
    with temporary_folder("mc-test-", str(tmp_path)) as folder:
        assert [each for each in tmp_path.iterdir() if each != folder] == []
    assert list(tmp_path.iterdir()) == []


def test_what_others_made_is_left_alone(tmp_path):
    (tmp_path / "mc-test-of-somebody").mkdir()
    (tmp_path / "mc-test-file").touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".in-use").touch()
    (tmp_path / "mc-test-link").symlink_to(elsewhere)
    before = sorted(tmp_path.iterdir())
    with temporary_folder("mc-test-", str(tmp_path)):
        pass
    assert sorted(tmp_path.iterdir()) == before


def test_folder_that_was_never_locked_is_removed_after_an_hour(tmp_path):
    """Its process was killed before it could. What holds anything else was made by somebody else."""
    empty, unlocked, new, named, used = (
        tmp_path / f"mc-test-{name}" for name in ("aaaaaaaa", "bbbbbbbb", "cccccccc", "somebody-else", "dddddddd")
    )
    for folder in (empty, unlocked, new, named, used):
        folder.mkdir()
    (unlocked / ".in-use.new").touch()
    (used / "file").touch()
    for folder in (empty, unlocked, named, used):
        os.utime(folder, (time.time() - 4000,) * 2)
    with temporary_folder("mc-test-", str(tmp_path)):
        pass
    assert sorted(tmp_path.iterdir()) == sorted([new, named, used])


def test_parent_of_sockets_is_short(monkeypatch):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: f"/var/{'x' * 90}")
    assert short_parent() == "/tmp"
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/var/tmp")
    assert short_parent() is None
