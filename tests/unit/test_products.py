"""Two products on one channel and system: their counts never meet in a sum."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

import missioncontrol_nb as mc
from missioncontrol_nb.monitor import DetailRequest
from missioncontrol_nb.status.collect import Collector
from streaming import contract
from streaming.errors import MissionControlError
from tests.unit.small_dataset import CALENDAR, build_of, moment, monitor_of, write, write_delays

FIREFOX = """
    window    application  display_version  usage_hours  main_crashes
    02T10:00  Firefox      55.0.3           3000         3
    05T13:00  Firefox      56.0             3000         3
    05T14:00  Firefox      56.0             3000         3
"""
# The same builds and more usage, as if it were the release; versions above Firefox's; a system of its own.
OTHERS = """
    window    application  display_version  usage_hours  main_crashes  os_name
    02T10:00  SeaMonkey    55.0.3           3000         297           Windows_NT
    05T12:00  SeaMonkey    56.0             9000         891           Windows_NT
    05T13:00  SeaMonkey    56.0             3000         297           Windows_NT
    05T14:05  SeaMonkey    56.0             3000         297           Windows_NT
    05T14:00  SeaMonkey    99.0             9000         891           Windows_NT
    05T13:00  SeaMonkey    56.0             3000         297           Darwin
    05T13:00  Fennec       56.0             3000         297           Windows_NT
    05T13:00  Firefox      56.0             3000         297           Android
