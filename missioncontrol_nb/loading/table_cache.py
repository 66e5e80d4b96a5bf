"""Arrow tables that several processes need: one of them makes them and writes them to a file, the others map it."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

WAIT_SECONDS = 60.0  # for another process to make tables, before this one makes them itself; one that ends frees it
KEPT_SECONDS = 3600.0  # files that nobody has used for so long are removed
MOST_BYTES = 256 << 20  # of all files; the ones that were used longest ago are removed first
TIDY_SECONDS = 10.0
_STATE, _NAME = b"missioncontrol.state", b"missioncontrol.name"
log = logging.getLogger(__name__)


class TableCache:
    """A folder with files of one or more tables each, and the state of the data that they were made from.

    Only the newest state of each file is kept. A file that cannot be read or written is as good as none.
    """

    def __init__(self, folder: str | Path) -> None:
        """folder: one that exists, and that only this user can write."""
        self._folder = Path(folder)
        self._tidied = time.monotonic()

    def get(self, name: str, state: str, make: "Callable[[], Mapping[str, pa.Table]]") -> "Mapping[str, pa.Table]":
        """The tables of a file, which are made where it has none of this state.

        name: of the file, without ending. state: a text that differs where `make` would return other tables.
        """
        path = self._folder / f"{name}.arrow"
        found = _read(path, state)
        if found is None:
            with self._made_by_one(name):
                found = _read(path, state)
                if found is None:
                    found = make()
                    self._write(path, state, found)
        return found

    def newest(self, name: str) -> "tuple[str, Mapping[str, pa.Table]] | None":
        """The state and the tables of a file as it is, whatever state that is; None where there is none."""
        return _read_any(self._folder / f"{name}.arrow")

    @contextmanager
    def _made_by_one(self, name: str) -> Iterator[None]:
        """Waits while another process makes the same tables, WAIT_SECONDS at most."""
        lock = None
        try:
            with suppress(OSError, ImportError):  # without locks, such as on Windows, each makes its own
                from streaming.storage.locks import take_lock

                lock = os.open(self._folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
                take_lock(lock, WAIT_SECONDS)
            yield
        finally:
            if lock is not None:
                os.close(lock)

    def _write(self, path: Path, state: str, tables: "Mapping[str, pa.Table]") -> None:
        import pyarrow as pa

        unfinished = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        try:
            with pa.OSFile(str(unfinished), "wb") as file:
                for name, table in tables.items():
                    said = {**(table.schema.metadata or {}), _STATE: state.encode(), _NAME: name.encode()}
                    described = table.replace_schema_metadata(said)
                    with pa.ipc.new_stream(file, described.schema) as stream:
                        stream.write_table(described)
            unfinished.replace(path)
        except OSError as error:
            log.warning("tables could not be kept for other pages: %s", error)
            with suppress(OSError):
                unfinished.unlink()
        if time.monotonic() - self._tidied > TIDY_SECONDS:
            self._tidied = time.monotonic()
            with suppress(OSError):
                self.tidy()

    def tidy(self) -> None:
        """Removes files that were not used for long, and those used longest ago where there are too many bytes."""
        files = []
        for path in self._folder.iterdir():
            with suppress(OSError):
                said = path.stat()
                files.append((said.st_mtime, said.st_size, path))
        total, oldest = 0, time.time() - KEPT_SECONDS
        for used, size, path in sorted(files, reverse=True):
            total += size
            if used < oldest or total > MOST_BYTES:
                with suppress(OSError):
                    path.unlink()


def _read(path: Path, state: str) -> "Mapping[str, pa.Table] | None":
    """The tables of a file; None where there are none of this state."""
    found = _read_any(path, state)
    return found[1] if found else None


def _read_any(path: Path, wanted: str | None = None) -> "tuple[str, Mapping[str, pa.Table]] | None":
    """The state and the tables of a file; None where there are none, or none of the wanted state."""
    import pyarrow as pa

    tables, state = {}, ""
    try:
        with pa.memory_map(str(path)) as file:
            while file.tell() < file.size():
                with pa.ipc.open_stream(file) as stream:
                    said = stream.schema.metadata
                    state = said[_STATE].decode()
                    if wanted not in (None, state):
                        return None
                    tables[said[_NAME].decode()] = stream.read_all()
        os.utime(path)  # the time of its last use
    except (OSError, pa.ArrowException, LookupError, TypeError):
        return None
    return (state, tables) if tables else None
