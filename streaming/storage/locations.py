"""Names of datasets, sources and folders: one spelling for each location, and the names that are passed to libraries.

A name that a library would read as another location is refused, or replaced by a name that the library cannot misread.
"""

import atexit
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from urllib.parse import unquote, urlsplit

from streaming import contract
from streaming.errors import MissionControlError, require_location
from streaming.storage.local_files import contains, glob_root, would_list

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_ONE_SLASH = re.compile(r"(s3|s3a|file):/(?!/)")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]+")
# Delta's library removes these characters from a key, replaces them by others, or ends the key at them.
_NOT_IN_KEYS = re.compile(r"[%\[\]^|\\\x00-\x1f\x7f]")
# In a local path, Delta's library decodes %xx once too often, reads \ as /, cannot read the history of a table whose
# path has ? or #, and rejects the other characters.
_NOT_FOR_DELTA = re.compile(r"[%?#\[\]^|\\\x00-\x1f\x7f]")
_FOR_JAVA = re.compile(r"[A-Za-z0-9_./-]*")
_DAY_FOLDER = re.compile(r"submission_date=\d{4}-\d\d-\d\d")
_LOG = "_delta_log"
_CHECKPOINT_PINGS = ("checkpoint.json", "density.json")  # a checkpoint's own files that are named like ping files


def is_remote(url: str) -> bool:
    """Whether a dataset or a source is outside this machine's files."""
    return "://" in url and not url.lower().startswith("file://")


def is_s3(url: str) -> bool:
    """Whether a dataset or a source is in an S3 bucket."""
    return url.startswith(("s3://", "s3a://"))


def normal_url(url: str | Path) -> str:
    """The one spelling for a location: an absolute path if it is local, without a slash at the end.

    Raises MissionControlError for a text that names no location, such as an empty one.
    """
    text = require_location(str(url))
    if is_remote(text):
        scheme = _SCHEME.match(text)
        if scheme and not text[scheme.end() :].strip("/"):
            raise MissionControlError(f"expected a place after {scheme[0]}; got {text!r}: is a variable empty?")
        return (scheme[0].lower() + text[scheme.end() :] if scheme else text).rstrip("/")
    if _ONE_SLASH.match(text):
        scheme_name = text.partition(":")[0]
        raise MissionControlError(f"expected two slashes after {scheme_name}:, as in {scheme_name}://...; got {text!r}")
    if text.lower().startswith("file://"):
        text = require_location(_path_of(text), "a path after file://")
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise MissionControlError(f"expected a name of UTF-8 text without NUL; got {text!r}: rename it")
    return os.path.abspath(os.path.expanduser(text))  # noqa: PTH100, PTH111 (Path would resolve no `..`)


