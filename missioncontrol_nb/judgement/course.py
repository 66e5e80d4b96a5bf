"""The course of a series: what was counted in each interval since its release, and what is expected there."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.judgement.watch import QUANTILE, Look, Watch
from missioncontrol_nb.statistics import PER_HOURS

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]
PAST_HOURS = 168.0  # before a rise, that tell what a release was like


@dataclass(frozen=True)
class Course:
    """The intervals of a series, in order.

    edges: hours since 1970, UTC, one more than there are intervals. events: counted ones. exposure: hours, of use for
    measures of crash pings, with those still to be reported, and reported ones for others. expected: the events that a
    typical release shows in these hours; NaN without a release to compare with. healthy: the factor that the rates of
    healthy releases lie within, 90 % of them, above and below the expected rate. deviation: the relative standard
    deviation of the hours.
    """

    edges: Array
    events: Array
    exposure: Array
    expected: Array
    healthy: float
    deviation: float

    def sums(self, since: float = -np.inf, until: float = np.inf) -> tuple[float, float, float]:
        """(events, hours, expected events) of the intervals that begin in [since, until)."""
        chosen = (self.edges[:-1] >= since - 1e-6) & (self.edges[:-1] < until - 1e-6)
        events, hours, expected = (float(each[chosen].sum()) for each in (self.events, self.exposure, self.expected))
        return events, hours, expected

    def frame(self) -> "pd.DataFrame":
        """A row per interval, rates per 1000 hours; NaN where there was no use, or nothing is expected.

        Columns: `since`, `until` (datetime64[us, UTC]), `events`, `usage_hours`, `rate`, `lower`, `upper` (of 90 %, for
        counts and hours), `expected_rate`, `expected_lower`, `expected_upper` (the acceptable range).
        """
        import pandas as pd
        from scipy.special import gammaincinv

        moments = pd.to_datetime(np.round(self.edges * 3600), unit="s", utc=True).as_unit("us")
        known = np.where(self.exposure > 0, self.exposure, np.nan)
        expected = PER_HOURS * self.expected / known
        shape = 1 / (1 / (self.events + 0.5) + self.deviation**2)
        mean = PER_HOURS * (self.events + 0.5) / known
        rate = PER_HOURS * self.events / known
        return pd.DataFrame(
            {
                "since": moments[:-1],
                "until": moments[1:],
                "events": self.events,
                "usage_hours": self.exposure,
                "rate": rate,
                "lower": np.fmin(mean * gammaincinv(shape, 0.05) / shape, rate),
                "upper": np.fmax(mean * gammaincinv(shape, 0.95) / shape, rate),
                "expected_rate": expected,
                "expected_lower": expected / self.healthy,
                "expected_upper": expected * self.healthy,
            }
        )

    def ratios(self, most: int, least: float) -> Array:
        """Events by expected events, in at most so many steps of equal numbers of intervals; the last may have fewer.

        NaN where fewer than `least` events are expected in a step.
        """
        starts = np.arange(0, len(self.events), max(1, -(-len(self.events) // most)))
        if not len(starts):
            return np.zeros(0)
        events, expected = (np.add.reduceat(each, starts) for each in (self.events, self.expected))
        return np.asarray(events / np.where(expected >= least, expected, np.nan))


def course_of(look: Look, place: int, *, is_crash: bool) -> Course:
    """The course of a measure, by its place. is_crash: whether its hours are estimated, not only reported."""
    return Course(
        look.edges,
        look.events[:, place],
        look.exposure[:, place],
        look.typical[:, place],
        float(np.exp(QUANTILE * np.sqrt(look.healthy_variance[place]))),
        look.used_deviation if is_crash else 0.0,
    )


def sums_since(watch: Watch, look: Look, place: int, since: float) -> tuple[float, float, float]:
    """(events, expected events, hours) of a measure since a moment.

    Where the moment is later than the first interval, expected is what the release itself had shown before.
    """
    from_then = look.edges[:-1] >= since - 1e-6
    events, expected, hours = (
        float(each[from_then, place].sum()) for each in (look.events, look.typical, look.exposure)
    )
    return events, expected * float(np.exp(_effect_before(watch, look, place, since))), hours


def _effect_before(watch: Watch, look: Look, place: int, since: float) -> float:
    """What a release's own rate was in the week before a moment: the logarithm of its ratio to a typical one's.

    It is nearer 0 the less is known; 0 without a past.
    """
    before = (look.edges[1:] <= since + 1e-6) & (look.edges[:-1] >= since - PAST_HOURS)
    events, expected = (float(each[before, place].sum()) for each in (look.events, look.typical))
    if not expected > 0:
        return 0.0
    variance = float(watch.dispersion[place]) / (expected + 0.5)
    return float(np.log((events + 0.5) / (expected + 0.5))) * watch.tau**2 / (watch.tau**2 + variance)
