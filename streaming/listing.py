"""Which local files are read, found in folders and by globs, and which are ignored, so that the job can report them.

Only regular files are read: a pipe or a device would stop the job. A folder that is a symbolic link is followed, and no
folder is read twice: what is in a linked folder is named by its real path, however many links lead there.
"""

import glob
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from streaming.errors import printable

_PACKINGS = ("", ".gz", ".zst")
_LINES = (".jsonl", ".ndjson")
SUFFIXES = tuple(kind + packing for kind in (".json", *_LINES) for packing in _PACKINGS)
UNKNOWN_NAME = f"whose names end in none of {', '.join(SUFFIXES)}"
NO_FILE = "that are no regular files (pipes, sockets, devices)"
UNFINISHED = "whose names begin with . or _ or end with .tmp, as those of unfinished files do"
FOLDER = "that are folders, whose files this glob does not name"
KINDS = {UNKNOWN_NAME: "unknown_name", NO_FILE: "no_regular_file", UNFINISHED: "unfinished", FOLDER: "folder"}


class Listed(NamedTuple):
    """A file as it was listed: absolute path or URL, bytes, microseconds since 1970; size -1: it cannot be listed."""

    path: str
    size: int
    modified_us: int


@dataclass
class PassedOver:
    """What a listing did not take, by the words that say why: how many, and one of them."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, why: str, path: str) -> None:
        """Counts one."""
        self.counts[why] = self.counts.get(why, 0) + 1
        self.examples.setdefault(why, path)

    def add_name(self, name: str, path: str) -> None:
        """Counts one that is not read because of its name; names that no ping file ever has before it is finished."""
        bare = name.lstrip("._").removesuffix(".tmp")
        if not is_passed_over(name):
            self.add(UNKNOWN_NAME, path)
        elif bare.lower().endswith(SUFFIXES):
            self.add(UNFINISHED, path)

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __str__(self) -> str:
        return "; ".join(f"{count:,} {why}, such as {self._example(why)}" for why, count in self.counts.items())

    def as_records(self) -> list[dict[str, object]]:
        """For JSON: reason, how many, one of them."""
        return [
            {"reason": KINDS[why], "files": count, "example": printable(self.examples[why])}
            for why, count in self.counts.items()
        ]

    def _example(self, why: str) -> str:
        return f"'{printable(self.examples[why])}'"


def is_ping_file(name: str) -> bool:
    """Whether a file of that name holds pings and is complete."""
    return name.lower().endswith(SUFFIXES) and not is_passed_over(name)


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of that name is nobody's business yet."""
    return name.startswith((".", "_")) or name.endswith(".tmp")


def packing_of(path: str) -> str:
    """`.gz`, `.zst`, or nothing."""
    return next(packing for packing in (".gz", ".zst", "") if path.lower().endswith(packing))


def holds_lines(path: str) -> bool:
    """Whether a file holds a ping a line; else it is one ping."""
    return path.lower().removesuffix(packing_of(path)).endswith(_LINES)


def list_local(source: str, passed: PassedOver) -> Iterator[Listed]:
    """The ping files of a file, folder or glob, in no order."""
    if glob.has_magic(source) and not os.path.exists(source):  # noqa: PTH110
        yield from _deep_glob(source, passed) if "**" in source.split("/") else _glob(source, passed)
    elif os.path.isdir(source):  # noqa: PTH112
        yield from _tree(source, passed)
    else:
        yield from _stat(source, passed)


def _glob(pattern: str, passed: PassedOver) -> Iterator[Listed]:
    for path in glob.iglob(pattern):  # noqa: PTH207
        if os.path.isdir(path):  # noqa: PTH112
            passed.add(FOLDER, path)
        else:
            yield from _named(os.path.basename(path), path, passed)  # noqa: PTH119


def _named(name: str, path: str, passed: PassedOver) -> Iterator[Listed]:
    if is_ping_file(name):
        yield from _stat(path, passed)
    else:
        passed.add_name(name, path)


