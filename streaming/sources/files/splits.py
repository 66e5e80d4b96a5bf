"""Assigns parts of files to tasks."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from streaming.aggregation.spill import BATCH_ROWS
from streaming.sources.base import Density
from streaming.sources.files.decompression import open_file
from streaming.storage.local_files import FileInfo, compression_of, is_line_delimited
from streaming.storage.locations import is_remote

MAX_BATCH_BYTES = 8 << 30
MAX_DEDUPING_BATCH_BYTES = 1 << 30  # with deduplication, where a row is a ping and a task holds all that it reads
MAX_FILES = 100_000  # in a micro-batch; a limit of bytes does not limit the number of empty files
SPLIT_BYTES = 256 << 20  # about as much as one task reads, if there is enough
SMALL_BATCH_BYTES = 4 << 20  # below this size, one task is faster than several
FEW_BYTES = 256 << 20  # unpacked; pings of up to this size make few rows
MAX_DOCUMENT_BYTES = 64 << 20  # the rest of a longer document is dropped; it is far too large for a ping anyway
MIN_LINE_BYTES = 8  # where lines are shorter on average, most of them may be empty
_UNPACKED_FACTOR = {".gz": 6, ".zst": 8}  # approximate, for balancing tasks


class FileSplit(NamedTuple):
    """What one task reads of a file: the bytes from start to end. Only files of lines are split, between lines.

    number: of the file in its micro-batch.
    """

    path: str
    start: int
    end: int
    modified_us: int
    number: int = 0


def select_batch(files: Sequence[FileInfo], seen: set[str], max_bytes: int | None) -> list[FileInfo]:
    """The first files without a name in seen: as many as fit into max_bytes and MAX_FILES, but at least one."""
    taken: list[FileInfo] = []
    size = 0
    for file in files:
        if file.is_among(seen):
            continue
        size += max(file.size, 0)
        if (taken and max_bytes is not None and size > max_bytes) or len(taken) == MAX_FILES:
            break
        taken.append(file)
    return taken


def assign_to_tasks(files: Sequence[FileInfo], cores: int) -> list[list[FileSplit]]:
    """The parts of files for each task, with about equal bytes; the same at each call for the same files."""
    total = sum(_weight(file) for file in files)
    tasks = _task_count(total, cores)
    split_bytes = max(total // tasks, SMALL_BATCH_BYTES)
    splits = [split for number, file in enumerate(files) for split in _split_file(file, number, split_bytes)]
    splits.sort(key=lambda split: (split.start - split.end, split.path))
    loads = [(0, task) for task in range(min(tasks, len(splits)))]
    splits_of_tasks: list[list[FileSplit]] = [[] for _ in loads]
    for split in splits:
        load, task = heapq.heappop(loads)
        splits_of_tasks[task].append(split)
        weight = _weight(FileInfo(split.path, split.end - split.start, 0))
        heapq.heappush(loads, (load + weight, task))
    return splits_of_tasks


def _task_count(weight: int, cores: int) -> int:
    return 1 if weight < SMALL_BATCH_BYTES else max(cores, -(-weight // SPLIT_BYTES))


def _weight(file: FileInfo) -> int:
    return max(file.size, 0) * _UNPACKED_FACTOR.get(compression_of(file.path), 1)


def unpacked_bytes(splits: Iterable[FileSplit]) -> int:
    """About how many bytes parts of files have when unpacked."""
    return sum(_weight(FileInfo(split.path, split.end - split.start, 0)) for split in splits)


def have_few_rows(files: Sequence[FileInfo], cores: int, density: Density) -> bool:
    """Whether files are small, or few rows are expected by the density, even if every task makes all rows.

    density: rows per bytes of files as stored, compressed or not.
    """
    weight = sum(map(_weight, files))
    if weight <= FEW_BYTES:
        return True
    rows = density.rows(sum(max(file.size, 0) for file in files))
    return rows is not None and rows * _task_count(weight, cores) <= BATCH_ROWS


def _split_file(file: FileInfo, number: int, split_bytes: int) -> Iterator[FileSplit]:
    """A large file of lines in parts that begin and end between lines; any other file in one part."""
    start = 0
    if is_line_delimited(file.path) and not compression_of(file.path) and file.size > 2 * split_bytes:
        try:
            with open_file(file.path) as stream:
                for near in range(split_bytes, file.size, split_bytes):
                    if near <= start:
                        continue
                    stream.seek(near)
                    stream.readline(MAX_DOCUMENT_BYTES)
                    if stream.tell() >= file.size:
                        break
                    yield FileSplit(file.path, start, stream.tell(), file.modified_us, number)
                    start = stream.tell()
        except Exception as error:  # what a remote filesystem raises depends on its client
            if not is_remote(file.path) and not isinstance(error, OSError):
                raise
            # the task that reads the file reports the fault
    yield FileSplit(file.path, start, file.size, file.modified_us, number)
