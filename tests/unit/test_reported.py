"""What no ping of a version could report is missing: NaN in loads, "not reported" on pages, never 0."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from deltalake import DeltaTable, write_deltalake

import missioncontrol_nb as mc
from missioncontrol_nb.dashboard import verdict_words
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.monitor import ChannelTable, Monitor
from streaming import contract
from streaming.contract.measures import Removed
from streaming.dataset.maintenance import maintain
from tests.unit.small_dataset import CALENDAR, monitor_of, write
from tests.unit.small_verdicts import judged

# No crash ping of 56.0 ever came, and no main ping of 55.0.3.
WITHOUT = """
    window    display_version  usage_hours  main_crashes  slow_script_notice_count  main_pings  crash_pings
    02T10:00  55.0.3           1000         40            0                         0           40
    02T11:00  55.0.3           1000         0             0                         0           0
    05T13:00  56.0             1000         0             7                         90          0
    05T14:00  56.0             500          0             0                         40          0
"""


def is_missing(frame: pd.DataFrame) -> dict[str, list[bool]]:
    return {name: frame[name].isna().tolist() for name in ("main_crashes", "slow_script_notice_count")}


def row_of(monitor: Monitor, measure: str) -> Any:
    table = monitor.table("release", "Windows_NT")
    assert isinstance(table, ChannelTable)
    return next(row for row in table.rows if row.measure == measure)


@pytest.mark.parametrize("maintained", [False, True])
def test_load_gives_what_no_ping_reported_as_missing(tmp_path: Path, maintained: bool) -> None:
    write(tmp_path, WITHOUT)
    if maintained:
        maintain(str(tmp_path))
    by_hour = mc.load(tmp_path, by="display_version")
    assert by_hour["display_version"].tolist() == ["55.0.3", "55.0.3", "56.0", "56.0"]
    assert is_missing(by_hour) == {
        "main_crashes": [False, False, True, True],
        "slow_script_notice_count": [True, True, False, False],
    }
    assert by_hour["main_crashes"].tolist()[:2] == [40, 0], "an hour without crashes has 0 where others had some"
    assert not mc.load(tmp_path, every=None)[["main_crashes", "slow_script_notice_count"]].isna().any().any()
    newest = mc.load(tmp_path, every=None, display_version="56.0")
    assert is_missing(newest) == {"main_crashes": [True], "slow_script_notice_count": [False]}
    rates = mc.rates(newest, measures=["main_crashes", "slow_script_notice_count"])
    assert rates["measure"].tolist() == ["slow_script_notice_count"]


def test_pings_by_kind_can_be_loaded(tmp_path: Path) -> None:
    write(tmp_path, WITHOUT)
    sums = mc.load(tmp_path, every=None, by="display_version", measures=contract.PING_COUNTS)
    assert sums["main_pings"].tolist() == [0, 130]
    assert sums["crash_pings"].tolist() == [40, 0]
    assert "crash_pings" not in mc.load(tmp_path)


def test_official_builds_and_other_columns_change_nothing(tmp_path: Path) -> None:
    write(tmp_path, WITHOUT)
    official = mc.load(tmp_path, every="1d", by="country", official=CALENDAR)
    assert is_missing(official) == {"main_crashes": [False, True], "slow_script_notice_count": [True, False]}
    hourly = mc.load(tmp_path, since="2017-10-05", by=["country", "build_id"])
    assert is_missing(hourly)["main_crashes"] == [True, True]


def test_what_was_counted_before_pings_were_counted_by_kind_stays(tmp_path: Path) -> None:
    write(tmp_path, WITHOUT.replace(" 90          0", " -           -"))
    assert is_missing(mc.load(tmp_path, every=None, by="display_version")) == {
        "main_crashes": [False, False],
        "slow_script_notice_count": [True, False],
    }
    older = tmp_path / "older"
    older.mkdir()
    rows = DeltaTable(str(tmp_path / contract.ERROR_AGGREGATES.name)).to_pyarrow_table()
    rows = rows.drop_columns(list(contract.PING_COUNTS))
    write_deltalake(str(older / contract.ERROR_AGGREGATES.name), rows, partition_by=["submission_date"])
    assert not mc.load(older)[["main_crashes", "slow_script_notice_count"]].isna().any().any()
    assert row_of(Monitor(Dataset(older), CALENDAR), "main_crashes").newest.events == 0


def test_platform_that_cannot_carry_a_measure_has_none(tmp_path: Path) -> None:
    write(tmp_path, "window os_name usage_hours main_crashes\n05T13:00 Android 1000 0\n05T13:00 Linux 1000 0")
    loaded = mc.load(tmp_path, every=None, by="os_name", measures=["main_crashes", "content_crashes", "gpu_crashes"])
    assert loaded["os_name"].tolist() == ["Android", "Linux"]
    assert loaded["main_crashes"].tolist() == [0, 0]
    assert loaded["content_crashes"].isna().tolist() == [True, False]
    assert loaded["gpu_crashes"].isna().tolist() == [True, False]


def test_measure_that_clients_no_longer_have_is_missing_from_that_version_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "Firefox 56 has no slow script notices."
    declared = contract.measure("slow_script_notice_count")
    monkeypatch.setitem(declared.__dict__, "removed", {"Firefox": Removed("56", why)})
    rows = """
        window    display_version  slow_script_notice_count
        02T10:00  55.0.3           3
        05T13:00  56.0             2
        05T13:00  57.0b6           0
    """
    monitor = monitor_of(tmp_path, rows, "05T14:12")
    loaded = mc.load(tmp_path, every=None, by="display_version", measures=declared.name)
    assert loaded[declared.name].isna().tolist() == [False, True, True], "whatever their pings hold"
    row = row_of(monitor, declared.name)
    assert (row.state, row.why) == ("not_reported", why)


def test_pages_say_what_is_not_reported_and_why(tmp_path: Path) -> None:
    monitor = monitor_of(tmp_path, WITHOUT, "05T14:12")
    crashes = row_of(monitor, "main_crashes")
    why = "No crash ping of 56.0 has come from this platform yet, so the rate is unknown, not zero."
    assert (crashes.state, crashes.newest, crashes.why) == ("not_reported", None, why)
    slow = row_of(monitor, "slow_script_notice_count")
    assert (slow.state, slow.newest.events, slow.previous, slow.change) == ("measured", 7, None, None)
    detail = monitor.detail("release", "Windows_NT", "main_crashes")
    assert [line.name for line in detail.lines] == ["55.0.3"]
    said = verdict_words.detail_headline(detail, judged())
    assert said == ("none", "Not reported on release, Windows: main crashes", why)
    slow_detail = monitor.detail("release", "Windows_NT", "slow_script_notice_count")
    _, sentence, line = verdict_words.detail_headline(slow_detail, judged())
    assert sentence == "Too early to say: slow script notices of 56.0 on release, Windows"
    assert "nan" not in (sentence + line).lower()
    (channel,) = monitor.overview().channels
    assert channel.score is None, "a score of measures that nobody reported is none"


def test_measure_is_reported_from_the_first_ping_of_its_kind_on(tmp_path: Path) -> None:
    monitor = monitor_of(tmp_path, WITHOUT, "05T14:12")
    assert row_of(monitor, "main_crashes").newest is None
    write(
        tmp_path,
        "window display_version usage_hours content_crashes main_pings crash_pings\n05T14:05 56.0 0 1 0 1",
        "05T14:13",
    )
    assert monitor.refresh()
    assert row_of(monitor, "main_crashes").newest.events == 0
    assert mc.load(tmp_path, by="display_version")["main_crashes"].tolist() == [40, 0, 0, 0]
