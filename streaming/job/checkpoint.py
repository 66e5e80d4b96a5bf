"""The checkpoint of a job: a local folder that keeps its identity, what it has read, and the records of its stream.

One job at a time holds a checkpoint. The job and the processes that count for it keep the lock, so the next job waits
for such a process that outlives a killed job by a moment. The records of the stream are Spark's, or in Spark's form. A
checkpoint belongs to one source and one dataset, and must agree with the dataset on what was committed; where they
disagree, counting on would lose pings or count them twice.
"""

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from streaming.dataset.writer import TableWriter
from streaming.errors import MissionControlError
from streaming.job.progress import app_of, read_identity
from streaming.sources.base import Plan, write_json
from streaming.storage.durability import Unsynced, make_folder
from streaming.storage.locks import take_lock

LOCK_SECONDS = 15.0
_IDENTITY = "checkpoint.json"
_CHECKPOINT_ENTRIES = ("files.log", "topic.json", "brokers.json", "spark", "scratch", "documents")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's folder, the app name of its job's transactions, and the open lock."""

    folder: Path
    app: str
    lock: BinaryIO

    @property
    def spark(self) -> Path:
        """The folder with the records of the stream."""
        return self.folder / "spark"

    @property
    def finished(self) -> int:
        """How many micro-batches are recorded as done."""
        return (
            max((int(path.name) for path in self.spark.glob("commits/[0-9]*") if path.name.isdigit()), default=-1) + 1
        )

    def drop_unfinished_start(self) -> None:
        """Removes what a job left that was killed while Spark recorded its first micro-batch: Spark would not start."""
        if self.spark.is_dir() and not any(self.spark.glob("offsets/[0-9]*")):
            shutil.rmtree(self.spark)

    def sync(self, number: int) -> None:
        """Makes the records of a micro-batch that is about to be counted survive a power cut."""
        if not (self.spark / "offsets" / str(number)).is_file():
            raise MissionControlError(
                f"the record of the micro-batch {number} is not in {str(self.spark)!r}: was a folder for temporary "
                "files tidied up? Start the job again"
            )
        unsynced = Unsynced()
        names = ["metadata", f"offsets/{number}", f"commits/{number - 1}"]
        for path in (self.spark / name for name in names):
            unsynced.add(path)
            unsynced.add(path.with_name(f".{path.name}.crc"))
        unsynced.folders |= {self.spark, self.folder}
        unsynced.sync()

    def set_aside_damage(self) -> None:
        """Removes records that a power cut has damaged: the newest ones, which no table relies on."""
        for folder in ("offsets", "commits"):
            records = {int(path.name): path for path in (self.spark / folder).glob("[0-9]*") if path.name.isdigit()}
            for number in sorted(records, reverse=True)[:2]:  # a checksum may be cut short, and is optional
                records[number].with_name(f".{number}.crc").unlink(missing_ok=True)
            for number in sorted(records, reverse=True):
                if _is_complete_record(records[number]):
                    break
                records[number].unlink()
        (self.spark / ".metadata.crc").unlink(missing_ok=True)
        metadata = self.spark / "metadata"
        is_complete = metadata.is_file() and _is_json(metadata.read_bytes())
        # Spark's metadata is synchronised before the first commit of a table; Spark refuses offsets without metadata.
        if not is_complete and self.spark.is_dir() and not any(self.spark.glob("commits/[0-9]*")):
            shutil.rmtree(self.spark)

    def remove_records(self) -> None:
        """Removes the records of a checkpoint without micro-batches.

        A job that was refused must not determine where a later job begins.
        """
        for name in (_IDENTITY, "files.log", "topic.json", "brokers.json"):  # only the checkpoint's own files
            (self.folder / name).unlink(missing_ok=True)
        self.drop_unfinished_start()

    @property
    def scratch(self) -> Path:
        """The folder for files of this run only; empty at its start."""
        return self.folder / "scratch"

    @property
    def spark_log(self) -> Path:
        """The file with Spark's log."""
        return self.scratch / "spark.log"


