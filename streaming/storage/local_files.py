"""Finds the local files to read, in folders and by globs, and counts the ignored ones, so that the job reports them.

Only regular files are read: a pipe or a device would stop the job. Links are followed, unless they lead back to a
folder that holds them or the whole source. A file has the path by which it was found and, where links led to it, also
its real path. It is the same file as any other with either path, so that a file that is moved or linked counts once.
"""

import errno
import glob
import os
import stat
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from streaming.errors import printable

_COMPRESSIONS = ("", ".gz", ".zst")
_LINE_SUFFIXES = (".jsonl", ".ndjson")
SUFFIXES = tuple(kind + compression for kind in (".json", *_LINE_SUFFIXES) for compression in _COMPRESSIONS)
UNKNOWN_NAME = f"whose names end in none of {', '.join(SUFFIXES)}"
NO_FILE = "that are no regular files (pipes, sockets, devices)"
UNFINISHED = "whose names begin with . or _ or end with .tmp, as those of unfinished files do"
FOLDER = "that are folders, whose files this glob does not name"
LINK_CYCLE = "that are links to folders which hold them, or all of the source"
BROKEN_LINK = "that are links to files which are not there"
KINDS = {
    UNKNOWN_NAME: "unknown_name",
    NO_FILE: "no_regular_file",
    UNFINISHED: "unfinished",
    FOLDER: "folder",
    LINK_CYCLE: "leads_back",
    BROKEN_LINK: "leads_nowhere",
}


class FileInfo(NamedTuple):
    """A file as it was listed: absolute path or URL, bytes, microseconds since 1970; size -1: it cannot be listed.

    real: its real path where links led to the file; else empty.
    """

    path: str
    size: int
    modified_us: int
    real: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The file's path, and its real path if it differs."""
        return (self.path, self.real) if self.real else (self.path,)

    def is_among(self, names: Container[str]) -> bool:
        """Whether any of the file's names is one of these."""
        return any(name in names for name in self.names)


@dataclass
class IgnoredFiles:
    """The files that a listing ignored, by reason in words: how many, and one example."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, why: str, path: str) -> None:
        """Counts one ignored file."""
        self.counts[why] = self.counts.get(why, 0) + 1
        self.examples.setdefault(why, path)

    def add_name(self, name: str, path: str) -> None:
        """Counts a file ignored for its name; an unfinished file only if its final name can be that of a ping file."""
        final_name = name.lstrip("._").removesuffix(".tmp")
        if not is_unfinished(name):
            self.add(UNKNOWN_NAME, path)
        elif final_name.lower().endswith(SUFFIXES):
            self.add(UNFINISHED, path)

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __str__(self) -> str:
        return "; ".join(f"{count:,} {why}, such as {self._example(why)}" for why, count in self.counts.items())

    def as_records(self) -> list[dict[str, object]]:
        """For JSON: the reason, the number of files, and one example."""
        return [
            {"reason": KINDS[why], "files": count, "example": printable(self.examples[why])}
            for why, count in self.counts.items()
        ]

    def _example(self, why: str) -> str:
        return f"'{printable(self.examples[why])}'"


def is_ping_file(name: str) -> bool:
    """Whether a file of this name holds pings and is complete."""
    return name.lower().endswith(SUFFIXES) and not is_unfinished(name)


def is_unfinished(name: str) -> bool:
    """Whether a file or folder of this name is ignored as unfinished."""
    return name.startswith((".", "_")) or name.endswith(".tmp")


def compression_of(path: str) -> str:
    """The suffix of a path's compression: `.gz`, `.zst`, or empty."""
    return next(compression for compression in (".gz", ".zst", "") if path.lower().endswith(compression))


def is_line_delimited(path: str) -> bool:
    """Whether a file holds one ping per line; otherwise the file is one ping."""
    return path.lower().removesuffix(compression_of(path)).endswith(_LINE_SUFFIXES)


