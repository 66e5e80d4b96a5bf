"""The sums of a whole dataset by hour, cached in memory and kept up to date, as the basis of summaries."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.loading.query import select
from missioncontrol_nb.loading.table_cache import TableCache
from missioncontrol_nb.monitor.summaries import Rate, Version
from missioncontrol_nb.monitor.time_units import DAY, HOUR, hour_of
from missioncontrol_nb.monitor.version_hours import (
    DAY_SECONDS,
    Floats,
    Key,
    Seconds,
    VersionHours,
    added_up,
    joined,
    seconds_of,
    split_by_day,
)
from missioncontrol_nb.monitor.versions_in_use import (
    USAGE_COLUMNS,
    CalendarWithUnlisted,
    FirstHours,
    first_hours,
    is_unlisted,
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
    """A day's sums by hour.

    hours: by channel, system and version, of the builds that count. unlisted: the rows of versions that the calendar
    lacks, of all builds. usage: USAGE_COLUMNS of all rows, by `channel` and `window_start`. columns: those of the sums.
    """

    hours: Mapping[Key, VersionHours]
    unlisted: "pd.DataFrame"
    usage: "pd.DataFrame"
    columns: tuple[str, ...]


class HourlySums:
    """Sums by hour, channel, system and display version; a day is reloaded only when its files have changed.

    Where the dataset has a cache, days that another process has loaded are taken from it.

    The sums are of one product, identified by its application on each system; other products and others' builds are
    left out. is_official: only builds that the calendar knows as official, and all builds of versions that the calendar
    lacks but that are used (see `unlisted`). official: the calendar that decides which builds count; None: all count.
    measures: those that the dataset has; a dataset made before a measure was declared lacks it. Two months of a busy
    fleet are 110,000 hours, 18 MB.
    """

    KEYS = ("application", "channel", "os_name", "display_version")

    def __init__(
        self, dataset: Dataset, calendar: Calendar, is_official: bool, product: contract.Product = contract.FIREFOX
    ) -> None:
        self.dataset, self.calendar, self.is_official, self.product = dataset, calendar, is_official, product
        self.measures: tuple[str, ...] = contract.MEASURE_NAMES
        self.official: Calendar | None = calendar if is_official else None
        self._files: Mapping[date, str] = {}
        self._days: dict[date, Day] = {}  # In the order of time
        self._unlisted: FirstHours = {}
        self._hours: dict[Key, VersionHours] = {}
        self._by_platform: dict[str, dict[str, list[str]]] = {}  # The versions of each channel and system
        self._ends: tuple[datetime, datetime] | None = None  # The first and the newest hour
        self._versions: dict[tuple[str, date], tuple[Version, ...]] = {}
        self._part_of_hour = lru_cache(256)(self._load_part_of_hour)

    def refresh(self) -> None:
        """Loads the days whose files changed since the last call."""
        files = self.dataset.files_by_day()
        stale = sorted(day for day, known in files.items() if self._files.get(day) != known)
        gone = set(self._days) - set(files)
        if not stale and not gone:
            return
        changed = [self._days.pop(day) for day in (*stale, *gone) if day in self._days]
        for first, last in _runs(stale, max(files, default=date.max)):
            changed += self._read(first, last, files)
        self._files = files
        for day in changed:
            for key in day.hours:
                self._hours.pop(key, None)
        self._arrange()

    def _read(self, first: date, last: date, files: Mapping[date, str]) -> list[Day]:
        """The days from first to last; files: as from `Dataset.files_by_day`."""
        name, cache = f"{first}_{last}_{self._rules}", self.dataset.cache
        state = repr([(day, of_day) for day, of_day in sorted(files.items()) if first <= day <= last])
        load = partial(self._load_frames, first, last)
        frames = load() if cache is None else _shared(cache, name, state, load)
        columns = tuple(name for name in contract.COUNTS if name in frames["sums"])
        hours = split_by_day(frames["sums"], columns)
        days = [first + number * DAY for number in range((last - first).days + 1)]
        unlisted, usage = (_by_day(frames[name], days) for name in ("unlisted", "usage"))
        read = [
            Day(hours.get(day, {}), of_unlisted, of_all, columns)
            for day, of_unlisted, of_all in zip(days, unlisted, usage, strict=True)
        ]
        self._days = dict(sorted((self._days | dict(zip(days, read, strict=True))).items()))
        return read

    @cached_property
    def _rules(self) -> str:
        """A short text that differs where other builds count."""
        return hashlib.sha256(repr((self.calendar, self.is_official, self.product)).encode()).hexdigest()[:16]

    def _load_frames(self, first: date, last: date) -> "dict[str, pd.DataFrame]":
        """The days' sums, in the order of `split_by_day`, and the frames that `Day` describes."""
        sums = self._load(first, last)
        columns = tuple(name for name in contract.COUNTS if name in sums)
        is_unlisted = rows_of_unlisted(sums, self.calendar)
        counts = is_unlisted | rows_of_official(sums, self.calendar) if self.is_official else slice(None)
        used = sums.reindex(columns=["window_start", "channel", "display_version", *USAGE_COLUMNS])
        usage = used.groupby(["window_start", "channel"], as_index=False)[list(USAGE_COLUMNS)].sum()
        return {"sums": _of_all_builds(sums[counts], columns), "unlisted": used[is_unlisted], "usage": usage}

    def _load(self, first: date, last: date) -> "pd.DataFrame":
        until = datetime.combine(last, time()) + DAY
        by, filters = (*self.KEYS, "build_id"), {"application": self.product.applications}
        sums = self.dataset.load_counted(select(first, until, filters, by=by, every="1h"), is_shared=False)
        return of_product(sums, self.product)

    def _arrange(self) -> None:
        import pandas as pd

        self._by_platform, self._versions, self._unlisted, self._ends = {}, {}, {}, None
        self._part_of_hour.cache_clear()
        if not self._days:
            return
        days = self._days.values()
        unlisted = pd.concat([day.unlisted for day in days], ignore_index=True)
        self._unlisted = first_hours(unlisted, pd.concat([day.usage for day in days]))
        if self.is_official:
            self.official = CalendarWithUnlisted(
                self.calendar.releases, self.calendar.product, frozenset(self._unlisted)
            )
        columns = {name for day in days for name in day.columns}
        self.measures = tuple(name for name in contract.MEASURE_NAMES if name in columns)
        counted = {key for key in {key for day in days for key in day.hours} if self._does_count(key)}
        for channel, os_name, version in sorted(counted):
            self._by_platform.setdefault(channel, {}).setdefault(os_name, []).append(version)
        self._ends = _ends(days, counted)

    def _does_count(self, key: Key) -> bool:
        """Whether a version counts: it is in the calendar, or is used, or all builds count."""
        channel, _, version = key
        return (
            not self.is_official
            or (channel, version) in self._unlisted
            or not is_unlisted(self.calendar, version, channel)
        )

    def channels(self) -> tuple[str, ...]:
        """The channels that have at least one ping."""
        return tuple(self._by_platform)

    def platforms(self, channel: str) -> tuple[str, ...]:
        """The systems from which a channel has at least one ping."""
        return tuple(self._by_platform.get(channel, {}))

    def pings_that_came(self, channel: str, os_name: str, version: str) -> frozenset[str]:
        """The columns of contract.PING_COUNTS whose kinds of ping have come from a version on a system at any time.

        A kind may have come, and is included, where rows were counted before its pings were.
        """
        hours = self._all_hours(channel, os_name, version)
        return frozenset(name for name in contract.PING_COUNTS if (hours.of(name) != 0).any())

    def counts(self, channel: str, os_name: str, version: str, since: datetime, until: datetime) -> Counts:
        """Sums of a version in [since, until); since is the start of an hour, until the start of a window."""
        last_hour = hour_of(until)
        hours = self.hours_of(channel, os_name, version, since, last_hour)
        counts = _counts_of(hours.of, self.measures)
        if until > last_hour:
            of_part = self._part_of_hour(last_hour, until)
            counts = _added(counts, of_part.get((channel, os_name, version)))
        return counts

    def hours_of(self, channel: str, os_name: str, version: str, since: datetime, until: datetime) -> VersionHours:
        """The hours of a version in [since, until), both the start of an hour."""
        return self._all_hours(channel, os_name, version).between(since, until)

    def _all_hours(self, channel: str, os_name: str, version: str) -> VersionHours:
        key = channel, os_name, version
        if key not in self._hours:
            self._hours[key] = joined([day.hours[key] for day in self._days.values() if key in day.hours])
        return self._hours[key]

    def _load_part_of_hour(self, since: datetime, until: datetime) -> dict[Key, Counts]:
        """Sums of all versions in part of an hour: one query takes no longer than one for a single version."""
        filters = {"application": self.product.applications}
        request = select(since, until, filters, by=self.KEYS, every=None)
        rows = of_product(self.dataset.load_counted(request, self.official), self.product)
        measures = [name for name in self.measures if name in rows]
        sums = {name: rows[name].to_numpy(float) for name in ("usage_hours", *measures)}
        keys = zip(rows["channel"], rows["os_name"], rows["display_version"], strict=True)
        return {
            key: _counts_of({name: each[place : place + 1] for name, each in sums.items()}.__getitem__, measures)
            for place, key in enumerate(keys)
        }

    def adoption(self, channel: str, os_name: str, version: str, now: datetime) -> float | None:
        """A version's share of the usage hours of the last 24 hours and the current hour; None without usage."""
        since, until = hour_of(now) - DAY, hour_of(now) + HOUR
        usage = {
            each: float(self.hours_of(channel, os_name, each, since, until).of("usage_hours").sum())
            for each in self._by_platform[channel][os_name]
        }
        total = sum(usage.values())
        return usage.get(version, 0.0) / total if total > 0 else None

    def first_hour(self) -> datetime | None:
        """The start of the first hour that has a ping."""
        return self._ends[0] if self._ends else None

    def newest_hour(self) -> datetime | None:
        """The start of the newest hour that has a ping."""
        return self._ends[1] if self._ends else None

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
        dates = {each.version: each.date for each in self.calendar.on(channel, at)}
        moments = {name: release_moment(day, *self._pings_by_hour(channel, name, at)) for name, day in dates.items()}
        found = [Version(name, moment) for name, moment in moments.items() if moment is not None]
        on_day = self.calendar.newest_date if self.product.calendar else None
        found += [Version(name, hour, on_day) for (where, name), hour in self._unlisted.items() if where == channel]
        return sorted(found, key=lambda version: version_key(version.version), reverse=True)

    def _pings_by_hour(self, channel: str, version: str, at: datetime) -> tuple[Seconds, Floats]:
        """The hours up to a moment in which a version has pings, on any system, and how many."""
        systems = [os_name for os_name, versions in self._by_platform[channel].items() if version in versions]
        until = at + timedelta(microseconds=1)
        return added_up((self._all_hours(channel, each, version).between(_EVER, until) for each in systems), "count")


