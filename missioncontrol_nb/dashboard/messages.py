"""The sentences of the pages: what changed, where, by how much, how sure; plain text, no HTML."""

# The texts give no verdicts: they state what was counted and how sure that is, not whether it is acceptable.

import math
from collections.abc import Sequence
from datetime import datetime

from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.formatting import (
    DASH,
    age_in_words,
    dimension_words,
    measure_label,
    percent,
    percent_change,
    percent_interval,
    rate_and_interval,
)
from missioncontrol_nb.monitor import (
    Change,
    ChannelSummary,
    ChannelTable,
    Detail,
    Line,
    MeasureSummary,
    Overview,
    PlatformSummary,
    Rate,
    Version,
    largest_change,
    size_of_change,
)
from streaming import contract
from streaming.errors import MissionControlError


def measure_words(name: str) -> str:
    """A measure's label inside a sentence: "content crashes", but "GPU crashes"."""
    label = measure_label(name)
    return label if label[:2].isupper() else label[0].lower() + label[1:]


def measure_short(name: str) -> str:
    """A measure's label where there is little room: "content"."""
    return measure_words(name).removesuffix(" crashes")


def channel_words(where: Query | ChannelSummary | ChannelTable | Detail) -> str:
    """The channel's label inside a sentence: "release", "ESR"."""
    return where.product.channel(where.channel).in_sentence


def platform_label(where: Query | ChannelTable | Detail) -> str:
    """The platform's label."""
    return where.product.platform(where.os_name).label


def label_of(channel: ChannelSummary, platform: PlatformSummary) -> str:
    """The label of a platform of a channel."""
    return channel.product.platform(platform.os_name).label


def measures_words(names: Sequence[str], joined: str = "and") -> str:
    """Measures inside a sentence: "main and content crashes"."""
    words = [measure_words(name) for name in names]
    if all(word.endswith(" crashes") for word in words):
        words = [*(word.removesuffix(" crashes") for word in words[:-1]), words[-1]]
    return f" {joined} ".join(words)


# ---------- changes ----------
def direction_of(change: Change) -> str:
    """up or down for a change whose interval excludes "no change", level for one whose interval includes it."""
    if not change.excludes_none:
        return "level"
    return "up" if change.lower > 0 else "down"


def direction(row: MeasureSummary) -> str:
    """The direction of a measure's change, as direction_of, or early or none.

    early: too little usage for a comparison; none: not reported, or nothing to compare with.
    """
    if row.state == "too_little_usage":
        return "early"
    if row.state == "not_reported" or row.change is None:
        return "none"
    return direction_of(row.change)


def percent_of(change: Change | None) -> str:
    """ "+38 %", a dash where there is nothing to compare"""
    return DASH if change is None else percent_change(change.value, change.lower, change.upper)


def sureness(change: Change | None) -> str:
    """ "+31 to +45 %", empty where there is nothing to compare"""
    return "" if change is None else percent_interval(change.lower, change.upper)


def change_and_interval(row: MeasureSummary) -> tuple[str, str]:
    """("+38 %", "+31 to +45 %"), a dash where there is nothing to compare."""
    return percent_of(row.change), sureness(row.change)


def size_in_list(change: Change | None) -> str:
    """ "+38 %"; the interval where there were no events before: "+120 % or more" """
    return sureness(change) if change is not None and not math.isfinite(change.value) else percent_of(change)


def size_and_interval(change: Change | None) -> str:
    """ "+38 % (+31 to +45 %)"; "+120 % or more" where there were no events before"""
    said, sure = size_in_list(change), sureness(change)
    return said if said == sure or not sure else f"{said} ({sure})"


def size_on_chip(row: MeasureSummary) -> str:
    """ "+38 %"; "More" where there were no events before"""
    return "More" if row.change is not None and not math.isfinite(row.change.value) else percent_of(row.change)


def size(change: Change | None) -> str:
    """ "38 % more", "12 % fewer"; only "more" where there were no events before"""
    if change is None:
        return "another number of"
    word = "fewer" if change.value < 0 else "more"
    return f"{percent_of(change).lstrip('+−±')} {word}" if math.isfinite(change.value) else word


def figure(rate: Rate | None) -> str:
    """A rate with as many digits as its interval justifies, or a dash."""
    return DASH if rate is None else rate_and_interval(rate.value, rate.lower, rate.upper)[0]


