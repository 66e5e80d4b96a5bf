"""One measure over time: the HTML around its chart."""

from dataclasses import fields
from typing import TYPE_CHECKING

from missioncontrol_nb.dashboard import messages, verdict_words
from missioncontrol_nb.dashboard.html.html import key, link, message, tag, text
from missioncontrol_nb.dashboard.judged import Judged
from missioncontrol_nb.dashboard.pages.components import evidence, figure_and_interval, get_this, monitor_code
from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.dashboard.reader import detail_request
from missioncontrol_nb.formatting import DASH, FIXED_SPACE, grouped, hours, moment, percent, rate_and_interval
from missioncontrol_nb.incidents import Incident
from missioncontrol_nb.judgement.verdicts import Figures
from missioncontrol_nb.monitor import Detail, DetailRequest, Rate

if TYPE_CHECKING:
    import pandas as pd


def chart_title(query: Query) -> str:
    """The title of the chart."""
    return tag("h3", text(messages.chart_title(query)))


def no_windows(detail: Detail, query: Query) -> str:
    """A message that replaces a chart that has nothing to show."""
    if detail.row.state == "not_reported":
        return message("Not reported", detail.row.why)
    interval = f"{moment(detail.since)} and {moment(detail.until)}"
    why = f"No ping of a version on {messages.channel_words(query)} came in between {interval}. Try a longer interval."
    return message("No usage in this interval", why)


def below_chart(detail: Detail, query: Query, judged: Judged) -> str:
    """Figures, the numbers behind the verdict, the table behind the chart if it is open, and the downloads."""
    note = messages.versions_not_listed(*detail.lines)
    standing = judged.standing(detail, detail.os_name, detail.row)
    return (
        incidents(detail, query, judged)
        + figures(detail, judged)
        + (tag("p", text(note), css="mc-small") if note else "")
        + evidence(standing, detail)
        + behind(detail, query)
        + get_this(query, detail_code(query), has_chart=True)
    )


MOST_OPEN = 3  # data incidents; longer lists are opened by a click


def incidents(detail: Detail, query: Query, judged: Judged) -> str:
    """The data incidents that the chart marks, with their numbers there; empty without any."""
    if detail.windows.empty:
        return ""
    from missioncontrol_nb.charts import incidents_shown  # brings Altair, which only pages with a chart have

    shown = incidents_shown(detail, query.time, query.hidden, judged.incidents)
    if not shown:
        return ""
    said = "1 data incident" if len(shown) == 1 else f"{len(shown)} data incidents"
    title = tag("summary", f"{said}, not judged")
    listed = tag("ol", *(_incident(each, detail) for each in shown))
    return tag("details", title, listed, css="mc-incidents", open=len(shown) <= MOST_OPEN)


def _incident(incident: Incident, detail: Detail) -> str:
    limits = [messages.measure_words(incident.measure)] if incident.measure else []
    limits += [detail.product.platform(incident.os_name).label] if incident.os_name else []
    limits += [incident.channel] if incident.channel else []
    is_one_day = incident.since.date() == incident.until.date()
    until = f"{incident.until:%H:%M} UTC" if is_one_day else moment(incident.until)
    when = f"{moment(incident.since).removesuffix(' UTC')} to {until}"
    name = f"{when}, {', '.join(limits)}" if limits else when
    # bdi: a text in another script, or with marks that change its direction, turns nothing around it.
    return tag("li", tag("b", text(name)), " ", tag("bdi", text(incident.text)), data_mc_key=incident.id)


def figures(detail: Detail, judged: Judged) -> str:
    """The figures of the measure: now against what is expected, since release, in the last 24 h."""
    row, newest, previous = detail.row, detail.newest, detail.previous
    if row.newest is None:
        return ""
    found = _judged_figures(detail, judged)
    if not found:
        found = [_rate_figure(key("mc-v0", newest.version) + " since release, as reported", row.newest)]
    if previous is not None and row.previous is not None:
        found.append(_rate_figure(key("mc-v1", previous.version) + " at the same age, as reported", row.previous))
    if detail.completeness:
        shares = [share for _, share in detail.completeness]
        by_hour = " · ".join(f"{start:%H:%M} {100 * share:.0f}" for start, share in detail.completeness)
        said = f"{percent(sum(shares) / len(shares))} in"
        found.append(_definition(f"Newest {len(shares)} hours", said, f"{by_hour}{FIXED_SPACE}%"))
    return tag("dl", *found, css="mc-figures")


