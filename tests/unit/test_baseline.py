"""What healthy releases show, learned from histories that are drawn: levels, curves, and how much releases differ."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from missioncontrol_nb.judgement import baseline, scatter
from missioncontrol_nb.judgement.baseline import AGES, Curves, History, Spread
from missioncontrol_nb.judgement.scatter import Intervals

Array = npt.NDArray[np.float64]
MEASURES = 4
RATES = np.array([2e-3, 4e-3, 1e-3, 4e-2])
GROUPS = ((0, 1, 2), (3,))
CURVE = 0.35 * np.exp(-AGES / 48)[:, None] * np.array([1.0, 1.0, 1.0, 0.0])
LENGTHS = np.diff(np.minimum(baseline.AGE_EDGES, 400))


def drawn(seed: int, tau: float = 0.07, releases: int = 8, use: float = 20_000.0) -> tuple[History, Array]:
    """A history and its releases' effects."""
    random = np.random.default_rng(seed)
    effects = random.normal(0, tau, (releases, MEASURES))
    hours = use * LENGTHS[None, :] * (1 - np.exp(-AGES / 30))[None, :] * random.uniform(0.5, 1.5, (releases, 1))
    exposure = np.repeat(hours[:, :, None], MEASURES, axis=2)
    rates = RATES * np.exp(CURVE + effects[:, None, :])
    noise = random.gamma(400, 1 / 400, exposure.shape)
    return History(random.poisson(exposure * rates * noise).astype(float), exposure, GROUPS), effects


def curves_of(history: History) -> Curves:
    return baseline.learn_curves(history, scatter.USUAL_SCATTER, np.ones(MEASURES))


@pytest.mark.parametrize("seed", range(5))
def test_typical_rate_by_age_is_found(seed: int) -> None:
    history, effects = drawn(seed)
    found = curves_of(history).log_rate(AGES)
    true = np.log(RATES) + CURVE
    off = found - true - np.median(effects, axis=0)
    assert np.abs(off[4:]).max() < 0.12
    assert np.abs(off).max() < 0.3


@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_bad_release_in_the_history_changes_neither_level_nor_spread(factor: float) -> None:
    shifts, ratios = [], []
    for seed in range(6):
        history, _ = drawn(seed)
        sick = History(history.events.copy(), history.exposure, GROUPS)
        sick.events[3] = np.round(sick.events[3] * factor)
        healthy_curves, sick_curves = curves_of(history), curves_of(sick)
        shifts.append(np.abs(sick_curves.log_rate(AGES) - healthy_curves.log_rate(AGES))[4:].mean())
        taus = [spread_of(each).tau for each in (sick_curves, healthy_curves)]
        ratios.append(taus[0] / taus[1])
    assert np.median(shifts) < 0.03
    assert np.median(ratios) < 1.3


def spread_of(curves: Curves) -> Spread:
    return Spread(baseline.learn_tau([curves]), scatter.USUAL_SCATTER, np.ones(MEASURES), (0.03, 0.05), 0.2)


def test_two_sick_releases_of_eight_hardly_move_the_level() -> None:
    shifts = []
    for seed in range(8):
        history, _ = drawn(seed)
        events = history.events.copy()
        events[2] *= 4
        events[5] *= 4
        sick, healthy = curves_of(History(events, history.exposure, GROUPS)), curves_of(history)
        shifts.append((sick.log_rate(AGES) - healthy.log_rate(AGES))[4:].mean())
    assert np.median(shifts) < 0.04


def test_early_excess_is_found_where_an_interval_has_hardly_an_event() -> None:
    excess = 1.0 * np.exp(-AGES / 48)
    off = []
    for seed in range(12):
        random = np.random.default_rng(seed)
        hours = 600.0 * LENGTHS * (1 - np.exp(-AGES / 30))  # a third of an event in the first hour of all eight
        exposure = np.repeat(np.repeat(hours[None, :, None], 8, axis=0), MEASURES, axis=2)
        events = random.poisson(exposure * 4e-3 * np.exp(excess)[None, :, None]).astype(float)
        off.append(
            curves_of(History(events, exposure, ((0, 1, 2, 3),))).log_rate(AGES) - np.log(4e-3) - excess[:, None]
        )
    assert np.abs(np.mean(off, axis=(0, 2))).max() < 0.1


@pytest.mark.parametrize("tau", [0.07, 0.15, 0.3])
def test_spread_between_releases_is_found(tau: float) -> None:
    found = [spread_of(curves_of(drawn(seed, tau, 12)[0])).tau for seed in range(8)]
    assert np.median(found) == pytest.approx(tau, rel=0.35)


