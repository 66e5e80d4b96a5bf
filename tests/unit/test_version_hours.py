"""The hours of a version as arrays: split by day and version, joined, cut by time, added up over systems."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd

from missioncontrol_nb.monitor.version_hours import VersionHours, added_up, joined, seconds_of, split_by_day


def seconds(text: str) -> int:
    return int(datetime.fromisoformat(f"2017-10-{text}").replace(tzinfo=UTC).timestamp())


def hours(*starts: str, **sums: list[float]) -> VersionHours:
    return VersionHours(np.array([seconds(start) for start in starts]), {name: np.array(v) for name, v in sums.items()})


def test_rows_are_split_by_day_channel_system_and_version() -> None:
    rows = pd.DataFrame(
        [
            ("beta", "Linux", "57.0b1", "05T23:00", 1.0, 4),
            ("release", "Linux", "56.0", "05T23:00", 2.0, 5),
            ("release", "Linux", "56.0", "06T00:00", 3.0, 6),
            ("release", "Linux", "56.0", "06T02:00", 4.0, 7),
            ("release", "Darwin", "56.0", "06T02:00", 5.0, 8),
        ],
        columns=["channel", "os_name", "display_version", "window_start", "usage_hours", "count"],
    )
    rows["window_start"] = pd.to_datetime("2017-10-" + rows["window_start"], utc=True).dt.as_unit("us")
    days = split_by_day(rows, ["usage_hours", "count"])
    assert {day: {key: part.of("count").tolist() for key, part in parts.items()} for day, parts in days.items()} == {
        date(2017, 10, 5): {("beta", "Linux", "57.0b1"): [4], ("release", "Linux", "56.0"): [5]},
        date(2017, 10, 6): {("release", "Linux", "56.0"): [6, 7], ("release", "Darwin", "56.0"): [8]},
    }
    newest = days[date(2017, 10, 6)]["release", "Linux", "56.0"]
    assert newest.starts.tolist() == [seconds("06T00:00"), seconds("06T02:00")]
    assert split_by_day(rows[:0], ["count"]) == {}
    assert seconds_of(rows["window_start"]).tolist()[0] == seconds("05T23:00")


def test_between_takes_hours_that_start_in_the_interval() -> None:
    whole = hours("05T10:00", "05T11:00", "05T13:00", count=[1, 2, 3])
    part = whole.between(datetime(2017, 10, 5, 11, tzinfo=UTC), datetime(2017, 10, 5, 13, tzinfo=UTC))
    assert part.of("count").tolist() == [2]
    assert whole.between(datetime(2017, 10, 6, tzinfo=UTC), datetime(2017, 10, 5, tzinfo=UTC)).of("count").size == 0


def test_column_that_a_day_lacks_is_missing_there() -> None:
    whole = joined([hours("05T10:00", count=[1.0]), hours("06T10:00", "06T11:00", count=[2.0, 3.0], more=[4.0, 5.0])])
    assert whole.of("count").tolist() == [1, 2, 3]
    assert np.isnan(whole.of("more")).tolist() == [True, False, False]
    assert np.isnan(whole.of("unknown")).all()
    assert joined([]).of("count").size == 0


def test_hours_of_systems_add_up() -> None:
    starts, pings = added_up([hours("05T11:00", count=[2]), hours("05T10:00", "05T11:00", count=[1, 4])], "count")
    assert starts.tolist() == [seconds("05T10:00"), seconds("05T11:00")]
    assert pings.tolist() == [1, 6]
    assert added_up([], "count")[0].size == 0
