"""What a store or Delta's library says when something fails, in a sentence; and which failures pass."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from streaming.errors import MissionControlError
from streaming.storage.locations import spelled_out
from streaming.storage.retry import CONFLICT, START_SECONDS, Patience

_COLOURS = re.compile("\\x1b\\[[0-9;]*m")
_LONGEST_REASON = 500


def reason_of(error: BaseException) -> str:
    """What deltalake says in many coloured lines, in one; of an S3 server's answer, its code and its message."""
    lines = [line.strip(" \t↳") for line in _COLOURS.sub("", str(error) or repr(error)).splitlines()]
    text = spelled_out(" ".join(line for line in lines if line and not re.match(r"\d+: <unknown>", line)))
    said = re.search("<Code>(.*?)</Code>(?:.*?<Message>(.*?)</Message>)?", text)
    return ": ".join(filter(None, said.groups())) if said else text[:_LONGEST_REASON]


ATTEMPTS = 8  # at what need not pass
_FINAL = (  # what a failure says that another attempt will not mend
    "Permission denied",
    "Not a directory",
    "Read-only",
    "os error 13",
    "os error 20",
    "<Code>AccessDenied</Code>",
    "NoSuchBucket",
)
_FINAL_AT_START = (*_FINAL, "403 Forbidden", "400 Bad Request", "301 Moved")  # later, keys may have been exchanged
_AWAY = re.compile(r"HTTP error|timed out|429 Too Many|\b5\d\d [A-Z]")  # what deltalake says of a store that is
_PASSES = re.compile(rf"{_AWAY.pattern}|{CONFLICT.pattern}")
Result = TypeVar("Result")


def persist(
    attempt: Callable[[bool], Result], url: str, patience: Patience, *, at_start: bool = False, to: str = "write to"
) -> Result:
    """Try again after a failure: a few times after any, and as long as patience lasts where that may pass.

    A store that does not answer may, and so may commits of others that come first: beside a job that appends several
    times a second, replacing a large day takes many attempts.

    attempt: told whether it is not the first; what it raises as MissionControlError is passed on. at_start: be less
    patient, and not at all with refused keys, which later may just have been exchanged. to: do what with url, for the
    MissionControlError that says the last failure.
    """
    final = _FINAL_AT_START if at_start else _FINAL
    patience = replace(patience, seconds=min(patience.seconds, START_SECONDS)) if at_start else patience

    def passes(error: Exception, number: int) -> bool:  # deltalake raises what it likes; a bug shows in the end
        if isinstance(error, MissionControlError | PermissionError | NotADirectoryError | TypeError):
            return False
        text = str(error)
        return not any(sign in text for sign in final) and (number < ATTEMPTS or bool(_PASSES.search(text)))

    try:
        return patience.bear(attempt, url, passes)
    except MissionControlError:
        raise
    except Exception as error:
        raise MissionControlError(f"cannot {to} {url!r}: {reason_of(error)}") from error
