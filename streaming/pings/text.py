"""Converts forms of valid JSON text that the JSON decoder rejects into forms that it accepts."""

import re

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"
# A run of backslashes, the escape of a surrogate, and the escape of a low surrogate that follows it. The lookbehind is
# false within a run of backslashes: without it, a long run would be searched again from each of its backslashes.
_SURROGATES = re.compile(
    rb"(?P<before>\\(?<!\\\\)\\*)u[dD](?P<half>[89abAB]|[c-fC-F])[0-9a-fA-F]{2}(?P<low>\\u[dD][c-fC-F][0-9a-fA-F]{2})?"
)
_NOT_UTF8 = b"\xff"


def without_marks(text: bytes) -> bytes:
    """Text without leading byte order marks and the blanks around them; unchanged where there are none."""
    while (stripped := text.lstrip(_BLANKS)).startswith(BYTE_ORDER_MARK):
        text = stripped.removeprefix(BYTE_ORDER_MARK).lstrip(_BLANKS)
    return text


def as_decodable(document: bytes) -> bytes:
    """The document without leading byte order marks, and with a byte that is not UTF-8 for each lone surrogate.

    JSON's grammar allows the escape of one half of a surrogate pair, such as `\\ud83d`; msgspec rejects it everywhere.
    It rejects a byte that is not UTF-8 only in text that is read. A document that needs no change is returned as it is.
    """
    document = without_marks(document)
    if b"\\ud" in document or b"\\uD" in document:
        return _SURROGATES.sub(_without_lone_surrogate, document)
    return document


def _without_lone_surrogate(found: re.Match[bytes]) -> bytes:
    before, low = found["before"], found["low"]
    if len(before) % 2 == 0:  # the backslashes escape each other: plain text such as `\\ud83d`
        return found[0].removesuffix(low) + _NOT_UTF8 if low else found[0]
    is_high = found["half"] in b"89abAB"
    if low and is_high:
        return found[0]
    return before[:-1] + (_NOT_UTF8 * 2 if low else _NOT_UTF8)
