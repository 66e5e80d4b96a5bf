"""Measures by version of one channel and platform."""

import math
from collections.abc import Iterable

from missioncontrol_nb.dashboard import messages
from missioncontrol_nb.dashboard.html.html import link, tag, text
from missioncontrol_nb.dashboard.html.svg import whisker
from missioncontrol_nb.dashboard.pages.components import (
    builds_switch,
    figure_and_interval,
    get_this,
    measure_spark,
    monitor_code,
)
from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.formatting import DASH, day
from missioncontrol_nb.monitor import ChannelTable, MeasureSummary, Rate, Version


def table(summary: ChannelTable, query: Query) -> str:
    """Measures by version: one row per measure, each linking to its detail."""
    rows = ordered(summary.rows, query.order)
    head = _table_head(summary, query)
    body = "".join(_table_row(row, summary, query) for row in rows)
    unit = "per 1000 usage hours" if query.show == "rate" else "as counts"
    named = f"Measures of {messages.channel_words(query)} on {messages.platform_label(query)} by version, {unit}"
    caption = tag("caption", text(named), css="mc-hidden")
    note = "Rates per 1000 usage hours. " if query.show == "rate" else "Events counted; changes are of the rates. "
    note += "A change is coloured only when its interval leaves “no change” out. " + builds_switch(query)
    drawn = tag("table", caption, tag("thead", tag("tr", *head)), tag("tbody", body), css="mc-table")
    return tag("div", drawn, tag("p", note, css="mc-small mc-note")) + get_this(query, table_code(query))


_RANK = {"up": 0, "down": 1, "level": 2, "early": 3, "none": 4}


def ordered(rows: Iterable[MeasureSummary], order: str) -> list[MeasureSummary]:
    """Measures in the given order, worst first or by name.

    Worst first: increases by size, then decreases, then no clear change, too little usage, not reported.
    """
    if order == "name":
        return sorted(rows, key=lambda row: messages.measure_label(row.measure).lower())

    def rank(row: MeasureSummary) -> tuple[int, float]:
        value = row.change.value if row.change is not None else 0.0
        value = value if math.isfinite(value) else math.inf  # an increase from zero is the largest
        return _RANK[messages.direction(row)], -value

    return sorted(rows, key=rank)


def _table_head(summary: ChannelTable, query: Query) -> list[str]:
    worst = query.order == "worst"
    first = "Measure, worst first" if worst else "Measure, by name"
    kind = "95 % interval" if query.show == "rate" else "count"
    previous = summary.previous.version if summary.previous else DASH
    since = "Since release,<br>scale −40 to +80 %"
    scale = (
        '<svg class="mc-whisker" style="height:16px" aria-hidden="true"><text x="33.3%" y="12" text-anchor="middle">0'
        '</text><text x="66.7%" y="12" text-anchor="middle">+40 %</text></svg>'
    )
    cells = [
        tag("th", first, scope="col", css="mc-left mc-sort", aria_sort="descending" if worst else "ascending"),
        tag(
            "th",
            tag("b", text(summary.newest.version), css="mc-key mc-v0"),
            kind,
            _unlisted(summary.newest),
            scope="col",
        ),
        tag("th", f"Change from<br>{text(previous)} at this age", scope="col"),
        tag("th", tag("span", "Change, drawn", css="mc-hidden"), scale, scope="col", css="mc-w"),
        tag("th", since, scope="col", css="mc-left mc-s"),
        tag("th", "Last<br>24 h", scope="col"),
        tag("th", "Count" if query.show == "rate" else "Rate", scope="col"),
    ]
    if summary.previous:
        cells.append(_version_head(summary.previous, "mc-v1"))
    for index, older in enumerate(summary.older):
        cells.append(_version_head(older, "mc-v2" if index == 0 else "mc-v-old"))
    return cells


def _version_head(version: Version, css: str) -> str:
    name = tag("b", text(version.version), css=f"mc-key {css}")
    return tag("th", name, day(version.released), _unlisted(version), scope="col")


def _unlisted(version: Version) -> str:
    return tag("small", text(messages.not_listed(version)), css="mc-unlisted") if version.not_listed_on else ""


def _table_row(row: MeasureSummary, summary: ChannelTable, query: Query) -> str:
    state = messages.direction(row)
    name = link(query.link(view="detail", measure=row.measure), text(messages.measure_label(row.measure)))
    shown = figure_and_interval(row.newest, query.show)
    other = figure_and_interval(row.newest, "count" if query.show == "rate" else "rate")

    def beside(rate: Rate | None) -> str:
        return figure_and_interval(rate, query.show, row.newest)[0]

    change, sure = messages.change_and_interval(row)
    drawn = whisker(state, row.change.value, row.change.lower, row.change.upper) if row.change else ""
    if state == "early":
        sure = "too little usage"
    if row.state == "not_reported":
        sure = "not reported"
    cells = [
        tag("th", name, scope="row"),
        tag("td", tag("span", shown[0], css="mc-num"), tag("small", shown[1]), css="mc-rc"),
        tag("td", tag("span", change, css="mc-chg"), tag("small", sure, title=row.why or None), css="mc-chg-cell"),
        tag("td", drawn, css="mc-w"),
        tag("td", measure_spark(row, summary), css="mc-s"),
        _side("Last 24 h", beside(row.last_24h)),
        _side("Count" if query.show == "rate" else "Rate", other[0]),
    ]
    if summary.previous:
        cells.append(_side(summary.previous.version, beside(row.previous), "mc-old"))
    for older in summary.older:
        cells.append(_side(older.version, beside(row.older.get(older.version)), "mc-old"))
    return tag("tr", *cells, css=f"mc-{state}", data_mc_key=row.measure)


def _side(name: str, value: str, css: str = "") -> str:
    return tag("td", value, css=f"mc-side {css}".strip(), data_name=name)


def table_code(query: Query) -> str:
    """The Python code that returns the data of the table."""
    return monitor_code(query) + f'monitor.table("{query.channel}", "{query.os_name}", "{query.period}").rows'
