"""The verdicts as sentences: what, where, since when, how bad now, how sure; plain text, no HTML."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from missioncontrol_nb.dashboard import messages
from missioncontrol_nb.dashboard.judged import (
    NOT_JUDGED,
    NOT_LISTED,
    WORDS,
    Judged,
    Place,
    Standing,
    State,
    decisive_of,
    of_channel,
    of_detail,
    of_table,
    overall,
    state_of_platform,
    worst,
)
from missioncontrol_nb.formatting import (
    DASH,
    FIXED_SPACE,
    age_in_words,
    decimals_of,
    dimension_words,
    grouped,
    moment,
    percent_change,
    percent_interval,
    rate_and_interval,
    signed,
)
from missioncontrol_nb.judgement.verdicts import Figures, Verdict
from missioncontrol_nb.monitor import ChannelSummary, ChannelTable, Detail, Overview, Version
from streaming import contract

Headline = tuple[str, str, str]
"""State, sentence, and the line under it."""
TIMES_FROM = 1.95  # a ratio from here on is said as "times as many"
MOST_TIMES = 11.0  # an upper end beyond is not said: it is that of very few events
LEAST_MORE = 1.005  # a smaller ratio is no longer an excess
FROM_RELEASE = timedelta(hours=2)  # a rise that began so soon began with the release
MOST_CERTAIN = 1e6
NONE_BEFORE = "fewer than two earlier releases to compare with"
TOO_FEW_HOURS = "too few hours of use so far: even twice the expected rate might not show"
WHY = {"so far the rate may be double the expected one without being told apart": TOO_FEW_HOURS}
EXPECTED = "Expected is what earlier releases showed at the same age."


# ---------- figures ----------
def size(figures: Figures) -> str:
    """ "+38 %", "2.1 times"; a dash where nothing is expected"""
    if figures.ratio is None or figures.ratio_lower is None or figures.ratio_upper is None:
        return DASH
    if figures.ratio >= TIMES_FROM:
        return f"{_times(figures.ratio)}{FIXED_SPACE}times"
    return percent_change(figures.ratio - 1, figures.ratio_lower - 1, figures.ratio_upper - 1)


def size_interval(figures: Figures) -> str:
    """ "+31 to +45 %", "1.8 to 2.4 times", "−100 to over +1000 %"; empty where nothing is expected"""
    if figures.ratio is None or figures.ratio_lower is None or figures.ratio_upper is None:
        return ""
    if figures.ratio >= TIMES_FROM:
        return f"{_times(figures.ratio_lower)} to {_times(figures.ratio_upper)}{FIXED_SPACE}times"
    if figures.ratio_upper > MOST_TIMES:
        low = signed(100 * (figures.ratio_lower - 1))
        return f"{low} to over {signed(100 * (MOST_TIMES - 1))}{FIXED_SPACE}%"
    return percent_interval(figures.ratio_lower - 1, figures.ratio_upper - 1)


def _times(ratio: float) -> str:
    return grouped(ratio, 1 if ratio < 10 else 0)


def rate(figures: Figures) -> tuple[str, str]:
    """("9.37", "9.03 to 9.71"); a dash without use."""
    if figures.rate is None or figures.lower is None or figures.upper is None:
        return DASH, ""
    return rate_and_interval(figures.rate, figures.lower, figures.upper)


def rate_like(value: float | None, figures: Figures) -> str:
    """Another rate with as many decimals as the figures' own."""
    if value is None or figures.rate is None or figures.lower is None or figures.upper is None:
        return DASH
    return grouped(value, decimals_of(figures.rate, figures.lower, figures.upper))


def acceptable(verdict: Verdict) -> str:
    """ "3.8 to 5.3", the rates that healthy releases show; empty where nothing is expected"""
    series = verdict.series
    if series.expected_lower is None or series.expected_upper is None:
        return ""
    like = verdict.now
    return f"{rate_like(series.expected_lower, like)} to {rate_like(series.expected_upper, like)}"


# ---------- sentences about one measure ----------
def excess(standing: Standing) -> str:
    """ "2.1 times as many content crashes as expected", "38 % more content crashes than expected" """
    return excess_of(standing.measure, standing.verdict.now if standing.verdict else None)


def excess_of(measure: str, figures: Figures | None) -> str:
    """The same for figures of a measure; None: without figures."""
    words = messages.measure_words(measure)
    ratio = figures.ratio if figures else None
    if figures is None or ratio is None or ratio < LEAST_MORE:
        return f"more {words} than expected"
    if ratio >= TIMES_FROM:
        return f"{_times(ratio)} times as many {words} as expected"
    return f"{size(figures).lstrip('+')} more {words} than expected"


