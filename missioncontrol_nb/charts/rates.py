"""The chart of a frame of rates, for data scientists."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from missioncontrol_nb import arguments
from missioncontrol_nb.charts.detail_data import milliseconds, nice_top, rate_top, stretches
from missioncontrol_nb.charts.expected import HOUR_MS
from missioncontrol_nb.charts.theme import BAND_OPACITY, DASHES, SHADES, USAGE_HEIGHT, WIDTHS, light, on_axis, theme
from missioncontrol_nb.formatting import measure_label
from missioncontrol_nb.releases.versions import version_key
from streaming.errors import MissionControlError
from streaming.pings.validation import is_version

NUMBERS = ("events", "usage_hours", "rate_per_1k_hours", "rate_lower", "rate_upper")
RATE_COLUMNS = ("window_start", "measure", *NUMBERS)


def rate_chart(rates: pd.DataFrame, *, color: str | None = None, title: str | None = None) -> alt.VConcatChart:
    """Rates over time with 95 % bands, a line per value of a key, a row per measure, usage hours below.

    rates: the result of `rates` for a loaded frame: `window_start`, `measure`, `events`, `usage_hours`,
    `rate_per_1k_hours`, `rate_lower`, `rate_upper` and its keys. color: the key whose values are lines; by default the
    only key. Pointing at a window shows its figures. Raises MissionControlError where a column is missing, where the
    frame has further keys (sum over them first), and where a line has two rates of a measure at one time.
    """
    arguments.frame("rates", rates, RATE_COLUMNS)
    if title is not None:
        arguments.text("title", title)
    key = _key(rates, color)
    lines, stack = rate_data(rates, key)
    domain = _values_of(lines["line"])
    style = _line_style(key, domain)
    words = "utchours(datum.value) ? utcFormat(datum.value, '%H:%M') : utcFormat(datum.value, '%a %d %b')"
    x = alt.X("window_start:T", scale=alt.Scale(type="utc"), axis=alt.Axis(labelExpr=words))
    measures = list(dict.fromkeys(rates["measure"]))
    rows = [_rate_row(lines[lines["measure"] == name], name, x, style) for name in measures]
    y = alt.Y("y1:Q", axis=alt.Axis(tickCount=3, format="~s"), stack=None)
    usage = alt.Chart(stack, title="Usage hours per window", width=640, height=USAGE_HEIGHT)
    bars = usage.mark_area(interpolate="step-after", opacity=0.5).encode(x=x, y=y, y2="y0:Q", color=style["color"])
    heading = alt.TitleParams(title, fontSize=16, fontWeight=600, color=light("text")) if title else alt.Undefined
    config = theme(light) | {"background": light("surface"), "padding": 12}
    legend = {"labelColor": light("text-2"), "titleColor": light("text-3"), "labelFontSize": 12, "titleFontWeight": 400}
    config["legend"] = legend | {"symbolType": "stroke", "symbolSize": 400, "symbolOpacity": 1}
    return alt.vconcat(*rows, bars, title=heading, config=config).resolve_scale(x="shared")


def rate_data(rates: pd.DataFrame, key: str | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(rates with `line`, the key's value, and `stretch`; usage hours by line and window, stacked from y0 to y1)."""
    rates = _checked(rates, *([key] if key else []))
    lines = rates.assign(line=rates[key].astype(str) if key else "all")
    order = {name: place for place, name in enumerate(_values_of(lines["line"]))}
    placed = lines.assign(series=lines["line"].map(order), x=milliseconds(lines["window_start"]))
    if placed.duplicated(["measure", "line", "x"]).any():
        raise MissionControlError("a line has two rates of a measure at one time: sum first, then rate")
    placed = placed.sort_values(["measure", "series", "x"], ignore_index=True)
    every = _shortest_step(placed["x"])
    placed["stretch"] = [f"{measure} {number}" for measure, number in zip(
        placed["measure"], stretches(placed, every), strict=True)]  # fmt: skip
    once = placed.drop_duplicates(["series", "x"])
    hours = once.pivot_table(index="x", columns="line", values="usage_hours", aggfunc="sum", observed=True)
    hours = hours.reindex(columns=list(order)).fillna(0.0)
    hours.loc[hours.index.max() + every] = 0.0
    y1 = hours.cumsum(axis=1)
    stack = y1.stack().rename("y1").rename_axis(["x", "line"]).reset_index()
    stack["y0"] = (y1 - hours).stack().to_numpy()
    stack["window_start"] = pd.to_datetime(stack.pop("x"), unit="ms", utc=True)
    return placed.drop(columns=["series", "x"]), stack


