"""The evidence of a rise: how often it is wrong, on series drawn by its own rule, and what it finds."""

import numpy as np
import numpy.typing as npt
import pytest

from missioncontrol_nb.judgement import evidence as filtering
from missioncontrol_nb.judgement.evidence import EFFECTS, Evidence

Array = npt.NDArray[np.float64]
TAU, SCATTER, DRIFT = 0.1, 0.08, 0.02
SERIES, INTERVALS, LENGTH = 2000, 24, 14.0


def healthy(events: float, seed: int) -> tuple[Array, Array]:
    """Counts of series whose effects are drawn as healthy ones are, and the effects: (intervals, series)."""
    random = np.random.default_rng(seed)
    effect = random.normal(0, TAU, SERIES) + np.cumsum(random.normal(0, DRIFT, (INTERVALS, SERIES)), axis=0)
    rate = random.gamma(1 / SCATTER**2, SCATTER**2, (INTERVALS, SERIES))
    return random.poisson(events * np.exp(effect) * rate).astype(float), effect


def trace(counts: Array, events: float) -> Array:
    """The logarithm of the evidence after each interval: (intervals, series)."""
    series = counts.shape[1]
    chain = Evidence.before(filtering.healthy_effects(np.full((series, 1), TAU), np.ones(1)))
    found = []
    for place, of_interval in enumerate(counts):
        likely = filtering.log_likelihood(of_interval, np.full(series, events), np.full(series, SCATTER))
        weight = filtering.later_weight(place * LENGTH, (place + 1) * LENGTH) + filtering.FROM_RELEASE * (place == 0)
        chain = chain.after(likely, np.full(series, DRIFT**2 * (place > 0)), weight, LENGTH)
        found.append(chain.log_ratio)
    return np.array(found)


@pytest.mark.parametrize("events", [0.3, 10.0, 1000.0])
def test_healthy_series_rarely_seem_ill_however_often_one_looks(events: float) -> None:
    counts, _ = healthy(events, 1)
    found = trace(counts, events)
    assert (found.max(axis=0) >= np.log(100)).mean() <= 0.01
    assert np.exp(found[-1]).mean() < 2


@pytest.mark.parametrize(("factor", "share"), [(1.5, 0.5), (2.0, 0.99), (4.0, 1.0)])
@pytest.mark.parametrize("begins", [0, 10])
def test_rise_is_found_whenever_it_begins(factor: float, share: float, begins: int) -> None:
    counts, effect = healthy(200.0, 2)
    random = np.random.default_rng(3)
    counts[begins:] = random.poisson(200.0 * factor * np.exp(effect[begins:]))
    found = trace(counts, 200.0)
    assert (found.max(axis=0) >= np.log(100)).mean() >= share
    assert begins == 0 or (found[begins - 1] >= np.log(100)).mean() <= 0.01


def test_end_of_a_rise_is_noticed() -> None:
    counts, effect = healthy(200.0, 4)
    random = np.random.default_rng(5)
    counts[4:12] = random.poisson(400.0 * np.exp(effect[4:12]))
    series = counts.shape[1]
    chain = Evidence.before(filtering.healthy_effects(np.full((series, 1), TAU), np.ones(1)))
    back = []
    for of_interval in counts:
        likely = filtering.log_likelihood(of_interval, np.full(series, 200.0), np.full(series, SCATTER))
        chain = chain.after(likely, np.full(series, DRIFT**2), 0.01, LENGTH)
        back.append(chain.share_back)
    assert (back[11] > 0.95).mean() < 0.01
    assert (back[16] > 0.95).mean() > 0.9


def test_step_of_an_effect_spreads_its_weight_and_keeps_it() -> None:
    start = np.zeros((2, 1, len(EFFECTS)))
    start[..., filtering.REACH] = 1.0
    after = filtering._diffused(start, np.array([0.0001, 0.0025]))[:, 0]
    assert after.sum(axis=1) == pytest.approx([1.0, 1.0])
    assert (after * EFFECTS**2).sum(axis=1) == pytest.approx([0.0001, 0.0025])


def test_mixture_of_one_explanation_with_itself_is_itself() -> None:
    counts, _ = healthy(20.0, 6)
    series = counts.shape[1]
    likely = filtering.log_likelihood(counts[0], np.full(series, 20.0), np.full(series, SCATTER))
    one = Evidence.before(filtering.healthy_effects(np.full((series, 1), TAU), np.ones(1)))
    one = one.after(likely, np.zeros(series), 0.7, 1.0)
    twice = Evidence(np.tile(one.weights, (2, 1, 1)), np.tile(one.log_healthy, 2), np.tile(one.log_risen, 2))
    both = filtering.mixed(twice, np.log([[0.3] * series, [0.7] * series]))
    assert both.log_ratio == pytest.approx(one.log_ratio)
    assert both.healthy == pytest.approx(one.healthy)
