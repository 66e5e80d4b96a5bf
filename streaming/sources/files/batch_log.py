"""The log of which files belong to which micro-batch, kept in the checkpoint."""

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from streaming.sources.base import damaged
from streaming.storage.durability import sync_folder
from streaming.storage.local_files import FileInfo

LIST_SCHEME = "listed:"  # prefix of the path of a list of files


class FileLog:
    """The files of each micro-batch, one line of JSON each, in a local append-only file.

    Line n, counted from 1, has the files between offset n - 1 and offset n. A line that a crash cut short was never
    used and is removed. One process writes at a time.

    Raises MissionControlError for a damaged log.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._starts = [0]
        self._reading = threading.Lock()  # the job's progress is asked for by another thread
        self.seen: set[str] = set()
        path.touch()
        sync_folder(path.parent)
        self.refresh()
        os.truncate(path, self._starts[-1])

    def __len__(self) -> int:
        """The number of micro-batches; the last offset."""
        return len(self._starts) - 1

    def refresh(self) -> None:
        """Read the lines that another process has written."""
        with self._reading, self._path.open("rb") as log:
            log.seek(self._starts[-1])
            for line in log:
                if line.endswith(b"\n"):
                    self._remember(line)

    def append(self, files: Sequence[FileInfo]) -> None:
        """Append the files as the next micro-batch; they are on disk when this returns."""
        line = json.dumps(files, separators=(",", ":")).encode() + b"\n"
        with self._path.open("ab") as log:
            log.write(line)
            log.flush()
            os.fsync(log.fileno())
        self._remember(line)

    def files(self, start: int, end: int) -> list[FileInfo]:
        """The files between two offsets."""
        with self._path.open("rb") as log:
            log.seek(self._starts[start])
            return [file for _ in range(start, end) for file in files_of(log.readline(), self._path)]

    def _remember(self, line: bytes) -> None:
        files = files_of(line, self._path)
        self._starts.append(self._starts[-1] + len(line))
        self.seen.update(name for file in files for name in file.names)


def files_of(line: bytes, path: Path) -> list[FileInfo]:
    """The files of a micro-batch from a line of `files.log`. Raises MissionControlError for a damaged line."""
    try:
        found = json.loads(line)
        files = [FileInfo(*file) for file in found]
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(path) from error
    if not isinstance(found, list) or not files or not all(map(_is_sound, files)):
        raise damaged(path)
    return files


def _is_sound(file: FileInfo) -> bool:
    """Whether each value of a file has the right type, and its path is not empty."""
    return [type(value) for value in file] == [str, int, int, str] and bool(file.path)
