"""The sections of a report as HTML: each cell of its notebook shows one."""

from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any

from missioncontrol_nb.dashboard import messages, verdict_words
from missioncontrol_nb.dashboard.html.html import chip, tag, text
from missioncontrol_nb.dashboard.judged import WORDS, of_channel, worst
from missioncontrol_nb.dashboard.pages import overview as overview_page
from missioncontrol_nb.dashboard.pages.components import completeness, evidence
from missioncontrol_nb.dashboard.views import expected_of
from missioncontrol_nb.formatting import DASH, grouped, hours, moment, moment_with_year, percent
from missioncontrol_nb.monitor import ChannelSummary, PlatformSummary
from missioncontrol_nb.report import event_words
from missioncontrol_nb.report.pictures import NARROW, WIDE, chart_svg
from missioncontrol_nb.report.reading import Chart, Report
from streaming.pings.kinds import REASONS

SHEETS = ("dashboard.css", "report.css")
MOST_TOLD = 5  # differences of an experiment
MOST_CHARACTERS = 40  # of a name that senders of pings choose


@cache
def style() -> str:
    """The style sheet of a report, for light and dark screens and for paper."""
    folder = resources.files("missioncontrol_nb").joinpath("style")
    return "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in SHEETS)


def style_tag() -> str:
    """The style sheet as the notebook's first section holds it."""
    return f"<style>{style()}</style>"


@dataclass(frozen=True)
class Section:
    """A part of a report, which Jupyter shows. html: of the section; words: the same in short, for a terminal."""

    html: str
    words: str
    has_style: bool = False

    def _repr_html_(self) -> str:
        return (style_tag() if self.has_style else "") + tag("section", self.html, css="mc mc-report")

    def __repr__(self) -> str:
        return self.words


def headlines(report: Report) -> Section:
    """What it is a report of, and a sentence for each channel with its verdict."""
    names = messages.in_a_list([report.product.channel(each).label for each in report.channels])
    number = len(report.open)
    up = "No alarm is up" if not number else "1 alarm is up" if number == 1 else f"{number} alarms are up"
    up = "Nothing was judged" if report.state == "none" else up
    said = f"As of {moment_with_year(report.as_of)}. {up}."
    head = tag("h1", text(f"{report.product.label} {names}")) + tag("p", text(said), css="mc-quiet")
    stale = (
        [tag("div", tag("strong", text(report.stale)), css="mc-report-stale", role="status")] if report.stale else []
    )
    parts = []
    for name, (state, sentence, line) in report.headlines.items():
        label = tag("span", text(report.product.channel(name).label), css="mc-hidden")
        said = tag("h2", label, " ", text(sentence))
        parts.append(tag("div", tag("div", said), tag("p", text(line)), css=f"mc-headline mc-{state}"))
    words = "\n".join([*filter(None, [report.stale]), *(sentence for _, sentence, _ in report.headlines.values())])
    return Section(tag("header", head, *stale, css="mc-report-head") + "".join(parts), words, has_style=True)


def changes(report: Report) -> Section:
    """What has changed about alarms since the previous report, and what is still up."""
    found = event_words.told(report.changes.events, report.changes.open, report.product, report.judged)
    if report.previous is None:
        since = "There is no report before this one: all that is up is new."
    else:
        since = f"Since the report of {moment_with_year(report.previous.moment)}."
    if not found:
        said = tag("p", text(f"{since} No alarm was up, and none is."))
        return Section(said, "No alarm was up, and none is.")
    rows = "".join(_change(each) for each in found)
    return Section(tag("p", text(since), css="mc-quiet") + tag("ul", rows, css="mc-told"), found[0].sentence)


def _change(each: event_words.Told) -> str:
    parts = [
        chip(each.state, event_words.KINDS[each.kind]),
        tag("strong", text(each.sentence)),
        tag("p", text(each.figures), css="mc-quiet") if each.figures else "",
        tag(
            "p", text(f"First told {each.told_at}." if each.kind != "over" else f"Over {each.told_at}."), css="mc-small"
        ),
    ]
    return tag("li", *parts)


