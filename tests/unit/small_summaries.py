"""Summaries as the monitor makes them, written down: what pages and the app are tested with."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pandas as pd

from missioncontrol_nb.monitor import (
    Change,
    ChannelSummary,
    ChannelTable,
    Completeness,
    Detail,
    Line,
    MeasureSummary,
    Overview,
    PlatformSummary,
    Rate,
    Spark,
    Version,
)
from missioncontrol_nb.monitor.summaries import State
from streaming import contract
from tests.unit.small_dataset import moment

NOW = moment("09T14:35:10")
NEWEST = Version("56.0", moment("05T13:00"))
PREVIOUS = Version("55.0.3", moment("02T10:00"))
OLDER = (Version("55.0", moment("2017-09-25T10:00")), Version("54.0", moment("2017-09-20T10:00")))
ARRIVED: Completeness = ((moment("09T12:00"), 0.9), (moment("09T13:00"), 0.5), (moment("09T14:00"), 0.1))

UP = Change(0.38, 0.31, 0.45)
DOWN = Change(-0.12, -0.2, -0.04)
LEVEL = Change(0.02, -0.03, 0.07)
FROM_NOTHING = Change(math.nan, 1.2, math.inf)


def measured(measure: str, change: Change | None, state: State = "measured") -> MeasureSummary:
    """A measure of which 56.0 has 591 in 100,000 hours, 55.0.3 428."""
    newest, previous = Rate(5.91, 5.76, 6.06, 591, 1e5), Rate(4.28, 4.1, 4.46, 428, 1e5)
    spark = Spark((5.0, None, 6.0), (4.0, 4.5, 4.3), 1)
    older = {version.version: Rate(4.0, 3.9, 4.1, 400, 1e5) for version in OLDER}
    if change is None:
        return MeasureSummary(measure, state, newest, None, newest)
    return MeasureSummary(measure, state, newest, previous, Rate(6.1, 5.5, 6.7, 61, 1e4), change, spark, older)


def platform(os_name: str, main: Change | None, content: Change | None, state: State = "measured") -> PlatformSummary:
    """A platform with changes of main and content crashes; on Android content crashes are not reported."""
    rows = [measured("main_crashes", main, state), measured("content_crashes", content, state)]
    if os_name == "Android":
        rows[1] = MeasureSummary("content_crashes", "not_reported", why=NO_CONTENT)
    return PlatformSummary(os_name, state, {row.measure: row for row in rows}, 0.34, ARRIVED)


def without_pings(os_name: str) -> PlatformSummary:
    """A platform from which no ping of the newest version has come."""
    return PlatformSummary(os_name, "too_little_usage", {}, None, ())


def channel(*platforms: PlatformSummary, name: str = "release", previous: Version | None = PREVIOUS) -> ChannelSummary:
    """A channel with a score of 8.02, 12 % less than before; without a previous version it has none."""
    found = ChannelSummary(name, NEWEST, previous, platforms)
    if previous is None:
        return found
    rate = Rate(8.02, 7.9, 8.14, 802, 1e5)
    return replace(found, score=rate, score_previous=rate, score_last_24h=rate, score_change=DOWN)


def overview(*channels: ChannelSummary) -> Overview:
    """The front page's summary, as of Monday, 9 October 2017."""
    return Overview(channels, NOW, NOW)


def table(changes: Mapping[str, Change | None], previous: Version | None = PREVIOUS) -> ChannelTable:
    """The table of Windows on release; measures without a change given are not reported."""
    rows = tuple(
        measured(name, changes[name])
        if name in changes
        else MeasureSummary(name, "not_reported", why=contract.NOT_CARRIED)
        for name in contract.MEASURE_NAMES
    )
    older = OLDER if previous else ()
    return ChannelTable("release", "Windows_NT", NEWEST, previous, older, rows, 0.34, ARRIVED, NOW, NOW)


NO_CONTENT = "Firefox for Android runs no content processes."
LINES = ("56.0", "55.0.3", "55.0", "54.0", "53.0")


def detail(row: MeasureSummary, names: Sequence[str] = LINES, previous: Version | None = PREVIOUS) -> Detail:
    """Six windows of an hour a line; the newest one is incomplete, one had no usage."""
    starts = [moment("09T09:00") + number * timedelta(hours=1) for number in range(6)]
    lines = tuple(
        Line(name, name, rank, moment("05T13:00") - rank * timedelta(days=3)) for rank, name in enumerate(names)
    )
    rows = [_window(line, number, start) for line in lines for number, start in enumerate(starts)]
    columns = ("line", "window_start", "age_hours", "events", "usage_hours", "rate", "lower", "upper", "arrived")
    windows = pd.DataFrame(rows, columns=[*columns, "complete"])
    windows["window_start"] = pd.to_datetime(windows["window_start"], utc=True)
    since, hour = NOW - timedelta(days=7), timedelta(hours=1)
    return Detail(
        "release", "Windows_NT", NEWEST, previous, row, lines, windows, since, NOW, hour, 0, 0.34, ARRIVED, NOW, NOW
    )


def _window(line: Line, number: int, start) -> tuple[object, ...]:
    age = (start - line.released) / timedelta(hours=1)
    if number == 2:
        return line.name, start, age, 1, 0.0, math.nan, math.nan, math.nan, 1.0, True
    rate = 5.0 + line.rank + number / 10
    return (
        line.name,
        start,
        age,
        int(rate * 10),
        1e4,
        rate,
        rate - 0.5,
        rate + 0.5,
        0.2 if number == 5 else 1.0,
        number < 5,
    )
