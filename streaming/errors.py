"""The error for problems that a user can fix, helpers for its message, and checks that raise it."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

_LONGEST_TEXT, _BEGINNING = 200, 60  # characters: the longest text shown whole, and what is shown of a longer one
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class MissionControlError(Exception):
    """An error that a user can fix; its message is one sentence: what was expected, what was found, what to do."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> MissionControlError:
    """The error for an unknown name; it lists the similar known names, or all of them if none is similar."""
    known = sorted(known)
    said = shortened(name) if isinstance(name, str) else name
    near = get_close_matches(str(said), known, n=3, cutoff=0.5) or known
    return MissionControlError(f"unknown {kind} {said!r}; did you mean {', '.join(near)}?")


def shortened(text: str) -> str:
    """A text to quote in a message, such as a path: the whole text, or only its beginning where it is long."""
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_BEGINNING]}..."


def printable(text: str) -> str:
    """The text with characters that could move a terminal's cursor or begin a line escaped, as repr() does.

    A file's name may hold any character: ESC and newlines would fake lines, and half a surrogate pair cannot be
    written.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    number = ord(character)
    if character in _ESCAPES:
        return _ESCAPES[character]
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def require_location(text: str, what: str = "a path or a URL") -> str:
    """The text unchanged. Raises MissionControlError for an empty text, which would mean the current folder."""
    if not text.strip() or "\0" in text:
        raise MissionControlError(f"expected {what}; got {text!r}. Is a variable empty that should name it?")
    return text


def require_replaceable(path: Path) -> None:
    """Raises MissionControlError where renaming a finished file to a path would replace something other than a file.

    A replaced device or pipe would be lost for every user of the machine.
    """
    if path.exists() and not path.is_file():
        raise MissionControlError(
            f"expected the name of a file to write; got {str(path)!r}, which is a folder, a device or a pipe"
        )
