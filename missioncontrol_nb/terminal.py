"""Helpers that the commands share: numbers within bounds, plurals, and events that are set by stop signals."""

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

MAX_SEED = (1 << 63) - 1
HISTORY_DAYS = 60  # of a simulated fleet, unless another number is given


class NumberRange(click.FloatRange):
    """A finite number within bounds; click itself also accepts `nan` and infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Converts text to a number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class Stop(threading.Event):
    """An event that is set by a stop signal. signal_number: the first such signal, None before."""

    signal_number: int | None = None

    def handle(self, number: int, _frame: object = None) -> None:
        """Handles a signal."""
        self.signal_number = self.signal_number or number
        self.set()

    @property
    def exit_code(self) -> int:
        """The exit code that a shell reports for this signal: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + (self.signal_number or signal.SIGINT)


@contextmanager
def stopped_by_signals(*numbers: signal.Signals, stop: Stop | None = None) -> Iterator[Stop]:
    """An event that Ctrl-C, SIGTERM and the given further signals set; main thread only. stop: one that does more."""
    stop = stop or Stop()
    before = {number: signal.signal(number, stop.handle) for number in (signal.SIGINT, signal.SIGTERM, *numbers)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def plural(number: int, noun: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
