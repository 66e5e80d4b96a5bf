"""Main pings that are made at midnight, local time, while a session goes on.

A client sends them within the hour after midnight, at a random moment of its own.
"""

from functools import lru_cache

import numpy as np

from missioncontrol_nb.simulator import population
from missioncontrol_nb.simulator.sessions import REMAINING_KERNEL, WINDOW_SECONDS, WINDOWS_A_DAY, Array
from streaming import contract

SENT_WITHIN_WINDOWS = 3600 // WINDOW_SECONDS
# By windows until midnight: the share of sessions in use that still go on then.
_GOES_ON = np.zeros(WINDOWS_A_DAY + 1)
_GOES_ON[: len(REMAINING_KERNEL)] = np.cumsum(REMAINING_KERNEL[::-1])[::-1][: WINDOWS_A_DAY + 1]


@lru_cache(1)
def _zones() -> dict[int, float]:
    """The share of users by time zone, in windows east of UTC."""
    zones: dict[int, float] = {}
    for country, share in population.COUNTRIES.items():
        offset = round(population.utc_offset_hours(country) * 3600 / WINDOW_SECONDS)
        zones[offset] = zones.get(offset, 0.0) + share
    whole = sum(zones.values())
    return {offset: share / whole for offset, share in zones.items()}


def _until_midnight(first_window: int, windows: int, offset: int) -> Array:
    """How many windows after each window the next midnight of a zone is: 1 for the last one of a day."""
    return WINDOWS_A_DAY - (first_window + np.arange(windows) + offset) % WINDOWS_A_DAY


def crossing_shares(first_window: int, windows: int) -> Array:
    """By window: the share of the hours of use that a ping made at the next midnight reports."""
    return np.asarray(
        sum(share * _GOES_ON[_until_midnight(first_window, windows, offset)] for offset, share in _zones().items())
    )


def arrivals(hours_in_use: Array, first_window: int) -> Array:
    """The hours of use that pings made at midnight report, by the time of their arrival: (builds, windows).

    hours_in_use: (builds, windows), from first_window on.
    """
    windows = hours_in_use.shape[1]
    arrived = np.zeros(hours_in_use.shape)
    for offset, share in _zones().items():
        until = _until_midnight(first_window, windows, offset)
        crossing = hours_in_use * (share * _GOES_ON[until])
        starts = np.unique([0, *np.flatnonzero(until == WINDOWS_A_DAY)])
        by_day = np.add.reduceat(crossing, starts, axis=1)
        for day, midnight in enumerate(starts + until[starts]):
            arrived[:, midnight : midnight + SENT_WITHIN_WINDOWS] += by_day[:, [day]] / SENT_WITHIN_WINDOWS
    return arrived


def arrivals_by_bucket(hours_in_use: Array, first_window: int) -> Array:
    """Like arrivals, of one series of hours, by bucket of `reporting_delays`: (buckets, windows)."""
    windows = len(hours_in_use)
    edges = np.array(contract.DELAY_BUCKET_EDGES_HOURS) * 3600 / WINDOW_SECONDS
    arrived = np.zeros((len(edges), windows))
    for offset, share in _zones().items():
        until = _until_midnight(first_window, windows, offset)
        crossing = hours_in_use * (share * _GOES_ON[until] / SENT_WITHIN_WINDOWS)
        for later in range(SENT_WITHIN_WINDOWS):
            at = np.arange(windows) + until + later
            inside = at < windows
            bucket = np.searchsorted(edges, until + later, side="right")
            np.add.at(arrived, (bucket[inside], at[inside]), crossing[inside])
    return arrived


def countries_at(window: int) -> dict[str, float]:
    """The countries, with their shares of users, whose clients send pings made at midnight in a window."""
    found = {}
    for country, share in population.COUNTRIES.items():
        offset = round(population.utc_offset_hours(country) * 3600 / WINDOW_SECONDS)
        if (window + offset) % WINDOWS_A_DAY < SENT_WITHIN_WINDOWS:
            found[country] = share
    return found
