"""What the monitor says of a small dataset, figure by figure."""

import math
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.monitor import ChannelTable, DetailRequest, Monitor, NoRelease, Version
from missioncontrol_nb.releases.calendar import Calendar, Release
from missioncontrol_nb.statistics import change
from streaming import contract
from streaming.errors import MissionControlError
from tests.unit.small_dataset import CALENDAR, DISTRIBUTION_BUILD, moment, monitor_of, write, write_delays

SAME_AGE = """
    window    display_version  usage_hours  main_crashes
    02T10:00  55.0.3           200          2
    02T11:10  55.0.3           100          1
    02T11:15  55.0.3           1000         99
    03T10:00  55.0.3           1000         99
    05T13:00  56.0             100          3
    05T14:10  56.0             50           1
"""


def table_of(monitor: Monitor, os_name: str = "Windows_NT", **options: Any) -> ChannelTable:
    table = monitor.table("release", os_name, **options)
    assert isinstance(table, ChannelTable)
    return table


def main_crashes(table: ChannelTable):
    return table.rows[contract.MEASURE_NAMES.index("main_crashes")]


# ---------- versions and their release ----------
def test_version_is_out_from_the_hour_of_its_first_ping_on_its_day(tmp_path: Path) -> None:
    table = table_of(monitor_of(tmp_path, SAME_AGE, "05T14:12"))
    assert table.newest == Version("56.0", moment("05T13:00"))
    assert table.previous == Version("55.0.3", moment("02T10:00"))
    assert table.now == table.data_up_to == moment("05T14:12")


def test_pings_from_before_the_day_do_not_make_the_release_earlier(tmp_path: Path) -> None:
    rows = """
        window    display_version  usage_hours  main_crashes
        04T22:00  56.0             7            7
        05T09:00  56.0             100          1
    """
    table = table_of(monitor_of(tmp_path, rows, "05T09:30"))
    assert table.newest.released == moment("05T09:00")
    assert main_crashes(table).newest.events == 1


def test_version_only_seen_before_its_day_is_not_out(tmp_path: Path) -> None:
    rows = "window display_version usage_hours\n02T10:00 55.0.3 1\n04T22:00 56.0 7"
    assert table_of(monitor_of(tmp_path, rows, "04T22:30")).newest.version == "55.0.3"


def test_version_is_out_from_midnight_where_the_dataset_begins_later(tmp_path: Path) -> None:
    late = "window display_version usage_hours\n06T11:00 56.0 1\n07T09:00 56.0 1"
    assert table_of(monitor_of(tmp_path / "35h", late, "07T10:00")).newest.released == moment("06T11:00")
    later = "window display_version usage_hours\n06T13:00 56.0 1"
    assert table_of(monitor_of(tmp_path / "37h", later, "07T10:00")).newest.released == moment("05T00:00")


def test_version_whose_first_hours_the_dataset_lacks_is_not_compared_with(tmp_path: Path) -> None:
    rows = """
        window    display_version  usage_hours  main_crashes
        04T10:00  55.0.3           200          2
        05T13:00  56.0             100          3
    """
    table = table_of(monitor_of(tmp_path, rows, "05T14:00"))
    assert (table.newest.version, table.previous, table.older) == ("56.0", None, ())
    assert main_crashes(table).change is None
    assert main_crashes(table).newest.events == 3


def test_version_that_the_calendar_lacks_counts_from_the_hour_in_which_it_has_one_percent_of_the_usage(
    tmp_path: Path,
) -> None:
    rows = """
        window    display_version  build_id        os_name     usage_hours  main_crashes
        05T13:00  56.0             20171004120000  Windows_NT  1000         2
        07T08:15  56.0             20171004120000  Windows_NT  9901         2
        07T08:15  56.0.1           20171006120000  Windows_NT  99           1
        07T09:15  56.0             20171004120000  Windows_NT  4900         2
        07T09:15  56.0             20171112120000  Linux       5000         2
        07T09:15  56.0.1           20171006120000  Windows_NT  70           2
        07T09:20  56.0.1           20170101120000  Windows_NT  30           4
        07T10:15  56.0             20171004120000  Windows_NT  9990         2
        07T10:15  56.0.1           20171006120000  Windows_NT  10           8
    """
    for official in (True, False):
        monitor = monitor_of(tmp_path / str(official), rows, "07T10:30", official=official)
        table = table_of(monitor)
        assert table.newest == Version("56.0.1", moment("07T09:00"), date(2017, 10, 5))
        assert table.previous is not None
        assert (table.previous.version, table.previous.not_listed_on) == ("56.0", None)
        assert (main_crashes(table).newest.events, main_crashes(table).newest.usage_hours) == (14, 110)
        assert monitor.overview().channels[0].newest == table.newest
        builds = monitor.detail("release", "Windows_NT", "main_crashes", DetailRequest(line="build"))
        assert [(line.name, line.not_listed_on) for line in builds.lines[:2]] == [
            ("20171006120000", date(2017, 10, 5)),
            ("20170101120000", date(2017, 10, 5)),
        ]
        by_hour = monitor.detail("release", "Windows_NT", "main_crashes", DetailRequest()).windows
        counted = by_hour[by_hour["line"] == "56.0.1"]
        assert list(counted["events"]) == [1, 6, 8]


