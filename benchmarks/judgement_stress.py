"""Fleets that are unlike those the judge was made for, each in one way: what it does there is shown, not promised."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.judgement_series import Span, Verdict, cases_of, false_alarms, found_of, percent, replayed, verdicts
from missioncontrol_nb.judgement.alarms import Judge
from missioncontrol_nb.judgement.observations import Observations, Sums
from missioncontrol_nb.simulator.builds import Build
from missioncontrol_nb.simulator.fleet import Bad, Fleet
from missioncontrol_nb.simulator.variety import VARIED, Differences, Variety
from tests.judged_fleets import CALENDAR, SYSTEMS, draw

Array = npt.NDArray[np.float64]
CHANGED_DELAYS = 0.4  # standard deviation of the logarithm of the factor of a release's delays; usually 0.15
FASTER = 2.0
HOURS_OFF, NIGHTLY_HOURS_OFF = 12, 5  # nightly builds come every 12 hours, and keep their order
HEALTHIER = -0.5  # times the usual excess: early adopters crash less than others
BAD_SHARE = 0.2
BAD_FACTORS = (2.0, 4.0)
DOUBLED_SHARE = 0.05


@dataclass(frozen=True)
class Stress:
    """One way of being different. kind: the fleet's class, given since when releases are judged; change: of the data.

    has_bad_past: whether one in five of all releases is bad, instead of some that are judged.
    """

    name: str
    variety: Variety = VARIED
    kind: Callable[[float], type[Fleet]] = lambda _: Fleet
    change: Callable[[Observations, Span, np.random.Generator], Observations] = lambda given, *_: given
    has_bad_past: bool = False


def _with_differences(change: Callable[[Differences], Differences]) -> Callable[[float], type[Fleet]]:
    """Fleets whose judged releases differ from those before them."""

    def kind(judged_from: float) -> type[Fleet]:
        class Changed(Fleet):
            def differences(self, build: Build) -> Differences:
                usual = super().differences(build)
                return change(usual) if build.out / 3600 >= judged_from else usual

        return Changed

    return kind


def _faster(usual: Differences) -> Differences:
    return replace(usual, speed=FASTER * usual.speed)


def _healthier(usual: Differences) -> Differences:
    return replace(usual, early_excess=HEALTHIER * usual.early_excess)


def _off(judged_from: float) -> type[Fleet]:
    """Fleets whose judged releases come some hours earlier or later than theirs on the calendar usually do."""

    class Off(Fleet):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.builds = tuple(self._moved(build) for build in self.builds)

        def _moved(self, build: Build) -> Build:
            if build.out / 3600 < judged_from:
                return build
            hours = NIGHTLY_HOURS_OFF if build.channel == "nightly" else HOURS_OFF
            release = build.build_id if build.channel == "nightly" else build.display_version
            return replace(build, out=build.out + 3600 * hours * self.generator("off", release).choice([-1, 1]))

    return Off


def without_a_day(observations: Observations, span: Span, random: np.random.Generator) -> Observations:
    """Without the data of one day soon after a release that is judged."""
    outs = sorted(
        float(sums.ends[0])
        for segment in observations.channel(span.channel)
        for sums in segment.releases.values()
        if len(sums.ends) and span.begin < sums.ends[0] < span.end - 96
    )
    near = random.choice(outs) if outs else span.begin
    day = np.ceil(near / 24) * 24
    return _weighted(observations, lambda ends: np.where((ends > day + 1e-6) & (ends <= day + 24 + 1e-6), 0.0, 1.0))


def with_doubled_windows(observations: Observations, _: Span, random: np.random.Generator) -> Observations:
    """With some windows' rows twice."""
    windows = round((observations.newest - observations.begins) / observations.step) + 2
    weights = np.where(random.random(windows) < DOUBLED_SHARE, 2.0, 1.0)
    return _weighted(
        observations, lambda ends: weights[np.round((ends - observations.begins) / observations.step).astype(int)]
    )