def list_local(source: str, ignored: IgnoredFiles) -> Iterator[FileInfo]:
    """The ping files of a file, folder or glob, each once; files that no link leads to come first."""
    names: set[str] = set()
    linked: list[FileInfo] = []
    for file in _find(source, ignored):
        if file.real:
            linked.append(file)
        else:
            names.add(file.path)
            yield file
    for file in sorted(linked):
        if not file.is_among(names):
            names.update(file.names)
            yield file


def _find(source: str, ignored: IgnoredFiles) -> Iterator[FileInfo]:
    top, pattern = glob_root(source)
    if pattern:
        return _Finder(top, ignored).matching(pattern)
    if os.path.isdir(source):  # noqa: PTH112
        return _Finder(source, ignored).tree()
    return _stat(source, os.path.realpath(source), ignored)


_Parts = tuple[str, ...]


def glob_root(source: str) -> tuple[str, _Parts]:
    """The folder in which a glob begins, and the glob's parts below it; any other source itself, and no parts."""
    if not glob.has_magic(source) or os.path.exists(source):  # noqa: PTH110
        return source, ()
    parts = source.split("/")
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return "/".join(parts[:fixed]) or "/", tuple(part for part in parts[fixed:] if part)


def would_list(source: str, path: str) -> bool:
    """Whether list_local would find a path, which need not exist, in a source without links in it.

    source, path: absolute.
    """
    top, pattern = glob_root(source)
    top, (folder, name) = os.path.realpath(top), os.path.split(path)
    folder = os.path.realpath(folder)
    if not is_ping_file(name) or not contains(top, folder):
        return False
    folders = Path(folder).relative_to(top).parts
    if not pattern:
        return not any(map(is_unfinished, folders))
    patterns = {pattern}
    for each in folders:
        patterns = {rest for candidate in _without_stars(patterns) for rest in _rest_below(each, candidate)}
    return any(len(each) == 1 and _matches(name, each[0]) for each in _without_stars(patterns))


class _Finder:
    """Finds files below a folder. A folder or file that cannot be read is returned as a file of size -1."""

    def __init__(self, top: str, ignored: IgnoredFiles) -> None:
        self._top, self._top_real, self._ignored = top, os.path.realpath(top), ignored
        self._link_cycles: set[str] = set()

    def tree(self) -> Iterator[FileInfo]:
        """All files; each folder is read once, and the files of linked folders come last."""
        seen: set[str] = set()
        links = [(self._top, self._top_real)]
        while links:
            links.sort()
            yield from self._walk(*links.pop(0), seen, links)

    def _walk(self, path: str, real: str, seen: set[str], links: list[tuple[str, str]]) -> Iterator[FileInfo]:
        """The files of a folder and its subfolders.

        seen: real paths that are not walked again; links: links to folders are added to it.
        """
        if real in seen:
            return
        seen.add(real)
        entries = _scan(path)
        if entries is None:
            yield _unreadable(path + os.sep)
        for entry in entries or ():
            if not _is_folder(entry):
                yield from self._file(entry, real)
            elif not is_unfinished(entry.name) and (target := self._followed(entry, real)) is not None:
                if entry.is_symlink():
                    links.append((entry.path, target))
                else:
                    yield from self._walk(entry.path, target, seen, links)

    def matching(self, pattern: _Parts) -> Iterator[FileInfo]:
        """The files that the parts of a glob match; `**` matches any number of folders."""
        yield from self._match(self._top, self._top_real, {pattern}, (), names_folders="**" not in pattern)

    def _match(
        self, path: str, real: str, patterns: set[_Parts], crossed: tuple[str, ...], *, names_folders: bool
    ) -> Iterator[FileInfo]:
        """The files of a folder that any of the patterns matches. crossed: the folders that hold the links followed."""
        patterns = _without_stars(patterns)
        entries = _scan(path)
        if entries is None:
            yield _unreadable(path + os.sep)
        for entry in entries or ():
            if not _is_folder(entry):
                if any(len(each) == 1 and _matches(entry.name, each[0]) for each in patterns):
                    yield from self._file(entry, real)
                continue
            below = {rest for each in patterns for rest in _rest_below(entry.name, each)}
            if names_folders and () in below:
                self._ignored.add(FOLDER, entry.path)
            below.discard(())
            target = self._followed(entry, real) if below else None
            if target is None or (entry.is_symlink() and any(contains(target, each) for each in (*crossed, real))):
                continue
            followed_from = (*crossed, real) if entry.is_symlink() else crossed
            yield from self._match(entry.path, target, below, followed_from, names_folders=names_folders)

    def _file(self, entry: "os.DirEntry[str]", folder: str) -> Iterator[FileInfo]:
        """The file of an entry, if its name is that of a ping file. folder: the real path of the entry's folder."""
        if not is_ping_file(entry.name):
            self._ignored.add_name(entry.name, entry.path)
            return
        real = os.path.join(folder, entry.name)  # noqa: PTH118
        if entry.is_symlink():
            real = _resolved(entry.path) or real
        yield from _stat(entry.path, real, self._ignored)

    def _followed(self, entry: "os.DirEntry[str]", folder: str) -> str | None:
        """The real path of an entry that is a folder; None for a link that is not followed.

        folder: the real path of the entry's folder.
        """
        if not entry.is_symlink():
            return os.path.join(folder, entry.name)  # noqa: PTH118
        target = _resolved(entry.path)
        if target is None or not any(contains(target, each) for each in (folder, self._top_real)):
            return target
        if entry.path not in self._link_cycles:
            self._link_cycles.add(entry.path)
            self._ignored.add(LINK_CYCLE, entry.path)
        return None


