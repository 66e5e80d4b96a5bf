"""The detail's chart: a specification that contains no values of its data.

Everything that depends on the data comes from named data sets. A refresh therefore leaves the specification equal, and
the page updates the drawing in place. Times are epoch milliseconds, stacks are summed in advance, and colours are the
style sheet's variables.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import altair as alt

from missioncontrol_nb.charts.detail_data import Show, Time, check_detail, detail_data
from missioncontrol_nb.charts.expected import HOUR_MS, NOTHING, Expected
from missioncontrol_nb.charts.theme import (
    ACCEPT_OPACITY,
    BAND_OPACITY,
    DASHES,
    DENSE_WIDTHS,
    INCIDENT_OPACITY,
    PALE_OPACITY,
    RATE_HEIGHT,
    SHADES,
    USAGE_HEIGHT,
    WIDTHS,
    Rows,
    on_axis,
    theme,
    variable,
)
from missioncontrol_nb.incidents import Incident
from missioncontrol_nb.monitor import Detail


def detail_chart(
    detail: Detail,
    *,
    show: Show,
    time: Time,
    hidden: str | Iterable[str] = (),
    narrow: bool = False,
    expected: Expected = NOTHING,
    incidents: Sequence[Incident] = (),
) -> alt.VConcatChart:
    """One measure's lines over time, or since each line's release, with usage hours below on the same x axis.

    show: events per 1000 usage hours with 95 % bands of the newest two lines, or events per window. hidden: see
    `shown_lines`. expected: what is drawn behind the newest line, and hours that are estimated. incidents: data
    incidents, of which those that concern the detail are marked. narrow: whether the screen is a phone. The page sets
    the chart's widths and colours (`VegaChart`). Raises MissionControlError where a column of the windows is missing.
    """
    check_detail(detail, show, time)
    dense = (detail.until - detail.since) / detail.every > DENSE_WINDOWS / (4 if narrow else 1)
    chart = _detail_drawing(show, time, narrow, dense)
    data = detail_data(
        detail, show=show, time=time, hidden=hidden, narrow=narrow, expected=expected, incidents=incidents
    )
    copy = chart.copy(deep=False)
    copy.datasets = {name: Rows(frame) for name, frame in data.items()}
    return copy


DENSE_WINDOWS = 500  # Intervals with more windows than this are drawn with thinner lines
EXTENT = "data('extent')[0]"
PLAIN_NUMBER = "format(datum.value, '~r')"  # The axis' default format would round to the digits its steps need
HERE = "hover.x && datum.x === hover.x[0]"  # The row under the pointer


@cache
def _detail_drawing(show: Show, time: Time, narrow: bool, dense: bool) -> alt.VConcatChart:
    """The chart without its data; it is the same for all data."""
    x = _detail_x(time, narrow)
    style = _stroke_style(DENSE_WIDTHS if dense else WIDTHS)
    above = _rate_layers(x, style, bands=show == "rate", by_age=time != "latest")
    below = _usage_layers(x, style, stacked=time == "latest")
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
    """The x axis; times are plain numbers because Vega-Lite would copy every row of a temporal column."""
    ticks = f"sequence(ceil({EXTENT}.x / {EXTENT}.tick) * {EXTENT}.tick, {EXTENT}.x2 + 1e-6, {EXTENT}.tick)"
    day = f"utcFormat(datum.value, '{'%d %b' if narrow else '%a %d %b'}')"
    words = f"{EXTENT}.tick >= {24 * HOUR_MS} || utchours(datum.value) === 0 ? {day} : utcFormat(datum.value, '%H:%M')"
    if time == "since_release":
        in_days = f"{EXTENT}.x2 > 120 && {EXTENT}.tick >= 24"
        words = f"'+' + ({in_days} ? datum.value / 24 + ' d' : datum.value + ' h')"
        words = f"datum.value === 0 ? 'release' : {words}"
    axis = alt.Axis(values=alt.ExprRef(ticks), labelExpr=words)
    if time == "latest":
        axis = alt.Axis(
            values=alt.ExprRef(ticks),
            labelExpr=words,
            labelAlign="left",
            labelOffset=0,
            labelFlush=False,
            labelPadding=4,
        )
    scale = alt.Scale(domain=[_extent("x"), _extent("x2")], nice=False, zero=False)
    return alt.X("x:Q", scale=scale, axis=axis)


def _shade_colour() -> alt.Color:
    scale = alt.Scale(domain=list(range(len(SHADES))), range=[variable(shade) for shade in SHADES])
    return alt.Color("shade:O", scale=scale, legend=None)


def _stroke_style(widths: Sequence[float]) -> dict[str, Any]:
    """Colour, width and dashes by rank."""
    domain = list(range(len(SHADES)))
    width = alt.Size("shade:O", scale=alt.Scale(type="ordinal", domain=domain, range=list(widths)), legend=None)
    dash = alt.StrokeDash("shade:O", scale=alt.Scale(type="ordinal", domain=domain, range=[*DASHES]), legend=None)
    return {"color": _shade_colour(), "size": width, "strokeDash": dash}


def _rate_layers(x: alt.X, style: dict[str, Any], bands: bool, by_age: bool) -> list[alt.Chart]:
    """The layers from back to front: incidents, bands, lines, hatching, releases, labels, what is at the pointer."""
    y = alt.Y("y:Q", scale=alt.Scale(domain=[0, _extent("top")], nice=False),
              axis=alt.Axis(values=alt.ExprRef(f"sequence(0, {EXTENT}.top * 1.001, {EXTENT}.step)"),
                            tickCount=99,  # With fewer, Vega drops every other value
                            labelExpr=PLAIN_NUMBER))  # fmt: skip
    windows, strokes = alt.Chart(alt.NamedData("windows")), alt.Chart(alt.NamedData("strokes"))
    pale = alt.Opacity("pale:O", scale=alt.Scale(type="ordinal", domain=[0, 1], range=[1, PALE_OPACITY]), legend=None)
    lines = strokes.mark_line(clip=True).encode(x=x, y=y, detail="stroke:N", opacity=pale, **style)
    band = windows.transform_filter("datum.banded").mark_area(opacity=BAND_OPACITY, clip=True)
    dots = windows.transform_filter(HERE).mark_point(
        filled=True, size=44, stroke=variable("surface"), strokeWidth=1.5, opacity=1, clip=True
    )
    extent = alt.Chart(alt.NamedData("extent")).mark_rule(opacity=0)  # Expressions see only data sets in use by a mark
    return [
        extent.encode(x=x),
        *_incident_layers(x, y, by_age),
        *_acceptable_layers(x, y),
        *([band.encode(x=x, y=on_axis(y, "lower"), y2="upper:Q", detail="stretch:N", color=_shade_colour())] * bands),
        lines.transform_filter("datum.shade > 0"),
        lines.transform_filter("datum.shade === 0"),
        _hatching("hatch", x, y),
        *_release_layers(x),
        *_rise_layers(x),
        *_incident_labels(x),
        _end_labels(x, y),
        *_pointer(x, RATE_HEIGHT),
        dots.encode(x=x, y=y, color=_shade_colour()),
    ]


def _hatching(name: str, x: alt.X, y: alt.Y) -> alt.Chart:
    rules = alt.Chart(alt.NamedData(name)).mark_rule(color=variable("hatch"), strokeWidth=1, clip=True)
    return rules.encode(x=x, x2="x2:Q", y=y, y2="y2:Q")


def _labels(name: str, chosen: str) -> alt.Chart:
    """The labels of a data set that are placed for plots as wide as this one."""
    return alt.Chart(alt.NamedData(name)).transform_filter(f"datum.least <= width && width < datum.below && {chosen}")


def _legible(data: alt.Chart, encoding: dict[str, Any], **style: Any) -> list[alt.Chart]:
    """Labels over their outline in the ground's colour, so that lines behind them do not cross them."""
    halo = style | {"stroke": variable("surface"), "strokeWidth": 4, "strokeJoin": "round", "opacity": 0.85}
    return [data.mark_text(**each).encode(**encoding, text="label:N") for each in (halo, style)]


