"""Locks on files: held by one process, and given up however it ends."""

import fcntl
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

_POLL_SECONDS = 0.02


def take_lock(file: IO[Any] | int, seconds: float) -> bool:
    """Locks an open file, trying for some seconds; returns whether that succeeded. Closing the file unlocks it.

    file: the file, or its descriptor. Raises OSError where the file system has no locks.
    """
    give_up = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= give_up:
                return False
        time.sleep(_POLL_SECONDS)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file. Asking takes it for a moment: `take_lock` must try for longer."""
    with suppress(OSError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
