"""What a healthy release would show: the rate at each age, and how much healthy releases differ, learned from history.

The model of a series: log rate = level + curve(age) + effect of the release. The level and the curve are those of the
releases before. Effects are drawn from a distribution whose scale (tau) the series of a channel share. Within a release
the rate scatters from one interval to the next, and drifts, see `scatter`; these scales are shared, too. All of it is
estimated so that a bad release, or hours that went wrong, change little: by medians and by weights that bound each
residual.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.judgement.scatter import LAW_SCATTER, USUAL_DISPERSION, USUAL_DRIFT, USUAL_SCATTER, scatter_at

Array = npt.NDArray[np.float64]
# Ages, in hours, between which events are summed to learn the curve; the last interval has no end.
AGE_EDGES = np.array([0.0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 36, 48, 72, 96, 144, 192, 264, 336, 1e6])
AGES = np.array([0.5, 1.5, 2.5, 3.5, 5, 7, 10, 14, 20, 30, 42, 60, 84, 120, 168, 228, 300, 400])
CURVE_BEND = 0.08  # of the curve, from one age to the next
CURVE_SIZE = 0.5  # its standard deviation around 0
OWN_BEND, OWN_SIZE = 0.04, 0.15  # a measure's curve, around that of all measures that are counted alike
EFFECT_PRIOR = 0.2  # standard deviation of effects, while they are estimated
HUBER = 2.5
ROUNDS, CLOSE = 12, 1e-3  # of the estimate by turns; it ends when no rate changes by more
TAUS = np.array([0.05, 0.07, 0.09, 0.11, 0.14, 0.17, 0.21, 0.26, 0.33, 0.42, 0.55])
LEAST_TAU, USUAL_TAU, USUAL_TAU_SPREAD = 0.07, 0.12, 0.5
RELEASE_WORTH = 3.0  # series of one release count as so many: they share causes
SICK_SHARE, SICK_SCALE = 0.08, 0.7  # of releases in a history that are not healthy, and how far off they are
LEAST_RELEASES = 2  # to compare with
MEDIAN_COST = np.pi / 2  # the variance of a median over that of a mean


@dataclass(frozen=True)
class History:
    """Sums of earlier releases of a channel on a system.

    events, exposure: (releases, ages, measures), by AGE_EDGES. groups: the measures that are counted alike, as places.
    """

    events: Array
    exposure: Array
    groups: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Curves:
    """The typical rate of each measure by age, and the effects of the releases that it was learned from.

    level: (measures,), log rate per hour, and its variance by the counts alone; curve, curve_variance: (ages,
    measures); effects, variances: (releases, measures), the variances by counts and scatter alone. known: (measures,),
    how many releases have hours of a measure.
    """

    level: Array
    level_variance: Array
    curve: Array
    curve_variance: Array
    effects: Array
    variances: Array
    known: Array

    def log_rate(self, ages: Array) -> Array:
        """The logarithm of the typical rate per hour at each age: (ages, measures); NaN where none is known."""
        return self.level + np.stack([_at(ages, each) for each in self.curve.T], axis=1)

    def rate(self, ages: Array) -> Array:
        """The typical rate per hour at each age: (ages, measures); 0 where none is known."""
        return np.nan_to_num(np.exp(self.log_rate(ages)), nan=0.0)

    def log_variance(self, ages: Array) -> Array:
        """The variance of `log_rate` by the curve's uncertainty."""
        return np.stack([_at(ages, each) for each in self.curve_variance.T], axis=1)

    @property
    def settled_variance(self) -> Array:
        """The variance of `log_rate` by the curve's uncertainty where it is least, by measure."""
        return np.asarray(self.curve_variance.min(axis=0))

    def early_variance(self, ages: Array) -> Array:
        """How much more uncertain the curve is at each age than where it is least uncertain."""
        return self.log_variance(ages) - self.settled_variance

    @property
    def releases(self) -> int:
        """How many releases it was learned from."""
        return len(self.effects)


def _at(ages: Array, values: Array) -> Array:
    return np.asarray(np.interp(np.log1p(ages), np.log1p(AGES), values))


