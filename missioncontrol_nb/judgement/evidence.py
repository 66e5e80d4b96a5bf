"""The evidence that a release's rate rose above what healthy releases show, which may be looked at at any time.

Two explanations of the counts so far are compared. One: the release's effect is drawn like those of healthy releases,
and drifts like theirs. Other: the same, times a factor from 1.2 to 8, from the release or from any later moment on. The
evidence is the ratio of their marginal likelihoods. Under the first explanation its mean is never more than 1, so the
chance that it ever reaches 100 is 1 % at most, however often one looks (Ville 1939).

Both are computed by one pass over the intervals (a forward algorithm): the weight of each effect on a grid, without a
factor and with each factor; the weight of a factor that begins comes from those without one.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
STEP = 0.02
REACH = 55
EFFECTS = np.arange(-REACH, REACH + 1) * STEP
SHIFTS = np.array([9, 15, 22, 32, 46, 68, 104])  # of the grid: factors 1.2 to 8
FACTORS = np.exp(SHIFTS * STEP)
FROM_RELEASE, LATER = 0.7, 0.3  # the weights of a factor from the release on, and of one that begins later
LATER_HOURS = 336.0  # half of the later weight is spent within this age
ILL_SHARE = 0.05  # of series that have risen, among those that are not asked about
RETURN_HOURS = 480.0  # how long a factor lasts, on average
_BROAD = EFFECTS.shape[0] + int(SHIFTS[-1])
BROAD_EFFECTS = (np.arange(_BROAD) - REACH) * STEP
# Of each row of Evidence.weights, the places of its effects in BROAD_EFFECTS.
_PLACES = np.concatenate([[0, 0], SHIFTS])[:, None] + np.arange(len(EFFECTS))[None, :]


def log_likelihood(events: Array, expected: Array, scatter: Array) -> Array:
    """The logarithm of the negative binomial likelihood by effect, up to a constant: the shape of events x effects.

    expected: events of a typical release. scatter: relative standard deviation of the rate besides chance.
    """
    size = 1 / scatter**2
    mean = expected[..., None] * np.exp(BROAD_EFFECTS)
    return np.asarray(events[..., None] * BROAD_EFFECTS - (events + size)[..., None] * np.log1p(mean / size[..., None]))


def later_weight(since_hours: float, until_hours: float) -> float:
    """The prior weight of a factor that begins between two ages."""
    spent = [LATER * age / (age + LATER_HOURS) for age in (max(since_hours, 0.0), until_hours)]
    return spent[1] - spent[0]


def healthy_effects(scales: Array, weights: Array, centres: Array | None = None) -> Array:
    """The distribution of effects of healthy releases on the grid: (measures, effects).

    scales: (measures, mixture), standard deviations; weights: (mixture,). centres: (measures,) of the mixture.
    """
    middle = np.zeros(len(scales)) if centres is None else centres
    off = (EFFECTS[None, None, :] - middle[:, None, None]) / scales[:, :, None]
    density = np.einsum("m,smg->sg", weights, np.exp(-0.5 * off**2) / scales[:, :, None])
    return np.asarray(density / density.sum(axis=1, keepdims=True))


def blurred(effects: Array, scale: float) -> Array:
    """A distribution of effects, (measures, effects), after a normal step of a standard deviation."""
    kernel = np.exp(-0.5 * ((EFFECTS[:, None] - EFFECTS[None, :]) / scale) ** 2)
    found = effects @ (kernel / kernel.sum(axis=1, keepdims=True))
    return np.asarray(found / found.sum(axis=1, keepdims=True))


@dataclass
class Evidence:
    """The weights of effects after some intervals, of several series at once.

    weights: (series, 2 + factors, effects): without a factor, after one that ended, and with each factor. log_healthy:
    the logarithm of what the first of these rows was divided by; log_risen: that of all others.
    """

    weights: Array
    log_healthy: Array
    log_risen: Array

    @classmethod
    def before(cls, effects: Array) -> "Evidence":
        """Before the first interval. effects: as from `healthy_effects`."""
        weights = np.zeros((len(effects), 2 + len(SHIFTS), len(EFFECTS)))
        weights[:, 0] = effects
        return cls(weights, np.zeros(len(effects)), np.full(len(effects), -np.inf))

    def after(self, likelihood: Array, drift: Array, weight: float, hours: float) -> "Evidence":
        """After one more interval.

        likelihood: as from `log_likelihood`, (series, effects and more). drift: the variance of the effect since the
        last interval, (series,). weight: the prior weight of a factor that begins with this interval. hours: its
        length.
        """
        weights = _diffused(self.weights, drift)
        stays = np.exp(-hours / RETURN_HOURS)
        weights[:, 1] += (1 - stays) * weights[:, 2:].sum(axis=1)
        weights[:, 2:] *= stays
        # What has risen is divided by its own sum: bring what begins now to the same measure.
        common = np.maximum(self.log_healthy, self.log_risen)
        weights[:, 1:] *= np.exp(self.log_risen - common)[:, None, None]
        begins = (weight / len(SHIFTS)) * np.exp(self.log_healthy - common)
        weights[:, 2:] += (begins[:, None] * weights[:, 0])[:, None, :]
        largest = likelihood.max(axis=1)
        weights *= np.exp(likelihood - largest[:, None])[:, _PLACES]
        of_healthy = np.maximum(weights[:, 0].sum(axis=1), 1e-300)
        of_risen = np.maximum(weights[:, 1:].sum(axis=(1, 2)), 1e-300)
        weights[:, 0] /= of_healthy[:, None]
        weights[:, 1:] /= of_risen[:, None, None]
        return Evidence(weights, self.log_healthy + largest + np.log(of_healthy), common + largest + np.log(of_risen))

    @property
    def healthy(self) -> Array:
        """The weights of effects without a factor: (series, effects)."""
        return self.weights[:, 0]

    @property
    def log_ratio(self) -> Array:
        """The logarithm of the evidence, by series."""
        return self.log_risen - self.log_healthy

    @property
    def share_back(self) -> Array:
        """The probability that a factor that had begun has ended, by series."""
        return np.asarray(self.weights[:, 1].sum(axis=1))

    def restarted(self) -> "Evidence":
        """As before a first interval, with the effects that are likely if nothing has risen, or is back."""
        back = self.weights[:, 1].sum(axis=1)
        log_back = np.log(np.maximum(back, 1e-300)) + self.log_risen
        of_healthy = np.exp(self.log_healthy - np.logaddexp(self.log_healthy, log_back))
        of_back = (1 - of_healthy) / np.maximum(back, 1e-300)
        likely = of_healthy[:, None] * self.weights[:, 0] + of_back[:, None] * self.weights[:, 1]
        return Evidence.before(likely / likely.sum(axis=1, keepdims=True))

    def with_rows(self, other: "Evidence", chosen: npt.NDArray[np.bool_]) -> "Evidence":
        """With some series of another."""
        return Evidence(
            np.where(chosen[:, None, None], other.weights, self.weights),
            np.where(chosen, other.log_healthy, self.log_healthy),
            np.where(chosen, other.log_risen, self.log_risen),
        )


def _diffused(weights: Array, variance: Array) -> Array:
    """Weights after a random step of each effect, with the given variance by series; the grid's ends keep theirs."""
    steps = np.maximum(np.ceil(np.sqrt(2 * variance) / STEP), 1).astype(int)
    moved = weights.copy()
    for step in {*steps.tolist()}:
        part = np.where(steps == step, variance / (step * STEP) ** 2 / 2, 0.0)
        out = moved * part[:, None, None]
        moved -= 2 * out
        moved[..., step:] += out[..., :-step]
        moved[..., :-step] += out[..., step:]
        moved[..., :step] += out[..., :step]
        moved[..., -step:] += out[..., -step:]
    return moved


