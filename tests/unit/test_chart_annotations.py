"""What a detail's chart marks on its x axis: releases and data incidents, with labels that keep out of each other."""

from dataclasses import replace
from datetime import timedelta
from itertools import combinations

import pandas as pd
import pytest

from missioncontrol_nb import charts
from missioncontrol_nb.charts.labels import GAP, Rows, Wanted, text_width
from missioncontrol_nb.dashboard.html.html import tag
from missioncontrol_nb.dashboard.judged import Judged
from missioncontrol_nb.dashboard.pages import detail as detail_page
from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.incidents import Incident
from missioncontrol_nb.monitor import Line
from tests.unit.small_dataset import moment
from tests.unit.small_summaries import LEVEL, NOW, detail, measured
from tests.unit.small_verdicts import RISE, course
from tests.unit.test_pages import Page

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SHOWN = detail(measured("content_crashes", LEVEL))  # the newest version came out 5 Oct 13:00, others every three days
QUERY = Query(view="detail", measure="content_crashes")
TWICE = Incident(moment("06T06:00"), moment("06T18:00"), "Crash pings came twice", id="a")
LOST = Incident(moment("08T02:00"), moment("08T05:00"), "Main pings were lost", os_name="Windows_NT", id="b")
LONG = "The collector of the second data centre sent its whole queue again. " * 14
MANY = tuple(
    Incident(moment("03T00:00") + n * 4 * HOUR, moment("03T01:00") + n * 5 * HOUR, f"{n} {LONG}") for n in range(30)
)
COURSE = course().frame()
EXPECTED = charts.Expected(COURSE, {"56.0": COURSE}, RISE, is_bad=False)


def data(of=SHOWN, incidents=(), time="latest", show="rate", narrow=False, **more) -> dict[str, pd.DataFrame]:
    return charts.detail_data(of, show=show, time=time, narrow=narrow, incidents=incidents, **more)


def x(text: str) -> float:
    return 1000 * moment(text).timestamp()


def labels(of: dict[str, pd.DataFrame], kind: str, width: float) -> list[str]:
    found = of["labels"]
    return found[(found["kind"] == kind) & (found["least"] <= width) & (width < found["below"])]["label"].tolist()


# ---------- releases ----------
def test_each_shown_version_that_came_out_in_the_interval_is_marked() -> None:
    found = data(replace(SHOWN, since=NOW - timedelta(days=9)))
    assert found["releases"]["x"].tolist() == [x("05T13:00"), x("02T13:00")]
    assert labels(found, "release", 1100) == ["56.0 out, Thu 5 Oct 13:00", "55.0.3 out"]
    assert data(SHOWN)["releases"]["x"].tolist() == [x("05T13:00")]  # the interval begins later on 2 October
    assert data(hidden=["56.0"])["releases"].empty
    assert data(time="since_release")["releases"].empty


def test_lines_that_are_no_versions_have_the_releases_of_the_newest_two() -> None:
    builds = tuple(Line(name, f"56.0, {name}", rank, NOW - rank * HOUR) for rank, name in enumerate(("b2", "b1")))
    of = replace(SHOWN, line="build", lines=builds, since=NOW - timedelta(days=9))
    found = data(of)
    assert found["releases"]["x"].tolist() == [x("05T13:00"), x("02T10:00")]
    assert labels(found, "release", 1100) == ["56.0 out, Thu 5 Oct 13:00", "55.0.3 out"]
    assert data(of, hidden=["b2"])["releases"].empty


# ---------- data incidents ----------
def test_incident_is_a_band_with_its_number_and_text() -> None:
    found = data(incidents=[TWICE, LOST])
    assert found["incidents"][["x", "x2", "y"]].to_numpy().tolist() == [
        [x("06T06:00"), x("06T18:00"), 0.0],
        [x("08T02:00"), x("08T05:00"), 0.0],
    ]
    assert set(found["incidents"]["y2"]) == {found["extent"]["top"].item()}
    assert labels(found, "incident", 1100) == ["1 Crash pings came twice", "2 Main pings were lost"]


