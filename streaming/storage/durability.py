"""Synchronises local files, so that they survive a power cut, in the order in which they depend on one another.

Neither deltalake nor Spark synchronises the files it writes. A job therefore synchronises, for each micro-batch:

1. Spark's offsets of the micro-batch, before any table is committed: otherwise a table could hold the number of a
   micro-batch that Spark plans again with other pings.
2. The commits of all tables, with every file and every older commit that they build on, before Spark records that the
   micro-batch is done: otherwise Spark could continue after a micro-batch that no table has.

Hence nothing ever relied on a commit that a power cut has damaged. `set_aside_damaged_commits` removes such commits
from a table's log, and the job repeats their micro-batch. An object store is durable by itself.
"""

import errno
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from streaming.errors import MissionControlError

SYNC_THREADS = 8  # a disk writes its journal once for synchronisations that arrive together
CHECKED_COMMITS = 8  # the log's newest; between two synchronisations a job adds one to three to a table
_PARQUET_MAGIC = b"PAR1"  # the last bytes of a complete Parquet file
_NO_FOLDER_SYNC = (errno.EINVAL, errno.EACCES, errno.ENOTSUP, errno.EISDIR)  # raised by some network file systems


@dataclass
class Unsynced:
    """Files whose content, and folders whose entries, are to be made durable; paths that are gone are ignored."""

    files: set[Path] = field(default_factory=set)
    folders: set[Path] = field(default_factory=set)

    def add(self, path: Path) -> None:
        """Add a file's content and its entry in its folder."""
        self.files.add(path)
        self.folders.add(path.parent)

    def sync(self) -> None:
        """Make the content of files durable, then the entries of folders. Raises OSError."""
        if not self.files and not self.folders:
            return
        with ThreadPoolExecutor(SYNC_THREADS) as pool:
            list(pool.map(_sync_file, self.files))
            list(pool.map(sync_folder, self.folders))


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable; does nothing where the folder is gone or its file system cannot do it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents durably."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        sync_folder(each.parent)


def write_file(path: Path, content: bytes) -> None:
    """Write a file durably, completely or not at all."""
    unfinished = path.with_name(f"{path.name}.tmp")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    sync_folder(path.parent)