def test_pings_of_a_version_that_the_calendar_lacks_count_only_where_it_is_used(tmp_path: Path) -> None:
    rows = """
        window    display_version  build_id        usage_hours
        07T08:00  56.0             20171004120000  5000
        07T08:00  57.0.9           20171006120000  49
        07T12:00  57.0.9           20171006120000  4
    """
    assert table_of(monitor_of(tmp_path, rows, "07T12:30")).newest.version == "56.0"


# Versions of which hours are reported late: a client says at once that it is used, and for how long at the end.
LATE = """
    window    display_version  build_id        usage_hours  main_pings  glean_baseline_pings
    07T08:00  56.0             20171004120000  5000         5000        9000
    07T09:00  56.0             20171004120000  5000         5000        9000
    07T09:00  57.0.9           20171006120000  1            2           80
    07T10:00  56.0             20171004120000  1000         1000        1790
    07T10:00  57.0.9           20171006120000  2            4           20
"""


def test_version_counts_from_the_hour_in_which_it_had_one_percent_of_baseline_pings(tmp_path: Path) -> None:
    newest = table_of(monitor_of(tmp_path, LATE, "07T10:14")).newest
    assert newest == Version("57.0.9", moment("07T10:00"), date(2017, 10, 5))


@pytest.mark.parametrize(
    ("said", "instead"),
    [
        ("1790", "1990"),  # less than 1 %
        ("1000        1790", "600         790 "),  # less than a tenth of the busiest hour
        ("4           20", "4           9 "),  # so few can be of one client
        ("1000        1790", "9000        1790"),  # few clients send baseline pings
    ],
)
def test_a_few_baseline_pings_make_no_version_the_newest(tmp_path: Path, said: str, instead: str) -> None:
    rows = LATE.replace(said, instead)
    assert rows != LATE
    assert table_of(monitor_of(tmp_path, rows, "07T10:14")).newest.version == "56.0"


def test_version_is_shown_in_the_hour_that_has_just_begun(tmp_path: Path) -> None:
    rows = """
        window    display_version  build_id        usage_hours
        07T09:00  56.0             20171004120000  5000
        07T10:00  56.0             20171004120000  590
        07T10:00  57.0.9           20171006120000  6
    """
    assert table_of(monitor_of(tmp_path, rows, "07T10:08")).newest.version == "57.0.9"


def test_one_ping_in_an_hour_that_has_just_begun_makes_no_version_the_newest(tmp_path: Path) -> None:
    rows = """
        window    display_version  build_id        usage_hours
        07T08:00  56.0             20171004120000  5000
        07T09:00  56.0             20171004120000  5000
        07T10:00  56.0             20171004120000  20
        07T10:00  57.0.9           20171006120000  4
    """
    monitor = monitor_of(tmp_path, rows, "07T10:01")
    assert table_of(monitor).newest.version == "56.0"
    write(tmp_path, "window display_version build_id usage_hours\n07T10:00 56.0 20171004120000 600", "07T10:10")
    monitor.refresh()
    assert table_of(monitor).newest.version == "56.0"


def test_version_that_the_calendar_lacks_is_shown_in_the_only_hour_of_its_channel(tmp_path: Path) -> None:
    rows = "window display_version build_id usage_hours\n07T10:00 57.0.9 20171006120000 4"
    assert table_of(monitor_of(tmp_path, rows, "07T10:01")).newest.version == "57.0.9"


