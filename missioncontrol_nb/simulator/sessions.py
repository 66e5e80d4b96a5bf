"""The lengths of the simulated sessions, in windows of the dataset."""

from typing import Any

import numpy as np

from streaming import contract

Array = np.ndarray[Any, np.dtype[Any]]
WINDOW_SECONDS = round(contract.WINDOW.total_seconds())
WINDOWS_A_DAY = 86400 // WINDOW_SECONDS
# A ping reports one subsession. Its length is gamma distributed, so that few are very short and few last all day.
MEAN_LENGTH_HOURS = 1.5
LENGTH_SHAPE = 2.0


def _remaining_kernel() -> Array:
    """The distribution of windows from an hour of use to the end of its session; valid for LENGTH_SHAPE 2."""
    lengths = np.arange(16 * 3600 / WINDOW_SECONDS + 1) * WINDOW_SECONDS / 3600 * LENGTH_SHAPE / MEAN_LENGTH_HOURS
    is_going_on = np.exp(-lengths) * (1 + lengths / 2)
    return -np.diff(is_going_on) / (1 - is_going_on[-1])


REMAINING_KERNEL = _remaining_kernel()

# How a session is used. Baseline pings come at its start, at the begin and end of a pause, and after a kill.
ACTIVE_SHARE = 0.3  # Of the hours of use: key presses, clicks, scrolling within 5 seconds
TICK_SECONDS = 5
PAUSES_A_SESSION = 0.5
KILLED_SHARE = 0.04  # Of the sessions
BASELINES_A_SESSION = 1 + 2 * PAUSES_A_SESSION + KILLED_SHARE
# A ping at a pause or after a kill, and one at a start that follows no kill, has the ticks since the last such ping.
MEAN_TICKS = ACTIVE_SHARE * MEAN_LENGTH_HOURS * 3600 / TICK_SECONDS / (1 + PAUSES_A_SESSION)
