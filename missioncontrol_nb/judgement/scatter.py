"""How much a healthy release's rate differs from itself: from one interval to the next, and from one day to the next.

Learned from the releases before, as `baseline` is, and so that hours that went wrong change little.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
# Ages, in hours, between which the scatter of an interval's rate is the same.
SCATTER_EDGES = np.array([0.0, 1, 2, 6, 24, 1e6])
USUAL_SCATTER = np.array([0.15, 0.10, 0.07, 0.06, 0.05])  # of an hour's rate, by age; what is assumed without history
SCATTER_WORTH = 40  # intervals of history that this assumption counts for
USUAL_DRIFT = (0.06, 0.03, 0.05)  # of the rate in a day: in the first two days, while newest, and when superseded
EARLY_DRIFT, NEWEST_DRIFT, SUPERSEDED_DRIFT = range(3)
EARLY_DAYS = 2
DRIFT_WORTH = 30
LEAST_SCATTER, LEAST_DRIFT = 0.02, 0.01
USUAL_DISPERSION, DISPERSION_WORTH = 1.3, 40.0
SYSTEM_WORTH = 10.0  # intervals of a system that all systems' dispersion counts for
SCATTER_ROUNDS = 3
LAW_SCATTER, LAW_WORTH, LEAST_LAW_SCATTER = 0.2, 6.0, 0.05  # of the logarithm of releases' delays, and its worth


def scatter_at(ages: Array, scatter: Array = USUAL_SCATTER) -> Array:
    """The scatter of an interval's rate by age."""
    return scatter[_place_of(ages)]


@dataclass(frozen=True)
class Intervals:
    """A history release's intervals: middles of ages, events and expected events (intervals, measures), in order.

    Expected events have the release's own effect in them. superseded_at: the age at which a newer release came.
    system: the place of its system among all of the channel.
    """

    ages: Array
    events: Array
    expected: Array
    superseded_at: float
    system: int = 0


@dataclass(frozen=True)
class Early:
    """A history release's first hours: events and expected events of crash measures, (intervals, measures).

    sensitivity: by interval, how much the logarithm of expected events falls with that of its delays. scatter: by
    interval.
    """

    events: Array
    expected: Array
    sensitivity: Array
    scatter: Array


def learn_scatter(history: Sequence[Intervals], systems: int, measures: int) -> tuple[Array, Array]:
    """The scatter of an interval's rate by age, and the dispersion of counts: (systems, measures).

    Both are learned from how far an interval's rate is from its neighbours'. Of small counts that is mostly chance,
    times the dispersion; of large ones it is the scatter. systems: how many there are.
    """
    pairs = [(release.system, *_pairs(release)) for release in history if len(release.ages) >= 3]
    squares = [(release.system, *_squares(release)) for release in history if len(release.ages) >= 3]
    scatter, dispersion = USUAL_SCATTER, np.full((systems, measures), USUAL_DISPERSION)
    for _ in range(SCATTER_ROUNDS):
        above, number = np.zeros((systems, measures)), np.zeros((systems, measures))
        for system, place, off, harmonic in pairs:
            of_scatter = 2 * scatter[place][:, None] ** 2 * harmonic
            worth = np.minimum(harmonic, 1.0) / (1 + of_scatter / dispersion[system]) ** 2
            above[system] += (np.minimum(worth * (off - of_scatter), 20 * dispersion[system]) - worth).sum(axis=0)
            number[system] += worth.sum(axis=0)
        # A system's dispersion is near that of all systems, and this near the usual one.
        usual = DISPERSION_WORTH * (USUAL_DISPERSION - 1)
        of_all = (usual + above.sum(axis=0)) / (DISPERSION_WORTH + number.sum(axis=0))
        of_system = (SYSTEM_WORTH * of_all + above) / (SYSTEM_WORTH + number)
        dispersion = np.maximum(1 + of_system, 1.0)
        sums, numbers = SCATTER_WORTH * USUAL_SCATTER**2, np.full(len(USUAL_SCATTER), float(SCATTER_WORTH))
        for system, place, off, chance, expected in squares:
            noise = dispersion[system] * chance
            expects = 1.5 * USUAL_SCATTER[place][:, None] ** 2
            excess = (np.minimum(off, 9 * (expects + noise)) - noise) / 1.5
            worth = np.where(expected >= 20, 1 / (1 + noise / expects) ** 2, 0.0)
            sums += np.bincount(place, (worth * excess).sum(axis=1), len(sums))
            numbers += np.bincount(place, worth.sum(axis=1), len(sums))
        scatter = np.sqrt(np.maximum(sums / numbers, LEAST_SCATTER**2))
    return scatter, dispersion


