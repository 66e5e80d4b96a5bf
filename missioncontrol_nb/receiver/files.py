"""Files of pings: written and synchronised by groups under an unfinished name, then renamed; one process each."""

import asyncio
import errno
import math
import os
import time
import uuid
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from missioncontrol_nb.receiver.documents import is_document
from missioncontrol_nb.receiver.sinks import MAX_QUEUED_BYTES, CannotKeepError
from streaming.errors import MissionControlError
from streaming.storage.durability import make_folder, sync_folder
from streaming.storage.locations import is_remote, normal_url
from streaming.storage.locks import take_lock

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MAX_BUFFERS = 1000  # of one writev; Linux takes 1,024
_PROBE_BYTES = 1 << 20
_PREFIX, _SUFFIX, _UNFINISHED = "pings-", ".jsonl", ".tmp"


@dataclass(frozen=True)
class FileLimits:
    """When a file is finished: at this size, or so long after its first ping."""

    bytes: int = 64 << 20
    seconds: float = 10.0


class UnfinishedFile:
    """A file that grows by groups of lines and is renamed at its end. All of its lines are synchronised.

    Its name begins with a dot and ends with .tmp, and it is locked by its process: what is not locked was left by one
    that was killed. Raises OSError where it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        name = f"{_PREFIX}{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:12]}{_SUFFIX}"
        self.final = folder / name
        self.path = folder / f".{name}{_UNFINISHED}"
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self.size = 0
        self._is_whole = True
        self.began = time.monotonic()
        try:
            if not take_lock(self._descriptor, 0) or not os.fstat(self._descriptor).st_nlink:
                raise FileNotFoundError(errno.ENOENT, "removed by another receiver that has just started")
            sync_folder(folder)
        except OSError:
            self.abandon()
            raise

    def append(self, lines: Sequence[bytes]) -> None:
        """Adds lines; they are on disk when this returns. Raises OSError where they are not, and then none is kept."""
        self._cut()
        self._is_whole = False
        try:
            for start in range(0, len(lines), _MAX_BUFFERS):
                self._write(lines[start : start + _MAX_BUFFERS])
            os.fdatasync(self._descriptor)
        except OSError:
            self._cut()
            raise
        self.size += sum(map(len, lines))
        self._is_whole = True

    def _cut(self) -> None:
        """Removes what was written of lines that were not kept: clients send them again."""
        if not self._is_whole:
            os.ftruncate(self._descriptor, self.size)
            os.fdatasync(self._descriptor)
            self._is_whole = True

    def _write(self, lines: Sequence[bytes]) -> None:
        written, size = os.writev(self._descriptor, lines), sum(map(len, lines))
        if written < size:  # a disk that is nearly full takes a part
            rest = memoryview(b"".join(lines))[written:]
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def finish(self) -> None:
        """Gives the file its name, under which it is read; one without lines is removed. Raises OSError: try again."""
        self._cut()
        if not self.size:
            self.abandon()
            return
        self.path.rename(self.final)
        os.close(self._descriptor)
        with suppress(OSError):  # a power cut may give it its former name back: the next start finishes it
            sync_folder(self.final.parent)

    def abandon(self) -> None:
        """Removes the file."""
        with suppress(OSError):
            self.path.unlink()
        os.close(self._descriptor)


def recover(folder: Path) -> int:
    """Finishes the files that killed receivers left in a folder: whole lines are kept. Returns how many there were.

    All lines before the first that is cut short or damaged: whatever was answered 200 is among them, since a group of
    lines is answered after it, and all before it, was synchronised.
    """
    found = 0
    for path in sorted(folder.glob(f".{_PREFIX}*{_SUFFIX}{_UNFINISHED}")):
        with path.open("r+b") as file:
            if not take_lock(file, 0):
                continue  # its process lives
            if not path.exists():
                continue  # another process has finished it meanwhile
            size = 0
            for line in file:
                if not line.endswith(b"\n") or not is_document(line):
                    break
                size += len(line)
            if not size:
                path.unlink()
                continue
            file.truncate(size)
            os.fsync(file.fileno())
            path.rename(folder / path.name.removeprefix(".").removesuffix(_UNFINISHED))
            found += 1
    sync_folder(folder)
    return found


def folder_of(to: str) -> Path:
    """The folder of a path or a file:// URL. Raises MissionControlError for another URL."""
    place = normal_url(to)
    if is_remote(place):
        raise MissionControlError(f"expected --to as a folder or kafka://HOST:PORT/TOPIC; got {place!r}")
    return Path(place)


