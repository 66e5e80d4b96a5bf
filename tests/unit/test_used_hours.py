"""The use of a release, estimated while part of it is still to be reported, against use that is known."""

import numpy as np
import numpy.typing as npt
import pytest

from missioncontrol_nb.delay_law import DelayLaw
from missioncontrol_nb.judgement.activity import Activity, estimate_activity
from missioncontrol_nb.judgement.used_hours import FIRST_REPORTS, estimate_used_hours, report_edges

Array = npt.NDArray[np.float64]
AN_HOUR = 12
BUCKETS = np.array([0.12, 0.05, 0.08, 0.14, 0.12, 0.2, 0.15, 0.09, 0.03, 0.015, 0.005, 0.0])
LAW = DelayLaw.of_buckets(BUCKETS)
DAYS, RELEASED = 40, 30 * 24 + 13 + 25 / 60
MOMENTS = (np.arange(DAYS * 24 * AN_HOUR) + 0.5) / AN_HOUR
RHYTHM = (1 + 0.35 * np.cos(2 * np.pi * (MOMENTS % 24 - 15) / 24)) * np.where(MOMENTS // 24 % 7 >= 5, 0.86, 1.0)
ACTIVE = 100_000 / AN_HOUR * RHYTHM


def reported(used: Array) -> Array:
    """What is reported in each window of what was used in each: by the law, exactly."""
    area = LAW.integral(np.arange(-1, 170 * AN_HOUR) / AN_HOUR)
    return np.convolve(used, (area[2:] - 2 * area[1:-1] + area[:-2]) * AN_HOUR)[: len(used)]


def sums(windows: Array, edges: Array) -> Array:
    totals = np.concatenate([[0.0], np.cumsum(windows)])
    return np.diff(totals[np.round(edges * AN_HOUR).astype(int)])


def activity_of(windows: Array) -> Activity:
    return estimate_activity(0, sums(windows, np.arange(30 * 24 + 1.0)), LAW)


def share(throttle: float, days: float) -> Array:
    """The share of a release that goes to some users first, to all after two days."""
    age = np.maximum(MOMENTS - RELEASED, 0) / 24
    late = np.maximum(age - 2, 0)
    return throttle * (1 - np.exp(-age / days)) + (1 - throttle) * (1 - np.exp(-late / days))


def test_rhythm_of_use_is_found_behind_its_reports() -> None:
    found = activity_of(reported(ACTIVE))
    last_week = (np.arange(23 * 24, 30 * 24) + 0.5).astype(float)
    true = ACTIVE[(last_week * AN_HOUR).astype(int)] * AN_HOUR
    assert np.abs(found.rate(last_week) / true - 1).mean() < 0.03
    assert not found.is_outage(np.arange(30 * 24)).any()


def test_day_without_data_is_an_outage_and_changes_no_rhythm() -> None:
    windows = reported(ACTIVE)
    usual = activity_of(windows).rate(np.arange(690, 710) + 0.5)
    windows[20 * 24 * AN_HOUR : 21 * 24 * AN_HOUR] = 0
    found = activity_of(windows)
    assert np.flatnonzero(found.is_outage(np.arange(30 * 24))).tolist() == [*range(20 * 24, 21 * 24)]
    assert np.abs(found.rate(np.arange(690, 710) + 0.5) / usual - 1).max() < 0.03


@pytest.mark.parametrize(("age", "within"), [(1, 0.04), (2, 0.03), (6, 0.03), (24, 0.02), (72, 0.03), (150, 0.01)])
@pytest.mark.parametrize(("throttle", "days"), [(0.25, 0.8), (1.0, 1.5), (0.1, 3.0)])
def test_use_is_known_before_it_is_reported(age: float, within: float, throttle: float, days: float) -> None:
    used = ACTIVE * share(throttle, days)
    windows = reported(used)
    first = RELEASED + FIRST_REPORTS
    until = np.floor((first + age) * AN_HOUR) / AN_HOUR
    edges = report_edges(first, until, first)
    came = sums(windows, edges)
    found = estimate_used_hours(edges, came, first, activity_of(reported(ACTIVE)), LAW)
    true = sums(used, np.array([first, until]))[0]
    assert abs(found.total / true - 1) < within
    assert came.sum() < (0.25 if age == 1 else 0.97) * true


def test_older_use_need_not_be_estimated_again() -> None:
    used = ACTIVE * share(0.25, 1.0)
    windows, activity = reported(used), activity_of(reported(ACTIVE))
    until = RELEASED + 200
    edges = report_edges(RELEASED, np.floor(until), np.floor(until - 120))
    found = estimate_used_hours(edges, sums(windows, edges), RELEASED, activity, LAW)
    true = sums(used, edges[[0, -1]])[0]
    assert found.edges[0] == np.floor(until - 120)
    assert found.total == pytest.approx(true, rel=0.01)


def test_release_without_reports_was_not_used() -> None:
    edges = report_edges(RELEASED, RELEASED + 5, RELEASED)
    found = estimate_used_hours(edges, np.zeros(len(edges) - 1), RELEASED, activity_of(reported(ACTIVE)), LAW)
    assert found.total == 0


def test_law_is_linear_within_its_buckets() -> None:
    law = DelayLaw(np.array([0.0, 1.0, 3.0]), np.array([0.0, 0.5, 1.0]))
    assert law.reported([-1, 0.5, 2, 9]).tolist() == [0, 0.25, 0.75, 1]
    assert law.integral([0, 1, 3, 4]).tolist() == [0, 0.25, 1.75, 2.75]
    assert law.mean_reported([2.0], [0.0]).tolist() == [pytest.approx(0.4375)]
    assert law.scaled(2.0).reported([1.0]).tolist() == [0.25]
    assert not DelayLaw.of_buckets(np.zeros(12)).is_known
