"""The pages' own HTML: each function takes a summary of the monitor and the state, and returns escaped HTML."""

import math
from collections.abc import Iterable
from datetime import datetime, timedelta

from ..monitor import ChannelSummary, ChannelTable, MeasureSummary, Overview, PlatformSummary, Rate, largest_change
from . import words
from .parts import (
    CHANNEL_LABELS,
    DASH,
    PLATFORM_LABELS,
    button,
    chip,
    day,
    duration,
    grouped,
    headline,
    hour_bars,
    key,
    link,
    message,
    moment,
    percent,
    rate_and_interval,
    skeleton,
    spark,
    tag,
    text,
    whisker,
)
from .state import Query

CARD_MEASURES = ("content_crashes", "main_crashes")
SCORE_TITLE = (
    "Main plus content crashes per 1000 usage hours, platforms weighted by the previous version's usage; "
    "platforms without usage are left out"
)


# ---------- the top of every page ----------
def top(query: Query, data_up_to: datetime | None, stale_after_seconds: float) -> str:
    """Where am I, and how fresh is what I see."""
    crumbs = _crumbs(query)
    steps = [tag("div", link(href, text(label))) for label, href in crumbs[:-1]]
    last = crumbs[-1][0]
    steps.append(tag("div", tag("h1", text(last), aria_current="page")))
    nav = tag("nav", *steps, css="mc-crumbs", aria_label="Where you are")
    return tag("header", nav, freshness(data_up_to, stale_after_seconds), css="mc-top")


def _crumbs(query: Query) -> list[tuple[str, str]]:
    """Labels and addresses from the front page to here."""
    home = query.link(view="overview", channel="release")
    channel = CHANNEL_LABELS[query.channel], query.link(view="overview")
    steps = [("Mission Control", home), channel]
    if query.view != "overview":
        steps.append((PLATFORM_LABELS[query.os_name], query.link(view="table")))
    if query.view == "detail":
        steps.append((words.measure_label(query.measure), query.search))
    return steps


def freshness(data_up_to: datetime | None, stale_after_seconds: float) -> str:
    """The freshness clock; the page's script keeps it ticking, also when the kernel is gone."""
    if data_up_to is None:
        return tag("span", "No data yet", css="mc-fresh mc-stale", role="status")
    up_to = f"Data up to {data_up_to:%H:%M:%S} UTC"
    return tag(
        "span",
        text(up_to),
        css="mc-fresh",
        role="status",
        data_mc_up_to=int(data_up_to.timestamp() * 1000),
        data_mc_stale_after=int(stale_after_seconds),
    )


# ---------- overview ----------
def overview(summary: Overview, query: Query) -> str:
    """The whole front page below its top line."""
    channel = next((each for each in summary.channels if each.channel == query.channel), None)
    if channel is None or channel.newest is None:
        body = tag("div", no_release(query), css="mc-panel")
        return words_headline(*words.no_release_headline(query.channel)) + matrix(summary, query) + body
    parts = [
        words_headline(*words.channel_headline(channel)),
        matrix(summary, query),
        channel_line(channel, summary.now),
        tag(
            "section",
            *(card(channel, platform, query, summary.data_up_to) for platform in channel.platforms),
            css="mc-cards",
            aria_label=f"Platforms of the {words.place(channel.channel)} channel",
        ),
        legend(channel, query),
    ]
    return "".join(parts)


def words_headline(state: str, sentence: str, line: str) -> str:
    """The page's one headline."""
    return headline(state, sentence, line)


def no_release(query: Query) -> str:
    """What stands in the place of the cards when the channel has no release with usage."""
    return message(
        f"No release on {words.place(query.channel)} has sent usage yet",
        "This page fills by itself as soon as pings of a release on the calendar arrive.",
    )


def matrix(summary: Overview, query: Query) -> str:
    """All channels by all platforms, each cell with its largest change."""
    platforms = tuple(PLATFORM_LABELS)
    head = "".join(tag("th", text(PLATFORM_LABELS[os_name]), scope="col") for os_name in platforms)
    head = (
        tag("th", "Channel, newest version", scope="col")
        + head
        + tag("th", "Score and change", scope="col", css="mc-right", title=SCORE_TITLE)
    )
    rows = "".join(_matrix_row(channel, platforms, query) for channel in summary.channels)
    caption = tag("caption", "The largest change for each channel and platform", css="mc-hidden")
    return tag("table", caption, tag("thead", tag("tr", head)), tag("tbody", rows), css="mc-matrix")