# ---------- versions that the calendar lacks ----------
def not_listed(version: Version | Line) -> str:
    """ "not on the release calendar of 2024-05-14"; empty for a version that is on it"""
    day = version.not_listed_on
    return f"not on the release calendar of {day.isoformat()}" if day else ""


def versions_not_listed(*versions: Version | Line | None) -> str:
    """ "57.0 and 56.0 are not on the release calendar of 2017-10-05."; empty where all are on it"""
    lacking = [each for each in versions if each is not None and each.not_listed_on]
    if not lacking:
        return ""
    names = [each.label if isinstance(each, Line) else each.version for each in lacking]
    return f"{_list(names)} {'is' if len(names) == 1 else 'are'} {not_listed(lacking[0])}."


# ---------- headlines: (state, sentence, the line under it) ----------
Headline = tuple[str, str, str]
NO_VERSION_BEFORE = "No version before it has its first hours in this dataset."


def _with_listing(said: Headline, *versions: Version | None) -> Headline:
    state, sentence, line = said
    return state, sentence, " ".join(filter(None, [versions_not_listed(*versions), line]))


def no_release_headline(product: contract.Product, channel: str, os_name: str | None = None) -> Headline:
    """The headline of a channel, or of one of its platforms, without a release or without pings."""
    where = f"the {product.channel(channel).in_sentence} channel"
    where += f", {product.platform(os_name).label}," if os_name else ""
    line = "This page fills by itself when pings of the channel arrive."
    return "none", f"No version on {where} has sent a ping", line


def overview_headline(overview: Overview, channel: str) -> Headline:
    """The headline of the front page for the chosen channel."""
    chosen = next((each for each in overview.channels if each.channel == channel), None)
    return no_release_headline(overview.product, channel) if chosen is None else channel_headline(chosen)


def channel_headline(channel: ChannelSummary) -> Headline:
    """The headline of a channel: the largest change of its newest version on any platform."""
    return _with_listing(_channel_headline(channel), channel.newest, channel.previous)


def _channel_headline(channel: ChannelSummary) -> Headline:
    newest, previous = channel.newest, channel.previous
    if previous is None:
        return "early", f"{newest.version} on {channel_words(channel)} has nothing to compare with", NO_VERSION_BEFORE
    found = [(platform, row) for platform in channel.platforms if (row := largest_change(platform)) is not None]
    if not found:
        return _nothing_stands_out(channel, previous.version)
    found.sort(key=lambda pair: size_of_change(pair[1]), reverse=True)
    platform, row = found[0]
    sentence = (
        f"{newest.version} on {channel_words(channel)}, {label_of(channel, platform)}: {size(row.change)} "
        f"{measure_words(row.measure)} than {previous.version} ({sureness(row.change)})"
    )
    others = [
        f"{label_of(channel, platform)} {measure_words(row.measure)} {size_in_list(row.change)}"
        for platform, row in found[1:]
    ]
    also = [
        f"{measure_words(other.measure)} {size_in_list(other.change)}" for other in _moved(platform) if other is not row
    ]
    lines = [f"Also there: {', '.join(also)}."] if also else []
    lines += [f"The largest change on other platforms: {', '.join(others)}."] if others else []
    said = [*_last_day(row), *(lines or ["Nothing else stands out."]), *_too_little(channel)]
    return direction(row), sentence, " ".join(said)


def _last_day(row: MeasureSummary) -> list[str]:
    """The rates of the last 24 hours and since release, because a recent change may be larger than the total shows."""
    if row.last_24h is None or row.newest is None or not math.isfinite(row.last_24h.value):
        return []
    return [f"In the last 24 h {figure(row.last_24h)} per 1000 usage hours, since release {figure(row.newest)}."]


def _moved(platform: PlatformSummary) -> list[MeasureSummary]:
    """The measures of a platform whose change stands out, the largest change first."""
    moved = [row for row in platform.measures.values() if direction(row) in ("up", "down")]
    return sorted(moved, key=size_of_change, reverse=True)


def _nothing_stands_out(channel: ChannelSummary, previous: str) -> Headline:
    newest, where = channel.newest.version, channel_words(channel)
    if all(platform.state != "measured" for platform in channel.platforms):
        sentence = f"Not enough usage yet: {newest} on {where} has sent too little to compare with {previous}"
        return "early", sentence, "Cards show what has come so far, with wide intervals."
    sentence = f"No change from {previous} stands out: {newest} on {where}"
    return "level", sentence, " ".join(["Every interval includes no change.", *_too_little(channel)])