def test_calendar_that_ended_long_ago_leaves_no_page_empty(tmp_path: Path) -> None:
    rows = """
        window            display_version  build_id        usage_hours
        2026-11-20T08:00  144.0            20261110120000  50
        2026-11-20T08:00  145.0            20261118120000  0.4
        2026-11-20T09:00  144.0            20261110120000  50
        2026-11-20T09:00  145.0            20261118120000  2
        2026-11-20T10:00  144.0            20261110120000  1
    """
    table = table_of(monitor_of(tmp_path, rows, "2026-11-20T10:01"))
    assert table.newest == Version("145.0", moment("2026-11-20T09:00"), date(2017, 10, 5))
    assert table.previous == Version("144.0", moment("2026-11-20T08:00"), date(2017, 10, 5))


def test_what_is_no_version_is_never_shown(tmp_path: Path) -> None:
    rows = """
        window    display_version                usage_hours
        07T08:00  56.0                           1
        07T08:00  <script>alert(1)</script>      500
        07T08:00  99.0\u202e                     500
        07T08:00  1e9                            500
    """
    for official in (True, False):
        monitor = monitor_of(tmp_path / str(official), rows, "07T08:30", official=official)
        assert [each.version for each in (table_of(monitor).newest, *table_of(monitor).older)] == ["56.0"]
        lines = monitor.detail("release", "Windows_NT", "main_crashes", DetailRequest()).lines
        assert [line.name for line in lines] == ["56.0"]


def test_pings_of_those_who_had_a_version_before_it_was_out_do_not_make_it_older(tmp_path: Path) -> None:
    rows = """
        window    display_version  count
        05T00:10  56.0             1
        05T13:00  56.0             15
        05T14:00  56.0             40
    """
    assert table_of(monitor_of(tmp_path, rows, "05T14:30")).newest.released == moment("05T13:00")


def test_ping_whose_clock_is_ahead_waits_for_its_time(tmp_path: Path) -> None:
    ahead = "\n05T17:00 56.0 1 40\n30T10:00 56.0 1 40\n30T10:00 55.0.3 1 40"
    table = table_of(monitor_of(tmp_path, SAME_AGE + ahead.strip(), "05T14:12"))
    assert table.now == moment("05T14:12")
    assert main_crashes(table).newest.events == 4
    assert table.adoption == 1.0


def test_version_that_went_out_later_than_the_newest_is_not_compared_with(tmp_path: Path) -> None:
    days = {"56.0": date(2017, 10, 5), "55.0.4": date(2017, 10, 6)}
    calendar = Calendar(tuple(Release(version, "release", day) for version, day in days.items()))
    rows = """
        window    display_version  build_id        usage_hours
        05T13:00  56.0             20171004120000  10
        06T13:00  55.0.4           20171004120000  10
    """
    table = table_of(monitor_of(tmp_path, rows, "06T14:00", calendar=calendar))
    assert (table.newest.version, table.previous) == ("56.0", None)


def test_unofficial_builds_count_only_when_all_builds_are_asked_for(tmp_path: Path) -> None:
    rows = f"""
        window    display_version  build_id              usage_hours  main_crashes
        05T13:00  56.0             20171004120000        100          1
        05T13:00  56.0             {DISTRIBUTION_BUILD}  900          9
    """
    official = monitor_of(tmp_path, rows, "05T13:10")
    everything = Monitor(official.dataset, CALENDAR, official=False)
    assert main_crashes(table_of(official)).newest.events == 1
    assert main_crashes(table_of(everything)).newest.events == 10


@pytest.mark.parametrize(("channel", "order"), [("nightly", ["100.0", "99.0"]), ("beta", ["57.0b10", "57.0b9"])])
def test_versions_sort_by_their_numbers(tmp_path: Path, channel: str, order: list[str]) -> None:
    nightlies = [replace(each, version=f"{each.version}a1") for each in CALENDAR.on("nightly")]
    calendar = Calendar((*CALENDAR.on("beta"), *nightlies))
    order = [f"{version}a1" if channel == "nightly" else version for version in order]
    rows = f"""
        window    channel    display_version  build_id        usage_hours
        02T10:00  {channel}  {order[1]}       20171001120000  1
        05T10:00  {channel}  {order[0]}       20171004120000  1
    """
    summary = monitor_of(tmp_path, rows, "05T12:00", calendar=calendar).overview().channels[0]
    assert [summary.newest.version, summary.previous and summary.previous.version] == order


