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
from streaming import contract
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


LEAST_SHARE = 0.01  # Of the channel's usage; a version counts from the first hour with it
# Of the usage in the channel's busiest hour; the quietest hour of a night has more. In an hour with less usage, such as
# one that has just begun, a single ping from anyone could make up the whole channel.
LEAST_USAGE = 0.1
LEAST_BASELINE_PINGS = 10  # Of the version in the hour; fewer can be those of a single client
_MAIN_PINGS, _BASELINE_PINGS = contract.count_of_pings("telemetry/main"), contract.count_of_pings("glean/baseline")
USAGE_COLUMNS = ("usage_hours", _MAIN_PINGS, _BASELINE_PINGS)
"""The sums from which shares of usage are worked out; a dataset may lack those after the first."""
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
    """The first hour in which each version had LEAST_SHARE of its channel's usage; absent if it never had.

    It is the share of usage hours or that of baseline pings, whichever is reached first. Hours are reported when a
    session ends, so that a new version has few at first (153.0, simulated: 1 % of the hours reported 3 hours after it
    had 1 % of the use), but a baseline ping is sent when a session begins. unlisted: USAGE_COLUMNS of versions that the
    calendar lacks, by `channel`, `window_start` and `display_version`. usage: the same of all rows, by `channel` and
    `window_start`.
    """
    keys = ["channel", "window_start"]
    of_versions = unlisted.groupby([*keys, "display_version"]).sum()
    of_versions[_BASELINE_PINGS] = of_versions[_BASELINE_PINGS].where(lambda pings: pings >= LEAST_BASELINE_PINGS)
    of_channels = usage.groupby(keys).sum()
    # Where hardly any client sends baseline pings, those of a few are not the use of the channel.
    of_channels[_BASELINE_PINGS] = of_channels[[_MAIN_PINGS, _BASELINE_PINGS]].max(axis="columns")
    used = [
        moment
        for column in ("usage_hours", _BASELINE_PINGS)
        for moment in _hours_with_share(of_versions[column], of_channels[column])
    ]
    first: FirstHours = {}
    for channel, moment, version in sorted(used, reverse=True):
        first[channel, version] = moment.to_pydatetime()
    return first


def _hours_with_share(of_versions: "pd.Series", of_channels: "pd.Series") -> "list[tuple[str, pd.Timestamp, str]]":
    """The channel, hour and version of each value that is LEAST_SHARE of the channel's, in hours with LEAST_USAGE."""
    busiest = of_channels.groupby("channel").transform("max")
    enough = of_channels[of_channels > LEAST_USAGE * busiest]
    share = of_versions / enough.reindex(of_versions.index.droplevel("display_version")).to_numpy()
    return list(share[share >= LEAST_SHARE].index)