class FileSink:
    """Files of a folder. Pings that come while a group is being synchronised are the next group.

    Raises MissionControlError where the folder cannot be made or written.
    """

    def __init__(self, folder: Path, limits: FileLimits = FileLimits()) -> None:
        try:
            make_folder(folder)
            self.recovered = recover(folder)
            UnfinishedFile(folder).finish()
        except OSError as error:
            raise MissionControlError(f"cannot write into the folder {str(folder)!r}: {error.strerror}") from error
        self._folder, self._limits = folder, limits
        self._file: UnfinishedFile | None = None
        self._waiting: deque[tuple[bytes, asyncio.Future[None]]] = deque()
        self._queued_bytes = 0
        self._problem = ""
        self._is_closed = False
        self._disk = ThreadPoolExecutor(1, "disk")
        self._has_work = asyncio.Event()
        self._writing = asyncio.get_running_loop().create_task(self._write_groups())

    async def keep(self, document_id: str, document: bytes) -> None:
        """Returns when a document is on disk. Raises CannotKeepError where it is not, and will not be."""
        if self._is_closed or self._writing.done():
            raise CannotKeepError(503, "closing")
        if self._queued_bytes > MAX_QUEUED_BYTES:
            raise CannotKeepError(503, "queue_full")
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((document, future))
        self._queued_bytes += len(document)
        self._has_work.set()
        await future

    async def check(self) -> str:
        """Why pings cannot be kept; "" where they can. Tries to write where the last group could not be written."""
        if self._problem and not self._is_closed:
            await asyncio.get_running_loop().run_in_executor(self._disk, self._try_to_write)
        return self._problem

    async def close(self) -> None:
        """Writes what waits and finishes the file."""
        self._is_closed = True
        self._has_work.set()
        await self._writing
        self._disk.shutdown()

    async def _write_groups(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting or not self._is_closed:
            if not self._waiting and not await self._wait():
                await loop.run_in_executor(self._disk, self._finish_file)
                continue
            group, self._waiting = self._waiting, deque()
            lines = [line for line, _ in group]
            failure = await loop.run_in_executor(self._disk, self._write, lines) if lines else None
            if failure:
                self._problem = failure.reason  # until check() finds room: a smaller group may still fit
            self._queued_bytes -= sum(map(len, lines))
            for _, future in group:
                if future.done():  # its client is gone
                    continue
                if failure is None:
                    future.set_result(None)
                else:
                    future.set_exception(failure)
        await loop.run_in_executor(self._disk, self._finish_file)

    async def _wait(self) -> bool:
        """Waits for work; False where the file is to be finished before."""
        self._has_work.clear()
        if self._is_closed:
            return True
        left = self._seconds_left()
        try:
            await asyncio.wait_for(self._has_work.wait(), None if left == math.inf else left)
        except TimeoutError:
            return False
        return True

    def _write(self, lines: Sequence[bytes]) -> CannotKeepError | None:
        """Writes a group, in the thread of the disk; the error where it is not kept."""
        try:
            if self._file is None:
                self._file = UnfinishedFile(self._folder)
            self._file.append(lines)
        except OSError as error:
            self._finish_file()  # a file whose disk has failed is not written any more
            return CannotKeepError(
                507 if error.errno in _NO_ROOM else 503, errno.errorcode.get(error.errno or 0, "disk")
            )
        if self._file.size >= self._limits.bytes or self._seconds_left() < 0:
            self._finish_file()
        return None

    def _seconds_left(self) -> float:
        return self._file.began + self._limits.seconds - time.monotonic() if self._file else math.inf

    def _finish_file(self) -> None:
        """Finishes the file; where that fails, its lines stay in it, and it is tried again later."""
        if self._file is not None:
            try:
                self._file.finish()
            except OSError as error:
                self._problem = error.strerror or str(error)
                self._file.began = time.monotonic()
                return
            self._file = None

    def _try_to_write(self) -> None:
        try:
            probe = UnfinishedFile(self._folder)
            try:
                probe.append([b"\n" * _PROBE_BYTES])
            finally:
                probe.abandon()
        except OSError as error:
            self._problem = error.strerror or str(error)
        else:
            self._problem = ""
