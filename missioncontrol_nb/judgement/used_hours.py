"""How many hours a release was used, estimated while part of them is still to be reported (a nowcast).

What was reported is the use of each moment, later by the delays. The use is the channel's activity times the release's
share of it; the share is a smooth curve that is 0 before the release, and the estimate is the curve that explains the
reports best. No form of adoption is assumed, because releases are throttled differently.

All times are hours since 1970, UTC.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.delay_law import DelayLaw
from missioncontrol_nb.judgement.activity import Activity

Array = npt.NDArray[np.float64]
WINDOWS_AN_HOUR = 12
# Ages of the points between which the share is linear, in hours; every SLOW_STEP hours after the last.
KNOT_AGES = (
    *(0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0, 21.0, 24.0),
    *(28.0, 32.0, 36.0, 40.0, 44.0, 48.0),
)
SLOW_STEP = 6.0
RECENT = 120.0  # of an older release only so many hours are estimated anew; earlier use has been reported
LEAD = 192.0  # before these hours the share is taken as constant, so long as reports come in
HOURS_A_PING = 2.0  # mean square of a ping's hours over their mean: what makes sums of hours vary
REPORT_SCATTER = 0.05  # relative standard deviation of what is reported in an interval, besides
BEND = 0.1  # how much the slope of the share changes in an hour, relative to share / age; grows with the root of time
LEAST_BEND = 0.0012  # the same, relative to the share, per hour
BENDS_BEFORE = 3.0  # hours before and after a newer release, in which the share may bend as that of a new one
LEAST_SHARE = 0.02  # of the largest: below it the share bends as if it were so large
ROUNDS = 4


@dataclass(frozen=True)
class UsedHours:
    """Use by interval. edges: n + 1 moments; hours: n.

    by_share: the hours by interval and free point of the share, per unit of share; precision: the inverse of these
    points' covariance; None where they are not known.
    """

    edges: Array
    hours: Array
    by_share: Array | None = None
    precision: Array | None = None

    @cached_property
    def _sums(self) -> Array:
        return np.concatenate([[0.0], np.cumsum(self.hours)])

    def between(self, moments: Array) -> Array:
        """The hours of use between each moment and the next."""
        return np.diff(np.interp(moments, self.edges, self._sums))

    def deviation(self, moments: Array) -> Array:
        """The relative standard deviation of the hours between each moment and the next: by chance and by the share's
        freedom to bend."""
        if self.by_share is None or self.precision is None:
            return np.zeros(len(moments) - 1)
        sums = np.concatenate([np.zeros((1, self.by_share.shape[1])), np.cumsum(self.by_share, axis=0)])
        place = np.clip(np.searchsorted(self.edges, moments, side="right") - 1, 0, len(self.edges) - 2)
        part = np.clip((moments - self.edges[place]) / (self.edges[place + 1] - self.edges[place]), 0.0, 1.0)
        reached = sums[place] + part[:, None] * self.by_share[place]
        inside = np.diff(reached, axis=0)
        variance = (inside.T * np.linalg.solve(self.precision, inside.T)).sum(axis=0)
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)) / np.maximum(self.between(moments), 1e-9))

    @property
    def total(self) -> float:
        """All hours of use."""
        return float(self.hours.sum())


def clock_edges(start: float, stop: float, step: float) -> Array:
    """The start, the whole multiples of a step in between, and the stop."""
    inner = np.arange(np.floor(start / step) + 1, np.ceil(stop / step - 1e-9)) * step
    return np.concatenate([[start], inner, [stop]])


def report_edges(released: float, until: float, since: float) -> Array:
    """The intervals in which reports are compared: windows of 5 minutes in the first hours, then hours, then more.

    After a day all begin at whole hours, because older sums are loaded by the hour. since: where they begin, if it is
    later than the release.
    """
    age = until - released
    if since > released:
        recent = max(since, np.floor(until - 24))
        return np.concatenate([clock_edges(since, recent, 3.0)[:-1], clock_edges(recent, until, 1.0)])
    if age <= 24:
        early = clock_edges(released, min(until, released + 3), 1 / WINDOWS_AN_HOUR)
        return early if age <= 3 else np.concatenate([early[:-1], clock_edges(early[-1], until, 1.0)])
    if age <= 48:
        return clock_edges(released, until, 1.0)
    day = np.ceil(released + 24)
    early = clock_edges(released, day, 1.0)
    recent = max(day, np.floor(until - 24))
    return np.concatenate([early[:-1], clock_edges(day, recent, 3.0)[:-1], clock_edges(recent, until, 1.0)])


def estimate_used_hours(
    edges: Array,
    reported: Array,
    released: float,
    activity: Activity,
    law: DelayLaw,
    superseded: float = np.inf,
    distrusted: npt.NDArray[np.bool_] | None = None,
) -> UsedHours:
    """The use of a release between the first and the last edge.

    edges: of the intervals of `reported`, hours of use by the time of their report. Where they begin later than the
    release, the share before them is taken as that at their beginning. Outages are left out, and so are the distrusted
    intervals, which may be older than the activity's. superseded: when a newer release came; from then on the share may
    bend sharply.
    """
    since, until = float(edges[0]), float(edges[-1])
    pieces = _piece_edges(released, since, until)
    knots = _knots(released, since, until)
    middles, widths = (pieces[1:] + pieces[:-1]) / 2, np.diff(pieces)
    hats = _hats(middles, knots)
    use = activity.rate(middles)[:, None] * hats
    arrived = -np.diff(law.integral(edges[:, None] - pieces[None, :]), axis=1)
    design = np.diff(arrived, axis=0) @ use
    counts = ~activity.has_outage(edges)
    if distrusted is not None:
        counts &= ~distrusted
    share, precision = _fitted(design[counts], reported[counts], knots, released, since, superseded)
    inside = middles > since
    by_share = (use * widths[:, None])[inside]
    hours = by_share @ share
    if precision is not None:
        by_share = by_share[:, len(knots) - len(precision) :]
    return UsedHours(np.concatenate([[since], pieces[1:][inside]]), hours, by_share, precision)


def _piece_edges(released: float, since: float, until: float) -> Array:
    """Intervals within which the use is steady: 5 minutes in the first hours, later an hour, 6 before `since`."""
    if since > released:
        lead = np.arange(max(since - LEAD, released), since, 6.0)
        return np.concatenate([lead, clock_edges(since, until, 1.0)])
    edges = clock_edges(released, min(until, released + 3), 1 / WINDOWS_AN_HOUR)
    if until > released + 3:
        edges = np.concatenate([edges[:-1], clock_edges(edges[-1], min(until, released + 12), 0.25)])
    if until > released + 12:
        edges = np.concatenate([edges[:-1], clock_edges(edges[-1], until, 1.0)])
    return edges


def _knots(released: float, since: float, until: float) -> Array:
    first = released + np.array(KNOT_AGES)
    later = np.arange(first[-1] + SLOW_STEP, until, SLOW_STEP)
    inner = np.concatenate([first, later])
    inner = inner[(inner > since) & (inner < until)]
    start, last = since, until
    if len(inner) and last - inner[-1] < 0.25 * (inner[-1] - (inner[-2] if len(inner) > 1 else start)):
        inner = inner[:-1]  # the last two would be closer than reports can tell apart
    return np.concatenate([[start], inner, [last]])


def _hats(moments: Array, knots: Array) -> Array:
    """The weight of each knot at each moment; that of the first before it."""
    place = np.clip(np.searchsorted(knots, moments, side="right") - 1, 0, len(knots) - 2)
    part = np.clip((moments - knots[place]) / (knots[place + 1] - knots[place]), 0.0, 1.0)
    hats = np.zeros((len(moments), len(knots)))
    row = np.arange(len(moments))
    hats[row, place] = 1 - part
    hats[row, place + 1] += part
    return hats


def _fitted(
    design: Array, reported: Array, knots: Array, released: float, since: float, superseded: float
) -> tuple[Array, Array | None]:
    """The share at each knot: the smooth curve that explains the reports best; and the precision of those above 0."""
    ages = knots - released
    begins_at_zero = since <= released
    guess = 1 - np.exp(-ages / 24) if begins_at_zero else np.ones(len(knots))
    total = float((design @ guess).sum())
    share = guess * (max(reported.sum(), 0.0) / total if total > 0 else 0.0)
    if not share.any():
        return share, None
    free = slice(1, None) if begins_at_zero else slice(None)
    bends = _second_differences(knots)
    bend = _bends_expected(knots, released, superseded)
    for _ in range(ROUNDS):
        expected = np.maximum(design @ share, 1e-3 * share.max() * design.sum(axis=1) + 1e-9)
        weights = 1 / (HOURS_A_PING * expected + (REPORT_SCATTER * expected) ** 2)
        usual = np.maximum(share, LEAST_SHARE * share.max())
        # While it falls, the share is smooth as an exponential function is: second differences of its logarithm.
        falls = (usual[2:] < usual[1:-1]) & (knots[1:-1] > superseded - BENDS_BEFORE)
        relative = np.where(falls[:, None], bends / usual[None, :], bends / usual[1:-1, None]) / bend[:, None]
        aim = np.where(falls, bends @ (1 - np.log(usual)), 0.0) / bend
        normal = design.T @ (weights[:, None] * design) + relative.T @ relative
        normal += np.eye(len(knots)) * 1e-9 * np.trace(normal) / len(knots)
        solved = np.zeros(len(knots))
        right = design.T @ (weights * reported) + relative.T @ aim
        solved[free] = np.linalg.solve(normal[free, free], right[free])
        share = np.maximum(solved, 0.0)
        if not share.any():
            break
    return share, normal[free, free]


def _bends_expected(knots: Array, released: float, superseded: float) -> Array:
    """The standard deviation of the share's second difference at each inner knot, relative to the share."""
    inner = knots[1:-1]
    since_change = np.maximum(inner - released, 0.25)
    near = inner > superseded - BENDS_BEFORE
    since_change[near] = np.minimum(since_change[near], np.maximum(np.abs(inner[near] - superseded), BENDS_BEFORE))
    step = np.sqrt((knots[2:] - knots[:-2]) / 2)
    return np.asarray(step * np.maximum(BEND / since_change, LEAST_BEND))


def _second_differences(knots: Array) -> Array:
    """The change of slope at each inner knot, as a matrix."""
    steps = np.diff(knots)
    bends = np.zeros((len(knots) - 2, len(knots)))
    row = np.arange(len(knots) - 2)
    bends[row, row] = 1 / steps[:-1]
    bends[row, row + 1] = -1 / steps[:-1] - 1 / steps[1:]
    bends[row, row + 2] = 1 / steps[1:]
    return bends
