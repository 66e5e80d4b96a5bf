"""Lists the files of a source: local folders, globs and object stores."""

import glob
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from streaming.errors import MissionControlError
from streaming.sources.base import write_json
from streaming.sources.files.batch_log import LISTED
from streaming.storage import object_store
from streaming.storage.listing import NO_FILE, SUFFIXES, Listed, PassedOver, is_passed_over, is_ping_file, list_local
from streaming.storage.locations import is_remote
from streaming.storage.retry import NO_PATIENCE, Patience
from streaming.storage.s3 import check_credentials


def check_source(source: str, patience: Patience) -> None:
    """Raises MissionControlError where there is no such source, or its name is not that of a ping file."""
    check_credentials(source)
    if is_remote(source):
        object_store.require(source, patience)
    elif glob.has_magic(source) and not os.path.exists(source):  # noqa: PTH110 (a Path knows no globs)
        return
    elif not Path(source).exists():
        raise MissionControlError(f"no such file or folder: {source!r}")
    elif Path(source).is_file() and not source.lower().endswith(SUFFIXES):
        raise MissionControlError(f"expected a file that ends in one of {', '.join(SUFFIXES)}; got {source!r}")


def list_files(source: str, patience: Patience = NO_PATIENCE, passed: PassedOver | None = None) -> list[Listed]:
    """The ping files of a file, folder (with subfolders), glob or URL, oldest first; source: as from normal_url.

    For LISTED and the path of a list that write_list wrote, the files on the list. passed: collects ignored files.
    Raises MissionControlError where an object store does not answer until the timeout.
    """
    if source.startswith(LISTED):
        return [Listed(*file) for file in json.loads(Path(source.removeprefix(LISTED)).read_text())]
    passed = PassedOver() if passed is None else passed
    listed = _list_remote(source, patience, passed) if is_remote(source) else list_local(source, passed)
    return sorted(listed, key=lambda file: (file.modified_us, file.path))


def why_nothing(source: str, patience: Patience = NO_PATIENCE) -> str | None:
    """Why there is no file to read, as a sentence; None when there is one."""
    passed = PassedOver()
    if source.startswith(LISTED) or list_files(source, patience, passed):
        return None
    has = f"passed over: {passed}" if passed else "nothing is there"
    return f"{source!r} holds no file of pings, whose name ends in {', '.join(SUFFIXES)}; {has}"


def write_list(files: Sequence[Listed], path: Path) -> str:
    """Writes a list of files, and returns it as a source: files that are added later are not in it."""
    write_json(path, files)
    return f"{LISTED}{path}"


def _list_remote(source: str, patience: Patience, passed: PassedOver) -> Iterator[Listed]:
    by_name = set(source.split("/")) if glob.has_magic(source) else set()
    for below, details in object_store.find(source, patience).items():
        folders = [folder for folder in below.split("/")[:-1] if folder not in by_name]
        name = details["url"].rsplit("/", 1)[-1]
        if details["type"] == "file" and not is_ping_file(name) and not any(map(is_passed_over, folders)):
            passed.add_name(name, details["url"])
        elif details["type"] == "other":  # pipes and devices, in a file system that has them
            passed.add(NO_FILE, details["url"])
            continue
        if details["type"] != "directory" and is_ping_file(name) and not any(map(is_passed_over, folders)):
            yield Listed(
                details["url"], int(details["size"] or 0), round(object_store.modified(details).timestamp() * 1e6)
            )
