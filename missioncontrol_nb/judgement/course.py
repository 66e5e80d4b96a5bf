"""The course of a series: what was counted in each interval since its release, and what is expected there."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.judgement.watch import QUANTILE, Look, Watch

Array = npt.NDArray[np.float64]


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

    def steps(self, most: int) -> tuple[Array, Array]:
        """(rates, expected rates) per hour of use, of at most so many steps of equal numbers of intervals; NaN without use.

        The last step is the one that may have fewer intervals.
        """
        size = max(1, -(-len(self.events) // most))
        starts = np.arange(0, len(self.events), size)
        if not len(starts):
            return np.zeros(0), np.zeros(0)
        events, hours, expected = (
            np.add.reduceat(each, starts) for each in (self.events, self.exposure, self.expected)
        )
        known = np.where(hours > 0, hours, np.nan)
        return events / known, expected / known


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
    if since > look.edges[0]:
        expected *= float(np.exp(watch.effect()[place]))
    return events, expected, hours