def _too_little(channel: ChannelSummary) -> list[str]:
    platforms = [each for each in channel.platforms if each.state == "too_little_usage"]
    names = [label_of(channel, each) for each in platforms]
    return [f"Not enough usage yet: {_list(names)}."] if names else []


def _list(names: Sequence[str]) -> str:
    """ "Linux", "Linux and Android", "macOS, Linux and Android" """
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""


def table_headline(table: ChannelTable) -> Headline:
    """The headline of a table: the largest change of one channel and platform."""
    return _with_listing(_table_headline(table), table.newest, table.previous)


def _table_headline(table: ChannelTable) -> Headline:
    where = f"on {channel_words(table)}, {platform_label(table)}"
    newest = table.newest.version
    if table.previous is None:
        return "early", f"{newest} {where} has nothing to compare with", NO_VERSION_BEFORE
    previous = table.previous.version
    moved = sorted((row for row in table.rows if direction(row) in ("up", "down")), key=size_of_change, reverse=True)
    if not moved and all(direction(row) in ("early", "none") for row in table.rows):
        return "early", f"Not enough usage yet: {newest} {where}", "Rates are shown with wide intervals."
    if not moved:
        return "level", f"No change from {previous} stands out: {newest} {where}", _summary_line(table, [])
    row = moved[0]
    sentence = f"{newest} {where}: {size(row.change)} {measure_words(row.measure)} than {previous}"
    return direction(row), f"{sentence} ({sureness(row.change)})", _summary_line(table, moved[1:])


def _summary_line(table: ChannelTable, others: Sequence[MeasureSummary]) -> str:
    said = [f"{measure_words(row.measure)} {size_in_list(row.change)}" for row in others[:3]]
    if len(others) > 3:
        said.append(f"{len(others) - 3} more")
    parts = [f"Also {', '.join(said)}."] if said else []
    level = sum(direction(row) == "level" for row in table.rows)
    if level:
        parts.append(f"{level} {'measure shows' if level == 1 else 'measures show'} no clear change.")
    return " ".join([*parts, *arrived(table.newest.version, table.adoption, table.completeness)])


def arrived(version: str, adoption: float | None, completeness: Sequence[tuple[datetime, float]]) -> list[str]:
    """The version's share of usage, and how much of the newest hours has arrived."""
    parts = [f"{version} is {percent(adoption)} of usage"] if adoption is not None else []
    if completeness:
        share = sum(share for _, share in completeness) / len(completeness)
        parts.append(f"{percent(share)} of the newest {len(completeness)} hours has arrived")
    return ["; ".join(parts) + "."] if parts else []


# ---------- cards ----------
def platform_reason(channel: ChannelSummary, platform: PlatformSummary, found: MeasureSummary | None) -> str:
    """The line under a card's title."""
    if found is not None:
        return f"{measure_label(found.measure)}, the largest change"
    if platform.state == "measured":
        if channel.previous is None:
            return "No version to compare with"
        return f"Every interval includes no change from {channel.previous.version}"
    return f"Not enough usage yet of {channel.newest.version}"


def no_usage(channel: ChannelSummary, platform: PlatformSummary) -> str:
    """Why a card is empty."""
    return (
        f"No ping from {channel.newest.version} on {label_of(channel, platform)} has arrived. The first usually "
        "come 10 to 40 minutes after release; this card fills by itself."
    )


def sentence_to_copy(channel: ChannelSummary, now: datetime) -> str:
    """One sentence to paste into a chat or a mail."""
    newest, previous = channel.newest, channel.previous
    what = f"{channel.product.label} {newest.version} on {channel_words(channel)}"
    start = f"{what}, {age_in_words(now - newest.released)} old"
    if previous is None:
        return f"{start}: no version to compare with."
    if channel.score is None:
        return f"{start}: not enough usage yet for a rate."
    said = f"{start}: {figure(channel.score)} {measures_words(channel.product.score)} per 1000 usage hours"
    if channel.score_previous:
        said += f" ({previous.version} at that age: {figure(channel.score_previous)})"
    found = [(platform, row) for platform in channel.platforms if (row := largest_change(platform)) is not None]
    changes = [
        f"{label_of(channel, platform)}, {measure_words(row.measure)} {size_and_interval(row.change)}"
        for platform, row in sorted(found, key=lambda pair: size_of_change(pair[1]), reverse=True)
    ]
    said += f". Largest changes: {'; '.join(changes)}." if changes else ". No change stands out."
    return " ".join([said, *_too_little(channel)])


