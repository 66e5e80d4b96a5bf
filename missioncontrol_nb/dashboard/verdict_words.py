"""The verdicts as sentences: what, where, since when, how bad now, how sure; plain text, no HTML."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from missioncontrol_nb import alarm_words
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
    age_in_words,
    decimals_of,
    grouped,
    moment,
    rate_and_interval,
)
from missioncontrol_nb.judgement.verdicts import Figures, Verdict
from missioncontrol_nb.monitor import ChannelSummary, ChannelTable, Detail, Overview, Version
from streaming import contract

Headline = tuple[str, str, str]
"""State, sentence, and the line under it."""
FROM_RELEASE = timedelta(hours=2)  # a rise that began so soon began with the release
MOST_CERTAIN = 1e6
NONE_BEFORE = "fewer than two earlier releases to compare with"
TOO_FEW_HOURS = "too few hours of use so far: even twice the expected rate might not show"
WHY = {"so far the rate may be double the expected one without being told apart": TOO_FEW_HOURS}
EXPECTED = "Expected is what earlier releases showed at the same age."


# ---------- figures ----------
def size(figures: Figures) -> str:
    """ "+38 %", "2.1 times"; a dash where nothing is expected"""
    return alarm_words.size(figures.ratio, figures.ratio_lower, figures.ratio_upper)


def size_interval(figures: Figures) -> str:
    """ "+31 to +45 %", "1.8 to 2.4 times", "−100 to over +1000 %"; empty where nothing is expected"""
    return alarm_words.size_interval(figures.ratio, figures.ratio_lower, figures.ratio_upper)


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


def acceptable_range(verdict: Verdict, figures: Figures) -> tuple[float, float] | None:
    """The rates that healthy releases show in the hours of some figures; None where nothing is expected."""
    series, expected = verdict.series, figures.expected_rate
    if series.expected_lower is None or series.expected_upper is None or not series.expected_rate or expected is None:
        return None
    of_these_hours = expected / series.expected_rate
    return series.expected_lower * of_these_hours, series.expected_upper * of_these_hours


def acceptable(verdict: Verdict, figures: Figures) -> str:
    """ "3.8 to 5.3", the ends of that range; empty without any"""
    return " to ".join(rate_like(end, figures) for end in acceptable_range(verdict, figures) or ())


# ---------- sentences about one measure ----------
def excess(standing: Standing) -> str:
    """ "2.1 times as many content crashes as expected", "38 % more content crashes than expected" """
    return excess_of(standing.measure, standing.verdict.now if standing.verdict else None)


def excess_of(measure: str, figures: Figures | None) -> str:
    """The same for figures of a measure; None: without figures."""
    ratio = (figures.ratio, figures.ratio_lower, figures.ratio_upper) if figures else (None, None, None)
    return alarm_words.excess(messages.measure_words(measure), *ratio)


def since(standing: Standing, newest: Version) -> str:
    """ "since Fri 29 Sep 06:00 UTC", "since its release"; empty where it has not risen"""
    when = standing.verdict.since if standing.verdict else None
    if when is None:
        return ""
    return "since its release" if when - newest.released <= FROM_RELEASE else f"since {moment(when)}"


def sentence(standing: Standing, place: Place) -> str:
    """What is bad, or looks bad, where, how bad now, since when; the same on every page."""
    platform, began = place.product.platform(standing.os_name).label, since(standing, place.newest)
    where = platform, place.newest.version, messages.channel_words(place)
    return alarm_words.sentence(WORDS[standing.state], *where, excess(standing), began)


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
    now = verdict.now if verdict else None
    if verdict is None or now is None or now.rate is None or now.expected_rate is None:
        return ""
    interval = size_interval(now)
    both = f"{size(now)}, {interval}" if now.ratio and now.ratio < alarm_words.TIMES_FROM else interval
    said = alarm_words.rates(now.rate, now.lower, now.upper, now.expected_rate, both)
    if now.ratio is not None and now.ratio < alarm_words.LEAST_MORE:
        said += "; it is no longer above that"
    most = acceptable_range(verdict, now)
    parts = [f"{said}.", f"Up to {rate_like(most[1], now)} would be acceptable." if most else ""]
    return _joined(*parts, alarm_words.slice_words(verdict.series.slice))


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


FILLS = "This page fills by itself when pings of the channel arrive."


def no_release_headline(
    product: contract.Product, channel: str, os_name: str | None = None, *, line: str = FILLS
) -> Headline:
    """The headline of a channel, or of one of its platforms, without a release or without pings."""
    where = f"the {product.channel(channel).in_sentence} channel"
    where += f", {product.platform(os_name).label}," if os_name else ""
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


JUDGING = "Figures are shown as they were reported. Verdicts follow in seconds, on a busy machine in minutes."


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
        line = f"{rate(figures)[0]} per 1000 hours of use since its release, "
        line += f"{acceptable(standing.verdict, figures)} is acceptable."
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
