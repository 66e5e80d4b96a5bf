"""Where reports lie: a folder or a bucket, in which a report is there whole or not at all.

A report is a folder named for its moment, `2017-10-02T13-00Z`, and is never changed: another one of the same moment,
as after pings were counted anew, is `2017-10-02T13-00Z.2`. In a folder of this machine it appears by one rename. In a
bucket it is there once it has its alarms.json, which is written last.
"""

import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from streaming.errors import MissionControlError, shortened
from streaming.storage import object_store
from streaming.storage.durability import make_folder, sync_folder
from streaming.storage.locations import is_remote, normal_url
from streaming.storage.retry import START_TIMEOUT_SECONDS, RetryPolicy

ALARMS, PAGE, NOTEBOOK, PICTURE = "alarms.json", "report.html", "report.ipynb", "headline.png"
FAILED = "failed"  # the folder of notebooks that failed
IsSame = Callable[[bytes], bool]
_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d-\d\dZ)(?:\.([1-9]\d*))?")
_UNFINISHED = ".unfinished-"
ABANDONED_AFTER = timedelta(hours=1)  # what a run has not finished by then, it never will


def stem_of(moment: datetime) -> str:
    """The name of the report of a moment (UTC): "2017-10-02T13-00Z"."""
    return moment.strftime("%Y-%m-%dT%H-%MZ")


def moment_of(name: str) -> datetime:
    """The moment of a report, by its name."""
    return datetime.strptime(name[:17], "%Y-%m-%dT%H-%MZ").replace(tzinfo=UTC)


def _sort_key(name: str) -> tuple[str, int]:
    found = _NAME.fullmatch(name)
    assert found
    return found[1], int(found[2] or 1)


def _names(stem: str) -> Iterator[str]:
    yield stem
    yield from (f"{stem}.{number}" for number in count(2))


class LocalShelf:
    """Reports in a folder of this machine."""

    def __init__(self, place: str) -> None:
        self._folder = Path(place)
        self.place = place

    def where(self, name: str) -> str:
        """The path of a file."""
        return str(self._folder / name)

    def names(self) -> list[str]:
        """The whole reports, oldest first."""
        with _explained(self._folder, "read"):
            try:
                found = [each.name for each in self._folder.iterdir() if _NAME.fullmatch(each.name)]
            except FileNotFoundError:
                return []
            return sorted((name for name in found if (self._folder / name / ALARMS).is_file()), key=_sort_key)

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is none."""
        path = self._folder / name
        with _explained(path, "read"):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def add(self, stem: str, files: Mapping[str, bytes], is_same: IsSame) -> str:
        """Adds a report durably, whole or not at all, unless the same one is there; returns its name.

        files: by their names in it. is_same: whether a report of that moment with this alarms.json is the same.
        """
        unfinished = self._folder / f"{_UNFINISHED}{stem}-{uuid.uuid4().hex[:8]}"
        with _explained(unfinished, "written"):
            make_folder(self._folder)
            try:
                unfinished.mkdir()
                for name, content in files.items():
                    _write(unfinished / name, content)
                sync_folder(unfinished)
                return self._name(unfinished, stem, is_same)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)

    def _name(self, unfinished: Path, stem: str, is_same: IsSame) -> str:
        for name in _names(stem):
            there = self.read(f"{name}/{ALARMS}")
            if there is not None and is_same(there):
                return name
            try:
                unfinished.rename(self._folder / name)
            except OSError:
                if not (self._folder / name).exists():
                    raise
                continue
            sync_folder(self._folder)
            return name
        raise AssertionError("names never end")

    def put(self, files: Mapping[str, bytes]) -> None:
        """Writes files durably, each whole or not at all, in place of those that are there."""
        ending = f"-{uuid.uuid4().hex[:8]}.tmp"
        unfinished = {name: self._folder / f".{name.replace('/', '-')}{ending}" for name in files}
        with _explained(self._folder, "written"):
            try:
                for name, content in files.items():
                    make_folder((self._folder / name).parent)
                    _write(unfinished[name], content)
                for name, path in unfinished.items():
                    path.replace(self._folder / name)
                for folder in {(self._folder / name).parent for name in files}:
                    sync_folder(folder)
            finally:
                for path in unfinished.values():
                    path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Removes what runs that were killed have left."""
        with _explained(self._folder, "read"):
            try:
                found = list(self._folder.iterdir())
            except FileNotFoundError:
                return
        for path in found:
            if not path.name.startswith(_UNFINISHED) and not (path.name[0] == "." and path.name.endswith(".tmp")):
                continue
            try:
                age = time.time() - path.stat().st_mtime
            except FileNotFoundError:
                continue
            if age > ABANDONED_AFTER.total_seconds():
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


class Bucket:
    """Reports in a bucket, such as `s3://bucket/reports`."""

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/")
        self._retries = RetryPolicy(timeout_seconds=START_TIMEOUT_SECONDS)

    def where(self, name: str) -> str:
        """The URL of a file."""
        return f"{self.place}/{name}"

    def names(self) -> list[str]:
        """The whole reports, oldest first."""
        parts = [path.split("/") for path in self._find()]
        whole = {each[0] for each in parts if len(each) == 2 and each[1] == ALARMS and _NAME.fullmatch(each[0])}
        return sorted(whole, key=_sort_key)

    def _find(self) -> Mapping[str, dict[str, Any]]:
        return object_store.find(self.place, self._retries, is_literal=True)

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is none."""
        return object_store.read_file(self.where(name), self._retries)

    def add(self, stem: str, files: Mapping[str, bytes], is_same: IsSame) -> str:
        """Adds a report, which is there once it has its alarms.json; returns its name. Arguments as for a folder.

        Whoever creates a report's page has its name: two runs at once never write into one report, unless their pages
        are the same.
        """
        for name in _names(stem):
            page, there = f"{name}/{PAGE}", self.read(f"{name}/{ALARMS}")
            if there is not None and is_same(there):
                return name
            if not self._create(page, files[PAGE]) and self.read(page) != files[PAGE]:
                continue
            self.put({f"{name}/{file}": files[file] for file in files if file not in (PAGE, ALARMS)})
            alarms = f"{name}/{ALARMS}"
            if not self._create(alarms, files[ALARMS]) and self.read(alarms) is None:
                # Some servers that were killed in the middle of an upload say that what they have lost is there.
                self.put({alarms: files[ALARMS]})
            return name
        raise AssertionError("names never end")

    def _create(self, name: str, content: bytes) -> bool:
        return object_store.create_file(self.where(name), content, self._retries)

    def put(self, files: Mapping[str, bytes]) -> None:
        """Writes files, each whole or not at all, in place of those that are there."""
        for name, content in files.items():
            object_store.replace_file(self.where(name), content, self._retries)

    def sweep(self) -> None:
        """Removes what runs that were killed have left."""
        whole, now = set(self.names()), datetime.now(UTC)
        for path, details in self._find().items():
            report = path.split("/")[0]
            is_part = "/" in path and _NAME.fullmatch(report) and report not in whole
            if is_part and now - object_store.modified(details) > ABANDONED_AFTER:
                object_store.delete_file(self.where(path), self._retries)


Shelf = LocalShelf | Bucket


def shelf_of(place: str) -> Shelf:
    """The reports at a folder or URL."""
    url = normal_url(place)
    return Bucket(url) if is_remote(url) else LocalShelf(url)


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _explained(where: Path, done: str) -> Iterator[None]:
    """Says in one sentence why a folder cannot be read or written."""
    try:
        yield
    except OSError as error:
        raise MissionControlError(f"{shortened(str(where))} cannot be {done}: {error.strerror or error}") from error
