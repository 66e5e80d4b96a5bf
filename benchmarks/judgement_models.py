"""The regressions that rivals of the judge fit: counts with an offset, by penalised iterated least squares."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import nbinom, poisson

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
ROUNDS = 25  # of iterated least squares
VARIANCE_ROUNDS = 6  # of the estimates of variances, each with a new fit
LEAST_SCALE = 0.01  # standard deviation of effects
ADOPTIONS = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0])  # between which the effect of adoption is linear
BASELINE_DAYS, LEFT_OUT_DAYS, LEAST_DAYS = 56, 3, 7
LEVEL = 0.005
LEAST_COUNT = 5  # events, below which there is no alarm
REWEIGHTED_FROM = 2.58  # standardised residuals, beyond which a day of the baseline counts less


def fitted(
    design: Array, counts: Array, offset: Array, *, penalty: Array | None = None, alpha: float = 0.0,
    weights: Array | None = None, start: Array | None = None,
) -> tuple[Array, Array]:  # fmt: skip
    """The coefficients of a log-linear model of counts, and the inverse of their information.

    design: (rows, coefficients), counts, offset, weights: (rows,). alpha: the variance is mean + alpha mean^2. penalty:
    the inverse covariance of a normal prior. With weights, the rows' parts of the likelihood are multiplied by them.
    """
    prior = np.zeros((design.shape[1],) * 2) if penalty is None else penalty
    given = np.ones(len(counts)) if weights is None else weights
    predictor = np.log(np.maximum(counts, 0.5)) if start is None else offset + design @ start
    coefficients = np.zeros(design.shape[1]) if start is None else start
    for _ in range(ROUNDS):
        mean = np.exp(np.clip(predictor, -30, 30))
        weight = given * mean / (1 + alpha * mean)
        target = predictor - offset + (counts - mean) / mean
        information = design.T @ (weight[:, None] * design) + prior
        solved = np.linalg.solve(information, design.T @ (weight * target))
        predictor = offset + design @ solved
        done = np.abs(solved - coefficients).max() < 1e-8
        coefficients = solved
        if done:
            break
    return coefficients, np.asarray(np.linalg.inv(information))


@dataclass(frozen=True)
class Effects:
    """The posterior of the versions' effects on the logarithm of the rate, as a normal distribution."""

    mean: Array
    covariance: Array

    def chance_above(self, one: int, other: int, difference: float) -> float:
        """The probability that a version's effect is so much above another's."""
        variance = self.covariance[one, one] + self.covariance[other, other] - 2 * self.covariance[one, other]
        return float(ndtr((self.mean[one] - self.mean[other] - difference) / np.sqrt(max(variance, 1e-12))))


def version_effects(version: Codes, adoption: Array, hours: Array, events: Array, measure: int) -> Effects | None:
    """The effects of versions, given counts by version and day, in the form of Mission Control v2's model.

    version, adoption, hours: (rows,); events: (measures, rows). The counts are negative binomial; the version's effect
    is random; the effect of adoption is linear between ADOPTIONS, its steps are random. All three variances are
    estimated from the same counts. None where there are no events.
    """
    counts = events[measure]
    if not counts.any():
        return None
    versions = int(version.max()) + 1
    of_version = np.eye(versions)[version]
    steps = len(ADOPTIONS) - 1
    reached = np.clip((adoption[:, None] - ADOPTIONS[:-1]) / np.diff(ADOPTIONS), 0.0, 1.0)
    design = np.concatenate([np.ones((len(counts), 1)), reached, of_version], axis=1)
    y, offset = counts + 1, np.log(hours + 1 / 60)
    alpha, of_steps, of_versions = 0.05, np.full(steps, 0.05), 0.05
    coefficients: Array | None = None
    for _ in range(VARIANCE_ROUNDS):
        penalty = np.diag(np.concatenate([[1e-9], 1 / of_steps, np.full(versions, 1 / of_versions)]))
        coefficients, covariance = fitted(design, y, offset, penalty=penalty, alpha=alpha, start=coefficients)
        squares = coefficients**2 + np.diag(covariance)
        gaps = np.diff(ADOPTIONS)
        of_steps = np.maximum(gaps * (squares[1 : steps + 1] / gaps).mean(), 1e-6)
        of_versions = max(float(squares[steps + 1 :].mean()), LEAST_SCALE**2)
        alpha = _overdispersion(y, np.exp(offset + design @ coefficients), len(y) - versions)
    assert coefficients is not None
    return Effects(coefficients[steps + 1 :], covariance[steps + 1 :, steps + 1 :])


