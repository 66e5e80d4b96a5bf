"""Measures by version of one channel and platform."""

from missioncontrol_nb.dashboard import messages, verdict_words
from missioncontrol_nb.dashboard.html.html import chip, link, tag, text, with_whole_dates
from missioncontrol_nb.dashboard.html.svg import whisker
from missioncontrol_nb.dashboard.judged import WORDS, Judged, Standing, is_compared, of_table, worst
from missioncontrol_nb.dashboard.pages.components import (
    builds_switch,
    evidence,
    figure_and_interval,
    get_this,
    measure_figures,
    monitor_code,
    small_drawing,
)
from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.formatting import day
from missioncontrol_nb.monitor import ChannelTable, MeasureSummary, Rate, Version
from streaming import contract


def table(summary: ChannelTable, query: Query, judged: Judged) -> str:
    """Measures by version: one row per measure that a shown version can report, each linking to its detail."""
    rows = [pair for pair in ordered(summary, query.order, judged) if not _is_left_out(pair[0], summary)]
    head = _table_head(summary, query, is_compared(of_table(judged, summary)))
    body = "".join(_table_row(row, standing, summary, query) for row, standing in rows)
    unit = "per 1000 hours of use" if query.show == "rate" else "as counts"
    named = f"Measures of {messages.channel_words(query)} on {messages.platform_label(query)} by version, {unit}"
    caption = tag("caption", text(named), css="mc-hidden")
    drawn = tag("table", caption, tag("thead", tag("tr", *head)), tag("tbody", body), css="mc-table")
    behind = evidence(worst(of_table(judged, summary)), summary)
    return (
        tag("div", drawn, tag("p", _note(summary, query, judged), css="mc-small mc-note"))
        + behind
        + get_this(query, table_code(query))
    )


def _note(summary: ChannelTable, query: Query, judged: Judged) -> str:
    note = "" if query.show == "rate" else "Events counted; verdicts and drawings are of the rates. "
    note += "Rates per 1000 hours of use. "
    if is_compared(of_table(judged, summary)):
        newest = text(summary.newest.version)
        note += f"{newest}: hours still to be reported are estimated; of what is or looks bad, since it began. "
        note += "Others: as reported at the same age. Grey: the acceptable range; an arrow: the scale is left. "
    left_out = [row.measure for row in summary.rows if _is_left_out(row, summary)]
    if left_out:
        note += text(f"No version here can report {messages.measures_words(left_out)}. ")
    return note + builds_switch(query)


def _is_left_out(row: MeasureSummary, summary: ChannelTable) -> bool:
    """Whether no shown version can report a measure; those of the score and the cards are shown all the same."""
    product, measure = summary.product, contract.measure(row.measure)
    shown = [each.version for each in (summary.newest, summary.previous, *summary.older) if each]
    return (
        row.state == "not_reported"
        and row.measure not in (*product.score, *product.cards)
        and all(product.why_not_reported(measure, summary.os_name, version) for version in shown)
    )


def ordered(summary: ChannelTable, order: str, judged: Judged) -> list[tuple[MeasureSummary, Standing]]:
    """Measures with what is said of each, in the given order: worst first, or by name.

    Worst first: bad by evidence and by how bad it is now, then looks bad, too early to say, fine, not reported.
    """
    rows = list(zip(summary.rows, of_table(judged, summary), strict=True))
    if order == "name":
        return sorted(rows, key=lambda pair: messages.measure_label(pair[0].measure).lower())
    return sorted(rows, key=lambda pair: pair[1].sort_key)


def _table_head(summary: ChannelTable, query: Query, is_estimated: bool) -> list[str]:
    worst = query.order == "worst"
    first = "Measure, worst first" if worst else "Measure, by name"
    interval = "90 % interval" if is_estimated else "95 % interval"
    kind = interval if query.show == "rate" else "count"
    since = "Since release,<br>scale −40 to +80 %"
    scale = (
        '<svg class="mc-whisker" style="height:16px" aria-hidden="true"><text x="33.3%" y="12" text-anchor="middle">0'
        '</text><text x="66.7%" y="12" text-anchor="middle">+40 %</text></svg>'
    )
    cells = [
        tag("th", first, scope="col", css="mc-left mc-sort", aria_sort="descending" if worst else "ascending"),
        tag("th", "Verdict", scope="col", css="mc-left"),
        tag(
            "th",
            tag("b", text(summary.newest.version), css="mc-key mc-v0"),
            kind,
            _unlisted(summary.newest),
            scope="col",
        ),
        tag("th", "Against<br>expected", scope="col"),
        tag("th", tag("span", "Against expected, drawn", css="mc-hidden"), scale, scope="col", css="mc-w"),
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
    return (
        tag("small", with_whole_dates(messages.not_listed(version)), css="mc-unlisted") if version.not_listed_on else ""
    )


def _table_row(row: MeasureSummary, standing: Standing, summary: ChannelTable, query: Query) -> str:
    name = link(query.link(view="detail", measure=row.measure), text(messages.measure_label(row.measure)))
    figures = measure_figures(row, standing, query.period)
    counted = figure_and_interval(row.newest, "count")[0]
    shown = (figures.rate, figures.interval) if query.show == "rate" else (counted, "")
    other = counted if query.show == "rate" else figures.rate

    def beside(rate: Rate | None) -> str:
        return figure_and_interval(rate, query.show, row.newest)[0]

    last_day = figures.last_day if query.show == "rate" else beside(row.last_24h)
    why = verdict_words.why_early(standing) or None
    cells = [
        tag("th", name, scope="row"),
        tag("td", chip(standing.state, WORDS[standing.state], title=why), css="mc-left mc-said"),
        tag("td", tag("span", shown[0], css="mc-num"), tag("small", text(shown[1])), css="mc-rc"),
        tag("td", tag("span", figures.change, css="mc-chg"), tag("small", figures.change_interval), css="mc-chg-cell"),
        tag("td", _drawn(standing), css="mc-w"),
        tag("td", small_drawing(row, summary, standing), css="mc-s"),
        _side("Last 24 h", last_day),
        _side("Count" if query.show == "rate" else "Rate", other),
    ]
    if summary.previous:
        cells.append(_side(summary.previous.version, beside(row.previous), "mc-old"))
    for older in summary.older:
        cells.append(_side(older.version, beside(row.older.get(older.version)), "mc-old"))
    return tag("tr", *cells, css=f"mc-{standing.state}", data_mc_key=row.measure)


def _drawn(standing: Standing) -> str:
    """The rate against the expected one, over the acceptable range; empty where nothing is expected."""
    verdict = standing.verdict
    if verdict is None or verdict.now.ratio is None:
        return ""
    now, healthy = verdict.now, verdict.course.healthy
    lower, upper = (now.ratio_lower or 0.0) - 1, (now.ratio_upper or 0.0) - 1
    return whisker(standing.state, verdict.now.ratio - 1, lower, upper, (1 / healthy - 1, healthy - 1))


def _side(name: str, value: str, css: str = "") -> str:
    return tag("td", value, css=f"mc-side {css}".strip(), data_name=name)


def table_code(query: Query) -> str:
    """The Python code that returns the data of the table."""
    return monitor_code(query) + f'monitor.table("{query.channel}", "{query.os_name}", "{query.period}").rows'
