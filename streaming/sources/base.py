"""What all sources of pings have in common: what a micro-batch reads, and files of a checkpoint."""

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from streaming.errors import MissionControlError
from streaming.storage.durability import write_file

if TYPE_CHECKING:
    from pyspark.sql.datasource import DataSource


def read_json(path: Path) -> Any:
    """The content of a file of a checkpoint; raises MissionControlError where it is damaged."""
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise damaged(path) from error


def damaged(path: Path) -> MissionControlError:
    """The error that says that a file of a checkpoint is damaged."""
    return MissionControlError(
        f"the file {str(path)!r} of a checkpoint is damaged: restore it from a copy, or do as the guide says "
        "('When the checkpoint is lost')"
    )


class Read(NamedTuple):
    """What a micro-batch has read: bytes, counted as `Plan.unread_bytes` does, and files where there are any."""

    bytes: int
    files: int | None


class Plan(Protocol):
    """Which pings belong to which micro-batch, from 0 on, as a checkpoint knows it."""

    def __len__(self) -> int:
        """How many micro-batches are planned; the last may be in no table yet."""

    def has_pings(self) -> bool:
        """Whether there is anything to read, or ever was: without, Spark would begin with a micro-batch of nothing."""

    def options(self) -> dict[str, str]:
        """What the data source takes besides an envelope's options."""

    def unread_bytes(self, committed: int) -> int:
        """About how much there is to read besides the micro-batches before that number."""

    def read(self, number: int, document_bytes: int) -> Read:
        """What a micro-batch read, whose documents have that many bytes."""

    def newest_bytes(self) -> int:
        """About how much the newest micro-batch that is planned reads, counted as `unread_bytes` does."""

    def note_rows(self, number: int, document_bytes: int, rows: int) -> None:
        """Takes note of how many rows a micro-batch made, so that the next is not too large."""

    def has_few_rows(self, number: int, cores: int) -> bool:
        """Whether the rows that all tasks of a micro-batch make are likely few enough to be held at once."""


DENSITY = "density.json"  # in a checkpoint
MAX_BATCH_ROWS = 1_000_000
LEAST_BATCH_BYTES = 8 << 20


class Density:
    """How many rows a micro-batch made of its bytes, for planning the next: so it is cut by rows as well as by bytes.

    What is planned stays so when it is read again; this is only of what is not planned yet. In a file of the
    checkpoint, for the process that plans is another than the one that counts. The first micro-batch is small, to show
    how many rows there are.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, options: Mapping[str, str]) -> "Density":
        """That of the options of a data source."""
        return cls(Path(options["density"]))

    def note(self, rows: int, size: int) -> None:
        """Notes that a micro-batch made so many rows of so many bytes."""
        unfinished = self._path.with_suffix(".tmp")
        # Where nothing was read of many messages, as of aborted ones, more are read the next time.
        unfinished.write_text(json.dumps([max(rows, 1), size or LEAST_BATCH_BYTES]))
        unfinished.replace(self._path)

    def room(self, max_bytes: int) -> int:
        """How many bytes the next micro-batch may have: as many as will make MAX_BATCH_ROWS rows, but max_bytes."""
        noted = self._noted()
        if noted is None:
            return min(max_bytes, LEAST_BATCH_BYTES)
        rows, size = noted
        return min(max_bytes, max(LEAST_BATCH_BYTES, MAX_BATCH_ROWS * size // rows))

    def rows(self, size: int) -> int | None:
        """How many rows so many bytes are likely to make, as many as the micro-batch before; None before the first."""
        noted = self._noted()
        return None if noted is None else -(-size * noted[0] // noted[1])

    def _noted(self) -> tuple[int, int] | None:
        try:
            rows, size = json.loads(self._path.read_text())
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        is_sound = all(type(number) is int and number > 0 for number in (rows, size))
        return (rows, size) if is_sound else None


class Source(Protocol):
    """Pings somewhere."""

    @property
    def max_batch_bytes(self) -> int:
        """How much a micro-batch reads at most."""

    @property
    def identity(self) -> str:
        """What a checkpoint of this source belongs to, by whatever name it is reached; known once checked."""

    @property
    def data_source(self) -> type["DataSource"]:
        """What reads and counts in Spark's tasks."""

    def check(self, stop: threading.Event, say: Callable[[str], None]) -> None:
        """Raises MissionControlError where there is no such source; waits, and says so, where it is worth it."""

    def trouble(self) -> str | None:
        """What a running job waits for, in a sentence; None when it does not."""

    def plan(self, checkpoint: Path) -> Plan:
        """The plan in a checkpoint's folder. Raises MissionControlError where the two do not belong together."""


def write_json(path: Path, content: object) -> None:
    """Writes a file of a checkpoint whole or not at all; on disk when this returns."""
    write_file(path, json.dumps(content).encode())
