"""Small parts that several pages share: figures beside each other, sparks, completeness, downloads."""

import math

from missioncontrol_nb.dashboard import messages
from missioncontrol_nb.dashboard.html.html import button, link, tag, text
from missioncontrol_nb.dashboard.html.svg import hour_bars, spark
from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.formatting import DASH, decimals_of, grouped, percent, rate_and_interval
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
    builds += f", product={query.product.name!r}" if query.product not in contract.PRODUCTS else ""
    opened = f"mc.monitor.Monitor(DATASET, mc.load_calendar(RELEASES){builds})"
    return f"import missioncontrol_nb as mc\nmonitor = {opened}\n"
