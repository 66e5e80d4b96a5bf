"""The front page: channels by platforms, and a card for each platform of the chosen channel."""

from collections.abc import Iterable
from datetime import datetime

from missioncontrol_nb.dashboard import messages, verdict_words
from missioncontrol_nb.dashboard.html.html import button, chip, key, link, message, tag, text, with_whole_dates
from missioncontrol_nb.dashboard.judged import (
    WORDS,
    Judged,
    Standing,
    is_compared,
    of_channel,
    of_platform,
    state_of_platform,
    worst,
)
from missioncontrol_nb.dashboard.pages.components import (
    builds_switch,
    completeness,
    evidence,
    figure_of,
    measure_figures,
    small_drawing,
)
from missioncontrol_nb.dashboard.pages.layout import no_release
from missioncontrol_nb.dashboard.query import Query, default_of
from missioncontrol_nb.formatting import (
    DASH,
    duration,
    grouped,
    moment,
    percent,
    rate_and_interval,
)
from missioncontrol_nb.monitor import ChannelSummary, MeasureSummary, Overview, PlatformSummary
from missioncontrol_nb.monitor.summaries import Received
from streaming import contract


def score_title(product: contract.Product) -> str:
    """An explanation of the score."""
    words = messages.measures_words(product.score, "plus")
    return (
        f"{words[0].upper()}{words[1:]} per 1000 usage hours, platforms weighted by the previous version's usage; "
        "platforms without usage are left out"
    )


def overview(summary: Overview, query: Query, judged: Judged) -> str:
    """The front page below its headline: channels by platforms, the chosen channel, a card for each platform."""
    channel = next((each for each in summary.channels if each.channel == query.channel), None)
    if channel is None:
        head = product_links(summary, query) + matrix(summary, query, judged)
        return head + no_release(query) + received_line(summary.received)
    parts = [
        product_links(summary, query),
        matrix(summary, query, judged),
        channel_line(channel, judged, summary.now),
        tag(
            "section",
            *(card(channel, platform, query, summary.data_up_to, judged) for platform in channel.platforms),
            css="mc-cards",
            aria_label=f"Platforms of the {messages.channel_words(channel)} channel",
        ),
        legend(channel, query, judged),
        evidence(worst(of_channel(judged, channel)), channel),
        received_line(summary.received),
    ]
    return "".join(parts)


def received_line(received: Received | None) -> str:
    """How many of the pings of the last 24 hours do not count; empty where none has come."""
    if received is None:
        return ""
    total = received.accepted + received.rejected + received.passed_over
    rejected, passed_over = (f"{100 * number / total:.2f} %" for number in (received.rejected, received.passed_over))
    title = "Rejected pings are bad; pings that are passed over are good, but of kinds or products that do not count"
    said = f"Pings of all products in the last 24 h: {grouped(total)}, of which {rejected} were rejected and "
    return tag("p", text(f"{said}{passed_over} passed over."), css="mc-small", title=title)


def product_links(summary: Overview, query: Query) -> str:
    """A link to each product that has pings; empty if there is only one."""
    if len(summary.products) < 2:
        return ""
    links = [
        link(default_of(each).search, text(each.label), aria_current="true" if each == query.product else None)
        for each in summary.products
    ]
    return tag("nav", *links, css="mc-products", aria_label="Products")


def matrix(summary: Overview, query: Query, judged: Judged) -> str:
    """All channels by all platforms, each cell with its verdict."""
    platforms = summary.product.os_names
    head = "".join(tag("th", text(platform.label), scope="col") for platform in summary.product.platforms)
    head = (
        tag("th", "Channel, newest version", scope="col")
        + head
        + tag("th", "Score, from previous", scope="col", css="mc-right", title=score_title(summary.product))
    )
    rows = "".join(_matrix_row(channel, platforms, query, judged) for channel in summary.channels)
    caption = tag("caption", "The verdict for each channel and platform", css="mc-hidden")
    return tag("table", caption, tag("thead", tag("tr", head)), tag("tbody", rows), css="mc-matrix")


