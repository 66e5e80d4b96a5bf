"""The sums of a whole dataset by hour, cached in memory and kept up to date, as the basis of summaries."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import TYPE_CHECKING

from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.monitor.hours import DAY, hour_of
from missioncontrol_nb.monitor.summaries import Rate, Version
from missioncontrol_nb.monitor.versions_in_use import (
    CalendarWithUnlisted,
    FirstHours,
    first_hours,
    release_moment,
    rows_of_official,
    rows_of_unlisted,
)
from missioncontrol_nb.releases.calendar import Calendar
from missioncontrol_nb.releases.versions import version_key
from missioncontrol_nb.statistics import PER_HOURS, rate_interval
from streaming import contract

if TYPE_CHECKING:
    import pandas as pd

DAYS_AT_A_TIME = 7  # Two months in one read take 130 MB more and are no faster


@dataclass(frozen=True)
class Counts:
    """Sums over a time span: usage hours, and events by measure.

    counted_hours: the usage hours in which a measure was counted, for each measure that was not counted in the whole
    span, as before it was declared.
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


@dataclass(frozen=True)
class Day:
    """A day's sums by hour, channel, system and display version.

    listed: sums of versions in the calendar, of the builds that count. unlisted: sums of versions that the calendar
    lacks, of all builds. usage: `usage_hours` of all rows, by `channel` and `window_start`.
    """

    listed: "pd.DataFrame"
    unlisted: "pd.DataFrame"
    usage: "pd.DataFrame"


class HourlySums:
    """Sums by hour, channel, system and display version; a day is reloaded only when its files have changed.

    The sums are of one product, identified by its application on each system; other products and others' builds are
    left out. is_official: only builds that the calendar knows as official, and all builds of versions that the calendar
    lacks but that are used (see `unlisted`). official: the calendar that decides which builds count; None: all count.
    measures: those that the dataset has; a dataset made before a measure was declared lacks it. Two months of a busy
    fleet are 110,000 rows, 15 MB.
    """

    KEYS = ("application", "channel", "os_name", "display_version")

    def __init__(
        self, dataset: Dataset, calendar: Calendar, is_official: bool, product: contract.Product = contract.FIREFOX
    ) -> None:
        self.dataset, self.calendar, self.is_official, self.product = dataset, calendar, is_official, product
        self.measures: tuple[str, ...] = contract.MEASURE_NAMES
        self._files: Mapping[date, int] = {}
        self._days: dict[date, Day] = {}
        self._unlisted: FirstHours = {}
        self.official: Calendar | None = calendar if is_official else None
        self._by_platform: dict[str, dict[str, pd.DataFrame]] = {}
        self._versions: dict[tuple[str, date], tuple[Version, ...]] = {}
        self._part_of_hour = lru_cache(256)(self._load_part_of_hour)

    def refresh(self) -> None:
        """Loads the days whose files changed since the last call."""
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
        sums = self._load(first, last)
        is_unlisted = rows_of_unlisted(sums, self.calendar)
        counts = ~is_unlisted & rows_of_official(sums, self.calendar) if self.is_official else ~is_unlisted
        listed, unlisted = _of_all_builds(sums[counts]), _of_all_builds(sums[is_unlisted])
        usage = sums.groupby(["channel", "window_start"], as_index=False)["usage_hours"].sum()
        for day in (first + number * DAY for number in range((last - first).days + 1)):
            self._days[day] = Day(*(_of_day(part, day) for part in (listed, unlisted, usage)))

    def _load(self, first: date, last: date) -> "pd.DataFrame":
        until = datetime.combine(last, time()) + DAY
        by = (*self.KEYS, "build_id")
        sums = self.dataset.load(first, until, by=by, every="1h", application=self.product.applications)
        return of_product(sums, self.product)

    def _arrange(self) -> None:
        import pandas as pd

        self._by_platform, self._versions, self._unlisted = {}, {}, {}
        if not self._days:
            return
        days = [self._days[day] for day in sorted(self._days)]
        unlisted = pd.concat([day.unlisted for day in days], ignore_index=True)
        self._unlisted = first_hours(unlisted, pd.concat([day.usage for day in days]))
        if self.is_official:
            named = pd.MultiIndex.from_frame(unlisted[["channel", "display_version"]])
            unlisted = unlisted[named.isin(list(self._unlisted))]
            self.official = CalendarWithUnlisted(
                self.calendar.releases, self.calendar.product, frozenset(self._unlisted)
            )
        sums = pd.concat([*(day.listed for day in days), unlisted], ignore_index=True)
        self.measures = tuple(name for name in contract.MEASURE_NAMES if name in sums)
        for (channel, os_name), rows in sums.groupby(["channel", "os_name"], sort=True):
            rows = rows.drop(columns=["channel", "os_name"]).astype({"display_version": "category"})
            self._by_platform.setdefault(channel, {})[os_name] = rows

    def channels(self) -> tuple[str, ...]:
        """The channels that have at least one ping."""
        return tuple(self._by_platform)

    def platforms(self, channel: str) -> tuple[str, ...]:
        """The systems from which a channel has at least one ping."""
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
        """Sums of a version in part of an hour; _files: part of the cache key, changes with the files of the day."""
        place = {"channel": channel, "os_name": os_name, "display_version": version}
        place["application"] = self.product.platform(os_name).application
        return self._sum(self.dataset.load(since, until, every=None, official=self.official, **place))

    def adoption(self, channel: str, os_name: str, version: str, now: datetime) -> float | None:
        """A version's share of the usage hours of the last 24 hours and the current hour; None without usage."""
        rows = self._by_platform[channel][os_name]
        starts = rows["window_start"]
        recent = rows[(starts >= hour_of(now) - DAY) & (starts <= now)]
        usage = recent["usage_hours"].sum()
        on_version = recent["usage_hours"][recent["display_version"] == version].sum()
        return float(on_version / usage) if usage > 0 else None

    def first_hour(self) -> datetime | None:
        """The start of the first hour that has a ping."""
        starts = [rows["window_start"].min() for channel in self._by_platform.values() for rows in channel.values()]
        return min(starts).to_pydatetime() if starts else None

    def newest_hour(self) -> datetime | None:
        """The start of the newest hour that has a ping."""
        starts = [rows["window_start"].max() for channel in self._by_platform.values() for rows in channel.values()]
        return max(starts).to_pydatetime() if starts else None

    def versions(self, channel: str, at: datetime) -> tuple[Version, ...]:
        """The versions of a channel that were out at a moment and that have pings, highest first.

        They include versions that the calendar lacks, from the first hour in which they had enough usage.
        """
        if channel not in self._by_platform:
            return ()
        key = channel, at.date()
        if key not in self._versions:
            self._versions[key] = tuple(self._find_versions(channel, at))
        return tuple(version for version in self._versions[key] if version.released <= at)

    def _find_versions(self, channel: str, at: datetime) -> list[Version]:
        pings = self._pings_by_hour(channel, at)
        dates = {each.version: each.date for each in self.calendar.on(channel, at)}
        moments = {name: release_moment(day, pings[name]) for name, day in dates.items() if name in pings.columns}
        found = [Version(name, moment) for name, moment in moments.items() if moment is not None]
        on_day = self.calendar.newest_date if self.product.calendar else None
        found += [Version(name, hour, on_day) for (where, name), hour in self._unlisted.items() if where == channel]
        return sorted(found, key=lambda version: version_key(version.version), reverse=True)

    def _pings_by_hour(self, channel: str, at: datetime) -> "pd.DataFrame":
        """The number of pings of a channel up to a moment: a row per hour, a column per version."""
        import pandas as pd

        parts = [rows[["window_start", "display_version", "count"]] for rows in self._by_platform[channel].values()]
        rows = pd.concat([part.astype({"display_version": object}) for part in parts])
        rows = rows[rows["window_start"] <= at]
        return rows.pivot_table(
            index="window_start", columns="display_version", values="count", aggfunc="sum", fill_value=0
        )