def test_versions_below_the_previous_one_are_the_older_ones(tmp_path: Path) -> None:
    rows = """
        window            display_version  usage_hours  main_crashes
        2017-09-20T10:00  54.0             10           1
        2017-09-20T12:00  54.0             10           50
        2017-09-25T10:00  55.0             10           2
        02T10:00          55.0.3           10           3
        05T10:00          56.0             10           4
    """
    table = table_of(monitor_of(tmp_path, rows, "05T11:00"))
    assert [version.version for version in table.older] == ["55.0", "54.0"]
    assert {name: rate.events for name, rate in main_crashes(table).older.items()} == {"55.0": 2, "54.0": 1}


# ---------- two versions at the same age ----------
def test_previous_version_is_summed_until_it_was_as_old_as_the_newest_is(tmp_path: Path) -> None:
    """56.0 went out at 13:00; at 14:12 it is in its 15th window, 55.0.3 was that from 11:10 to 11:15."""
    row = main_crashes(table_of(monitor_of(tmp_path, SAME_AGE, "05T14:12")))
    assert row.newest is not None
    assert row.previous is not None
    assert (row.newest.events, row.newest.usage_hours) == (4, 150.0)
    assert (row.previous.events, row.previous.usage_hours) == (3, 300.0)
    assert row.newest.value == pytest.approx(1000 * 4 / 150)


@pytest.mark.parametrize(
    ("data_up_to", "hours"),
    [("05T14:09:59", 200), ("05T14:10:00", 300), ("05T14:14:59", 300), ("05T14:15:00", 1300)],
)
def test_same_age_is_exact_to_the_window(tmp_path: Path, data_up_to: str, hours: float) -> None:
    row = main_crashes(table_of(monitor_of(tmp_path, SAME_AGE, data_up_to)))
    assert row.previous.usage_hours == hours


def test_part_of_an_hour_follows_new_data(tmp_path: Path) -> None:
    monitor = monitor_of(tmp_path, SAME_AGE, "05T14:12")
    assert main_crashes(table_of(monitor)).previous.usage_hours == 300
    write(tmp_path, "window display_version usage_hours\n02T11:05 55.0.3 7", "05T14:12:30")
    assert monitor.refresh()
    assert main_crashes(table_of(monitor)).previous.usage_hours == 307


def test_change_and_its_interval_are_those_of_the_rates(tmp_path: Path) -> None:
    row = main_crashes(table_of(monitor_of(tmp_path, SAME_AGE, "05T14:12")))
    value, lower, upper = map(float, change(4, 150, 3, 300))
    assert (row.change.value, row.change.lower, row.change.upper) == (value, lower, upper)
    assert value == pytest.approx(4 / 150 / (3 / 300) - 1)


def test_last_24_hours_of_both_versions_are_at_the_same_age(tmp_path: Path) -> None:
    """At 12:30 of the second day the newest is 25.5 h old: its last day begins an hour after its release."""
    rows = """
        window    display_version  usage_hours  main_crashes
        02T10:55  55.0.3           1            50
        02T11:00  55.0.3           10           1
        03T11:25  55.0.3           20           2
        03T11:35  55.0.3           1            50
        05T11:55  56.0             1            50
        05T12:00  56.0             30           3
        06T12:30  56.0             40           4
    """
    monitor = monitor_of(tmp_path, rows, "06T12:30")
    table = table_of(monitor, period="last_24h")
    assert table.newest.released == moment("05T11:00")
    row = main_crashes(table)
    assert (row.newest.events, row.newest.usage_hours) == (7, 70.0)
    assert (row.previous.events, row.previous.usage_hours) == (3, 30.0)
    since_release = main_crashes(table_of(monitor))
    assert (since_release.newest.events, since_release.last_24h.events) == (57, 7)


def test_last_24_hours_begin_at_the_release_of_a_younger_version(tmp_path: Path) -> None:
    row = main_crashes(table_of(monitor_of(tmp_path, SAME_AGE, "05T14:12"), period="last_24h"))
    assert (row.newest.events, row.previous.events) == (4, 3)


