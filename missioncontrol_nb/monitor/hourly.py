"""The sums of a whole dataset by hour, kept in memory and kept up to date: what summaries are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from missioncontrol_nb.loader import Dataset
from missioncontrol_nb.monitor.summaries import Rate, Version
from missioncontrol_nb.rates import PER_HOURS, rate_interval
from missioncontrol_nb.releases import Calendar, is_version, version_key
from streaming import contract

if TYPE_CHECKING:
    import pandas as pd

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
DAYS_AT_A_TIME = 7  # two months at once take 130 MB more and are no faster
# A release's first pings come within hours of its day's beginning. Later than this, and the dataset began after it.
FIRST_PINGS_WITHIN = timedelta(hours=36)
# Of the busiest hour of a version's first day: hours with fewer pings are of those who had it before it was out.
OUT_SHARE, LONELY_SHARE = 0.001, 0.1
UNLISTED_SHARE, UNLISTED_HOURS = 0.001, 3  # of a channel's pings of a day, and in how many of its hours


def hour_of(moment: datetime) -> datetime:
    """The start of the hour that holds a moment."""
    return moment.replace(minute=0, second=0, microsecond=0)


@dataclass(frozen=True)
class Counts:
    """Sums over some stretch of time: usage hours, and events by measure.

    counted_hours: the usage hours of measures that were not counted in all of it, as before they were declared.
    """

    usage_hours: float
    events: Mapping[str, int]
    counted_hours: Mapping[str, float] = field(default_factory=dict)

    def hours_of(self, measure: str) -> float:
        """The usage hours in which a measure was counted."""
        return self.counted_hours.get(measure, self.usage_hours)

    def rate(self, measure: str) -> Rate:
        """The rate of a measure with its 95 % interval."""
        events, hours = self.events[measure], self.hours_of(measure)
        lower, upper = rate_interval(events, hours)
        value = PER_HOURS * events / hours if hours else float("nan")
        return Rate(value, float(lower), float(upper), events, hours)


class HourlySums:
    """Sums by hour, channel, system and display version. A day is read again only when its files have changed.

    Of the applications that are the product on their system; others, and others' builds, are left out.
    is_official: only builds that the calendar knows as official. measures: those that the dataset has; one made before
    a measure was declared lacks it. Two months of a busy fleet are 110,000 rows, 15 MB.
    """

    KEYS = ("application", "channel", "os_name", "display_version")

    def __init__(self, dataset: Dataset, calendar: Calendar, is_official: bool) -> None:
        self.dataset, self.calendar, self.is_official = dataset, calendar, is_official
        self.measures: tuple[str, ...] = contract.MEASURE_NAMES
        self._files: Mapping[date, int] = {}
        self._days: dict[date, pd.DataFrame] = {}
        self._by_platform: dict[str, dict[str, pd.DataFrame]] = {}
        self._versions: dict[tuple[str, date], tuple[Version, ...]] = {}
        self._part_of_hour = lru_cache(256)(self._load_part_of_hour)

    def refresh(self) -> None:
        """Reads what changed since the last call."""
        files = self.dataset.files_by_day()
        stale = sorted(day for day, known in files.items() if self._files.get(day) != known)
        gone = set(self._days) - set(files)
        if not stale and not gone:
            return
        for first, last in _runs(stale):
            self._read(first, last)
        for day in gone:
            del self._days[day]
        self._files = files
        self._arrange()

    def _read(self, first: date, last: date) -> None:
        official = self.calendar if self.is_official else None
        until = datetime.combine(last, time()) + DAY
        sums = self.dataset.load(
            since=first, until=until, by=self.KEYS, every="1h", official=official, application=contract.PRODUCT
        )
        sums = of_product(sums)
        day_of = sums["window_start"].dt.date
        for day in (first + number * DAY for number in range((last - first).days + 1)):
            self._days[day] = sums[day_of == day]

    def _arrange(self) -> None:
        import pandas as pd

        self._by_platform, self._versions = {}, {}
        if not self._days:
            return
        sums = pd.concat([self._days[day] for day in sorted(self._days)], ignore_index=True)
        self.measures = tuple(name for name in contract.MEASURE_NAMES if name in sums)
        for (channel, os_name), rows in sums.groupby(["channel", "os_name"], sort=True):
            rows = rows.drop(columns=["channel", "os_name"]).astype({"display_version": "category"})
            self._by_platform.setdefault(channel, {})[os_name] = rows

    def channels(self) -> tuple[str, ...]:
        """The channels that have any ping."""
        return tuple(self._by_platform)

    def platforms(self, channel: str) -> tuple[str, ...]:
        """The systems from which a channel has any ping."""
        return tuple(self._by_platform.get(channel, {}))

    def counts(self, channel: str, os_name: str, version: str, since: datetime, until: datetime) -> Counts:
        """Sums of a version in [since, until); since is the start of an hour, until the start of a window."""
        last_hour = hour_of(until)
        counts = self._sum(self.hours_of(channel, os_name, version, since, last_hour))
        if until > last_hour:
            files = self._files.get(last_hour.date(), 0)
            counts = _added(counts, self._part_of_hour(files, channel, os_name, version, last_hour, until))
        return counts

    def _sum(self, sums: "pd.DataFrame") -> Counts:
        usage, counted = sums["usage_hours"], {}
        for name in self.measures:
            is_counted = sums[name].notna()
            if not is_counted.all():
                counted[name] = float(usage[is_counted].sum())
        total = sums[list(self.measures)].sum()
        return Counts(float(usage.sum()), {name: int(total[name]) for name in self.measures}, counted)

    def hours_of(self, channel: str, os_name: str, version: str, since: datetime, until: datetime) -> "pd.DataFrame":
        """The hourly sums of a version in [since, until), both the start of an hour."""
        rows = self._by_platform[channel][os_name]
        starts = rows["window_start"]
        return rows[(rows["display_version"] == version) & (starts >= since) & (starts < until)]

    def _load_part_of_hour(
        self, _files: int, channel: str, os_name: str, version: str, since: datetime, until: datetime
    ) -> Counts:
        """Kept for as long as the files of the day are the same."""
        official = self.calendar if self.is_official else None
        place = {"channel": channel, "os_name": os_name, "display_version": version}
        place["application"] = contract.APPLICATION_ON[os_name]
        return self._sum(self.dataset.load(since, until, every=None, official=official, **place))

    def adoption(self, channel: str, os_name: str, version: str, now: datetime) -> float | None:
        """The share of a version in the usage hours of the last 24 hours and the one at hand; None without usage."""
        rows = self._by_platform[channel][os_name]
        starts = rows["window_start"]
        recent = rows[(starts >= hour_of(now) - DAY) & (starts <= now)]
        usage = recent["usage_hours"].sum()
        on_version = recent["usage_hours"][recent["display_version"] == version].sum()
        return float(on_version / usage) if usage > 0 else None

    def first_hour(self) -> datetime | None:
        """The start of the first hour in which there is a ping."""
        starts = [rows["window_start"].min() for channel in self._by_platform.values() for rows in channel.values()]
        return min(starts).to_pydatetime() if starts else None

    def newest_hour(self) -> datetime | None:
        """The start of the newest hour in which there is a ping."""
        starts = [rows["window_start"].max() for channel in self._by_platform.values() for rows in channel.values()]
        return max(starts).to_pydatetime() if starts else None

    def versions(self, channel: str, at: datetime) -> tuple[Version, ...]:
        """The versions of a channel that were out at a moment and that have pings, highest first.

        Those of the calendar; and above them those that it, which may be a week late, does not name yet, if they are
        used and their builds are official.
        """
        if channel not in self._by_platform:
            return ()
        key = channel, at.date()
        if key not in self._versions:
            self._versions[key] = tuple(self._find_versions(channel, at))
        return tuple(version for version in self._versions[key] if version.released <= at)

    def _find_versions(self, channel: str, at: datetime) -> list[Version]:
        pings = self._pings_by_hour(channel, at)
        dates: dict[str, date | None] = {each.version: each.date for each in self.calendar.on(channel, at)}
        dates |= dict.fromkeys(self._not_yet_listed(channel, pings, at), None)
        moments = {name: _release_moment(day, pings[name]) for name, day in dates.items() if name in pings.columns}
        found = [Version(name, moment) for name, moment in moments.items() if moment is not None]
        return sorted(found, key=lambda version: version_key(version.version), reverse=True)

    def _pings_by_hour(self, channel: str, at: datetime) -> "pd.DataFrame":
        """The pings of a channel up to a moment: a row an hour, a column a version."""
        import pandas as pd

        parts = [rows[["window_start", "display_version", "count"]] for rows in self._by_platform[channel].values()]
        rows = pd.concat([part.astype({"display_version": object}) for part in parts])
        rows = rows[rows["window_start"] <= at]
        return rows.pivot_table(
            index="window_start", columns="display_version", values="count", aggfunc="sum", fill_value=0
        )

    def _not_yet_listed(self, channel: str, pings: "pd.DataFrame", at: datetime) -> set[str]:
        """Versions above the calendar that have an official build and a share of the last day's pings.

        Without the share, a single ping of anyone's own build would be the newest version.
        """
        newest = self.calendar.newest(channel, at)
        if newest is None:
            return set()
        key = version_key(newest.version)
        recent = pings[pings.index > at - DAY]
        shares = recent.sum() / max(recent.to_numpy().sum(), 1)
        hours = (recent > 0).sum()
        used = [
            name
            for name in pings.columns
            if shares[name] >= UNLISTED_SHARE and hours[name] >= UNLISTED_HOURS and is_version(name)
        ]
        above = [name for name in used if version_key(name) > key]
        if not above:
            return set()
        builds = self.dataset.versions(channel=channel, display_version=above, application=contract.PRODUCT)
        rows = zip(builds["display_version"], builds["build_id"], strict=True)
        return {name for name, build_id in rows if self.calendar.is_official(name, channel, build_id)}


def of_product(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The rows whose application is the product on its system, without the application: there is one on each."""
    is_product = rows["application"] == rows["os_name"].map(contract.APPLICATION_ON)
    return rows[is_product].drop(columns="application")