def of_product(rows: "pd.DataFrame", product: contract.Product) -> "pd.DataFrame":
    """The product's rows, without the application column: the product has one application on each system."""
    on_system = {platform.os_name: platform.application for platform in product.platforms}
    is_product = rows["application"] == rows["os_name"].map(on_system)
    return rows[is_product].drop(columns="application")


def _of_all_builds(sums: "pd.DataFrame") -> "pd.DataFrame":
    """Sums over all builds, from sums by build; a measure that no build counted stays missing."""
    keys = ["window_start", "channel", "os_name", "display_version"]
    return sums.drop(columns="build_id").groupby(keys, as_index=False).sum(min_count=1)


def _of_day(sums: "pd.DataFrame", day: date) -> "pd.DataFrame":
    starts, midnight = sums["window_start"], datetime.combine(day, time(), UTC)
    return sums[(starts >= midnight) & (starts < midnight + DAY)]


def _added(one: Counts, other: Counts) -> Counts:
    """The sums of both counts."""
    partly = {*one.counted_hours, *other.counted_hours}
    return Counts(
        one.usage_hours + other.usage_hours,
        {name: events + other.events[name] for name, events in one.events.items()},
        {name: one.hours_of(name) + other.hours_of(name) for name in partly},
    )


def _runs(days: list[date]) -> list[tuple[date, date]]:
    """Runs of consecutive days as (first, last), each of at most DAYS_AT_A_TIME days."""
    runs: list[tuple[date, date]] = []
    for day in days:
        if runs and day - runs[-1][1] == DAY and day - runs[-1][0] < DAYS_AT_A_TIME * DAY:
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return runs
