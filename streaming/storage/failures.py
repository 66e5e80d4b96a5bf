"""Failures of a store or of Delta's library: their reason in a sentence, and retries of those that may be transient."""

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
    """deltalake's message of many coloured lines in one line; for an S3 server's response, its code and message."""
    lines = [line.strip(" \t↳") for line in _COLOURS.sub("", str(error) or repr(error)).splitlines()]
    text = spelled_out(" ".join(line for line in lines if line and not re.match(r"\d+: <unknown>", line)))
    said = re.search("<Code>(.*?)</Code>(?:.*?<Message>(.*?)</Message>)?", text)
    return ": ".join(filter(None, said.groups())) if said else text[:_LONGEST_REASON]


ATTEMPTS = 8  # for errors that may be permanent
_FINAL = (  # in the messages of failures that a retry does not fix
    "Permission denied",
    "Not a directory",
    "Read-only",
    "os error 13",
    "os error 20",
    "<Code>AccessDenied</Code>",
    "NoSuchBucket",
)
_FINAL_AT_START = (*_FINAL, "403 Forbidden", "400 Bad Request", "301 Moved")  # later, credentials may be replaced
_AWAY = re.compile(r"HTTP error|timed out|429 Too Many|\b5\d\d [A-Z]")  # deltalake's messages for an unavailable store
_PASSES = re.compile(rf"{_AWAY.pattern}|{CONFLICT.pattern}")
Result = TypeVar("Result")


def persist(
    attempt: Callable[[bool], Result], url: str, patience: Patience, *, at_start: bool = False, to: str = "write to"
) -> Result:
    """Retry an attempt: a few times after any failure, and until the timeout where the failure may be transient.

    A store that does not respond may recover, and conflicts with other writers' commits may end: beside a job that
    appends several times a second, replacing a large day takes many attempts.

    attempt: called with whether it is a retry; a MissionControlError that it raises is raised unchanged; patience: the
    timeout and reports; at_start: use the shorter timeout of the start, and do not retry refused credentials, which
    later may just have been replaced; to: the operation on url, for the MissionControlError that reports the last
    failure.
    """
    final = _FINAL_AT_START if at_start else _FINAL
    patience = replace(patience, seconds=min(patience.seconds, START_SECONDS)) if at_start else patience

    def passes(error: Exception, number: int) -> bool:  # deltalake raises any type; a bug is raised in the end
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
