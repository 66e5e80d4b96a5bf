"""Versions and their order."""

from functools import lru_cache

from missioncontrol_nb import arguments
from streaming.errors import MissionControlError
from streaming.pings.validation import VERSION

STAGES = {"a": 0, "b": 1, "rc": 2, None: 3, "esr": 4}
VersionKey = tuple[tuple[int, ...], int, int, str]


def version_key(text: str) -> VersionKey:
    """The sort key of versions, a total order: numbers as numbers, then alpha, beta, candidate, release, esr.

    58.0a1 < 58.0b9 < 58.0b10 < 58.0rc1 < 58.0 < 58.0esr < 58.0.1 < 100.0. Raises MissionControlError where
    the text is not a version.
    """
    return _version_key(text if isinstance(text, str) else arguments.text("version", text))


@lru_cache(8192)
def _version_key(text: str) -> VersionKey:
    match = VERSION.fullmatch(text)
    if match is None:
        shown = arguments.brief(text)
        raise MissionControlError(f"a version reads like 56.0, 56.0.1, 56.0b3, 58.0a1 or 52.4.0esr, not {shown}")
    numbers = [int(number) for number in match[1].split(".")]
    padded = (*numbers, *[0] * (4 - len(numbers)))
    return padded, STAGES[match[2] or match[4]], int(match[3] or 0), text


def major_of(version: str) -> int:
    """The first number of a version."""
    return version_key(version)[0][0]