def since(standing: Standing, newest: Version) -> str:
    """ "since Fri 29 Sep 06:00 UTC", "since its release"; empty where it has not risen"""
    when = standing.verdict.since if standing.verdict else None
    if when is None:
        return ""
    return "since its release" if when - newest.released <= FROM_RELEASE else f"since {moment(when)}"


def sentence(standing: Standing, place: Place) -> str:
    """What is bad, or looks bad, where, how bad now, since when; the same on every page."""
    platform = place.product.platform(standing.os_name).label
    what = f"{place.newest.version} on {messages.channel_words(place)} has {excess(standing)}"
    began = since(standing, place.newest)
    return f"{WORDS[standing.state]} on {platform}: {what}" + (f", {began}" if began else "")


def evidence_words(standing: Standing) -> str:
    """How sure it is that a rate rose, for readers who know no statistics."""
    verdict = standing.verdict
    evidence = verdict.series.evidence if verdict else None
    if evidence is None:
        return ""
    if standing.state == "bad" and evidence < 10:
        return "The alarm stays up until the rate has been back for some time, or nothing speaks for it any more."
    odds = 10 ** math.floor(math.log10(min(max(evidence, 1.0), MOST_CERTAIN)))
    odds = odds * math.floor(min(evidence, MOST_CERTAIN) / odds)
    if odds <= 1:
        return ""
    rare = f"chance alone does this to fewer than 1 of {grouped(odds)} healthy releases"
    return f"How sure: {rare}." if standing.state == "bad" else f"Not sure yet: {rare}."


def how_bad(standing: Standing) -> str:
    """The rate now against what is expected and acceptable there, and which users have most of the excess."""
    verdict = standing.verdict
    if verdict is None or verdict.now.rate is None or verdict.now.expected_rate is None:
        return ""
    now = verdict.now
    said = f"{rate(now)[0]} per 1000 hours of use since then, {rate_like(now.expected_rate, now)} expected"
    said += (
        f" ({size(now)}, {size_interval(now)})" if now.ratio and now.ratio < TIMES_FROM else f" ({size_interval(now)})"
    )
    if now.ratio is not None and now.ratio < LEAST_MORE:
        said += "; it is no longer above that"
    parts = [f"{said}."]
    if verdict.series.expected_upper is not None:
        parts.append(f"Up to {rate_like(verdict.series.expected_upper, now)} would be acceptable.")
    return _joined(*parts, slice_words(verdict.series.slice))


def slice_words(part: Mapping[str, str]) -> str:
    """Which users have most of the excess; empty where it is everywhere, or not known."""
    named = ", ".join(f"{dimension_words(name)} {value}" for name, value in part.items())
    return f"Most of the excess is on {named}." if named else ""


def why_early(standing: Standing) -> str:
    """Why it is too early to say, without a full stop."""
    return WHY.get(standing.why, standing.why)


def _also(standing: Standing, place: Place, *, has_place: bool) -> str:
    """ "Linux main crashes (looks bad, +14 %)" """
    where = f"{place.product.platform(standing.os_name).label} " if has_place else ""
    figures = f", {size(standing.verdict.now)}" if standing.verdict else ""
    return f"{where}{messages.measure_words(standing.measure)} ({WORDS[standing.state].lower()}{figures})"


def also_up(others: Sequence[Standing], place: Place, *, has_place: bool) -> str:
    """A sentence that names what else is or looks bad; empty without any."""
    up = sorted((each for each in others if each.is_up), key=lambda each: each.sort_key)
    named = [_also(each, place, has_place=has_place) for each in up[:3]]
    named += [f"{len(up) - 3} more"] if len(up) > 3 else []
    return f"Also: {', '.join(named)}." if named else ""


# ---------- headlines ----------
def _with_listing(said: Headline, *versions: Version | None) -> Headline:
    state, words, line = said
    return state, words, " ".join(filter(None, [messages.versions_not_listed(*versions), line]))


def no_release_headline(product: contract.Product, channel: str, os_name: str | None = None) -> Headline:
    """The headline of a channel, or of one of its platforms, without a release or without pings."""
    where = f"the {product.channel(channel).in_sentence} channel"
    where += f", {product.platform(os_name).label}," if os_name else ""
    line = "This page fills by itself when pings of the channel arrive."
    return "none", f"No version on {where} has sent a ping", line


def overview_headline(overview: Overview, channel: str, judged: Judged) -> Headline:
    """The headline of the front page: the worst of the chosen channel, and the other channels that are bad."""
    chosen = next((each for each in overview.channels if each.channel == channel), None)
    if chosen is None:
        return no_release_headline(overview.product, channel)
    state, words, line = channel_headline(chosen, judged, overview.now)
    elsewhere = [_elsewhere(each, judged) for each in overview.channels if each is not chosen]
    return state, words, " ".join(filter(None, [line, *elsewhere]))


