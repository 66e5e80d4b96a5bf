"""Where reports lie: a folder or a bucket, in which a report is there whole or not at all.

A report is a folder named for its moment, `2017-10-02T13-00Z`, and is never changed: another one of the same moment,
as after pings were counted anew, is `2017-10-02T13-00Z.2`. In a folder of this machine it appears by one rename. In a
bucket it is there once it has its alarms.json, which is written last, and for as long as it has its page.
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
MOST_FAILED = 20  # of these, the newest
IsSame = Callable[[bytes], bool]
_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d-\d\dZ)(?:\.([1-9]\d*))?")
_FAILED = re.compile(rf"{FAILED}/{_NAME.pattern}-[0-9a-f]{{8}}(/.*)?")
_UNFINISHED = ".unfinished-"
ABANDONED_AFTER = timedelta(hours=1)  # what a run has not finished by then, it never will


def stem_of(moment: datetime) -> str:
    """The name of the report of a moment (UTC): "2017-10-02T13-00Z"."""
    return moment.strftime("%Y-%m-%dT%H-%MZ")


def moment_of(name: str) -> datetime:
    """The moment of a report, by its name."""
    return datetime.strptime(name[:17], "%Y-%m-%dT%H-%MZ").replace(tzinfo=UTC)


def failed_name(moment: datetime) -> str:
    """A name for the notebook of a run that failed, of the report of a moment."""
    return f"{FAILED}/{stem_of(moment)}-{uuid.uuid4().hex[:8]}/{NOTEBOOK}"


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
            return sorted(filter(self._is_whole, found), key=_sort_key)

    def _is_whole(self, name: str) -> bool:
        return all((self._folder / name / each).is_file() for each in (PAGE, ALARMS))

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
            if there is not None and is_same(there) and self._is_whole(name):
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
                make_folder(self._folder)
                for name, content in files.items():
                    _write(unfinished[name], content)
                for name, path in unfinished.items():
                    make_folder((self._folder / name).parent)
                    path.replace(self._folder / name)
                for folder in {(self._folder / name).parent for name in files}:
                    sync_folder(folder)
            finally:
                for path in unfinished.values():
                    path.unlink(missing_ok=True)

    def require_writable(self) -> None:
        """Raises MissionControlError where no report can be added."""
        there = next(each for each in (self._folder, *self._folder.absolute().parents) if each.exists())
        probe = there / f"{_UNFINISHED}{uuid.uuid4().hex}"
        with _explained(self._folder, "written"):
            probe.mkdir()
            probe.rmdir()

    def sweep(self) -> None:
        """Removes what runs that were killed have left, and all but the newest notebooks that failed."""
        with _explained(self._folder, "read"):
            abandoned = [*self._folder.glob(f"{_UNFINISHED}*"), *self._folder.glob(".*.tmp")]
            long_ago = time.time() - ABANDONED_AFTER.total_seconds()
            old = [path for path in abandoned if _modified(path) < long_ago]
            failed = [each for each in self._folder.glob(f"{FAILED}/*") if _FAILED.fullmatch(f"{FAILED}/{each.name}")]
            old += sorted(failed, key=_modified)[:-MOST_FAILED]
        for path in old:
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
        there = self._find()
        reports = {path.split("/")[0] for path in there}
        whole = [each for each in reports if {f"{each}/{PAGE}", f"{each}/{ALARMS}"} <= there.keys()]
        return sorted(filter(_NAME.fullmatch, whole), key=_sort_key)

    def _find(self) -> Mapping[str, dict[str, Any]]:
        return object_store.find(self.place, self._retries, is_literal=True)

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is none."""
        return object_store.read_file(self.where(name), self._retries)

    def add(self, stem: str, files: Mapping[str, bytes], is_same: IsSame) -> str:
        """Adds a report, which is there once it has its alarms.json; returns its name. Arguments as for a folder.

        Whoever creates a report's page has its name: two runs at once never write into one report, unless their pages
        are the same. Then it is written again, so that no sweep takes it for one of a run that was killed.
        """
        for name in _names(stem):
            page, alarms = f"{name}/{PAGE}", f"{name}/{ALARMS}"
            there = self.read(alarms)
            if there is not None and not is_same(there):
                continue
            is_new = self._create(page, files[PAGE])
            if not is_new and self.read(page) != files[PAGE]:
                continue
            if not is_new and there is not None:
                return name
            self.put(
                {f"{name}/{file}": files[file] for file in files if file != ALARMS and not (is_new and file == PAGE)}
            )
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

    def require_writable(self) -> None:
        """Raises MissionControlError where no report can be added."""
        probe = f"{_UNFINISHED}{uuid.uuid4().hex}"
        self._create(probe, b"")
        object_store.delete_file(self.where(probe), self._retries)

    def sweep(self) -> None:
        """Removes what runs that were killed have left, and all but the newest notebooks that failed."""
        written = {path: object_store.modified(details) for path, details in self._find().items()}
        by_time = sorted(written, key=written.__getitem__)
        newest = {path.partition("/")[0]: written[path] for path in by_time}
        long_ago = datetime.now(UTC) - ABANDONED_AFTER
        abandoned = {
            report
            for report, when in newest.items()
            if _NAME.fullmatch(report) and f"{report}/{ALARMS}" not in written and when < long_ago
        }
        old = [path for path in by_time if path.partition("/")[0] in abandoned]
        old += [path for path in by_time if _FAILED.fullmatch(path)][:-MOST_FAILED]
        for path in old:
            object_store.delete_file(self.where(path), self._retries)


Shelf = LocalShelf | Bucket


def shelf_of(place: str) -> Shelf:
    """The reports at a folder or URL."""
    url = normal_url(place)
    return Bucket(url) if is_remote(url) else LocalShelf(url)


def _modified(path: Path) -> float:
    """When a file was written, in seconds since 1970; now for one that is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


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
