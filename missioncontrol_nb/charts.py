"""The charts: a frame or a summary in, an Altair chart out, and beside each the words that say what it shows.

A detail's chart holds no figure of its data: what moves with the data comes from named data sets, so a refresh leaves
the specification equal and the page updates its drawing in place. Times are epoch milliseconds, stacks are summed
here, colours are the style sheet's variables.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, Literal

import altair as alt
import numpy as np
import numpy.typing as npt
import pandas as pd

from missioncontrol_nb.releases import is_version, version_key
from streaming import contract
from streaming.errors import MissionControlError, unknown_name

from .dashboard.parts import PLATFORM_LABELS, moment, percent, rate_and_interval
from .monitor import Detail, Line, Rate

Show = Literal["rate", "count"]
Time = Literal["latest", "since_release"]
Array = npt.NDArray[np.float64]

OLDER = "older"  # the name that switches off all lines of rank 3 and more
SHADES = ("v0", "v1", "v2", "v-old")  # by rank; the last is for all older ones
WIDTHS = (2.75, 1.75, 1.25, 1.25)
DASHES: tuple[list[int], ...] = ([], [], [5, 3], [1, 3])
BAND_OPACITY = 0.18
LATE_OPACITY = 0.45
PLOT_WIDTH, NARROW_PLOT_WIDTH = 1100, 260  # pixels, about: for hatching and for where words fit
RATE_HEIGHT, USAGE_HEIGHT = 320, 72
MOST_STAMPS = 1200  # more than the screen has pixels for
LABEL_GAP = 15  # pixels between the labels at the lines' ends
HATCH_STEP = 9  # pixels
GAP_WINDOWS = 2  # a line bridges no more than this
ENOUGH_USAGE = 0.25  # of a line's busy windows: below it a rate says too little to set the scale
HOUR_MS = 3_600_000

DETAIL_COLUMNS = ("line", "window_start", "age_hours", "events", "usage_hours", "rate", "lower", "upper", "arrived",
                  "complete")  # fmt: skip
RATE_COLUMNS = ("window_start", "measure", "events", "usage_hours", "rate_per_1k_hours", "rate_lower", "rate_upper")


# ---------- the theme ----------
def variable(token: str) -> str:
    """A colour as the style sheet's variable, which the page resolves for light and dark."""
    return f"var(--mc-{token})"


@cache
def _light_tokens() -> Mapping[str, str]:
    """The style sheet's colours of the light look."""
    sheet = (Path(__file__).parent / "dashboard" / "look.css").read_text(encoding="utf-8")
    return dict(re.findall(r"--mc-([\w-]+): (#[0-9a-f]{6});", sheet.split("@media")[0]))


def light(token: str) -> str:
    """A colour of the light look, for charts that no page resolves variables for."""
    return _light_tokens()[token]


def theme(colour: Callable[[str], str] = variable) -> dict[str, Any]:
    """The one Vega-Lite configuration of all charts. colour: a token's colour, see `variable` and `light`."""
    return {
        "background": "transparent",
        "font": '-apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, Inter, "Noto Sans", "Liberation Sans", Arial, '
        "sans-serif",
        "padding": {"left": 0, "right": 4, "top": 4, "bottom": 4},
        "view": {"stroke": None},
        "concat": {"spacing": 12},
        "axis": {
            "labelFontSize": 12,
            "labelColor": colour("text-3"),
            "labelPadding": 6,
            "title": None,
            "domain": False,
            "ticks": False,
            "gridColor": colour("grid"),
            "gridWidth": 1,
        },
        "axisX": {
            "grid": False,
            "domain": True,
            "domainColor": colour("axis"),
            "ticks": True,
            "tickColor": colour("axis"),
            "tickSize": 4,
            "labelOverlap": True,
            "labelFlush": True,
        },
        "axisY": {"tickCount": 5, "minExtent": 32},
        "line": {"strokeWidth": 1.75, "strokeJoin": "round", "strokeCap": "round"},
        "area": {"opacity": BAND_OPACITY, "line": False},
        "bar": {"color": colour("usage")},
        "rule": {"color": colour("axis")},
        "text": {"fontSize": 12, "color": colour("text-2")},
        "legend": {"disable": True},
        "title": {
            "anchor": "start",
            "fontSize": 12,
            "fontWeight": "normal",
            "color": colour("text-3"),
            "offset": 8,
        },
        "range": {"category": [colour(shade) for shade in SHADES]},
    }