def test_without_history_the_usual_is_assumed() -> None:
    assert Spread.usual(3).tau == pytest.approx(0.14, abs=0.03)
    assert Spread.usual(3).dispersion.tolist() == [scatter.USUAL_DISPERSION] * 3


def intervals(spread: float, dispersion: float, expected: float, seed: int) -> Intervals:
    random = np.random.default_rng(seed)
    count = 300
    mean = np.full((count, 1), expected)
    rate = random.gamma(1 / spread**2, spread**2, mean.shape)
    clusters = random.poisson(mean * rate / dispersion)
    return Intervals(24 + 2.0 * np.arange(count), clusters * dispersion, mean, np.inf)


def test_scatter_and_clusters_are_told_apart() -> None:
    history = [intervals(0.08, 3.0, expected, seed) for seed, expected in enumerate((30.0, 60.0, 5000.0, 5000.0))]
    found, dispersion = scatter.learn_scatter(history, 1, 1)
    assert found[-1] == pytest.approx(0.08, rel=0.2)
    assert dispersion[0, 0] == pytest.approx(3.0, rel=0.25)


def test_clusters_of_each_system_are_its_own() -> None:
    history = [
        replace(intervals(0.05, clusters, 200.0, seed), system=system)
        for system, clusters in enumerate((1.0, 9.0))
        for seed in range(3)
    ]
    _, dispersion = scatter.learn_scatter(history, 2, 1)
    assert dispersion[:, 0] == pytest.approx([1.0, 9.0], rel=0.25)


@pytest.mark.parametrize(("clusters", "expected"), [(1.0, 0.1), (3.0, 0.1), (3.0, 1.0), (5.0, 4.0)])
def test_clusters_of_rare_events_are_found_too(clusters: float, expected: float) -> None:
    history = [intervals(0.05, clusters, expected, seed) for seed in range(30)]
    _, dispersion = scatter.learn_scatter(history, 1, 1)
    assert dispersion[0, 0] == pytest.approx(clusters, rel=0.3)


def test_one_burst_hardly_makes_clusters() -> None:
    history = [intervals(0.05, 1.0, 0.1, seed) for seed in range(30)]
    history[0].events[100] = 18.0
    _, dispersion = scatter.learn_scatter(history, 1, 1)
    assert dispersion[0, 0] < 1.3


def test_drift_of_superseded_releases_is_never_less() -> None:
    still = [intervals(0.03, 1.0, 5000.0, seed) for seed in range(6)]
    early, newest, superseded = scatter.learn_drift(still, np.full(5, 0.03), np.ones((1, 1)))
    assert newest < 0.03
    assert superseded >= newest
    assert early >= newest


@pytest.mark.parametrize("spread", [0.0, 0.2, 0.4])
def test_spread_of_delays_is_found_in_early_rates(spread: float) -> None:
    random = np.random.default_rng(7)
    sensitivity = np.array([1.5, 1.2, 1.0, 0.8, 0.6, 0.4, 0.2])
    early = []
    for delay in random.normal(0, spread, 40):
        expected = np.array([20.0, 60, 100, 200, 300, 400, 600])[:, None] * np.ones(3)
        events = random.poisson(expected * np.exp(delay * sensitivity)[:, None]).astype(float)
        early.append(scatter.Early(events, expected, sensitivity, np.full(7, 0.05)))
    assert scatter.learn_law_scatter(early) == pytest.approx(max(spread, 0.08), rel=0.35, abs=0.03)


def test_measure_that_fewer_than_two_releases_report_has_no_typical_rate() -> None:
    history, _ = drawn(0)
    exposure, events = history.exposure.copy(), history.events.copy()
    for measure, reporting in ((0, 0), (1, 1), (2, 2)):
        exposure[: 8 - reporting, :, measure] = 0.0
        events[: 8 - reporting, :, measure] = 0.0
    curves = curves_of(replace(history, events=events, exposure=exposure))
    assert curves.known.tolist() == [0, 1, 2, 8]
    assert np.isfinite(curves.log_rate(AGES)).all(axis=0).tolist() == [False, False, True, True]
    assert (curves.rate(AGES) > 0).all(axis=0).tolist() == [False, False, True, True]
    assert np.abs(np.log(curves.rate(AGES)[4:, 2] / RATES[2]) - CURVE[4:, 2]).max() < 0.5