# ---------- states ----------
def test_change_that_is_known_badly_is_too_little_usage(tmp_path: Path) -> None:
    def state(newest: int, previous: int, name: str) -> str:
        rows = f"""
            window    display_version  usage_hours  main_crashes
            02T10:00  55.0.3           1000         {previous}
            05T13:00  56.0             1000         {newest}
        """
        return main_crashes(table_of(monitor_of(tmp_path / name, rows, "05T13:59"))).state

    assert state(100, 100, "alike") == "measured"
    assert state(10, 10, "few") == "too_little_usage"
    assert state(30, 3, "clear") == "measured"
    assert state(0, 0, "nothing") == "too_little_usage"
    assert state(30, 0, "rise from nothing") == "measured"


def test_rise_from_nothing_has_a_lower_limit_only(tmp_path: Path) -> None:
    rows = "window display_version usage_hours main_crashes\n02T10:00 55.0.3 1000 0\n05T13:00 56.0 1000 30"
    moved = main_crashes(table_of(monitor_of(tmp_path, rows, "05T13:59"))).change
    assert math.isnan(moved.value)
    assert moved.lower > 0
    assert moved.upper == math.inf


def test_no_usage_is_no_rate_and_not_a_rate_of_zero(tmp_path: Path) -> None:
    rows = "window display_version usage_hours main_crashes\n02T10:00 55.0.3 1000 5\n05T13:00 56.0 0 1"
    row = main_crashes(table_of(monitor_of(tmp_path, rows, "05T13:59")))
    assert (row.state, row.change) == ("too_little_usage", None)
    assert math.isnan(row.newest.value)
    assert row.newest.events == 1


def test_android_has_no_content_crashes_and_nothing_of_main_pings(tmp_path: Path) -> None:
    rows = "window os_name usage_hours main_crashes\n05T13:00 Android 1000 30"
    table = table_of(monitor_of(tmp_path, rows, "05T13:59"), "Android")
    measured = {row.measure for row in table.rows if row.state != "not_reported"}
    assert measured == {"main_crashes", "startup_crashes"}
    assert all(row.newest is None for row in table.rows if row.measure not in measured)


def test_measure_that_the_dataset_lacks_is_not_reported(tmp_path: Path) -> None:
    """A dataset made before a measure was declared has no column of it."""
    write(tmp_path, SAME_AGE, "05T14:12")
    path = str(tmp_path / contract.ERROR_AGGREGATES.name)
    rows = DeltaTable(path).to_pyarrow_table().drop_columns(["gpu_crashes"])
    older = tmp_path / "older"
    older.mkdir()
    from deltalake import CommitProperties, write_deltalake

    up_to = CommitProperties(custom_metadata={contract.DATA_UP_TO: "2017-10-05T14:12:00+00:00"})
    write_deltalake(
        str(older / contract.ERROR_AGGREGATES.name), rows, partition_by=["submission_date"], commit_properties=up_to
    )
    monitor = Monitor(Dataset(older), CALENDAR)
    table = table_of(monitor)
    of_glean = {measure.name for measure in contract.MEASURES if measure.kinds == ("glean/crash",)}
    assert {row.measure for row in table.rows if row.state == "not_reported"} == {"gpu_crashes", *of_glean}
    assert main_crashes(table).newest.events == 4
    assert monitor.overview().channels[0].newest.version == "56.0"
    assert monitor.detail("release", "Windows_NT", "gpu_crashes").windows.empty


# ---------- adoption, completeness ----------
def test_adoption_is_the_share_of_usage_of_the_last_24_hours(tmp_path: Path) -> None:
    rows = """
        window    display_version  os_name     usage_hours
        04T11:55  55.0.3           Windows_NT  5000
        04T12:00  55.0.3           Windows_NT  60
        05T09:00  56.0             Windows_NT  30
        05T12:30  56.0             Windows_NT  10
        05T12:30  56.0             Linux       700
    """
    monitor = monitor_of(tmp_path, rows, "05T12:31")
    assert table_of(monitor).adoption == 0.4
    assert [platform.adoption for platform in monitor.overview().channels[0].platforms] == [0.4, 1.0]


DELAYS = """
    submission_hour  delay_hours  usage_hours
    04T10:00         0.25         10
    04T10:00         0.5          10
    04T10:00         1.0          20
    04T10:00         2.0          40
    2017-09-20T10:00 168.0        999
"""


