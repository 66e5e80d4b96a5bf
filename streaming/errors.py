"""The one error for what its reader can fix."""

from collections.abc import Iterable
from difflib import get_close_matches


class MissionControlError(Exception):
    """What was expected, what came, what to do: one sentence a person can act on."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> MissionControlError:
    """The error for a name that is none of the known ones; it lists the near ones, else all."""
    known = sorted(known)
    near = get_close_matches(str(name), known, n=3, cutoff=0.5) or known
    return MissionControlError(f"unknown {kind} {name!r}; did you mean {', '.join(near)}?")
