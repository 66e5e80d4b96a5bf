"""What it is worth to weigh a release's users by system version, architecture and country, on fleets that know both.

Rates differ between cells of users, and each release is first used by other users than the rest are: a mix of its own,
which gives way to the usual one over some days. The same fleet is judged with and without the users told apart.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from statistics import median

import numpy as np
import numpy.typing as npt

from benchmarks.judgement_checks import typical_rate
from benchmarks.judgement_series import Span, cases_of, percent, replayed
from missioncontrol_nb.judgement.adopters import Adopters
from missioncontrol_nb.judgement.alarms import Judge
from missioncontrol_nb.judgement.observations import Name, Observations, Segment
from missioncontrol_nb.judgement.series import Series
from missioncontrol_nb.simulator.builds import Build
from missioncontrol_nb.simulator.era import OCTOBER_2017
from missioncontrol_nb.simulator.fleet import CRASH_MEASURES, LONGEST_DELAY_WINDOWS, Bad, Expected, Fleet
from missioncontrol_nb.simulator.sessions import MEAN_LENGTH_HOURS, WINDOW_SECONDS
from missioncontrol_nb.simulator.variety import VARIED
from tests.judged_fleets import CALENDAR, SYSTEMS, draw

Array = npt.NDArray[np.float64]
DIMENSIONS = ("os_version", "architecture", "country")
OTHER_ARCHITECTURE = 1.5  # times the rate of the first
RATES = (0.5, 2.5)  # of system versions and countries, by the logarithm
ADOPTION_DAYS = 2.5  # over which a release's own mix gives way to the usual one
HOURLY = 120.0  # hours of age, up to which the cells are known by the hour, then by the day
SICK_SHARE, SICK_FACTORS = 0.35, (1.5, 2.0)
AGES = (6, 12, 24, 48)  # hours, at which the ratio is checked


@dataclass(frozen=True)
class Mixed:
    """How users differ. differs: whether the rates of cells do; tilt: standard deviation of the logarithm of how much
    more of a system version, an architecture or a country a release's early adopters have than the usual users.
    share: of the releases whose early adopters are so; those of others are as the usual users."""

    name: str
    differs: bool
    tilt: float
    share: float = 1.0


FLEETS = (
    Mixed("rates alike, mixes differ", False, 0.8),
    Mixed("rates differ, mixes alike", True, 0.0),
    Mixed("rates differ, mixes a little (0.4)", True, 0.4),
    Mixed("rates differ, mixes much (0.8)", True, 0.8),
    Mixed("rates differ, mixes of one release in four (1.2)", True, 1.2, 0.25),
)


@dataclass(frozen=True)
class Users:
    """The users of a system: the numbers of the values of cells (cells, dimensions), the cells' shares of usual use,
    and their rates, by which the usual users' mean is 1."""

    values: npt.NDArray[np.int64]
    shares: Array
    rates: Array

    @classmethod
    def drawn(cls, mixed: Mixed, os_name: str, seed: int) -> "Users":
        """The users of a fleet's system."""
        random = np.random.default_rng([seed, SYSTEMS.index(os_name), 8])
        of_values = [np.array([*OCTOBER_2017.shares(name, os_name).values()]) for name in DIMENSIONS]
        values = np.stack([each.ravel() for each in np.indices([len(each) for each in of_values])], axis=1)
        share = np.prod([each[values[:, place]] for place, each in enumerate(of_values)], axis=0)
        rates = np.ones(len(values))
        for place, each in enumerate(of_values):
            drawn = np.exp(random.uniform(*np.log(RATES), len(each)))
            drawn = np.where(np.arange(len(each)) == 0, 1.0, OTHER_ARCHITECTURE) if place == 1 else drawn
            rates *= drawn[values[:, place]]
        share = share / share.sum()
        return cls(values, share, rates / (rates @ share) if mixed.differs else np.ones(len(values)))

    def early(self, tilt: float, random: np.random.Generator) -> Array:
        """The shares of a release's early adopters."""
        share = self.shares.copy()
        for column in self.values.T:
            share = share * np.exp(random.normal(0, tilt, column.max() + 1))[column]
        return np.asarray(share / share.sum())