def test_newest_three_hours_say_how_much_of_their_usage_has_arrived(tmp_path: Path) -> None:
    """Half comes within an hour, evenly, the rest in the second, most of it early.

    Delays of more than two weeks ago do not count.
    """
    write_delays(tmp_path, DELAYS)
    table = table_of(monitor_of(tmp_path, SAME_AGE, "05T14:00"))
    hours, shares = zip(*table.completeness, strict=True)
    assert hours == (moment("05T12:00"), moment("05T13:00"), moment("05T14:00"))
    assert shares == pytest.approx((0.79, 0.25, 0.0), abs=0.002)


def test_delays_in_buckets_of_another_version_are_not_known(tmp_path: Path) -> None:
    write_delays(tmp_path, DELAYS + "    04T10:00         3.5          500\n")
    table = table_of(monitor_of(tmp_path, SAME_AGE, "05T14:00"))
    assert [share for _, share in table.completeness] == pytest.approx([0.79, 0.25, 0.0], abs=0.002)
    write_delays(tmp_path / "all", "submission_hour delay_hours usage_hours\n04T10:00 3.5 500")
    assert table_of(monitor_of(tmp_path / "all", SAME_AGE, "05T14:00")).completeness == ()


def test_completeness_is_of_the_platform(tmp_path: Path) -> None:
    write_delays(tmp_path, DELAYS)
    rows = "window os_name usage_hours\n05T13:00 Linux 1\n05T13:00 Windows_NT 1"
    by_name = {each.os_name: each for each in monitor_of(tmp_path, rows, "05T14:00").overview().channels[0].platforms}
    assert len(by_name["Windows_NT"].completeness) == 3
    assert by_name["Linux"].completeness == ()


def test_dataset_without_delays_says_nothing_of_completeness(tmp_path: Path) -> None:
    table = table_of(monitor_of(tmp_path, SAME_AGE, "05T14:12"))
    assert table.completeness == ()
    assert main_crashes(table).spark.incomplete == 1


def test_delays_that_come_after_the_first_look_are_taken_up(tmp_path: Path) -> None:
    monitor = monitor_of(tmp_path, SAME_AGE, "05T14:12")
    assert table_of(monitor).completeness == ()
    write_delays(tmp_path, DELAYS)
    write(tmp_path, "window display_version usage_hours\n05T14:10 56.0 1", "05T14:13")
    monitor.refresh()
    assert len(table_of(monitor).completeness) == 3


# ---------- sparks ----------
SPARK = """
    window    display_version  usage_hours  main_crashes
    02T10:00  55.0.3           100          1
    02T12:00  55.0.3           100          3
    05T13:00  56.0             100          2
    05T14:00  56.0             0            1
    05T15:00  56.0             50           1
    05T16:00  56.0             50           1
"""


def test_spark_has_a_rate_an_hour_and_none_without_usage(tmp_path: Path) -> None:
    spark = main_crashes(table_of(monitor_of(tmp_path, SPARK, "05T16:30"))).spark
    assert spark.newest == (20.0, None, 20.0, 20.0)
    assert spark.previous == (10.0, None, 30.0, None)


def test_spark_says_how_many_of_its_last_steps_still_arrive(tmp_path: Path) -> None:
    """At 16:30: the hour at hand; of the one before 0.5 has arrived (use of 0.5 to 1.5 h ago); before that 0.9."""
    write_delays(tmp_path, DELAYS)
    spark = main_crashes(table_of(monitor_of(tmp_path, SPARK, "05T16:30"))).spark
    assert spark.incomplete == 2


def test_spark_of_a_long_life_has_steps_of_several_hours(tmp_path: Path) -> None:
    rows = """
        window    display_version  usage_hours  main_crashes
        02T10:00  55.0.3           100          1
        05T13:00  56.0             100          2
        06T11:00  56.0             100          4
    """
    spark = main_crashes(table_of(monitor_of(tmp_path, rows, "06T12:59"))).spark
    assert spark.newest == (20.0, None, None, None, None, None, None, 40.0)  # 24 h in 8 steps of 3 h


