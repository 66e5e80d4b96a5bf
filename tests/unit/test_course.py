"""The course of a series, how bad it is now, and verdicts as processes share them."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from missioncontrol_nb.judgement.alarms import Judge
from missioncontrol_nb.judgement.course import Course, sums_since
from missioncontrol_nb.judgement.observations import hours_of
from missioncontrol_nb.judgement.series import Series
from missioncontrol_nb.judgement.verdicts import Figures, Verdict, Verdicts, tables_of, verdict_of
from missioncontrol_nb.judgement.watch import Look, Watch
from missioncontrol_nb.simulator import Bad
from tests.judged_fleets import draw, midnight
from tests.unit.small_verdicts import RISE, course, verdict

BEGINS = datetime(2017, 10, 2, 7, tzinfo=UTC)


@pytest.fixture(scope="module")
def risen() -> list[Verdict]:
    """56.0 on Windows, three times the main crashes since twelve hours, four days after its release."""
    bad = Bad("56.0", BEGINS, "main_crashes", 3.0)
    observations, _ = draw("release", midnight(2017, 7, 1), 100, 3, bad=[bad], systems=("Windows_NT",))
    found: list[Verdict] = []
    judge = Judge(observations)
    at = hours_of(BEGINS + timedelta(hours=12))
    list(judge.look(at, lambda *of: found.append(verdict_of(*of))))
    return [each for each in found if each.series.display_version == "56.0"]


def of_measure(found: list[Verdict], measure: str) -> Verdict:
    [one] = [each for each in found if each.series.measure == measure]
    return one


def test_how_bad_it_is_now_is_not_diluted_by_the_healthy_days_before(risen: list[Verdict]) -> None:
    main = of_measure(risen, "main_crashes")
    assert main.series.state == "bad"
    assert main.since is not None
    assert abs(main.since - BEGINS) <= timedelta(hours=2)
    assert main.now.ratio == pytest.approx(3.0, rel=0.25)
    assert main.since_release.ratio < 0.7 * main.now.ratio
    assert main.now.ratio_lower < main.now.ratio < main.now.ratio_upper
    assert main.now.rate == pytest.approx(main.now.ratio * main.now.expected_rate)
    assert main.last_day.ratio < main.now.ratio


def test_series_that_has_not_risen_has_its_figures_since_release(risen: list[Verdict]) -> None:
    gpu = of_measure(risen, "gpu_crashes")
    assert (gpu.since, gpu.since_rise) == (None, None)
    assert gpu.now == gpu.since_release
    assert gpu.now.rate == pytest.approx(gpu.series.rate)
    assert gpu.now.expected_rate == pytest.approx(gpu.series.expected_rate)
    assert (gpu.now.ratio, gpu.now.ratio_lower) == (
        pytest.approx(gpu.series.rate_ratio),
        pytest.approx(gpu.series.lower),
    )


def test_course_adds_up_to_the_series(risen: list[Verdict]) -> None:
    main = of_measure(risen, "main_crashes")
    frame = main.course.frame()
    assert frame["events"].sum() == main.series.events
    assert frame["usage_hours"].sum() == pytest.approx(main.series.usage_hours_corrected)
    assert (frame["until"].iloc[:-1].to_numpy() == frame["since"].iloc[1:].to_numpy()).all()
    assert str(frame["since"].dtype) == "datetime64[us, UTC]"
    middle = frame.dropna()
    assert ((middle["lower"] <= middle["rate"]) & (middle["rate"] <= middle["upper"])).all()
    assert (middle["expected_upper"] / middle["expected_rate"]).to_numpy() == pytest.approx(main.course.healthy)


def test_frame_of_a_course_has_rates_per_1000_hours_and_nothing_where_there_was_no_use() -> None:
    edges = np.array([10.0, 11, 12])
    two = Course(edges, np.array([6.0, 0]), np.array([2000.0, 0]), np.array([4.0, 0]), 1.25, 0.0)
    frame = two.frame()
    assert frame["since"].dt.hour.tolist() == [10, 11]
    first = frame.iloc[0]
    assert (first["rate"], first["expected_rate"], first["expected_lower"], first["expected_upper"]) == (3, 2, 1.6, 2.5)
    assert frame.iloc[1][["rate", "lower", "expected_rate"]].isna().all()


def test_sums_and_ratios_of_a_course() -> None:
    whole = course()
    assert whole.sums() == (97 * 12 + 12 * 12, 97 * 3000.0, 97 * 12.0)
    assert whole.sums(hours_of(RISE)) == (12 * 24, 12 * 3000.0, 12 * 12.0)
    assert whole.ratios(97, 4.0).tolist() == [1.0] * 85 + [2.0] * 12
    assert whole.ratios(8, 4.0).tolist() == [1.0] * 6 + [pytest.approx(19 / 13), 2.0]
    assert np.isnan(whole.ratios(97, 13.0)).all()


def test_figures_of_nothing_say_nothing() -> None:
    assert Figures.of((3, 2.0, 0.0), deviation=0.1, variance=0.1) == Figures(3, 0.0)
    unknown = Figures.of((3, np.nan, 1000.0), deviation=0.0, variance=np.nan)
    assert (unknown.rate, unknown.expected_rate, unknown.ratio) == (3.0, None, None)
    assert unknown.lower < 3.0 < unknown.upper


def test_verdicts_come_out_of_tables_as_they_went_in(risen: list[Verdict]) -> None:
    for each in (*risen, verdict("bad", part={"country": "DE"}), verdict("too early")):
        series = each.series
        found = Verdicts(tables_of([each])).of("release", "Windows_NT", "56.0", series.measure)
        assert found.series == series
        assert (found.since_release, found.since_rise) == (each.since_release, each.since_rise)
        assert found.course.events.tolist() == each.course.events.tolist()
    assert Verdicts(tables_of([])).of("release", "Windows_NT", "56.0", "main_crashes") is None
    assert Verdicts(tables_of([])).at is None


def test_rise_is_as_large_a_day_and_a_half_later_as_at_first() -> None:
    since = datetime(2017, 9, 30, 13, tzinfo=UTC)
    bad = [Bad("56.0", since, "content_crashes", 2.0, "Windows_NT", "release")]
    observations, _ = draw("release", midnight(2017, 7, 1), 100, 3, bad=bad, systems=("Windows_NT",))
    judge, ratios = Judge(observations), []

    def see(series: Series, watch: Watch, look: Look, place: int) -> None:
        if (series.measure, series.display_version) == ("content_crashes", "56.0"):
            events, expected, _ = sums_since(watch, look, place, hours_of(since) + 1)
            ratios.append(events / expected)

    for hours in (8, 36):
        judge.look(hours_of(since) + hours, see)
    assert ratios == pytest.approx([2.0, 2.0], rel=0.15)
