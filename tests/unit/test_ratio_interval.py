"""The interval of a ratio of events by expected events."""

import pytest

from missioncontrol_nb.judgement.series import ratio_interval


def test_no_events_of_hardly_any_expected_may_be_any_ratio() -> None:
    ratio, lower, upper = ratio_interval(0, 0.0003, 0.05, 3.0)
    assert (ratio, lower) == (0, 0)
    assert upper > 1000


@pytest.mark.parametrize("dispersion", [1.0, 3.0])
def test_interval_of_many_events_is_that_of_their_variance(dispersion: float) -> None:
    _, lower, upper = ratio_interval(400, 200, 0.0, dispersion)
    half = 1.645 * (dispersion / 400) ** 0.5
    assert (lower, upper) == pytest.approx((2 * (1 - half), 2 * (1 + half)), rel=0.02)


def test_interval_of_hours_that_are_hardly_known_is_not_nothing() -> None:
    assert ratio_interval(0, 0.01, 1000.0)[2] > 50