class Rows(alt.InlineDataset):
    """A frame as a chart's named data set: it becomes rows only where somebody asks for the whole specification."""

    _class_is_valid_at_instantiation = False

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as they were given."""
        return self._args[0]

    def to_dict(self, *_: Any, **__: Any) -> Any:
        """The rows as Vega-Lite takes them, missing values as null."""
        return self.frame.astype(object).where(self.frame.notna(), None).to_dict("records")


# ---------- the detail's data ----------
def shown_lines(lines: Iterable[Line], hidden: Collection[str]) -> list[Line]:
    """The lines that are switched on, newest first. hidden: names of lines, "older" for all of rank 3 and more."""
    on = [line for line in lines if line.name not in hidden and not (line.rank >= 3 and OLDER in hidden)]
    return sorted(on, key=lambda line: line.rank)


def detail_data(
    detail: Detail, *, show: Show, time: Time, hidden: Collection[str] = (), narrow: bool = False
) -> dict[str, pd.DataFrame]:
    """The data sets of `detail_chart` by name; x is epoch milliseconds, for time "since_release" hours of age.

    windows: a row per line and window (series: the line's place among the shown ones; y, lower, upper as drawn).
    strokes: what lines are drawn through, stretch by stretch. times: the time stamps. usage: hours below, stacked
    from y0 to y1. hatch, usage_hatch: diagonals over windows that still arrive. ends: labels at the lines' ends.
    releases: the newest version's release. extent: one row with the axes' ends, steps and title.
    """
    _check_columns(detail.windows, DETAIL_COLUMNS)
    lines = shown_lines(detail.lines, hidden)
    start, end = _x_extent(detail, lines, time)
    every = _every(detail, time)
    whole = _placed_windows(detail, lines, time, start, end)
    whole["y"] = whole["rate"] if show == "rate" else whole["events"]
    whole["stretch"] = _stretches(whole, every)
    top, step = _nice_top(_rate_top(whole) if show == "rate" else whole["y"].max())
    stamps = _kept_stamps(whole)
    windows = whole[whole["x"].isin(stamps)]
    usage, usage_top, title = _usage(whole, stamps, every, end, detail.every, stacked=time == "latest")
    late = _late_spans(whole, every, end)
    pixel = (end - start) / (NARROW_PLOT_WIDTH if narrow else PLOT_WIDTH)
    extent = {"x": start, "x2": end, "top": top, "step": step, "tick": _tick(end - start, time, narrow),
              "usage_top": usage_top, "usage_title": title}  # fmt: skip
    return {
        "extent": pd.DataFrame([extent]),
        "windows": windows.drop(columns=["line", "age_hours", "window_start"], errors="ignore"),
        "strokes": _strokes(windows, every),
        "times": pd.DataFrame({"x": np.unique(windows["x"])}),
        "usage": usage,
        "hatch": _hatch(late, pixel, RATE_HEIGHT, top),
        "usage_hatch": _hatch(late, pixel, USAGE_HEIGHT, usage_top),
        "ends": _ends(windows, lines, top, every, end, narrow),
        "releases": _releases(lines if time == "latest" else [], start, end, pixel, narrow),
    }


def _check_columns(frame: pd.DataFrame, expected: Iterable[str]) -> None:
    for name in expected:
        if name not in frame.columns:
            raise unknown_name("column", name, map(str, frame.columns))


def _milliseconds(times: Any) -> Array:
    utc = pd.DatetimeIndex(pd.to_datetime(times, utc=True))
    return np.asarray(utc.tz_localize(None).astype("datetime64[us]").astype("int64"), float) / 1000


def _every(detail: Detail, time: Time) -> float:
    """The length of a window on the x axis."""
    hours = detail.every / timedelta(hours=1)
    return hours if time == "since_release" else hours * HOUR_MS


def _x_extent(detail: Detail, lines: Sequence[Line], time: Time) -> tuple[float, float]:
    """The ends of the x axis; since release: as far as the newest shown line goes, a day at least."""
    if time == "latest":
        start, end = _milliseconds([detail.since, detail.until])
        return start, end
    length = (detail.until - detail.since) / timedelta(hours=1)
    age = (detail.until - lines[0].released) / timedelta(hours=1) if lines else length
    return 0.0, min(length, max(age, 24.0))


def _placed_windows(detail: Detail, lines: Sequence[Line], time: Time, start: float, end: float) -> pd.DataFrame:
    """The shown lines' windows with their place on the x axis, newest line first, then by time."""
    number = {line.name: place for place, line in enumerate(lines)}
    shade = {line.name: min(line.rank, len(SHADES) - 1) for line in lines}
    windows = detail.windows[detail.windows["line"].isin(list(number))]
    every = _every(detail, time)
    if time == "latest":
        x = _milliseconds(windows["window_start"])
    else:  # whole windows since release, so that lines share their stamps whatever the hour they went out at
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


def _stretches(windows: pd.DataFrame, every: float) -> Array:
    """A number for each stretch of a line without a gap: a longer gap than two windows is never bridged."""
    gap = windows["x"].diff() > every * (GAP_WINDOWS + 0.01)
    return (gap | (windows["series"].diff() != 0)).cumsum().to_numpy(float)


def _kept_stamps(windows: pd.DataFrame) -> Array:
    """The time stamps that are drawn: of each bucket those where the newest line is lowest and highest.

    Stamps of windows that still arrive and the last ones are always kept.
    """
    first = windows.drop_duplicates("x").set_index("x")["y"].sort_index()  # the newest line that has that stamp
    if len(first) <= MOST_STAMPS:
        return first.index.to_numpy(float)
    bucket = np.arange(len(first)) * (MOST_STAMPS // 2) // len(first)
    known = first.fillna(0.0).reset_index()
    by_bucket = known.groupby(bucket)["y"]
    places = np.concatenate([by_bucket.idxmin(), by_bucket.idxmax(), [0], np.arange(len(first) - 3, len(first))])
    late = windows.loc[windows["complete"] == 0, "x"]
    return np.union1d(known["x"].to_numpy(float)[places], late)


def _enough_usage(windows: pd.DataFrame) -> pd.DataFrame:
    """The complete windows that had a fair share of their line's usual usage; all windows where there are none."""
    complete = windows[(windows["complete"] == 1) & windows["rate"].notna()]
    usual = complete.groupby("series")["usage_hours"].transform(lambda hours: hours.quantile(0.9))
    enough = complete[complete["usage_hours"] >= ENOUGH_USAGE * usual]
    return enough if len(enough) else windows[windows["rate"].notna()]


def _rate_top(windows: pd.DataFrame) -> float:
    """The highest rate to make room for: what is sure anywhere, usual rates, and most of the bands.

    A release's first windows have hardly any usage; their rates and bands may leave the chart.
    """
    enough = _enough_usage(windows)
    bands = enough[enough["shade"] < 2]
    highest = [enough["lower"].max(), enough["rate"].quantile(0.98), bands["upper"].quantile(0.9)]
    return 1.05 * np.nanmax([*highest, 0.0])


def _nice_top(highest: float, most_steps: int = 5) -> tuple[float, float]:
    """(top of the axis, step of its ticks): round numbers, at most five steps."""
    if not (np.isfinite(highest) and highest > 0):
        return 1.0, 0.5
    power = 10.0 ** np.floor(np.log10(highest / most_steps))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if highest <= most_steps * power * factor)
    return float(np.ceil(highest / step - 1e-9) * step), float(step)


def _tick(length: float, time: Time, narrow: bool) -> float:
    """The distance of the x axis' ticks for that length of it."""
    hour = HOUR_MS if time == "latest" else 1
    steps = [hours * hour for hours in (1, 3, 6, 12, 24, 48, 96, 168, 336, 672, 1344)]
    return float(next((step for step in steps if length / step <= (4 if narrow else 9)), steps[-1]))


def _strokes(windows: pd.DataFrame, every: float) -> pd.DataFrame:
    """The points lines are drawn through: windows that still arrive are strokes of their own, tied to their neighbours.

    A window on its own gets a second point, so that it is seen as a dot.
    """
    late = windows["complete"] == 0
    same = windows["stretch"].diff() == 0
    own = (~same | (late != late.shift())).cumsum()
    points = windows[["x", "y", "shade", "usage_hours"]].assign(late=late.astype(float), stroke=own.astype(float))
    into, out_of = same & late & ~late.shift(fill_value=False), same & ~late & late.shift(fill_value=False)
    ties = [
        points.assign(late=1.0, stroke=points["stroke"].shift(-1))[into.shift(-1, fill_value=False)],
        points.assign(late=1.0, stroke=points["stroke"].shift(1))[out_of],
    ]
    tied = pd.concat([points, *ties], ignore_index=True)
    alone = tied[~tied.duplicated("stroke", keep=False)]
    return pd.concat([tied, alone.assign(x=alone["x"] + every / 10)], ignore_index=True)


def _usage(
    windows: pd.DataFrame, stamps: Array, every: float, end: float, length: timedelta, stacked: bool
) -> tuple[pd.DataFrame, float, str]:
    """(usage hours by line and stamp from y0 to y1 in the title's unit, top of the axis, title).

    No usage where a line or everything has a gap. Steps, so each line ends with a stamp at its last window's end.
    """
    moments = np.unique(windows["x"])
    gaps = moments[:-1][np.diff(moments) > 1.01 * every] + every
    last = moments[-1:] + every
    grid = np.unique(np.concatenate([stamps, gaps, last])) if stacked else stamps
    hours = windows.pivot_table(index="x", columns="series", values="usage_hours", aggfunc="sum").reindex(grid)
    hours = hours.fillna(0.0).rename_axis(index="x", columns="series")
    highest = hours.to_numpy().sum(axis=1).max(initial=0.0) if stacked else hours.to_numpy().max(initial=0.0)
    unit, word = _usage_unit(highest)
    y1 = (hours.cumsum(axis=1) if stacked else hours) / unit
    y0 = y1 - hours / unit
    tidy = y1.stack().rename("y1").reset_index().assign(y0=y0.stack().to_numpy())
    shade = windows.drop_duplicates("series").set_index("series")["shade"]
    tidy["shade"] = tidy["series"].map(shade)
    tidy["x"] = tidy["x"].clip(upper=end)
    per = {timedelta(hours=1): "hour", timedelta(days=1): "day"}.get(length, f"{length.total_seconds() / 60:.0f} min")
    top, _ = _nice_top(highest / unit, 2)
    return tidy.sort_values(["series", "x"], ignore_index=True), top, f"Usage, {word} per {per}"


def _usage_unit(highest: float) -> tuple[float, str]:
    for unit, word in ((1e6, "million hours"), (1e3, "thousand hours")):
        if highest >= 2 * unit:
            return unit, word
    return 1.0, "hours"


def _late_spans(windows: pd.DataFrame, every: float, end: float) -> list[tuple[float, float]]:
    """The stretches of the x axis in which some shown line's usage still arrives."""
    stamps = np.unique(windows.loc[windows["complete"] == 0, "x"])
    if not len(stamps):
        return []
    parts = np.split(stamps, np.flatnonzero(np.diff(stamps) > 1.01 * every) + 1)
    return [(float(part[0]), float(min(part[-1] + every, end))) for part in parts]


def _hatch(spans: Sequence[tuple[float, float]], pixel: float, height: int, top: float) -> pd.DataFrame:
    """Diagonals over the spans, clipped to the plot. pixel: its width in units of x; y: 0 to top."""
    parts = []
    for left, right in spans:
        width = max((right - left) / pixel, 1.0)
        starts = np.arange(-height, width, HATCH_STEP, dtype=float)
        low, high = np.maximum(starts, 0.0), np.minimum(starts + height, width)
        parts.append(
            np.column_stack(
                [left + low * pixel, left + high * pixel, (low - starts) / height, (high - starts) / height]
            )
        )
    lines = np.concatenate(parts) if parts else np.empty((0, 4))
    return pd.DataFrame({"x": lines[:, 0], "x2": lines[:, 1], "y": lines[:, 2] * top, "y2": lines[:, 3] * top})


def _ends(
    windows: pd.DataFrame, lines: Sequence[Line], top: float, every: float, end: float, narrow: bool
) -> pd.DataFrame:
    """The labels at the lines' ends: where the last complete windows are, moved apart to be read."""
    drawn = windows[windows["y"].notna()]
    last = drawn.drop_duplicates("series", keep="last").set_index("series")
    settled = drawn[drawn["complete"] == 1].groupby("series")["y"].agg(lambda values: values.tail(3).mean())
    level = settled.reindex(last.index).fillna(last["y"])
    place = _dodge(level.clip(0, top).to_numpy(float), LABEL_GAP * top / RATE_HEIGHT, top)
    x = np.where(last["x"] + 4 * every < end - 0.1 * abs(end - windows["x"].min()), last["x"], end)
    labels = [_short(lines[int(series)].label) if narrow else lines[int(series)].label for series in last.index]
    return pd.DataFrame({"x": x.astype(float), "y": place, "label": labels, "shade": last["shade"].to_numpy(float)})


def _short(label: str) -> str:
    return label.split(",")[0]


def _dodge(levels: Array, gap: float, top: float) -> Array:
    """The levels moved apart to at least gap, their mean kept where they fit between 0 and top."""
    order = np.argsort(levels, kind="stable")
    steps = gap * np.arange(len(levels))
    apart = np.maximum.accumulate(levels[order] - steps) + steps
    if len(apart):
        apart -= (apart - levels[order]).mean()
        apart += max(0.0, -apart[0]) - max(0.0, apart[-1] - top)
    placed = np.empty_like(apart)
    placed[order] = apart
    return placed


def _releases(lines: Sequence[Line], start: float, end: float, pixel: float, narrow: bool) -> pd.DataFrame:
    """The newest line's release as a rule with words, where it lies in the shown interval.

    right: whether the words end at the rule, which they do where there is room left of it.
    """
    newest = [line for line in lines if line.rank == 0]
    x = _milliseconds([line.released for line in newest])
    words = [f"{_short(line.label)} out" + ("" if narrow else f", {_moment(line.released)}") for line in newest]
    room = np.array([7.0 * len(label) + 12 for label in words]) * pixel
    rows = pd.DataFrame({"x": x, "label": words, "right": (x - start > room).astype(float)})
    return rows[(rows["x"] > start) & (rows["x"] < end)].reset_index(drop=True)


def _moment(when: datetime) -> str:
    return moment(when).removesuffix(" UTC")


# ---------- the detail's chart ----------
def detail_chart(
    detail: Detail, *, show: Show, time: Time, hidden: Collection[str] = (), narrow: bool = False
) -> alt.VConcatChart:
    """One measure's lines over time, or since each line's release, with usage hours below on the same x axis.

    show: events per 1000 usage hours with 95 % bands of the newest two lines, or events per window. hidden: see
    `shown_lines`. narrow: a phone. The chart's widths and colours are the page's (`VegaChart`). Raises
    MissionControlError where a column of the windows is missing.
    """
    chart = _detail_drawing(show, time, narrow)
    data = detail_data(detail, show=show, time=time, hidden=hidden, narrow=narrow)
    copy = chart.copy(deep=False)
    copy.datasets = {name: Rows(frame) for name, frame in data.items()}
    return copy


EXTENT = "data('extent')[0]"
HERE = "hover.x && datum.x === hover.x[0]"  # the row under the pointer


@cache
def _detail_drawing(show: Show, time: Time, narrow: bool) -> alt.VConcatChart:
    """The chart without its data: the same for all data."""
    x = _detail_x(time, narrow)
    above = _rate_layers(x, bands=show == "rate")
    below = _usage_layers(x, stacked=time == "latest")
    title = alt.TitleParams(text=_extent("usage_title"))
    return (
        alt.vconcat(
            alt.layer(*above).properties(width="container", height=RATE_HEIGHT),
            alt.layer(*below).properties(width="container", height=USAGE_HEIGHT, title=title),
        )
        .properties(config=theme(), params=[_hover(["pointer_0", "pointer_1"])])
        .resolve_scale(opacity="independent")
    )


def _extent(name: str) -> alt.ExprRef:
    return alt.ExprRef(f"{EXTENT}.{name}")


def _detail_x(time: Time, narrow: bool) -> alt.X:
    """The x axis. Times are plain numbers, for Vega-Lite would copy every row of a temporal column."""
    ticks = f"sequence(ceil({EXTENT}.x / {EXTENT}.tick) * {EXTENT}.tick, {EXTENT}.x2 + 1e-6, {EXTENT}.tick)"
    day = f"utcFormat(datum.value, '{'%d %b' if narrow else '%a %d %b'}')"
    words = f"{EXTENT}.tick >= {24 * HOUR_MS} || utchours(datum.value) === 0 ? {day} : utcFormat(datum.value, '%H:%M')"
    if time == "since_release":
        in_days = f"{EXTENT}.x2 > 120 && {EXTENT}.tick >= 24"
        words = f"'+' + ({in_days} ? datum.value / 24 + ' d' : datum.value + ' h')"
        words = f"datum.value === 0 ? 'release' : {words}"
    beside = {"labelAlign": "left", "labelOffset": 0, "labelFlush": False, "labelPadding": 4}
    axis = alt.Axis(values=alt.ExprRef(ticks), labelExpr=words, **(beside if time == "latest" else {}))
    scale = alt.Scale(domain=[_extent("x"), _extent("x2")], nice=False, zero=False)
    return alt.X("x:Q", scale=scale, axis=axis)


def _shade_colour() -> alt.Color:
    scale = alt.Scale(domain=list(range(len(SHADES))), range=[variable(shade) for shade in SHADES])
    return alt.Color("shade:O", scale=scale, legend=None)


def _stroke_style() -> dict[str, Any]:
    """Colour, width and dashes by rank."""
    domain = list(range(len(SHADES)))
    width = alt.Size("shade:O", scale=alt.Scale(type="ordinal", domain=domain, range=list(WIDTHS)), legend=None)
    dash = alt.StrokeDash("shade:O", scale=alt.Scale(type="ordinal", domain=domain, range=[*DASHES]), legend=None)
    return {"color": _shade_colour(), "size": width, "strokeDash": dash}


def _rate_layers(x: alt.X, bands: bool) -> list[alt.Chart]:
    """From back to front: bands, hatching, lines, the release, labels, what the pointer shows."""
    y = alt.Y("y:Q", scale=alt.Scale(domain=[0, _extent("top")], nice=False),
              axis=alt.Axis(values=alt.ExprRef(f"sequence(0, {EXTENT}.top * 1.001, {EXTENT}.step)"),
                            format="~r"))  # fmt: skip
    windows, strokes = alt.Chart(alt.NamedData("windows")), alt.Chart(alt.NamedData("strokes"))
    late = alt.Opacity("late:O", scale=alt.Scale(type="ordinal", domain=[0, 1], range=[1, LATE_OPACITY]), legend=None)
    lines = strokes.mark_line(clip=True).encode(x=x, y=y, detail="stroke:N", opacity=late, **_stroke_style())
    band = windows.transform_filter("datum.shade < 2").mark_area(opacity=BAND_OPACITY, clip=True)
    dots = windows.transform_filter(HERE).mark_point(
        filled=True, size=44, stroke=variable("surface"), strokeWidth=1.5, opacity=1, clip=True
    )
    extent = alt.Chart(alt.NamedData("extent")).mark_rule(opacity=0)  # expressions see only data that something draws
    return [
        extent.encode(x=x),
        *([band.encode(x=x, y=_on(y, "lower"), y2="upper:Q", detail="stretch:N", color=_shade_colour())] * bands),
        lines.transform_filter("datum.shade > 0"),
        lines.transform_filter("datum.shade === 0"),
        _hatching("hatch", x, y),
        *_release_layers(x),
        _end_labels(x, y),
        *_pointer(x, RATE_HEIGHT),
        dots.encode(x=x, y=y, color=_shade_colour()),
    ]


def _on(y: alt.Y, field: str) -> alt.Y:
    """The same axis for another column."""
    other = y.copy(deep=False)
    other.shorthand = f"{field}:Q"
    return other


def _hatching(name: str, x: alt.X, y: alt.Y) -> alt.Chart:
    rules = alt.Chart(alt.NamedData(name)).mark_rule(color=variable("hatch"), strokeWidth=1, clip=True)
    return rules.encode(x=x, x2="x2:Q", y=y, y2="y2:Q")


def _release_layers(x: alt.X) -> list[alt.Chart]:
    releases = alt.Chart(alt.NamedData("releases"))
    words = releases.mark_text(
        align=alt.ExprRef("datum.right ? 'right' : 'left'"),
        dx=alt.ExprRef("datum.right ? -6 : 6"),
        dy=2,
        baseline="top",
        color=variable("text-2"),
    )
    rule = releases.mark_rule(color=variable("text-2"), strokeWidth=1).encode(x=x)
    return [rule, words.encode(x=x, y=alt.YValue(0), text="label:N")]


def _end_labels(x: alt.X, y: alt.Y) -> alt.Chart:
    ends = alt.Chart(alt.NamedData("ends"))
    weight = alt.ExprRef("datum.shade === 0 ? 600 : 400")
    words = ends.mark_text(align="left", baseline="middle", dx=8, fontWeight=weight)
    return words.encode(x=x, y=y, text="label:N", color=_shade_colour())


def _pointer(x: alt.X, height: int) -> list[alt.Chart]:
    """A rule through the time stamp under the pointer, and the points that are looked through for it."""
    times = alt.Chart(alt.NamedData("times"))
    found = times.properties(name="pointer").mark_point(opacity=0).encode(x=x, y=alt.YValue(height / 2))
    rule = times.transform_filter(HERE).mark_rule(color=variable("text-2"), strokeWidth=1, strokeDash=[1, 2])
    return [rule.encode(x=x), found]


def _hover(views: Sequence[str]) -> alt.TopLevelSelectionParameter:
    """The time stamp nearest to the pointer; what a finger touched stays until the next touch."""
    select = alt.PointSelectionConfig(
        type="point",
        on="pointermove, pointerdown",
        clear="pointerout[event.pointerType !== 'touch']",
        encodings=["x"],
        nearest=True,
        toggle=False,
    )
    return alt.TopLevelSelectionParameter(name="hover", select=select, views=list(views))


def _usage_layers(x: alt.X, stacked: bool) -> list[alt.Chart]:
    top = f"{EXTENT}.usage_top"
    y = alt.Y("y1:Q", scale=alt.Scale(domain=[0, _extent("usage_top")], nice=False), stack=None,
              axis=alt.Axis(values=alt.ExprRef(f"[0, {top} / 2, {top}]"), format="~r"))  # fmt: skip
    usage = alt.Chart(alt.NamedData("usage"))
    if stacked:
        scale = alt.Scale(type="ordinal", domain=list(range(len(SHADES))), range=[0.85, 0.3, 0.3, 0.3])
        seen = alt.Opacity("shade:O", legend=None, scale=scale)
        steps = usage.mark_area(interpolate="step-after", clip=True)
        drawn = steps.encode(x=x, y=y, y2="y0:Q", detail="series:N", color=_shade_colour(), opacity=seen)
    else:
        drawn = usage.mark_line(clip=True).encode(x=x, y=y, detail="series:N", **_stroke_style())
    return [drawn, _hatching("usage_hatch", x, _on(y, "y")), *_pointer(x, USAGE_HEIGHT)]


# ---------- the detail's words ----------
def readout(detail: Detail, *, show: Show, time: Time, hidden: Collection[str] = ()) -> dict[str, Any]:
    """What fills the line above the chart (`VegaChart.readout`): what is read out, and HTML while nothing is."""
    lines = shown_lines(detail.lines, hidden)
    return {
        "dataset": "windows",
        "x": "x",
        "kind": "time" if time == "latest" else "age",
        "show": show,
        "series": [{"name": line.label, "class": f"mc-{SHADES[min(line.rank, len(SHADES) - 1)]}"} for line in lines],
        "quiet": escape(_quiet(detail, lines, show, time)),
    }


def _quiet(detail: Detail, lines: Sequence[Line], show: Show, time: Time) -> str:
    if not lines:
        return "All lines are switched off."
    windows = _placed_windows(detail, lines, time, *_x_extent(detail, lines, time))
    if windows.empty:
        return "No pings in this interval."
    parts = ["Bands: 95 % intervals."] if show == "rate" and lines[0].rank < 2 else []
    late = windows.loc[windows["complete"] == 0]
    if len(late):
        parts.append(f"Hatched: usage hours still arriving{_arrived(late['arrived'].dropna())}.")
    if detail.left_out:
        parts.append(f"{detail.left_out} windows of the highest rates are left out.")
    return " ".join([*parts, "Point at or touch the chart for figures."])


def _arrived(shares: pd.Series) -> str:
    if shares.empty:
        return ""
    low, high = percent(shares.min()), percent(shares.max())
    return f", {low} in" if low == high else f", {low.split()[0]} to {high} in"


def summary(detail: Detail, *, show: Show, time: Time, hidden: Collection[str] = ()) -> str:
    """The chart in one sentence with figures: its text alternative."""
    lines = shown_lines(detail.lines, hidden)
    measure = next(measure.label for measure in contract.MEASURES if measure.name == detail.row.measure)
    what = f"{measure} per 1000 usage hours" if show == "rate" else measure
    place = f"on {detail.channel}, {PLATFORM_LABELS[detail.os_name]}"
    if not lines:
        return f"{what} {place}: all lines are switched off."
    names = ", ".join(line.label for line in lines[:-1])
    names = " and ".join(filter(None, [names, lines[-1].label]))
    said = [*_said(detail.newest, detail.row.newest, show, "since its release"),
            *_said(detail.previous, detail.row.previous, show, "at the same age")]  # fmt: skip
    figures = f": {'; '.join(said)}" if said else ""
    return f"{what} of {names} {place}, by {_window_words(detail.every)} {_span(detail, lines, time)}{figures}."


def _said(version: Any, rate: Rate | None, show: Show, when: str) -> list[str]:
    if version is None or rate is None:
        return []
    if show == "count":
        return [f"{version.version} has {rate.events} {when}"]
    value, interval = rate_and_interval(rate.value, rate.lower, rate.upper)
    return [f"{version.version} has {value} ({interval}) {when}"] if interval else []


def _window_words(every: timedelta) -> str:
    words = {timedelta(hours=1): "hour", timedelta(days=1): "day"}
    return words.get(every, f"{every.total_seconds() / 60:.0f} min")


def _span(detail: Detail, lines: Sequence[Line], time: Time) -> str:
    if time == "latest":
        return f"from {_moment(detail.since)} to {moment(detail.until)}"
    return f"for the first {_x_extent(detail, lines, time)[1]:.0f} h since each release"


# ---------- for data scientists ----------
def rate_chart(rates: pd.DataFrame, *, color: str | None = None, title: str | None = None) -> alt.VConcatChart:
    """Rates over time with 95 % bands, a line per value of a key, a row per measure, usage hours below.

    rates: what `rates` makes of a loaded frame: `window_start`, `measure`, `events`, `usage_hours`,
    `rate_per_1k_hours`, `rate_lower`, `rate_upper` and its keys. color: the key whose values are lines; the only one
    unless named. Pointing at a window shows its figures. Raises MissionControlError for a column that is not there,
    and for keys that are left over: sum over them first.
    """
    _check_columns(rates, RATE_COLUMNS)
    key = _key(rates, color)
    lines, stack = rate_data(rates, key)
    domain = _values_of(lines["line"])
    style = _line_style(key, domain)
    x = alt.X("window_start:T", scale=alt.Scale(type="utc"))
    rows = [_rate_row(part, name, x, style) for name, part in lines.groupby("measure", sort=False)]
    y = alt.Y("y1:Q", axis=alt.Axis(tickCount=3, format="~s"), stack=None)
    usage = alt.Chart(stack, title="Usage hours per window", width=640, height=USAGE_HEIGHT)
    bars = usage.mark_area(interpolate="step-after", opacity=0.5).encode(x=x, y=y, y2="y0:Q", color=style["color"])
    heading = alt.TitleParams(title, fontSize=16, fontWeight=600, color=light("text")) if title else alt.Undefined
    config = theme(light) | {"background": light("surface"), "padding": 12}
    config["legend"] = {"labelColor": light("text-2"), "titleColor": light("text-3"), "symbolType": "stroke"}
    return alt.vconcat(*rows, bars, title=heading, config=config).resolve_scale(x="shared")


def rate_data(rates: pd.DataFrame, key: str | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(the rates with `line`, the key's value, and `stretch`; usage hours by line and window stacked from y0 to y1)."""
    lines = rates.assign(line=rates[key].astype(str) if key else "all")
    order = {name: place for place, name in enumerate(_values_of(lines["line"]))}
    placed = lines.assign(series=lines["line"].map(order), x=_milliseconds(lines["window_start"]))
    placed = placed.sort_values(["measure", "series", "x"], ignore_index=True)
    every = _shortest_step(placed["x"])
    placed["stretch"] = [f"{measure} {number}" for measure, number in zip(
        placed["measure"], _stretches(placed, every), strict=True)]  # fmt: skip
    once = placed.drop_duplicates(["series", "x"])
    hours = once.pivot_table(index="x", columns="line", values="usage_hours", aggfunc="sum", observed=True)
    hours = hours.reindex(columns=list(order)).fillna(0.0)
    hours.loc[hours.index.max() + every] = 0.0
    y1 = hours.cumsum(axis=1)
    stack = y1.stack().rename("y1").rename_axis(["x", "line"]).reset_index()
    stack["y0"] = (y1 - hours).stack().to_numpy()
    stack["window_start"] = pd.to_datetime(stack.pop("x"), unit="ms", utc=True)
    return placed.drop(columns=["series", "x"]), stack


def _shortest_step(x: pd.Series) -> float:
    steps = np.diff(np.unique(x))
    return float(steps.min()) if len(steps) else float(HOUR_MS)


def _key(rates: pd.DataFrame, color: str | None) -> str | None:
    keys = [str(name) for name in rates.columns if name not in RATE_COLUMNS]
    if color is not None and color not in keys:
        raise unknown_name("key", color, keys)
    if len(keys) > 1:
        raise MissionControlError(
            f"a line is drawn for each value of one key, but the rates have {', '.join(keys)}: load by one of them"
        )
    return keys[0] if keys else None


def _values_of(lines: pd.Series) -> list[str]:
    """A key's values in the order of the legend: versions newest first, all else by name."""
    values = [str(value) for value in lines.unique()]
    if all(is_version(value) for value in values):
        return sorted(values, key=version_key, reverse=True)
    return sorted(values)


def _line_style(key: str | None, values: Sequence[str]) -> dict[str, Any]:
    """Colours by line: versions as in the dashboard, all else by Vega's palette for categories."""
    legend = alt.Legend(title=key.replace("_", " ")) if key else None
    versions = key is not None and all(is_version(value) for value in values)
    colours = [light(SHADES[min(place, len(SHADES) - 1)]) for place in range(len(values))]
    palette = {"range": colours} if versions or len(values) == 1 else {"scheme": "tableau10"}
    style: dict[str, Any] = {"color": alt.Color("line:N", scale=alt.Scale(domain=values, **palette), legend=legend)}
    if versions:
        places = [min(place, len(SHADES) - 1) for place in range(len(values))]
        style["size"] = alt.Size(
            "line:N", scale=alt.Scale(domain=values, range=[WIDTHS[place] for place in places]), legend=None
        )
        style["strokeDash"] = alt.StrokeDash(
            "line:N", scale=alt.Scale(domain=values, range=[DASHES[place] for place in places]), legend=None
        )
    return style


def _rate_row(lines: pd.DataFrame, measure: str, x: alt.X, style: Mapping[str, Any]) -> alt.LayerChart:
    """One measure's lines over their bands, its figures under the pointer."""
    known = lines.rename(columns={"rate_per_1k_hours": "rate", "rate_lower": "lower", "rate_upper": "upper"})
    top, _ = _nice_top(_rate_top(known.assign(complete=1, series=known["line"], shade=0)))
    y = alt.Y("rate:Q", scale=alt.Scale(domain=[0, top], nice=False))
    base = alt.Chart(known, width=640, height=200)
    nearest = alt.selection_point(on="pointermove", nearest=True, clear="pointerout", empty=False)
    band = base.mark_area(opacity=BAND_OPACITY, clip=True)
    points = base.mark_point(filled=True, size=44, clip=True).add_params(nearest)
    figures = [
        alt.Tooltip("window_start:T", title="window", format="%a %d %b %H:%M"),
        alt.Tooltip("line:N"),
        alt.Tooltip("rate:Q", title="per 1000 usage hours", format=".3~r"),
        alt.Tooltip("lower:Q", format=".3~r"),
        alt.Tooltip("upper:Q", format=".3~r"),
        alt.Tooltip("events:Q", format=","),
        alt.Tooltip("usage_hours:Q", title="usage hours", format=",.0f"),
    ]
    seen = alt.condition(nearest, alt.value(1), alt.value(0))
    return alt.layer(
        band.encode(x=x, y=_on(y, "lower"), y2="upper:Q", color=style["color"], detail="stretch:N"),
        base.mark_line(clip=True).encode(x=x, y=y, detail="stretch:N", **style),
        points.encode(x=x, y=y, color=style["color"], opacity=seen, tooltip=figures),
        title=f"{measure.replace('_', ' ').capitalize()} per 1000 usage hours",
    )