class MixedFleet(Fleet):
    """A fleet whose users differ; a subclass says how."""

    mixed: Mixed

    @cached_property
    def users(self) -> dict[str, Users]:
        """The users of each system."""
        return {os_name: Users.drawn(self.mixed, os_name, self.seed) for os_name in SYSTEMS}

    def early(self, build: Build) -> Array:
        """The shares of a build's early adopters."""
        random = np.random.default_rng([self.seed, *build.build_id.encode(), *build.display_version.encode(), 9])
        users = self.users[build.os_name]
        early = users.early(self.mixed.tilt, random)
        return early if random.random() < self.mixed.share else users.shares

    def expect(self, first_window: int, windows: int, channel: str | None = None) -> Expected:
        """As of any fleet, with rates by who uses a build."""
        found = super().expect(first_window, windows, channel)
        return MixedExpected(found.fleet, found.builds, found.first_window, found.hours_in_use, found.reported_hours)


class MixedExpected(Expected):
    """The expected values of a fleet whose users differ."""

    @cached_property
    def own_share(self) -> tuple[Array, Array]:
        """The share of a build's early adopters in its use, and in the hours that are reported: (builds, windows)."""
        starts = self.starts[0] + (np.arange(self.hours_in_use.shape[1]) - LONGEST_DELAY_WINDOWS) * WINDOW_SECONDS
        out = np.array([build.out for build in self.builds])
        own = np.exp(-np.maximum(starts - out[:, None], 0) / 86400 / ADOPTION_DAYS)
        reported = self.fleet._arrivals(self.builds, self.hours_in_use * own)
        return own[:, LONGEST_DELAY_WINDOWS:], np.clip(reported / np.maximum(self.reported_hours, 1e-12), 0, 1)

    @cached_property
    def indices(self) -> tuple[Array, Array]:
        """How many times the usual rate the users of a build have, by use and by reports: (builds, windows)."""
        fleet = self.fleet
        assert isinstance(fleet, MixedFleet)
        early = np.array([fleet.early(each) @ fleet.users[each.os_name].rates for each in self.builds])[:, None]
        used, reported = (1 + own * (early - 1) for own in self.own_share)
        return used, reported

    def _sound_rates(self, measure: str) -> Array:
        return super()._sound_rates(measure) * self.indices[measure not in CRASH_MEASURES]


@dataclass(frozen=True)
class Ratio:
    """A rate ratio that the judge gave at an age, and the true one, which the mix of users does not change."""

    age: int
    said: float
    lower: float
    upper: float
    true: float


@dataclass(frozen=True)
class AdoptersSeries:
    """What became of a series. found: hours since it rose, None if never; is_weighed: whether users were told apart."""

    fleet: str
    is_weighed: bool
    channel: str
    os_name: str
    release: str
    measure: str
    factor: float
    found: float | None
    ratios: tuple[Ratio, ...]
    seed: int

    @property
    def key(self) -> tuple[str, ...]:
        """What names it, whether users were told apart or not."""
        return self.fleet, self.channel, str(self.seed), self.os_name, self.release, self.measure


