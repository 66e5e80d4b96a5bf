"""The evidence that a release's rate rose above what healthy releases show, which may be looked at at any time.

Two explanations of the counts so far are compared. One: the release's effect is drawn like those of healthy releases,
and drifts like theirs. Other: the same, times a factor from 1.2 to 8, from the release or from any later moment on. The
evidence is the ratio of their marginal likelihoods. Under the first explanation its mean is 1 at every moment, so the
chance that it ever reaches 100 is 1 % at most, however often one looks (Ville 1939).

Both are computed by one pass over the intervals (a forward algorithm): the weight of each effect on a grid, without a
factor and with each factor; the weight of a factor that begins comes from those without one.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
STEP = 0.02
REACH = 80
EFFECTS = np.arange(-REACH, REACH + 1) * STEP
SHIFTS = np.array([9, 15, 22, 30, 40, 52, 68, 85, 104])  # of the grid: factors 1.2 to 8
FACTORS = np.exp(SHIFTS * STEP)
FROM_RELEASE, LATER = 0.7, 0.3  # the weights of a factor from the release on, and of one that begins later
LATER_HOURS = 336.0  # half of the later weight is spent within this age
RETURN_HOURS = 480.0  # how long a factor lasts, on average
_BROAD = EFFECTS.shape[0] + int(SHIFTS[-1])
BROAD_EFFECTS = (np.arange(_BROAD) - REACH) * STEP
_PLACES = SHIFTS[:, None] + np.arange(len(EFFECTS))[None, :]


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


@dataclass
class Evidence:
    """The weights of effects after some intervals, of several series at once.

    healthy, risen, back: (series, effects), (series, factors, effects), (series, effects): without a factor, with one,
    and after one that ended. log_healthy, log_risen: the logarithms of what they
    were divided by. begun: whether there was an interval.
    """

    healthy: Array
    risen: Array
    back: Array
    log_healthy: Array
    log_risen: Array
    begun: bool = False

    @classmethod
    def before(cls, effects: Array) -> "Evidence":
        """Before the first interval. effects: as from `healthy_effects`."""
        series = len(effects)
        nothing = np.zeros(series)
        return cls(effects, np.zeros((series, len(SHIFTS), len(EFFECTS))), np.zeros_like(effects), nothing, nothing)

    def after(self, likelihood: Array, drift: Array, weight: float, hours: float) -> "Evidence":
        """After one more interval.

        likelihood: as from `log_likelihood`, (series, effects and more). drift: the variance of the effect since the
        last interval, (series,). weight: the prior weight of a factor that begins with this interval. hours: its
        length.
        """
        healthy, risen, back = (_diffused(each, drift) for each in (self.healthy, self.risen, self.back))
        ratio = np.exp(np.minimum(self.log_healthy - self.log_risen, 700.0))
        back = back + risen.sum(axis=1) * (1 - np.exp(-hours / RETURN_HOURS))
        risen = risen + (weight / len(SHIFTS)) * (healthy * ratio[:, None])[:, None, :]
        largest = likelihood.max(axis=1)
        likely = np.exp(likelihood - largest[:, None])
        healthy, back = healthy * likely[:, : len(EFFECTS)], back * likely[:, : len(EFFECTS)]
        risen = risen * likely[:, _PLACES]
        of_healthy = np.maximum(healthy.sum(axis=1), 1e-300)
        of_risen = np.maximum(risen.sum(axis=(1, 2)), 1e-300)
        return Evidence(
            healthy / of_healthy[:, None],
            risen / of_risen[:, None, None],
            back / of_risen[:, None],
            self.log_healthy + largest + np.log(of_healthy),
            self.log_risen + largest + np.log(of_risen),
            True,
        )

    @property
    def log_ratio(self) -> Array:
        """The logarithm of the evidence, by series."""
        return self.log_risen - self.log_healthy if self.begun else np.full(len(self.healthy), -np.inf)

    @property
    def share_back(self) -> Array:
        """The probability that a factor that had begun has ended, by series."""
        back = self.back.sum(axis=1)
        return np.asarray(back / (1 + back))

    def restarted(self) -> "Evidence":
        """As before a first interval, with the effects that are likely after a factor that ended."""
        likely = self.back + 1e-6 * self.healthy
        return Evidence.before(likely / likely.sum(axis=1, keepdims=True))


def _diffused(weights: Array, variance: Array) -> Array:
    """Weights after a random step of each effect, with the given variance by series; the grid's ends keep theirs."""
    steps = np.maximum(np.ceil(np.sqrt(2 * variance) / STEP), 1).astype(int)
    moved = weights
    for step in np.unique(steps):
        chosen = steps == step
        part = np.where(chosen, variance / (step * STEP) ** 2 / 2, 0.0)
        part = part.reshape(-1, *[1] * (weights.ndim - 1))
        out = moved * part
        moved = moved - 2 * out
        moved[..., step:] += out[..., :-step]
        moved[..., :-step] += out[..., step:]
        moved[..., :step] += out[..., :step]
        moved[..., -step:] += out[..., -step:]
    return moved


def mixed(chains: list[Evidence], weights: Array) -> Evidence:
    """The evidence where the counts may be explained in several ways, each with its weight (a quadrature)."""
    log_healthy = np.array([each.log_healthy for each in chains]) + np.log(weights)[:, None]
    log_risen = np.array([each.log_risen for each in chains]) + np.log(weights)[:, None]
    all_healthy, all_risen = (np.logaddexp.reduce(each, axis=0) for each in (log_healthy, log_risen))
    of_healthy, of_risen = np.exp(log_healthy - all_healthy), np.exp(log_risen - all_risen)
    return Evidence(
        sum(part[:, None] * each.healthy for part, each in zip(of_healthy, chains, strict=True)),
        sum(part[:, None, None] * each.risen for part, each in zip(of_risen, chains, strict=True)),
        sum(part[:, None] * each.back for part, each in zip(of_risen, chains, strict=True)),
        all_healthy,
        all_risen,
        chains[0].begun,
    )
