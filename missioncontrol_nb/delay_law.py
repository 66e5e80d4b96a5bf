"""The law of reporting delays: which share of usage has been reported, by the time since its use."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
# The last delay bucket has no upper edge: its usage is assumed to arrive evenly until twice its lower edge.
OPEN_BUCKET_FACTOR = 2
NOTHING = 1e-12  # of all usage: a bucket with less has none
SMOOTH_PARTS = 8  # of a bucket, straight each


@dataclass(frozen=True)
class DelayLaw:
    """edges_hours: delays, ascending from 0; shares: of the usage that is reported within each, linear in between."""

    edges_hours: Array
    shares: Array

    @classmethod
    def of_buckets(cls, usage_hours: Array) -> "DelayLaw":
        """The law of usage hours by the buckets of `reporting_delays`; shares are NaN where there are none."""
        from streaming.contract import DELAY_BUCKET_EDGES_HOURS

        edges = np.array([0.0, *DELAY_BUCKET_EDGES_HOURS])
        edges[-1] = edges[-2] * OPEN_BUCKET_FACTOR
        total = usage_hours.sum()
        usage_hours = np.where(usage_hours > NOTHING * total, usage_hours, 0.0)  # the inverse of less may be infinite
        shares = np.cumsum(usage_hours) / total if total > 0 else np.full(len(usage_hours), np.nan)
        return cls(edges, np.concatenate([[0.0], shares]))

    def scaled(self, factor: float) -> "DelayLaw":
        """The law where all delays are so many times as long."""
        return DelayLaw(self.edges_hours * factor, self.shares)

    def smoothed(self) -> "DelayLaw":
        """The law with a smooth curve through its points instead of straight lines between them.

        Few delays are short, and most of a bucket's are near its lower edge. Straight lines would have them later. An
        unknown law stays as it is.
        """
        if not self.is_known:
            return self
        parts = np.arange(SMOOTH_PARTS) / SMOOTH_PARTS
        widths, rises = np.diff(self.edges_hours)[:, None], np.diff(self.shares)[:, None]
        slopes = _monotone_slopes(self.edges_hours, self.shares)[:, None]
        turned = widths * (slopes[:-1] * (1 - parts) - slopes[1:] * parts)
        curve = self.shares[:-1, None] + rises * parts**2 * (3 - 2 * parts) + parts * (1 - parts) * turned
        edges = self.edges_hours[:-1, None] + widths * parts
        return DelayLaw(np.append(edges, self.edges_hours[-1]), np.append(curve, self.shares[-1]))

    @property
    def is_known(self) -> bool:
        """Whether there was any usage to learn it from."""
        return bool(np.isfinite(self.shares).all())

    def reported(self, since_hours: npt.ArrayLike) -> Array:
        """The share of usage of so many hours ago that has been reported."""
        return np.asarray(np.interp(np.asarray(since_hours, float), self.edges_hours, self.shares, left=0.0))

    def integral(self, until_hours: npt.ArrayLike) -> Array:
        """The integral of `reported` from 0 to each time, in hours; 0 before 0.

        Of use at a rate of 1 between a and b, integral(t - a) - integral(t - b) hours have been reported by t.
        """
        until = np.asarray(until_hours, float)
        inside = np.clip(until, 0.0, self.edges_hours[-1])
        left = np.clip(np.searchsorted(self.edges_hours, inside, side="right") - 1, 0, len(self.edges_hours) - 2)
        reached = inside - self.edges_hours[left]
        return np.asarray(
            self._areas[left]
            + reached * (self.shares[left] + self._slopes[left] / 2 * reached)
            + np.maximum(until - self.edges_hours[-1], 0.0) * self.shares[-1]
        )

    @cached_property
    def _slopes(self) -> Array:
        return np.asarray(np.diff(self.shares) / np.diff(self.edges_hours))

    @cached_property
    def _areas(self) -> Array:
        middles = (self.shares[1:] + self.shares[:-1]) / 2
        return np.concatenate([[0.0], np.cumsum(np.diff(self.edges_hours) * middles)])

    def mean_reported(self, since_start_hours: npt.ArrayLike, since_end_hours: npt.ArrayLike) -> Array:
        """The share of the usage of a time span that has been reported, if it was used at a steady rate.

        0 for a span that has not begun. since_start_hours is greater than since_end_hours.
        """
        start, end = np.asarray(since_start_hours, float), np.asarray(since_end_hours, float)
        share = np.clip((self.integral(start) - self.integral(end)) / (start - end), 0.0, 1.0)
        return np.where(start <= 0, 0.0, share)


def _monotone_slopes(x: Array, y: Array) -> Array:
    """The slopes at three or more points of a monotone cubic curve (PCHIP), as `scipy.interpolate` has them.

    Without scipy, of which a page would import 16 MB for it. See Fritsch and Butland, SIAM J. Sci. Stat. Comput. 5
    (1984), 300-304.
    """
    widths, rises = np.diff(x), np.diff(y) / np.diff(x)
    slopes = np.zeros(len(x))
    before, after = rises[:-1], rises[1:]
    bends = before * after > 0  # elsewhere a level place or a turn, where the curve is level
    first, second = 2 * widths[1:] + widths[:-1], widths[1:] + 2 * widths[:-1]
    slopes[1:-1][bends] = (first + second)[bends] / (first[bends] / before[bends] + second[bends] / after[bends])
    slopes[0] = _slope_at_end(widths[0], widths[1], rises[0], rises[1])
    slopes[-1] = _slope_at_end(widths[-1], widths[-2], rises[-1], rises[-2])
    return slopes


def _slope_at_end(width: float, next_width: float, rise: float, next_rise: float) -> float:
    slope = ((2 * width + next_width) * rise - width * next_rise) / (width + next_width)
    if slope * rise <= 0:
        return 0.0
    return 3 * rise if rise * next_rise <= 0 and abs(slope) > 3 * abs(rise) else slope