def _matrix_row(channel: ChannelSummary, platforms: Iterable[str], query: Query) -> str:
    chosen = channel.channel == query.channel
    version = channel.newest.version if channel.newest else DASH
    name = text(CHANNEL_LABELS[channel.channel]) + " " + tag("span", text(version), css="mc-small")
    address = query.link(view="overview", channel=channel.channel)
    cells = [tag("th", link(address, name, aria_current="true" if chosen else None), scope="row")]
    by_name = {platform.os_name: platform for platform in channel.platforms}
    cells += [_matrix_cell(channel.channel, os_name, by_name.get(os_name), query) for os_name in platforms]
    return tag("tr", *cells, _score_cell(channel), css="mc-on" if chosen else "")


def _matrix_cell(channel: str, os_name: str, platform: PlatformSummary | None, query: Query) -> str:
    if platform is None or platform.state == "no_release":
        return tag("td", tag("span", chip("none", "No release"), css="mc-cell"))
    found = largest_change(platform)
    if found is None:
        inner = chip(*platform_chip(platform))
    else:
        inner = chip(words.direction(found), words.change_and_interval(found)[0], title=words.sureness(found.change))
        inner += tag("span", text(words.measure_short(found.measure)), css="mc-change")
    return tag("td", link(query.link(view="table", channel=channel, os_name=os_name), inner, css="mc-cell"))


def platform_chip(platform: PlatformSummary) -> tuple[str, str]:
    """State and words of a platform without a change that stands out."""
    if platform.state == "measured":
        return "level", "No clear change"
    return "early", "Too little usage"


def _score_cell(channel: ChannelSummary) -> str:
    if channel.score is None:
        return tag("td", DASH, css="mc-score")
    value, _ = rate_and_interval(channel.score.value, channel.score.lower, channel.score.upper)
    change = channel.score_change
    size = ""
    if change is not None:
        direction = "mc-" + words.direction_of(change)
        size = tag("span", text(words.percent_of(change)), css=f"mc-small {direction}", title=words.sureness(change))
    return tag("td", tag("b", value), " ", size, css="mc-score")


def channel_line(channel: ChannelSummary, now: datetime) -> str:
    """The chosen channel's own line: versions, age, score, and the sentence to copy."""
    newest, previous = channel.newest, channel.previous
    against = f" against {previous.version}" if previous else ""
    title = tag("h2", text(f"{CHANNEL_LABELS[channel.channel]}: {newest.version}{against}"))
    out = f"Out since {moment(newest.released)}, {duration(now - newest.released)}."
    if previous:
        out += f" Every change compares with {previous.version} at the same age."
    left = tag("div", title, tag("p", text(out), css="mc-quiet"))
    sentence = words.sentence_to_copy(channel, now)
    say = tag(
        "div", tag("p", text(sentence)), button("Copy sentence", "copy-text", data_mc_text=sentence), css="mc-say"
    )
    return tag("section", left, _score(channel), say, css="mc-channel", aria_label=CHANNEL_LABELS[channel.channel])


def _score(channel: ChannelSummary) -> str:
    if channel.score is None:
        return tag("div", tag("span", "Not enough usage for a score"), css="mc-topline")
    value, _ = rate_and_interval(channel.score.value, channel.score.lower, channel.score.upper)
    beside = []
    if channel.previous and channel.score_previous:
        beside.append(f"{channel.previous.version}: {_value(channel.score_previous)}")
    if channel.score_last_24h:
        beside.append(f"last 24 h: {_value(channel.score_last_24h)}")
    explained = tag(
        "span", "main + content crashes per 1000 h<br>", tag("span", text(" · ".join(beside)), css="mc-small")
    )
    return tag("div", tag("b", value), explained, css="mc-topline", title=SCORE_TITLE)


def _value(rate: Rate | None) -> str:
    return DASH if rate is None else rate_and_interval(rate.value, rate.lower, rate.upper)[0]


# ---------- cards ----------
def card(channel: ChannelSummary, platform: PlatformSummary, query: Query, data_up_to: datetime | None) -> str:
    """One platform: main and content crash rate, change, spark, last 24 h, adoption, completeness."""
    address = query.link(view="table", channel=channel.channel, os_name=platform.os_name)
    name = tag("h3", link(address, text(PLATFORM_LABELS[platform.os_name])))
    found = largest_change(platform)
    badge = (
        chip(words.direction(found), words.change_and_interval(found)[0]) if found else chip(*platform_chip(platform))
    )
    head = tag("header", name, badge, tag("p", text(words.platform_reason(channel, platform, found))))
    if not platform.measures:
        empty = message("No usage yet", words.no_usage(channel, platform))
        return tag("article", head, empty, css="mc-panel mc-card")
    rows = sorted((platform.measures[name] for name in CARD_MEASURES), key=lambda row: row.state == "not_measured")
    sections = "".join(_card_measure(row, channel, platform) for row in rows)
    css = f"mc-panel mc-card mc-{words.direction(found)}" if found else "mc-panel mc-card"
    return tag("article", head, as_of(data_up_to), sections, _card_foot(channel, platform), css=css)


