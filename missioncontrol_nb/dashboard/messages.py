"""The words of the pages for measures, places, settings and failures; plain text, no HTML."""

from collections.abc import Sequence
from datetime import datetime

from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.formatting import (
    DASH,
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
    PlatformSummary,
    Rate,
    Version,
)
from missioncontrol_nb.releases.calendar import not_on_calendar
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
    return in_a_list(words) if joined == "and" else f" {joined} ".join(words)


# ---------- changes ----------
def percent_of(change: Change | None) -> str:
    """ "+38 %", a dash where there is nothing to compare"""
    return DASH if change is None else percent_change(change.value, change.lower, change.upper)


def sureness(change: Change | None) -> str:
    """ "+31 to +45 %", empty where there is nothing to compare"""
    return "" if change is None else percent_interval(change.lower, change.upper)


def figure(rate: Rate | None) -> str:
    """A rate with as many digits as its interval justifies, or a dash."""
    return DASH if rate is None else rate_and_interval(rate.value, rate.lower, rate.upper)[0]


# ---------- versions that the calendar lacks ----------
def not_listed(version: Version | Line) -> str:
    """ "not on the release calendar of 2024-05-14"; empty for a version that is on it"""
    day = version.not_listed_on
    return not_on_calendar(day) if day else ""


def versions_not_listed(*versions: Version | Line | None) -> str:
    """ "57.0 and 56.0 are not on the release calendar of 2017-10-05."; empty where all are on it"""
    lacking = [each for each in versions if each is not None and each.not_listed_on]
    if not lacking:
        return ""
    names = [each.label if isinstance(each, Line) else each.version for each in lacking]
    return f"{in_a_list(names)} {'is' if len(names) == 1 else 'are'} {not_listed(lacking[0])}."


def in_a_list(names: Sequence[str]) -> str:
    """ "Linux", "Linux and Android", "macOS, Linux and Android" """
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""


def arrived(version: str, adoption: float | None, completeness: Sequence[tuple[datetime, float]]) -> list[str]:
    """The version's share of usage, and how much of the newest hours has arrived."""
    parts = [f"{version} is {percent(adoption)} of usage"] if adoption is not None else []
    if completeness:
        share = sum(share for _, share in completeness) / len(completeness)
        parts.append(f"{percent(share)} of the newest {len(completeness)} hours has arrived")
    return ["; ".join(parts) + "."] if parts else []


# ---------- cards ----------
def no_usage(channel: ChannelSummary, platform: PlatformSummary) -> str:
    """Why a card is empty."""
    return (
        f"No ping from {channel.newest.version} on {label_of(channel, platform)} has arrived. The first usually "
        "come 10 to 40 minutes after release; this card fills by itself."
    )


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
    product = [] if query.product == contract.FIREFOX else [query.product.label]
    names = [measure_label(query.measure)] if query.view == "detail" else []
    return (
        ", ".join([*names, query.product.channel(query.channel).label, *where[query.view], *product])
        + " · Mission Control"
    )


# ---------- detail ----------
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