def _pairs(release: Intervals) -> tuple[npt.NDArray[np.int64], Array, Array]:
    """Of neighbouring intervals: the place of the age, the squared difference of rates by its variance by chance, and
    half of the harmonic mean of the expected events. The second holds for small counts too: it has no logarithm."""
    expected, events = np.maximum(release.expected, 1e-9), release.events
    both = expected[1:] + expected[:-1]
    harmonic = expected[1:] * expected[:-1] / both
    off = (events[:-1] / expected[:-1] - events[1:] / expected[1:]) ** 2 * harmonic
    return _place_of(release.ages[1:]), off, harmonic


def _place_of(ages: Array) -> npt.NDArray[np.int64]:
    """The place of each age in a scatter by age."""
    return np.clip(np.searchsorted(SCATTER_EDGES, ages, side="right") - 1, 0, len(USUAL_SCATTER) - 1)


def _squares(release: Intervals) -> tuple[npt.NDArray[np.int64], Array, Array, Array]:
    """Of inner intervals: the place of the age, the squared distance from the neighbours' mean, its variance by chance
    and the least expected events of the three."""
    log_ratio = np.log((release.events + 0.5) / (release.expected + 0.5))
    chance = 1 / np.maximum(release.expected, 1e-3)
    off = log_ratio[1:-1] - (log_ratio[2:] + log_ratio[:-2]) / 2
    noise = chance[1:-1] + (chance[2:] + chance[:-2]) / 4
    least = np.minimum(np.minimum(release.expected[2:], release.expected[:-2]), release.expected[1:-1])
    return _place_of(release.ages[1:-1]), off**2, noise, least


def learn_law_scatter(early: Sequence[Early]) -> float:
    """The standard deviation of the logarithm of releases' delays, from their early rates: late reports raise them."""
    total, number = LAW_WORTH * LAW_SCATTER**2, LAW_WORTH
    for release in early:
        mean = np.maximum(release.expected, 1e-9)
        log_ratio = np.log((release.events + 0.5) / (mean + 0.5))
        variance = 1 / (mean + 0.5) + release.scatter[:, None] ** 2
        weight = np.where(mean > 3, release.sensitivity[:, None] / variance, 0.0)
        information = float((weight * release.sensitivity[:, None]).sum())
        if information > 4:  # the release's delays are known better than by a factor of 1.6
            found = float((weight * log_ratio).sum()) / information
            total += min(found**2, 9 * LAW_SCATTER**2) - 1 / information
            number += 1
    return float(np.sqrt(max(total / number, LEAST_LAW_SCATTER**2)))


def learn_drift(history: Sequence[Intervals], scatter: Array, dispersion: Array) -> tuple[float, float, float]:
    """The drift of a rate in a day: early, later while the release is the newest, and when it is superseded.

    scatter, dispersion: as from `learn_scatter`.
    """
    sums = [DRIFT_WORTH * usual**2 for usual in USUAL_DRIFT]
    numbers = [float(DRIFT_WORTH)] * len(USUAL_DRIFT)
    for release in history:
        day = np.floor(release.ages / 24).astype(int)
        if not len(day) or day[-1] < 2:
            continue
        size = day[-1] + 1
        events = np.stack([np.bincount(day, each, size) for each in release.events.T], axis=1)
        expected = np.stack([np.bincount(day, each, size) for each in release.expected.T], axis=1)
        intervals = np.maximum(np.bincount(day, minlength=size), 1)
        of_scatter = np.bincount(day, scatter_at(release.ages, scatter) ** 2, size) / intervals**2
        noise = dispersion[release.system] / np.maximum(expected, 1e-9) + of_scatter[:, None]
        log_ratio = np.log((events + 0.5) / (expected + 0.5))
        step, of_step = np.diff(log_ratio, axis=0), noise[1:] + noise[:-1]
        enough = np.minimum(expected[1:], expected[:-1]) >= 50
        kind = np.where(np.arange(1, size) * 24.0 > release.superseded_at, SUPERSEDED_DRIFT, NEWEST_DRIFT)
        kind[:EARLY_DAYS] = EARLY_DRIFT
        for place, usual in enumerate(USUAL_DRIFT):
            chosen = enough & (kind == place)[:, None]
            capped = np.minimum(step**2, 9 * (of_step + usual**2))
            told = np.where(chosen, 1 / (1 + of_step / (2 * usual**2)) ** 2, 0.0)  # a noisy step tells little
            sums[place] += float((told * (capped - of_step)).sum())
            numbers[place] += float(told.sum())
    early, newest, superseded = (
        float(np.sqrt(max(total / number, LEAST_DRIFT**2))) for total, number in zip(sums, numbers, strict=True)
    )
    return max(early, newest), newest, max(newest, superseded)