def _elsewhere(channel: ChannelSummary, judged: Judged) -> str:
    found = worst(each for each in of_channel(judged, channel) if each.is_up)
    if found is None:
        return ""
    verb = "is bad" if found.state == "bad" else "looks bad"
    label = channel.product.channel(channel.channel).label
    where = channel.product.platform(found.os_name).label
    return f"{label} {verb} too: {channel.newest.version} on {where}, {messages.measure_words(found.measure)}."


def channel_headline(channel: ChannelSummary, judged: Judged, now: datetime) -> Headline:
    """The headline of a channel: its worst measure on any platform."""
    return _with_listing(_channel_headline(channel, judged, now), channel.newest, channel.previous)


def _channel_headline(channel: ChannelSummary, judged: Judged, now: datetime) -> Headline:
    found = of_channel(judged, channel)
    up = worst(each for each in found if each.is_up)
    by_state: dict[State, list[str]] = {}
    for platform in channel.platforms:
        state = state_of_platform(judged, channel, platform)
        by_state.setdefault(state, []).append(messages.label_of(channel, platform))
    outside = outside_words(channel, judged, [platform.os_name for platform in channel.platforms])
    what = f"{channel.newest.version} on {messages.channel_words(channel)}"
    if up is not None:
        others = also_up([each for each in found if each is not up], channel, has_place=True)
        rest = others or "Nothing else is or looks bad."
        return up.state, sentence(up, channel), _joined(how_bad(up), evidence_words(up), rest, outside)
    fine, early = by_state.get("fine", []), by_state.get("early", [])
    if set(by_state) == {"none"}:
        return _not_reported(found, what)
    if "judging" in by_state:
        return "judging", f"Judging {what} …", JUDGING
    if fine and len(fine) >= len(early):
        where = " on any platform" if not early else f" on {messages.in_a_list(fine)}"
        later = f"Too early to say on {messages.in_a_list(early)}." if early else ""
        return "fine", f"Fine: {what} crashes no more than expected{where}", _joined(EXPECTED, later, outside)
    so_far = f"Fine so far on {messages.in_a_list(fine)}." if fine else ""
    reasons = [each for each in found if each.state == "early" and each.measure in decisive_of(channel)]
    line = _joined(_reasons(reasons, channel), so_far, outside)
    return "early", f"Too early to say: {what} {_so_far(reasons, now - channel.newest.released)}", line


JUDGING = "Figures are shown as they were reported. Verdicts follow in a few seconds."


def _joined(*parts: str) -> str:
    return " ".join(filter(None, parts))


MOST_NAMED = 3  # measures in a headline
SO_FAR = {
    NONE_BEFORE: "has too few earlier releases to compare with",
    NOT_JUDGED: "could not be judged",
    NOT_LISTED: "is not on the release calendar",
}


def _so_far(early: Sequence[Standing], age: timedelta) -> str:
    """What can be said of a release that it is too early to judge, after its name."""
    reasons = {each.why for each in early}
    said = SO_FAR.get(reasons.pop()) if len(reasons) == 1 else None
    return said or f"went out {age_in_words(age)} ago"


def _reasons(early: Iterable[Standing], place: Place) -> str:
    """Why it is too early on each platform: "Windows and Linux: too few hours of use so far." """
    by_why: dict[str, list[str]] = {}
    for each in early:
        names = by_why.setdefault(why_early(each), [])
        label = place.product.platform(each.os_name).label
        if label not in names:
            names.append(label)
    return " ".join(f"{messages.in_a_list(names)}: {why}." for why, names in by_why.items() if why)


def outside_words(place: Place, judged: Judged, os_names: Sequence[str]) -> str:
    """A sentence about a rise of all versions at once, which this release is not the cause of; empty without one."""
    if judged.verdicts is None:
        return ""
    said = []
    for event in judged.verdicts.alarms(place.channel, os_names):
        began = f" since {moment(datetime.fromisoformat(event.since))}" if event.since else ""
        where = place.product.platform(event.os_name).label
        said.append(
            f"All versions on {where} have more {messages.measure_words(event.measure)}{began}: not this release."
        )
    return " ".join(said)


def table_headline(table: ChannelTable, judged: Judged) -> Headline:
    """The headline of a table: the worst measure of one channel and platform."""
    return _with_listing(_table_headline(table, judged), table.newest, table.previous)