def _beside_rule(x: alt.X, chosen: str, **style: Any) -> list[alt.Chart]:
    """Labels beside their rules, in rows from the top of the plot."""
    return _legible(
        _labels("labels", chosen),
        {"x": x, "y": alt.YValue(0)},
        align=alt.ExprRef("datum.right ? 'right' : 'left'"),
        dx=alt.ExprRef("datum.right ? -6 : 6"),
        dy=alt.ExprRef("2 + 18 * datum.row"),
        baseline="top",
        **style,
    )


def _release_layers(x: alt.X) -> list[alt.Chart]:
    """When versions came out: rules with labels."""
    rule = alt.Chart(alt.NamedData("releases")).mark_rule(color=variable("text-2"), strokeWidth=1).encode(x=x)
    return [rule, *_beside_rule(x, "datum.kind === 'release'", color=variable("text-2"))]


def _incident_layers(x: alt.X, y: alt.Y, by_age: bool) -> list[alt.Chart]:
    """Data incidents: bands behind all lines; since release strips by line."""
    bands = alt.Chart(alt.NamedData("incidents"))
    if by_age:
        return [bands.mark_rect(clip=True).encode(x=x, x2="x2:Q", y=y, y2="y2:Q", color=_shade_colour())]
    grey = bands.mark_rect(opacity=INCIDENT_OPACITY, color=variable("accept"), clip=True)
    return [grey.encode(x=x, x2="x2:Q", y=y, y2="y2:Q")]