def mixed(chain: Evidence, log_weights: Array) -> Evidence:
    """The evidence where the counts may be explained in several ways, each with its weight (a quadrature).

    chain: of all series with the first explanation, then of all with the second, and so on. log_weights: (explanations,
    series).
    """
    ways = len(log_weights)
    log_healthy, log_risen = (each.reshape(ways, -1) + log_weights for each in (chain.log_healthy, chain.log_risen))
    all_healthy, all_risen = (np.logaddexp.reduce(each, axis=0) for each in (log_healthy, log_risen))
    of_healthy = np.exp(log_healthy - all_healthy)
    of_risen = np.exp(log_risen - np.where(np.isfinite(all_risen), all_risen, 0.0))
    by_way = chain.weights.reshape(ways, -1, *chain.weights.shape[1:])
    together = np.einsum("ws,wsre->sre", of_risen, by_way)
    together[:, 0] = np.einsum("ws,wse->se", of_healthy, by_way[:, :, 0])
    return Evidence(together, all_healthy, all_risen)


def weights_by_witnesses(chain: Evidence, log_prior: Array, witnesses: Array) -> Array:
    """The logarithms of the weights of several explanations for each series, given the counts of other series.

    An explanation that concerns all, such as long delays, shows in all. Each of the others may have risen itself.
    log_prior: of the explanations; witnesses: (series, series), 1 where the second tells about the first.
    """
    ways = len(log_prior)
    healthy, risen = (each.reshape(ways, -1) for each in (chain.log_healthy, chain.log_risen))
    told = np.logaddexp(np.log(1 - ILL_SHARE) + healthy, np.log(ILL_SHARE) + risen)
    log_weights = log_prior[:, None] + (told - told.max(axis=0)) @ witnesses.T
    return np.asarray(log_weights - np.logaddexp.reduce(log_weights, axis=0))