def as_of(data_up_to: datetime | None) -> str:
    """The banner that the style sheet shows once the freshness clock says stale."""
    when = f"{data_up_to:%H:%M} UTC" if data_up_to else "long ago"
    return tag(
        "p", f"As of {when}. Nothing newer has arrived, so a change since would not show.", css="mc-banner mc-as-of"
    )


def _card_measure(row: MeasureSummary, channel: ChannelSummary, platform: PlatformSummary) -> str:
    state = words.direction(row)
    name = tag("h4", text(words.measure_label(row.measure)))
    if row.state == "not_measured" or row.newest is None:
        why = tag("p", text(words.not_measured(row.measure, platform.os_name)), css="mc-wide mc-quiet mc-small")
        return tag("section", name, chip("none", "Not measured"), why)
    value, interval = rate_and_interval(row.newest.value, row.newest.lower, row.newest.upper)
    change, sure = words.change_and_interval(row)
    pair = [tag("span", text(f"Last 24 h {_value(row.last_24h)}"))]
    if channel.previous and row.previous:
        pair.append(tag("span", key("mc-v1", channel.previous.version), " ", _value(row.previous)))
    return tag(
        "section",
        name,
        chip(state, "Too little usage") if state == "early" else "",
        tag("div", value, " ", tag("small", interval), css="mc-rate"),
        tag("div", change, tag("small", sure), css=f"mc-change-big mc-{state}"),
        tag("div", measure_spark(row, channel), css="mc-sparkbox"),
        tag("div", *pair, css="mc-pair"),
    )


def measure_spark(row: MeasureSummary, channel: ChannelSummary | ChannelTable) -> str:
    """The small drawing of a measure since release."""
    if row.spark is None or row.previous is None:
        return ""
    names = f"{channel.newest.version} over {channel.previous.version}" if channel.previous else channel.newest.version
    label = f"{words.measure_label(row.measure)} since release, {names}"
    return spark(row.spark.newest, row.spark.previous, row.previous.value, row.spark.incomplete, label)


def _card_foot(channel: ChannelSummary, platform: PlatformSummary) -> str:
    adoption = f"{percent(platform.adoption)} of usage" if platform.adoption is not None else "Share of usage unknown"
    title = f"Share of this platform's usage hours in the last 24 h that is on {channel.newest.version}"
    left = tag("span", adoption, title=title)
    return tag("footer", left, completeness(platform.completeness))


def completeness(hours: tuple[tuple[datetime, float], ...]) -> str:
    """How much of the newest three hours' usage has arrived, as bars and in words."""
    if not hours:
        return ""
    starts = ", ".join(f"{start:%H:%M}" for start, _ in hours)
    shares = [share for _, share in hours]
    said = f"newest {len(hours)} h {percent(sum(shares) / len(shares))} in"
    return tag("span", hour_bars(shares), said, title=f"Share of the usage hours of {starts} that has arrived")


def legend(channel: ChannelSummary, query: Query) -> str:
    """What lines, colours and small figures mean."""
    names = key("mc-v0", channel.newest.version)
    scale = ""
    if channel.previous:
        names += " and " + key("mc-v1", channel.previous.version)
        scale = f", all on one scale, −40 % to +80 % of {text(channel.previous.version)}’s rate (not from 0)"
    said = f"{names} since release, per 1000 usage hours{scale}. Dotted end: usage hours still arriving. "
    said += "Small figures: 95 % intervals. A change is coloured only when its interval excludes none. "
    return tag("p", said + builds_switch(query), css="mc-small")


def builds_switch(query: Query) -> str:
    """Says which builds count and links to the other choice."""
    if query.official:
        return "Official builds only: " + link(query.link(official=False), "show all builds") + "."
    return (
        "All builds, also those of distributions: " + link(query.link(official=True), "show official ones only") + "."
    )


# ---------- table of a channel and platform ----------
def table(summary: ChannelTable, query: Query) -> str:
    """Measures by version: one row a measure, each linking to its detail."""
    rows = ordered(summary.rows, query.order)
    head = _table_head(summary, query)
    body = "".join(_table_row(row, summary, query) for row in rows)
    unit = "per 1000 usage hours" if query.show == "rate" else "as counts"
    named = f"Measures of {words.place(query.channel)} on {PLATFORM_LABELS[query.os_name]} by version, {unit}"
    caption = tag("caption", text(named), css="mc-hidden")
    note = "Rates per 1000 usage hours. " if query.show == "rate" else "Events counted; changes are of the rates. "
    note += "A change is coloured only when its interval excludes none. " + builds_switch(query)
    drawn = tag("table", caption, tag("thead", tag("tr", *head)), tag("tbody", body), css="mc-table")
    return tag("div", drawn, tag("p", note, css="mc-small mc-note"))


