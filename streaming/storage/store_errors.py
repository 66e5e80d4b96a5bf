"""Failures of a store or of Delta's library: their reason in a sentence, and retries of those that may be transient."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from streaming.errors import MissionControlError
from streaming.storage.locations import with_real_paths
from streaming.storage.retry import CONFLICT, START_TIMEOUT_SECONDS, RetryPolicy

_COLOURS = re.compile("\\x1b\\[[0-9;]*m")
_MAX_REASON_CHARACTERS = 500


def reason_of(error: BaseException) -> str:
    """deltalake's message of many coloured lines in one line; for an S3 server's response, its code and message."""
    lines = [line.strip(" \t↳") for line in _COLOURS.sub("", str(error) or repr(error)).splitlines()]
    text = with_real_paths(" ".join(line for line in lines if line and not re.match(r"\d+: <unknown>", line)))
    response = re.search("<Code>(.*?)</Code>(?:.*?<Message>(.*?)</Message>)?", text)
    return ": ".join(filter(None, response.groups())) if response else text[:_MAX_REASON_CHARACTERS]


MAX_ATTEMPTS = 8  # for errors that may be permanent
_PERMANENT = (  # in the messages of failures that a retry does not fix
    "Permission denied",
    "Not a directory",
    "Read-only",
    "os error 13",
    "os error 20",
    "<Code>AccessDenied</Code>",
    "NoSuchBucket",
)
_PERMANENT_AT_START = (
    *_PERMANENT,
    "403 Forbidden",
    "400 Bad Request",
    "301 Moved",
)  # later, credentials may be replaced
_UNAVAILABLE = re.compile(
    r"HTTP error|timed out|429 Too Many|\b5\d\d [A-Z]"
)  # deltalake's messages for an unavailable store
_TRANSIENT = re.compile(rf"{_UNAVAILABLE.pattern}|{CONFLICT.pattern}")
Result = TypeVar("Result")


def call_with_retry(
    attempt: Callable[[bool], Result],
    url: str,
    retry_policy: RetryPolicy,
    *,
    at_start: bool = False,
    to: str = "write to",
) -> Result:
    """Retry an attempt: a few times after any failure, and until the timeout where the failure may be transient.

    A store that does not respond may recover, and conflicts with other writers' commits may end: beside a job that
    appends several times a second, replacing a large day takes many attempts.

    attempt: called with whether it is a retry; a MissionControlError that it raises is raised unchanged; retry_policy:
    the timeout and reports; at_start: use the shorter timeout of the start, and do not retry refused credentials, which
    later may just have been replaced; to: the operation on url, for the MissionControlError that reports the last
    failure.
    """
    permanent = _PERMANENT_AT_START if at_start else _PERMANENT
    retry_policy = (
        replace(retry_policy, timeout_seconds=min(retry_policy.timeout_seconds, START_TIMEOUT_SECONDS))
        if at_start
        else retry_policy
    )

    def is_transient(error: Exception, number: int) -> bool:  # deltalake raises any type; a bug is raised in the end
        if isinstance(error, MissionControlError | PermissionError | NotADirectoryError | TypeError):
            return False
        text = str(error)
        return not any(sign in text for sign in permanent) and (number < MAX_ATTEMPTS or bool(_TRANSIENT.search(text)))

    try:
        return retry_policy.call(attempt, url, is_transient)
    except MissionControlError:
        raise
    except Exception as error:
        raise MissionControlError(f"cannot {to} {url!r}: {reason_of(error)}") from error
