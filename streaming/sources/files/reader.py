"""Reads files in a task: unpacks them, splits them into documents, counts the documents."""

import re
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from streaming import contract
from streaming.aggregation.counter import Counter, Delivery
from streaming.pings.text import BYTE_ORDER_MARK, without_marks
from streaming.sources.files.decompression import Damaged, decompressed, open_file
from streaming.sources.files.splits import MAX_DOCUMENT_BYTES, MIN_LINE_BYTES, FileSplit
from streaming.storage import object_store
from streaming.storage.local_files import compression_of, is_line_delimited
from streaming.storage.locations import is_remote
from streaming.storage.retry import NO_RETRIES, RetryPolicy

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 1 << 20
COMPRESSED_BLOCK_BYTES = 64 << 10
LINE_BUFFER_BYTES = 256 << 10
CHUNK_DOCUMENTS, CHUNK_BYTES = 50, 4 << 20  # documents that are decoded before the first of them is counted
FLUSH_ROWS = 50_000
DEDUPING_FLUSH_ROWS = 20_000  # where a row is a ping, it has up to nine rows of delays
NUMBER_BITS = 44  # of a line in its file; the bits above are the file's number
_EMPTY_LINES = re.compile(rb"\n{3,}")


def count_splits(
    splits: Sequence[FileSplit], counter: Counter, retry_policy: RetryPolicy = NO_RETRIES
) -> Iterator["pa.RecordBatch"]:
    """Reads, decodes and sums; yields batches of contract.partial_schema(). All faults of files are counted.

    Raises MissionControlError where an object store does not answer until the timeout.
    """
    rejects: dict[str, Tally[str]] = {}
    flush_rows = DEDUPING_FLUSH_ROWS if counter.by_delivery else FLUSH_ROWS
    for split in splits:
        reasons: Tally[str] = Tally()
        number = (split.number << NUMBER_BITS) + split.start  # a document has more than one byte, so numbers differ
        for documents in _chunks(_whole_documents(split, counter, reasons, retry_policy)):
            rejected = counter.add_all(documents, [split.modified_us] * len(documents), partial(_delivery, number))
            number += len(documents)
            reasons.update(reason for reason in rejected if reason is not None and reason not in contract.PASSED_OVER)
            if len(counter) > flush_rows:
                yield counter.partial_sums()
        if reasons:
            rejects[split.path] = reasons
    if len(counter):
        yield counter.partial_sums()
    if rejects:
        yield _file_rejects(rejects, by_delivery=counter.by_delivery)


def _delivery(first: int, place: int) -> Delivery:
    """The delivery of a document by its place among some whose first one has a number."""
    return Delivery(first + place)


def _whole_documents(
    split: FileSplit, counter: Counter, reasons: Tally[str], retry_policy: RetryPolicy
) -> Iterator[bytes]:
    """The documents of a part of a file; faults of the file itself are added to the counter and to reasons."""
    count = 0
    fault = None
    try:
        for document in read_documents(split, retry_policy):
            count += 1
            yield document
    except FileNotFoundError:
        fault = "file_vanished"
    except Damaged:
        fault = "file_corrupt"
    except OSError:
        fault = "file_unreadable"
    if fault is None and count == 0 and split.start == 0:
        fault = "empty"
    if fault:
        reasons[fault] += 1
        counter.reject(fault, split.modified_us)


def _chunks(documents: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Documents in chunks that fit into the processor's caches; a large document ends its chunk."""
    chunk: list[bytes] = []
    size = 0
    for document in documents:
        chunk.append(document)
        size += len(document)
        if len(chunk) == CHUNK_DOCUMENTS or size > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _file_rejects(rejects: dict[str, Tally[str]], *, by_delivery: bool) -> "pa.RecordBatch":
    import pyarrow as pa

    rows = [
        {"table": contract.FILE_REJECTS, "file": _as_text(path), "reason": reason, "count": count}
        for path, reasons in rejects.items()
        for reason, count in reasons.items()
    ]
    return pa.RecordBatch.from_pylist(rows, schema=contract.partial_schema(by_delivery=by_delivery))


def _as_text(path: str) -> str:
    """A path that may not be UTF-8, as UTF-8 text."""
    return path.encode(errors="backslashreplace").decode()


def read_documents(split: FileSplit, retry_policy: RetryPolicy = NO_RETRIES) -> Iterator[bytes]:
    """The documents of a part of a file, without blank lines, line ends and byte order marks.

    Raises OSError when the file cannot be read, and Damaged when it cannot be unpacked, after all documents that can
    be; MissionControlError where an object store does not answer until the timeout.
    """
    if split.end < 0:
        raise PermissionError(split.path)
    compression, has_lines = compression_of(split.path), is_line_delimited(split.path)
    if compression:
        blocks = decompressed(_read_blocks(split, COMPRESSED_BLOCK_BYTES, retry_policy), compression)
    else:
        blocks = _read_blocks(split, BLOCK_BYTES, retry_policy)
    documents = _lines(blocks) if has_lines else _one_document(blocks)
    if not compression and has_lines and not is_remote(split.path):
        documents = _local_lines(split)
    for line in documents:
        document = line.strip()
        if document.startswith(BYTE_ORDER_MARK):  # also in mid-file, where files were concatenated
            document = without_marks(document)
        if document:
            yield document


def _read_blocks(split: FileSplit, size: int, retry_policy: RetryPolicy = NO_RETRIES) -> Iterator[bytes]:
    """The bytes of a part of a file."""
    if is_remote(split.path):
        for start in range(split.start, split.end, object_store.RANGE_BYTES):
            block = object_store.read_range(
                split.path, start, min(start + object_store.RANGE_BYTES, split.end), retry_policy
            )
            yield from (block[offset : offset + size] for offset in range(0, len(block), size))
        return
    with open_file(split.path) as stream:
        stream.seek(split.start)
        position = split.start
        while block := stream.read(min(size, split.end - position)):
            position += len(block)
            yield block


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of blocks, without most empty ones; a line over MAX_DOCUMENT_BYTES is cut to about that size."""
    unfinished_line = bytearray()
    for block in blocks:
        most = len(block) // MIN_LINE_BYTES
        first, *others = block.split(b"\n", most)
        if len(others) == most:
            first, *others = _EMPTY_LINES.sub(b"\n\n", block).split(b"\n")
        if len(unfinished_line) < MAX_DOCUMENT_BYTES:
            unfinished_line += first
        if others:
            yield bytes(unfinished_line)
            yield from others[:-1]
            unfinished_line = bytearray(others[-1])
    yield bytes(unfinished_line)


def _local_lines(split: FileSplit) -> Iterator[bytes]:
    """Like _lines, for a local file: more than twice as fast."""
    position = split.start
    with open(split.path, "rb", buffering=LINE_BUFFER_BYTES) as stream:  # noqa: PTH123
        stream.seek(position)
        while position < split.end and (line := stream.readline(MAX_DOCUMENT_BYTES)):
            position += len(line)
            yield line if position <= split.end else line[: split.end - position]
            while len(line) == MAX_DOCUMENT_BYTES and not line.endswith(b"\n"):
                line = stream.readline(MAX_DOCUMENT_BYTES)
                position += len(line)


def _one_document(blocks: Iterator[bytes]) -> Iterator[bytes]:
    content = bytearray()
    for block in blocks:
        if len(content) < MAX_DOCUMENT_BYTES:
            content += block
    yield bytes(content)
