"""How far a job has come, as its checkpoint says: read from beside, while the job may run."""

import fcntl
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streaming.errors import MissionControlError
from streaming.listing import Listed
from streaming.receipt import RECEIVED
from streaming.topic import is_topic

_BROKERS = "brokers.json"  # where the topic was last reached, for who asks beside the job


@dataclass(frozen=True)
class Position:
    """A checkpoint's job. source, dataset, app: as it and its transactions call them; finished: micro-batches."""

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
        """Where the topic was last reached; None where the job has not run since that is noted."""
        path = self.folder / _BROKERS
        return str(_read_json(path)) if path.is_file() else None

    def offsets(self) -> dict[str, Any]:
        """The topic's id as `topic` and, by partition, the message after those of the finished micro-batches.

        Where duplicates are dropped, also when those messages were received, see `receipt.RECEIVED`.
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
        path = self.folder / "lock"
        if not path.is_file():
            return False
        with path.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def files_of(line: bytes, path: Path) -> list[Listed]:
    """The files of a micro-batch, of a line of `files.log`. Raises MissionControlError for a line that is damaged."""
    try:
        found = json.loads(line)
        files = [Listed(*file) for file in found]
    except (ValueError, TypeError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(found, list) or not files or not all(map(_is_sound, files)):
        raise _damaged(path)
    return files


def _is_sound(file: Listed) -> bool:
    """Whether all that is said of a file has its type."""
    return [type(value) for value in file] == [str, int, int, str] and bool(file.path)


def position_of(folder: Path) -> Position | None:
    """The position of the job of a checkpoint's folder; None where there is no checkpoint."""
    path = folder / "checkpoint.json"
    if not path.is_file():
        return None
    identity = read_identity(path)
    done = [each.name for each in (folder / "spark" / "commits").glob("[0-9]*")]
    finished = max((int(name) for name in done if name.isdigit()), default=-1) + 1
    return Position(folder, identity["source"], identity["dataset"], app_of(identity["id"]), finished)


def read_identity(path: Path) -> Mapping[str, str]:
    """What a checkpoint says of itself. Raises MissionControlError where it is damaged."""
    identity = _read_json(path)
    if not isinstance(identity, dict) or not all(
        isinstance(identity.get(name), str) for name in ("id", "source", "dataset")
    ):
        raise _damaged(path)
    return identity


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> MissionControlError:
    return MissionControlError(
        f"the file {str(path)!r} of a checkpoint is damaged: restore it from a copy, or do as the guide says "
        "('When the checkpoint is lost')"
    )


def app_of(checkpoint_id: str) -> str:
    """The name that the transactions of a checkpoint's job bear."""
    return f"missioncontrol {checkpoint_id}"


def offsets_before(folder: Path, number: int) -> dict[str, Any]:
    """Where in a topic the micro-batch of a number begins, as Spark keeps it."""
    path = folder / "spark" / "offsets" / str(number - 1)
    if number and path.is_file():
        try:
            return json.loads(path.read_text().splitlines()[-1])
        except (ValueError, IndexError, RecursionError) as error:
            raise _damaged(path) from error
    return first_offsets(folder / "topic.json")


def first_offsets(path: Path) -> dict[str, Any]:
    """Where in a topic the first micro-batch begins: what `topic.json` in a checkpoint says."""
    begins = _read_json(path)
    try:
        time = {RECEIVED: begins[RECEIVED]} if RECEIVED in begins else {}
        return {"topic": begins["topic_id"], **begins["start"], **time}
    except (TypeError, KeyError) as error:
        raise _damaged(path) from error


def by_partition(offsets: Mapping[str, Any]) -> dict[str, int]:
    """Of offsets as Spark keeps them those of the partitions alone."""
    return {place: offset for place, offset in offsets.items() if place.isdigit()}


def brokers_note(folder: Path) -> Path:
    """The file in a checkpoint that says where the topic was last reached."""
    return folder / _BROKERS