def learn_curves(history: History, scatter: Array, dispersion: Array) -> Curves:
    """The typical rate by age; a measure that fewer than LEAST_RELEASES releases have hours of has NaN.

    scatter, dispersion: those of Spread.
    """
    events, exposure = history.events, history.exposure
    noise = scatter_at(AGES, scatter)[None, :, None]
    releases, _, measures = events.shape
    known_releases = (exposure.sum(axis=1) > 0).sum(axis=0)
    level = np.log((events.sum(axis=(0, 1)) + 0.5) / np.maximum(exposure.sum(axis=(0, 1)), 1e-12))
    curve, effects = np.zeros(events.shape[1:]), np.zeros((releases, measures))
    shrink = 1 / EFFECT_PRIOR**2
    curve_variance = np.zeros(curve.shape)
    for _ in range(ROUNDS):
        before = level + curve
        typical = exposure * np.exp(before)
        expected = typical * np.exp(effects)[:, None, :]
        residual = (events - expected) / np.sqrt(dispersion * expected + (noise * expected) ** 2 + 1e-9)
        weight = np.minimum(1.0, HUBER / np.maximum(np.abs(residual), 1e-9))
        of_effect = (weight * events).sum(axis=1), (weight * typical).sum(axis=1)
        effects = np.log((of_effect[0] + shrink) / (of_effect[1] + shrink))
        middle = _middle(effects, *of_effect)
        level, effects = level + middle, effects - middle
        # A step of Newton's method: few events say little, but they are not wrong on average, as their logarithms are.
        base = exposure * np.exp(level + curve + effects[:, None, :])
        known, expected_there = (weight * events).sum(axis=0), (weight * base).sum(axis=0)
        several = base.sum(axis=0) ** 2 / np.maximum((base**2).sum(axis=0), 1e-12)
        variance = dispersion / np.maximum(expected_there, 1e-6) + noise[0] ** 2 / np.maximum(several, 1.0)
        off = np.where(expected_there > 1e-6, known / np.maximum(expected_there, 1e-6) - 1, 0.0)
        curve, curve_variance = _smooth_curves(curve + off, variance, history.groups)
        heavy = 1 / variance
        middle = (heavy * curve).sum(axis=0) / heavy.sum(axis=0)
        level, curve = level + middle, curve - middle
        if np.abs(level + curve - before).max() < CLOSE:
            break
    variances = dispersion / (of_effect[0] + 0.5) + _scatter_of_sum(expected, noise)
    effects = np.log((of_effect[0] + 0.5) / (of_effect[1] + 0.5))
    effects = effects - _middle(effects, *of_effect)
    return Curves(
        np.where(known_releases >= LEAST_RELEASES, level, np.nan),
        dispersion / (of_effect[0].sum(axis=0) + 0.5),
        curve,
        curve_variance,
        effects,
        np.where(exposure.sum(axis=1) > 0, variances, 1e6),
        known_releases.astype(float),
    )


def _middle(effects: Array, events: Array, typical: Array) -> Array:
    """The median effect of each measure; those that hardly a healthy release has, and of few events, count less."""
    variance = USUAL_TAU**2 + 1 / (events + 0.5)
    known = typical / (typical + 1 / EFFECT_PRIOR**2)
    middle = _weighted_median(effects, known)
    healthy = np.exp(-0.5 * (effects - middle) ** 2 / variance) / np.sqrt(variance)
    wide = variance + SICK_SCALE**2
    sick = np.exp(-0.5 * (effects - middle) ** 2 / wide) / np.sqrt(wide)
    return _weighted_median(
        effects, known * (1 - SICK_SHARE) * healthy / ((1 - SICK_SHARE) * healthy + SICK_SHARE * sick)
    )


def _scatter_of_sum(expected: Array, noise: Array) -> Array:
    """The variance of the logarithm of a sum over ages, by the scatter of its parts: (releases, measures)."""
    total = np.maximum(expected.sum(axis=1), 1e-12)
    return np.asarray(((noise * expected) ** 2).sum(axis=1) / total**2)


def _weighted_median(values: Array, weights: Array) -> Array:
    """The weighted median of each column."""
    order = np.argsort(values, axis=0)
    ordered, heavy = np.take_along_axis(values, order, 0), np.take_along_axis(weights, order, 0)
    so_far = np.cumsum(heavy, axis=0) - heavy / 2
    half = heavy.sum(axis=0) / 2
    return np.array(
        [
            np.interp(half[column], so_far[:, column], ordered[:, column]) if half[column] > 0 else 0.0
            for column in range(values.shape[1])
        ]
    )