def _matrix_row(channel: ChannelSummary, platforms: Iterable[str], query: Query, judged: Judged) -> str:
    chosen = channel.channel == query.channel
    name = (
        text(channel.product.channel(channel.channel).label)
        + " "
        + tag("span", text(channel.newest.version), css="mc-small")
    )
    if channel.newest.not_listed_on:
        name += " " + tag("span", with_whole_dates(messages.not_listed(channel.newest)), css="mc-small mc-unlisted")
    address = query.link(view="overview", channel=channel.channel)
    cells = [tag("th", link(address, name, aria_current="true" if chosen else None), scope="row")]
    by_name = {platform.os_name: platform for platform in channel.platforms}
    cells += [_matrix_cell(channel, os_name, by_name.get(os_name), query, judged) for os_name in platforms]
    return tag("tr", *cells, _score_cell(channel), css="mc-on" if chosen else "", data_mc_key=channel.channel)


def _matrix_cell(
    channel: ChannelSummary, os_name: str, platform: PlatformSummary | None, query: Query, judged: Judged
) -> str:
    if platform is None:
        return tag("td", tag("span", chip("none", "No release"), css="mc-cell"))
    state, found = state_of_platform(judged, channel, platform), shown_in_cell(channel, platform, judged)
    inner = chip(state, WORDS[state], title=(found and verdict_words.why_early(found)) or None)
    if found is not None and found.verdict is not None and state != "early":
        figures = found.verdict.now
        said = f"{messages.measure_short(found.measure)} {verdict_words.size(figures)}"
        inner += tag("span", text(said), css="mc-change", title=verdict_words.size_interval(figures))
    return tag("td", link(query.link(view="table", channel=channel.channel, os_name=os_name), inner, css="mc-cell"))


def shown_in_cell(channel: ChannelSummary, platform: PlatformSummary, judged: Judged) -> Standing | None:
    """The measure whose figure stands beside a cell's verdict: the worst one, of a fine place among its cards'."""
    found = of_platform(judged, channel, platform)
    up = worst(each for each in found if each.is_up)
    return up or worst(each for each in found if each.measure in channel.product.cards and each.state != "none")


def _score_cell(channel: ChannelSummary) -> str:
    if channel.score is None:
        return tag("td", DASH, css="mc-score")
    value, _ = rate_and_interval(channel.score.value, channel.score.lower, channel.score.upper)
    change, size = channel.score_change, ""
    if change is not None:
        size = tag("span", text(messages.percent_of(change)), css="mc-small", title=messages.sureness(change))
    return tag("td", tag("b", value), " ", size, css="mc-score")


def channel_line(channel: ChannelSummary, judged: Judged, now: datetime) -> str:
    """The line of the chosen channel: versions, age, score, and the sentence to copy."""
    newest, previous = channel.newest, channel.previous
    against = f" against {previous.version}" if previous else ""
    title = tag("h2", text(f"{channel.product.channel(channel.channel).label}: {newest.version}{against}"))
    out = f"Out since {moment(newest.released)}, {duration(now - newest.released)}."
    if newest.not_listed_on:
        out += (
            f" That is the first hour in which it had 1 % of the channel’s usage: it is {messages.not_listed(newest)}."
        )
    out += " Judged against what earlier releases showed at the same age."
    left = tag("div", title, tag("p", text(out), css="mc-quiet"))
    sentence = verdict_words.sentence_to_copy(channel, judged, now)
    say = tag(
        "div", tag("p", text(sentence)), button("Copy sentence", "copy-text", data_mc_text=sentence), css="mc-say"
    )
    return tag(
        "section",
        left,
        _score(channel),
        say,
        css="mc-channel",
        aria_label=channel.product.channel(channel.channel).label,
    )


def _score(channel: ChannelSummary) -> str:
    if channel.score is None:
        why = "Not enough usage for a score" if channel.previous else "No version before it to compare with"
        return tag("div", tag("span", why), css="mc-topline")
    value, _ = rate_and_interval(channel.score.value, channel.score.lower, channel.score.upper)
    beside = []
    if channel.previous and channel.score_previous:
        beside.append(f"{channel.previous.version}: {figure_of(channel.score_previous, channel.score)}")
    if channel.score_last_24h:
        beside.append(f"last 24 h: {figure_of(channel.score_last_24h, channel.score)}")
    explained = tag(
        "span",
        text(f"{messages.measures_words(channel.product.score, '+')} per 1000 h"),
        "<br>",
        tag("span", text(" · ".join(beside)), css="mc-small"),
    )
    return tag("div", tag("b", value), explained, css="mc-topline", title=score_title(channel.product))