def adopters_cases(
    mixed: Mixed, span: Span, seed: int, every: float, candidates: Sequence[str]
) -> list[AdoptersSeries]:
    """A fleet's series, judged with users told apart, and without."""
    kind = type("Drawn", (MixedFleet,), {"mixed": mixed})
    bad = list(_sick(span, seed, candidates))
    observations, expected = draw(span.channel, span.first, span.days, seed, bad=bad, kind=kind)
    assert isinstance(expected, MixedExpected)
    weighed = with_users(observations, expected, seed)
    cases = list(cases_of(span, expected, bad))
    outs = {case.out for case in cases}
    found = []
    for is_weighed, given in ((True, weighed), (False, observations)):
        ratios: dict[tuple[str, str, str], list[Ratio]] = {}

        def see(at: float, several: Sequence[Series], ratios: dict[tuple[str, str, str], list[Ratio]] = ratios) -> None:
            _see(expected, span, at, several, ratios)

        alarms = replayed(Judge(given), span, every, see, [out + age for out in outs for age in AGES])
        for case in cases:
            after = case.found_after(alarms.get(case.key))
            series = mixed.name, is_weighed, span.channel, *case.key, case.factor, after
            found.append(AdoptersSeries(*series, tuple(ratios.get(case.key, ())), seed))
    return found


def _sick(span: Span, seed: int, candidates: Sequence[str]) -> Iterator[Bad]:
    random = np.random.default_rng([seed, 10])
    for build in Fleet(CALENDAR, 0, seed, (), 40.0, VARIED).builds:
        is_of_channel = build.channel == span.channel and build.os_name in SYSTEMS and build.is_official
        if is_of_channel and build.out / 3600 > span.begin and random.random() < SICK_SHARE:
            since = datetime.fromtimestamp(build.out - 86400, UTC)
            nightly = build.build_id if span.channel == "nightly" else None
            what = str(random.choice(list(candidates))), float(random.choice(SICK_FACTORS))
            yield Bad(build.display_version, since, *what, build.os_name, span.channel, nightly)


def _see(
    expected: MixedExpected, span: Span, at: float, several: Sequence[Series],
    found: dict[tuple[str, str, str], list[Ratio]],
) -> None:  # fmt: skip
    ends = (expected.starts + WINDOW_SECONDS) / 3600
    places = {
        (build.os_name, build.build_id if span.channel == "nightly" else build.display_version): place
        for place, build in enumerate(expected.builds)
    }
    for series in several:
        release = series.build_ids[0] if span.channel == "nightly" else series.display_version
        place = places[series.os_name, release]
        out = expected.builds[place].out / 3600
        age = next((age for age in AGES if abs(at - out - age) < 1e-3), None)
        if age is None or out < span.begin or series.rate_ratio is None or series.measure == "startup_crashes":
            continue
        windows = slice(*(int(each) for each in np.searchsorted(ends, [out + 1e-6, at + 1e-6], side="right")))
        is_crash = series.measure in CRASH_MEASURES
        hours = (expected.used_hours if is_crash else expected.reported_hours)[place, windows]
        typical = (
            typical_rate(expected, place, series.measure)[windows] * expected.indices[not is_crash][place, windows]
        )
        if (hours * typical).sum() > 0 and series.lower is not None and series.upper is not None:
            true = float((hours * expected.rates(series.measure)[place, windows]).sum() / (hours * typical).sum())
            ratio = Ratio(age, series.rate_ratio, series.lower, series.upper, true)
            found.setdefault((series.os_name, release, series.measure), []).append(ratio)


def with_users(observations: Observations, expected: MixedExpected, seed: int) -> Observations:
    """The observations with the users of each release, drawn so that they add up to what was counted."""
    random = np.random.default_rng([seed, 11])
    segments = tuple(
        replace(segment, adopters=_adopters(random, observations, segment, expected))
        for segment in observations.segments
    )
    return replace(observations, segments=segments)


