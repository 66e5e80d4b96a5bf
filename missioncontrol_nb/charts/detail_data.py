"""The data sets of a detail's chart: windows (placed, thinned, stacked), axis extents and label positions."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from missioncontrol_nb import arguments
from missioncontrol_nb.charts.acceptable_label import acceptable_label
from missioncontrol_nb.charts.annotations import (
    Axis,
    incident_data,
    placed_labels,
    release_marks,
    rise_marks,
    shown_incidents,
)
from missioncontrol_nb.charts.expected import HOUR_MS, NOTHING, Expected, acceptable_band, with_estimated_hours
from missioncontrol_nb.charts.hatching import hatching, late_spans
from missioncontrol_nb.charts.labels import plot_widths
from missioncontrol_nb.charts.line_ends import line_ends
from missioncontrol_nb.charts.theme import RATE_HEIGHT, SHADES, USAGE_HEIGHT
from missioncontrol_nb.incidents import Incident
from missioncontrol_nb.monitor import OLDER, Detail, Line
from streaming.errors import MissionControlError

Show = Literal["rate", "count"]
Time = Literal["latest", "since_release"]
Array = npt.NDArray[np.float64]

PLOT_WIDTH, NARROW_PLOT_WIDTH = 1100, 260  # Approximate pixels, to space the hatching and fit labels
MOST_STAMPS = 1200  # More than the screen has pixels
USAGE_STAMPS = 400  # Usage is smooth, so means over this many stretches are enough
GAP_WINDOWS = 2  # Lines are broken at longer gaps
ENOUGH_USAGE = 0.25  # Share of a line's usual usage; rates of windows with less do not set the scale
BAND_SHARE = 0.05  # Share of the busiest line's usage at the same time; a line with less has no band there
LEAST_USAGE = 0.02  # Share of the busiest line's usual usage; lines with less do not set the scale

DETAIL_COLUMNS = ("line", "window_start", "age_hours", "events", "usage_hours", "rate", "lower", "upper", "arrived",
                  "complete")  # fmt: skip


def shown_lines(lines: Iterable[Line], hidden: str | Iterable[str]) -> list[Line]:
    """The lines that are switched on, newest first; hidden: names of lines, "older" for all after the third."""
    off = arguments.names("hidden", hidden)
    newest_first = sorted(lines, key=lambda line: line.rank)
    return [line for number, line in enumerate(newest_first) if (line.name if number < 3 else OLDER) not in off]


def detail_data(
    detail: Detail,
    *,
    show: Show,
    time: Time,
    hidden: str | Iterable[str] = (),
    narrow: bool = False,
    expected: Expected = NOTHING,
    incidents: Sequence[Incident] = (),
) -> dict[str, pd.DataFrame]:
    """The data sets of `detail_chart` by name; x is epoch milliseconds, or hours of age for time "since_release".

    windows: a row per line and window (series: the line's place among the shown ones; y, lower, upper as drawn).
    strokes: the points that lines are drawn through, by stretch. times: the timestamps. usage: hours of the lower
    chart, stacked from y0 to y1. hatch, usage_hatch: diagonals over windows whose data is still arriving. ends: labels
    at the lines' ends. acceptable, acceptable_label: what is expected. rises, releases: when the newest version began
    to rise, and when versions came out. incidents: those that concern the detail's data, as bands or strips. labels: of
    these three, for plots of several widths. extent: one row with the axes' ends, steps and title.
    """
    check_detail(detail, show, time)
    lines = shown_lines(detail.lines, hidden)
    start, end = x_extent(detail, lines, time)
    every = _every(detail, time)
    arguments.instance("expected", expected, Expected, "an Expected")
    _check_incidents(incidents)
    whole, band, top, step = _on_axes(detail, lines, show, time, expected)
    whole["stretch"] = stretches(whole, every)
    whole["banded"] = ((whole["shade"] < 2) & _is_used(whole)).astype(float)
    stamps = _kept_stamps(whole)
    windows = whole[whole["x"].isin(stamps)]
    usage, usage_top, title = _usage(whole, stamps, every, end, detail.every, stacked=time == "latest")
    late = late_spans(whole, every, end)
    pixel = (end - start) / (NARROW_PLOT_WIDTH if narrow else PLOT_WIDTH)
    extent = {"x": start, "x2": end, "top": top, "step": step, "tick": _tick(end - start, time, narrow),
              "usage_top": usage_top, "usage_title": title}  # fmt: skip
    ends, axis = line_ends(windows, lines, top, every, end, narrow), Axis(start, end, narrow, time != "latest")
    return {
        "extent": pd.DataFrame([extent]),
        "windows": windows.drop(columns=["line", "age_hours", "window_start"], errors="ignore"),
        "strokes": _strokes(windows, every),
        "times": pd.DataFrame({"x": np.unique(windows["x"])}),
        "usage": usage,
        "hatch": hatching(late, pixel, RATE_HEIGHT, top),
        "usage_hatch": hatching(late, pixel, USAGE_HEIGHT, usage_top),
        "ends": ends,
        "acceptable": band,
        **_marks(detail, lines, axis, top, expected, incidents, band, windows, ends, late),
    }


def _marks(
    detail: Detail,
    lines: list[Line],
    axis: Axis,
    top: float,
    expected: Expected,
    incidents: Sequence[Incident],
    band: pd.DataFrame,
    windows: pd.DataFrame,
    ends: pd.DataFrame,
    late: Sequence[tuple[float, float]],
) -> dict[str, pd.DataFrame]:
    """What is marked on the x axis, with labels, and the label of the acceptable range where these leave room."""
    bands, beside_bands = incident_data(shown_incidents(detail, lines, axis, incidents), lines, axis, top)
    rise, releases = rise_marks(expected, lines, axis), release_marks(detail, lines, axis)
    labels, free = [], []
    for width in plot_widths(axis.narrow):
        placed = placed_labels(rise, releases, beside_bands, axis, width)
        is_above = placed["kind"] != "incident"
        rows_below = 2 if axis.by_age and len(bands) else int((~is_above).any())
        labels.append(placed)
        free.append(
            acceptable_label(
                band,
                windows,
                ends,
                rules=[x for x, _ in (*rise, *releases)],
                hatched=late,
                axis=axis,
                top=top,
                rows_above=int(placed["row"][is_above].max()) + 1 if is_above.any() else 0,
                rows_below=rows_below,
                width=width,
            )
        )
    return {
        "rises": pd.DataFrame({"x": [x for x, _ in rise]}, dtype=float).assign(bad=float(expected.is_bad)),
        "releases": pd.DataFrame({"x": [x for x, _ in releases]}, dtype=float),
        "incidents": bands,
        "labels": pd.concat(labels, ignore_index=True).assign(bad=float(expected.is_bad)),
        "acceptable_label": pd.concat(free, ignore_index=True),
    }


def incidents_shown(
    detail: Detail, time: Time, hidden: str | Iterable[str], incidents: Sequence[Incident]
) -> list[Incident]:
    """Those of the incidents that a chart shows: the first has the number 1 there.

    Raises MissionControlError for what is no detail, time or incident.
    """
    check_detail(detail, "rate", time)
    _check_incidents(incidents)
    lines = shown_lines(detail.lines, hidden)
    start, end = x_extent(detail, lines, time)
    return shown_incidents(detail, lines, Axis(start, end, False, time != "latest"), incidents)


def _on_axes(
    detail: Detail, lines: list[Line], show: Show, time: Time, expected: Expected
) -> tuple[pd.DataFrame, pd.DataFrame, float, float]:
    """The windows with their y, the acceptable range, the top of the y axis and the step of its ticks."""
    start, end = x_extent(detail, lines, time)
    windows = placed_windows(detail, lines, time, start, end)
    band = acceptable_band(expected, lines, is_rate=show == "rate", by_age=time != "latest", start=start, end=end)
    if show == "count":
        windows["y"] = windows["events"]
        return windows, band, *nice_top(windows["y"].max())
    windows = with_estimated_hours(windows, expected, detail)
    windows["y"] = windows["rate"]
    return windows, band, *nice_top(max(rate_top(windows), band["upper"].tail(1).max(), _since_rise(windows, expected)))


def _since_rise(windows: pd.DataFrame, expected: Expected) -> float:
    """The highest complete rate of the newest version since it began to rise, which must be seen; 0 without any."""
    if expected.rise is None:
        return 0.0
    is_up = (windows["shade"] == 0) & (windows["complete"] == 1) & (windows["window_start"] >= expected.rise)
    return float(1.05 * windows["rate"][is_up].max()) if windows["rate"][is_up].notna().any() else 0.0


def top_that_is_left(detail: Detail, lines: list[Line], show: Show, time: Time, expected: Expected) -> float | None:
    """The top of the y axis where a line leaves it; None where none does."""
    windows, _, top, _ = _on_axes(detail, lines, show, time, expected)
    return top if (windows["y"] > top).any() else None


def check_detail(detail: Detail, show: Show, time: Time) -> None:
    """Raises MissionControlError where detail is no Detail or lacks a column, and where show or time is unknown."""
    arguments.instance("detail", detail, Detail, "what Monitor.detail gives where there is a release")
    arguments.frame("detail.windows", detail.windows, DETAIL_COLUMNS)
    arguments.choice("show", show, get_args(Show))
    arguments.choice("time", time, get_args(Time))


def _check_incidents(incidents: Sequence[Incident]) -> None:
    if not isinstance(incidents, (list, tuple)) or not all(isinstance(each, Incident) for each in incidents):
        given = arguments.brief(incidents)
        raise MissionControlError(f"incidents takes a list of data incidents, such as incidents_of gives, not {given}")


def milliseconds(times: Any) -> Array:
    """Times as milliseconds since 1970."""
    utc = pd.DatetimeIndex(pd.to_datetime(times, utc=True))
    return np.asarray(utc.tz_localize(None).astype("datetime64[us]").astype("int64"), float) / 1000


def _every(detail: Detail, time: Time) -> float:
    """The length of a window on the x axis."""
    hours = detail.every / timedelta(hours=1)
    return hours if time == "since_release" else hours * HOUR_MS


def x_extent(detail: Detail, lines: Sequence[Line], time: Time) -> tuple[float, float]:
    """The ends of the x axis; since release: from 0 to the age of the newest shown line, at least a day."""
    if time == "latest":
        start, end = milliseconds([detail.since, detail.until])
        return start, end
    length = (detail.until - detail.since) / timedelta(hours=1)
    age = (detail.until - lines[0].released) / timedelta(hours=1) if lines else length
    return 0.0, min(length, max(age, 24.0))


def placed_windows(detail: Detail, lines: Sequence[Line], time: Time, start: float, end: float) -> pd.DataFrame:
    """The shown lines' windows with their position on the x axis, ordered by line (newest first), then by time."""
    number = {line.name: place for place, line in enumerate(lines)}
    shade = {line.name: min(line.rank, len(SHADES) - 1) for line in lines}
    windows = detail.windows[detail.windows["line"].isin(list(number))]
    every = _every(detail, time)
    if time == "latest":
        x = milliseconds(windows["window_start"])
    else:  # Rounded up to whole windows, so that lines have the same timestamps whatever their release hour
        x = np.ceil(np.round(windows["age_hours"].to_numpy(float) / every, 6)) * every
    placed = windows.assign(
        x=x,
        series=windows["line"].map(number).astype(float),
        shade=windows["line"].map(shade).astype(float),
        complete=windows["complete"].astype(float),
    )
    inside = placed[(placed["x"] > start - every) & (placed["x"] < end)]
    if time == "since_release":
        inside = inside[inside["x"] >= 0]
    return inside.sort_values(["series", "x"], ignore_index=True)


def stretches(windows: pd.DataFrame, every: float) -> Array:
    """The number of each window's stretch; a gap longer than two windows starts a new stretch of the line."""
    gap = windows["x"].diff() > every * (GAP_WINDOWS + 0.01)
    return (gap | (windows["series"].diff() != 0)).cumsum().to_numpy(float)


def _kept_stamps(windows: pd.DataFrame) -> Array:
    """The timestamps that are drawn: for each bucket, those of the newest line's lowest and highest value.

    The first, the last three, and those of windows whose data is still arriving are always kept.
    """
    first = windows.drop_duplicates("x").set_index("x")["y"].sort_index()  # Of the newest line that has the timestamp
    if len(first) <= MOST_STAMPS:
        return first.index.to_numpy(float)
    bucket = np.arange(len(first)) * (MOST_STAMPS // 2) // len(first)
    known = first.fillna(0.0).reset_index()
    by_bucket = known.groupby(bucket)["y"]
    places = np.concatenate([by_bucket.idxmin(), by_bucket.idxmax(), [0], np.arange(len(first) - 3, len(first))])
    late = windows.loc[windows["complete"] == 0, "x"]
    return np.union1d(known["x"].to_numpy(float)[places], late)


def _enough_usage(windows: pd.DataFrame) -> pd.DataFrame:
    """The complete windows with at least ENOUGH_USAGE of their line's usual usage, of lines above LEAST_USAGE.

    All windows with a rate where there are none.
    """
    complete = windows[(windows["complete"] == 1) & windows["rate"].notna()]
    usual = complete.groupby("series")["usage_hours"].transform(lambda hours: hours.quantile(0.9))
    is_used = usual >= LEAST_USAGE * usual.max()
    enough = complete[is_used & (complete["usage_hours"] >= ENOUGH_USAGE * usual)]
    return enough if len(enough) else windows[windows["rate"].notna()]


def _is_used(windows: pd.DataFrame) -> pd.Series:
    """Which windows may have a band; the band of a window with little usage would cover all others.

    For lines above LEAST_USAGE: from the first to the last complete window with BAND_SHARE of the busiest line's usage
    at the same time. Later windows, whose data is still arriving, have a band if the last complete window has one.
    """
    complete = windows[windows["complete"] == 1]
    busiest = complete.groupby("x")["usage_hours"].transform("max")
    enough = complete[complete["usage_hours"] >= BAND_SHARE * busiest].groupby("series")["x"].agg(["min", "max"])
    last_complete = complete.groupby("series")["x"].max()
    series, x = windows["series"], windows["x"]
    first, last, settled = (series.map(values) for values in (enough["min"], enough["max"], last_complete))
    is_known = series.isin(_enough_usage(windows)["series"])
    inside = (x >= first) & ((x <= last) | ((last == settled) & (x > settled)))
    return is_known & (inside | ~series.isin(last_complete.index))


def rate_top(windows: pd.DataFrame) -> float:
    """The highest rate that the axis must show: all lower bounds, the usual rates, and most of the bands.

    A release's first windows have little usage; their rates and bands may be cut off.
    """
    enough = _enough_usage(windows)
    bands = enough[enough["shade"] < 2]
    used = windows["series"].isin(enough["series"])
    newest = windows[used & (windows["shade"] < 2) & (windows["complete"] == 1)].groupby("series")["rate"].quantile(0.9)
    highest = [enough["lower"].max(), enough["rate"].quantile(0.98), bands["upper"].quantile(0.9), newest.max()]
    return 1.05 * np.nanmax([*highest, 0.0])


def nice_top(highest: float, most_steps: int = 5) -> tuple[float, float]:
    """(top of the axis, step of its ticks): round numbers, at most five steps."""
    if not (np.isfinite(highest) and highest > 0):
        return 1.0, 0.5
    power = 10.0 ** np.floor(np.log10(highest / most_steps))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if highest <= most_steps * power * factor)
    return float(np.ceil(highest / step - 1e-9) * step), float(step)


def _tick(length: float, time: Time, narrow: bool) -> float:
    """The distance of the x axis' ticks; length: of the axis, in its unit."""
    hour = HOUR_MS if time == "latest" else 1
    steps = [hours * hour for hours in (1, 3, 6, 12, 24, 48, 96, 168, 336, 672, 1344)]
    return float(next((step for step in steps if length / step <= (4 if narrow else 9)), steps[-1]))


def _strokes(windows: pd.DataFrame, every: float) -> pd.DataFrame:
    """The points lines are drawn through; windows whose data is still arriving form separate strokes.

    Such a stroke also contains the neighbouring points of its stretch, so that it joins the other strokes. A stroke of
    one window gets a second point, so that it is visible as a dot. Pale are late windows, and the lines of older
    versions that are used so little that their rates are mostly chance.
    """
    late = windows["complete"] == 0
    same = windows["stretch"].diff() == 0
    own = (~same | (late != late.shift())).cumsum()
    points = windows[["x", "y", "shade", "series", "usage_hours"]].assign(
        late=late.astype(float), stroke=own.astype(float)
    )
    into, out_of = same & late & ~late.shift(fill_value=False), same & ~late & late.shift(fill_value=False)
    ties = [
        points.assign(late=1.0, stroke=points["stroke"].shift(-1))[into.shift(-1, fill_value=False)],
        points.assign(late=1.0, stroke=points["stroke"].shift(1))[out_of],
    ]
    tied = pd.concat([points, *ties], ignore_index=True)
    tied["pale"] = ((tied["late"] == 1) | tied["series"].isin(_little_used(windows))).astype(float)
    alone = tied[~tied.duplicated("stroke", keep=False)]
    return pd.concat([tied, alone.assign(x=alone["x"] + every / 10)], ignore_index=True).drop(columns="series")


def _little_used(windows: pd.DataFrame) -> pd.Index:
    """The lines, but for the newest, whose usual usage is less than BAND_SHARE of the busiest line's."""
    usual = windows.groupby("series")["usage_hours"].quantile(0.9)
    newest = windows.loc[windows["shade"] == 0, "series"].unique()
    return usual.index[usual < BAND_SHARE * usual.max()].difference(newest)


def _usage(
    windows: pd.DataFrame, stamps: Array, every: float, end: float, length: timedelta, stacked: bool
) -> tuple[pd.DataFrame, float, str]:
    """(usage hours by line and timestamp from y0 to y1 in the title's unit, top of the axis, title).

    Usage is 0 in the gaps of a line. The chart has steps, so each line ends with a timestamp at its last window's end.
    """
    moments = np.unique(windows["x"])
    gaps = moments[:-1][np.diff(moments) > 1.01 * every] + every
    few = stamps[:: 1 + len(stamps) // USAGE_STAMPS]
    grid = np.unique(np.concatenate([few, gaps, moments[-1:] + every]))
    hours = _mean_usage(windows, grid, every)
    if not stacked:
        hours = hours.iloc[:-1]
    highest = hours.to_numpy().sum(axis=1).max(initial=0.0) if stacked else hours.to_numpy().max(initial=0.0)
    unit, word = _usage_unit(highest)
    y1 = (hours.cumsum(axis=1) if stacked else hours) / unit
    y0 = y1 - hours / unit
    tidy = y1.stack().rename("y1").reset_index().assign(y0=y0.stack().to_numpy())
    shade = windows.drop_duplicates("series").set_index("series")["shade"]
    tidy["shade"] = tidy["series"].map(shade)
    tidy["x"] = tidy["x"].clip(upper=end)
    per = {timedelta(hours=1): "hour", timedelta(days=1): "day"}.get(length, f"{length.total_seconds() / 60:.0f} min")
    top, _ = nice_top(highest / unit, 2)
    return tidy.sort_values(["series", "x"], ignore_index=True), top, f"Usage, {word} per {per}"


def _mean_usage(windows: pd.DataFrame, grid: Array, every: float) -> pd.DataFrame:
    """Usage hours per window by grid point and series: the mean from each point to the next, 0 at the last."""
    place = np.searchsorted(grid, windows["x"], side="right") - 1
    sums = windows["usage_hours"].groupby([place, windows["series"]]).sum().unstack()
    count = np.append(np.round(np.diff(grid) / every).clip(min=1), 1)
    hours = sums.reindex(np.arange(len(grid))).fillna(0.0).div(count[: len(grid)], axis=0)
    return hours.set_axis(pd.Index(grid, name="x"), axis=0).rename_axis(columns="series")


def _usage_unit(highest: float) -> tuple[float, str]:
    for unit, word in ((1e6, "million hours"), (1e3, "thousand hours")):
        if highest >= 2 * unit:
            return unit, word
    return 1.0, "hours"
