"""Where pings come from: files, local or at any fsspec URL, as a data source of Spark whose tasks read and count.

A file counts once, by its path, and a replay is safe: which files a micro-batch reads is written to the checkpoint
(FileLog) before Spark hears of the micro-batch, and never changes after. A file must be complete when it appears: write
it to a name that begins with `.` or `_` or ends with `.tmp`, which are ignored, and rename it then.
"""

import glob
import heapq
import json
import os
import re
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar, NamedTuple

from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.streaming.datasource import ReadLimit, ReadMaxBytes, SupportsTriggerAvailableNow
from pyspark.sql.types import StructType

from streaming import contract, remote
from streaming.counting import Counter
from streaming.durability import sync_folder
from streaming.errors import MissionControlError
from streaming.listing import (
    NO_FILE,
    SUFFIXES,
    Listed,
    PassedOver,
    holds_lines,
    is_passed_over,
    is_ping_file,
    list_local,
    packing_of,
)
from streaming.packed import Damaged, unpacked
from streaming.partials import PartialSums, envelope_of
from streaming.patience import NO_PATIENCE, PATIENCE_SECONDS, QUIET_SECONDS, START_SECONDS, Notes, Patience, waiting_for
from streaming.pings import Envelope
from streaming.position import files_of
from streaming.python_start import spare_pandas
from streaming.source import DENSITY, Density, Read, write_json
from streaming.spill import BATCH_ROWS, batch_rows, room_of, spilled
from streaming.table import check_credentials, is_remote
from streaming.text import BYTE_ORDER_MARK, without_marks

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BATCH_BYTES = 8 << 30
MOST_FILES = 100_000  # of a micro-batch, for empty ones have no bytes
PIECE_BYTES = 256 << 20  # what one task reads at least, where there is as much
SMALL_BATCH_BYTES = 4 << 20  # below, one task is faster than several
FEW_BYTES = 256 << 20  # unpacked: the pings of so many have few rows
BLOCK_BYTES = 1 << 20
PACKED_BLOCK_BYTES = 64 << 10
LINE_BUFFER_BYTES = 256 << 10
LONGEST_DOCUMENT_BYTES = 64 << 20  # of a longer one the rest is not kept; it is far too large for a ping anyway
HANDFUL, HANDFUL_BYTES = 50, 4 << 20  # documents that are parsed before the first of them is counted
FLUSH_ROWS = 50_000
LISTED = "listed:"  # before the path of a list of files
SHORTEST_LINE_BYTES = 8  # where lines are shorter on the average, most of them may be empty
_EMPTY_LINES = re.compile(rb"\n{3,}")
_UNPACKED_FACTOR = {".gz": 6, ".zst": 8}  # roughly, to balance tasks


class Piece(NamedTuple):
    """What one task reads of a file: the bytes from start to end. Only lines are cut, and between lines."""

    path: str
    start: int
    end: int
    modified_us: int


# Listing.


def check_source(source: str, patience: Patience) -> None:
    """Raises MissionControlError when there is no such source or it holds no pings by its name."""
    check_credentials(source)
    if is_remote(source):
        remote.require(source, patience)
    elif glob.has_magic(source) and not os.path.exists(source):  # noqa: PTH110 (a Path knows no globs)
        return
    elif not Path(source).exists():
        raise MissionControlError(f"no such file or folder: {source!r}")
    elif Path(source).is_file() and not source.lower().endswith(SUFFIXES):
        raise MissionControlError(f"expected a file that ends in one of {', '.join(SUFFIXES)}; got {source!r}")


def list_files(source: str, patience: Patience = NO_PATIENCE, passed: PassedOver | None = None) -> list[Listed]:
    """The ping files of a file, folder (and its folders), glob or URL, oldest first; source: as normal_url gives it.

    Of LISTED and the path of a list, as write_list wrote it, those on the list. passed: collects ignored files.
    Raises MissionControlError where an object store does not answer for as long as patience lasts.
    """
    if source.startswith(LISTED):
        return [Listed(*file) for file in json.loads(Path(source.removeprefix(LISTED)).read_text())]
    passed = PassedOver() if passed is None else passed
    listed = _list_remote(source, patience, passed) if is_remote(source) else list_local(source, passed)
    return sorted(listed, key=lambda file: (file.modified_us, file.path))


