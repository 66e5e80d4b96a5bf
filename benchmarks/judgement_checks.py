"""What the judge says with an interval, beside the truth, which the simulated fleet knows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.judgement.series import Series
from missioncontrol_nb.simulator.fleet import CRASH_MEASURES, EARLY_DAYS, EARLY_EXCESS, Expected
from missioncontrol_nb.simulator.sessions import WINDOW_SECONDS
from missioncontrol_nb.statistics import PER_HOURS

Array = npt.NDArray[np.float64]
AGES = (1, 6, 24, 72, 168)  # hours after a release
NOWCAST_AGES = (1, 6, 24)
RATE_RATIO, EXPECTED_RATE, USED_HOURS = "rate ratio", "expected rate", "used hours"


@dataclass(frozen=True)
class Check:
    """A figure of the judge with its interval of 90 %, and the truth.

    what: RATE_RATIO, EXPECTED_RATE (of a healthy release, per 1000 hours) or USED_HOURS. uncorrected: the reported
    hours, of USED_HOURS. measure: "" of USED_HOURS.
    """

    what: str
    channel: str
    os_name: str
    release: str
    measure: str
    age: int
    said: float
    lower: float
    upper: float
    true: float
    uncorrected: float | None = None

    @property
    def is_inside(self) -> bool:
        """Whether the truth is in the interval."""
        return self.lower <= self.true <= self.upper


@dataclass
class Checks:
    """Notes what is said of a channel's releases that came out at `begin` or later, when they have certain ages."""

    expected: Expected
    channel: str
    begin: float
    found: list[Check] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ends = (self.expected.starts + WINDOW_SECONDS) / 3600
        self._places = {
            (build.os_name, build.build_id if self.channel == "nightly" else build.display_version): place
            for place, build in enumerate(self.expected.builds)
        }

    @property
    def moments(self) -> Array:
        """The moments at which a release has one of the ages."""
        outs = [build.out / 3600 for build in self.expected.builds if build.out / 3600 >= self.begin]
        return np.unique([out + age for out in outs for age in AGES])

    def see(self, at: float, several: Iterable[Series]) -> None:
        """Takes in what was said at a look."""
        seen: set[int] = set()
        for series in several:
            release = series.build_ids[0] if self.channel == "nightly" else series.display_version
            place = self._places[series.os_name, release]
            out = self.expected.builds[place].out / 3600
            age = next((age for age in AGES if abs(at - out - age) < 1e-3), None)
            if age is None or out < self.begin:
                continue
            since = np.searchsorted(self._ends, [out + 1e-6, at + 1e-6], side="right")
            windows = slice(int(since[0]), int(since[1]))
            if place not in seen:
                seen.add(place)
                self.found += self._of_hours(series, release, age, place, windows)
            self.found += self._of_rates(series, release, age, place, windows)

    def _of_hours(self, series: Series, release: str, age: int, place: int, windows: slice) -> Iterator[Check]:
        said, lower, upper = series.usage_hours_corrected, series.usage_hours_lower, series.usage_hours_upper
        if said is not None and lower is not None and upper is not None:
            true = float(self.expected.used_hours[place, windows].sum())
            where = self.channel, series.os_name, release, "", age
            yield Check(USED_HOURS, *where, said, lower, upper, true, series.usage_hours)

    def _of_rates(self, series: Series, release: str, age: int, place: int, windows: slice) -> Iterator[Check]:
        measure = series.measure
        if series.expected_rate is None or measure == "startup_crashes":  # these are a share of main crashes
            return
        expected, build = self.expected, self.expected.builds[place]
        is_crash = measure in CRASH_MEASURES
        hours = (expected.used_hours if is_crash else expected.reported_hours)[place, windows]
        if hours.sum() <= 0:
            return
        typical = typical_rate(expected, place, measure)[windows]
        if not typical.any():
            return
        actual, sound = (
            rates[place, windows] for rates in (expected.rates(measure), expected._sound_rates(measure))
        )  # fmt: skip
        where = self.channel, build.os_name, release, measure, age
        ratio, rate = (hours * actual).sum() / (hours * typical).sum(), (hours * sound).sum() / hours.sum()
        if series.rate_ratio is not None and series.lower is not None and series.upper is not None:
            yield Check(RATE_RATIO, *where, series.rate_ratio, series.lower, series.upper, float(ratio))
        if series.expected_lower is not None and series.expected_upper is not None:
            interval = series.expected_lower, series.expected_upper
            yield Check(EXPECTED_RATE, *where, series.expected_rate, *interval, float(PER_HOURS * rate))


def typical_rate(expected: Expected, place: int, measure: str) -> Array:
    """Events per hour, by window, of a release that differs from the others in nothing."""
    fleet, build = expected.fleet, expected.builds[place]
    rate = fleet.rate(build, measure) / fleet._difference(build, measure) / PER_HOURS
    if measure not in CRASH_MEASURES:
        return np.full(len(expected.starts), rate)
    age_days = np.maximum(expected.starts - fleet.version_out(build), 0) / 86400
    return np.asarray(rate * (1 + EARLY_EXCESS * np.exp(-age_days / EARLY_DAYS)))


def coverage(checks: Sequence[Check], what: str, age: int | None = None) -> float | None:
    """The share of intervals that hold the truth; None where there are none. age: None means all."""
    chosen = [each.is_inside for each in checks if each.what == what and age in (None, each.age)]
    return sum(chosen) / len(chosen) if chosen else None


def median_errors(checks: Sequence[Check], age: int) -> tuple[float, float] | None:
    """The median relative errors of used hours at an age: of the estimate, and of the reported hours."""
    chosen = [each for each in checks if each.what == USED_HOURS and each.age == age and each.true > 0]
    if not chosen:
        return None
    return (
        median(abs(each.said / each.true - 1) for each in chosen),
        median(abs((each.uncorrected or 0.0) / each.true - 1) for each in chosen),
    )


def interval_lines(checks: Sequence[Check]) -> Iterator[str]:
    """Coverage by channel and age, a line each."""
    for channel in dict.fromkeys(each.channel for each in checks):
        of_channel = [each for each in checks if each.channel == channel]
        for what in (RATE_RATIO, EXPECTED_RATE, USED_HOURS):
            ages = [(age, coverage(of_channel, what, age)) for age in AGES]
            told = ", ".join(f"{age} h {100 * share:.0f} %" for age, share in ages if share is not None)
            number = sum(each.what == what for each in of_channel)
            if told:
                yield f"{channel}: intervals of 90 % of the {what} that hold the truth: {told} ({number} intervals)"


def median_bias(checks: Sequence[Check], age: int) -> float:
    """The median of estimated by true used hours at an age."""
    return median(each.said / each.true for each in checks if each.what == USED_HOURS and each.age == age and each.true)


def nowcast_lines(checks: Sequence[Check]) -> Iterator[str]:
    """Errors of used hours by channel, system and age, a line each."""
    for channel, os_name in dict.fromkeys((each.channel, each.os_name) for each in checks):
        chosen = [each for each in checks if (each.channel, each.os_name) == (channel, os_name)]
        told = [
            f"{age} h {100 * errors[0]:.1f} % (said {median_bias(chosen, age):.2f} times the true; reported "
            f"{100 * errors[1]:.0f} % off)"
            for age in NOWCAST_AGES
            if (errors := median_errors(chosen, age))
        ]
        if told:
            yield f"{channel} {os_name}: median error of used hours: {', '.join(told)}"
