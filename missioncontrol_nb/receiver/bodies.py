"""Unpacks the bodies of requests, within limits: memory does not depend on what a packed body would expand to."""

import zlib

MAX_PACKED_BYTES = 1 << 20
MAX_BODY_BYTES = 8 << 20
_GZIP = 31  # of wbits: with gzip's header and checksum


class BadBody(Exception):  # noqa: N818 (it is data: the answer to a client)
    """A body that is not kept. status: that of the answer; reason: as counted."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def unpacked(body: bytes, encoding: str) -> bytes:
    """A body without its Content-Encoding, gzip or none. Raises BadBody where it is not that, or too large unpacked."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise BadBody(400, "encoding")
    stream = zlib.decompressobj(wbits=_GZIP)
    try:
        content = stream.decompress(body, MAX_BODY_BYTES + 1)
        if stream.eof and not stream.unused_data:  # as clients send it: one stream, and nothing behind it
            return _within_limit(content)
        return _rest_of(stream, content)
    except zlib.error as error:
        raise BadBody(400, "not_gzip") from error


def _rest_of(stream: "zlib._Decompress", content: bytes) -> bytes:
    """The content with that of the streams that follow: gzip allows several, and zeros behind them."""
    while True:
        _within_limit(content)
        if not stream.eof:
            raise BadBody(400, "not_gzip")
        rest = stream.unused_data.lstrip(b"\0")
        if not rest:
            return content
        stream = zlib.decompressobj(wbits=_GZIP)
        content += stream.decompress(rest, MAX_BODY_BYTES + 1 - len(content))


def _within_limit(content: bytes) -> bytes:
    if len(content) > MAX_BODY_BYTES:
        raise BadBody(413, "too_large")
    return content
