"""Decompresses files in small steps: memory does not depend on the decompressed size."""

import zlib
from collections.abc import Iterator
from typing import IO

from streaming.storage import object_store
from streaming.storage.locations import is_remote


def open_file(path: str) -> IO[bytes]:
    """Opens a file for reading, on this machine or in an object store."""
    return object_store.open_file(path) if is_remote(path) else open(path, "rb")  # noqa: PTH123


MAX_OUTPUT_BYTES = 1 << 20  # decompressed at once
# Compressed pings expand some 10 to 200 times. The rest of a file that expands beyond these limits is not read.
MAX_RATIO, RATIO_FREE_BYTES = 5_000, 1 << 30
_ZSTD_MAGIC, _ZSTD_MAX_WINDOW_BYTES = b"\x28\xb5\x2f\xfd", 1 << 27
_ZSTD_BLOCKS_PER_PART = MAX_OUTPUT_BYTES >> 17  # each expands to 128 KiB at most
_RLE_BLOCK = 1  # a block type: one byte that is repeated


class Damaged(Exception):  # noqa: N818 (it is data, caught where the file is read)
    """A compressed file that is cut short or corrupt, or expands far more than pings do."""


def decompressed(blocks: Iterator[bytes], compression: str) -> Iterator[bytes]:
    """The content of one or more concatenated compressed streams, about MAX_OUTPUT_BYTES at a time.

    blocks: the bytes of the file; packing: `.gz` or `.zst`. Raises Damaged after all content that can be decompressed.
    """
    sizes = [0, 0]
    inflate = _inflate_gzip if compression == ".gz" else _inflate_zstandard
    for content in inflate(_measured(blocks, sizes)):
        sizes[1] += len(content)
        if sizes[1] > max(RATIO_FREE_BYTES, MAX_RATIO * sizes[0]):
            raise Damaged(f"inflates to more than {MAX_RATIO:,} times its size")
        yield content


def _measured(blocks: Iterator[bytes], sizes: list[int]) -> Iterator[bytes]:
    for block in blocks:
        sizes[0] += len(block)
        yield block


def _inflate_gzip(blocks: Iterator[bytes]) -> Iterator[bytes]:
    decompressor = None
    for packed in blocks:
        block = packed
        while block:
            if decompressor is None or decompressor.eof:
                block = block.lstrip(b"\0")  # gzip allows such padding between and after streams
                decompressor = zlib.decompressobj(wbits=31) if block else decompressor
            if not block or decompressor is None:
                break
            is_full = True
            while is_full:  # output that did not fit may remain, even without further input
                try:
                    content = decompressor.decompress(block, MAX_OUTPUT_BYTES)
                except zlib.error as error:
                    raise Damaged(str(error)) from error
                yield content
                block = decompressor.unconsumed_tail
                is_full = len(content) == MAX_OUTPUT_BYTES and not decompressor.eof
            block = decompressor.unused_data if decompressor.eof else block
    if decompressor is not None and not decompressor.eof:
        raise Damaged("cut short")


def _inflate_zstandard(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Splits frames between blocks: zstandard decompresses all of its input at once, to 32,000 times the size."""
    import zstandard

    stream = _Stream(blocks)
    while stream.has_more():
        decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_MAX_WINDOW_BYTES).decompressobj()
        for part in _zstandard_parts(stream):
            try:
                yield decompressor.decompress(part)
            except zstandard.ZstdError as error:
                raise Damaged(str(error)) from error
        if not decompressor.eof:
            raise Damaged("cut short")


def _zstandard_parts(stream: "_Stream") -> Iterator[bytes]:
    """A frame (RFC 8878) in parts of several blocks each. Malformed content is left to the decompressor to detect."""
    magic = stream.read(4)
    if magic != _ZSTD_MAGIC:
        if len(magic) == 4 and magic[0] & 0xF0 == 0x50 and magic[1:] == b"\x2a\x4d\x18":  # a frame to be skipped
            yield from _skippable_parts(magic, stream)
            return
        raise Damaged("not zstandard")
    descriptor = stream.read(1)
    if not descriptor:
        raise Damaged("cut short")
    flags = descriptor[0]
    is_single = bool(flags & 0x20)
    header_bytes = (not is_single) + (0, 1, 2, 4)[flags & 3] + (int(is_single), 2, 4, 8)[flags >> 6]
    parts, is_last = [magic, descriptor, stream.read(header_bytes)], False
    while not is_last:
        for _ in range(_ZSTD_BLOCKS_PER_PART):
            head = stream.read(3)
            if len(head) < 3:
                raise Damaged("cut short")
            number = int.from_bytes(head, "little")
            is_last = bool(number & 1)
            parts += [head, stream.read(1 if number >> 1 & 3 == _RLE_BLOCK else number >> 3)]
            if is_last:
                parts.append(stream.read(4 if flags & 4 else 0))  # the checksum
                break
        yield b"".join(parts)
        parts.clear()


def _skippable_parts(magic: bytes, stream: "_Stream") -> Iterator[bytes]:
    size = stream.read(4)
    yield magic + size
    left = int.from_bytes(size, "little")
    while left and (part := stream.read(min(left, MAX_OUTPUT_BYTES))):
        left -= len(part)
        yield part


class _Stream:
    """Blocks of bytes as one stream."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._block, self._offset = blocks, b"", 0

    def has_more(self) -> bool:
        """Whether anything but padding follows; padding is ignored."""
        while True:
            self._block, self._offset = self._block[self._offset :].lstrip(b"\0"), 0
            if self._block:
                return True
            following = next(self._blocks, None)
            if following is None:
                return False
            self._block = following

    def read(self, size: int) -> bytes:
        """The next bytes; fewer at the end of the stream."""
        end = self._offset + size
        if end <= len(self._block):
            taken = self._block[self._offset : end]
            self._offset = end
            return taken
        parts = [self._block[self._offset :]]
        missing = size - len(parts[0])
        self._block, self._offset = b"", 0
        while missing and (block := next(self._blocks, None)) is not None:
            parts.append(block[:missing])
            self._block, self._offset = block, len(parts[-1])
            missing -= len(parts[-1])
        return b"".join(parts)
