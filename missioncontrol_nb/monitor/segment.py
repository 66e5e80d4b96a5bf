"""One channel on one system: measures of its newest version, compared with the previous one at the same age."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

import numpy as np

from missioncontrol_nb.loading.reported import Program, why_not_reported
from missioncontrol_nb.monitor.completeness import Arrivals
from missioncontrol_nb.monitor.hourly_sums import Counts, HourlySums
from missioncontrol_nb.monitor.summaries import Change, MeasureSummary, Rate, Spark, State, Version
from missioncontrol_nb.monitor.time_units import DAY, HOUR, hour_of
from missioncontrol_nb.statistics import PER_HOURS, change
from streaming import contract

Period = Literal["since_release", "last_24h"]
Steps = tuple[float | None, ...]
LEAST_STEPS, MOST_STEPS = 8, 72  # Of the sparkline
DECLARED_LATER = "Its pings were counted before this measure was declared."
SPARK_EVENTS = 12  # Per step, so that chance changes its rate by a third at most
# A change whose interval is wider than 100 percentage points and includes zero counts as too little usage.
WIDEST_INTERVAL = 1.0


@dataclass(frozen=True)
class Segment:
    """A channel and system as of a moment; versions: newest first (the newest, the previous one, older ones)."""

    sums: HourlySums
    arrivals: Arrivals
    channel: str
    os_name: str
    versions: tuple[Version, ...]
    now: datetime

    @property
    def product(self) -> contract.Product:
        """The product that the channel belongs to."""
        return self.sums.product

    @property
    def newest(self) -> Version:
        """The highest version that is out."""
        return self.versions[0]

    @cached_property
    def comparable(self) -> tuple[Version, ...]:
        """The newest version, and the older versions whose first hours are in the dataset.

        A comparison at the same age needs these hours. A version with a higher number may have been released earlier:
        3.5.8 went out after 3.6.
        """
        begins = self.sums.first_hour() or self.newest.released
        older = (each for each in self.versions[1:] if begins <= each.released < self.newest.released)
        return (self.newest, *older)

    @property
    def previous(self) -> Version | None:
        """The version before the newest, if it is comparable."""
        return next((version for version in self.comparable[1:] if version == self.versions[1]), None)

    @property
    def older(self) -> tuple[Version, ...]:
        """The comparable versions before the previous one."""
        return tuple(version for version in self.comparable[1:] if version != self.previous)

    def counts(self, version: Version, period: Period = "since_release") -> Counts:
        """Sums of a version from its release, or of its last 24 hours, up to the age that the newest has now."""
        return self._counts[version, period]

    @cached_property
    def _counts(self) -> dict[tuple[Version, str], Counts]:
        return {(version, period): self._sum(version, period) for version in self.comparable for period in PERIODS}

    def _sum(self, version: Version, period: str) -> Counts:
        # The newest version has no data after its last window, so its last hour is summed whole.
        until = hour_of(self.now) + HOUR if version == self.newest else version.released + self.age
        since = version.released
        if period == "last_24h":
            since = max(since, hour_of(self.now) - DAY + (version.released - self.newest.released))
        return self.sums.counts(self.channel, self.os_name, version.version, since, until)

    @cached_property
    def age(self) -> timedelta:
        """The newest version's age at the end of the current window."""
        age = self.now - self.newest.released
        return (age // contract.WINDOW + 1) * contract.WINDOW

    @property
    def has_pings(self) -> bool:
        """Whether any ping of the newest version has arrived."""
        counts = self.counts(self.newest)
        return counts.usage_hours > 0 or any(counts.events.values())

    def why_never_reported(self, measure: str, version: Version) -> str | None:
        """Why no ping of a version counted a measure; None where some did, or could have."""
        if measure not in self.sums.measures:
            return DECLARED_LATER
        platform = self.product.platform(self.os_name)
        program = Program(platform.application, self.channel, self.os_name, version.version)
        came = self.sums.pings_that_came(self.channel, self.os_name, version.version)
        return why_not_reported(measure, program, came, contract.Products((self.product,)))

    def why_not_reported(self, measure: str, version: Version, period: Period = "since_release") -> str | None:
        """Why a measure of a comparable version is unknown in a period, which is not zero; None where it is known."""
        why_not = self.why_never_reported(measure, version)
        if why_not is not None:
            return why_not
        counts = self.counts(version, period)
        return DECLARED_LATER if counts.usage_hours and not counts.hours_of(measure) else None

    def rate(self, measure: str, version: Version, period: Period = "since_release") -> Rate | None:
        """The rate of a comparable version; None where it is unknown."""
        if self.why_not_reported(measure, version, period) is not None:
            return None
        return self.counts(version, period).rate(measure)

    def measure(self, measure: str, period: Period = "since_release") -> MeasureSummary:
        """The newest version's rate of a measure in a period, against the previous version's at the same age."""
        why_not = self.why_not_reported(measure, self.newest, period)
        if why_not is not None:
            return MeasureSummary(measure, "not_reported", why=why_not)
        newest = self.counts(self.newest, period)
        previous = self.rate(measure, self.previous, period) if self.previous else None
        moved = self._change(measure, period) if previous else None
        older = {each.version: self.rate(measure, each, period) for each in self.older}
        return MeasureSummary(
            measure,
            _state(newest.hours_of(measure), moved, previous),
            newest.rate(measure),
            previous,
            self.counts(self.newest, "last_24h").rate(measure),
            moved,
            self._spark(measure) if previous else None,
            {version: rate for version, rate in older.items() if rate is not None},
        )

    def _change(self, measure: str, period: Period) -> Change | None:
        if self.previous is None:
            return None
        now, before = self.counts(self.newest, period), self.counts(self.previous, period)
        limits = change(now.events[measure], now.hours_of(measure), before.events[measure], before.hours_of(measure))
        value, lower, upper = map(float, limits)
        if math.isnan(lower):
            return None
        return Change(value, lower, math.inf if math.isnan(upper) else upper)

    # ---------- sparkline ----------
    def _spark(self, measure: str) -> Spark | None:
        if self.previous is None:
            return None
        step = self._step(measure)
        number = -(-self.age // step)
        newest, previous = (self._steps(version, measure, step, number) for version in (self.newest, self.previous))
        return Spark(newest, previous, self._late_steps(step, number))

    def _step(self, measure: str) -> timedelta:
        """The whole hours per step that give a step SPARK_EVENTS events, within LEAST_STEPS to MOST_STEPS steps."""
        events = min(self.counts(version).events[measure] for version in self.comparable[:2])
        steps = min(max(events // SPARK_EVENTS, LEAST_STEPS), MOST_STEPS)
        return max(math.ceil(self.age / HOUR / steps), 1) * HOUR

    def _steps(self, version: Version, measure: str, step: timedelta, number: int) -> Steps:
        """Rates per step of a version's age; None without usage."""
        end = version.released + number * step
        hours = self.sums.hours_of(self.channel, self.os_name, version.version, version.released, end)
        events = hours.of(measure)
        is_counted = ~np.isnan(events)
        place = ((hours.starts[is_counted] - version.released.timestamp()) // step.total_seconds()).astype(int)
        usage = np.bincount(place, hours.of("usage_hours")[is_counted], number)
        with np.errstate(divide="ignore", invalid="ignore"):
            rates = PER_HOURS * np.bincount(place, events[is_counted], number) / usage
        return tuple(float(rate) if math.isfinite(rate) else None for rate in rates)

    def _late_steps(self, step: timedelta, number: int) -> int:
        """How many of the newest version's last steps are incomplete."""
        import pandas as pd

        starts = pd.Series([self.newest.released + place * step for place in range(number)])
        shares = self.arrivals.shares(self.channel, self.os_name, starts, step, self.now)
        return int((~self.arrivals.are_complete(shares, starts + step, self.now)).sum())


PERIODS: tuple[Period, ...] = ("since_release", "last_24h")


def _state(usage_hours: float, moved: Change | None, previous: Rate | None) -> State:
    if not usage_hours or (moved is None and previous is not None):
        return "too_little_usage"
    if moved is None or moved.excludes_none or moved.upper - moved.lower <= WIDEST_INTERVAL:
        return "measured"
    return "too_little_usage"
