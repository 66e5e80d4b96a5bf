"""The sums of a whole dataset by hour, kept in memory and kept up to date: what summaries are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

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


def hour_of(moment: datetime) -> datetime:
    """The start of the hour that holds a moment."""
    return moment.replace(minute=0, second=0, microsecond=0)


@dataclass(frozen=True)
class Counts:
    """Sums over some stretch of time: usage hours, and events by measure."""

    usage_hours: float
    events: Mapping[str, int]

    def rate(self, measure: str) -> Rate:
        """The rate of a measure with its 95 % interval."""
        events = self.events[measure]
        lower, upper = rate_interval(events, self.usage_hours)
        value = PER_HOURS * events / self.usage_hours if self.usage_hours else float("nan")
        return Rate(value, float(lower), float(upper), events, self.usage_hours)


class HourlySums:
    """Sums by hour, channel, system and display version. A day is read again only when its files have changed.

    is_official: only builds that the calendar knows as official. measures: those that the dataset has; one made before
    a measure was declared lacks it. Two months of a busy fleet are 110,000 rows, 15 MB.
    """

    KEYS = ("channel", "os_name", "display_version")

    def __init__(self, dataset: Dataset, calendar: Calendar, is_official: bool) -> None:
        self.dataset, self.calendar, self.is_official = dataset, calendar, is_official
        self.measures: tuple[str, ...] = contract.MEASURE_NAMES
        self._files: Mapping[date, int] = {}
        self._days: dict[date, pd.DataFrame] = {}
        self._by_platform: dict[str, dict[str, pd.DataFrame]] = {}
        self._versions: dict[str, tuple[Version, ...]] = {}
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
        sums = self.dataset.load(since=first, until=until, by=self.KEYS, every="1h", official=official)
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
        total = self.hours_of(channel, os_name, version, since, last_hour)[self._summed].sum()
        if until > last_hour:
            files = self._files.get(last_hour.date(), 0)
            total = total.add(self._part_of_hour(files, channel, os_name, version, last_hour, until))
        return Counts(float(total["usage_hours"]), {name: int(total[name]) for name in self.measures})

    def hours_of(self, channel: str, os_name: str, version: str, since: datetime, until: datetime) -> "pd.DataFrame":
        """The hourly sums of a version in [since, until), both the start of an hour."""
        rows = self._by_platform[channel][os_name]
        starts = rows["window_start"]
        return rows[(rows["display_version"] == version) & (starts >= since) & (starts < until)]

    def _load_part_of_hour(
        self, _files: int, channel: str, os_name: str, version: str, since: datetime, until: datetime
    ) -> "pd.Series":
        """Kept for as long as the files of the day are the same."""
        official = self.calendar if self.is_official else None
        place = {"channel": channel, "os_name": os_name, "display_version": version}
        sums = self.dataset.load(since, until, every=None, official=official, **place)
        return sums[self._summed].sum()

    @property
    def _summed(self) -> list[str]:
        return ["usage_hours", *self.measures]

    def adoption(self, channel: str, os_name: str, version: str, now: datetime) -> float | None:
        """The share of a version in the usage hours of the last 24 hours and the one at hand; None without usage."""
        rows = self._by_platform[channel][os_name]
        recent = rows[rows["window_start"] >= hour_of(now) - DAY]
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

        Those of the calendar; and above them those whose builds are official although the calendar, which may be a
        week late, does not name them yet.
        """
        if channel not in self._versions:
            self._versions[channel] = tuple(self._find_versions(channel))
        return tuple(version for version in self._versions[channel] if version.released <= at)

    def _find_versions(self, channel: str) -> list[Version]:
        first_hours = self._first_hours(channel)
        listed = {release.version: release.date for release in self.calendar.on(channel)}
        unlisted = self._not_yet_listed(channel, set(first_hours) - set(listed))
        found = [
            Version(name, _release_moment(listed.get(name), first_hour))
            for name, first_hour in first_hours.items()
            if name in listed or name in unlisted
        ]
        return sorted(found, key=lambda version: version_key(version.version), reverse=True)

    def _first_hours(self, channel: str) -> dict[str, datetime]:
        """The first hour of each display version, on or after the day it went out where that is known."""
        dates = {release.version: release.date for release in self.calendar.on(channel)}
        first: dict[str, datetime] = {}
        for rows in self._by_platform.get(channel, {}).values():
            for name, starts in rows.groupby("display_version", observed=True)["window_start"]:
                midnight = datetime.combine(dates.get(name, date.min), time(), starts.dt.tz)
                out = starts[starts >= midnight] if name in dates else starts
                if len(out):
                    moment = out.min().to_pydatetime()
                    first[name] = min(moment, first.get(name, moment))
        return first

    def _not_yet_listed(self, channel: str, names: set[str]) -> set[str]:
        """Of versions that are not on the calendar, those above it that have an official build."""
        newest = self.calendar.newest(channel)
        if newest is None:
            return set()
        key = version_key(newest.version)
        above = sorted(name for name in names if is_version(name) and version_key(name) > key)
        if not above:
            return set()
        builds = self.dataset.versions(channel=channel, display_version=above)
        rows = zip(builds["display_version"], builds["build_id"], strict=True)
        return {name for name, build_id in rows if self.calendar.is_official(name, channel, build_id)}


def _runs(days: list[date]) -> list[tuple[date, date]]:
    """Neighbouring days as (first, last), DAYS_AT_A_TIME at most."""
    runs: list[tuple[date, date]] = []
    for day in days:
        if runs and day - runs[-1][1] == DAY and day - runs[-1][0] < DAYS_AT_A_TIME * DAY:
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return runs


def _release_moment(day: date | None, first_hour: datetime) -> datetime:
    """When a version went out: its first hour; its day's beginning where the dataset does not reach back to it."""
    if day is None:
        return first_hour
    midnight = datetime.combine(day, time(), first_hour.tzinfo)
    return first_hour if first_hour - midnight <= FIRST_PINGS_WITHIN else midnight
