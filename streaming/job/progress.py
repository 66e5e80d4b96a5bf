"""The progress of a job as its checkpoint records it, for other processes, which may read it while the job runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streaming.sources.base import damaged, read_json
from streaming.sources.files.batch_log import files_of
from streaming.sources.kafka.offsets import BROKERS, offsets_before
from streaming.sources.kafka.topic import is_topic
from streaming.storage.locks import is_locked


@dataclass(frozen=True)
class CheckpointProgress:
    """The progress of a checkpoint's job.

    source, dataset: as the checkpoint names them; app: the name in the job's transactions; finished: the number of
    finished micro-batches.
    """

    folder: Path
    source: str
    dataset: str
    app: str
    finished: int

    @property
    def is_topic(self) -> bool:
        """Whether the job reads a topic; otherwise it reads files."""
        return is_topic(self.source)

    @property
    def topic_url(self) -> str | None:
        """The URL at which the topic was last reached; None where no run of the job has recorded it."""
        path = self.folder / BROKERS
        return str(read_json(path)) if path.is_file() else None

    def offsets(self) -> dict[str, Any]:
        """The topic's id as `topic` and, by partition, the offset after the messages of the finished micro-batches.

        Where duplicates are dropped, also the time up to which those messages were received, see
        `aggregation.receipt.RECEIVED`.
        """
        return offsets_before(self.folder, self.finished)

    def counted_files(self) -> set[str]:
        """The names of the files in the finished micro-batches."""
        path = self.folder / "files.log"
        if not path.is_file():
            return set()
        with path.open("rb") as log:
            lines = [line for _, line in zip(range(self.finished), log, strict=False)]
        return {name for line in lines for file in files_of(line, path) for name in file.names}

    def is_running(self) -> bool:
        """Whether a job holds the checkpoint now."""
        return is_locked(self.folder / "lock")


def progress_of(folder: Path) -> CheckpointProgress | None:
    """The progress of the job whose checkpoint is in a folder; None where there is no checkpoint."""
    path = folder / "checkpoint.json"
    if not path.is_file():
        return None
    identity = read_identity(path)
    done = [each.name for each in (folder / "spark" / "commits").glob("[0-9]*")]
    finished = max((int(name) for name in done if name.isdigit()), default=-1) + 1
    return CheckpointProgress(folder, identity["source"], identity["dataset"], app_of(identity["id"]), finished)


def read_identity(path: Path) -> Mapping[str, str]:
    """The identity that a checkpoint records. Raises MissionControlError where it is damaged."""
    identity = read_json(path)
    if not isinstance(identity, dict) or not all(
        isinstance(identity.get(name), str) for name in ("id", "source", "dataset")
    ):
        raise damaged(path)
    return identity


def app_of(checkpoint_id: str) -> str:
    """The app name in the transactions of a checkpoint's job."""
    return f"missioncontrol {checkpoint_id}"