def cards(report: Report) -> Section:
    """A card for each platform of each channel."""
    parts = []
    for channel in report.overview.channels:
        drawn = [overview_page.card(channel, platform, None, None, report.judged) for platform in channel.platforms]
        label = report.product.channel(channel.channel).label
        if len(report.overview.channels) > 1:
            parts.append(tag("h3", text(f"{label}: {channel.newest.version}"), css="mc-report-channel"))
        parts.append(tag("div", *drawn, css="mc-cards"))
        parts.append(evidence(worst(of_channel(report.judged, channel)), channel))
    return _or_nothing("".join(parts), "No version of these channels has sent a ping by then.")


def charts(report: Report) -> Section:
    """The charts that matter, each with its sentence."""
    drawn = [_figure(each, number, report) for number, each in enumerate(report.charts)]
    return _or_nothing("".join(drawn), "There is no chart: nothing is up, and there is no score yet.")


def _figure(chart: Chart, number: int, report: Report) -> str:
    from missioncontrol_nb import charts as drawing

    detail = chart.detail
    how: dict[str, Any] = {"show": "rate", "time": "latest", "hidden": ("older",), "incidents": report.judged.incidents}
    label = drawing.summary(detail, **how)
    state, sentence, line = verdict_words.detail_headline(detail, report.judged)
    pictures = []
    for name, width in (("wide", WIDE), ("narrow", NARROW)):
        spec = drawing.detail_chart(
            detail, narrow=name == "narrow", expected=expected_of(detail, report.judged), **how
        ).to_dict()
        pictures.append(tag("div", chart_svg(spec, width, label, f"c{number}{name[0]}"), css=f"mc-{name}"))
    legend = tag("p", text(_lines(chart)), css="mc-small")
    return tag(
        "figure",
        tag("figcaption", chip(state, WORDS[chart.standing.state]), tag("h3", text(sentence)), tag("p", text(line))),
        *pictures,
        legend,
        css="mc-panel",
    )


def _lines(chart: Chart) -> str:
    measure = messages.measure_label(chart.standing.measure)
    platform = chart.detail.product.platform(chart.detail.os_name).label
    return (
        f"{measure} per 1000 hours of use on {platform} by hour, with usage hours below. Grey is what is acceptable in "
        "each hour; the figures above are of all hours together. Hatched hours are still being reported."
    )


def adoption(report: Report) -> Section:
    """How much each newest version is used, and how complete the newest hours are."""
    head = ("Channel", "Platform", "Newest version", "Of the last 24 h's use", "Since release", "Newest hours")
    rows = [_adoption(channel, each) for channel in report.overview.channels for each in channel.platforms]
    return _or_nothing(_table("How far releases have come", head, rows), "No version has been used by then.")


def _adoption(channel: ChannelSummary, platform: PlatformSummary) -> list[str]:
    share = platform.adoption
    used = [row.newest.usage_hours for row in platform.measures.values() if row.newest]
    bar = "" if share is None else tag("i", css="mc-share", style=f"--f:{100 * share:.0f}%", aria_hidden="true")
    return [
        text(channel.product.channel(channel.channel).label),
        text(messages.label_of(channel, platform)),
        text(channel.newest.version),
        bar + text(DASH if share is None else percent(share)),
        text(f"{hours(max(used))} reported" if used else DASH),
        completeness(platform.completeness) or DASH,
    ]


def experiments(report: Report) -> Section:
    """The experiments that run, those with an alarm of their own first."""
    if not report.experiments:
        return Section(tag("p", "No experiment runs on these channels."), "No experiment runs.")
    rows = []
    for each in report.experiments:
        state = "bad" if each.alarms else "fine"
        said = [
            f"{_named(found.branch)}: {messages.measure_words(found.measure)} {messages.percent_of(found.change)} "
            f"({messages.sureness(found.change)}) against the other branches"
            for found in each.alarms[:MOST_TOLD]
        ] or ["No branch crashes more than the others, as far as its hours can tell."]
        if len(each.alarms) > MOST_TOLD:
            said.append(f"{len(each.alarms) - MOST_TOLD} more differences, see alarms.json")
        usage = [f"{_named(branch)} {hours(used)}" for branch, used in each.usage_hours.items()]
        if each.others:
            usage.append(f"{grouped(each.others)} others {hours(each.other_hours)}")
        rows.append(
            [
                tag("span", text(_named(each.id)), css="mc-anywhere"),
                text(report.product.channel(each.channel).label),
                chip(state, "Differs" if each.alarms else "Fine"),
                text("; ".join(said)),
                tag("span", text(", ".join(usage)), css="mc-anywhere"),
            ]
        )
    head = ("Experiment", "Channel", "Verdict", "What differs", "Hours by branch")
    alarms = sum(bool(each.alarms) for each in report.experiments)
    return Section(_table("Experiments", head, rows), f"{alarms} of {len(rows)} experiments differ")


