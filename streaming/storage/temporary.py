"""Temporary folders that do not stay behind: what a killed process left is removed by the next one."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streaming.storage.locks import take_lock

_LOCK, _UNLOCKED = ".in-use", ".in-use.new"
_UNLOCKED_SECONDS = 3600.0  # a folder that has not been locked by then never will be


def short_parent() -> str | None:
    """The folder for temporary ones that hold Unix sockets, whose paths have at most 107 bytes; None: the default."""
    return "/tmp" if len(tempfile.gettempdir()) > 30 and os.access("/tmp", os.W_OK) else None


@contextmanager
def temporary_folder(prefix: str, parent: str | None = None) -> Iterator[Path]:
    """A new folder in a context, removed at its end, as are those with this prefix whose process was killed.

    parent: the folder in which it is made; None: that for temporary files.
    """
    above = Path(parent or tempfile.gettempdir())
    _remove_abandoned(above, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=above))
    unlocked = folder / _UNLOCKED
    try:
        with unlocked.open("xb") as lock:
            take_lock(lock, 0)
            unlocked.rename(folder / _LOCK)  # locked from the moment on at which another process can see it
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(above: Path, prefix: str) -> None:
    for folder in above.glob(f"{prefix}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            if not (folder / _LOCK).exists():
                _remove_unlocked(folder, prefix)
                continue
            with (folder / _LOCK).open("rb") as lock:
                if take_lock(lock, 0):
                    shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # it was removed by now, or is being made
            continue


def _remove_unlocked(folder: Path, prefix: str) -> None:
    """Removes what a process left that was killed before it had locked its new folder; raises OSError for any other."""
    is_new = time.time() - folder.stat().st_mtime < _UNLOCKED_SECONDS
    if not is_new and re.fullmatch(r"[a-z0-9_]{8}", folder.name.removeprefix(prefix)):
        if list(folder.iterdir()) == [folder / _UNLOCKED]:
            (folder / _UNLOCKED).unlink()
        folder.rmdir()