def test_incident_of_other_data_or_another_time_is_not_shown() -> None:
    others = [
        replace(TWICE, channel="beta"),
        replace(TWICE, measure="main_crashes"),
        replace(TWICE, os_name="Linux"),
        replace(TWICE, product="Other"),
        replace(TWICE, since=NOW - timedelta(days=30), until=NOW - timedelta(days=29)),
    ]
    assert [len(data(incidents=[each])["incidents"]) for each in others] == [0] * len(others)
    assert len(data(incidents=[replace(TWICE, channel="release", os_name="Windows_NT")])["incidents"]) == 1


def test_incidents_that_overlap_are_one_band_and_each_keeps_its_number() -> None:
    again = replace(TWICE, since=moment("06T12:00"), until=moment("07T00:00"), text="Again")
    found = data(incidents=[TWICE, again])
    assert found["incidents"][["x", "x2"]].to_numpy().tolist() == [[x("06T06:00"), x("07T00:00")]]
    assert [label.split()[0] for label in labels(found, "incident", 1100)] == ["1", "2"]


def test_band_ends_with_the_axis_and_a_short_incident_is_seen() -> None:
    whole = replace(TWICE, since=moment("2017-01-01T00:00"), until=moment("2018-01-01T00:00"))
    found = data(incidents=[whole])
    assert found["incidents"][["x", "x2"]].to_numpy().tolist() == found["extent"][["x", "x2"]].to_numpy().tolist()
    short = data(incidents=[replace(TWICE, until=TWICE.since + timedelta(seconds=1))])["incidents"]
    assert (short["x2"] - short["x"]).item() == pytest.approx(0.006 * 7 * 24 * 3.6e6)


def test_since_release_an_incident_is_a_strip_of_each_line_at_its_own_age() -> None:
    found = data(incidents=[TWICE], time="since_release")["incidents"]
    assert found[["x", "x2", "shade"]].to_numpy().tolist() == [
        [17.0, 29.0, 0.0],
        [89.0, 97.0 + 35 / 60 + 10 / 3600, 1.0],
    ]
    assert found["y"].iloc[1] > found["y2"].iloc[0]
    assert data(incidents=[TWICE], time="since_release")["labels"].query("kind == 'incident'").empty


def test_lines_of_one_release_share_their_strips() -> None:
    countries = tuple(Line(name, name, rank, moment("05T13:00")) for rank, name in enumerate(("US", "DE", "FR")))
    shown = replace(SHOWN, line="country", lines=countries)
    assert len(data(shown, [TWICE], "since_release")["incidents"]) == 1


def test_without_incidents_nothing_is_drawn_or_said_of_them() -> None:
    found = data()
    assert found["incidents"].empty
    assert set(found["labels"]["kind"]) == {"release"}
    assert detail_page.incidents(SHOWN, QUERY, Judged()) == ""
    texts = (
        charts.summary(SHOWN, show="rate", time="latest") + charts.readout(SHOWN, show="rate", time="latest")["quiet"]
    )
    assert "incident" not in texts


@pytest.mark.parametrize("time", ["latest", "since_release"])
def test_specification_does_not_depend_on_incidents(time: str) -> None:
    specs = [charts.detail_chart(SHOWN, show="rate", time=time, incidents=some).to_dict() for some in ((), MANY)]
    assert [each.pop("datasets") for each in specs]
    assert specs[0] == specs[1]


# ---------- labels ----------
def boxes(of: dict[str, pd.DataFrame], width: float) -> list[tuple[str, float, float, float]]:
    """(row, left, right) of labels in a plot of a width."""
    start, end = of["extent"][["x", "x2"]].to_numpy()[0]
    here = of["labels"][(of["labels"]["least"] <= width) & (width < of["labels"]["below"])]
    found = []
    for each in here.itertuples():
        at, length = (each.x - start) / (end - start) * width, GAP + text_width(each.label)
        row = f"{'below' if each.kind == 'incident' else 'above'} {each.row}"
        found.append((row, *((at - length, at) if each.right else (at, at + length))))
    return found


