"""Versions of Linux: two numbers, which all pings say, also of rows that were counted when there were three."""

from pathlib import Path

import missioncontrol_nb as mc
from missioncontrol_nb.monitor import DetailRequest
from tests.unit.small_dataset import monitor_of, write

ROWS = """
    window    os_name  os_version  usage_hours  main_crashes
    05T13:00  Linux    6.18.0      10           1
    05T13:00  Linux    6.18        20           2
    05T13:00  Linux    6.1.0       40           4
    05T13:00  Linux    7           80           8
    05T13:00  Darwin   6.18.0      160          16
"""


def test_version_is_the_same_in_old_rows_and_in_new_ones(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    rows = mc.load(tmp_path, every=None, by=["os_name", "os_version"])
    found = {(row.os_name, row.os_version): row.usage_hours for row in rows.itertuples()}
    linux = {("Linux", "6.18"): 30, ("Linux", "6.1"): 40, ("Linux", "7"): 80}
    assert found == {**linux, ("Darwin", "6.18.0"): 160}


def test_old_rows_are_found_by_either_version(tmp_path: Path) -> None:
    write(tmp_path, ROWS)

    def hours(*os_version: str, **filters: str) -> float:
        return float(mc.load(tmp_path, every=None, os_version=list(os_version), **filters)["usage_hours"].sum())

    assert hours("6.18") == 30
    assert hours("6.18.0", os_name="Linux") == 10
    assert hours("7", "6.18.0") == 80 + 10 + 160
    assert hours("6.18.1") == 0


def test_chart_has_one_line_for_both(tmp_path: Path) -> None:
    monitor = monitor_of(tmp_path, ROWS, "05T14:00")
    detail = monitor.detail("release", "Linux", "main_crashes", DetailRequest(line="os_version"))
    events = detail.windows.groupby("line")["events"].sum().to_dict()
    assert events == {"7": 8, "6.1": 4, "6.18": 3}
    assert [line.name for line in detail.lines] == ["7", "6.1", "6.18"]