_EVER = datetime(1970, 1, 1, tzinfo=UTC)


def _shared(
    cache: TableCache, name: str, state: str, load: "Callable[[], dict[str, pd.DataFrame]]"
) -> "dict[str, pd.DataFrame]":
    """The frames that another process has loaded, or those that this one loads."""
    import pyarrow as pa

    def make() -> "dict[str, pa.Table]":
        return {name: pa.Table.from_pandas(frame, preserve_index=False) for name, frame in load().items()}

    return {name: table.to_pandas() for name, table in cache.get(name, state, make).items()}


def of_product(rows: "pd.DataFrame", product: contract.Product) -> "pd.DataFrame":
    """The product's rows, without the application column: the product has one application on each system."""
    on_system = {platform.os_name: platform.application for platform in product.platforms}
    is_product = rows["application"] == rows["os_name"].map(on_system)
    return rows[is_product].drop(columns="application")


def _of_all_builds(sums: "pd.DataFrame", columns: Sequence[str]) -> "pd.DataFrame":
    """Sums over all builds, from sums by build; a measure that no build counted stays missing."""
    keys = ["channel", "os_name", "display_version", "window_start"]
    return sums.groupby(keys)[list(columns)].sum(min_count=1).reset_index()


def _by_day(rows: "pd.DataFrame", days: Sequence[date]) -> "Iterator[pd.DataFrame]":
    """The rows of each day; rows: by `window_start`."""
    starts = seconds_of(rows["window_start"])
    for day in days:
        midnight = datetime.combine(day, time(), UTC).timestamp()
        first, last = np.searchsorted(starts, [midnight, midnight + DAY_SECONDS])
        yield rows.iloc[first:last]


