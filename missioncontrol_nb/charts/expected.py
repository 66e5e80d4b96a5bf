"""What is expected of the newest line of a detail's chart, and the rates of lines whose hours of use are estimated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from missioncontrol_nb import arguments
from missioncontrol_nb.formatting import decimals_of, grouped
from missioncontrol_nb.monitor import Detail, Line
from missioncontrol_nb.statistics import PER_HOURS, rate_interval

Array = npt.NDArray[np.float64]
HOUR_MS = 3_600_000
ENOUGH_OF_WINDOW = 0.25
COLUMNS = ("since", "until", "usage_hours", "expected_rate", "expected_lower", "expected_upper")


@dataclass(frozen=True)
class Expected:
    """What a chart shows beside what was counted.

    course: of the newest version, a row per interval since its release, columns COLUMNS: its ends (datetime64, UTC),
    the estimated hours of use, and per 1000 of these the expected rate and the ends of the acceptable range; NaN where
    nothing is expected. None: neither is drawn. hours: such intervals of lines whose hours are estimated, by the line's
    name; rates of other lines are of reported hours. rise: when the newest version began to rise. is_bad: whether that
    is called bad, not only looks bad.
    """

    course: pd.DataFrame | None = None
    hours: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    rise: datetime | None = None
    is_bad: bool = False

    def __post_init__(self) -> None:
        for name, frame in {"course": self.course, **self.hours}.items():
            if frame is not None:
                arguments.frame(name, frame, COLUMNS)


NOTHING = Expected()


def with_estimated_hours(windows: pd.DataFrame, expected: Expected, detail: Detail) -> pd.DataFrame:
    """The windows, with rate, lower and upper by the estimated hours of use where these are known; 95 % intervals.

    The newest window has none while less than ENOUGH_OF_WINDOW of it is over.
    """
    parts = [windows]
    for name, hours in expected.hours.items():
        rows = windows[(windows["line"] == name) & windows["rate"].notna()]
        starts = _hours_since_1970(rows["window_start"])
        until = np.minimum(starts + detail.every / timedelta(hours=1), detail.now.timestamp() / 3600)
        used = _between(hours, starts, until)
        begun = (until - starts)[used > 0] < ENOUGH_OF_WINDOW * (detail.every / timedelta(hours=1))
        known = rows[used > 0]
        used = np.where(begun, np.nan, used[used > 0])
        lower, upper = (np.where(begun, np.nan, side) for side in rate_interval(known["events"], np.nan_to_num(used)))
        parts.append(known.assign(rate=PER_HOURS * known["events"] / used, lower=lower, upper=upper))
    together = pd.concat(parts)
    return together[~together.index.duplicated(keep="last")].sort_index()


def estimated_lines(windows: pd.DataFrame, expected: Expected) -> list[str]:
    """The names of the lines that have windows whose hours are estimated, in the order of the windows."""
    newest = windows.groupby("line", sort=False)["window_start"].max()
    return [
        str(name)
        for name, start in newest.items()
        if name in expected.hours and len(expected.hours[name]) and start >= expected.hours[name]["since"].iloc[0]
    ]


def _between(hours: pd.DataFrame, starts: Array, ends: Array) -> Array:
    """The estimated hours of use between moments; 0 where they begin before the first interval.

    Within an interval they are spread evenly; after the last one they go on as in it.
    """
    edges = np.append(_hours_since_1970(hours["since"]), _hours_since_1970(hours["until"])[-1:])
    if len(edges) < 2:
        return np.zeros(len(starts))
    total = np.append(0.0, np.cumsum(hours["usage_hours"].to_numpy(float)))
    pace = (total[-1] - total[-2]) / (edges[-1] - edges[-2])

    def up_to(moments: Array) -> Array:
        return np.interp(moments, edges, total) + pace * np.maximum(moments - edges[-1], 0.0)

    return np.where(starts >= edges[0] - 1e-6, up_to(ends) - up_to(starts), 0.0)


def _hours_since_1970(times: pd.Series) -> Array:
    utc = pd.DatetimeIndex(pd.to_datetime(times, utc=True))
    return np.asarray(utc.tz_localize(None).astype("datetime64[us]").astype("int64"), float) / 3.6e9


def acceptable_band(
    expected: Expected, lines: list[Line], *, is_rate: bool, by_age: bool, start: float, end: float
) -> pd.DataFrame:
    """The acceptable range of the newest line over a chart's x axis: x, lower, upper; no rows where none is drawn."""
    newest = next((line for line in lines if line.rank == 0), None)
    if newest is None or not is_rate or expected.course is None:
        return pd.DataFrame({"x": [], "lower": [], "upper": []}, dtype=float)
    offset = newest.released.timestamp() / 3600

    def place(hours: Array) -> Array:
        return hours - offset if by_age else hours * HOUR_MS

    band = _band(expected.course, place)
    return band[(band["x"] >= start) & (band["x"] <= end)].reset_index(drop=True)


def _band(course: pd.DataFrame, place: Callable[[Array], Array]) -> pd.DataFrame:
    """The acceptable range at the middle of each interval, and at the ends of the course."""
    known = course[course["expected_upper"].notna()]
    if known.empty:
        return pd.DataFrame({"x": [], "lower": [], "upper": []}, dtype=float)
    first, last = _hours_since_1970(known["since"]), _hours_since_1970(known["until"])
    x = np.concatenate([first[:1], (first + last) / 2, last[-1:]])
    ends = {name: known[f"expected_{name}"].to_numpy(float) for name in ("lower", "upper")}
    sides = {name: np.concatenate([side[:1], side, side[-1:]]) for name, side in ends.items()}
    return pd.DataFrame({"x": place(x), **sides})


def acceptable_words(band: pd.DataFrame) -> str:
    """The newest ends of an acceptable range, "3.2 to 5.0"; empty without any."""
    if band.empty:
        return ""
    lower, upper = band["lower"].iloc[-1], band["upper"].iloc[-1]
    decimals = decimals_of(upper, lower, upper)
    return f"{grouped(lower, decimals)} to {grouped(upper, decimals)}"
