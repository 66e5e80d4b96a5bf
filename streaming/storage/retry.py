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

PATIENCE_SECONDS = 600.0  # timeout for transient failures in a running job
START_SECONDS = 30.0  # timeout for transient failures at a job's start
QUIET_SECONDS = 3.0  # outages shorter than this are not reported
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_OF_CONFLICTS_SECONDS = 0.5  # each attempt may succeed, however many failed before
_LONGEST_REASON = 200
_COLOURS = re.compile("\\x1b\\[[0-9;]*m|↳")
# deltalake's messages where another writer committed first.
CONFLICT = re.compile(r"concurrent transaction|changed since last commit")
_Result = TypeVar("_Result")
Passes = Callable[[Exception, int], bool]  # whether to retry after a failure of the attempt of this number


def waiting_for(place: str, error: BaseException) -> str:
    """The message that a place is waited for, and why: the last line of its client's error."""
    if CONFLICT.search(str(error)):
        return f"{place}: other writers commit again and again while this one tries to; trying again"
    why = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    return f"{place} does not answer ({why[-1][:_LONGEST_REASON] if why else repr(error)}): waiting"


@dataclass(frozen=True)
class Patience:
    """Retries attempts while their failures are transient, until a timeout.

    tell: called with a sentence about what is waited for, and with None when the wait is over; stop: ends a longer wait
    when set; seconds: the timeout.
    """

    tell: Callable[[str | None], None] = lambda trouble: None
    stop: threading.Event = field(default_factory=threading.Event)
    seconds: float = PATIENCE_SECONDS

    @classmethod
    def saying(cls, say: Callable[[str], None], stop: threading.Event) -> "Patience":
        """Patience that reports in sentences what is waited for, and when the wait is over."""
        return cls(lambda trouble: say(trouble or "going on"), stop)

    def bear(self, attempt: Callable[[bool], _Result], place: str, passes: Passes) -> _Result:
        """The result of the first attempt that succeeds. Raises the last failure if none does.

        attempt: called with whether it is a retry; place: the store or file, for messages; passes: whether to retry.
        """
        began, pause, has_told = time.monotonic(), _FIRST_PAUSE_SECONDS, False
        for number in count(1):
            try:
                result = attempt(number > 1)
            except Exception as error:  # clients of object stores raise errors of any type
                waited = time.monotonic() - began
                if waited > self.seconds or not passes(error, number):
                    if has_told:
                        self.tell(None)
                    raise
                if waited > QUIET_SECONDS and not has_told:
                    self.tell(waiting_for(place, error))
                    has_told = True
                jittered = pause * random.uniform(0.5, 1.5)
                if waited < QUIET_SECONDS:
                    time.sleep(jittered)
                elif self.stop.wait(jittered):
                    raise
                is_conflict = CONFLICT.search(str(error))
                pause = min(2 * pause, _LONGEST_PAUSE_OF_CONFLICTS_SECONDS if is_conflict else _LONGEST_PAUSE_SECONDS)
            else:
                if has_told:
                    self.tell(None)
                return result
        raise AssertionError("the last attempt returns or raises")


NO_PATIENCE = Patience(seconds=0)


class Notes:
    """What the processes of a job wait for, as messages for the job to read: a file per process in a local folder.

    A process on another machine, where there is no such folder, writes no message.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def tell(self, trouble: str | None) -> None:
        """Writes the message about what this process waits for; None removes it."""
        note = self._folder / f"{os.getpid()}.txt"
        if trouble is None:
            note.unlink(missing_ok=True)
        elif self._folder.is_dir():
            unfinished = note.with_suffix(".tmp")
            unfinished.write_text(trouble)
            unfinished.replace(note)

    def read(self) -> str | None:
        """The message of one process that waits, None when none does."""
        for note in sorted(self._folder.glob("*.txt")):
            try:
                return note.read_text()
            except FileNotFoundError:
                continue
        return None
