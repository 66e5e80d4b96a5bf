"""The one error for what its reader can fix."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

_LONGEST_TEXT, _BEGINNING = 200, 60  # characters of a text in a message, and of one that is longer
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class MissionControlError(Exception):
    """What was expected, what came, what to do: one sentence a person can act on."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> MissionControlError:
    """The error for a name that is none of the known ones; it lists the near ones, else all."""
    known = sorted(known)
    said = shortened(name) if isinstance(name, str) else name
    near = get_close_matches(str(said), known, n=3, cutoff=0.5) or known
    return MissionControlError(f"unknown {kind} {said!r}; did you mean {', '.join(near)}?")


def shortened(text: str) -> str:
    """What a message says of text that it must say, such as a path: all of it, or how it begins where it is long."""
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_BEGINNING]}..."


def printable(text: str) -> str:
    """Text in which nothing moves a terminal's cursor or begins a line: such characters escaped, as repr() does.

    A file's name may hold any: ESC and newlines would fake lines, and half a surrogate pair cannot be written.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    number = ord(character)
    if character in _ESCAPES:
        return _ESCAPES[character]
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def require_place(text: str, what: str = "a path or a URL") -> str:
    """The text itself. Raises MissionControlError for an empty one, which would be the current folder."""
    if not text.strip() or "\0" in text:
        raise MissionControlError(f"expected {what}; got {text!r}. Is a variable empty that should name it?")
    return text


def require_replaceable(path: Path) -> None:
    """Raises MissionControlError where a file that is written whole, and renamed, would replace what is no file.

    A device or a pipe would be gone for everybody on the machine.
    """
    if path.exists() and not path.is_file():
        raise MissionControlError(
            f"expected the name of a file to write; got {str(path)!r}, which is a folder, a device or a pipe"
        )