def _added(one: Counts, other: Counts) -> Counts:
    """The sums of both."""
    partly = {*one.counted_hours, *other.counted_hours}
    return Counts(
        one.usage_hours + other.usage_hours,
        {name: events + other.events[name] for name, events in one.events.items()},
        {name: one.hours_of(name) + other.hours_of(name) for name in partly},
    )


def _runs(days: list[date]) -> list[tuple[date, date]]:
    """Neighbouring days as (first, last), DAYS_AT_A_TIME at most."""
    runs: list[tuple[date, date]] = []
    for day in days:
        if runs and day - runs[-1][1] == DAY and day - runs[-1][0] < DAYS_AT_A_TIME * DAY:
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return runs


def _release_moment(day: date | None, pings: "pd.Series") -> datetime | None:
    """When a version went out: the first hour of its day, or after, that has more than a few of its first day's pings.

    Some run a release hours before it is offered. Its day's beginning where the dataset does not reach back to it;
    None when it had no ping since. pings: by hour.
    """
    midnight = None if day is None else datetime.combine(day, time(), UTC)
    out = pings[(pings > 0) & ((pings.index >= midnight) if midnight else True)]
    if not len(out):
        return None
    first_hour = _first_busy_hour(out[out.index < out.index[0] + DAY])
    if midnight is not None and first_hour - midnight > FIRST_PINGS_WITHIN:
        return midnight
    return first_hour


def _first_busy_hour(pings: "pd.Series") -> datetime:
    """The first hour with a share of the busiest one's pings; one that no ping follows within an hour needs more."""
    busiest = pings.max()
    has_next = (pings.index + HOUR).isin(pings.index) | (pings.index == pings.index[-1])
    least = np.where(has_next, OUT_SHARE, LONELY_SHARE) * busiest
    return pings[pings >= least].index[0].to_pydatetime()
