"""Small parts that several pages share: figures beside each other, sparks, completeness, downloads."""

import math
from dataclasses import dataclass
from datetime import datetime

from missioncontrol_nb.dashboard import messages, verdict_words
from missioncontrol_nb.dashboard.html.html import button, link, tag, text
from missioncontrol_nb.dashboard.html.svg import course_spark, hour_bars, spark
from missioncontrol_nb.dashboard.judged import Place, Standing
from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.formatting import DASH, decimals_of, grouped, hours, moment, percent, rate_and_interval
from missioncontrol_nb.monitor import ChannelSummary, ChannelTable, Completeness, MeasureSummary, Rate
from streaming import contract


def figure_and_interval(rate: Rate | None, show: str, beside: Rate | None = None) -> tuple[str, str]:
    """The figure to show, with its interval where it is a rate.

    beside: the rate whose number of decimals is used.
    """
    if rate is None:
        return DASH, ""
    if show == "count":
        return grouped(rate.events), ""
    like = beside if beside is not None and math.isfinite(beside.value) else None
    decimals = None if like is None else decimals_of(like.value, like.lower, like.upper)
    return rate_and_interval(rate.value, rate.lower, rate.upper, decimals)


def measure_spark(row: MeasureSummary, channel: ChannelSummary | ChannelTable) -> str:
    """The small drawing of a measure since release."""
    if row.spark is None or row.previous is None:
        return ""
    names = f"{channel.newest.version} over {channel.previous.version}" if channel.previous else channel.newest.version
    label = f"{messages.measure_label(row.measure)} since release, {names}"
    return spark(row.spark.newest, row.spark.previous, row.previous.value, row.spark.incomplete, label)


LEAST_STEPS, MOST_STEPS, STEP_EVENTS = 4, 72, 12  # of a small drawing; events a step, so that chance moves it by 30 %
LEAST_EXPECTED = 4.0  # events of a step: one with fewer says nothing


