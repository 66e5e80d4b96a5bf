"""Temporary folders that do not stay behind: what a killed process left is removed by the next one."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = ".in-use"


@contextmanager
def temporary_folder(prefix: str, parent: str | None = None) -> Iterator[Path]:
    """A new folder in a context, removed at its end, as are those with this prefix whose process was killed.

    parent: the folder in which it is made; None: that for temporary files.
    """
    above = Path(parent or tempfile.gettempdir())
    _remove_abandoned(above, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=above))
    unlocked = folder / f"{_LOCK}.new"
    try:
        with unlocked.open("x") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            unlocked.rename(folder / _LOCK)  # locked from the moment on at which another process can see it
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(above: Path, prefix: str) -> None:
    for folder in above.glob(f"{prefix}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / _LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # it is in use, was removed by now, or is being made
            continue