# ---------- the score ----------
def test_other_mix_of_platforms_with_equal_rates_is_no_change(tmp_path: Path) -> None:
    """Simpson's trap: 1 % crash on Windows, 10 % on Linux, in both versions; the newest reached Linux first."""
    rows = """
        window    display_version  os_name     usage_hours  main_crashes  content_crashes
        02T10:00  55.0.3           Windows_NT  9000         60            30
        02T10:00  55.0.3           Linux       1000         60            40
        05T13:00  56.0             Windows_NT  1000         6             4
        05T13:00  56.0             Linux       9000         500           400
    """
    summary = monitor_of(tmp_path, rows, "05T13:59").overview().channels[0]
    assert summary.score_previous.value == pytest.approx(0.9 * 10 + 0.1 * 100)
    assert summary.score.value == pytest.approx(0.9 * 10 + 0.1 * 100)
    assert summary.score_change.value == pytest.approx(0)
    assert not summary.score_change.excludes_none
    assert (summary.score.events, summary.score.usage_hours) == (910, 10_000.0)


def test_platforms_that_either_version_has_not_reached_are_left_out_of_the_score(tmp_path: Path) -> None:
    rows = """
        window    display_version  os_name     usage_hours  main_crashes
        02T10:00  55.0.3           Windows_NT  3000         30
        02T10:00  55.0.3           Linux       1000         20
        02T10:00  55.0.3           Android     5000         999
        05T13:00  56.0             Windows_NT  100          2
        05T13:00  56.0             Linux       100          4
        05T13:00  56.0             Darwin      100          99
    """
    summary = monitor_of(tmp_path, rows, "05T13:59").overview().channels[0]
    assert [platform.os_name for platform in summary.platforms] == ["Windows_NT", "Darwin", "Linux", "Android"]
    assert summary.score_previous.value == pytest.approx(0.75 * 10 + 0.25 * 20)
    assert summary.score.value == pytest.approx(0.75 * 20 + 0.25 * 40)
    assert summary.score_change.value == pytest.approx(1)
    assert summary.platforms[3].measures == {}
    assert summary.platforms[3].state == "too_little_usage"


def test_score_of_the_last_24_hours_weighs_the_platforms_that_were_used(tmp_path: Path) -> None:
    rows = """
        window    display_version  os_name     usage_hours  main_crashes
        02T10:00  55.0.3           Windows_NT  1000         10
        02T10:00  55.0.3           Linux       1000         10
        05T10:00  56.0             Windows_NT  1000         10
        05T10:00  56.0             Linux       1000         10
        07T10:00  56.0             Windows_NT  1000         40
    """
    summary = monitor_of(tmp_path, rows, "07T10:30").overview().channels[0]
    assert summary.score_last_24h.value == pytest.approx(40)
    assert summary.score.value == pytest.approx(0.5 * 25 + 0.5 * 10)


# ---------- what is not there ----------
def test_channel_without_a_previous_version_compares_nothing(tmp_path: Path) -> None:
    rows = "window usage_hours main_crashes\n05T13:00 100 3"
    monitor = monitor_of(tmp_path, rows, "05T13:30")
    table, summary = table_of(monitor), monitor.overview().channels[0]
    row = main_crashes(table)
    assert (table.previous, table.older, row.change, row.previous, row.spark) == (None, (), None, None, None)
    assert row.state == "measured"
    assert row.newest.value == 30.0
    assert (summary.previous, summary.score, summary.score_change) == (None, None, None)


def test_channel_and_platform_without_a_release_say_so(tmp_path: Path) -> None:
    monitor = monitor_of(tmp_path, SAME_AGE, "05T14:12")
    assert monitor.table("beta", "Windows_NT") == NoRelease("beta", "Windows_NT", moment("05T14:12"))
    assert monitor.table("release", "Linux") == NoRelease("release", "Linux", moment("05T14:12"))
    assert monitor.detail("esr", "Linux", "main_crashes") == NoRelease("esr", "Linux", moment("05T14:12"))
    assert [channel.channel for channel in monitor.overview().channels] == ["release"]


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    monitor = Monitor(Dataset(tmp_path), CALENDAR)
    with pytest.raises(MissionControlError, match="channel"):
        monitor.table("realease", "Linux")
    with pytest.raises(MissionControlError, match="Linux"):
        monitor.table("release", "linux")
    with pytest.raises(MissionControlError, match="main_crashes"):
        monitor.detail("release", "Linux", "main_crash")