# ---------- short names of settings ----------
SETTINGS = {
    "rate": "rate",
    "count": "count",
    "since_release": "since release",
    "last_24h": "last 24 h",
    "latest": "latest",
    "24h": "24 h",
    "48h": "48 h",
    "7d": "7 d",
    "14d": "14 d",
    "5min": "5 min",
    "1h": "hour",
    "1d": "day",
    "version": "version",
    "build": "build",
} | {name: dimension_words(name) for name in contract.FINE_DIMENSIONS}


def setting(query: Query) -> str:
    """The label of a phone's button: "7 d, latest, hour, version, rate: change"."""
    if query.view == "table":
        names = [query.product.channel(query.channel).label, platform_label(query), query.show, query.period]
    else:
        interval = f"{query.since} to {query.until}" if query.interval == "custom" else query.interval
        names = [interval, query.time, query.window, query.line, query.show]
    return ", ".join(SETTINGS.get(name, name) for name in names) + ": change"


def page_title(query: Query) -> str:
    """The title of the browser's tab."""
    platform = [platform_label(query)]
    where = {"overview": [], "table": platform, "detail": platform}
    product = [] if query.product in contract.PRODUCTS else [query.product.label]
    names = [measure_label(query.measure)] if query.view == "detail" else []
    return (
        ", ".join([*names, query.product.channel(query.channel).label, *where[query.view], *product])
        + " · Mission Control"
    )


# ---------- detail ----------
def detail_headline(detail: Detail) -> Headline:
    """The headline of a detail: the change of one measure on one platform."""
    return _with_listing(_detail_headline(detail), detail.newest, detail.previous)


def _detail_headline(detail: Detail) -> Headline:
    where = f"on {channel_words(detail)}, {platform_label(detail)}"
    row, newest, previous = detail.row, detail.newest, detail.previous
    if row.state == "not_reported":
        return "none", f"Not reported {where}: {measure_words(row.measure)}", row.why
    state = direction(row)
    rates = _rates_of(row, newest.version, previous.version if previous and row.previous else None)
    line = " ".join([rates, *arrived(newest.version, detail.adoption, detail.completeness)])
    if previous is None or row.previous is None:
        return "early", f"{newest.version} {where} has nothing to compare with", line
    if state in ("early", "none") or row.change is None:
        return "early", f"Not enough usage yet: {measure_words(row.measure)} of {newest.version} {where}", line
    compared = f"{measure_words(row.measure)} than {previous.version} ({sureness(row.change)})"
    if state == "level":
        sentence = f"{newest.version} {where}: no clear change of {measure_words(row.measure)} from {previous.version}"
        return state, f"{sentence} ({sureness(row.change)})", line
    return state, f"{newest.version} {where}: {size(row.change)} {compared}", line


def _rates_of(row: MeasureSummary, newest: str, previous: str | None) -> str:
    said = f"{newest} has {figure(row.newest)} per 1000 usage hours since its release"
    return f"{said}, {previous} had {figure(row.previous)} at the same age." if previous else f"{said}."


EVERY_WORDS = {"5min": "by 5 minutes", "1h": "by hour", "1d": "by day"}


def chart_title(query: Query) -> str:
    """ "Content crashes per 1000 usage hours, by hour" """
    unit = " per 1000 usage hours" if query.show == "rate" else ""
    since = ", since each release" if query.time == "since_release" else ""
    by = "" if query.line in ("version", "build") else f" and {dimension_words(query.line)}"
    return f"{measure_label(query.measure)}{unit}, {EVERY_WORDS[query.window]}{by}{since}"


# ---------- failures ----------
class StillReadingError(MissionControlError):
    """Reading the requested data takes long; the message is shown to the visitor."""


def failure(error: Exception, again_after_seconds: float) -> tuple[str, str]:
    """A title and a sentence for data that could not be read or a view that could not be drawn.

    The reason contains paths, so only the log shows it.
    """
    again = f"It is tried again every {again_after_seconds:.0f} s."
    if isinstance(error, StillReadingError):
        return "Still reading", str(error)
    if isinstance(error, MissionControlError):
        return "The dataset could not be read", f"The reason is in the server's log. {again}"
    return "This view could not be drawn", f"The reason is in the server's log. {again}"
