"""What the benchmark of the judge measures: rivals see no future, truths are true, tables say what was found."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.judgement_checks import AGES, EXPECTED_RATE, RATE_RATIO, USED_HOURS, Check, Checks, coverage
from benchmarks.judgement_models import farrington, fitted, version_effects
from benchmarks.judgement_report import Results, goals
from benchmarks.judgement_rivals import (
    RIVALS,
    STEP,
    History,
    first_alarms,
    mission_control_1,
    mission_control_1_adjusted,
    mission_control_2,
    poisson_test,
    velocity,
)
from benchmarks.judgement_series import Case, Verdict, found_of, verdicts
from benchmarks.judgement_slices import EVERYWHERE, KINDS, share_right, slice_cases
from benchmarks.judgement_stress import STRESSES, with_doubled_windows, without_a_day
from missioncontrol_nb.judgement.alarms import Judge
from missioncontrol_nb.simulator.fleet import Bad
from tests.judged_fleets import draw, midnight

ROOT = Path(__file__).parents[2]
DAY0 = 24.0 * 17_400  # a midnight, hours since 1970
SPAN_DAYS, JUDGED_FROM = 24, 14
RATE = 0.02


def history(factor: float = 1.0, early: float = 1.0, seed: int = 1) -> History:
    """Three versions, 12 hours after the midnights of days 0, 8 and 16; the last has `factor` times the events.

    early: the factor of every version's rate in its first day. The first measure rises, the second does not.
    """
    random = np.random.default_rng(seed)
    moments = DAY0 + np.arange(0, SPAN_DAYS * 24 + STEP, STEP)
    outs = DAY0 + np.array([12.0, 8 * 24 + 12, 16 * 24 + 12])
    newer = np.append(outs[1:], np.inf)
    ages = moments[None, 1:] - outs[:, None]
    share = np.where(ages > 0, 1 - np.exp(-ages / 30), 0.0)
    share = share * np.exp(-np.maximum(moments[None, 1:] - newer[:, None], 0.0) / 30)
    hours = 1000 * STEP * share
    rates = RATE * np.where((ages > 0) & (ages <= 24), early, 1.0) * np.array([1, 1, factor])[:, None]
    events = np.stack([random.poisson(hours * rates), random.poisson(hours * RATE)], axis=1)

    def summed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1)], axis=-1)

    return History(moments, outs, summed(events.astype(float)), summed(hours), DAY0 + 24 * JUDGED_FROM)


@pytest.mark.parametrize("name", RIVALS)
def test_what_a_rival_says_of_a_moment_depends_on_nothing_later(name: str) -> None:
    known = history(1.6, early=1.3)
    at_once = RIVALS[name](known)
    assert at_once.any()
    for hour in (14.5 * 24, 16.5 * 24 + 1, 18 * 24, 21 * 24 + 7):
        moment = DAY0 + hour
        then = known.until(moment)
        assert then.moments[-1] == moment
        np.testing.assert_array_equal(RIVALS[name](then), at_once[:, :, : len(then.moments)])


def test_first_alarm_is_at_a_look() -> None:
    known = history()
    up = known.nothing()
    up[2, 1, known.moments >= DAY0 + 17 * 24 + 1.5] = True
    assert first_alarms(known, up, DAY0 + 24 * 14, 1.0) == {(2, 1): DAY0 + 17 * 24 + 2}
    assert first_alarms(known, up, DAY0 + 24 * 14, 6.0) == {(2, 1): DAY0 + 17 * 24 + 6}


def test_version_1_compares_with_all_of_the_previous_version_or_with_the_same_age() -> None:
    known = history(1.0, early=2.0)
    at = np.searchsorted(known.moments, DAY0 + 16.5 * 24 + 12)  # half a day after the last release
    assert mission_control_1(known)[2, 0, at]
    assert not mission_control_1_adjusted(known)[2, 0, at]
    for rule in (mission_control_1, mission_control_1_adjusted):
        assert rule(history(1.6))[2, 0, -1]
        assert not rule(history(1.1))[2, 0, -1]
        assert not rule(history(1.6))[2, 1, -1]


def test_version_2_is_sure_of_a_rise_by_more_than_a_fifth_alone() -> None:
    assert mission_control_2(history(1.5))[2, 0, -1]
    assert not mission_control_2(history(1.0))[2, 0, -1]
    assert not mission_control_2(history(1.5))[2, 1, -1]


def test_velocity_alert_needs_a_rate_and_enough_events() -> None:
    busy = history(3.0)  # 30 events and more in half an hour, three times the usual rate
    assert velocity(busy)[2].any(axis=1).tolist() == [True, False]
    assert not velocity(history(1.0))[2].any()
    assert not velocity(replace(busy, events=busy.events / 3, hours=busy.hours / 3))[2].any()


def test_poisson_test_alarms_at_one_event_too_many() -> None:
    known = history()
    events = np.zeros_like(known.events)
    hours = np.zeros_like(known.hours)
    since = known.moments >= DAY0 + 17 * 24
    events[1, :, known.moments > DAY0 + 9 * 24], hours[1, known.moments > DAY0 + 9 * 24] = 100, 10_000
    hours[2, since] = 500  # 5 events are expected; 9 or more have a probability of 0.068, 10 or more of 0.032
    events[2, 0, since], events[2, 1, since] = 9, 10
    up = poisson_test(replace(known, events=events, hours=hours))
    assert (up[2, 0].any(), up[2, 1].any()) == (False, True)


COUNTS = np.array([12, 7, 15, 30, 22, 41, 9, 18.0])
DESIGN = np.stack([np.ones(8), np.arange(8) / 10], axis=1)
HOURS = np.array([100, 60, 110, 150, 120, 200, 50, 90.0])


@pytest.mark.parametrize(
    ("alpha", "coefficients", "errors"),
    [
        (0.0, (-2.03243883, 0.77542604), (0.17386951, 0.39544247)),
        (0.3, (-2.07824888, 0.80949548), (0.39901005, 0.94438092)),
    ],
)
def test_regression_is_that_of_statsmodels(
    alpha: float, coefficients: tuple[float, ...], errors: tuple[float, ...]
) -> None:
    """statsmodels 0.15, GLM(COUNTS, DESIGN, Poisson() or NegativeBinomial(alpha), offset=log(HOURS)).fit()."""
    found, covariance = fitted(DESIGN, COUNTS, np.log(HOURS), alpha=alpha)
    assert found == pytest.approx(coefficients, rel=1e-5)
    assert np.sqrt(np.diag(covariance)) == pytest.approx(errors, rel=1e-5)


def test_regression_weighs_rows_as_statsmodels_does() -> None:
    weights = np.array([1, 1, 1, 0.2, 1, 1, 1, 1])
    found, _ = fitted(DESIGN, COUNTS, np.log(HOURS), weights=weights)
    assert found == pytest.approx((-2.09279763, 0.84676491), rel=1e-5)


def test_effects_of_versions_are_found_whatever_their_adoption() -> None:
    random = np.random.default_rng(1)
    version = np.repeat(np.arange(6), 12)
    adoption = np.tile(np.linspace(0.02, 0.6, 12), 6)
    hours = 40_000 * adoption
    rate = 0.004 * np.exp(np.array([0, 0, 0, 0, 0, 0.45])[version]) * (1 + 0.5 * np.exp(-adoption * 10))
    effects = version_effects(version, adoption, hours, random.poisson(hours * rate)[None].astype(float), 0)
    assert effects is not None
    assert effects.mean[5] - effects.mean[4] == pytest.approx(0.45, abs=0.12)
    assert effects.chance_above(5, 4, np.log(1.2)) > 0.99
    assert effects.chance_above(4, 3, np.log(1.2)) < 0.05


def test_days_of_an_outbreak_count_less_in_the_baseline() -> None:
    days, hours = np.arange(17_400, 17_460.0), np.full(60, 1000.0)
    counts = np.random.default_rng(1).poisson(5.0, 60).astype(float)
    usual = farrington(days, counts, hours)
    counts[30] = 60
    after = farrington(days, counts, hours)
    assert usual is not None
    assert after is not None
    assert after.rate == pytest.approx(usual.rate, rel=0.1)
    assert usual.is_exceeded(20, 1000.0)
    assert not usual.is_exceeded(8, 1000.0)
    assert farrington(days[:9], counts[:9], hours[:9]) is None


def test_alarm_before_the_rise_or_too_late_finds_nothing() -> None:
    case = Case("release", "Darwin", "56.0", "main_crashes", 2.0, out=100.0, since=130.0)
    assert [case.found_after(at) for at in (None, 129.0, 131.0, 500.0)] == [None, None, 1.0, None]
    [verdict] = verdicts("rule", [case], {case.key: 140.0}, {case.key: 4.0})
    assert verdict == Verdict("rule", "release", "Darwin", "56.0", "main_crashes", 2.0, True, 10.0, 4.0)


def test_judge_is_checked_against_what_the_fleet_knows() -> None:
    first, out = midnight(2017, 7, 20), 24.0 * 17_401
    bad = Bad("56.0b3", midnight(2017, 8, 1), "content_crashes", 4.0, "Windows_NT", "beta")
    observations, expected = draw("beta", first, 30, 3, bad=[bad], systems=("Windows_NT",))
    [place] = [place for place, build in enumerate(expected.builds) if build.display_version == "56.0b3"]
    out = expected.builds[place].out / 3600
    checks = Checks(expected, "beta", out)
    assert set(out + np.array(AGES)) <= set(checks.moments)
    judge = Judge(observations)
    checks.see(out + 24, [series for series, _ in judge.look(out + 24) if series is not None])
    of_release = [each for each in checks.found if each.release == "56.0b3"]
    [hours] = [each for each in of_release if each.what == USED_HOURS]
    sums = observations.segments[0].releases
    [reported] = [sums[name].up_to("usage_hours", out + 24) for name in sums if name.display_version == "56.0b3"]
    assert hours.uncorrected == pytest.approx(float(reported))
    assert float(reported) < hours.true < 3 * float(reported)
    ratio, rate = (
        next(each for each in of_release if (each.what, each.measure) == (what, "content_crashes"))
        for what in (RATE_RATIO, EXPECTED_RATE)
    )
    assert 2.5 < ratio.true < 6.0
    assert ratio.said == pytest.approx(ratio.true, rel=0.5)
    assert rate.true == pytest.approx(4.3 * 1.7 * 1.3, rel=0.3)  # per 1000 hours; on beta, by early adopters


def test_slices_are_mostly_right_and_small_causes_are_small() -> None:
    cases = slice_cases(1, 5)
    assert [each.kind for each in cases] == [kind for kind in KINDS for _ in range(5)]
    assert all(bool(each.cause) == (each.kind != EVERYWHERE) for each in cases)
    assert {len(each.cause) for each in cases if each.kind == "two dimensions"} == {2}
    share = share_right(cases)
    assert share is not None
    assert share >= 0.8


def test_stress_changes_the_data_as_it_says() -> None:
    from benchmarks.judgement_series import Span

    span = Span("beta", midnight(2017, 8, 10), 14, 2)
    observations, _ = draw("beta", span.first, span.days, 1, systems=("Windows_NT",))
    random = np.random.default_rng(1)
    usual, doubled, gone = (
        each.segments[0].all
        for each in (
            observations,
            with_doubled_windows(observations, span, random),
            without_a_day(observations, span, random),
        )
    )
    assert doubled.totals["usage_hours"][-1] / usual.totals["usage_hours"][-1] == pytest.approx(1.05, abs=0.01)
    assert len(usual.ends) - len(gone.ends) == 288
    assert np.diff(gone.ends).max() == pytest.approx(24 + 1 / 12)


def test_stressed_fleets_differ_from_the_day_of_judging_on() -> None:
    by_name = {stress.name: stress for stress in STRESSES}
    assert len(by_name) == 9
    span = midnight(2017, 8, 10), 14
    _, usual = draw("beta", *span, 1, systems=("Windows_NT",))
    judged_from = 24.0 * 17_390
    faster = by_name["roll-out twice as fast"].kind(judged_from)
    _, changed = draw("beta", *span, 1, systems=("Windows_NT",), kind=faster)
    for build in usual.builds:
        factor = 2.0 if build.out / 3600 >= judged_from else 1.0
        assert changed.fleet.differences(build).speed == factor * usual.fleet.differences(build).speed
    _, moved = draw("beta", *span, 1, kind=by_name["released 12 hours off (nightly 5)"].kind(judged_from))
    outs = {(build.build_id, build.os_name): build.out for build in usual.builds}
    off = {
        (build.out - outs[build.build_id, build.os_name]) / 3600
        for build in moved.builds
        if build.os_name == "Windows_NT"
    }
    assert off == {-12.0, 0.0, 12.0}


def test_table_of_goals_has_a_figure_by_channel() -> None:
    said = [
        Verdict("judge", "beta", "Linux", str(number), "main_crashes", factor, False, found, 4.0)
        for number, (factor, found) in enumerate([(1.0, None)] * 9 + [(1.0, 3.0), (2.0, 6.0), (2.0, None)])
    ]
    checks = [
        Check(RATE_RATIO, "beta", "Linux", "1", "main_crashes", 24, 1.0, 0.8, 1.2, true) for true in (1.0, 1.1, 1.3)
    ]
    checks += [Check(USED_HOURS, "release", "Linux", "1", "", 6, 90.0, 80.0, 120.0, 100.0, 40.0)]
    rows = {row["goal"]: row for row in goals(Results(judge=said, checks=checks))}
    assert rows["false alarms per healthy series in 14 days"]["beta"] == "10.0 %"
    assert rows["x2 from release: found of the oracle's; median delay by its"]["beta"] == "1 of 2; 1.5"
    assert rows["90 % intervals of the rate ratio that hold the truth"] | {"release": ""} == {
        "goal": "90 % intervals of the rate ratio that hold the truth",
        "wanted": "86 % to 94 %",
        "beta": "67 %",
        "release": "",
    }
    assert rows["median error of used hours after 6 h (of the reported ones)"]["release"] == "10.0 % (60 %)"
    assert coverage(checks, USED_HOURS, 1) is None
    assert found_of(said, 4.0) == ([], 0)


def test_benchmark_says_what_it_takes() -> None:
    def called(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "benchmarks/judgement.py", *options]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    shown = called("--help")
    assert shown.returncode == 0
    assert all(part in shown.stdout for part in ("rivals", "nowcast", "--only rivals,slices"))
    wrong = called("--only", "rival")
    assert (wrong.returncode, "'rival'" in wrong.stderr) == (2, True)