def _sync_file(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class TableFiles:
    """The files of a local Delta table that this process has not synchronised yet. folder: the table's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._log = folder, folder / "_delta_log"
        self._next_version: int | None = None  # the first commit that is not known to be durable

    def unsynced(self, version: int) -> Unsynced:
        """The unsynchronised files and folders of the commits up to a version, including other writers' commits."""
        found = Unsynced()
        first = self._next_version
        if first is None or first > version + 1:  # nothing is known, or the table was created again
            first = min(_versions(self._log), default=0)
            found.folders.update((self._log, self._folder, self._folder.parent, self._folder.parent.parent))
        for number in range(first, version + 1):
            commit = self._log / _commit_name(number)
            found.add(commit)
            for path in _added(commit, self._folder):
                found.add(path)
                if path.parent != self._folder:
                    found.folders.add(path.parent.parent)
        for number in {*range(first, version + 1), version}:  # a checkpoint may be written later than its commit
            if self._checkpoint(number).exists():
                found.add(self._checkpoint(number))
                found.add(self._log / "_last_checkpoint")
        return found

    def note_synced(self, version: int) -> bool:
        """Record that all commits up to a version are durable; True when they include a new checkpoint of the log."""
        first = version if self._next_version is None else self._next_version
        self._next_version = version + 1
        return any(self._checkpoint(number).exists() for number in range(first, version + 1))

    def _checkpoint(self, version: int) -> Path:
        return self._log / f"{version:020}.checkpoint.parquet"


def set_aside_damaged_commits(folder: Path, name: str, done_batches: Mapping[str, int]) -> list[Path]:
    """Rename the newest commits of a local table from the first damaged one on; their new names, oldest first.

    A commit is damaged when it is not JSON, names a data file that is missing or truncated, or follows a missing
    commit. Only the newest CHECKED_COMMITS are checked. Nothing is deleted, and a table whose log gives it another
    name is not touched. Damaged checkpoints of the log, which are copies of its commits' content, are set aside too.
    """
    log = folder / "_delta_log"
    if not _recorded_names(log) <= {name}:
        return []
    newest = sorted(_versions(log))[-CHECKED_COMMITS:]
    damaged = _first_damaged(newest, log, folder) if newest else None
    damaged_commits = [log / _commit_name(number) for number in newest if damaged is not None and number >= damaged]
    for commit in damaged_commits:
        _check_nothing_follows(commit, damaged_commits[0].name, folder, done_batches)
    set_aside = [_set_aside(path) for path in (*_damaged_checkpoints(log), *damaged_commits)]
    if set_aside:
        sync_folder(log)
    return [path for path in set_aside if path is not None]


def _check_nothing_follows(commit: Path, first: str, folder: Path, done_batches: Mapping[str, int]) -> None:
    """Raises MissionControlError where others than the writer that opens the table may have continued after a commit.

    first: the name of the first damaged commit.
    """
    for line in commit.read_bytes().splitlines():
        if line.startswith(b'{"txn"'):
            with suppress(ValueError, KeyError, TypeError):
                transaction = json.loads(line)["txn"]
                if transaction["version"] <= done_batches.get(transaction["appId"], math.inf):
                    raise MissionControlError(
                        f"in the table {str(folder)!r} the commit {first}, the one before it, or a file that they "
                        "name is damaged or missing, and others went on after it: restore it from a copy of the "
                        "dataset; the guide says what to do without one ('When a log is damaged')"
                    )


def _recorded_names(log: Path) -> set[str]:
    """The table names in the commits of a log; a damaged commit has none."""
    names = set[str]()
    for number in _versions(log):
        for line in _lines(log / _commit_name(number)):
            if line.startswith(b'{"metaData"'):
                with suppress(ValueError, KeyError, TypeError):
                    names.add(json.loads(line)["metaData"]["name"])
    return names


def _lines(commit: Path) -> list[bytes]:
    """The lines of a commit; empty if the commit was removed meanwhile, as old commits are."""
    try:
        return commit.read_bytes().splitlines()
    except FileNotFoundError:
        return []


def _set_aside(path: Path) -> Path | None:
    """Renames a file; its new path, None where another process has removed it meanwhile."""
    try:
        return path.rename(path.with_name(f".damaged-{uuid.uuid4()}-{path.name}"))
    except FileNotFoundError:
        return None


def _damaged_checkpoints(log: Path) -> Iterator[Path]:
    for path in log.glob("[0-9]*.checkpoint*.parquet"):
        if not _is_whole_parquet(path):
            yield path
    pointer = log / "_last_checkpoint"
    if pointer.exists() and not _points_to_checkpoint(pointer):
        yield pointer


def _points_to_checkpoint(pointer: Path) -> bool:
    try:
        version = json.loads(pointer.read_bytes())["version"]
        return any(map(_is_whole_parquet, pointer.parent.glob(f"{version:020}.checkpoint*.parquet")))
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _first_damaged(versions: list[int], log: Path, folder: Path) -> int | None:
    """The oldest damaged commit among some versions. A file that a later commit removes may be gone."""
    checkpoint = max((int(path.name[:20]) for path in log.glob("[0-9]*.checkpoint*.parquet")), default=-1)
    first, removed = None, set[str]()
    for before, number in reversed(list(zip([versions[0] - 1, *versions[:-1]], versions, strict=True))):
        if number != before + 1 and checkpoint < number - 1:
            first = number
        try:
            actions = [json.loads(line) for line in (log / _commit_name(number)).read_bytes().splitlines()]
            added = {action["add"]["path"]: action["add"]["size"] for action in actions if "add" in action}
            removed |= {action["remove"]["path"] for action in actions if "remove" in action}
        except FileNotFoundError:  # removed meanwhile
            continue
        except (ValueError, KeyError, TypeError, RecursionError):
            first = number
            continue
        files = [(folder / unquote(path), size) for path, size in added.items() if path not in removed]
        if not actions or not all(_is_whole_parquet(*file) for file in files):
            first = number
    return first


def _is_whole_parquet(path: Path, size: int | None = None) -> bool:
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            if end < 2 * len(_PARQUET_MAGIC) or (size is not None and end != size):
                return False
            file.seek(-len(_PARQUET_MAGIC), os.SEEK_END)
            return file.read() == _PARQUET_MAGIC
    except FileNotFoundError:
        return False


def _commit_name(version: int) -> str:
    return f"{version:020}.json"


def _versions(log: Path) -> Iterator[int]:
    """The versions of the commits in a log."""
    if log.is_dir():
        for path in log.iterdir():
            if path.suffix == ".json" and path.stem.isdigit():
                yield int(path.stem)


def _added(commit: Path, folder: Path) -> Iterator[Path]:
    """The data files that a commit adds."""
    for line in _lines(commit):
        if line.startswith(b'{"add"'):
            yield folder / unquote(json.loads(line)["add"]["path"])


def sync_all(parts: Iterable[Unsynced]) -> None:
    """Make several parts durable at once."""
    together = Unsynced()
    for part in parts:
        together.files |= part.files
        together.folders |= part.folders
    together.sync()
