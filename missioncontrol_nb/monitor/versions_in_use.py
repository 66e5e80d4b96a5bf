"""Versions in use: their release times, and the versions and builds that the release calendar lacks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.monitor.time_units import HOUR
from missioncontrol_nb.monitor.version_hours import DAY_SECONDS, Floats, Seconds
from missioncontrol_nb.releases.calendar import Calendar
from streaming.pings.validation import is_version

if TYPE_CHECKING:
    import pandas as pd

Mask = npt.NDArray[np.bool_]
# A release's first pings arrive within hours after the start of its day. If they are later than this, the dataset
# began after the release.
FIRST_PINGS_WITHIN = timedelta(hours=36)
# Shares of the pings in the busiest hour of a version's first day; hours with fewer pings come from users who had the
# version before its release.
OUT_SHARE, LONELY_SHARE = 0.001, 0.1


def release_moment(day: date, hours: Seconds, pings: Floats) -> datetime | None:
    """A version's release time: the first hour, from its release day on, with more than a few of its first day's pings.

    Some users run a release hours before it is offered. The result is the start of the day where the dataset does not
    reach back to the release, and None where the version has had no ping since. hours: starts of hours, in seconds
    since 1970, ascending; pings: how many each one has.
    """
    midnight = datetime.combine(day, time(), UTC)
    is_out = (pings > 0) & (hours >= midnight.timestamp())
    hours, pings = hours[is_out], pings[is_out]
    if not len(hours):
        return None
    is_first_day = hours < hours[0] + DAY_SECONDS
    first_hour = _first_busy_hour(hours[is_first_day], pings[is_first_day])
    if first_hour - midnight > FIRST_PINGS_WITHIN:
        return midnight
    return first_hour


def _first_busy_hour(hours: Seconds, pings: Floats) -> datetime:
    """The first hour with OUT_SHARE of the busiest hour's pings, LONELY_SHARE where the next hour has no pings."""
    has_next = np.isin(hours + HOUR.seconds, hours) | (hours == hours[-1])
    least = np.where(has_next, OUT_SHARE, LONELY_SHARE) * pings.max()
    return datetime.fromtimestamp(int(hours[pings >= least][0]), UTC)


LEAST_SHARE = 0.01  # Of the channel's usage hours; a version counts from the first hour with it
# Of the usage in the channel's busiest hour; the quietest hour of a night has more. In an hour with less usage, a
# single ping from anyone could make up the whole channel.
LEAST_USAGE = 0.1
FirstHours = dict[tuple[str, str], datetime]
"""The first hour of use by (channel, version), for versions that the calendar lacks and that are used."""


@dataclass(frozen=True)
class CalendarWithUnlisted(Calendar):
    """A calendar that also counts all builds of some versions that it lacks as official."""

    unlisted: frozenset[tuple[str, str]] = frozenset()

    def is_official(self, display_version: str, channel: str, build_id: str) -> bool:
        """Whether a build is official, or of one of the unlisted versions."""
        return (channel, display_version) in self.unlisted or super().is_official(display_version, channel, build_id)


def is_unlisted(calendar: Calendar, version: str, channel: str) -> bool:
    """Whether a text is a version that the calendar lacks on a channel; a text that is no version is never shown."""
    return is_version(version) and not calendar.has(version, channel)


def rows_of_unlisted(sums: "pd.DataFrame", calendar: Calendar) -> Mask:
    """Which rows of sums by channel and display version are of versions that the calendar lacks."""
    return _rows_where(sums, ("channel", "display_version"), lambda each: is_unlisted(calendar, each[1], each[0]))


def rows_of_official(sums: "pd.DataFrame", calendar: Calendar) -> Mask:
    """Which rows of sums by build are of builds that the calendar knows as official."""
    keys = ("display_version", "channel", "build_id")
    return _rows_where(sums, keys, lambda each: calendar.is_official(*each))


def _rows_where(sums: "pd.DataFrame", keys: Sequence[str], holds: Callable[[tuple[str, ...]], bool]) -> Mask:
    """Which rows have keys for which `holds` is true; it is called once per combination of keys."""
    import pandas as pd

    codes = np.zeros(len(sums), np.int64)
    for key in keys:
        of_key, labels = pd.factorize(sums[key])
        codes = codes * len(labels) + of_key
    _, first, place = np.unique(codes, return_index=True, return_inverse=True)
    found = sums[list(keys)].iloc[first].itertuples(index=False, name=None)
    return np.array([holds(each) for each in found], bool)[place]


def first_hours(unlisted: "pd.DataFrame", usage: "pd.DataFrame") -> FirstHours:
    """The first hour in which each version had LEAST_SHARE of its channel's usage hours; absent if it never had.

    unlisted: sums of versions that the calendar lacks. usage: `usage_hours` of all rows, by `channel` and
    `window_start`. A channel's newest hour is ignored if the channel has others, because its data is still arriving.
    """
    by_hour = unlisted.groupby(["channel", "window_start", "display_version"])["usage_hours"].sum()
    if by_hour.empty:
        return {}
    hours = usage.groupby("channel")["window_start"]
    newest, oldest = hours.transform("max"), hours.transform("min")
    usage = usage[(usage["window_start"] < newest) | (newest == oldest)]
    busiest = usage.groupby("channel")["usage_hours"].transform("max")
    enough = usage[usage["usage_hours"] > LEAST_USAGE * busiest].set_index(["channel", "window_start"])["usage_hours"]
    share = by_hour / enough.reindex(by_hour.index.droplevel("display_version")).to_numpy()
    used = share[share >= LEAST_SHARE].reset_index()
    first = used.groupby(["channel", "display_version"])["window_start"].min()
    return {key: moment.to_pydatetime() for key, moment in first.items()}
