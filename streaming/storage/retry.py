"""Retries of transient failures, such as a store that does not respond: timeout, backoff, and messages."""

import os
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypeVar

RETRY_TIMEOUT_SECONDS = 600.0  # timeout for transient failures in a running job
START_TIMEOUT_SECONDS = 30.0  # timeout for transient failures at a job's start
OUTAGE_NOTICE_SECONDS = 3.0  # outages shorter than this are not reported
_FIRST_PAUSE_SECONDS = 0.05
_MAX_PAUSE_SECONDS = 5.0
_MAX_CONFLICT_PAUSE_SECONDS = 0.5  # each attempt may succeed, however many failed before
_MAX_REASON_CHARACTERS = 200
_COLOURS_AND_ARROWS = re.compile("\\x1b\\[[0-9;]*m|↳")
# deltalake's messages where another writer committed first.
CONFLICT = re.compile(r"concurrent transaction|changed since last commit")
_Result = TypeVar("_Result")
IsTransient = Callable[[Exception, int], bool]  # whether to retry after a failure of the attempt of this number


def outage_message(target: str, error: BaseException) -> str:
    """The message that a target is waited for, and why: the last line of its client's error."""
    if CONFLICT.search(str(error)):
        return f"{target}: other writers commit again and again while this one tries to; trying again"
    lines = [line.strip() for line in _COLOURS_AND_ARROWS.sub("", str(error)).splitlines() if line.strip()]
    return f"{target} does not answer ({lines[-1][:_MAX_REASON_CHARACTERS] if lines else repr(error)}): waiting"


@dataclass(frozen=True)
class RetryPolicy:
    """Retries attempts while their failures are transient, until a timeout.

    notify: called with a sentence about what is waited for, and with None when the wait is over; stop: ends a longer
    wait when set; timeout_seconds: the timeout.
    """

    notify: Callable[[str | None], None] = lambda message: None
    stop: threading.Event = field(default_factory=threading.Event)
    timeout_seconds: float = RETRY_TIMEOUT_SECONDS

    @classmethod
    def reporting_to(cls, notify: Callable[[str], None], stop: threading.Event) -> "RetryPolicy":
        """A policy that reports in sentences what is waited for, and when the wait is over."""
        return cls(lambda message: notify(message or "going on"), stop)

    def call(self, attempt: Callable[[bool], _Result], target: str, is_transient: IsTransient) -> _Result:
        """The result of the first attempt that succeeds. Raises the last failure if none does.

        attempt: called with whether it is a retry; target: the store or file, for messages; is_transient: whether to
        retry.
        """
        began, pause, is_reported = time.monotonic(), _FIRST_PAUSE_SECONDS, False
        for number in count(1):
            try:
                result = attempt(number > 1)
            except Exception as error:  # clients of object stores raise errors of any type
                waited = time.monotonic() - began
                if waited > self.timeout_seconds or not is_transient(error, number):
                    if is_reported:
                        self.notify(None)
                    raise
                if waited > OUTAGE_NOTICE_SECONDS and not is_reported:
                    self.notify(outage_message(target, error))
                    is_reported = True
                jittered = pause * random.uniform(0.5, 1.5)
                if waited < OUTAGE_NOTICE_SECONDS:
                    time.sleep(jittered)
                elif self.stop.wait(jittered):
                    raise
                is_conflict = CONFLICT.search(str(error))
                pause = min(2 * pause, _MAX_CONFLICT_PAUSE_SECONDS if is_conflict else _MAX_PAUSE_SECONDS)
            else:
                if is_reported:
                    self.notify(None)
                return result
        raise AssertionError("the last attempt returns or raises")


NO_RETRIES = RetryPolicy(timeout_seconds=0)


class OutageNotices:
    """What the processes of a job wait for, as messages for the job to read: a file per process in a local folder.

    A process on another machine, where there is no such folder, writes no message.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, message: str | None) -> None:
        """Writes the message about what this process waits for; None removes it."""
        path = self._folder / f"{os.getpid()}.txt"
        if message is None:
            path.unlink(missing_ok=True)
        elif self._folder.is_dir():
            unfinished = path.with_suffix(".tmp")
            unfinished.write_text(message)
            unfinished.replace(path)

    def read(self) -> str | None:
        """The message of one process that waits, None when none does."""
        for path in sorted(self._folder.glob("*.txt")):
            try:
                return path.read_text()
            except FileNotFoundError:
                continue
        return None
