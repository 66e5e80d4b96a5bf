"""The series of a simulated channel: which rise, since when, and what became of them by the first alarms of a rule.

All times are hours since 1970, UTC.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.judgement.alarms import Judge
from missioncontrol_nb.judgement.observations import hours_of
from missioncontrol_nb.judgement.series import Series
from missioncontrol_nb.simulator.fleet import Bad, Expected
from tests.judged_fleets import MEASURES

Key = tuple[str, str, str]
"""System, release and measure."""
FOR_HOURS = 14 * 24.0


@dataclass(frozen=True)
class Span:
    """first: the first day of data; days: of data; from_day: the day from which releases are judged; begin, end."""

    channel: str
    first: datetime
    days: int
    from_day: int

    @property
    def begin(self) -> float:
        """When judging begins."""
        return hours_of(self.first) + 24 * self.from_day

    @property
    def end(self) -> float:
        """When the data ends."""
        return hours_of(self.first) + 24 * self.days


@dataclass(frozen=True)
class Case:
    """A series. factor: 1 for a healthy one. out: its release; since: when it rose, `out` if it was from then on."""

    channel: str
    os_name: str
    release: str
    measure: str
    factor: float
    out: float
    since: float

    @property
    def key(self) -> Key:
        """What names it within a channel."""
        return self.os_name, self.release, self.measure

    def found_after(self, alarm: float | None) -> float | None:
        """How long after the rise (or the release) the first alarm came; None: not in FOR_HOURS, or before the rise."""
        if alarm is None or alarm - self.out > FOR_HOURS or alarm < self.since:
            return None
        return alarm - self.since


@dataclass(frozen=True)
class Verdict:
    """What became of a series by a rule. found: hours since it rose, None if never; oracle: the same of the oracle."""

    rule: str
    channel: str
    os_name: str
    release: str
    measure: str
    factor: float
    is_later: bool
    found: float | None
    oracle: float | None = None


def cases_of(span: Span, expected: Expected, sick: Sequence[Bad]) -> Iterator[Case]:
    """The series of the releases that came out while judging was on, a day before its end at the latest."""
    for place, build in enumerate(expected.builds):
        out = build.out / 3600
        if span.begin <= out <= span.end - 24:
            release = build.build_id if span.channel == "nightly" else build.display_version
            for measure in MEASURES:
                if measure != "startup_crashes" and expected.rates(measure)[place].any():
                    ill = next((bad for bad in sick if bad.measure == measure and bad.hits(build)), None)
                    since = out if ill is None else max(out, hours_of(ill.since))
                    factor = ill.factor if ill else 1.0
                    yield Case(span.channel, build.os_name, release, measure, factor, out, since)


def verdicts(
    rule: str, cases: Sequence[Case], alarms: Mapping[Key, float], oracle: Mapping[Key, float | None]
) -> list[Verdict]:
    """What became of each case by a rule's first alarms; oracle: hours after which the oracle found it."""
    return [
        Verdict(
            rule,
            *(case.channel, *case.key, case.factor, case.since > case.out + 1),
            case.found_after(alarms.get(case.key)),
            oracle.get(case.key),
        )
        for case in cases
    ]


def replayed(
    judge: Judge,
    span: Span,
    every: float,
    see: Callable[[float, Sequence[Series]], None] = lambda *_: None,
    also: npt.ArrayLike = (),
) -> dict[Key, float]:
    """The look of the first alarm by series.

    see: called with each look and what was said. also: further moments to look at; an alarm that is raised there counts
    from the next of the looks that all rules have.
    """
    alarms: dict[Key, float] = {}
    looks = np.arange(span.begin, span.end, every)
    further = np.asarray(also, float)
    for look in np.union1d(looks, further[(further > looks[0]) & (further < looks[-1])]):
        counted = float(looks[np.searchsorted(looks, look - 1e-6)])
        said = []
        for series, event in judge.look(float(look)):
            if series is not None:
                said.append(series)
            if event is not None and event.event == "alarm":
                release = event.build_ids[0] if span.channel == "nightly" else str(event.display_version)
                alarms.setdefault((event.os_name, release, event.measure), counted)
        see(float(look), said)
    return alarms


def false_alarms(several: Sequence[Verdict]) -> tuple[int, int]:
    """How many healthy series had an alarm, and how many there are."""
    healthy = [each for each in several if each.factor == 1]
    return sum(each.found is not None for each in healthy), len(healthy)


def found_of(several: Sequence[Verdict], factor: float, *, of_oracle: bool = True) -> tuple[list[Verdict], int]:
    """Those that rose by a factor and were found, and how many rose. of_oracle: only those that the oracle found."""
    risen = [each for each in several if each.factor == factor and (each.oracle is not None or not of_oracle)]
    return [each for each in risen if each.found is not None], len(risen)


def delay_ratio(found: Sequence[Verdict]) -> float | None:
    """The median delay by the oracle's; None where nothing was found."""
    if not found:
        return None
    return median(each.found or 0.0 for each in found) / max(median(each.oracle or 0.0 for each in found), 1e-9)


def percent(share: float, digits: int = 0) -> str:
    """A share as text."""
    return f"{100 * share:.{digits}f} %"