def small_drawing(row: MeasureSummary, channel: ChannelSummary | ChannelTable, standing: Standing) -> str:
    """The small drawing of a measure since release: against what is expected, or before a verdict the previous version.

    Both have the same size and the same scale.
    """
    verdict = standing.verdict
    if verdict is None or not math.isfinite(verdict.course.healthy):
        return measure_spark(row, channel)
    steps = min(max(int(verdict.course.events.sum()) // STEP_EVENTS, LEAST_STEPS), MOST_STEPS)
    ratios = [None if math.isnan(each) else float(each) for each in verdict.course.ratios(steps, LEAST_EXPECTED)]
    label = f"{messages.measure_label(row.measure)} since release, {channel.newest.version} against the expected rate"
    return course_spark(ratios, verdict.course.healthy, label)


@dataclass(frozen=True)
class MeasureFigures:
    """The figures of a measure on a card or in a table, as text."""

    rate: str
    interval: str
    change: str
    change_interval: str
    last_day: str
    expected: str


def measure_figures(row: MeasureSummary, standing: Standing, period: str = "since_release") -> MeasureFigures:
    """The rate now, or in the last 24 h, against the expected one; what was reported where nothing is expected."""
    verdict = standing.verdict
    if verdict is None or verdict.now.expected_rate is None:
        value, interval = figure_and_interval(row.newest, "rate")
        return MeasureFigures(value, interval, DASH, "", figure_of(row.last_24h, row.newest), "")
    shown, began = verdict.now, verdict.since
    if period == "last_24h":
        shown, began = verdict.last_day, None
    value, interval = verdict_words.rate(shown)
    expected = ""
    if shown.expected_rate is not None:
        expected = f"Expected {verdict_words.rate_like(shown.expected_rate, shown)}"
        expected += f", acceptable {verdict_words.acceptable(verdict, shown)}"
    return MeasureFigures(
        value,
        f"{interval} since {began:%a} {began.day} {began:%b}" if began else interval,
        verdict_words.size(shown),
        verdict_words.size_interval(shown),
        verdict_words.rate_like(verdict.last_day.rate, shown),
        expected,
    )


def evidence(standing: Standing | None, place: Place) -> str:
    """The numbers behind a verdict, for readers who want them, one click away; empty without any."""
    verdict = standing.verdict if standing else None
    if standing is None or verdict is None or verdict.now.expected_rate is None:
        return ""
    series, now = verdict.series, verdict.now
    where = f"{messages.measure_words(standing.measure)} on {place.product.platform(standing.os_name).label}"
    begins = f"since {moment(verdict.since)}" if verdict.since else "since its release"
    low, high = series.usage_hours_lower, series.usage_hours_upper
    rows = [
        (f"Rate {begins}", *verdict_words.rate(now)),
        (
            "Expected there",
            verdict_words.rate_like(now.expected_rate, now),
            f"acceptable {verdict_words.acceptable(verdict, now)}",
        ),
        (
            "Rate by expected rate",
            ratio_text(now.ratio),
            f"{ratio_text(now.ratio_lower)} to {ratio_text(now.ratio_upper)}",
        ),
        ("Expected since release", verdict_words.rate_like(series.expected_rate, now), ""),
        ("Evidence that the rate rose", likelihood(series.evidence), "times as likely as a healthy release"),
        ("Hours reported since release", hours(series.usage_hours), ""),
    ]
    if series.usage_hours_corrected and low and high:
        rows.append(("Hours of use, estimated", hours(series.usage_hours_corrected), f"{hours(low)} to {hours(high)}"))
    said = [
        tag("div", tag("dt", text(name)), tag("dd", text(value), " ", tag("small", text(more))))
        for name, value, more in rows
    ]
    builds = f"Builds {', '.join(series.build_ids)}. " if len(series.build_ids) < 4 else ""
    note = f"{builds}As of {moment(datetime.fromisoformat(series.at))}; rates per 1000 hours; intervals of 90 %."
    summary = tag("summary", text(f"The numbers behind this: {where}"))
    return tag(
        "details", summary, tag("dl", *said, css="mc-figures"), tag("p", text(note), css="mc-small"), css="mc-numbers"
    )


def ratio_text(ratio: float | None) -> str:
    """ "2.10" """
    return DASH if ratio is None else f"{ratio:.2f}"


def likelihood(evidence_: float | None) -> str:
    """ "12 000", "0.03", "1 000 000 or more" """
    if evidence_ is None:
        return DASH
    if evidence_ >= verdict_words.MOST_CERTAIN:
        return f"{grouped(verdict_words.MOST_CERTAIN)} or more"
    return grouped(evidence_, 0 if evidence_ >= 10 else 2)


def completeness(newest: Completeness) -> str:
    """How much of the newest three hours' usage has arrived, as bars and as text."""
    if not newest:
        return ""
    starts = ", ".join(f"{start:%H:%M}" for start, _ in newest)
    shares = [share for _, share in newest]
    said = f"newest {len(newest)} h {percent(sum(shares) / len(shares))} in"
    return tag("span", hour_bars(shares), said, title=f"Share of the usage hours of {starts} that has arrived")


def builds_switch(query: Query) -> str:
    """A note on which builds are counted, with a link to the other choice."""
    if query.official:
        return "Official builds only: " + link(query.link(official=False), "show all builds") + "."
    return (
        "All builds, also those of distributions: " + link(query.link(official=True), "show official ones only") + "."
    )


def figure_of(rate: Rate | None, beside: Rate | None = None) -> str:
    """A rate with as many decimals as the rate beside it."""
    return figure_and_interval(rate, "rate", beside)[0]


def get_this(query: Query, code: str, has_chart: bool = False) -> str:
    """Buttons to save and copy, and the Python code that returns the same data."""
    name = "-".join(["missioncontrol", query.channel, query.os_name.lower(), *([query.measure] if has_chart else [])])
    buttons = [button("CSV", "csv"), button("Parquet", "parquet")]
    if has_chart:
        buttons += [button("SVG", "svg", data_mc_filename=name), button("PNG", "png", data_mc_filename=name)]
    buttons += [button("Copy link", "copy-link"), button("Copy Python", "copy-text", data_mc_text=code)]
    return tag("section", tag("b", "Get this"), *buttons, tag("pre", text(code)), css="mc-get", aria_label="Get this")


def monitor_code(query: Query) -> str:
    """The Python code that opens the data that the page reads."""
    builds = "" if query.official else ", official=False"
    builds += f", product={query.product.name!r}" if query.product != contract.FIREFOX else ""
    opened = f"mc.monitor.Monitor(DATASET, mc.load_calendar(RELEASES){builds})"
    return f"import missioncontrol_nb as mc\nmonitor = {opened}\n"
