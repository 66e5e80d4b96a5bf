"""The model of the simulated fleet: its usage by build, its reporting delays, and its crashes.

History and live pings are drawn from the same numbers. Everything here is an expected value; only the small differences
between releases are drawn at random, from the seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import compress
from typing import Any
from zlib import crc32

import numpy as np

from missioncontrol_nb.releases.calendar import Calendar
from missioncontrol_nb.simulator import midnight
from missioncontrol_nb.simulator.builds import Build, builds_of
from missioncontrol_nb.simulator.era import OCTOBER_2017, Era
from missioncontrol_nb.simulator.sessions import (
    BASELINES_A_SESSION,
    MEAN_LENGTH_HOURS,
    REMAINING_KERNEL,
    WINDOW_SECONDS,
)
from missioncontrol_nb.simulator.variety import ALIKE, Differences, Variety
from streaming import contract
from streaming.errors import MissionControlError, unknown_name

Array = np.ndarray[Any, np.dtype[Any]]
DEFAULT_RATE = 40.0  # Pings per second of the whole fleet, on average over a week
DAY_CYCLE, BUSIEST_HOUR = 0.35, 15  # UTC
WEEKEND_USE = 0.86
# The share of users who run a new build, by its age: some update soon, most later, a few never.
QUICK, SLOW = 0.30, 0.65
QUICK_DAYS, SLOW_DAYS = 0.8, 13.0
THROTTLE, THROTTLE_DAYS = 0.25, 2.0
NIGHTLY_QUICK, NIGHTLY_SLOW = 0.80, 0.20
NIGHTLY_QUICK_DAYS, NIGHTLY_SLOW_DAYS = 0.35, 1.6
UPDATE_SPEED = {"Windows_NT": 1.0, "Darwin": 1.25, "Linux": 1.1, "Android": 0.6}
BETA_SPEED = 2.0
LEAST_SHARE = 0.005  # Of a channel and platform; builds with less, after their first day, count as unused
# Shares of the delay from the end of a session to the arrival of its ping, by buckets like those of `reporting_delays`:
# some pings are sent as Firefox closes, most when it is started again. Within a bucket all delays are equally likely.
DELAY_SHARES = (0.19, 0.06, 0.10, 0.15, 0.12, 0.18, 0.11, 0.055, 0.018, 0.008, 0.006, 0.003)
DELAY_EDGES_HOURS = (0.0, *contract.DELAY_BUCKET_EDGES_HOURS[:-1], 192.0)
LONGEST_DELAY_WINDOWS = 208 * 12  # The longest delay plus the longest rest of a session
LEAST_HOURS = 1e-7  # Smaller values are rounding errors
CRASH_MEASURES = ("main_crashes", "startup_crashes", "content_crashes", "content_shutdown_crashes")
CHANNEL_FACTORS = {"release": 1.0, "beta": 1.7, "nightly": 2.2, "esr": 0.55}
UNOFFICIAL_FACTOR = 1.25
EARLY_EXCESS, EARLY_DAYS = 0.35, 2.0  # Early adopters crash this much more; it decreases with the age of the version
VERSION_SPREAD, PLATFORM_SPREAD, NIGHTLY_SPREAD = 0.03, 0.015, 0.06  # Standard deviations of the logarithm
# Counts vary more than a Poisson distribution. These are the shapes of gamma distributions; the variance is
# mean + mean² / shape for a row. The more rows a build's pings of a window make, the less their sum varies.
PING_DISPERSION, CRASH_DISPERSION, EVENT_DISPERSION = 400.0, 8.0, 3.0
# Pings of one build and window that differ in country and similar columns share a row, which stands for a group of
# pings. This keeps months to a million rows. The shares are right over the hours, not within each window.
PINGS_A_ROW = 800


@dataclass(frozen=True)
class Bad:
    """A release that goes wrong: from `since` on, one measure has `factor` times as many events.

    version: the display version. os_name, channel, build_id: None means all. A measure from main pings rises as the
    pings that report it arrive; crashes rise at once.
    """

    version: str
    since: datetime
    measure: str = "content_crashes"
    factor: float = 1.8
    os_name: str | None = None
    channel: str | None = None
    build_id: str | None = None

    def __post_init__(self) -> None:
        if self.measure not in contract.MEASURE_NAMES:
            raise unknown_name("measure", self.measure, contract.MEASURE_NAMES)
        if self.os_name not in (None, *contract.FIREFOX.os_names):
            raise unknown_name("operating system", self.os_name, contract.FIREFOX.os_names)
        if not self.factor > 0:
            raise MissionControlError(f"expected a factor above 0, got {self.factor!r}")

    def hits(self, build: Build) -> bool:
        """Whether a build is affected."""
        return (
            build.display_version == self.version
            and self.os_name in (None, build.os_name)
            and self.channel in (None, build.channel)
            and self.build_id in (None, build.build_id)
        )


@dataclass(frozen=True)
class Expected:
    """The expected values of the builds in use by window; arrays are of shape (builds, windows).

    first_window: seconds since 1970 divided by WINDOW_SECONDS. hours_in_use: by the time of use, and also for the
    LONGEST_DELAY_WINDOWS before. reported_hours: by the arrival of the pings, whenever Firefox was in use.
    midnight_hours: those of reported_hours whose pings were made at midnight while the session went on; None where the
    era has no such pings.
    """

    fleet: "Fleet"
    builds: tuple[Build, ...]
    first_window: int
    hours_in_use: Array
    reported_hours: Array
    midnight_hours: Array | None = None

    @property
    def used_hours(self) -> Array:
        """Hours of use by the time of use, whenever they are reported."""
        return self.hours_in_use[:, LONGEST_DELAY_WINDOWS:]

    @cached_property
    def starts(self) -> Array:
        """The start of each window, in seconds since 1970."""
        return (self.first_window + np.arange(self.used_hours.shape[1])) * WINDOW_SECONDS

    @cached_property
    def rows(self) -> Array:
        """The number of rows of the dataset that the pings of a build and window are summed into."""
        return 1 + (self.reported_hours / MEAN_LENGTH_HOURS / PINGS_A_ROW).astype(int)

    def rates(self, measure: str) -> Array:
        """Events per usage hour: crashes per used hour, measures from main pings per reported hour."""
        rates = self._sound_rates(measure) * self._badness(measure)
        if measure == "main_crashes":  # A startup crash is a crash of the main process
            rates = rates + self._sound_rates("startup_crashes") * (self._badness("startup_crashes") - 1)
        return rates

    @cached_property
    def startup_share(self) -> Array:
        """The share of startup crashes in the crashes of the main process."""
        return self.rates("startup_crashes") / self.rates("main_crashes")

    def _sound_rates(self, measure: str) -> Array:
        rates = np.array([self.fleet.rate(build, measure) for build in self.builds])[:, None] / 1000
        rates = rates * (self._early if measure in self.fleet.era.crash_measures else np.ones(self.used_hours.shape))
        if self.fleet.variety.drift_a_day:
            rates = rates * np.array([self.fleet.drift(build, measure, self.starts) for build in self.builds])
        return rates

    @cached_property
    def _early(self) -> Array:
        out = np.array([self.fleet.version_out(build) for build in self.builds])
        age_days = np.maximum(self.starts - out[:, None], 0) / 86400
        excess = EARLY_EXCESS * np.array([self.fleet.differences(build).early_excess for build in self.builds])
        return 1 + excess[:, None] * np.exp(-age_days / EARLY_DAYS)

    def _badness(self, measure: str) -> Array:
        factors = np.ones((len(self.builds), 1))
        for bad in self.fleet.bad:
            if bad.measure == measure:
                is_hit = np.array([bad.hits(build) for build in self.builds])[:, None]
                is_on = self.starts + WINDOW_SECONDS > bad.since.timestamp()
                factors = factors * np.where(is_hit & is_on, bad.factor, 1.0)
        return factors


class Fleet:
    """The simulated fleet: an era shifted `weeks` weeks later. The same arguments give the same fleet.

    calendar: the era's release calendar, not shifted; rate: pings per second with usage (main, core) of the whole
    fleet, on average over a week; variety: how much its releases differ in other ways than their rates.
    Raises MissionControlError for a bad release that is not among the fleet's builds.
    """

    def __init__(
        self,
        calendar: Calendar,
        weeks: int = 0,
        seed: int = 0,
        bad: Sequence[Bad] = (),
        rate: float = DEFAULT_RATE,
        variety: Variety = ALIKE,
        era: Era = OCTOBER_2017,
    ) -> None:
        self.variety, self.era = variety, era
        self.calendar = calendar.shifted(weeks)
        self.weeks = weeks
        self.seed = seed
        self.bad = tuple(bad)
        self.released = era.released + timedelta(weeks=weeks)
        self.builds = builds_of(calendar, weeks, era)
        self.pings_a_second = rate * (1 + BASELINES_A_SESSION * era.is_glean)
        self._hours_a_window = rate * WINDOW_SECONDS * MEAN_LENGTH_HOURS
        self._check_bad()
        self._rates: dict[tuple[Build, str], float] = {}
        self._differences: dict[str, Differences] = {}

    def _check_bad(self) -> None:
        for bad in self.bad:
            if not any(bad.hits(build) for build in self.builds):
                versions = {build.display_version for build in self.builds}
                raise unknown_name("version of the simulated fleet", bad.version, versions)

    def generator(self, *purpose: str | int) -> np.random.Generator:
        """The random number generator for a purpose; its numbers depend only on the seed and the purpose."""
        return np.random.default_rng([self.seed, *(crc32(str(part).encode()) for part in purpose)])

    def rate(self, build: Build, measure: str) -> float:
        """Events per 1000 usage hours of a build that is neither young nor bad."""
        key = (build, measure)
        if key not in self._rates:
            factor = self.era.os_factors[build.os_name].get(measure, 1.0) * CHANNEL_FACTORS[build.channel]
            factor *= 1.0 if build.is_official else UNOFFICIAL_FACTOR
            usual = self.era.usual_rate(measure)
            self._rates[key] = usual * factor * self._difference(build, measure)
        return self._rates[key]

    def _difference(self, build: Build, measure: str) -> float:
        """The random factor by which a release differs from the others."""
        tau = self.variety.rate_spread.get(build.channel)
        if tau is not None:
            release = build.build_id if build.channel == "nightly" else build.display_version
            shared = self.generator("release", release, measure).normal(0, tau)
            own = self.generator("release", release, build.os_name, measure).normal(0, tau)
            return float(np.exp(0.8 * shared + 0.6 * own))
        drawn = self.generator("version", build.display_version, measure).normal(0, VERSION_SPREAD)
        drawn += self.generator("platform", build.display_version, build.os_name, measure).normal(0, PLATFORM_SPREAD)
        if build.channel == "nightly":
            drawn += self.generator("build", build.build_id, measure).normal(0, NIGHTLY_SPREAD)
        return float(np.exp(drawn))

    def differences(self, build: Build) -> Differences:
        """How the release of a build differs from others: in its roll-out, its early adopters, and its delays."""
        release = f"{build.channel} {build.display_version} {build.build_id if build.channel == 'nightly' else ''}"
        if release not in self._differences:
            self._differences[release] = self.variety.draw(self.generator("differences", release))
        return self._differences[release]

    def drift(self, build: Build, measure: str, starts: Array) -> Array:
        """A random walk of a build's rate, as a factor at each moment; 1 at its release."""
        days = np.arange(200)
        steps = self.generator("drift", build.name, measure).normal(0, self.variety.drift_a_day, len(days) - 1)
        walk = np.concatenate([[0.0], np.cumsum(steps)])
        return np.exp(np.interp((starts - build.out) / 86400, days, walk))

    @cached_property
    def _version_outs(self) -> dict[tuple[str, str, str], float]:
        outs: dict[tuple[str, str, str], float] = {}
        for build in self.builds:
            key = (build.channel, build.os_name, build.display_version)
            outs[key] = min(build.out, outs.get(key, build.out))
        return outs

    def version_out(self, build: Build) -> float:
        """The release time (seconds since 1970) of the first build of a build's version on its channel and platform; on
        nightly, where a version lasts for weeks, that of the build."""
        if build.channel == "nightly":
            return build.out
        return self._version_outs[build.channel, build.os_name, build.display_version]

    def expect(self, first_window: int, windows: int, channel: str | None = None) -> Expected:
        """The expected values of `windows` windows from `first_window` on, for the builds used or reported in them.

        channel: None means all.
        """
        start = first_window - LONGEST_DELAY_WINDOWS
        builds, used_hours = self._use(start, windows + LONGEST_DELAY_WINDOWS, channel)
        midnight_hours = None
        if self.era.is_glean:
            crossing = used_hours * midnight.crossing_shares(start, used_hours.shape[1])
            midnight_hours = midnight.arrivals(used_hours, start)[:, LONGEST_DELAY_WINDOWS:]
            reported_hours = self._arrivals(builds, used_hours - crossing) + midnight_hours
        else:
            reported_hours = self._arrivals(builds, used_hours)
        is_there = np.any((reported_hours > 0) | (used_hours[:, LONGEST_DELAY_WINDOWS:] > 0), axis=1)
        found = tuple(compress(builds, is_there))
        kept = None if midnight_hours is None else midnight_hours[is_there]
        return Expected(self, found, first_window, used_hours[is_there], reported_hours[is_there], kept)

    def delay_shares(self, expected: Expected, is_of: Array) -> Array:
        """The shares of the delay buckets in the arriving hours of some builds: (buckets, windows), summing to 1.

        is_of: a truth value for each of the expected builds.
        """
        hours = expected.hours_in_use[is_of].sum(axis=0)
        if not self.era.is_glean:
            return delay_shares(hours)
        start = expected.first_window - LONGEST_DELAY_WINDOWS
        arrived = _arrivals_by_bucket(hours * (1 - midnight.crossing_shares(start, len(hours))))
        arrived += midnight.arrivals_by_bucket(hours, start)[:, LONGEST_DELAY_WINDOWS:]
        return np.asarray(arrived / arrived.sum(axis=0))

    def _arrivals(self, builds: Sequence[Build], hours_in_use: Array) -> Array:
        """The hours of use by the time of their report, each release with its own delays."""
        scales = np.array([self.differences(build).delay for build in builds])
        if (scales == 1).all():
            return _arrivals(hours_in_use)
        arrived = np.zeros((len(builds), hours_in_use.shape[1] - LONGEST_DELAY_WINDOWS))
        for scale in np.unique(scales):
            arrived[scales == scale] = _arrivals(hours_in_use[scales == scale], delay_kernels(float(scale)))
        return arrived

    def _use(self, first_window: int, windows: int, channel: str | None) -> tuple[tuple[Build, ...], Array]:
        """The builds in use and their hours of use by window."""
        starts = (first_window + np.arange(windows)) * WINDOW_SECONDS
        hours = self._hours_a_window * _activity(starts)
        builds: list[Build] = []
        used: list[Array] = []
        for group, share in self._groups:
            if channel not in (None, group[0].channel):
                continue
            shares = _shares(group, starts, [self.differences(build) for build in group])
            is_used = np.any(shares > 0, axis=1)
            builds += compress(group, is_used)
            used.append(shares[is_used] * (hours * share))
        return tuple(builds), np.concatenate(used)

    @cached_property
    def _groups(self) -> tuple[tuple[tuple[Build, ...], float], ...]:
        """The builds that succeed each other on a channel and platform, with their share of all usage."""
        groups: dict[tuple[str, str, bool], list[Build]] = {}
        for build in self.builds:
            key = (build.channel, build.os_name, build.is_official)
            if build.is_official or key[:2] in self.era.unofficial_shares:
                groups.setdefault(key, []).append(build)
        return tuple((tuple(builds), self._usage_share(*key)) for key, builds in groups.items())

    def _usage_share(self, channel: str, os_name: str, is_official: bool) -> float:
        unofficial = self.era.unofficial_shares.get((channel, os_name), 0.0)
        return self.era.usage_shares[channel][os_name] / 100 * (1 - unofficial if is_official else unofficial)


