"""One measure over time: its windows, lines and cut, and the files a visitor takes along."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from missioncontrol_nb.monitor import Detail, DetailRequest, Monitor
from missioncontrol_nb.monitor.detail import COLUMNS, _cut
from missioncontrol_nb.statistics import rate_interval
from streaming.errors import MissionControlError
from tests.unit.small_dataset import moment, monitor_of, write_delays

ROWS = """
    window    display_version  usage_hours  main_crashes
    02T10:00  55.0.3           100          1
    02T10:05  55.0.3           100          3
    03T10:10  55.0.3           200          2
    05T09:55  55.0.3           50           1
    05T10:00  56.0             10           1
    05T10:05  56.0             30           1
    05T11:00  56.0             50           0
    05T12:10  56.0             0            1
"""
NOW = "05T12:12"


def detail_of(monitor: Monitor, measure: str = "main_crashes", os_name: str = "Windows_NT", **choices: Any) -> Detail:
    found = monitor.detail("release", os_name, measure, DetailRequest(**choices))
    assert isinstance(found, Detail)
    return found


def cells(detail: Detail, *columns: str) -> list[tuple[object, ...]]:
    """Line, window and some columns of the windows, times as short text."""
    text = detail.windows.assign(window_start=detail.windows["window_start"].dt.strftime("%dT%H:%M"))
    return [tuple(row) for row in text[["line", "window_start", *columns]].itertuples(index=False)]


@pytest.fixture
def monitor(tmp_path: Path) -> Monitor:
    return monitor_of(tmp_path, ROWS, NOW)


def test_first_hours_of_each_line_can_be_left_out(monitor: Monitor) -> None:
    detail = detail_of(monitor, skip_hours=24)
    assert cells(detail, "age_hours") == [("55.0.3", "03T10:00", 24.0), ("55.0.3", "05T09:00", 71.0)]
    assert cells(detail_of(monitor, skip_hours=1.5), "age_hours")[0] == ("56.0", "05T12:00", 2.0)


def test_windows_of_an_hour_by_line_newest_first(monitor: Monitor) -> None:
    detail = detail_of(monitor)
    assert tuple(detail.windows.columns) == COLUMNS
    assert cells(detail, "events", "usage_hours", "age_hours") == [
        ("56.0", "05T10:00", 2, 40.0, 0.0),
        ("56.0", "05T11:00", 0, 50.0, 1.0),
        ("56.0", "05T12:00", 1, 0.0, 2.0),
        ("55.0.3", "02T10:00", 4, 200.0, 0.0),
        ("55.0.3", "03T10:00", 2, 200.0, 24.0),
        ("55.0.3", "05T09:00", 1, 50.0, 71.0),
    ]
    assert [(line.name, line.label, line.rank) for line in detail.lines] == [
        ("56.0", "56.0", 0),
        ("55.0.3",) * 2 + (1,),
    ]
    assert (detail.since, detail.until) == (moment("2017-09-28T12:00"), moment(NOW))


def test_rates_are_those_of_their_windows_and_none_without_usage(monitor: Monitor) -> None:
    windows = detail_of(monitor).windows
    np.testing.assert_allclose(windows["rate"], [50, 0, np.nan, 20, 10, 20])
    lower, upper = rate_interval(windows["events"], windows["usage_hours"])
    np.testing.assert_allclose(windows["lower"], lower)
    np.testing.assert_allclose(windows["upper"], upper)
    assert not np.isinf(windows[["rate", "lower", "upper"]]).any(axis=None)


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        ("5min", [("05T10:00", 1), ("05T10:05", 1), ("05T11:00", 0), ("05T12:10", 1)]),
        ("1h", [("05T10:00", 2), ("05T11:00", 0), ("05T12:00", 1)]),
        ("1d", [("05T00:00", 3)]),
    ],
)
def test_windows_are_as_long_as_asked_for(monitor: Monitor, every: str, expected: list[tuple[str, int]]) -> None:
    windows = cells(detail_of(monitor, every=every), "events")
    assert [(start, events) for line, start, events in windows if line == "56.0"] == expected


def test_interval_ends_now_and_begins_with_a_whole_hour(monitor: Monitor) -> None:
    detail = detail_of(monitor, length=timedelta(hours=2), every="5min")
    assert (detail.since, detail.until) == (moment("05T10:00"), moment(NOW))
    assert [line.name for line in detail.lines] == ["56.0"]


def test_custom_interval_holds_the_windows_that_start_in_it(monitor: Monitor) -> None:
    detail = detail_of(monitor, since=moment("03T00:00"), until=moment("05T11:00"))
    assert cells(detail) == [("56.0", "05T10:00"), ("55.0.3", "03T10:00"), ("55.0.3", "05T09:00")]
    assert (detail.since, detail.until) == (moment("03T00:00"), moment("05T11:00"))


def test_interval_without_a_ping_has_no_line(monitor: Monitor) -> None:
    detail = detail_of(monitor, since=moment("2017-09-01T00:00"), until=moment("2017-09-02T00:00"))
    assert detail.lines == ()
    assert tuple(detail.windows.columns) == COLUMNS
    assert detail.row.newest.events == 3


def test_interval_in_the_future_has_no_line(monitor: Monitor) -> None:
    detail = detail_of(monitor, since=moment("20T00:00"), until=moment("21T00:00"))
    assert detail.windows.empty


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"every": "2h"}, "2h"),
        ({"cut": 100}, "below 100"),
        ({"cut": -1}, "below 100"),
        ({"since": moment("02T00:00"), "until": moment("02T00:00")}, "after since"),
    ],
)
def test_request_that_makes_no_sense_is_refused(choices: dict[str, Any], said: str) -> None:
    with pytest.raises(MissionControlError, match=said):
        DetailRequest(**choices)


# ---------- since each release ----------
def test_since_release_shows_every_line_up_to_the_newest_ones_age(monitor: Monitor) -> None:
    """56.0 is 2 h 12 min old: of 55.0.3 the windows from 02T10:00 until before 02T12:15."""
    detail = detail_of(monitor, time="since_release", every="5min")
    assert cells(detail, "age_hours") == [
        ("56.0", "05T10:00", 0.0),
        ("56.0", "05T10:05", pytest.approx(1 / 12)),
        ("56.0", "05T11:00", 1.0),
        ("56.0", "05T12:10", pytest.approx(2 + 1 / 6)),
        ("55.0.3", "02T10:00", 0.0),
        ("55.0.3", "02T10:05", pytest.approx(1 / 12)),
    ]


def test_since_release_is_no_longer_than_the_interval(monitor: Monitor) -> None:
    detail = detail_of(monitor, time="since_release", every="5min", since=moment("05T00:00"), until=moment("05T01:00"))
    assert cells(detail) == [
        ("56.0", "05T10:00"),
        ("56.0", "05T10:05"),
        ("55.0.3", "02T10:00"),
        ("55.0.3", "02T10:05"),
    ]


def test_versions_beyond_the_third_have_lines_too(tmp_path: Path) -> None:
    rows = """
        window            display_version  usage_hours
        2017-09-20T10:00  54.0             10
        2017-09-25T10:00  55.0             10
        02T10:00          55.0.3           10
        05T10:00          56.0             10
    """
    detail = detail_of(monitor_of(tmp_path, rows, "05T11:00"), length=timedelta(days=20))
    assert [(line.name, line.rank) for line in detail.lines] == [("56.0", 0), ("55.0.3", 1), ("55.0", 2), ("54.0", 3)]


def test_line_keeps_its_rank_where_a_newer_one_has_no_ping(tmp_path: Path) -> None:
    rows = """
        window            display_version  os_name     usage_hours
        2017-09-25T10:00  55.0             Linux       10
        02T10:00          55.0.3           Windows_NT  10
        05T10:00          56.0             Linux       10
    """
    detail = detail_of(monitor_of(tmp_path, rows, "05T11:00"), os_name="Linux", length=timedelta(days=20))
    assert [(line.name, line.rank) for line in detail.lines] == [("56.0", 0), ("55.0", 2)]


def test_line_keeps_its_rank_in_every_interval(tmp_path: Path) -> None:
    rows = """
        window    display_version  usage_hours
        02T10:00  55.0.3           10
        05T10:00  56.0             10
    """
    monitor = monitor_of(tmp_path, rows, "05T11:00")
    for until, names in ((None, ["56.0", "55.0.3"]), ("2017-10-03", ["55.0.3"])):
        request = DetailRequest(since="2017-10-01", until=until)
        lines = monitor.detail("release", "Windows_NT", "main_crashes", request).lines
        assert {line.name: line.rank for line in lines} == {name: ["56.0", "55.0.3"].index(name) for name in names}


# ---------- builds ----------
BUILDS = """
    window    display_version  build_id        version  usage_hours  main_crashes
    02T10:00  55.0.3           20171001120000  55.0     100          1
    05T10:00  56.0             20171003080000  56.0     10           2
    05T11:10  56.0             20171004120000  56.0     20           3
    05T11:10  56.0             20171012120000  56.0     40           9
