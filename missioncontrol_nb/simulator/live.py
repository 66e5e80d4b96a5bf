"""Live pings written to files or a Kafka topic, in real time or as fast as possible."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, Protocol

from missioncontrol_nb.simulator.batches import batches
from missioncontrol_nb.simulator.fleet import Fleet
from missioncontrol_nb.simulator.sampling import DEFAULT_EVERY, Batch
from streaming.errors import MissionControlError

STOP_GRACE_SECONDS = 5.0  # for the brokers to take the batch that is being sent


class Sink(Protocol):
    """A destination of pings."""

    def write(self, batch: Batch, stop: Event) -> bool:
        """Writes a batch; whether it is whole for readers. It is not where stop was set and it could not be written."""


def sink_of(to: str, is_compressed: bool = True) -> Sink:
    """The sink of a folder or of `kafka://HOST:PORT/TOPIC`.

    Raises MissionControlError where it is neither, or cannot be written.
    """
    from streaming.sources.kafka.topic import is_topic

    return TopicSink(to) if is_topic(to) else FolderSink(_folder(to), is_compressed)


def _folder(to: str | Path) -> Path:
    """The folder of a path or a file:// URL. Raises MissionControlError for another URL."""
    from streaming.storage.locations import is_remote, normal_url

    place = normal_url(to)
    if is_remote(place):
        raise MissionControlError(f"expected a folder or kafka://HOST:PORT/TOPIC; got {place!r}")
    return Path(place)


@dataclass
class Sent:
    """Totals so far; bytes: of the pings before compression; files: number of batches; broken: pings by reason."""

    pings: int = 0
    bytes: int = 0
    files: int = 0
    broken: dict[str, int] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Adds the pings of a batch."""
        self.pings += len(batch.documents)
        self.bytes += sum(map(len, batch.documents))
        self.files += 1
        for reason, count in batch.broken.items():
            self.broken[reason] = self.broken.get(reason, 0) + count


def write_live(
    fleet: Fleet,
    to: str | Path | Sink,
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
    """Writes the pings that arrive from `start` on into files of a folder, or to another sink.

    to: a folder, in which each file contains the pings of one `every` and appears atomically; or a sink. until: when to
    end. at_most: after how many pings to end, checked after each batch. stop: ends the writing too. is_paced: a batch
    is written when its time has passed, otherwise at once. on_progress: called with the totals after each batch. sent:
    the totals, updated for other threads to read. Raises MissionControlError where the pings cannot be written.
    """
    stop = stop or Event()
    sink = FolderSink(_folder(to), is_compressed) if isinstance(to, str | Path) else to
    sent = Sent() if sent is None else sent
    for batch in batches(fleet, start, every):
        wait_seconds = (batch.end - datetime.now(UTC)).total_seconds() if is_paced else 0.0
        is_over = until is not None and batch.end > until
        if is_over or stop.wait(max(wait_seconds, 0.0)):
            break
        if not sink.write(batch, stop):
            break
        sent.add(batch)
        on_progress(sent)
        if at_most is not None and sent.pings >= at_most:
            break
    return sent


class FolderSink:
    """Files of a folder, which is created: one .jsonl or .jsonl.gz per batch; files appear atomically."""

    def __init__(self, folder: Path, is_compressed: bool = True) -> None:
        self._folder, self._is_compressed = folder, is_compressed
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = "that is a file" if folder.is_file() else error.strerror
            raise MissionControlError(f"cannot make the folder {folder}: {reason}") from error

    def write(self, batch: Batch, stop: Event) -> bool:
        """Writes a temporary file and renames it, so that no reader sees a partial file."""
        lines = b"\n".join(batch.documents) + b"\n" if batch.documents else b""
        packing = ".gz" if self._is_compressed else ""
        name = f"pings-{batch.start.astimezone(UTC):%Y%m%dT%H%M%S.%f}.jsonl{packing}"
        beside = self._folder / f".{name}.part"
        try:
            beside.write_bytes(gzip.compress(lines, compresslevel=1, mtime=0) if self._is_compressed else lines)
            beside.replace(self._folder / name)
        except OSError as error:
            raise MissionControlError(f"cannot write pings into {self._folder}: {error.strerror}") from error
        return True


class TopicSink:
    """A Kafka topic with one message per ping; waits while a broker is unavailable."""

    def __init__(self, url: str, config: dict[str, str] | None = None) -> None:
        from streaming.sources.kafka.topic import Topic

        topic = Topic.of(url, config or {})
        topic.require()
        self._name, self._producer = topic.name, topic.producer()
        self._failure: str | None = None
        self._ends_at: float | None = None

    def write(self, batch: Batch, stop: Event) -> bool:
        """Sends a batch and waits until the brokers have it, for STOP_GRACE_SECONDS once stop is set.

        Raises MissionControlError where they reject it.
        """
        self._ends_at = None
        is_sent = all(self._send(document, stop) for document in batch.documents)
        while self._producer.flush(0.2) and not self._is_over(stop):
            pass
        if self._failure:
            raise MissionControlError(f"cannot send pings to {self._name!r}: {self._failure}")
        return is_sent and not len(self._producer)

    def _is_over(self, stop: Event) -> bool:
        if stop.is_set() and self._ends_at is None:
            self._ends_at = monotonic() + STOP_GRACE_SECONDS
        return bool(self._failure) or (self._ends_at is not None and monotonic() > self._ends_at)

    def _send(self, document: bytes, stop: Event) -> bool:
        while not self._is_over(stop):
            try:
                self._producer.produce(self._name, value=document, on_delivery=self._note)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return True
        return False

    def _note(self, error: Any, _message: Any) -> None:
        if error is not None:
            self._failure = error.str()