def _judged_figures(detail: Detail, judged: Judged) -> list[str]:
    """The newest version's figures, with hours still to be reported estimated; empty where nothing is expected."""
    standing = judged.standing(detail, detail.os_name, detail.row)
    verdict = standing.verdict
    if verdict is None or verdict.now.expected_rate is None:
        return []
    now, whole = verdict.now, verdict.since_release
    name = key("mc-v0", detail.newest.version)
    found = []
    if verdict.since_rise is not None:
        began = verdict_words.since(standing, detail.newest).removesuffix(" UTC")
        found.append(_estimated(f"{name} {text(began)}", now))
    found.append(_estimated(f"{name} since release", whole))
    expected = verdict_words.rate_like(now.expected_rate, now)
    found.append(_definition("Expected", expected, f"acceptable {verdict_words.acceptable(verdict, now)}"))
    found.append(_definition("Against expected", verdict_words.size(now), verdict_words.size_interval(now)))
    found.append(_estimated(f"{name} in the last 24 h", verdict.last_day))
    return found


def _estimated(name: str, figures_: Figures) -> str:
    value, interval = verdict_words.rate(figures_)
    events = f"{grouped(figures_.events)} in {hours(figures_.usage_hours)}"
    return _definition(name, value, f"{interval} · {events}" if interval else events)


def _rate_figure(name: str, rate: Rate) -> str:
    value, interval = rate_and_interval(rate.value, rate.lower, rate.upper)
    events = f"{grouped(rate.events)} in {hours(rate.usage_hours)}"
    return _definition(name, value, f"{interval} · {events}" if interval else events)


def _definition(name: str, value: str, small: str) -> str:
    """A figure with its name; name is already HTML."""
    return tag("div", tag("dt", name), tag("dd", text(value), " ", tag("small", text(small))))


BEHIND_ROWS = 48


def behind(detail: Detail, query: Query) -> str:
    """The newest windows as a table, with a link that opens and closes it."""
    toggle = link(
        query.link(behind=not query.behind),
        "Table behind the chart",
        css="mc-toggle mc-open" if query.behind else "mc-toggle",
        aria_expanded="true" if query.behind else "false",
    )
    if not query.behind:
        return tag("div", toggle, css="mc-behind")
    lines = [line for line in detail.lines[:3] if line.name not in query.hidden] or list(detail.lines[:1])
    windows = detail.windows[detail.windows["line"].isin([line.name for line in lines])]
    by_line = {name: rows.set_index("window_start") for name, rows in windows.groupby("line", sort=False)}
    starts = sorted(windows["window_start"].unique(), reverse=True)
    head = [tag("th", "Window, UTC", scope="col")]
    for line in lines:
        head += [tag("th", text(line.label), scope="col"), tag("th", "Usage", scope="col")]
    rows = [_behind_row(start, [by_line.get(line.name) for line in lines], query) for start in starts[:BEHIND_ROWS]]
    drawn = tag(
        "table",
        tag("caption", "The newest windows of the chart", css="mc-hidden"),
        tag("thead", tag("tr", *head, tag("th", "Usage hours", scope="col"))),
        tag("tbody", *rows),
        css="mc-plain",
    )
    more = len(starts) - BEHIND_ROWS
    note = tag("p", f"{grouped(more)} earlier windows are in the CSV.", css="mc-small") if more > 0 else ""
    return tag("div", toggle, drawn, note, css="mc-behind")


def _behind_row(start: "pd.Timestamp", lines: "list[pd.DataFrame | None]", query: Query) -> str:
    cells = [tag("th", f"{start:%a %d %b %H:%M}", scope="row")]
    is_complete = True
    for rows in lines:
        if rows is None or start not in rows.index:
            cells += [tag("td", DASH), tag("td", DASH)]
            continue
        row = rows.loc[start]
        is_complete = is_complete and bool(row["complete"])
        shown = Rate(row["rate"], row["lower"], row["upper"], int(row["events"]), row["usage_hours"])
        value, interval = figure_and_interval(shown, query.show)
        cells += [tag("td", value, " ", tag("small", interval)), tag("td", hours(row["usage_hours"]))]
    last = tag("td", "complete" if is_complete else "incomplete")
    return tag("tr", *cells, last, data_mc_key=start.isoformat())


def detail_code(query: Query) -> str:
    """The Python code that returns the data of the chart."""
    request, usual = detail_request(query), DetailRequest()
    wanted = [f"{each.name}={getattr(request, each.name)!r}" for each in fields(request)
              if getattr(request, each.name) != getattr(usual, each.name)]  # fmt: skip
    place = f'"{query.channel}", "{query.os_name}", "{query.measure}"'
    return (
        f"import datetime\n{monitor_code(query)}"
        f"request = mc.monitor.DetailRequest({', '.join(wanted)})\n"
        f"monitor.detail({place}, request).windows"
    )