def card(
    channel: ChannelSummary, platform: PlatformSummary, query: Query | None, data_up_to: datetime | None, judged: Judged
) -> str:
    """One platform: its verdict, and rate, expected rate and drawing of its main measures; adoption, completeness.

    query: that of the page; None where there is no page to go to.
    """
    label = text(channel.product.platform(platform.os_name).label)
    if query is not None:
        label = link(query.link(view="table", channel=channel.channel, os_name=platform.os_name), label)
    name = tag("h3", label)
    state, found = state_of_platform(judged, channel, platform), of_platform(judged, channel, platform)
    reason = verdict_words.platform_reason(channel, state, found)
    head = tag("header", name, chip(state, WORDS[state]), tag("p", text(reason), title=reason))
    css = f"mc-panel mc-card mc-{state}"
    if not platform.measures:
        empty = message("No usage yet", messages.no_usage(channel, platform))
        return tag("article", head, empty, css=css, data_mc_key=platform.os_name)
    up = [each.measure for each in sorted(found, key=lambda each: each.sort_key) if each.is_up]
    rows = sorted((platform.measures[name] for name in channel.product.cards), key=lambda row: _card_order(row, up))
    sections = "".join(_card_measure(row, channel, judged.standing(channel, platform.os_name, row)) for row in rows)
    parts = head, as_of(data_up_to), sections, _card_foot(channel, platform)
    return tag("article", *parts, css=css, data_mc_key=platform.os_name)


def _card_order(row: MeasureSummary, up: list[str]) -> tuple[bool, int]:
    """What is bad comes first, what is not reported last."""
    return row.state == "not_reported", up.index(row.measure) if row.measure in up else len(up)


def as_of(data_up_to: datetime | None) -> str:
    """The banner that the style sheet shows once the freshness clock is stale."""
    when = moment(data_up_to) if data_up_to else "long ago"
    return tag(
        "p", f"As of {when}. Nothing newer has arrived, so a change since would not show.", css="mc-banner mc-as-of"
    )


def _card_measure(row: MeasureSummary, channel: ChannelSummary, standing: Standing) -> str:
    name = tag("h4", text(messages.measure_label(row.measure)))
    if row.newest is None:
        why = tag("p", text(row.why), css="mc-wide mc-quiet mc-small")
        return tag("section", name, chip("none", "Not reported"), why, data_mc_key=row.measure)
    figures = measure_figures(row, standing)
    pair = [tag("span", text(f"Last 24 h {figures.last_day}"))]
    if channel.previous and row.previous:
        pair.append(tag("span", key("mc-v1", channel.previous.version), " ", figure_of(row.previous, row.newest)))
    return tag(
        "section",
        name,
        chip(standing.state, WORDS[standing.state], title=verdict_words.why_early(standing) or None),
        tag("div", figures.rate, " ", tag("small", text(figures.interval)), css="mc-rate"),
        tag("div", figures.change, tag("small", figures.change_interval), css=f"mc-change-big mc-{standing.state}"),
        tag("div", small_drawing(row, channel, standing), css="mc-sparkbox"),
        tag("div", *pair, css="mc-pair"),
        tag("div", text(figures.expected), css="mc-expected"),
        data_mc_key=row.measure,
    )


def _card_foot(channel: ChannelSummary, platform: PlatformSummary) -> str:
    adoption = f"{percent(platform.adoption)} of usage" if platform.adoption is not None else "Share of usage unknown"
    title = f"Share of this platform's usage hours in the last 24 h that is on {channel.newest.version}"
    left = tag("span", adoption, title=title)
    return tag("footer", left, completeness(platform.completeness))


def legend(channel: ChannelSummary, query: Query, judged: Judged) -> str:
    """The meaning of lines, colours and small figures."""
    newest = key("mc-v0", channel.newest.version)
    if not is_compared(of_channel(judged, channel)):
        names = newest + (" and " + key("mc-v1", channel.previous.version) if channel.previous else "")
        scale = ", all on one scale, −40 % to +80 % of the previous rate" if channel.previous else ""
        said = f"{names} since release, as reported{scale}. "
        said += "Small figures: 95 % intervals. "
    else:
        said = (
            f"{newest} per 1000 hours of use since release, against the expected rate (line) and the acceptable range "
        )
        said += "(grey); all on one scale, −40 % to +80 % of the expected rate, with an arrow where it is left. "
        said += "Hours of use still to be reported are estimated. Small figures: 90 % intervals. "
    return tag("p", said + builds_switch(query), css="mc-small")
