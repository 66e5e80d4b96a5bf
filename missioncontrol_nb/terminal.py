"""What the commands share: numbers within bounds, words for counts, and how signals stop what runs."""

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

MAX_SEED = (1 << 63) - 1


class NumberRange(click.FloatRange):
    """A number within bounds, neither `nan` nor infinite, both of which click lets pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number that a text says."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class Stop(threading.Event):
    """Set when a signal came that asks to stop. signal_number: the first one; None before."""

    signal_number: int | None = None

    def hear(self, number: int, _frame: object = None) -> None:
        """Takes a signal."""
        self.signal_number = self.signal_number or number
        self.set()

    @property
    def exit_code(self) -> int:
        """What a shell says of what that signal ended: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + (self.signal_number or signal.SIGINT)


@contextmanager
def stopped_by_signals(*numbers: signal.Signals) -> Iterator[Stop]:
    """An event that Ctrl-C and SIGTERM set, and further signals that are named; main thread only."""
    stop = Stop()
    before = {number: signal.signal(number, stop.hear) for number in (signal.SIGINT, signal.SIGTERM, *numbers)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def plural(number: int, noun: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