def why_nothing(source: str, patience: Patience = NO_PATIENCE) -> str | None:
    """Why there is no file to read, in a sentence; None when there is one."""
    passed = PassedOver()
    if source.startswith(LISTED) or list_files(source, patience, passed):
        return None
    has = f"passed over: {passed}" if passed else "nothing is there"
    return f"{source!r} holds no file of pings, whose name ends in {', '.join(SUFFIXES)}; {has}"


def write_list(files: Sequence[Listed], path: Path) -> str:
    """Writes a list of files, and gives it as a source: what comes later is not among them."""
    write_json(path, files)
    return f"{LISTED}{path}"


def _list_remote(source: str, patience: Patience, passed: PassedOver) -> Iterator[Listed]:
    by_name = set(source.split("/")) if glob.has_magic(source) else set()
    for below, details in remote.find(source, patience).items():
        folders = [folder for folder in below.split("/")[:-1] if folder not in by_name]
        name = details["url"].rsplit("/", 1)[-1]
        if details["type"] == "file" and not is_ping_file(name) and not any(map(is_passed_over, folders)):
            passed.add_name(name, details["url"])
        elif details["type"] == "other":  # of a file system that has pipes and devices
            passed.add(NO_FILE, details["url"])
            continue
        if details["type"] != "directory" and is_ping_file(name) and not any(map(is_passed_over, folders)):
            yield Listed(details["url"], int(details["size"] or 0), round(remote.modified(details).timestamp() * 1e6))


# Which files belong to which micro-batch.


