"""Reads files in a Spark task: unpacks them, splits them into documents, counts the documents."""

import re
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from streaming import contract
from streaming.aggregation.counter import Counter
from streaming.pings.text import BYTE_ORDER_MARK, without_marks
from streaming.sources.files.splits import LONGEST_DOCUMENT_BYTES, SHORTEST_LINE_BYTES, Piece
from streaming.sources.files.unpacking import Damaged, open_file, unpacked
from streaming.storage import object_store
from streaming.storage.listing import holds_lines, packing_of
from streaming.storage.locations import is_remote
from streaming.storage.retry import NO_PATIENCE, Patience

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 1 << 20
PACKED_BLOCK_BYTES = 64 << 10
LINE_BUFFER_BYTES = 256 << 10
HANDFUL, HANDFUL_BYTES = 50, 4 << 20  # documents that are decoded before the first of them is counted
FLUSH_ROWS = 50_000
_EMPTY_LINES = re.compile(rb"\n{3,}")


def count_pieces(
    pieces: Sequence[Piece], counter: Counter, patience: Patience = NO_PATIENCE
) -> Iterator["pa.RecordBatch"]:
    """Reads, decodes and sums; yields batches of contract.partial_schema(). All faults of files are counted.

    Raises MissionControlError where an object store does not answer until the timeout.
    """
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
    """The documents of a part of a file; faults of the file itself are added to the counter and to reasons."""
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
    """Documents in chunks that fit into the processor's caches; a large document ends its chunk."""
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
    """A path that may not be UTF-8, as UTF-8 text."""
    return path.encode(errors="backslashreplace").decode()


def read_documents(piece: Piece, patience: Patience = NO_PATIENCE) -> Iterator[bytes]:
    """The documents of a part of a file, without blank lines, line ends and byte order marks.

    Raises OSError when the file cannot be read, and Damaged when it cannot be unpacked, after all documents that can
    be; MissionControlError where an object store does not answer until the timeout.
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
        if document.startswith(BYTE_ORDER_MARK):  # also in mid-file, where files were concatenated
            document = without_marks(document)
        if document:
            yield document


def _read_blocks(piece: Piece, size: int, patience: Patience = NO_PATIENCE) -> Iterator[bytes]:
    """The bytes of a part of a file."""
    if is_remote(piece.path):
        for start in range(piece.start, piece.end, object_store.RANGE_BYTES):
            block = object_store.read_range(
                piece.path, start, min(start + object_store.RANGE_BYTES, piece.end), patience
            )
            yield from (block[place : place + size] for place in range(0, len(block), size))
        return
    with open_file(piece.path) as stream:
        stream.seek(piece.start)
        position = piece.start
        while block := stream.read(min(size, piece.end - position)):
            position += len(block)
            yield block


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of blocks, without most empty ones; a line over LONGEST_DOCUMENT_BYTES is cut to about that size."""
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
    """Like _lines, for a local file: more than twice as fast."""
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
