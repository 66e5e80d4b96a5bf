"""Which local files are read, found in folders and by globs, and which are ignored, so that the job can report them.

Only regular files are read: a pipe or a device would stop the job. A folder that is a symbolic link is followed, unless
it leads back to a folder that holds the link or the whole source. No folder is read twice: however many links lead to
one, its files are named by its real path, or as those below the source are where it lies there.
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
LEADS_BACK = "that are links to folders which hold them, or all of the source"
KINDS = {
    UNKNOWN_NAME: "unknown_name",
    NO_FILE: "no_regular_file",
    UNFINISHED: "unfinished",
    FOLDER: "folder",
    LEADS_BACK: "leads_back",
}


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
    """The ping files that a glob without `**` names; a folder that it reaches by several names is read once."""
    top, _ = _split(pattern)
    folders: dict[str, str] = {}
    names: set[str] = set()
    for path in glob.iglob(pattern):  # noqa: PTH207
        if os.path.isdir(path):  # noqa: PTH112
            passed.add(FOLDER, path)
            continue
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = top.name_of(os.path.realpath(folder))
        path = os.path.join(folders[folder], name)  # noqa: PTH118
        if path not in names:
            names.add(path)
            yield from _named(name, path, passed)


class _Top:
    """The folder that a source begins at."""

    def __init__(self, shown: str) -> None:
        self.shown, self.real = shown, os.path.realpath(shown)

    def name_of(self, real: str) -> str:
        """The one name of a folder of a real path: below the top as the source calls that, elsewhere its real path."""
        if real == self.real:
            return self.shown
        return os.path.join(self.shown, os.path.relpath(real, self.real)) if _holds(self.real, real) else real  # noqa: PTH118

    def is_led_back_to(self, target: str, folder: str) -> bool:
        """Whether a link in a folder leads to that folder, to one that holds it, or to one that holds the top."""
        return any(target == each or _holds(target, each) for each in (folder, self.real))


def _split(pattern: str) -> tuple[_Top, tuple[str, ...]]:
    """The folder that a glob begins at, and the parts of the rest."""
    parts = pattern.split("/")
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return _Top("/".join(parts[:fixed]) or "/"), tuple(parts[fixed:])


def _holds(folder: str, other: str) -> bool:
    return f"{other}{os.sep}".startswith(f"{folder.rstrip(os.sep)}{os.sep}") and folder != other


def _named(name: str, path: str, passed: PassedOver) -> Iterator[Listed]:
    if is_ping_file(name):
        yield from _stat(path, passed)
    else:
        passed.add_name(name, path)


def _tree(shown: str, passed: PassedOver) -> Iterator[Listed]:
    """The ping files below a folder. Linked folders come last, each once, by their real paths."""
    top = _Top(shown)
    seen: set[str] = set()
    links: list[str] = []
    yield from _walk(top.real, top, passed, seen, links)
    while links:
        yield from _walk(links.pop(0), top, passed, seen, links)


def _walk(real: str, top: _Top, passed: PassedOver, seen: set[str], links: list[str]) -> Iterator[Listed]:
    """The ping files of a folder and its folders, by their names; one that cannot be read is listed with size -1.

    real: the folder's real path. seen: real paths of folders that are not walked again; links: where links lead.
    """
    if real in seen:
        return
    seen.add(real)
    shown = top.name_of(real)
    try:
        with os.scandir(shown) as entries:
            for entry in entries:
                if not _is_folder(entry):
                    yield from _named(entry.name, entry.path, passed)
                elif is_passed_over(entry.name):
                    continue
                elif not entry.is_symlink():
                    yield from _walk(os.path.join(real, entry.name), top, passed, seen, links)  # noqa: PTH118
                elif top.is_led_back_to(target := os.path.realpath(entry.path), real):
                    passed.add(LEADS_BACK, entry.path)
                else:
                    links.append(target)
    except FileNotFoundError:
        return
    except OSError:
        yield _unreadable(shown + os.sep)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a folder or a link to one; a link that leads nowhere, or to itself, is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _deep_glob(pattern: str, passed: PassedOver) -> Iterator[Listed]:
    """The ping files that a glob with `**` names."""
    top, parts = _split(pattern)
    names: set[str] = set()
    for below, path in _reached(top.real, (), top, (), passed):
        if path not in names and _matches(below, parts):
            names.add(path)
            yield from _named(below[-1], path, passed)


def _reached(
    real: str, below: tuple[str, ...], top: _Top, crossed: tuple[str, ...], passed: PassedOver
) -> Iterator[tuple[tuple[str, ...], str]]:
    """The files below a folder, for each way that leads there: the parts of that way below the top, and their names.

    real: the folder's real path. below: the way to it. crossed: the folders whose links were followed.
    """
    shown = top.name_of(real)
    try:
        with os.scandir(shown) as entries:
            found = list(entries)
    except OSError:
        return
    for entry in found:
        way = (*below, entry.name)
        if not _is_folder(entry):
            yield way, entry.path
        elif is_passed_over(entry.name):
            continue
        elif not entry.is_symlink():
            yield from _reached(os.path.join(real, entry.name), way, top, crossed, passed)  # noqa: PTH118
        elif any(top.is_led_back_to(target := os.path.realpath(entry.path), each) for each in (*crossed, real)):
            passed.add(LEADS_BACK, entry.path)
        else:
            yield from _reached(target, way, top, (*crossed, real), passed)


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
