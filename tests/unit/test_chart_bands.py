"""Which windows of a chart have a band: none where hardly anyone uses the version any more."""

import pandas as pd

from missioncontrol_nb.charts.detail_data import _is_used


def placed(usage: dict[int, list[float]], complete: int) -> pd.DataFrame:
    """Windows of lines by series, an hour apart; those from number `complete` on still arrive."""
    rows = [
        {"series": float(series), "x": float(x), "usage_hours": hours, "rate": 5.0, "complete": float(x < complete)}
        for series, all_hours in usage.items()
        for x, hours in enumerate(all_hours)
    ]
    return pd.DataFrame(rows)


def test_version_that_hardly_anyone_uses_any_more_has_no_band() -> None:
    windows = placed({0: [1, 600, 1000, 1000, 1000, 500], 1: [1000, 400, 60, 49, 20, 30]}, complete=5)
    used = windows.assign(used=_is_used(windows)).groupby("series")["used"].agg(list)
    assert used[0.0] == [False, True, True, True, True, True]
    assert used[1.0] == [True, True, True, False, False, False]


def test_a_quiet_hour_cuts_no_band() -> None:
    windows = placed({0: [1000, 1000, 1000], 1: [100, 40, 100]}, complete=3)
    assert _is_used(windows).all()