def _weighted(observations: Observations, weight: Callable[[Array], Array]) -> Observations:
    """With all sums of a window times a weight, given its end; windows of weight 0 are not there."""
    segments = []
    for segment in observations.segments:
        releases = {name: _weighted_sums(sums, weight(sums.ends)) for name, sums in segment.releases.items()}
        hours = np.diff(segment.delay_totals, axis=0) * weight(segment.delay_ends)[:, None]
        delays = np.concatenate([segment.delay_totals[:1], np.cumsum(hours, axis=0)])
        segments.append(replace(segment, releases=releases, delay_totals=delays))
    return replace(observations, segments=tuple(segments))


def _weighted_sums(sums: Sums, weights: Array) -> Sums:
    kept = weights > 0
    totals = {
        name: np.concatenate([[0.0], np.cumsum((np.diff(each) * weights)[kept])]) for name, each in sums.totals.items()
    }
    return Sums(sums.ends[kept], totals, sums.builds)


USUAL = "as usual"
STRESSES = (
    Stress(USUAL),
    Stress("delays change between releases", variety=replace(VARIED, delay=CHANGED_DELAYS)),
    Stress("roll-out twice as fast", kind=_with_differences(_faster)),
    Stress("released 12 hours off (nightly 5)", kind=_off),
    Stress("early adopters healthier", kind=_with_differences(_healthier)),
    Stress("one release in five bad", has_bad_past=True),
    Stress(
        "tau twice as large",
        variety=replace(VARIED, rate_spread={name: 2 * tau for name, tau in VARIED.rate_spread.items()}),
    ),
    Stress("a day of data missing", change=without_a_day),
    Stress("5 % of windows doubled", change=with_doubled_windows),
)


def stressed(
    stress: Stress, span: Span, seed: int, every: float, sick: Sequence[Bad], candidates: Sequence[str]
) -> list[Verdict]:
    """What becomes of a fleet's series. sick: what goes wrong; candidates: measures that may."""
    bad = bad_past(span.channel, seed, candidates) if stress.has_bad_past else list(sick)
    observations, expected = draw(
        span.channel, span.first, span.days, seed, bad=bad, variety=stress.variety, kind=stress.kind(span.begin)
    )
    observations = stress.change(observations, span, np.random.default_rng([seed, 6]))
    alarms = replayed(Judge(observations), span, every)
    return verdicts(stress.name, list(cases_of(span, expected, bad)), alarms, {})


def bad_past(channel: str, seed: int, candidates: Sequence[str]) -> list[Bad]:
    """One in five releases, those of the past too, has two measures up from its release on, on all systems."""
    random = np.random.default_rng([seed, 7])
    builds = [each for each in Fleet(CALENDAR, 0, seed).builds if each.channel == channel and each.is_official]
    releases = {
        (each.display_version, each.build_id if channel == "nightly" else None): each.out
        for each in builds
        if each.os_name in SYSTEMS
    }
    found = []
    for (version, build_id), out in releases.items():
        if random.random() < BAD_SHARE:
            since = datetime.fromtimestamp(out - 86400, UTC)
            for measure in random.choice(list(candidates), 2, replace=False):
                factor = float(random.choice(BAD_FACTORS))
                found.append(Bad(version, since, str(measure), factor, None, channel, build_id))
    return found


def stress_table(several: Sequence[Verdict]) -> Iterator[str]:
    """A Markdown table, a row per stress; delays are those of all that rose by 2 or more and were found."""
    yield "| fleets | false alarms | found x2 | found x4 | median delay |"
    yield "| --- | --- | --- | --- | --- |"
    for name in dict.fromkeys(each.rule for each in several):
        of_stress = [each for each in several if each.rule == name]
        false, healthy = false_alarms(of_stress)
        found2, risen2 = found_of(of_stress, 2.0, of_oracle=False)
        found4, risen4 = found_of(of_stress, 4.0, of_oracle=False)
        delays = [each.found for each in found2 + found4 if each.found is not None]
        delay = f"{median(delays):.0f} h" if delays else ""
        share = percent(false / healthy, 2) if healthy else "none"
        cells = f"{share} ({false} of {healthy})", f"{len(found2)} of {risen2}", f"{len(found4)} of {risen4}", delay
        yield f"| {name} | {' | '.join(cells)} |"