def _adopters(
    random: np.random.Generator, observations: Observations, segment: Segment, expected: MixedExpected
) -> Adopters:
    fleet = expected.fleet
    assert isinstance(fleet, MixedFleet)
    users = fleet.users[segment.os_name]
    window_ends = (expected.starts + WINDOW_SECONDS) / 3600
    parts, names = [], list(segment.releases)
    for number, name in enumerate(names):
        [place] = [
            place
            for place, build in enumerate(expected.builds)
            if build.os_name == segment.os_name
            and name in (Name(build.display_version, ""), Name(build.display_version, build.build_id))
        ]
        build = expected.builds[place]
        begin, end = np.floor(window_ends[0] - 1e-6), observations.newest
        daily = np.arange(np.floor(begin / 24) * 24, end + 24, 24.0)
        out = build.out / 3600
        hourly = np.arange(np.floor(out), out + HOURLY, 1.0)
        edges = np.union1d(daily, hourly)
        edges = edges[(edges >= begin) & (edges <= end)]
        sums = segment.releases[name]
        hours, middle = sums.between("usage_hours", edges), (edges[1:] + edges[:-1]) / 2
        at = np.clip(np.searchsorted(window_ends, middle), 0, len(window_ends) - 1)
        used, reported = (
            own[place, at][:, None] * fleet.early(build) + (1 - own[place, at][:, None]) * users.shares
            for own in expected.own_share
        )
        pings = np.maximum(hours / MEAN_LENGTH_HOURS, 1e-6)[:, None]
        parts_of_hours = random.gamma(np.maximum(pings * reported, 1e-9))
        hours_by_cell = hours[:, None] * parts_of_hours / np.maximum(parts_of_hours.sum(axis=1, keepdims=True), 1e-12)
        events = []
        for measure in observations.measures:
            mix = (used if measure in CRASH_MEASURES else reported) * users.rates
            counts = np.round(sums.between(measure, edges)).astype(np.int64)
            events.append(random.multinomial(counts, mix / mix.sum(axis=1, keepdims=True)))
        some = (hours_by_cell > 0.01) | (np.sum(events, axis=0) > 0)
        window, cell = np.nonzero(some)
        rows = np.full(len(window), number), cell, edges[window], edges[window + 1], hours_by_cell[some]
        parts.append((*rows, np.stack([each[some] for each in events], axis=1).astype(np.float32)))
    joined = [np.concatenate([part[column] for part in parts]) for column in range(6)]
    return Adopters(names, users.values, *joined)


def adopters_table(several: Sequence[AdoptersSeries]) -> Iterator[str]:
    """A Markdown table, two rows per fleet. Delays are of what was found both ways; errors and intervals are those of
    all ages in AGES together."""
    found_by = [{each.key for each in several if each.is_weighed == side and each.found is not None} for side in (0, 1)]
    columns: tuple[str, ...] = ("users", "told apart", "false alarms", "found x1.5", "found x2", "median delay")
    columns += "ratio off by: median (nine of ten)", "intervals that hold it"
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    both = found_by[0] & found_by[1]
    for fleet, is_weighed in dict.fromkeys((each.fleet, each.is_weighed) for each in several):
        of_side = [each for each in several if (each.fleet, each.is_weighed) == (fleet, is_weighed)]
        healthy = [each for each in of_side if each.factor == 1]
        false = sum(each.found is not None for each in healthy)
        found = {factor: [each.found for each in of_side if each.factor == factor] for factor in SICK_FACTORS}
        delays = [each.found for each in of_side if each.factor > 1 and each.found and each.key in both]
        ratios = [each for series in of_side for each in series.ratios]
        cells = [
            fleet, "yes" if is_weighed else "no", f"{false} of {len(healthy)}",
            *(f"{sum(each is not None for each in values)} of {len(values)}" for values in found.values()),
            f"{median(delays):.0f} h" if delays else "", _errors(ratios),
            percent(sum(each.lower <= each.true <= each.upper for each in ratios) / max(len(ratios), 1)),
        ]  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def _errors(ratios: Sequence[Ratio]) -> str:
    """How far off the ratios are, of those whose events are enough for an interval within a factor of two each way."""
    sure = [each for each in ratios if each.upper < 2 * each.said and each.lower > each.said / 2]
    if not sure:
        return ""
    off = np.abs(np.log([each.said / each.true for each in sure]))
    return f"{percent(float(np.expm1(np.median(off))), 1)} ({percent(float(np.expm1(np.quantile(off, 0.9))))})"