class FileLog:
    """The files of each micro-batch, one line of JSON each, in a local file that only grows.

    Line n, counted from 1, is what lies between offset n - 1 and offset n. A line that a crash cut short was seen by
    nobody and is cut off. One process writes at a time.

    Raises MissionControlError for a log that is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._starts = [0]
        self.seen: set[str] = set()
        path.touch()
        sync_folder(path.parent)
        self.refresh()
        os.truncate(path, self._starts[-1])

    def __len__(self) -> int:
        """The number of micro-batches; the last offset."""
        return len(self._starts) - 1

    def refresh(self) -> None:
        """Take note of lines that another process has written."""
        with self._path.open("rb") as log:
            log.seek(self._starts[-1])
            for line in log:
                if line.endswith(b"\n"):
                    self._remember(line)

    def append(self, files: Sequence[Listed]) -> None:
        """Make the files the next micro-batch; on disk when this returns."""
        line = json.dumps(files, separators=(",", ":")).encode() + b"\n"
        with self._path.open("ab") as log:
            log.write(line)
            log.flush()
            os.fsync(log.fileno())
        self._remember(line)

    def files(self, start: int, end: int) -> list[Listed]:
        """The files between two offsets."""
        with self._path.open("rb") as log:
            log.seek(self._starts[start])
            return [file for _ in range(start, end) for file in files_of(log.readline(), self._path)]

    def _remember(self, line: bytes) -> None:
        files = files_of(line, self._path)
        self._starts.append(self._starts[-1] + len(line))
        self.seen.update(name for file in files for name in file.names)


def take(files: Sequence[Listed], seen: set[str], max_bytes: int | None) -> list[Listed]:
    """The first of the files that are new, by any name: as many as fit into max_bytes and MOST_FILES, at least one."""
    taken: list[Listed] = []
    size = 0
    for file in files:
        if file.is_among(seen):
            continue
        size += max(file.size, 0)
        if (taken and max_bytes is not None and size > max_bytes) or len(taken) == MOST_FILES:
            break
        taken.append(file)
    return taken


# Which task reads what.


def share_out(files: Sequence[Listed], cores: int) -> list[list[Piece]]:
    """The pieces that each task reads, about as many bytes each, the same at each call for the same files."""
    total = sum(_weight(file) for file in files)
    tasks = _task_count(total, cores)
    pieces = [piece for file in files for piece in _cut(file, max(total // tasks, SMALL_BATCH_BYTES))]
    pieces.sort(key=lambda piece: (piece.start - piece.end, piece.path))
    loads = [(0, task) for task in range(min(tasks, len(pieces)))]
    shares: list[list[Piece]] = [[] for _ in loads]
    for piece in pieces:
        load, task = heapq.heappop(loads)
        shares[task].append(piece)
        weight = _weight(Listed(piece.path, piece.end - piece.start, 0))
        heapq.heappush(loads, (load + weight, task))
    return shares


def _task_count(weight: int, cores: int) -> int:
    return 1 if weight < SMALL_BATCH_BYTES else max(cores, -(-weight // PIECE_BYTES))


def _weight(file: Listed) -> int:
    return max(file.size, 0) * _UNPACKED_FACTOR.get(packing_of(file.path), 1)


def have_few_rows(files: Sequence[Listed], cores: int, density: Density) -> bool:
    """Whether files are small, or few rows are expected of them by the last ones, even if every task makes all rows.

    density: rows of the bytes of files as they are, compressed or not.
    """
    weight = sum(map(_weight, files))
    if weight <= FEW_BYTES:
        return True
    rows = density.rows(sum(max(file.size, 0) for file in files))
    return rows is not None and rows * _task_count(weight, cores) <= BATCH_ROWS


def _cut(file: Listed, piece_bytes: int) -> Iterator[Piece]:
    """A large file of lines as pieces that begin and end between lines; any other file whole."""
    start = 0
    if holds_lines(file.path) and not packing_of(file.path) and file.size > 2 * piece_bytes:
        try:
            with _open(file.path) as stream:
                for near in range(piece_bytes, file.size, piece_bytes):
                    if near <= start:
                        continue
                    stream.seek(near)
                    stream.readline(LONGEST_DOCUMENT_BYTES)
                    if stream.tell() >= file.size:
                        break
                    yield Piece(file.path, start, stream.tell(), file.modified_us)
                    start = stream.tell()
        except Exception as error:  # what a remote filesystem raises depends on its client
            if not is_remote(file.path) and not isinstance(error, OSError):
                raise
            # it is named by the task that finds it so
    yield Piece(file.path, start, file.size, file.modified_us)


# Reading, in the task.


def count_pieces(
    pieces: Sequence[Piece], envelope: Envelope, patience: Patience = NO_PATIENCE
) -> Iterator["pa.RecordBatch"]:
    """Reads, decodes and sums; batches of contract.partial_schema(). Whatever is wrong with a file is counted.

    Raises MissionControlError where an object store does not answer for as long as patience lasts.
    """
    counter = Counter(envelope)
    rejects: dict[str, Tally[str]] = {}
    for piece in pieces:
        reasons: Tally[str] = Tally()
        for documents in _handfuls(_whole_documents(piece, counter, reasons, patience)):
            rejected = counter.add_all(documents, [piece.modified_us] * len(documents))
            reasons.update(reason for reason in rejected if reason is not None)
            if len(counter) > FLUSH_ROWS:
                yield counter.partial_sums()
        if reasons:
            rejects[piece.path] = reasons
    if len(counter):
        yield counter.partial_sums()
    if rejects:
        yield _file_rejects(rejects)


def _whole_documents(piece: Piece, counter: Counter, reasons: Tally[str], patience: Patience) -> Iterator[bytes]:
    """The documents of a piece; what is wrong with the file itself goes to the counter and to reasons."""
    count = 0
    fault = None
    try:
        for document in read_documents(piece, patience):
            count += 1
            yield document
    except FileNotFoundError:
        fault = "file_vanished"
    except Damaged:
        fault = "file_corrupt"
    except OSError:
        fault = "file_unreadable"
    if fault is None and count == 0 and piece.start == 0:
        fault = "empty"
    if fault:
        reasons[fault] += 1
        counter.reject(fault, piece.modified_us)


def _handfuls(documents: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Some documents at a time, few enough for the processor's caches; one that is large alone."""
    handful: list[bytes] = []
    size = 0
    for document in documents:
        handful.append(document)
        size += len(document)
        if len(handful) == HANDFUL or size > HANDFUL_BYTES:
            yield handful
            handful, size = [], 0
    if handful:
        yield handful


