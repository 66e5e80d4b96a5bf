"""Live pings to files: at the fleet's own pace, or as fast as can be."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

from missioncontrol_nb.simulate.draw import DEFAULT_EVERY, Batch, batches
from missioncontrol_nb.simulate.fleet import Fleet
from streaming.errors import MissionControlError


@dataclass
class Sent:
    """What was written so far. bytes: of the pings, before compression; broken: pings that are, by reason."""

    pings: int = 0
    bytes: int = 0
    files: int = 0
    broken: dict[str, int] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Count the pings of a file."""
        self.pings += len(batch.documents)
        self.bytes += sum(map(len, batch.documents))
        self.files += 1
        for reason, count in batch.broken.items():
            self.broken[reason] = self.broken.get(reason, 0) + count


def write_live(
    fleet: Fleet,
    folder: str | Path,
    start: datetime,
    *,
    every: timedelta = DEFAULT_EVERY,
    until: datetime | None = None,
    at_most: int | None = None,
    is_paced: bool = True,
    is_compressed: bool = True,
    stop: Event | None = None,
    sent: Sent | None = None,
    on_progress: Callable[[Sent], None] = lambda sent: None,
) -> Sent:
    """Write the pings that come in from `start` on into files of a folder; a file appears whole, under its last name.

    A file holds what came in during `every`. until, at_most: when to end, after how many pings, which is looked at
    after each file; stop ends it too. is_paced: a file is written when its time has passed, else at once.
    on_progress: told what was written, after each file; sent: adds up as well, for other threads to read.
    Raises MissionControlError where the folder cannot be written.
    """
    stop = stop or Event()
    path = _made(Path(folder))
    sent = Sent() if sent is None else sent
    for batch in batches(fleet, start, every):
        wait_seconds = (batch.end - datetime.now(UTC)).total_seconds() if is_paced else 0.0
        is_over = until is not None and batch.end > until
        if is_over or stop.wait(max(wait_seconds, 0.0)):
            break
        _write_whole(path, batch, is_compressed)
        sent.add(batch)
        on_progress(sent)
        if at_most is not None and sent.pings >= at_most:
            break
    return sent


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MissionControlError(f"cannot make the folder {folder}: {error.strerror}") from error
    return folder


def _write_whole(folder: Path, batch: Batch, is_compressed: bool) -> None:
    """Write a file beside its place and move it there, so that nobody reads half of it."""
    lines = b"\n".join(batch.documents) + b"\n" if batch.documents else b""
    name = f"pings-{batch.start.astimezone(UTC):%Y%m%dT%H%M%S.%f}.jsonl{'.gz' if is_compressed else ''}"
    beside = folder / f".{name}.part"
    try:
        beside.write_bytes(gzip.compress(lines, compresslevel=1, mtime=0) if is_compressed else lines)
        beside.replace(folder / name)
    except OSError as error:
        raise MissionControlError(f"cannot write pings into {folder}: {error.strerror}") from error
