"""What a detail's chart shows beside the counts: the acceptable range, estimated hours, when it went wrong."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from missioncontrol_nb import charts
from missioncontrol_nb.charts.expected import with_estimated_hours
from missioncontrol_nb.dashboard.html import svg
from streaming.errors import MissionControlError
from tests.unit.small_summaries import LEVEL, NEWEST, NOW, detail, measured
from tests.unit.small_verdicts import RISE, course
from tests.unit.test_pages import Page

SHOWN = detail(measured("content_crashes", LEVEL))  # the newest window is that of 14:00, and now is 14:35
HOURS = {"show": "rate", "time": "latest"}
COURSE = course().frame()  # 3000 hours an hour, 4 per 1000 expected, 3.2 to 5.0 acceptable
EXPECTED = charts.Expected(COURSE, {"56.0": COURSE}, RISE, is_bad=True)


def test_rates_are_by_estimated_hours_where_they_are_known() -> None:
    windows = with_estimated_hours(SHOWN.windows, EXPECTED, SHOWN)
    assert len(windows) == len(SHOWN.windows)
    newest, older = (windows[windows["line"] == name] for name in ("56.0", "55.0.3"))
    events = SHOWN.windows[SHOWN.windows["line"] == "56.0"]["events"].to_numpy()
    rates = newest["rate"].to_numpy()
    assert rates[[0, 1, 3, 4]] == pytest.approx(events[[0, 1, 3, 4]] / 3.0)
    assert np.isnan(rates[2])  # no usage was reported there
    assert rates[5] == pytest.approx(events[5] / 3.0 / (NOW.minute * 60 + NOW.second) * 3600)
    assert (newest["lower"].dropna() < newest["rate"].dropna()).all()
    pd.testing.assert_frame_equal(older, SHOWN.windows[SHOWN.windows["line"] == "55.0.3"])


def test_window_that_has_only_begun_has_no_rate() -> None:
    shown = replace(SHOWN, now=SHOWN.now.replace(minute=10))
    windows = with_estimated_hours(shown.windows, EXPECTED, shown)
    assert np.isnan(windows[windows["line"] == "56.0"]["rate"].iloc[-1])


def test_acceptable_range_ends_where_the_course_does_and_is_labelled() -> None:
    data = charts.detail_data(SHOWN, **HOURS, expected=EXPECTED)
    band = data["acceptable"]
    assert (band["lower"].round(6).unique().tolist(), band["upper"].round(6).unique().tolist()) == ([3.2], [5.0])
    assert band["x"].iloc[0] == NEWEST.released.timestamp() * 1000
    assert band["x"].iloc[-1] == (NEWEST.released + timedelta(hours=97)).timestamp() * 1000
    assert set(data["acceptable_label"]["label"]) == {"acceptable now: 3.2 to 5.0"}
    assert data["extent"]["top"].iloc[0] >= 5.0


def test_alarm_is_a_rule_at_its_beginning_also_by_age() -> None:
    data = charts.detail_data(SHOWN, **HOURS, expected=EXPECTED)
    assert data["rises"].to_numpy().tolist() == [[RISE.timestamp() * 1000, 1.0]]
    assert "bad since Mon 9 Oct 02:00" in data["labels"]["label"].tolist()
    by_age = charts.detail_data(SHOWN, show="rate", time="since_release", expected=EXPECTED)["rises"]
    assert by_age["x"].tolist() == [85.0]


def test_scale_has_room_for_what_is_bad_however_short_it_has_been() -> None:
    windows = SHOWN.windows.copy()
    windows.loc[(windows["line"] == "56.0") & (windows["window_start"] == "2017-10-09T13:00Z"), "events"] = 90
    shown = replace(SHOWN, windows=windows)
    tops = [charts.detail_data(shown, **HOURS, expected=replace(EXPECTED, rise=rise))["extent"]["top"].item()
            for rise in (RISE, None)]  # fmt: skip
    assert tops[0] >= 30 * 1.05 > tops[1]


def test_counts_have_no_acceptable_range_but_the_alarm() -> None:
    data = charts.detail_data(SHOWN, show="count", time="latest", expected=EXPECTED)
    assert (len(data["acceptable"]), len(data["rises"])) == (0, 1)


def test_chart_without_the_newest_line_says_nothing_of_it() -> None:
    data = charts.detail_data(SHOWN, **HOURS, hidden=["56.0"], expected=EXPECTED)
    assert [len(data[name]) for name in ("acceptable", "acceptable_label", "rises")] == [0, 0, 0]


def test_specification_does_not_depend_on_what_is_expected() -> None:
    specs = [
        {name: each for name, each in charts.detail_chart(SHOWN, **HOURS, expected=given).to_dict().items()
         if name != "datasets"}
        for given in (EXPECTED, charts.Expected())
    ]  # fmt: skip
    assert specs[0] == specs[1]


def test_course_without_its_columns_is_refused() -> None:
    with pytest.raises(MissionControlError, match="expected_rate"):
        charts.Expected(COURSE.drop(columns="expected_rate"))


# ---------- small drawings ----------
def test_small_drawing_has_the_acceptable_range_and_arrows_where_it_is_left() -> None:
    page = Page(svg.course_spark([1.0, 1.1, None, 0.9, 2.3, 2.4, 2.2], 1.25, "x"))
    [grey] = [each for name, each in page.elements if name == "rect"]
    top, bottom = float(grey["y"]), float(grey["y"]) + float(grey["height"])
    assert top == pytest.approx(40 * (0.8 - 0.25) / 1.2, abs=0.1)
    assert bottom == pytest.approx(40 * (0.8 + 0.2) / 1.2, abs=0.1)
    assert page.classes("polyline") == ["n", "n", "y"]
    assert page.classes("path") == ["e", "h"]
    assert "leaves the scale at +140 %" in page.attributes("aria-label")[0].replace("\u00a0", " ")


@pytest.mark.parametrize("ratios", [[], [None], [1.0], [None, None, 3.0, 0.1]])
def test_small_drawing_of_little_is_well_formed(ratios) -> None:
    page = Page(svg.course_spark(ratios, 1.25, "x"))
    points = [pair.split(",") for each in page.attributes("points") for pair in each.split()]
    assert all(0 <= float(x) <= 200 and 0 <= float(y) <= 40 for x, y in points)