def _file_rejects(rejects: dict[str, Tally[str]]) -> "pa.RecordBatch":
    import pyarrow as pa

    rows = [
        {"table": contract.FILE_REJECTS, "file": _as_text(path), "reason": reason, "count": count}
        for path, reasons in rejects.items()
        for reason, count in reasons.items()
    ]
    return pa.RecordBatch.from_pylist(rows, schema=contract.partial_schema())


def _as_text(path: str) -> str:
    """A path that may not be UTF-8, as text that is."""
    return path.encode(errors="backslashreplace").decode()


def read_documents(piece: Piece, patience: Patience = NO_PATIENCE) -> Iterator[bytes]:
    """The documents of a piece of a file, without blank lines, line ends and byte order marks.

    Raises OSError when the file cannot be read and Damaged when it cannot be unpacked, after all that can;
    MissionControlError where an object store does not answer for as long as patience lasts.
    """
    if piece.end < 0:
        raise PermissionError(piece.path)
    packing, has_lines = packing_of(piece.path), holds_lines(piece.path)
    if packing:
        blocks = unpacked(_read_blocks(piece, PACKED_BLOCK_BYTES, patience), packing)
    else:
        blocks = _read_blocks(piece, BLOCK_BYTES, patience)
    documents = _lines(blocks) if has_lines else _one_document(blocks)
    if not packing and has_lines and not is_remote(piece.path):
        documents = _local_lines(piece)
    for line in documents:
        document = line.strip()
        if document.startswith(BYTE_ORDER_MARK):  # in mid-file too, where files were put together
            document = without_marks(document)
        if document:
            yield document


def _open(path: str) -> IO[bytes]:
    return remote.open_file(path) if is_remote(path) else open(path, "rb")  # noqa: PTH123


def _read_blocks(piece: Piece, size: int, patience: Patience = NO_PATIENCE) -> Iterator[bytes]:
    """The bytes of a piece."""
    if is_remote(piece.path):
        for start in range(piece.start, piece.end, remote.RANGE_BYTES):
            block = remote.read_range(piece.path, start, min(start + remote.RANGE_BYTES, piece.end), patience)
            yield from (block[place : place + size] for place in range(0, len(block), size))
        return
    with _open(piece.path) as stream:
        stream.seek(piece.start)
        position = piece.start
        while block := stream.read(min(size, piece.end - position)):
            position += len(block)
            yield block


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of blocks, without most empty ones; of a line beyond LONGEST_DOCUMENT_BYTES about as many bytes."""
    begun = bytearray()
    for block in blocks:
        most = len(block) // SHORTEST_LINE_BYTES
        first, *others = block.split(b"\n", most)
        if len(others) == most:
            first, *others = _EMPTY_LINES.sub(b"\n\n", block).split(b"\n")
        if len(begun) < LONGEST_DOCUMENT_BYTES:
            begun += first
        if others:
            yield bytes(begun)
            yield from others[:-1]
            begun = bytearray(others[-1])
    yield bytes(begun)


def _local_lines(piece: Piece) -> Iterator[bytes]:
    """As _lines, of a file on this machine: more than twice as fast."""
    position = piece.start
    with open(piece.path, "rb", buffering=LINE_BUFFER_BYTES) as stream:  # noqa: PTH123
        stream.seek(position)
        while position < piece.end and (line := stream.readline(LONGEST_DOCUMENT_BYTES)):
            position += len(line)
            yield line if position <= piece.end else line[: piece.end - position]
            while len(line) == LONGEST_DOCUMENT_BYTES and not line.endswith(b"\n"):
                line = stream.readline(LONGEST_DOCUMENT_BYTES)
                position += len(line)


def _one_document(blocks: Iterator[bytes]) -> Iterator[bytes]:
    kept = bytearray()
    for block in blocks:
        if len(kept) < LONGEST_DOCUMENT_BYTES:
            kept += block
    yield bytes(kept)


# What Spark sees.


@dataclass
class PiecesPartition(InputPartition):
    """The pieces that one task reads."""

    pieces: list[Piece]
    room: int


class PingFiles(PartialSums):
    """Partial sums of the pings in files. Options: FilePlan's, cores, channel, country, submitted_at."""

    @classmethod
    def name(cls) -> str:
        """What spark.readStream.format takes."""
        return "missioncontrol_ping_files"

    def streamReader(self, schema: StructType) -> "PingFilesReader":  # noqa: N802 (Spark's name)
        """The reader of a stream."""
        return PingFilesReader(dict(self.options))


