"""How much a channel is used on a system at each moment, estimated from the usage hours that were reported later.

All times are hours since 1970, UTC.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.delay_law import DelayLaw

Array = npt.NDArray[np.float64]
DAY, WEEK = 24, 168
LONGEST = 4 * WEEK  # the history that counts; usage changes over longer times
WEEKS_FOR_WEEKDAYS = 2  # of history; with less, all days are alike
SHARPNESS = 0.02  # of the deconvolution: the less, the sharper the peaks of a day, and the noise
OUTAGE_BELOW = 0.2  # an hour with less than this share of its usual reports is one in which data is missing
LEAST_REPORTS = 30.0  # hours of use expected in an hour, so that less is no chance
LEAST_ACTIVITY = 0.05  # of the mean


@dataclass(frozen=True)
class Activity:
    """Usage hours per hour of all versions. level: by hour from `first_hour` on; profile: by hour of the period.

    reports: as profile, of the hours that are reported. outages: by hour, whether far too little was reported, or what
    was reported cannot be trusted.
    """

    first_hour: int
    level: Array
    profile: Array
    reports: Array
    outages: npt.NDArray[np.bool_]

    def rate(self, moments: Array) -> Array:
        """Hours of use per hour at each moment, linear between the middles of hours."""
        hour = np.floor(moments - 0.5).astype(np.int64)
        after = moments - 0.5 - hour
        return np.asarray((1 - after) * self._of_hour(hour) + after * self._of_hour(hour + 1))

    def _of_hour(self, hour: npt.NDArray[np.int64]) -> Array:
        place = np.clip(hour - self.first_hour, 0, len(self.level) - 1)
        return np.asarray(self.level[place] * self.profile[hour % len(self.profile)])

    def seen(self, reported: Array, distrusted: npt.NDArray[np.bool_]) -> "Activity":
        """With the outages among the hours that follow those it was estimated from. distrusted: as there."""
        hours = self.first_hour + len(self.outages) + np.arange(len(reported))
        expected = self.level[-1] * self.reports[hours % len(self.reports)]
        is_outage = distrusted | ((reported < OUTAGE_BELOW * expected) & (expected >= LEAST_REPORTS))
        return replace(self, outages=np.concatenate([self.outages, is_outage]))

    def is_outage(self, hours: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether each hour is an outage: far too little was reported in it, as where data is missing."""
        place = hours - self.first_hour
        inside = (place >= 0) & (place < len(self.outages))
        return np.asarray(inside & self.outages[np.clip(place, 0, len(self.outages) - 1)])

    def has_outage(self, edges: Array) -> npt.NDArray[np.bool_]:
        """Whether any hour that has a part between each edge and the next is an outage."""
        before = np.concatenate([[0], np.cumsum(self.outages)])
        first = np.floor(edges[:-1] + 1e-6).astype(np.int64) - self.first_hour
        after = np.ceil(edges[1:] - 1e-6).astype(np.int64) - self.first_hour
        first, after = (np.clip(each, 0, len(self.outages)) for each in (first, after))
        return np.asarray(before[after] > before[first])


def estimate_activity(
    first_hour: int, reported: Array, law: DelayLaw, distrusted: npt.NDArray[np.bool_] | None = None
) -> Activity:
    """The activity behind the hours of use reported in each hour; at least one hour.

    distrusted: hours whose reports are known to be wrong, which count as outages.

    Reported is what was used, later: a weekly rhythm, spread by the delays. The rhythm of what was reported is taken
    apart in the frequency domain, where spreading is a product.
    """
    wrong = np.zeros(len(reported), bool) if distrusted is None else distrusted
    if len(reported) > LONGEST:
        first_hour, reported, wrong = first_hour + len(reported) - LONGEST, reported[-LONGEST:], wrong[-LONGEST:]
    hours = first_hour + np.arange(len(reported))
    period = WEEK if len(reported) >= WEEKS_FOR_WEEKDAYS * WEEK else DAY
    right = reported if wrong.all() else reported[~wrong]
    usual = np.full(len(reported), max(float(np.median(right)), 1e-12))
    outages = wrong
    rhythm = np.ones(period)
    for _ in range(2):  # the second time without the outages that the first one found
        level = _moving_mean(np.where(outages, np.nan, reported / rhythm[hours % period]), DAY)
        level = np.where(np.isfinite(level), level, usual)
        if len(reported) >= 2 * DAY:
            rhythm = _folded(np.where(outages, np.nan, reported) / np.maximum(level, 1e-12), hours % period, period)
        outages = wrong | (reported < OUTAGE_BELOW * np.maximum(level, 0.1 * usual) * rhythm[hours % period])
    return Activity(first_hour, np.maximum(level, 1e-9), _deconvolved(rhythm, law), rhythm, outages)


def _moving_mean(values: Array, width: int) -> Array:
    """The mean of the `width` values around each, as far as they are there; NaN where none is."""
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    numbers = np.concatenate([[0], np.cumsum(known)])
    first = np.clip(np.arange(len(values)) - width // 2, 0, None)
    last = np.clip(np.arange(len(values)) + width - width // 2, None, len(values))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((sums[last] - sums[first]) / (numbers[last] - numbers[first]))


def _folded(values: Array, place: npt.NDArray[np.int64], period: int) -> Array:
    """The median of the values at each place of a period, 1 on average; 1 where there is none."""
    rows = np.full((len(values) // period + 2, period), np.nan)
    rows[np.arange(len(values)) // period, place] = values
    rhythm = np.ones(period)
    known = np.isfinite(rows).any(axis=0)
    rhythm[known] = np.nanmedian(rows[:, known], axis=0)
    mean = rhythm.mean()
    return np.maximum(rhythm / mean, LEAST_ACTIVITY) if mean > 0 else np.ones(period)


def _deconvolved(rhythm: Array, law: DelayLaw) -> Array:
    """The rhythm of use behind a rhythm of reports, 1 on average."""
    longest = int(np.ceil(law.edges_hours[-1])) + 1
    area = law.integral(np.arange(-1, longest + 2))
    of_hour = area[2:] - 2 * area[1:-1] + area[:-2]  # use in one hour that is reported so many hours later
    spread = np.bincount(np.arange(len(of_hour)) % len(rhythm), of_hour, len(rhythm))
    transfer = np.fft.rfft(spread / spread.sum())
    found = np.fft.rfft(rhythm) * np.conj(transfer) / (np.abs(transfer) ** 2 + SHARPNESS)
    used = np.maximum(np.fft.irfft(found, len(rhythm)), 0.0)
    return np.maximum(used / used.mean(), LEAST_ACTIVITY)
