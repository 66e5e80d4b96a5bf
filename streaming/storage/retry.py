"""Waiting for what passes, such as a store that does not answer: how long, how often it is tried, what is said."""

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

PATIENCE_SECONDS = 600.0  # how long what passes is waited for in a running job
START_SECONDS = 30.0  # and at its start
QUIET_SECONDS = 3.0  # what passes sooner is not worth a word
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_OF_CONFLICTS_SECONDS = 0.5  # each attempt may succeed, however many before it did not
_LONGEST_REASON = 200
_COLOURS = re.compile("\\x1b\\[[0-9;]*m|↳")
# What deltalake says where another writer's commit came first.
CONFLICT = re.compile(r"concurrent transaction|changed since last commit")
_Result = TypeVar("_Result")
Passes = Callable[[Exception, int], bool]  # whether a failure, of the attempt of that number, is worth another


def waiting_for(place: str, error: BaseException) -> str:
    """That a place is waited for, and why: the last that its client says."""
    if CONFLICT.search(str(error)):
        return f"{place}: other writers commit again and again while this one tries to; trying again"
    why = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    return f"{place} does not answer ({why[-1][:_LONGEST_REASON] if why else repr(error)}): waiting"


@dataclass(frozen=True)
class Patience:
    """Makes attempts as long as they fail in a way that passes.

    tell: is told in a sentence what is waited for, and None when that is over; stop: ends a longer waiting when set.
    """

    tell: Callable[[str | None], None] = lambda trouble: None
    stop: threading.Event = field(default_factory=threading.Event)
    seconds: float = PATIENCE_SECONDS

    @classmethod
    def saying(cls, say: Callable[[str], None], stop: threading.Event) -> "Patience":
        """Patience that says in sentences what is waited for, and when that is over."""
        return cls(lambda trouble: say(trouble or "going on"), stop)

    def bear(self, attempt: Callable[[bool], _Result], place: str, passes: Passes) -> _Result:
        """What an attempt gives in the end. Raises its last failure.

        attempt: told whether it is not the first; place: what it is about.
        """
        began, pause, has_told = time.monotonic(), _FIRST_PAUSE_SECONDS, False
        for number in count(1):
            try:
                result = attempt(number > 1)
            except Exception as error:  # clients of object stores raise what they like
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
    """What the processes of a job wait for, for the job to read: in a folder of this machine, a file for each.

    A process on another machine, where there is no such folder, keeps it to itself.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def tell(self, trouble: str | None) -> None:
        """Notes what this process waits for; None: for nothing."""
        note = self._folder / f"{os.getpid()}.txt"
        if trouble is None:
            note.unlink(missing_ok=True)
        elif self._folder.is_dir():
            unfinished = note.with_suffix(".tmp")
            unfinished.write_text(trouble)
            unfinished.replace(note)

    def read(self) -> str | None:
        """What one of them waits for, None when none does."""
        for note in sorted(self._folder.glob("*.txt")):
            try:
                return note.read_text()
            except FileNotFoundError:
                continue
        return None
