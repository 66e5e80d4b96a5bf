"""Lists the files of a source: local folders, globs and object stores."""

import glob
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from streaming.errors import MissionControlError
from streaming.sources.base import write_json
from streaming.sources.files.batch_log import LIST_SCHEME
from streaming.storage import object_store
from streaming.storage.local_files import (
    NO_FILE,
    SUFFIXES,
    FileInfo,
    IgnoredFiles,
    is_ping_file,
    is_unfinished,
    list_local,
)
from streaming.storage.locations import is_remote
from streaming.storage.retry import NO_RETRIES, RetryPolicy
from streaming.storage.s3 import check_credentials


def check_source(source: str, retry_policy: RetryPolicy) -> None:
    """Raises MissionControlError where there is no such source, or its name is not that of a ping file."""
    check_credentials(source)
    if is_remote(source):
        object_store.require(source, retry_policy)
    elif glob.has_magic(source) and not os.path.exists(source):  # noqa: PTH110 (a Path knows no globs)
        return
    elif not Path(source).exists():
        raise MissionControlError(f"no such file or folder: {source!r}")
    elif Path(source).is_file() and not source.lower().endswith(SUFFIXES):
        raise MissionControlError(f"expected a file that ends in one of {', '.join(SUFFIXES)}; got {source!r}")


def list_files(
    source: str, retry_policy: RetryPolicy = NO_RETRIES, ignored: IgnoredFiles | None = None
) -> list[FileInfo]:
    """The ping files of a file, folder (with subfolders), glob or URL, oldest first; source: as from normal_url.

    For LIST_SCHEME and the path of a list that write_list wrote, the files on the list. ignored: collects the ignored
    files. Raises MissionControlError where an object store does not answer until the timeout.
    """
    if source.startswith(LIST_SCHEME):
        return [FileInfo(*file) for file in json.loads(Path(source.removeprefix(LIST_SCHEME)).read_text())]
    ignored = IgnoredFiles() if ignored is None else ignored
    listed = _list_remote(source, retry_policy, ignored) if is_remote(source) else list_local(source, ignored)
    return sorted(listed, key=lambda file: (file.modified_us, file.path))


def why_nothing(source: str, retry_policy: RetryPolicy = NO_RETRIES) -> str | None:
    """Why there is no file to read, as a sentence; None when there is one."""
    ignored = IgnoredFiles()
    if source.startswith(LIST_SCHEME) or list_files(source, retry_policy, ignored):
        return None
    has = f"passed over: {ignored}" if ignored else "nothing is there"
    return f"{source!r} holds no file of pings, whose name ends in {', '.join(SUFFIXES)}; {has}"


def write_list(files: Sequence[FileInfo], path: Path) -> str:
    """Writes a list of files, and returns it as a source: files that are added later are not in it."""
    write_json(path, files)
    return f"{LIST_SCHEME}{path}"


def _list_remote(source: str, retry_policy: RetryPolicy, ignored: IgnoredFiles) -> Iterator[FileInfo]:
    by_name = set(source.split("/")) if glob.has_magic(source) else set()
    for below, details in object_store.find(source, retry_policy).items():
        folders = [folder for folder in below.split("/")[:-1] if folder not in by_name]
        name = details["url"].rsplit("/", 1)[-1]
        if details["type"] == "file" and not is_ping_file(name) and not any(map(is_unfinished, folders)):
            ignored.add_name(name, details["url"])
        elif details["type"] == "other":  # pipes and devices, in a file system that has them
            ignored.add(NO_FILE, details["url"])
            continue
        if details["type"] != "directory" and is_ping_file(name) and not any(map(is_unfinished, folders)):
            yield FileInfo(
                details["url"], int(details["size"] or 0), round(object_store.modified(details).timestamp() * 1e6)
            )