def _overdispersion(counts: Array, mean: Array, degrees: int) -> float:
    """The alpha with which Pearson's statistic is what it should be."""

    def excess(alpha: float) -> float:
        return float(((counts - mean) ** 2 / (mean + alpha * mean**2)).sum() - max(degrees, 1))

    return 1e-6 if excess(1e-6) <= 0 else 10.0 if excess(10.0) >= 0 else float(brentq(excess, 1e-6, 10.0, xtol=1e-5))


@dataclass(frozen=True)
class Expectation:
    """The rate to expect, events per hour, and how many times a Poisson distribution's variance counts have."""

    rate: float
    dispersion: float

    def is_exceeded(self, count: float, hours: float) -> bool:
        """Whether a count is above the 99.5 % quantile of a negative binomial distribution."""
        mean = self.rate * hours
        if count < LEAST_COUNT or mean <= 0:
            return False
        if self.dispersion <= 1 + 1e-6:
            return bool(count > poisson.ppf(1 - LEVEL, mean))
        return bool(count > nbinom.ppf(1 - LEVEL, mean / (self.dispersion - 1), 1 / self.dispersion))


def farrington(days: Array, counts: Array, hours: Array) -> Expectation | None:
    """What Farrington's improved method expects for the day after the given ones; None without a week of baseline.

    days: days since 1970, ascending; counts, hours: of each. A quasi-Poisson model with a trend and a level for
    weekends, fitted to up to BASELINE_DAYS, without the newest LEFT_OUT_DAYS. Days with large Anscombe residuals get
    less weight and it is fitted again. The trend is left out if with it more is expected than was ever seen. The
    original has counts of weeks, five years of them, and ten seasons; it leaves out half a year.
    """
    kept = slice(-BASELINE_DAYS - LEFT_OUT_DAYS, -LEFT_OUT_DAYS)
    today = days[-1] + 1
    days, counts, hours = days[kept], counts[kept], hours[kept]
    days, counts, hours = (each[hours > 0] for each in (days, counts, hours))
    if len(days) < LEAST_DAYS or not counts.any():
        return None
    expectation, with_trend = _expectation(days, counts, hours, today, has_trend=True)
    if with_trend > (counts / hours).max():
        expectation, _ = _expectation(days, counts, hours, today, has_trend=False)
    return expectation


def _expectation(
    days: Array, counts: Array, hours: Array, today: float, *, has_trend: bool
) -> tuple[Expectation, float]:
    columns = np.stack([np.ones(len(days) + 1), _weekend(np.append(days, today))], axis=1)
    if has_trend:
        columns = np.concatenate([columns, (np.append(days, today) - today)[:, None] / BASELINE_DAYS], axis=1)
    design = columns[:-1, : 1 if not columns[:-1, 1].any() else None]
    offset, weights = np.log(hours), np.ones(len(days))
    penalty = 1e-6 * np.eye(design.shape[1])
    for is_last in (False, True):
        coefficients, inverse = fitted(design, counts, offset, penalty=penalty, weights=weights)
        mean = np.exp(offset + design @ coefficients)
        degrees = max(len(days) - design.shape[1], 1)
        dispersion = max(1.0, float((weights * (counts - mean) ** 2 / mean).sum() / degrees))
        if not is_last:
            leverage = np.clip(np.einsum("ri,ij,rj->r", design, inverse, design) * mean * weights, 0.0, 0.99)
            residuals = 1.5 * (counts ** (2 / 3) * mean ** (-1 / 6) - np.sqrt(mean))
            residuals = residuals / np.sqrt(dispersion * (1 - leverage))
            weights = np.where(residuals > REWEIGHTED_FROM, 1 / np.maximum(residuals, 1.0) ** 2, 1.0)
            weights = weights * len(weights) / weights.sum()
    rate = float(np.exp(columns[-1, : design.shape[1]] @ coefficients))
    return Expectation(rate, dispersion), rate


def _weekend(days: Array) -> Array:
    return np.asarray(((days + 3) % 7 >= 5).astype(np.float64))  # 1 January 1970 was a Thursday