def _tree(top: str, passed: PassedOver) -> Iterator[Listed]:
    """The ping files below a folder. Linked folders come last, each once, by their real paths."""
    folders: list[str] = []
    links: list[str] = []
    yield from _walk(top, passed, folders, links)
    if not links:
        return
    seen = {_identity(folder) for folder in folders}
    while links:
        folder = os.path.realpath(links.pop(0))
        if _identity(folder) not in seen:
            yield from _walk(folder, passed, [], links, seen)


def _walk(
    folder: str,
    passed: PassedOver,
    folders: list[str],
    links: list[str],
    seen: set[tuple[int, int] | None] | None = None,
) -> Iterator[Listed]:
    """The ping files of a folder and its folders; a folder that cannot be read is listed with size -1.

    folders, links: where to put what was walked, and the links to folders. seen: folders that are not to be walked,
    which grows; None: there are no such ones.
    """
    if seen is not None:
        identity = _identity(folder)
        if identity in seen:
            return
        seen.add(identity)
    folders.append(folder)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_folder(entry):
                    if is_passed_over(entry.name):
                        continue
                    if entry.is_symlink():
                        links.append(entry.path)
                    else:
                        yield from _walk(entry.path, passed, folders, links, seen)
                else:
                    yield from _named(entry.name, entry.path, passed)
    except FileNotFoundError:
        return
    except OSError:
        yield _unreadable(folder + os.sep)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a folder or a link to one; a link that leads nowhere, or to itself, is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identity(folder: str) -> tuple[int, int] | None:
    """What tells a folder from all others, by whatever path; None when it is gone."""
    try:
        status = os.stat(folder)  # noqa: PTH116
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _deep_glob(pattern: str, passed: PassedOver) -> Iterator[Listed]:
    """The ping files that a glob with `**` names; links are followed but for those that lead back."""
    parts = pattern.split("/")
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    top = "/".join(parts[:fixed]) or "/"
    names: set[str] = set()
    for below, path in _reached(top, os.path.realpath(top), (), top):
        if _matches(tuple(below), tuple(parts[fixed:])) and path not in names:
            names.add(path)
            yield from _named(below[-1], path, passed)


def _reached(shown: str, real: str, crossed: tuple[str, ...], top: str) -> Iterator[tuple[list[str], str]]:
    """The files below a folder: their names below the top, and their paths, the real ones beyond a link."""
    try:
        with os.scandir(shown) as entries:
            found = list(entries)
    except OSError:
        return
    for entry in found:
        if not _is_folder(entry):
            below = os.path.relpath(entry.path, top).split("/")
            yield below, os.path.join(real, entry.name) if crossed else entry.path  # noqa: PTH118
        elif not is_passed_over(entry.name):
            below_real = os.path.join(real, entry.name)  # noqa: PTH118
            if not entry.is_symlink():
                yield from _reached(entry.path, below_real, crossed, top)
                continue
            target = os.path.realpath(below_real)
            if not any(f"{each}{os.sep}".startswith(f"{target}{os.sep}") for each in (*crossed, real)):
                yield from _reached(entry.path, target, (*crossed, real), top)


def _matches(names: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    if not parts:
        return not names
    if parts[0] == "**":
        return any(_matches(names[number:], parts[1:]) for number in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], parts[0]) and _matches(names[1:], parts[1:])


def _stat(path: str, passed: PassedOver) -> Iterator[Listed]:
    try:
        status = os.stat(path)  # noqa: PTH116 (a third of the time of Path's)
    except FileNotFoundError:
        return
    except OSError:
        yield _unreadable(path)
    else:
        if stat.S_ISREG(status.st_mode):
            yield Listed(path, status.st_size, status.st_mtime_ns // 1000)
        else:
            passed.add(NO_FILE, path)


def _unreadable(path: str) -> Listed:
    return Listed(path, -1, time.time_ns() // 1000)