def _checked(rates: pd.DataFrame, *keys: str) -> pd.DataFrame:
    """The rates with each column in its type; raises MissionControlError where one is missing or has a wrong type."""
    arguments.frame("rates", rates, [*RATE_COLUMNS, *keys])
    named = {name: f"rates[{name!r}]" for name in RATE_COLUMNS}
    numbers = {name: arguments.column_of_numbers(named[name], rates[name]) for name in NUMBERS}
    return rates.assign(
        window_start=arguments.column_of_times(named["window_start"], rates["window_start"]),
        measure=arguments.column_of_text(named["measure"], rates["measure"]),
        **numbers,
    )


def _shortest_step(x: pd.Series) -> float:
    steps = np.diff(np.unique(x))
    return float(steps.min()) if len(steps) else float(HOUR_MS)


def _key(rates: pd.DataFrame, color: str | None) -> str | None:
    keys = [str(name) for name in rates.columns if name not in RATE_COLUMNS]
    if color is not None:
        arguments.choice("key", color, keys)
    if len(keys) > 1:
        raise MissionControlError(
            f"a line is drawn for each value of one key, but the rates have {', '.join(keys)}: load by one of them"
        )
    return keys[0] if keys else None


def _values_of(lines: pd.Series) -> list[str]:
    """A key's values in the order of the legend: versions newest first, other values by name."""
    values = [str(value) for value in lines.unique()]
    if all(is_version(value) for value in values):
        return sorted(values, key=version_key, reverse=True)
    return sorted(values)


def _line_style(key: str | None, values: Sequence[str]) -> dict[str, Any]:
    """Colours by line, for versions also dashes: versions as in the dashboard, other keys by Vega's palette."""
    legend = alt.Legend(title=key.replace("_", " ")) if key else None
    versions = key is not None and all(is_version(value) for value in values)
    colours = [light(SHADES[min(place, len(SHADES) - 1)]) for place in range(len(values))]
    palette = {"range": colours} if versions or len(values) == 1 else {"scheme": "tableau10"}
    style: dict[str, Any] = {
        "color": alt.Color("line:O", sort=values, scale=alt.Scale(domain=values, **palette), legend=legend)
    }
    if versions:
        places = [min(place, len(SHADES) - 1) for place in range(len(values))]
        dashes = [DASHES[place] for place in places]
        style["strokeDash"] = alt.StrokeDash("line:O", scale=alt.Scale(domain=values, range=dashes), legend=legend)
    return style


# A custom tooltip expression: Vega-Lite's default shows "undefined" for text and times in the reader's time zone.
# With selection of the nearest point, the row is `datum.datum`.
POINTED = (
    "{'window': utcFormat(datum.window_start, '%a %d %b %H:%M') + ' UTC', 'line': datum.line, "
    "'per 1000 usage hours': isNumber(datum.rate) ? format(datum.rate, '.3~r') + ' (' + format(datum.lower, '.3~r') + "
    "' to ' + format(datum.upper, '.3~r') + ')' : '–', 'events': format(datum.events, ','), "
    "'usage hours': format(datum.usage_hours, ',.0f')}"
).replace("datum.", "(datum.datum || datum).")


def _rate_row(lines: pd.DataFrame, measure: str, x: alt.X, style: Mapping[str, Any]) -> Any:
    """One measure's lines over their bands, with a tooltip of its figures."""
    known = lines.rename(columns={"rate_per_1k_hours": "rate", "rate_lower": "lower", "rate_upper": "upper"})
    top, _ = nice_top(rate_top(known.assign(complete=1, series=known["line"], shade=0)))
    y = alt.Y("rate:Q", scale=alt.Scale(domain=[0, top], nice=False))
    base = alt.Chart(known, width=640, height=200)
    nearest = alt.selection_point(name=f"at_{measure}", on="pointermove", nearest=True, clear="pointerout", empty=False)
    names = list(dict.fromkeys(known["line"]))
    versions = "strokeDash" in style
    banded = known[known["line"].isin(names[:2])] if versions else known
    band = alt.Chart(banded).mark_area(opacity=BAND_OPACITY, clip=True)
    newest = alt.Chart(known[known["line"] == names[0]]).mark_line(clip=True, strokeWidth=WIDTHS[0])
    points = base.mark_point(filled=True, size=44, clip=True).add_params(nearest)
    figures = alt.TooltipValue(alt.ExprRef(POINTED))
    seen = alt.condition(nearest, alt.value(1), alt.value(0))
    return alt.layer(
        band.encode(x=x, y=on_axis(y, "lower"), y2="upper:Q", color=style["color"], detail="stretch:N"),
        base.mark_line(clip=True, strokeWidth=WIDTHS[1]).encode(x=x, y=y, detail="stretch:N", **style),
        *([newest.encode(x=x, y=y, detail="stretch:N", color=style["color"])] * versions),
        points.encode(x=x, y=y, color=style["color"], opacity=seen, tooltip=figures),
        title=f"{measure_label(measure)} per 1000 usage hours",
    )