def _path_of(url: str) -> str:
    """The path of a file:// URL."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or "?" in url or "#" in url:
        raise MissionControlError(
            f"expected a path, or a URL such as file:///srv/data in which ? is %3F and # is %23; got {url!r}"
        )
    return unquote(parts.path, errors="surrogateescape")


def dataset_url(dataset: str | Path) -> str:
    """The location of a dataset, as `normal_url` spells it.

    Raises MissionControlError for a URL of another scheme than s3://, s3a:// and file://, and for an s3:// URL that
    different S3 clients would read as different locations.
    """
    url = normal_url(dataset)
    if is_s3(url):
        _check_key(url)
    elif is_remote(url):
        raise MissionControlError(f"expected a folder or s3://BUCKET/KEY as dataset; got {url!r}")
    return url


def source_url(source: str | Path) -> str:
    """The location of files, as `normal_url` spells it; `*`, `?` and `[` make it a glob unless that exact name exists.

    Raises MissionControlError for an s3:// URL with options.
    """
    url = normal_url(source)
    if is_s3(url) and re.search(r"\?[\w.-]+=", url):
        raise MissionControlError(
            f"expected an s3:// URL of files, a folder or a glob; got {url!r}: what follows ? is not an object key "
            "here. Options go in the environment, such as AWS_REGION, or in a profile"
        )
    return url


def check_apart(source: str, checkpoint: Path) -> None:
    """Raises MissionControlError where a new checkpoint's files would be counted as pings, or it contains the source.

    source: as `source_url` returns it; a source that is not a local path is in no checkpoint.
    """
    if is_remote(source) or not os.path.isabs(source):  # noqa: PTH117
        return
    folder = os.path.realpath(checkpoint)
    is_counted = any(would_list(source, f"{folder}/{name}") for name in _CHECKPOINT_PINGS)
    if is_counted or contains(folder, os.path.realpath(glob_root(source)[0])):
        raise MissionControlError(
            f"expected a checkpoint outside of the source {source!r}, and the source outside of it; got "
            f"{str(checkpoint)!r}, whose own files would be counted as pings or removed: name another --checkpoint"
        )


def _check_key(url: str) -> None:
    """Raises MissionControlError where a client would read another key in a URL than the one written there."""
    bucket, _, key = url.split("://", 1)[1].partition("/")
    if "?" in url or "#" in url:
        raise MissionControlError(
            f"expected an s3:// URL that ends with the dataset's key; got {url!r}: what follows ? or # is not an "
            "object key here. Options go in the environment, such as AWS_REGION, or in a profile"
        )
    if not _BUCKET.fullmatch(bucket):
        raise MissionControlError(f"expected s3://BUCKET/KEY; got {url!r}: {bucket!r} is not the name of a bucket")
    if _NOT_IN_KEYS.search(key):
        raise MissionControlError(f"expected an s3:// key without % [ ] ^ | \\ and control characters; got {url!r}")
    if key and any(part in ("", ".", "..") for part in key.split("/")):
        raise MissionControlError(f"expected an s3:// URL without empty parts, . and ..; got {url!r}")


def table_url(dataset: str, table: contract.Table) -> str:
    """Where a table of a dataset is."""
    return f"{dataset_url(dataset)}/{table.name}"


# Names that are passed to Delta's library.


class _Aliases:
    """Folders with plain names, private to this process, that stand for folders whose names a library misreads.

    They are removed at the end of the process: only the links that were made here, and each folder if it is empty.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._folder: str | None = None
        self._owner = 0
        self._made: dict[tuple[str, str], str] = {}
        self._links: list[str] = []

    def table(self, path: str) -> str:
        """A folder for a table, with links to the table's log and to the folders of its days.

        The folder is not itself a link: Delta's library resolves links in the table's own name, and none below it.
        """
        with self._lock:
            alias, is_new = self._alias("table", path)
            if is_new:
                os.mkdir(alias)  # noqa: PTH102
                self._link(os.path.join(path, _LOG), os.path.join(alias, _LOG))  # noqa: PTH118
            return alias

    def link_days(self, path: str, alias: str, days: Iterable[str]) -> None:
        """Links the folders of a table's days into an alias: existing ones, and those in days, which are created."""
        with self._lock:
            for day in days:
                os.makedirs(os.path.join(path, day), exist_ok=True)  # noqa: PTH103, PTH118
            linked = set(os.listdir(alias))  # noqa: PTH208
            try:
                day_folders = [name for name in os.listdir(path) if _DAY_FOLDER.fullmatch(name)]  # noqa: PTH208
            except FileNotFoundError:
                return
            for name in day_folders:
                if name not in linked:
                    self._link(os.path.join(path, name), os.path.join(alias, name))  # noqa: PTH118

    def folder(self, path: str) -> str:
        """A link to a folder."""
        with self._lock:
            alias, is_new = self._alias("folder", path)
            if is_new:
                self._link(path, alias)
            return alias

    def with_real_paths(self, text: str) -> str:
        """A text, such as an error message, with aliases replaced by the real paths."""
        with self._lock:
            for (_, path), alias in self._made.items():
                text = re.sub(f"(?<![^ :'\"])/?{re.escape(alias[1:])}(?![0-9])", lambda _, path=path: path, text)  # type: ignore[misc]
        return text

    def _alias(self, kind: str, path: str) -> tuple[str, bool]:
        """The path of an alias, and whether it has yet to be created."""
        if self._folder is None or self._owner != os.getpid():
            self._folder, self._owner, self._made, self._links = _plain_folder(), os.getpid(), {}, []
            atexit.register(self._remove)
        key, is_new = (kind, path), (kind, path) not in self._made
        if is_new:
            self._made[key] = f"{self._folder}/{len(self._made)}"
        elif not os.path.lexists(self._made[key]):  # a cleanup of temporary files has removed it
            os.makedirs(self._folder, mode=0o700, exist_ok=True)  # noqa: PTH103
            is_new = True
        return self._made[key], is_new

    def _link(self, target: str, link: str) -> None:
        os.symlink(target, link)  # noqa: PTH211
        self._links.append(link)

    def _remove(self) -> None:
        if self._folder is None or self._owner != os.getpid():
            return
        for link in self._links:
            if os.path.islink(link):  # noqa: PTH114
                os.unlink(link)  # noqa: PTH108
        for folder in (*self._made.values(), self._folder):
            if os.path.isdir(folder):  # noqa: PTH112
                try:
                    os.rmdir(folder)  # noqa: PTH106
                except OSError:  # the folder holds something that was not made here
                    continue


_aliases = _Aliases()


def _plain_folder() -> str:
    """A new folder with a plain name, for temporary files."""
    candidates = [os.path.realpath(tempfile.gettempdir()), "/tmp", "/var/tmp"]
    for folder in candidates:
        if _FOR_JAVA.fullmatch(folder) and os.access(folder, os.W_OK):
            return tempfile.mkdtemp(prefix="missioncontrol-", dir=folder)
    raise MissionControlError(f"expected TMPDIR as a folder of a plain name that can be written; got {candidates[0]!r}")


def _needs_alias(url: str) -> bool:
    """Whether Delta's library needs an alias instead of a table's own name."""
    if is_remote(url):
        return False
    is_utf8 = sys.getfilesystemencoding().lower() == "utf-8"
    real = os.path.realpath(url)  # Delta's library resolves links too
    return bool(_NOT_FOR_DELTA.search(real)) or not (is_utf8 or real.isascii())


def delta_path(url: str) -> str:
    """The name that is passed to Delta's library for a table. url: as `table_url` returns it."""
    return _aliases.table(os.path.realpath(url)) if _needs_alias(url) else url


def link_day_folders(url: str, days: Iterable[date] = ()) -> None:
    """Makes all days of a table, and days that are about to be written, visible to Delta's library.

    Call it after a table is opened or updated to its newest commit, and before rows of days are written.
    """
    if _needs_alias(url):
        path = os.path.realpath(url)
        _aliases.link_days(path, _aliases.table(path), [f"submission_date={day}" for day in days])


def plain_folder(folder: Path) -> Path:
    """A name of a folder that Java, Spark and a shell read correctly: its own, or a link of this process to it."""
    if _FOR_JAVA.fullmatch(str(folder)):
        return folder
    return Path(_aliases.folder(os.path.realpath(folder)))


def with_real_paths(text: str) -> str:
    """A library's message with aliases replaced by the real paths."""
    return _aliases.with_real_paths(text)