_RANK = {"up": 0, "down": 1, "level": 2, "early": 3, "none": 4}


def ordered(rows: Iterable[MeasureSummary], order: str) -> list[MeasureSummary]:
    """Worst first: increases by size, then decreases, then what is not clear, not enough, not measured; or by name."""
    if order == "name":
        return sorted(rows, key=lambda row: words.measure_label(row.measure).lower())

    def rank(row: MeasureSummary) -> tuple[int, float]:
        value = row.change.value if row.change is not None and math.isfinite(row.change.value) else 0.0
        return _RANK[words.direction(row)], -value

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
        tag("th", tag("b", text(summary.newest.version), css="mc-key mc-v0"), kind, scope="col"),
        tag("th", f"Change from<br>{text(previous)} at this age", scope="col"),
        tag("th", tag("span", "Change, drawn", css="mc-hidden"), scale, scope="col", css="mc-w"),
        tag("th", since, scope="col", css="mc-left mc-s"),
        tag("th", "Last<br>24 h", scope="col"),
        tag("th", "Count" if query.show == "rate" else "Rate", scope="col"),
    ]
    if summary.previous:
        cells.append(_version_head(summary.previous.version, summary.previous.released, "mc-v1"))
    for index, (name, released) in enumerate(summary.older):
        cells.append(_version_head(name, released, "mc-v2" if index == 0 else "mc-v-old"))
    return cells


def _version_head(version: str, released: datetime | None, css: str) -> str:
    return tag("th", tag("b", text(version), css=f"mc-key {css}"), day(released) if released else "", scope="col")


def _table_row(row: MeasureSummary, summary: ChannelTable, query: Query) -> str:
    state = words.direction(row)
    name = link(query.link(view="detail", measure=row.measure), text(words.measure_label(row.measure)))
    shown, other = _figure(row.newest, query.show), _figure(row.newest, "count" if query.show == "rate" else "rate")
    change, sure = words.change_and_interval(row)
    drawn = whisker(state, row.change.value, row.change.lower, row.change.upper) if row.change else ""
    if state == "early":
        sure = "too little usage"
    if state == "none" and row.state == "not_measured":
        sure = "not measured"
    cells = [
        tag("th", name, scope="row"),
        tag("td", tag("span", shown[0], css="mc-num"), tag("small", shown[1]), css="mc-rc"),
        tag("td", tag("span", change, css="mc-chg"), tag("small", sure), css="mc-chg-cell"),
        tag("td", drawn, css="mc-w"),
        tag("td", measure_spark(row, summary), css="mc-s"),
        _side("Last 24 h", _figure(row.last_24h, query.show)[0]),
        _side("Count" if query.show == "rate" else "Rate", other[0]),
    ]
    if summary.previous:
        cells.append(_side(summary.previous.version, _figure(row.previous, query.show)[0], "mc-old"))
    for version, _ in summary.older:
        cells.append(_side(version, _figure(row.older.get(version), query.show)[0], "mc-old"))
    return tag("tr", *cells, css=f"mc-{state}")


def _side(name: str, value: str, css: str = "") -> str:
    return tag("td", value, css=f"mc-side {css}".strip(), data_name=name)


def _figure(rate: Rate | None, show: str) -> tuple[str, str]:
    """The figure that is shown, with its interval where it is a rate."""
    if rate is None:
        return DASH, ""
    if show == "count":
        return grouped(rate.events), ""
    return rate_and_interval(rate.value, rate.lower, rate.upper)


# ---------- loading, failing ----------
def loading(view: str) -> str:
    """A page's place while its data are read: the same size, grey."""
    if view == "overview":
        one = tag(
            "article",
            tag("header", tag("h3", "Reading"), tag("p", "the data set")),
            tag("section", tag("div", skeleton(), css="mc-wide")),
            css="mc-panel mc-card mc-wait",
        )
        return tag("section", one * 4, css="mc-cards", aria_busy="true")
    return tag("div", skeleton((40, 100, 100, 100, 100, 100)), css="mc-panel mc-wait", aria_busy="true")


def failure(title: str, sentence: str) -> str:
    """A sentence in the place of a view that could not be drawn."""
    return tag("div", message(title, sentence, error=True), css="mc-panel", role="alert")