def _without_stars(patterns: set[_Parts]) -> set[_Parts]:
    """The patterns, and the rest of each one without its leading `**`, which may match no folder."""
    return {each[skipped:] for each in patterns for skipped in range(_stars(each) + 1) if each[skipped:]}


def _stars(pattern: _Parts) -> int:
    """The number of `**` at the start of a pattern."""
    return next((number for number, part in enumerate(pattern) if part != "**"), len(pattern))


def _matches(name: str, part: str) -> bool:
    return part == "**" or fnmatchcase(name, part)


def _rest_below(name: str, pattern: _Parts) -> Iterator[_Parts]:
    """The pattern that applies inside a folder of this name; () where the pattern matches the folder itself."""
    part, *rest = pattern
    if not _matches(name, part) or (glob.has_magic(part) and is_unfinished(name)):
        return
    yield pattern if part == "**" else tuple(rest)


def contains(folder: str, other: str) -> bool:
    """Whether a folder is the same as another one or holds it, by their real paths."""
    return f"{other}{os.sep}".startswith(f"{folder.rstrip(os.sep)}{os.sep}")


def _resolved(path: str) -> str | None:
    """A link's real path; None where the link is gone."""
    try:
        return os.path.realpath(path)
    except OSError:
        return None


def _scan(folder: str) -> "list[os.DirEntry[str]] | None":
    """The entries of a folder; empty where the folder is gone, None where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError:
        return None


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is, or may be, a folder or a link to one; a link that leads nowhere, or to itself, is not."""
    try:
        return entry.is_dir()
    except OSError as error:
        return error.errno != errno.ELOOP and not is_ping_file(entry.name)


def _stat(path: str, real: str, ignored: IgnoredFiles) -> Iterator[FileInfo]:
    try:
        status = os.stat(path)  # noqa: PTH116 (a third of the time of Path's)
    except FileNotFoundError:
        if os.path.islink(path):  # noqa: PTH114
            ignored.add(BROKEN_LINK, path)
    except OSError:
        yield _unreadable(path)
    else:
        if stat.S_ISREG(status.st_mode):
            yield FileInfo(path, status.st_size, status.st_mtime_ns // 1000, "" if real == path else real)
        else:
            ignored.add(NO_FILE, path)


def _unreadable(path: str) -> FileInfo:
    return FileInfo(path, -1, time.time_ns() // 1000)
