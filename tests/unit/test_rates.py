"""Rates, their exact intervals, changes, and how complete an hour is."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from missioncontrol_nb.statistics import (
    change,
    completeness,
    rate_interval,
    rates,
    standardised_change,
    standardised_rate,
)
from streaming.contract import DELAY_BUCKET_EDGES_HOURS
from streaming.errors import MissionControlError

EVENTS = st.integers(0, 10**6)
HOURS = st.floats(0, 1e9)
NOW = datetime(2017, 10, 7, tzinfo=UTC)
MIDNIGHT = pd.Timestamp("2017-10-07", tz="UTC")


def counts(**columns: object) -> pd.DataFrame:
    """A frame as the loader gives it."""
    starts = pd.date_range("2017-10-01", periods=len(next(iter(columns.values()))), freq="h", tz="UTC")
    return pd.DataFrame({"window_start": starts, "count": 1, **columns})


def delays(**hours_by_edge: float) -> pd.DataFrame:
    """Rows of reporting_delays: `h1=30` is 30 usage hours with a delay of up to an hour, `open=5` beyond a week."""
    edges = {"open": float("inf")}
    rows = [(edges.get(name) or float(name[1:]), hours) for name, hours in hours_by_edge.items()]
    return pd.DataFrame(rows, columns=["delay_hours", "usage_hours"])


def test_rates_are_one_row_per_row_and_measure() -> None:
    frame = counts(channel=["beta", "beta"], usage_hours=[2000.0, 500.0], main_crashes=[3, 1], gpu_crashes=[0, 2])
    long = rates(frame)
    assert list(long.columns) == [
        *("window_start", "channel", "measure", "events", "usage_hours"),
        *("rate_per_1k_hours", "rate_lower", "rate_upper"),
    ]
    assert long["measure"].tolist() == ["main_crashes", "main_crashes", "gpu_crashes", "gpu_crashes"]
    assert long["events"].tolist() == [3, 1, 0, 2]
    assert long["rate_per_1k_hours"].tolist() == [1.5, 2.0, 0.0, 4.0]


def test_rate_is_the_ratio_of_sums_not_the_mean_of_ratios() -> None:
    busy_and_idle = counts(usage_hours=[999.0, 1.0], main_crashes=[9, 1])
    mean_of_ratios = rates(busy_and_idle)["rate_per_1k_hours"].mean()
    total = busy_and_idle[["usage_hours", "main_crashes"]].sum().to_frame().T
    assert rates(total)["rate_per_1k_hours"].tolist() == [10.0]
    assert mean_of_ratios > 500


def test_no_usage_has_no_rate() -> None:
    long = rates(counts(usage_hours=[0.0, 0.0], main_crashes=[0, 7]))
    assert long[["rate_per_1k_hours", "rate_lower", "rate_upper"]].isna().all(axis=None)
    assert long["events"].tolist() == [0, 7]


def test_empty_frame_gives_an_empty_frame_with_the_same_columns() -> None:
    frame = counts(channel=["beta"], usage_hours=[1.0], main_crashes=[1])
    empty = rates(frame[:0])
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == rates(frame).dtypes.to_dict()
    assert len(rates(frame[["usage_hours"]])) == 0


def test_missing_measure_is_left_out_and_not_zero() -> None:
    long = rates(counts(usage_hours=[10.0, 10.0], main_crashes=[np.nan, 2.0]))
    assert long["events"].tolist() == [2]
    assert long["events"].dtype == "int64"


def test_frame_without_usage_or_with_an_unknown_measure_says_so() -> None:
    with pytest.raises(MissionControlError, match="usage_hours"):
        rates(pd.DataFrame({"usage_hour": [1.0]}))
    with pytest.raises(MissionControlError, match="did you mean main_crashes"):
        rates(counts(usage_hours=[1.0], main_crashes=[1]), measures=["main_crash"])


@given(EVENTS, HOURS, st.floats(0.01, 0.999))
def test_interval_holds_the_rate_and_is_never_infinite(events: int, hours: float, confidence: float) -> None:
    lower, upper = rate_interval(events, hours, confidence)
    assert not np.isinf([lower, upper]).any()
    with np.errstate(over="ignore"):
        rate = 1000 * np.float64(events) / hours if hours else np.nan
    if np.isfinite([lower, upper, rate]).all():
        assert lower <= rate * (1 + 1e-12)
        assert upper >= rate * (1 - 1e-12)


@given(st.lists(st.integers(0, 5000), min_size=1))
def test_interval_is_that_of_chi_squared(events: list[int]) -> None:
    lower, upper = rate_interval(events, 1000.0, 0.9)
    k = np.array(events)
    np.testing.assert_allclose(upper, stats.chi2.ppf(0.95, 2 * k + 2) / 2, rtol=1e-9)
    expected = np.where(k > 0, stats.chi2.ppf(0.05, 2 * np.maximum(k, 1)) / 2, 0)
    np.testing.assert_allclose(lower, expected, rtol=1e-9)


@given(EVENTS, st.integers(1, 1000), st.floats(1, 1e6))
def test_more_events_raise_both_limits_and_more_hours_narrow_the_interval(events: int, more: int, hours: float) -> None:
    lower, upper = rate_interval([events, events + more], hours)
    assert lower[0] < lower[1]
    assert upper[0] < upper[1]
    lower, upper = rate_interval(events, [hours, hours * 2])
    assert upper[1] - lower[1] < upper[0] - lower[0]


@pytest.mark.parametrize("mean", [0.3, 2.0, 11.0, 80.0])
def test_interval_covers_the_true_rate_at_least_as_often_as_it_says(mean: float) -> None:
    events = np.random.default_rng(20171007).poisson(mean, 40_000)
    lower, upper = rate_interval(events, 1000.0)
    covered = ((lower <= mean) & (mean <= upper)).mean()
    assert 0.95 - 0.003 <= covered <= 0.999


def test_limits_of_no_events_are_zero_and_three_and_a_bit() -> None:
    lower, upper = rate_interval(0, 1000.0)
    assert lower == 0.0
    assert upper == pytest.approx(-np.log(0.025))


@pytest.mark.parametrize("confidence", [0, 1, 95, -0.1])
def test_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(MissionControlError, match="between 0 and 1"):
        rate_interval(1, 1.0, confidence)


def test_negative_counts_and_hours_are_refused() -> None:
    with pytest.raises(MissionControlError, match="events"):
        rate_interval([1, -2], 1.0)
    with pytest.raises(MissionControlError, match="usage hours"):
        change(1, 1.0, 1, -1.0)


@given(EVENTS, HOURS, EVENTS, HOURS)
def test_change_lies_in_its_interval_and_is_never_infinite(
    events: int, hours: float, before: int, hours_before: float
) -> None:
    value, lower, upper = change(events, hours, before, hours_before)
    assert not np.isinf([value, lower, upper]).any()
    if hours == 0 or hours_before == 0 or events + before == 0:
        assert np.isnan([value, lower, upper]).all()
    if np.isfinite([value, lower, upper]).all():
        tolerance = 1e-9 * (1 + abs(value))
        assert -1 <= lower <= value + tolerance
        assert upper >= value - tolerance


def test_change_is_the_exact_conditional_interval() -> None:
    value, lower, upper = change(30, 2000.0, 20, 4000.0)
    exact = stats.binomtest(30, 50).proportion_ci(0.95, method="exact")
    assert value == pytest.approx(2.0)
    assert lower == pytest.approx(exact.low / (1 - exact.low) * 2 - 1)
    assert upper == pytest.approx(exact.high / (1 - exact.high) * 2 - 1)


def test_change_without_events_on_one_side() -> None:
    value, lower, upper = change([5, 0], 100.0, [0, 5], 100.0)
    assert np.isnan(value[0])
    assert np.isnan(upper[0])  # no bound
    assert lower[0] == pytest.approx(0.025**0.2 / (1 - 0.025**0.2) - 1)
    assert (value[1], lower[1]) == (-1.0, -1.0)
    assert upper[1] == pytest.approx((1 - 0.025**0.2) / 0.025**0.2 - 1)


def test_change_of_nothing_is_found_in_at_most_five_of_a_hundred() -> None:
    random = np.random.default_rng(1)
    now, before = random.poisson(12, 40_000), random.poisson(36, 40_000)
    _, lower, upper = change(now, 1000.0, before, 3000.0)
    assert ((lower > 0) | (upper < 0)).mean() <= 0.05 + 0.003


@settings(deadline=None)
@given(EVENTS, st.floats(0.1, 1e9), st.floats(0.01, 0.99))
def test_standardised_rate_of_one_stratum_is_its_rate(events: int, hours: float, confidence: float) -> None:
    lower, upper = rate_interval(events, hours, confidence)
    expected = (1000 * events / hours, float(lower), float(upper))
    assert standardised_rate([events], [hours], [1.0], confidence) == pytest.approx(expected, rel=1e-9)


def test_standardised_rate_is_the_weighted_mean_of_the_rates() -> None:
    """10 and 100 per 1000 hours, weighted 9 to 1."""
    assert standardised_rate([6, 500], [600, 5000], [0.9, 0.1])[0] == pytest.approx(19)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(1, 1e6), st.floats(0.01, 1)), min_size=1, max_size=5))
def test_interval_of_a_standardised_rate_is_the_gamma_interval(strata: list[tuple[int, float, float]]) -> None:
    """Fay and Feuer (1997), in their own form with chi-squared quantiles."""
    events, hours, parts = (np.array(column, float) for column in zip(*strata, strict=True))
    factors = 1000 * parts / parts.sum() / hours
    rate, lower, upper = standardised_rate(events, hours, parts / parts.sum())
    y, v, w = (factors * events).sum(), (factors**2 * events).sum(), factors.max()
    assert rate == pytest.approx(y)
    assert lower == pytest.approx(v / (2 * y) * stats.chi2.ppf(0.025, 2 * y**2 / v) if y else 0.0)
    assert upper == pytest.approx((v + w**2) / (2 * (y + w)) * stats.chi2.ppf(0.975, 2 * (y + w) ** 2 / (v + w**2)))
    assert lower <= rate * (1 + 1e-12)
    assert rate <= upper


@pytest.mark.parametrize("hours", [1e-290, 1e-150, 1.0, 1e150, 1e300])
def test_rates_of_any_size_have_the_same_interval(hours: float) -> None:
    found = standardised_rate([3, 1], [hours, 2 * hours], [0.5, 0.5])
    assert np.array(found) * hours == pytest.approx(standardised_rate([3, 1], [1.0, 2.0], [0.5, 0.5]), rel=1e-9)
    changes = standardised_change([3, 1], [hours, 2 * hours], [2, 2], [2 * hours, hours], [0.5, 0.5])
    assert changes == pytest.approx(standardised_change([3, 1], [1.0, 2.0], [2, 2], [2.0, 1.0], [0.5, 0.5]), rel=1e-9)


def test_stratum_whose_rate_is_nothing_beside_another_one_counts() -> None:
    rate, lower, upper = standardised_rate([0, 1], [1.0, 1e300], [0.5, 0.5])
    assert (rate, lower) == pytest.approx((5e-298, 5e-298 * -np.log(0.975)), rel=1e-9, abs=0)
    assert upper == pytest.approx(500 * -np.log(0.025))


def test_rate_that_no_float_holds_cannot_be_said() -> None:
    assert np.isnan(standardised_rate([1], [5e-324], [1.0])).all()
    assert np.isnan(standardised_change([1], [1e-300], [1], [1e300], [1.0])).all()


def test_standardised_rate_without_an_event_is_zero_to_something() -> None:
    rate, lower, upper = standardised_rate([0, 0], [1000.0, 500.0], [0.5, 0.5])
    assert (rate, lower) == (0.0, 0.0)
    assert upper == pytest.approx(-np.log(0.025))


HOURS_OF_STRATA, WEIGHTS = np.array([1000.0, 200.0, 50.0]), np.array([0.5, 0.3, 0.2])


def test_interval_of_a_standardised_rate_covers_it_at_least_as_often_as_it_says() -> None:
    means = np.array([40.0, 12.0, 4.0])
    true = 1000 * (WEIGHTS * means / HOURS_OF_STRATA).sum()
    drawn = np.random.default_rng(20171007).poisson(means, (4000, 3))
    limits = [standardised_rate(events, HOURS_OF_STRATA, WEIGHTS)[1:] for events in drawn]
    assert np.mean([lower <= true <= upper for lower, upper in limits]) >= 0.95 - 0.01


def test_standardised_change_of_one_stratum_is_that_of_its_rates() -> None:
    """16 in 100 hours after 9 in 90: the ratio is 1.6, its logarithm has the variance 1/16 + 1/9 = (5/12)^2."""
    value, lower, upper = standardised_change([16], [100.0], [9], [90.0], [1.0])
    assert value == pytest.approx(0.6)
    reach = np.exp(stats.norm.ppf(0.975) * 5 / 12)
    assert (lower, upper) == pytest.approx((1.6 / reach - 1, 1.6 * reach - 1))


def test_other_mix_of_strata_is_no_change() -> None:
    """10 and 100 per 1000 hours before and now, the hours turned round; summed over both it would be 4.8 times."""
    value, lower, upper = standardised_change([10, 900], [1000, 9000], [90, 100], [9000, 1000], [0.9, 0.1])
    assert value == pytest.approx(0)
    assert lower < 0 < upper


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 500)), min_size=3, max_size=3))
def test_standardised_change_turned_round_is_the_inverse(pairs: list[tuple[int, int]]) -> None:
    now, before = zip(*pairs, strict=True)
    forth = 1 + np.array(standardised_change(now, HOURS_OF_STRATA, before, HOURS_OF_STRATA * 2, WEIGHTS))
    back = 1 + np.array(standardised_change(before, HOURS_OF_STRATA * 2, now, HOURS_OF_STRATA, WEIGHTS))
    np.testing.assert_allclose(forth, 1 / back[[0, 2, 1]], rtol=1e-9)


@pytest.mark.parametrize(("now", "before"), [([0, 0], [1, 2]), ([1, 2], [0, 0]), ([0, 0], [0, 0])])
def test_standardised_change_without_an_event_on_a_side_cannot_be_said(now: list[int], before: list[int]) -> None:
    assert np.isnan(standardised_change(now, [1.0, 1.0], before, [1.0, 1.0], [0.5, 0.5])).all()


def test_standardised_change_of_nothing_excludes_none_as_seldom_as_it_says() -> None:
    generator, means = np.random.default_rng(20171007), np.array([40.0, 12.0, 8.0])
    excluded = 0
    for _ in range(4000):
        now, before = generator.poisson(means), generator.poisson(2 * means)
        _, lower, upper = standardised_change(now, HOURS_OF_STRATA, before, 2 * HOURS_OF_STRATA, WEIGHTS)
        excluded += lower > 0 or upper < 0
    assert excluded / 4000 <= 0.05 + 0.015


def test_hour_is_as_complete_as_its_moments_on_average() -> None:
    """Half arrives within the hour, evenly, the rest in the second, more of it early, as after it nothing comes."""
    known = pd.DataFrame({"delay_hours": [0.25, 0.5, 1.0, 2.0], "usage_hours": [1.0, 1.0, 2.0, 4.0]})
    starts = MIDNIGHT - pd.to_timedelta([3, 2, 1, 0], unit="h")
    shares = completeness(known, starts, starts + pd.Timedelta(hours=1), NOW)
    np.testing.assert_allclose(shares, [1.0, 0.79, 0.25, 0.0], atol=0.002)


def test_stretch_that_has_just_begun_counts_what_is_to_come_as_missing() -> None:
    at_once = pd.DataFrame({"delay_hours": [0.25], "usage_hours": [1.0]})
    share = completeness(at_once, MIDNIGHT - pd.Timedelta(hours=1), MIDNIGHT + pd.Timedelta(hours=1), NOW)
    assert share == pytest.approx([(1 - 0.125) / 2], abs=0.02)  # all arrives within a quarter of an hour


def test_nothing_known_of_delays_is_not_complete_nor_incomplete() -> None:
    share = completeness(
        delays()[:0], [MIDNIGHT - pd.Timedelta(hours=1), MIDNIGHT], [MIDNIGHT, MIDNIGHT + pd.Timedelta(1, "h")], NOW
    )
    assert np.isnan(share[0])
    assert share[1] == 0


def test_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(MissionControlError, match="end after"):
        completeness(delays(h1=1), MIDNIGHT, MIDNIGHT, NOW)


@given(
    st.lists(st.floats(0, 1e6), min_size=len(DELAY_BUCKET_EDGES_HOURS), max_size=len(DELAY_BUCKET_EDGES_HOURS)),
    st.floats(0.05, 48),
    st.lists(st.floats(-100, 1000), min_size=2, max_size=2),
)
def test_completeness_is_a_share_and_only_grows(hours: list[float], length: float, waits: list[float]) -> None:
    known = pd.DataFrame({"delay_hours": DELAY_BUCKET_EDGES_HOURS, "usage_hours": hours})
    first, second = (
        completeness(known, NOW, NOW + timedelta(hours=length), NOW + timedelta(hours=wait))[0]
        for wait in sorted(waits)
    )
    if sum(hours) > 0:
        assert 0 <= first <= second + 1e-9 <= 1 + 1e-9


def test_everything_has_arrived_in_the_end() -> None:
    old = MIDNIGHT - pd.Timedelta(days=20)
    assert completeness(delays(h1=1, open=9), old, old + pd.Timedelta(hours=1), NOW) == pytest.approx([1.0])
