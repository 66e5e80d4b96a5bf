"""Assigns parts of files to tasks."""

import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from streaming.aggregation.spill import BATCH_ROWS
from streaming.sources.base import Density
from streaming.sources.files.unpacking import open_file
from streaming.storage.listing import Listed, holds_lines, packing_of
from streaming.storage.locations import is_remote

MAX_BATCH_BYTES = 8 << 30
MOST_FILES = 100_000  # in a micro-batch; a limit of bytes does not limit the number of empty files
PIECE_BYTES = 256 << 20  # about as much as one task reads, if there is enough
SMALL_BATCH_BYTES = 4 << 20  # below this size, one task is faster than several
FEW_BYTES = 256 << 20  # unpacked; pings of up to this size make few rows
LONGEST_DOCUMENT_BYTES = 64 << 20  # the rest of a longer document is dropped; it is far too large for a ping anyway
SHORTEST_LINE_BYTES = 8  # where lines are shorter on average, most of them may be empty
_UNPACKED_FACTOR = {".gz": 6, ".zst": 8}  # approximate, for balancing tasks


class Piece(NamedTuple):
    """What one task reads of a file: the bytes from start to end. Only files of lines are split, between lines."""

    path: str
    start: int
    end: int
    modified_us: int


def take(files: Sequence[Listed], seen: set[str], max_bytes: int | None) -> list[Listed]:
    """The first files without a name in seen: as many as fit into max_bytes and MOST_FILES, but at least one."""
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


def share_out(files: Sequence[Listed], cores: int) -> list[list[Piece]]:
    """The parts of files for each task, with about equal bytes; the same at each call for the same files."""
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
    """Whether files are small, or few rows are expected by the density, even if every task makes all rows.

    density: rows per bytes of files as stored, compressed or not.
    """
    weight = sum(map(_weight, files))
    if weight <= FEW_BYTES:
        return True
    rows = density.rows(sum(max(file.size, 0) for file in files))
    return rows is not None and rows * _task_count(weight, cores) <= BATCH_ROWS


def _cut(file: Listed, piece_bytes: int) -> Iterator[Piece]:
    """A large file of lines in parts that begin and end between lines; any other file in one part."""
    start = 0
    if holds_lines(file.path) and not packing_of(file.path) and file.size > 2 * piece_bytes:
        try:
            with open_file(file.path) as stream:
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
            # the task that reads the file reports the fault
    yield Piece(file.path, start, file.size, file.modified_us)
