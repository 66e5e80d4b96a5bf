"""Common parts of all sources of pings: plans of micro-batches, and the files of a checkpoint."""

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
    """The content of a file of a checkpoint; raises MissionControlError where the file is damaged."""
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise damaged(path) from error


def damaged(path: Path) -> MissionControlError:
    """The error for a damaged file of a checkpoint."""
    return MissionControlError(
        f"the file {str(path)!r} of a checkpoint is damaged: restore it from a copy, or do as the guide says "
        "('When the checkpoint is lost')"
    )


class BatchInput(NamedTuple):
    """What a micro-batch has read: bytes, counted like `Plan.unread_bytes`, and files where there are any."""

    bytes: int
    files: int | None


class Plan(Protocol):
    """Which pings belong to which micro-batch, from 0 on, according to a checkpoint."""

    def __len__(self) -> int:
        """How many micro-batches are planned; the last one may not be in any table yet."""

    def has_pings(self) -> bool:
        """Whether there is or ever was anything to read; if not, Spark would begin with an empty micro-batch."""

    def options(self) -> dict[str, str]:
        """The options of the data source besides those of an envelope."""

    def unread_bytes(self, committed: int) -> int:
        """About how many bytes there are to read besides the micro-batches before that number."""

    def read(self, number: int, document_bytes: int) -> BatchInput:
        """What a micro-batch read. document_bytes: the size of its documents."""

    def newest_bytes(self) -> int:
        """About how many bytes the newest planned micro-batch reads, counted like `unread_bytes`."""

    def note_rows(self, number: int, document_bytes: int, rows: int) -> None:
        """Notes how many rows a micro-batch made, so that the next one does not become too large."""

    def has_few_rows(self, number: int, cores: int) -> bool:
        """Whether the rows that all tasks of a micro-batch make are likely few enough to be held in memory at once."""


DENSITY = "density.json"  # in a checkpoint
MAX_BATCH_ROWS = 1_000_000
MIN_BATCH_BYTES = 8 << 20


class Density:
    """How many rows a micro-batch made of its bytes, so that the next one is limited by rows as well as by bytes.

    It affects only micro-batches that are not planned yet: a planned one stays the same when it is read again. It is
    kept in a file of the checkpoint, because different processes plan and count. The first micro-batch is small, to
    measure how many rows there are.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, options: Mapping[str, str]) -> "Density":
        """The density for the options of a data source."""
        return cls(Path(options["density"]))

    def note(self, rows: int, size: int) -> None:
        """Notes that a micro-batch made `rows` rows of `size` bytes."""
        unfinished = self._path.with_suffix(".tmp")
        # If many messages had no bytes, such as those of aborted transactions, the next micro-batch reads more.
        unfinished.write_text(json.dumps([max(rows, 1), size or MIN_BATCH_BYTES]))
        unfinished.replace(self._path)

    def batch_bytes(self, max_bytes: int) -> int:
        """How many bytes the next micro-batch may have: enough for MAX_BATCH_ROWS rows, but at most max_bytes."""
        noted = self._noted()
        if noted is None:
            return min(max_bytes, MIN_BATCH_BYTES)
        rows, size = noted
        return min(max_bytes, max(MIN_BATCH_BYTES, MAX_BATCH_ROWS * size // rows))

    def rows(self, size: int) -> int | None:
        """How many rows `size` bytes likely make, at the previous micro-batch's rate; None before the first one."""
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
    """A source of pings."""

    @property
    def max_batch_bytes(self) -> int:
        """How many bytes a micro-batch reads at most."""

    @property
    def identity(self) -> str:
        """The identity of the source in checkpoints, whatever name reaches the source; known after `check`."""

    @property
    def data_source(self) -> type["DataSource"]:
        """The Spark data source that reads and counts in tasks."""

    def check(self, stop: threading.Event, notify: Callable[[str], None]) -> None:
        """Raises MissionControlError where there is no such source; waits, and reports that, where this may help."""

    def outage_notice(self) -> str | None:
        """What a running job waits for, as a sentence; None when it does not wait."""

    def plan(self, checkpoint: Path) -> Plan:
        """The plan in a checkpoint's folder. Raises MissionControlError where the checkpoint is not of this source."""


def write_json(path: Path, content: object) -> None:
    """Writes a file of a checkpoint atomically; it is on disk when this returns."""
    write_file(path, json.dumps(content).encode())