def _smooth_curves(found: Array, variance: Array, groups: Sequence[Sequence[int]]) -> tuple[Array, Array]:
    """Curves by measure, each near its group's, and their variances: both (ages, measures)."""
    curves, variances = np.zeros(found.shape), np.zeros(found.shape)
    for group in groups:
        of_group = list(group)
        weight = 1 / (variance[:, of_group] + OWN_SIZE**2)
        pooled = (weight * found[:, of_group]).sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)
        shared, of_shared = _smooth(pooled, 1 / weight.sum(axis=1, keepdims=True), CURVE_BEND, CURVE_SIZE)
        own, of_own = _smooth(found[:, of_group] - shared, variance[:, of_group], OWN_BEND, OWN_SIZE)
        curves[:, of_group], variances[:, of_group] = shared + own, of_shared + of_own
    return curves, variances


def _smooth(values: Array, variance: Array, bend: float, size: float) -> tuple[Array, Array]:
    """The smooth curves through values of known variance, around 0, and their own variances: all (ages, curves)."""
    ages = len(values)
    bends = np.diff(np.eye(ages), 2, axis=0)
    stiff = np.eye(ages) / (size**2 * ages) + bends.T @ bends / bend**2
    diagonal = (1 / variance).T[:, :, None] * np.eye(ages)
    covariance = np.linalg.inv(stiff + diagonal)
    smooth = np.einsum("cab,bc->ac", covariance, values / variance)
    return smooth, np.diagonal(covariance, axis1=1, axis2=2).T


@dataclass(frozen=True)
class Spread:
    """How much healthy releases of a channel differ, and how much one differs from itself over time.

    tau_weights: of TAUS. scatter: by SCATTER_EDGES. dispersion: by measure, the variance of small counts over that of
    chance, because events come in clusters. drift: in a day, by the places of USUAL_DRIFT. law_scatter: of the
    logarithm of delays.
    """

    tau_weights: Array
    scatter: Array
    dispersion: Array
    drift: tuple[float, float, float]
    law_scatter: float

    @classmethod
    def usual(cls, measures: int) -> "Spread":
        """What is assumed without any history."""
        return cls(learn_tau([]), USUAL_SCATTER, np.full(measures, USUAL_DISPERSION), USUAL_DRIFT, LAW_SCATTER)

    def scatter_of(self, ages: Array, expected: Array) -> Array:
        """The relative scatter besides chance of counts at these ages: (intervals, measures), as of `expected`."""
        return np.sqrt(
            scatter_at(ages, self.scatter)[:, None] ** 2 + (self.dispersion - 1) / np.maximum(expected, 1e-9)
        )

    @cached_property
    def taus(self) -> Array:
        """The scales between releases that `tau_weights` belong to."""
        return np.maximum(TAUS, LEAST_TAU)

    @cached_property
    def tau(self) -> float:
        """The mean scale between releases."""
        return float(np.sqrt(self.tau_weights @ self.taus**2))


def learn_tau(curves: Sequence[Curves]) -> Array:
    """The weights of TAUS, from the effects of the same channel's releases on several systems."""
    log_weights = -0.5 * (np.log(TAUS / USUAL_TAU) / USUAL_TAU_SPREAD) ** 2
    by_release: dict[int, list[tuple[float, float]]] = {}
    for of_system in curves:
        count = of_system.releases
        for place in range(count):
            known = of_system.variances[place] < 0.3**2
            pairs = zip(of_system.effects[place][known], of_system.variances[place][known], strict=True)
            # a median of few moves with each of them: the effects around it are too small
            by_release.setdefault(count - place, []).extend((effect, variance) for effect, variance in pairs)
    releases = max((each.releases for each in curves), default=1)
    shrunk = 1 - 1 / max(releases, 2)
    for pairs_of_release in by_release.values():
        if pairs_of_release:
            effects, variances = np.array(pairs_of_release).T
            scale = np.sqrt(TAUS[:, None] ** 2 * shrunk + variances)
            healthy = np.exp(-0.5 * (effects / scale) ** 2) / scale
            wide = np.sqrt(scale**2 + SICK_SCALE**2)
            sick = np.exp(-0.5 * (effects / wide) ** 2) / wide
            log_likelihood = np.log((1 - SICK_SHARE) * healthy + SICK_SHARE * sick).sum(axis=1)
            log_weights += min(1.0, RELEASE_WORTH / len(effects)) * log_likelihood
    weights = np.exp(log_weights - log_weights.max())
    return np.asarray(weights / weights.sum())
