"""The files that hold a dataset's annotations: one each, in a folder beside the tables, so that writers never collide.

A file is created whole or not at all, and never replaced: two people who write at once write two files.
"""

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from streaming.errors import MissionControlError, shortened
from streaming.storage.durability import make_folder, sync_folder
from streaming.storage.locations import is_remote
from streaming.storage.retry import START_TIMEOUT_SECONDS, RetryPolicy
from streaming.storage.store_errors import call_with_retry

FOLDER = "annotations"  # in a dataset
_ENDING = ".json"
_Result = TypeVar("_Result")


class LocalFiles:
    """The annotations in a folder of this machine."""

    def __init__(self, dataset: str) -> None:
        self._folder = Path(dataset, FOLDER)

    def where(self, annotation_id: str) -> str:
        """The path of an annotation's file."""
        return str(self._path(annotation_id))

    def ids(self) -> list[str]:
        """The ids of all annotations, sorted."""
        with _explained(self._folder, "read"):
            try:
                names = [path.name for path in self._folder.iterdir()]
            except FileNotFoundError:
                return []
            return _ids(names)

    def read(self, annotation_id: str) -> bytes | None:
        """The content of an annotation's file; None where there is none."""
        path = self._path(annotation_id)
        with _explained(path, "read"):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def create(self, annotation_id: str, content: bytes) -> bool:
        """Creates a file durably, whole or not at all; False where there is one of this id, which stays as it is."""
        path = self._path(annotation_id)
        unfinished = path.with_name(f".{annotation_id}-{uuid.uuid4().hex[:8]}.tmp")
        with _explained(path, "written"):
            make_folder(self._folder)
            try:
                with unfinished.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                return self._name(unfinished, path)
            finally:
                unfinished.unlink(missing_ok=True)
                sync_folder(self._folder)

    def delete(self, annotation_id: str) -> None:
        """Deletes a file durably, if it is there."""
        path = self._path(annotation_id)
        with _explained(path, "deleted"):
            path.unlink(missing_ok=True)
            sync_folder(self._folder)

    def _path(self, annotation_id: str) -> Path:
        return self._folder / f"{annotation_id}{_ENDING}"

    def _name(self, unfinished: Path, path: Path) -> bool:
        """Gives a finished file its name; False where the name is taken."""
        try:
            os.link(unfinished, path)  # refuses a name that is taken, unlike a rename
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            if path.exists():
                return False
            unfinished.replace(path)
        return True


class BucketFiles:
    """The annotations in a bucket. Reads take the dataset's storage options; writes take the AWS_* variables alone."""

    def __init__(self, dataset: str, storage_options: Mapping[str, str] | None) -> None:
        self._dataset, self._options = dataset, dict(storage_options or {})
        self._retry_policy = RetryPolicy(timeout_seconds=START_TIMEOUT_SECONDS)

    def where(self, annotation_id: str) -> str:
        """The URL of an annotation's file."""
        return f"{self._dataset}/{self._key(annotation_id)}"

    def ids(self) -> list[str]:
        """The ids of all annotations, sorted."""
        from pyarrow.fs import FileSelector

        def list_files(_: bool) -> list[str]:
            found = self._reader.get_file_info(FileSelector(FOLDER, allow_not_found=True))
            return _ids([each.base_name for each in found if each.is_file])

        return self._retried(list_files, f"{self._dataset}/{FOLDER}")

    def read(self, annotation_id: str) -> bytes | None:
        """The content of an annotation's file; None where there is none."""

        def read_file(_: bool) -> bytes | None:
            try:
                with self._reader.open_input_file(self._key(annotation_id)) as file:
                    return bytes(file.read())
            except FileNotFoundError:
                return None

        return self._retried(read_file, self.where(annotation_id))

    def create(self, annotation_id: str, content: bytes) -> bool:
        """Creates a file by a conditional put; False where there is one of this id, which stays as it is."""
        from streaming.storage.object_store import create_file

        return create_file(self.where(annotation_id), content, self._retry_policy)

    def delete(self, annotation_id: str) -> None:
        """Deletes a file, if it is there."""
        from streaming.storage.object_store import delete_file

        delete_file(self.where(annotation_id), self._retry_policy)

    def _key(self, annotation_id: str) -> str:
        return f"{FOLDER}/{annotation_id}{_ENDING}"

    def _retried(self, attempt: Callable[[bool], _Result], where: str) -> _Result:
        return call_with_retry(attempt, where, self._retry_policy, at_start=True, to="read")

    @cached_property
    def _reader(self) -> Any:
        from deltalake.fs import DeltaStorageHandler
        from pyarrow.fs import PyFileSystem

        return PyFileSystem(DeltaStorageHandler(self._dataset, self._options))


Files = LocalFiles | BucketFiles


def annotation_files(dataset: str, storage_options: Mapping[str, str] | None) -> Files:
    """The annotations' files of a dataset. dataset: its location, as `dataset_url` spells it."""
    return BucketFiles(dataset, storage_options) if is_remote(dataset) else LocalFiles(dataset)


def _ids(names: list[str]) -> list[str]:
    """The ids of the files that are annotations; unfinished files and an editor's copies are not."""
    return sorted(name.removesuffix(_ENDING) for name in names if name.endswith(_ENDING) and not name.startswith("."))


@contextmanager
def _explained(where: str | Path, done: str) -> Iterator[None]:
    """Reports in one line why a file cannot be read, written or deleted."""
    try:
        yield
    except OSError as error:
        raise MissionControlError(f"{shortened(str(where))} cannot be {done}: {error.strerror or error}") from error