def _incident_labels(x: alt.X) -> list[alt.Chart]:
    """The numbers and texts of incidents, at the bottom of the plot; there are none since release."""
    return _legible(
        _labels("labels", "datum.kind === 'incident'"),
        {"x": x, "y": alt.YValue(RATE_HEIGHT)},
        align=alt.ExprRef("datum.right ? 'right' : 'left'"),
        dx=alt.ExprRef("datum.right ? -4 : 4"),
        dy=-4,
        baseline="bottom",
        limit=alt.ExprRef("datum.room"),
        color=variable("text-2"),
    )


def _acceptable_layers(x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """The acceptable range, grey, with a dashed top and a label where nothing else is drawn."""
    band = alt.Chart(alt.NamedData("acceptable"))
    grey = variable("accept")
    words = _labels("acceptable_label", "true").mark_text(align="right", dx=-6, color=variable("text-2"))
    return [
        band.mark_area(opacity=ACCEPT_OPACITY, color=grey, clip=True).encode(x=x, y=on_axis(y, "lower"), y2="upper:Q"),
        band.mark_line(color=grey, strokeWidth=1, strokeDash=[2, 2], clip=True).encode(x=x, y=on_axis(y, "upper")),
        words.encode(x=x, y=y, text="label:N"),
    ]


def _rise_layers(x: alt.X) -> list[alt.Chart]:
    """When the newest version began to rise: a rule with a label, in the colour of its verdict."""
    layers: list[alt.Chart] = []
    for token, chosen in (("bad", "datum.bad === 1"), ("looks-bad", "datum.bad === 0")):
        rises = alt.Chart(alt.NamedData("rises")).transform_filter(chosen)
        rule = rises.mark_rule(color=variable(token), strokeWidth=2)
        layers += [
            rule.encode(x=x),
            *_beside_rule(x, f"datum.kind === 'rise' && {chosen}", fontWeight=600, color=variable(token)),
        ]
    return layers


def _end_labels(x: alt.X, y: alt.Y) -> alt.Chart:
    ends = alt.Chart(alt.NamedData("ends"))
    weight = alt.ExprRef("datum.shade === 0 ? 600 : 400")
    words = ends.mark_text(align="left", baseline="middle", dx=8, fontWeight=weight)
    return words.encode(x=x, y=y, text="label:N", color=_shade_colour())


def _pointer(x: alt.X, height: int) -> list[alt.Chart]:
    """A rule at the timestamp nearest to the pointer, and the invisible points that are searched for it."""
    times = alt.Chart(alt.NamedData("times"))
    found = times.properties(name="pointer").mark_point(opacity=0).encode(x=x, y=alt.YValue(height / 2))
    rule = times.transform_filter(HERE).mark_rule(color=variable("text-2"), strokeWidth=1, strokeDash=[1, 2])
    return [rule.encode(x=x), found]


def _hover(views: Sequence[str]) -> alt.TopLevelSelectionParameter:
    """The selection of the timestamp nearest to the pointer; a selection by touch stays until the next touch."""
    select = alt.PointSelectionConfig(
        type="point",
        on="pointermove, pointerdown",
        clear="pointerout[event.pointerType !== 'touch']",
        encodings=["x"],
        nearest=True,
        toggle=False,
    )
    return alt.TopLevelSelectionParameter(name="hover", select=select, views=list(views))


def _usage_layers(x: alt.X, style: dict[str, Any], stacked: bool) -> list[alt.Chart]:
    top = f"{EXTENT}.usage_top"
    y = alt.Y("y1:Q", scale=alt.Scale(domain=[0, _extent("usage_top")], nice=False), stack=None,
              axis=alt.Axis(values=alt.ExprRef(f"[0, {top} / 2, {top}]"), labelExpr=PLAIN_NUMBER))  # fmt: skip
    usage = alt.Chart(alt.NamedData("usage"))
    if stacked:
        scale = alt.Scale(type="ordinal", domain=list(range(len(SHADES))), range=[0.85, 0.3, 0.3, 0.3])
        seen = alt.Opacity("shade:O", legend=None, scale=scale)
        steps = usage.mark_area(interpolate="step-after", clip=True)
        drawn = steps.encode(x=x, y=y, y2="y0:Q", detail="series:N", color=_shade_colour(), opacity=seen)
    else:
        drawn = usage.mark_line(clip=True).encode(x=x, y=y, detail="series:N", **style)
    return [drawn, _hatching("usage_hatch", x, on_axis(y, "y")), *_pointer(x, USAGE_HEIGHT)]