def _ends(days: Iterable[Day], counted: Collection[Key]) -> tuple[datetime, datetime] | None:
    """The first and the newest hour of the versions that count; None without any."""
    starts = [
        end for day in days for key, hours in day.hours.items() if key in counted for end in hours.starts[[0, -1]]
    ]
    if not starts:
        return None
    return datetime.fromtimestamp(int(min(starts)), UTC), datetime.fromtimestamp(int(max(starts)), UTC)


def _counts_of(sums: Callable[[str], Floats], measures: Sequence[str]) -> Counts:
    """The totals of sums, which are given by column."""
    usage, events, counted = sums("usage_hours"), {}, {}
    for name in measures:
        of_measure = sums(name)
        is_missing = np.isnan(of_measure)
        if is_missing.any():
            counted[name] = float(usage[~is_missing].sum())
        events[name] = int(np.nansum(of_measure))
    return Counts(float(usage.sum()), events, counted)


def _added(one: Counts, other: Counts | None) -> Counts:
    """The sums of both counts."""
    if other is None:
        return one
    partly = {*one.counted_hours, *other.counted_hours}
    return Counts(
        one.usage_hours + other.usage_hours,
        {name: events + other.events[name] for name, events in one.events.items()},
        {name: one.hours_of(name) + other.hours_of(name) for name in partly},
    )


def _runs(days: list[date], newest: date) -> list[tuple[date, date]]:
    """Runs of consecutive days as (first, last), each within one calendar week.

    Runs are then the same in all processes, whatever day they begin with; two months in one run would take 130 MB more
    and be no faster. newest: the dataset's newest day, which changes all the time and so is a run by itself.
    """
    runs: list[tuple[date, date]] = []
    for day in days:
        if runs and day - runs[-1][1] == DAY and day.weekday() and day != newest:
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return runs