@pytest.mark.parametrize(
    ("narrow", "width"), [(True, 180), (True, 270), (True, 500), (False, 420), (False, 700), (False, 2000)]
)
def test_labels_meet_neither_each_other_nor_rules_nor_leave_the_plot(narrow: bool, width: float) -> None:
    shown = replace(SHOWN, since=NOW - timedelta(days=16))
    found = data(shown, MANY, narrow=narrow, expected=EXPECTED)
    placed = boxes(found, width)
    assert labels(found, "rise", width) or narrow
    assert all(-1e-6 <= left < right <= width + 1e-6 for _, left, right in placed)
    for (row, left, right), (other_row, other_left, other_right) in combinations(placed, 2):
        assert row != other_row or right <= other_left + 1e-6 or other_right <= left + 1e-6
    start, end = found["extent"][["x", "x2"]].to_numpy()[0]
    for rule in [*found["rises"]["x"], *found["releases"]["x"]]:
        at = (rule - start) / (end - start) * width
        assert not any(left + 1e-6 < at < right - 1e-6 for _, left, right in placed)


def test_label_is_as_long_as_there_is_room_and_numbers_come_first() -> None:
    rows = Rows(200, [], 1)
    two = [Wanted(0.0, ["a very long text of an incident", "1 short", "1"]), Wanted(0.5, ["2 another long text", "2"])]
    assert [each and each.text for each in rows.place(two, left_first=False)] == ["1 short", "2"]
    assert rows.place([Wanted(0.2, ["3"])], left_first=False) == [None]


def test_text_of_a_stranger_is_one_line_on_the_chart() -> None:
    text = "a\n<b>\u202e{datum.x}\x1b[31m\t'\"\\u0000${1}"
    found = data(incidents=[replace(TWICE, text=text)])
    assert labels(found, "incident", 2000) == ["1 a <b> {datum.x} [31m '\"\\u0000${1}"]


# ---------- words ----------
def test_incidents_are_listed_with_their_numbers_times_and_limits() -> None:
    page = Page(detail_page.incidents(SHOWN, QUERY, Judged(incidents=(TWICE, LOST))))
    assert page.text == (
        "2 data incidents, not judged Fri 6 Oct 06:00 to 18:00 UTC Crash pings came twice "
        "Sun 8 Oct 02:00 to 05:00 UTC, Windows Main pings were lost"
    )
    assert [name for name, _ in page.elements].count("li") == 2
    assert "open" in page.elements[0][1]
    assert "open" not in Page(detail_page.incidents(SHOWN, QUERY, Judged(incidents=MANY))).elements[0][1]


def test_all_of_a_long_text_is_in_the_list() -> None:
    said = detail_page.incidents(SHOWN, QUERY, Judged(incidents=MANY))
    assert said.count(LONG) == sum(each.overlaps(SHOWN.since, SHOWN.until) for each in MANY) > 20
    assert said.startswith(tag("details", css="mc-incidents").removesuffix("</details>"))


def test_caption_and_text_alternative_say_that_incidents_are_marked() -> None:
    how = {"show": "rate", "time": "latest", "incidents": (TWICE, LOST)}
    assert "Upright grey bands: 2 data incidents, listed below." in charts.readout(SHOWN, **how)["quiet"]
    assert charts.summary(SHOWN, **how).endswith(
        "56.0 came out on Thu 5 Oct 13:00 UTC. The chart marks 2 data incidents, listed below it."
    )
    by_age = how | {"time": "since_release", "incidents": (TWICE,)}
    assert "Strips at the bottom: a data incident, listed below." in charts.readout(SHOWN, **by_age)["quiet"]
