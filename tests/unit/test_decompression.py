"""Compressed files: what they hold, damage, and memory that does not depend on what they inflate to."""

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from streaming.sources.files.decompression import MAX_OUTPUT_BYTES, Damaged, decompressed

RANDOM = random.Random(0)
CONTENT = b"\n".join(
    json.dumps({"a": RANDOM.random(), "b": "x" * RANDOM.randrange(400)}).encode() for _ in range(20_000)
)


def zst(content: bytes, **settings: bool) -> bytes:
    return zstandard.ZstdCompressor(**settings).compress(content)


def zst_streamed(content: bytes) -> bytes:
    """Without the size of its content, with many blocks that were flushed."""
    packer = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    parts = [packer.compress(content[place : place + 70_000]) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
             for place in range(0, len(content), 70_000)]  # fmt: skip
    return b"".join([*parts, packer.flush()])


def skipped(content: bytes) -> bytes:
    return b"\x53\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


def blocks(packed: bytes, size: int) -> Iterator[bytes]:
    return (packed[place : place + size] for place in range(0, len(packed), size))


def before_damage(packed: bytes, compression: str) -> bytes:
    found = bytearray()
    try:
        for content in decompressed(blocks(packed, 64 << 10), compression):
            found += content
    except Damaged:
        return bytes(found)
    raise AssertionError("found whole")


PACKED = {
    "one stream": (".gz", gzip.compress(CONTENT)),
    "streams and padding": (".gz", gzip.compress(CONTENT[:700]) + bytes(9) + gzip.compress(CONTENT[700:]) + bytes(4)),
    "a frame": (".zst", zst(CONTENT)),
    "a frame with a checksum": (".zst", zst(CONTENT, write_checksum=True)),
    "a frame without its size": (".zst", zst(CONTENT, write_content_size=False)),
    "a frame that was streamed": (".zst", zst_streamed(CONTENT)),
    "frames and skipped ones": (".zst", skipped(b"?" * 99) + zst(CONTENT[:700]) + skipped(b"") + zst(CONTENT[700:])),
    "an empty frame": (".zst", zst(b"") + zst(CONTENT)),
}


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("size", [7, 64 << 10])
def test_what_was_packed_comes_out(name: str, size: int) -> None:
    compression, packed = PACKED[name]
    assert b"".join(decompressed(blocks(packed, size), compression)) == CONTENT


@pytest.mark.parametrize("name", PACKED)
def test_a_file_that_is_cut_short_gives_what_stood_before(name: str) -> None:
    compression, packed = PACKED[name]
    assert CONTENT.startswith(before_damage(packed[:-9], compression))


@pytest.mark.parametrize(("compression", "pack"), [(".gz", gzip.compress), (".zst", zst)])
def test_garbage_after_a_stream_is_damage(compression: str, pack: "type[bytes]") -> None:
    assert before_damage(pack(CONTENT) + b"garbage", compression) == CONTENT


@pytest.mark.parametrize(("compression", "pack"), [(".gz", gzip.compress), (".zst", zst)])
def test_little_is_inflated_at_a_time(compression: str, pack: "type[bytes]") -> None:
    sizes = [len(content) for content in decompressed(iter([pack(bytes(50 << 20))]), compression)]
    assert sum(sizes) == 50 << 20
    assert max(sizes) <= MAX_OUTPUT_BYTES + (128 << 10)


def bomb(size: int, byte: bytes, path: Path) -> Path:
    packer = zstandard.ZstdCompressor().compressobj()
    mebibyte = byte * (1 << 20)
    path.write_bytes(b"".join(packer.compress(mebibyte) for _ in range(size >> 20)) + packer.flush())
    return path


READ = """
import resource, sys
import streaming.sources.files.decompression
from streaming.sources.files.reader import read_documents
from streaming.sources.files.splits import FileSplit
from streaming.sources.files.decompression import Damaged
import zstandard
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
streaming.sources.files.decompression.RATIO_FREE_BYTES = (64 if "too_far" in sys.argv[1] else 1024) << 20
count, end = 0, "end"
try:
    for document in read_documents(FileSplit(sys.argv[1], 0, int(sys.argv[2]), 0)):
        count += 1
except Damaged:
    end = "damaged"
print(count, end, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.parametrize(
    ("name", "size", "byte", "said"),
    [
        ("newlines.jsonl.zst", 250 << 20, b"\n", "0 end"),
        ("one_line.jsonl.zst", 300 << 20, b"a", "1 end"),
        ("too_far.jsonl.zst", 300 << 20, b"\n", "0 damaged"),
        ("document.json.zst", 250 << 20, b" ", "0 end"),
    ],
)
def test_memory_is_bounded_whatever_a_file_inflates_to(
    tmp_path: Path, name: str, size: int, byte: bytes, said: str
) -> None:
    path = bomb(size, byte, tmp_path / name)
    command = [sys.executable, "-c", READ, str(path), str(path.stat().st_size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *found, mebibytes = done.stdout.split()
    assert " ".join(found) == said
    assert int(mebibytes) < 300