def _table_headline(table: ChannelTable, judged: Judged) -> Headline:
    found = of_table(judged, table)
    up = worst(each for each in found if each.is_up)
    what = f"{table.newest.version} on {messages.channel_words(table)}, {messages.platform_label(table)}"
    came = " ".join(messages.arrived(table.newest.version, table.adoption, table.completeness))
    outside = outside_words(table, judged, [table.os_name])
    if up is not None:
        others = also_up([each for each in found if each is not up], table, has_place=False)
        line = _joined(how_bad(up), evidence_words(up), others or _counts(found), outside)
        return up.state, sentence(up, table), line
    state = overall(found, decisive_of(table))
    if state == "none":
        return _not_reported(found, what, came)
    if state == "judging":
        return "judging", f"Judging {what} …", JUDGING
    if state == "fine":
        return "fine", f"Fine: {what}, crashes no more than expected", _joined(EXPECTED, _counts(found), came, outside)
    decisive = [each for each in found if each.state == "early" and each.measure in decisive_of(table)]
    line = _joined(_reasons(decisive[:1], table), _counts(found), came, outside)
    return "early", f"Too early to say: {what}, {_so_far(decisive, table.now - table.newest.released)}", line


def _not_reported(found: Sequence[Standing], what: str, came: str = "") -> Headline:
    """The headline where nothing can be said because no measure is reported."""
    names = list(dict.fromkeys(each.measure for each in found))
    words = messages.measures_words(names) if len(names) <= MOST_NAMED else "all measures"
    reasons = dict.fromkeys(f"{each.why}." for each in found if each.why)
    return "none", f"Not reported: {words} of {what}", _joined(*reasons, came)


def _counts(found: Sequence[Standing]) -> str:
    """ "Five measures are fine, 3 too early to say." """
    counts = [(sum(each.state == state for each in found), words) for state, words in (
        ("fine", "fine"), ("early", "too early to say"))]  # fmt: skip
    said = [f"{number} {'measure is' if number == 1 else 'measures are'} {words}" for number, words in counts if number]
    return f"{' and '.join(said)}." if said else ""


def detail_headline(detail: Detail, judged: Judged) -> Headline:
    """The headline of a detail: the verdict on one measure on one platform."""
    return _with_listing(_detail_headline(detail, judged), detail.newest, detail.previous)


def _detail_headline(detail: Detail, judged: Judged) -> Headline:
    standing, others = of_detail(judged, detail)
    where = f"on {messages.channel_words(detail)}, {messages.platform_label(detail)}"
    words = messages.measure_words(standing.measure)
    also = also_up(others, detail, has_place=False)
    outside = outside_words(detail, judged, [detail.os_name])
    if standing.state == "none":
        return "none", f"Not reported {where}: {words}", detail.row.why
    if standing.is_up:
        line = _joined(how_bad(standing), evidence_words(standing), also, outside)
        return standing.state, sentence(standing, detail), line
    what = f"{detail.newest.version} {where}"
    if standing.state == "judging":
        return "judging", f"Judging {words} of {what} …", JUDGING
    if standing.state == "fine" and standing.verdict is not None:
        figures = standing.verdict.since_release
        line = (
            f"{rate(figures)[0]} per 1000 hours of use since its release, {acceptable(standing.verdict)} is acceptable."
        )
        return "fine", f"Fine: {what}, has no more {words} than expected", _joined(line, EXPECTED, also, outside)
    why = why_early(standing)
    line = f"{why[0].upper()}{why[1:]}." if why else ""
    return "early", f"Too early to say: {words} of {what}", _joined(line, also, outside)


# ---------- cards ----------
def platform_reason(channel: ChannelSummary, state: State, found: Sequence[Standing]) -> str:
    """The line under a card's title."""
    up = worst(each for each in found if each.is_up)
    if up is not None:
        return f"{messages.measure_label(up.measure)}, {since(up, channel.newest)}".rstrip(", ")
    if state == "fine":
        return "No measure is above its acceptable range"
    if state == "judging":
        return "Figures as reported; the verdict follows"
    if state == "none":
        return "Its hours of use are reported, but none of these measures"
    early = worst(each for each in found if each.state == "early" and each.why)
    if early is None:
        return f"No usage of {channel.newest.version} yet"
    why = why_early(early)
    return f"{why[0].upper()}{why[1:]}"


def sentence_to_copy(channel: ChannelSummary, judged: Judged, now: datetime) -> str:
    """Some sentences to paste into a chat or a mail."""
    newest = channel.newest
    what = f"{channel.product.label} {newest.version} on {messages.channel_words(channel)}"
    start = f"{what}, {age_in_words(now - newest.released)} old"
    if channel.score is not None:
        measures = messages.measures_words(channel.product.score)
        start += f": {messages.figure(channel.score)} {measures} per 1000 usage hours"
        if channel.previous and channel.score_previous:
            start += f" ({channel.previous.version} at that age: {messages.figure(channel.score_previous)})"
    state, words, line = channel_headline(channel, judged, now)
    return f"{start}; not judged yet." if state == "judging" else f"{start}. {words}. {line}"