def quality(report: Report) -> Section:
    """How good the data are: freshness, what was rejected, unknown versions, delays, data incidents."""
    found = report.quality
    facts = [("Data up to", moment(found.data_up_to) if found.data_up_to else "not known")]
    rejected = _of_last_day(found.rejected.pings, found.rejected.share)
    if found.rejected.usual is not None:
        rejected += f"; {_share(found.rejected.usual)} in the 14 days before"
    facts.append(("Rejected", f"{rejected}."))
    for reason, number in found.rejected.reasons:
        facts.append((f"{grouped(number)} of these", REASONS.get(reason, reason)))
    rest = found.rejected.pings - sum(number for _, number in found.rejected.reasons)
    if rest > 0 and found.rejected.reasons:
        facts.append((f"{grouped(rest)} of these", "Other reasons."))
    if found.unlisted is not None:
        named = ", ".join(
            f"{_named(version)} on {channel} {grouped(pings)}" for channel, version, pings in found.unlisted.versions
        )
        unknown = _of_last_day(found.unlisted.pings, found.unlisted.share)
        facts.append(("Versions not on the calendar", f"{unknown}. {f'Most: {named}.' if named else ''}"))
    for each in found.delays:
        where = f"{report.product.channel(each.channel).label}, {report.product.platform(each.os_name).label}"
        usual = "" if each.usual_hours is None else f"; {each.usual_hours:.1f} h in the 14 days before"
        facts.append((f"From use to report, {where}", f"half within {each.median_hours:.1f} h{usual}"))
    for incident in found.incidents:
        when = f"{moment(incident.since)} to {moment(incident.until)}"
        facts.append(("Data incident, not judged", f"{when}: {incident.text}"))
    return Section(_facts(facts), facts[0][1])


def made(report: Report) -> Section:
    """How the report was made: parameters, versions, commits."""
    given = report.parameters
    facts = [(each.name, str(getattr(given, each.name)) or "(default)") for each in fields(given)]
    names = {"commits": "Commits of its tables", "programs": "Programs", "calendar": "Calendar"}
    facts += [(names[name], value) for name, value in report.made_of.items() if name in names]
    again = (
        "The same parameters and commits give the same report. How verdicts are found: docs/judgement.md of Mission "
        "Control."
    )
    return Section(_facts(facts) + tag("p", text(again), css="mc-small"), again)


class Alarms(dict[str, Any]):
    """The content of alarms.json, which Jupyter shows as a tree."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"application/json": dict(self), "text/plain": f"{len(self['open'])} alarms are up"}


def alarms(report: Report) -> Alarms:
    """What is up, as the next report reads it."""
    return Alarms(report.as_record())


# ---------- parts ----------
def _named(name: str) -> str:
    """A name that a stranger may have made up, not longer than a line."""
    return name if len(name) <= MOST_CHARACTERS else f"{name[: MOST_CHARACTERS - 1]}…"


def _of_last_day(pings: int, share: float) -> str:
    if not pings:
        return "None of the last 24 hours’ pings"
    return f"{grouped(pings)} of the last 24 hours’ pings, {_share(share)}"


def _share(share: float) -> str:
    return f"{100 * share:.2f} %"


def _or_nothing(html: str, words: str) -> Section:
    return Section(html or tag("p", text(words)), words if not html else "")


def _facts(facts: list[tuple[str, str]]) -> str:
    return tag(
        "dl", *(tag("div", tag("dt", text(name)), tag("dd", text(said))) for name, said in facts), css="mc-facts"
    )


def _table(caption: str, head: tuple[str, ...], rows: list[list[str]]) -> str:
    """A table that becomes a list of blocks on a phone; cells are already HTML."""
    if not rows:
        return ""
    names = tag("tr", *(tag("th", text(name), scope="col") for name in head))
    body = [tag("tr", *(tag("td", cell, data_name=name) for name, cell in zip(head, row, strict=True))) for row in rows]
    title = tag("caption", text(caption), css="mc-hidden")
    return tag("table", title, tag("thead", names), tag("tbody", *body), css="mc-report-table")