class PingFilesReader(DataSourceStreamReader, SupportsTriggerAvailableNow):
    """Offset n: all files of the first n lines of the log. A micro-batch is always one line."""

    def __init__(self, options: dict[str, str]) -> None:
        self._options = {name.lower(): value for name, value in options.items()}
        self._frozen: list[Listed] | None = None
        self._away_since: float | None = None

    @cached_property
    def _log(self) -> FileLog:
        return FileLog(Path(self._options["log"]))

    @property
    def _notes(self) -> Notes:
        return Notes(Path(self._options["notes"]))

    @property
    def _density(self) -> Density:
        return Density.of(self._options)

    def initialOffset(self) -> dict[str, int]:  # noqa: N802
        """Before the first file."""
        return {"batch": 0}

    def getDefaultReadLimit(self) -> ReadLimit:  # noqa: N802
        """As many bytes as a micro-batch may have."""
        return ReadMaxBytes(int(self._options["max_bytes"]))

    def prepareForTriggerAvailableNow(self) -> None:  # noqa: N802
        """From now on, what is there now is all there is."""
        self._frozen = list_files(self._options["source"], Patience(self._notes.tell))

    def latestOffset(self, start: dict[str, int], limit: ReadLimit) -> dict[str, int]:  # noqa: N802
        """One micro-batch on from start: the next that the log has, else one of new files; start if there are none."""
        batch = start["batch"]
        if batch == len(self._log):
            files = self._files_now() if self._frozen is None else self._frozen
            room = self._density.room(limit.max_bytes) if isinstance(limit, ReadMaxBytes) else None
            new = take(files, self._log.seen, room)
            if not new:
                return start
            self._log.append(new)
        return {"batch": batch + 1}

    def _files_now(self) -> list[Listed]:
        """The files that are there; none as long as an object store is away, so that Spark can be stopped meanwhile."""
        try:
            files = list_files(self._options["source"])
        except MissionControlError as error:
            self._away_since = self._away_since or time.monotonic()
            waited = time.monotonic() - self._away_since
            if not remote.is_passing(error) or waited > PATIENCE_SECONDS:
                raise
            if waited > QUIET_SECONDS:
                self._notes.tell(waiting_for(self._options["source"], error.__cause__ or error))
            return []
        if self._away_since:
            self._notes.tell(None)
        self._away_since = None
        return files

    def partitions(self, start: dict[str, int], end: dict[str, int]) -> Sequence[InputPartition]:
        """A partition for each task."""
        files, cores = self._log.files(start["batch"], end["batch"]), int(self._options["cores"])
        shares = share_out(files, cores)
        # Many rows are summed up by Spark, on disk where need be.
        room = room_of(batch_rows(self._options), len(shares) if have_few_rows(files, cores, self._density) else 2)
        return [PiecesPartition(pieces, room) for pieces in shares]

    def read(self, partition: InputPartition) -> Iterator["pa.RecordBatch"]:
        """The partial sums of a partition."""
        spare_pandas()
        assert isinstance(partition, PiecesPartition)
        counted = count_pieces(partition.pieces, envelope_of(self._options), Patience(self._notes.tell))
        yield from spilled(counted, self._options.get("spill_to"), partition.room)

    def commit(self, end: dict[str, int]) -> None:
        """Nothing: the log keeps all it knows, for a path counts once and for all."""


