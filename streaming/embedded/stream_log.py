"""A stream's records of its micro-batches, in the form of Spark: either can go on where the other ended."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

from streaming.errors import MissionControlError

KEPT_RECORDS = 100  # as Spark keeps
_VERSION = b"v1\n"


class StreamLog:
    """The offset at which each micro-batch ends, and which micro-batches are done. folder: Spark's checkpoint.

    `Checkpoint.sync` makes a record durable before a table relies on it.
    """

    def __init__(self, folder: Path) -> None:
        self._offsets, self._commits = folder / "offsets", folder / "commits"
        for each in (self._offsets, self._commits):
            each.mkdir(parents=True, exist_ok=True)
        metadata = folder / "metadata"
        if not metadata.is_file():
            _write(metadata, json.dumps({"id": str(uuid.uuid4())}).encode())

    def end_of(self, number: int) -> dict[str, Any] | None:
        """The offset at which a micro-batch ends; None where it is not planned yet."""
        path = self._offsets / str(number)
        if not path.is_file():
            return None
        lines = path.read_bytes().splitlines()
        if len(lines) != 3:  # the version, Spark's settings, and the offset of the only source
            raise MissionControlError(f"expected a record of one source in {str(path)!r}; got {len(lines)} lines")
        end: dict[str, Any] = json.loads(lines[2])
        return end

    def plan(self, number: int, end: dict[str, Any]) -> None:
        """Records the offset at which a micro-batch ends, before it is read."""
        settings = {"batchWatermarkMs": 0, "batchTimestampMs": time.time_ns() // 1_000_000, "conf": {}}
        content = _VERSION + json.dumps(settings).encode() + b"\n" + json.dumps(end).encode()
        _write(self._offsets / str(number), content)

    def finish(self, number: int) -> None:
        """Records that a micro-batch is done."""
        _write(self._commits / str(number), _VERSION + b'{"nextBatchWatermarkMs":0}')
        for folder in (self._offsets, self._commits):
            for name in (str(number - KEPT_RECORDS), f".{number - KEPT_RECORDS}.crc"):
                (folder / name).unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    """Writes a file completely or not at all, without the checksum that Spark would keep beside it."""
    path.with_name(f".{path.name}.crc").unlink(missing_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_bytes(content)
    unfinished.rename(path)