"""


def test_line_for_each_build_newest_version_and_build_first(tmp_path: Path) -> None:
    detail = detail_of(monitor_of(tmp_path, BUILDS, NOW), line="build")
    assert [(line.name, line.label, line.rank, line.released) for line in detail.lines] == [
        ("20171004120000", "56.0, 4 Oct 12:00", 0, moment("05T11:00")),
        ("20171003080000", "56.0, 3 Oct 08:00", 1, moment("05T10:00")),
        ("20171001120000", "55.0.3, 1 Oct 12:00", 2, moment("02T10:00")),
    ]
    assert cells(detail, "events", "age_hours") == [
        ("20171004120000", "05T11:00", 3, 0.0),
        ("20171003080000", "05T10:00", 2, 0.0),
        ("20171001120000", "02T10:00", 1, 0.0),
    ]


def test_unofficial_builds_have_lines_when_all_builds_are_asked_for(tmp_path: Path) -> None:
    detail = detail_of(monitor_of(tmp_path, BUILDS, NOW, official=False), line="build")
    assert detail.lines[0].name == "20171012120000"


def test_no_more_than_six_builds_have_lines(tmp_path: Path) -> None:
    lines = [f"05T10:00 56.0 201710040{hour}0000 10" for hour in range(8)]
    rows = "\n".join(["window display_version build_id usage_hours", *lines])
    detail = detail_of(monitor_of(tmp_path, rows, NOW), line="build")
    assert [line.name[8:10] for line in detail.lines] == ["07", "06", "05", "04", "03", "02"]


def test_build_that_says_two_versions_has_one_line(tmp_path: Path) -> None:
    """A dimension of the dataset is what a ping says; nothing makes one build say one version."""
    rows = """
        window    display_version  version  build_id        usage_hours
        05T10:00  56.0             56.0     20171004120000  10
        05T10:00  56.0             56.0.1   20171004120000  5
    """
    detail = detail_of(monitor_of(tmp_path, rows, NOW), line="build")
    assert [line.name for line in detail.lines] == ["20171004120000"]
    assert cells(detail, "usage_hours") == [("20171004120000", "05T10:00", 15.0)]


def test_builds_since_their_release(tmp_path: Path) -> None:
    detail = detail_of(monitor_of(tmp_path, BUILDS, NOW), line="build", time="since_release", every="5min")
    assert cells(detail, "age_hours") == [
        ("20171004120000", "05T11:10", pytest.approx(1 / 6)),
        ("20171003080000", "05T10:00", 0.0),
        ("20171001120000", "02T10:00", 0.0),
    ]


# ---------- what still arrives ----------
def test_windows_say_what_has_arrived_and_whether_they_are_complete(tmp_path: Path) -> None:
    """Half of the usage comes within the hour, the rest in the second; now is 12:12. Between the buckets' edges the law
    of delays is a smooth curve."""
    write_delays(
        tmp_path,
        """
        submission_hour  delay_hours  usage_hours
        04T10:00         0.25         10
        04T10:00         0.5          10
        04T10:00         1.0          20
        04T10:00         2.0          40
        """,
    )
    windows = detail_of(monitor_of(tmp_path, ROWS, NOW), length=timedelta(hours=4)).windows
    newest = windows[windows["line"] == "56.0"]
    assert newest["complete"].tolist() == [True, False, False]
    np.testing.assert_allclose(newest["arrived"], [0.88, 0.351, 0.01], rtol=2e-3)


def test_without_delays_only_what_is_not_over_is_incomplete(monitor: Monitor) -> None:
    windows = detail_of(monitor).windows
    assert windows["arrived"].isna().all()
    assert windows["complete"].tolist() == [True, True, False, True, True, True]


# ---------- the cut ----------
def windows_of(rates: dict[str, list[float | None]], complete: bool = True) -> pd.DataFrame:
    """Windows with these rates by line; the usage says which is busy."""
    rows = [(line, rate, complete) for line, rates_of_line in rates.items() for rate in rates_of_line]
    frame = pd.DataFrame(rows, columns=["line", "rate", "complete"])
    frame["rate"] = frame["rate"].astype(float)
    return frame.assign(lower=frame["rate"] / 2, upper=frame["rate"] * 2, usage_hours=np.arange(len(frame)) + 1.0)


def kept(windows: pd.DataFrame, percent: float, line: str = "a") -> list[float]:
    after, _ = _cut(windows, percent)
    return after.loc[(after["line"] == line) & after["rate"].notna(), "rate"].tolist()


def test_cut_leaves_out_the_highest_rates_of_each_line() -> None:
    windows = windows_of({"a": [float(number) for number in range(1, 21)], "b": [500.0] + [400.0] * 19})
    after, left_out = _cut(windows, 5)
    assert left_out == 2
    assert kept(windows, 5, "a") == [float(number) for number in range(1, 20)]
    assert kept(windows, 5, "b") == [400.0] * 19
    assert after["usage_hours"].tolist() == windows["usage_hours"].tolist()
    assert after.loc[after["rate"].isna(), ["lower", "upper"]].isna().all(axis=None)


@pytest.mark.parametrize("rates", [[7.0], [0.0] * 300, [0.0] * 99 + [3.0] * 201, [None, 4.0, None], [1.0, 2.0]])
@pytest.mark.parametrize("percent", [1, 5, 50, 99.9])
def test_cut_never_empties_a_line(rates: list[float | None], percent: float) -> None:
    assert kept(windows_of({"a": rates}), percent)


def test_cut_keeps_rates_equal_to_the_highest_kept() -> None:
    assert kept(windows_of({"a": [1.0] + [3.0] * 19}), 5) == [1.0] + [3.0] * 19


def test_cut_takes_outlying_rates_and_not_busy_windows(tmp_path: Path) -> None:
    quiet = "\n".join(f"05T{hour:02}:00 1 {int(hour == 3)}" for hour in range(19))
    monitor = monitor_of(tmp_path, f"window usage_hours main_crashes\n{quiet}\n05T20:00 100000 900", "05T22:00")
    detail = detail_of(monitor, cut=5)
    assert detail.left_out == 1
    assert detail.windows["rate"].isna().tolist() == [hour == 3 for hour in range(20)]
    assert detail.windows["events"].tolist()[-1] == 900


def test_cut_leaves_incomplete_windows_alone() -> None:
    windows = windows_of({"a": [1.0] * 19 + [9.0]})
    windows.loc[19, "complete"] = False
    assert kept(windows, 5) == [1.0] * 19 + [9.0]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.floats(0, 99.99))
def test_cut_leaves_out_no_more_than_its_percentage(rates: list[float], percent: float) -> None:
    left = kept(windows_of({"a": list(rates)}), percent)
    assert len(rates) - len(left) <= len(rates) * percent / 100
    assert min(left) == min(rates)


def test_measure_that_is_not_reported_has_no_windows_rather_than_zeros(tmp_path: Path) -> None:
    rows = "window os_name usage_hours main_crashes\n05T10:00 Android 100 3"
    monitor = monitor_of(tmp_path, rows, NOW)
    detail = detail_of(monitor, "content_crashes", "Android")
    assert detail.row.state == "not_reported"
    assert (detail.lines, len(detail.windows)) == ((), 0)
    assert tuple(detail.windows.columns) == COLUMNS
    assert detail_of(monitor, "main_crashes", "Android").windows["events"].tolist() == [3]


COUNTRIES = """
    window    display_version  country  usage_hours  main_crashes
    02T10:00  55.0.3           DE       1000         90
    05T10:00  56.0             DE       300          3
    05T10:00  56.0             US       800          40
    05T10:00  56.0             FR       100          1
    05T11:00  56.0             DE       300          5
"""


def test_lines_can_be_the_values_of_a_dimension_with_the_most_usage(tmp_path: Path) -> None:
    detail = detail_of(monitor_of(tmp_path, COUNTRIES, NOW), line="country")
    assert detail.line == "country"
    assert [(line.name, line.rank) for line in detail.lines] == [("US", 0), ("DE", 1), ("FR", 2)]
    assert {line.released for line in detail.lines} == {detail.newest.released}
    assert cells(detail, "events", "usage_hours") == [
        ("US", "05T10:00", 40, 800.0),
        ("DE", "05T10:00", 3, 300.0),
        ("DE", "05T11:00", 5, 300.0),
        ("FR", "05T10:00", 1, 100.0),
    ]
    since = detail_of(monitor_of(tmp_path / "again", COUNTRIES, NOW), line="country", time="since_release")
    assert since.windows["age_hours"].tolist() == [0, 0, 1, 0]


def test_line_that_is_no_dimension_of_people_is_refused() -> None:
    with pytest.raises(MissionControlError, match="country"):
        DetailRequest(line="contry")
    with pytest.raises(MissionControlError, match="channel"):
        DetailRequest(line="channel")