def test_empty_dataset_has_no_channel(tmp_path: Path) -> None:
    monitor = Monitor(Dataset(tmp_path), CALENDAR)
    overview = monitor.overview()
    assert (overview.channels, overview.data_up_to) == ((), None)
    assert monitor.table("release", "Linux") == NoRelease("release", "Linux", None)
    write(tmp_path, SAME_AGE, "05T14:12")
    assert monitor.refresh()
    assert monitor.overview().channels[0].newest.version == "56.0"


def test_dataset_that_does_not_say_up_to_when_it_goes_is_taken_to_the_end_of_its_newest_hour(tmp_path: Path) -> None:
    """The newest version's last hour is summed whole, so is the previous one's at that age."""
    monitor = monitor_of(tmp_path, SAME_AGE)
    table = table_of(monitor)
    row = main_crashes(table)
    assert (row.newest.events, row.previous.usage_hours) == (4, 1300)
    assert table.data_up_to is None
    detail = monitor.detail("release", "Windows_NT", "main_crashes")
    assert detail.windows["window_start"].max() == moment("05T14:00")
    assert not detail.windows["complete"].iloc[-1] or detail.windows["line"].iloc[-1] != "56.0"


# ---------- what is read again ----------
class Counted(Dataset):
    """A dataset that notes the days of what is loaded by hour."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.loaded: list[tuple[date, date]] = []

    def load_counted(self, selection, official=None, **options):
        if selection.every == "1h":
            self.loaded.append((selection.since.date(), selection.until.date() - timedelta(days=1)))
        return super().load_counted(selection, official, **options)


def test_only_days_with_new_files_are_read_again(tmp_path: Path) -> None:
    write(tmp_path, SAME_AGE, "05T14:12")
    dataset = Counted(tmp_path)
    monitor = Monitor(dataset, CALENDAR)
    monitor.overview()
    assert dataset.loaded == [(date(2017, 10, 2), date(2017, 10, 3)), (date(2017, 10, 5), date(2017, 10, 5))]
    dataset.loaded.clear()
    monitor.overview()
    table_of(monitor)
    assert dataset.loaded == []
    write(tmp_path, "window usage_hours main_crashes\n05T14:10 50 2", "05T14:14")
    assert dataset.loaded == []
    assert monitor.refresh()
    assert main_crashes(table_of(monitor)).newest.events == 6
    assert dataset.loaded == [(date(2017, 10, 5), date(2017, 10, 5))]


def test_nothing_changes_by_compaction(tmp_path: Path) -> None:
    for line in SAME_AGE.strip().splitlines()[1:]:
        write(tmp_path, "\n".join([SAME_AGE.strip().splitlines()[0], line]), "05T14:12")
    monitor = Monitor(Dataset(tmp_path), CALENDAR)
    before = table_of(monitor)
    overview = monitor.overview()
    table = DeltaTable(str(tmp_path / contract.ERROR_AGGREGATES.name))
    table.optimize.compact()
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert same(table_of(monitor), before)  # the files known so far are gone
    monitor.refresh()
    assert same(table_of(monitor), before)
    assert same(monitor.overview(), overview)


def same(one: object, other: object) -> bool:
    """Equal, NaN to NaN: as text."""
    return repr(one) == repr(other)


def test_day_that_vanished_is_forgotten(tmp_path: Path) -> None:
    monitor = monitor_of(tmp_path, SAME_AGE, "05T14:12")
    assert table_of(monitor).newest.version == "56.0"
    DeltaTable(str(tmp_path / contract.ERROR_AGGREGATES.name)).delete("submission_date = '2017-10-05'")
    monitor.refresh()
    assert table_of(monitor).newest.version == "55.0.3"


def test_dataset_that_was_emptied_has_no_channel(tmp_path: Path) -> None:
    monitor = monitor_of(tmp_path, SAME_AGE, "05T14:12")
    monitor.overview()
    DeltaTable(str(tmp_path / contract.ERROR_AGGREGATES.name)).delete()
    monitor.refresh()
    assert monitor.overview().channels == ()


def test_release_of_a_calendar_that_is_ahead_of_the_data_is_not_out(tmp_path: Path) -> None:
    ahead = Calendar((*CALENDAR.releases, Release("57.0", "release", date(2017, 11, 14))))
    rows = "window display_version usage_hours\n05T13:00 56.0 1\n05T13:00 57.0 1"
    assert table_of(monitor_of(tmp_path, rows, "05T13:30", calendar=ahead)).newest.version == "56.0"