"""


def said(monitor) -> str:
    """All that pages say, but for how many builds there are."""
    detail = monitor.detail("release", "Windows_NT", "main_crashes", DetailRequest(every="5min"))
    builds = monitor.detail("release", "Windows_NT", "main_crashes", DetailRequest(line="build"))
    parts = [monitor.overview(), monitor.table("release", "Windows_NT"), detail, detail.windows.to_csv(), builds]
    return "\n".join(map(repr, [*parts, builds.windows.to_csv()]))


@pytest.mark.parametrize("official", [True, False])
def test_pages_say_the_same_of_a_product_whatever_others_there_are(tmp_path: Path, official: bool) -> None:
    delays = "submission_hour delay_hours usage_hours\n05T13:00 0.25 100\n05T13:00 1.0 100"
    alone = monitor_of(tmp_path / "alone", FIREFOX, "05T14:12", official=official)
    write_delays(tmp_path / "alone", delays)
    with_others = monitor_of(tmp_path / "both", FIREFOX, "05T14:12", official=official)
    write(tmp_path / "both", OTHERS, "05T14:12")
    write_delays(tmp_path / "both", delays)
    write_delays(tmp_path / "both", "application " + "\nSeaMonkey ".join(["submission_hour delay_hours usage_hours",
                                                                        "05T13:00 24.0 9000"]))  # fmt: skip
    assert said(with_others) == said(alone)
    row = with_others.table("release", "Windows_NT").rows[0]
    assert (row.newest.value, row.newest.usage_hours) == (1.0, 6000)


def test_page_of_a_system_is_about_the_application_that_the_product_is_there(tmp_path: Path) -> None:
    rows = """
        window    application  os_name  usage_hours  main_crashes
        05T13:00  Fennec       Android  1000         4
        05T13:00  Firefox      Android  1000         99
    """
    monitor = monitor_of(tmp_path, rows, "05T14:00")
    assert monitor.table("release", "Android").rows[0].newest.value == 4.0
    assert [platform.os_name for platform in monitor.overview().channels[0].platforms] == ["Android"]


@pytest.fixture
def both(tmp_path: Path) -> Path:
    write(tmp_path, FIREFOX, "05T14:12")
    write(tmp_path, OTHERS, "05T14:12")
    return tmp_path


def test_sums_over_two_products_are_refused_with_a_sentence(both: Path) -> None:
    said = r"expected pings of one product.*got Firefox and SeaMonkey: say application='Firefox'.*by='application'"
    with pytest.raises(MissionControlError, match=said):
        mc.load(both, os_name="Windows_NT", every=None)
    with pytest.raises(MissionControlError, match=said):
        mc.load(both, by=["channel", "display_version"], country="DE")
    with pytest.raises(MissionControlError, match=said):
        mc.Dataset(both).versions(channel="release")


def test_products_are_summed_apart(both: Path) -> None:
    of_windows = mc.load(both, os_name="Windows_NT", every=None, by="application", measures="main_crashes")
    rates = mc.rates(of_windows).set_index("application")["rate_per_1k_hours"]
    assert rates.to_dict() == pytest.approx({"Fennec": 99.0, "Firefox": 1.0, "SeaMonkey": 99.0})
    alone = mc.load(both, os_name="Windows_NT", every=None, application="Firefox", measures="main_crashes")
    assert alone["usage_hours"].tolist() == [9000]
    as_one = mc.load(both, every=None, application=["Firefox", "Fennec"])
    assert as_one["usage_hours"].tolist() == [15000], "Fennec is Firefox for Android"
    assert mc.Dataset(both).versions(application="Firefox")["usage_hours"].sum() == 12000


def test_calendar_knows_no_build_of_another_product(both: Path) -> None:
    loaded = mc.load(both, os_name="Windows_NT", every=None, by=["application"], official=CALENDAR)
    assert set(loaded["application"]) == {"Firefox", "Fennec"}
    assert mc.load(both, os_name="Darwin", every=None, official=CALENDAR).empty


def test_state_of_a_dataset_is_about_all_of_its_pings(both: Path) -> None:
    status = Collector(str(both)).collect(datetime(2017, 10, 5, 14, 15, tzinfo=UTC))
    assert status.last_hour.accepted == 3
    assert status.last_day.accepted == 9


def test_files_of_the_older_layout_sum_no_two_products(tmp_path: Path) -> None:
    path = tmp_path / "old.parquet"
    start = moment("05T13:00").replace(tzinfo=None)
    build = {"channel": "release", "version": "56.0", "build_id": build_of("56.0", "release")}
    rows = [{"window_start": start, "application": name, **build, "usage_hours": 1000.0, "count": 1, "main_crashes": n}
            for name, n in (("Firefox", 1), ("SeaMonkey", 99))]  # fmt: skip
    pd.DataFrame(rows).to_parquet(path, index=False)
    with pytest.raises(MissionControlError, match="got Firefox and SeaMonkey"):
        mc.load(path, every=None)
    assert mc.load(path, every=None, application="Firefox")["main_crashes"].tolist() == [1]
    assert mc.load(path, every=None, official=CALENDAR)["main_crashes"].tolist() == [1]
    assert mc.load(path, every=None, by="application")["main_crashes"].tolist() == [1, 99]


# ---------- measures ----------
def test_measure_says_itself_where_it_is_not_reported() -> None:
    content_crashes, gpu_crashes = map(contract.measure, ("content_crashes", "gpu_crashes"))
    assert contract.FIREFOX.why_not_reported(content_crashes, "Android").startswith("Firefox for Android runs")
    assert contract.FIREFOX.why_not_reported(gpu_crashes, "Android") == "No ping of this platform carries it."
    *others, android = contract.FIREFOX.platforms
    fenix = replace(contract.FIREFOX, platforms=(*others, replace(android, application="Fenix")))
    assert fenix.why_not_reported(content_crashes, "Android") is None, "Fennec's successor has content processes"
    declared = contract.Measure("contents_lost", "Contents lost", (contract.Event("telemetry/crash", {}),))
    assert contract.FIREFOX.why_not_reported(declared, "Android") is None, "whatever its name begins with"


@pytest.mark.parametrize(("first", "expected"), [("-", 6.0), ("0", 3.0)])
def test_rate_is_of_the_hours_in_which_a_measure_was_counted(tmp_path: Path, first: str, expected: float) -> None:
    """`-` is of before the measure was declared; 0 is none."""
    rows = f"""
        window    display_version  usage_hours  gpu_crashes
        02T10:00  55.0.3           1000         -
        05T13:00  56.0             1000         {first}
        05T14:00  56.0             500          3
        05T14:05  56.0             500          3
    """
    monitor = monitor_of(tmp_path, rows, "05T14:12")
    row = next(row for row in monitor.table("release", "Windows_NT").rows if row.measure == "gpu_crashes")
    assert row.newest.value == expected
    assert (row.previous, row.change, row.state) == (None, None, "measured")
    windows = monitor.detail("release", "Windows_NT", "gpu_crashes").windows
    assert len(windows) == (1 if first == "-" else 2)
    assert windows["events"].tolist()[-1] == 6


def test_measure_that_nothing_counted_yet_is_not_reported(tmp_path: Path) -> None:
    rows = """
        window    display_version  usage_hours  gpu_crashes
        02T10:00  55.0.3           1000         5
        05T13:00  56.0             1000         -
    """
    monitor = monitor_of(tmp_path, rows, "05T14:12")
    row = next(row for row in monitor.table("release", "Windows_NT").rows if row.measure == "gpu_crashes")
    assert (row.state, row.newest) == ("not_reported", None)
    assert monitor.overview().now - moment("05T14:12") < timedelta(seconds=1)