# What the job sees.


@dataclass
class FileSource:
    """A file, a folder, a glob or a URL; url: as normal_url gives it. Whom it tells what, it knows once checked."""

    url: str
    max_batch_bytes: int
    patience: Patience = NO_PATIENCE
    notes: Notes | None = None
    data_source: ClassVar[type[DataSource]] = PingFiles

    @property
    def identity(self) -> str:
        """The URL."""
        return self.url

    def check(self, stop: threading.Event, say: Callable[[str], None]) -> None:
        """Raises MissionControlError when there is no such source or it holds no pings by its name.

        An object store that does not answer is waited for half a minute.
        """
        self.patience = Patience.saying(say, stop)
        check_source(self.url, replace(self.patience, seconds=START_SECONDS))

    def trouble(self) -> str | None:
        """That an object store does not answer, where that is so."""
        return self.notes.read() if self.notes else None

    def plan(self, checkpoint: Path) -> "FilePlan":
        """The plan in a checkpoint's folder."""
        folder = checkpoint / "scratch" / "waiting"
        folder.mkdir(parents=True, exist_ok=True)
        self.notes = Notes(folder) if is_remote(self.url) else None
        return FilePlan(self.url, checkpoint / "files.log", folder, self.max_batch_bytes, self.patience)


class FilePlan:
    """Which files are in which micro-batch: the log, and what is there now."""

    def __init__(self, source: str, log: Path, notes: Path, max_bytes: int, patience: Patience) -> None:
        self._source, self._path, self._notes, self._max_bytes = source, log, notes, max_bytes
        self._patience = patience
        self._log = FileLog(log)
        self._newest = (0, 0)  # how many micro-batches there were, and the bytes of the last
        self.passed_over = PassedOver()

    def __len__(self) -> int:
        return len(self._log)

    def has_pings(self) -> bool:
        """Whether there is or was a file to read."""
        return bool(len(self._log) or self._list())

    def look(self) -> PassedOver:
        """The files that are ignored now."""
        self._list()
        return self.passed_over

    def _list(self) -> list[Listed]:
        self.passed_over = PassedOver()
        return list_files(self._source, self._patience, self.passed_over)

    def options(self) -> dict[str, str]:
        """What PingFiles takes."""
        paths = {"log": str(self._path), "notes": str(self._notes), "density": str(self._path.with_name(DENSITY))}
        return {"source": self._source, "max_bytes": str(self._max_bytes), **paths}

    def unread_bytes(self, committed: int) -> int:
        """The sizes of the files that are not in the micro-batches before that number."""
        unfinished = self._log.files(min(committed, len(self._log)), len(self._log))
        new = [file for file in self._list() if not file.is_among(self._log.seen)]
        return sum(max(file.size, 0) for file in [*unfinished, *new])

    def read(self, number: int, document_bytes: int) -> Read:
        """The files of a micro-batch."""
        self._log.refresh()
        files = self._log.files(number, number + 1)
        return Read(sum(max(file.size, 0) for file in files), len(files))

    def newest_bytes(self) -> int:
        """The sizes of the newest micro-batch's files, of those that the log has read in: another thread reads on."""
        count = len(self._log)
        if self._newest[0] != count:
            files = self._log.files(count - 1, count)
            self._newest = count, sum(max(file.size, 0) for file in files)
        return self._newest[1]

    def note_rows(self, number: int, document_bytes: int, rows: int) -> None:
        """Notes how many rows the files of a micro-batch made."""
        Density(self._path.with_name(DENSITY)).note(rows, self.read(number, document_bytes).bytes)

    def has_few_rows(self, number: int, cores: int) -> bool:
        """Whether its files are few bytes, unpacked, or the last ones made few rows."""
        self._log.refresh()
        return have_few_rows(self._log.files(number, number + 1), cores, Density(self._path.with_name(DENSITY)))