@contextmanager
def open_checkpoint(folder: Path, source: str, dataset: str) -> Iterator[Checkpoint]:
    """The checkpoint in a folder, made if it does not exist, and held by this job until the context ends.

    Raises MissionControlError when it belongs to another source or dataset, or when another job holds it.
    """
    try:
        make_folder(folder)
        lock = (folder / "lock").open("ab")
    except OSError as error:
        raise MissionControlError(f"cannot write the checkpoint {str(folder)!r}: {error.strerror}") from error
    with lock:
        if not take_lock(lock, LOCK_SECONDS):
            raise MissionControlError(
                f"another job is running with the checkpoint {str(folder)!r}: stop it, or name another --checkpoint"
            )
        identity = _identity(folder, source, dataset)
        checkpoint = Checkpoint(folder, app_of(identity["id"]), lock)
        shutil.rmtree(checkpoint.scratch, ignore_errors=True)
        checkpoint.scratch.mkdir()
        checkpoint.set_aside_damage()
        try:
            yield checkpoint
        finally:
            shutil.rmtree(checkpoint.scratch, ignore_errors=True)


def _identity(folder: Path, source: str, dataset: str) -> Mapping[str, str]:
    """The identity of the checkpoint; a new checkpoint gets one, which is written to it."""
    path = folder / _IDENTITY
    wanted = {"source": source, "dataset": dataset}
    if path.is_file():
        identity = read_identity(path)
        for what, value in wanted.items():
            if identity[what] != value:
                raise MissionControlError(
                    f"the checkpoint {str(folder)!r} belongs to the {what} {identity[what]!r}, not to {value!r}: "
                    "name another one with --checkpoint"
                )
        return identity
    if any(
        (folder / name).exists() for name in _CHECKPOINT_ENTRIES
    ):  # removed or replaced only in a checkpoint of ours
        raise MissionControlError(
            f"the folder {str(folder)!r} is no checkpoint, or one that has lost its checkpoint.json: restore that, or "
            "name another --checkpoint"
        )
    identity = {"id": str(uuid.uuid4()), **wanted}
    write_json(path, identity)
    return identity


def source_app(source: str) -> str:
    """The app name under which a dataset records that it holds pings of a source."""
    return f"missioncontrol source {source}"


def check_consistent(
    checkpoint: Checkpoint, plan: Plan, writers: list[TableWriter], source: str, recount: bool
) -> None:
    """Raises MissionControlError when checkpoint and dataset do not record the same micro-batches.

    recount: a new checkpoint may count a source that the dataset already holds.
    """
    committed = max((writer.transaction(checkpoint.app) for writer in writers), key=_or_minus_one, default=None)
    last = -1 if committed is None else committed
    if len(plan) - 2 <= last <= len(plan) - 1:
        if last >= 0 or len(plan) or recount:
            return
        if any(writer.transaction(source_app(source)) is not None for writer in writers):
            checkpoint.remove_records()
            raise MissionControlError(
                f"the dataset holds pings from {source!r} already, and the checkpoint {str(checkpoint.folder)!r} does "
                "not know which: name the one that does with --checkpoint. If it is lost, the guide says how to count "
                "on with --recount ('When the checkpoint is lost')"
            )
        return
    raise MissionControlError(
        f"the checkpoint {str(checkpoint.folder)!r} knows {len(plan)} micro-batches and the dataset {last + 1}: one of "
        "them was lost or restored from an older copy. Restore the other, or name an empty folder as --checkpoint and "
        "do as the guide says ('When the checkpoint is lost')"
    )


def _is_complete_record(path: Path) -> bool:
    """Whether a file of Spark's offsets or commits is complete: a line with its version, then lines of JSON."""
    version, *lines = path.read_bytes().splitlines() or [b""]
    enough = 2 if path.parent.name == "offsets" else 1
    return version == b"v1" and len(lines) >= enough and all(map(_is_json, lines))


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _or_minus_one(number: int | None) -> int:
    return -1 if number is None else number