def _activity(starts: Array) -> Array:
    """The fleet's relative usage at each moment, 1 on average over a week; starts: seconds since 1970."""
    hour = starts / 3600 % 24
    of_day = 1 + DAY_CYCLE * np.cos(2 * np.pi * (hour - BUSIEST_HOUR) / 24)
    weekday = (starts // 86400 + 3) % 7  # 1 January 1970 was a Thursday
    of_week = np.where(weekday >= 5, WEEKEND_USE, 1.0) * 7 / (5 + 2 * WEEKEND_USE)
    return of_day * of_week


def _shares(builds: Sequence[Build], starts: Array, differences: Sequence[Differences]) -> Array:
    """The share of each build in the usage of its channel and platform: (builds, windows), summing to 1.

    A newer build takes its users from all older builds; the first build has the remaining users.
    """
    hourly = np.arange(starts[0], starts[-1] + 3600, 3600.0)
    adopted = np.array([_adopted(build, hourly, each) for build, each in zip(builds, differences, strict=True)])
    adopted[0] = 1.0
    at_least = np.maximum.accumulate(adopted[::-1])[::-1]
    shares = at_least - np.concatenate([at_least[1:], np.zeros((1, len(hourly)))])
    is_young = hourly - np.array([build.out for build in builds])[:, None] < 86400
    shares[(shares < LEAST_SHARE) & ~is_young] = 0.0
    shares /= shares.sum(axis=0)
    fine = np.zeros((len(builds), len(starts)))
    for row, build in enumerate(builds):
        if np.any(shares[row]):
            fine[row] = np.interp(starts, hourly, shares[row]) * (starts >= build.out)
    return fine


def _adopted(build: Build, moments: Array, differences: Differences) -> Array:
    """The share of users who run a build or a newer one at each moment; moments: seconds since 1970."""
    age_days = np.maximum(moments - build.out, 0) / 86400 * UPDATE_SPEED[build.os_name] * differences.speed
    if build.channel == "nightly":
        return _updated(age_days, NIGHTLY_QUICK, NIGHTLY_QUICK_DAYS, NIGHTLY_SLOW, NIGHTLY_SLOW_DAYS)
    if build.channel == "beta":
        age_days = age_days * BETA_SPEED
    if not build.is_throttled:
        return _updated(age_days, QUICK, QUICK_DAYS, SLOW, SLOW_DAYS)
    unthrottled = np.maximum(age_days - THROTTLE_DAYS * differences.throttle_days, 0)
    first, rest = (_updated(age, QUICK, QUICK_DAYS, SLOW, SLOW_DAYS) for age in (age_days, unthrottled))
    throttle = THROTTLE * differences.throttle
    return throttle * first + (1 - throttle) * rest


def _updated(age_days: Array, quick: float, quick_days: float, slow: float, slow_days: float) -> Array:
    return quick * -np.expm1(-age_days / quick_days) + slow * -np.expm1(-age_days / slow_days)


def _arrival_kernel() -> Array:
    """The distribution of windows from an hour of use to the arrival of its report."""
    edges = [round(hours * 3600 / WINDOW_SECONDS) for hours in DELAY_EDGES_HOURS]
    from_end = np.zeros(edges[-1])
    for share, lower, upper in zip(DELAY_SHARES, edges, edges[1:], strict=False):
        from_end[lower:upper] = share / (upper - lower)
    return np.convolve(from_end, REMAINING_KERNEL)[:LONGEST_DELAY_WINDOWS]


def _delay_kernels() -> Array:
    """By bucket of `reporting_delays`: the part of the arrival kernel with such delays; all sum to 1."""
    kernel = _arrival_kernel()
    edges = np.array(contract.DELAY_BUCKET_EDGES_HOURS) * 3600 / WINDOW_SECONDS
    bucket = np.searchsorted(edges, np.arange(len(kernel)), side="right")
    kernels = np.zeros((len(edges), LONGEST_DELAY_WINDOWS))
    kernels[bucket, np.arange(len(kernel))] = kernel
    return kernels


DELAY_KERNELS = _delay_kernels()


def delay_kernels(scale: float) -> Array:
    """DELAY_KERNELS of a release whose delays are all `scale` times as long, by the buckets that they are in then."""
    edges = np.arange(LONGEST_DELAY_WINDOWS + 1.0)
    reached = np.concatenate([[0.0], np.cumsum(DELAY_KERNELS.sum(axis=0))])
    kernel = np.diff(np.interp(edges / scale, edges, reached))
    kernel /= kernel.sum()
    bucket = np.searchsorted(np.array(contract.DELAY_BUCKET_EDGES_HOURS) * 12, edges[:-1], side="right")
    kernels = np.zeros_like(DELAY_KERNELS)
    kernels[bucket, np.arange(len(kernel))] = kernel
    return kernels


def _arrivals(hours_in_use: Array, kernels: Array = DELAY_KERNELS) -> Array:
    """The hours of use by the time of their report: (builds, windows), without the first LONGEST_DELAY_WINDOWS."""
    windows = hours_in_use.shape[1]
    kernel = np.fft.rfft(kernels.sum(axis=0), windows)
    arrived = np.fft.irfft(np.fft.rfft(hours_in_use, axis=1) * kernel, windows, axis=1)[:, LONGEST_DELAY_WINDOWS:]
    return np.where(arrived > LEAST_HOURS, arrived, 0.0)


def delay_shares(hours_in_use: Array) -> Array:
    """The shares of the delay buckets in the arriving hours: (buckets, windows), each window summing to 1.

    hours_in_use: (windows,), including the LONGEST_DELAY_WINDOWS before the first window of the result.
    """
    arrived = _arrivals_by_bucket(hours_in_use)
    return arrived / arrived.sum(axis=0)


def _arrivals_by_bucket(hours_in_use: Array) -> Array:
    windows = len(hours_in_use)
    kernels = np.fft.rfft(DELAY_KERNELS, windows, axis=1)
    arrived = np.fft.irfft(np.fft.rfft(hours_in_use) * kernels, windows, axis=1)[:, LONGEST_DELAY_WINDOWS:]
    return np.maximum(arrived, LEAST_HOURS)


def window_of(moment: datetime) -> int:
    """The number of the window that contains a moment."""
    return int(moment.astimezone(UTC).timestamp() // WINDOW_SECONDS)
