"""The texts of a detail's chart: the readout line above it and its text alternative."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from html import escape
from typing import Any

import pandas as pd

from missioncontrol_nb import arguments
from missioncontrol_nb.charts.annotations import Axis, releases_in
from missioncontrol_nb.charts.detail_data import (
    Show,
    Time,
    check_detail,
    incidents_shown,
    placed_windows,
    shown_lines,
    top_that_is_left,
    x_extent,
)
from missioncontrol_nb.charts.expected import NOTHING, Expected, acceptable_band, acceptable_words, estimated_lines
from missioncontrol_nb.charts.theme import SHADES, moment_without_zone
from missioncontrol_nb.formatting import FIXED_SPACE, dimension_words, measure_label, moment, percent, rate_and_interval
from missioncontrol_nb.incidents import Incident
from missioncontrol_nb.monitor import Detail, Line, Rate
from streaming import contract


def readout(
    detail: Detail,
    *,
    show: Show,
    time: Time,
    hidden: str | Iterable[str] = (),
    expected: Expected = NOTHING,
    incidents: Sequence[Incident] = (),
) -> dict[str, Any]:
    """The readout line above the chart, as for `VegaChart.readout`; quiet: its HTML while nothing is read out."""
    check_detail(detail, show, time)
    arguments.instance("expected", expected, Expected, "an Expected")
    lines = shown_lines(detail.lines, hidden)
    return {
        "dataset": "windows",
        "x": "x",
        "kind": "time" if time == "latest" else "age",
        "show": show,
        "series": [{"name": line.label, "class": f"mc-{SHADES[min(line.rank, len(SHADES) - 1)]}"} for line in lines],
        "quiet": escape(_quiet(detail, lines, show, time, expected, incidents_shown(detail, time, hidden, incidents))),
    }


def _quiet(
    detail: Detail, lines: list[Line], show: Show, time: Time, expected: Expected, incidents: Sequence[Incident]
) -> str:
    if not lines:
        return "All lines are switched off."
    windows = placed_windows(detail, lines, time, *x_extent(detail, lines, time))
    if windows.empty:
        return "No pings in this interval."
    parts = ["Bands: 95 % intervals."] if show == "rate" and lines[0].rank < 2 else []
    start, end = x_extent(detail, lines, time)
    band = acceptable_band(expected, lines, is_rate=show == "rate", by_age=time != "latest", start=start, end=end)
    if len(band):
        parts.append(f"Grey range: acceptable, now {acceptable_words(band)}.")
    if incidents:
        drawn = "Upright grey bands" if time == "latest" else "Strips at the bottom"
        parts.append(f"{drawn}: {_number_of(incidents)}, listed below.")
    estimated = estimated_lines(windows, expected) if show == "rate" else []
    if estimated:
        parts.append(f"{', '.join(estimated)}: hours of use still to be reported are estimated.")
    late = windows.loc[windows["complete"] == 0]
    if len(late):
        parts.append(f"Hatched: usage hours still arriving{_arrived(late['arrived'].dropna())}.")
    top = top_that_is_left(detail, lines, show, time, expected)
    if top is not None:
        parts.append(f"The scale is cut at {top:g}.")
    if detail.left_out:
        parts.append(f"{detail.left_out} windows of the highest rates are left out.")
    return " ".join([*parts, "Point at or touch the chart for figures."])


def _number_of(incidents: Sequence[Incident]) -> str:
    return "a data incident" if len(incidents) == 1 else f"{len(incidents)} data incidents"


def _arrived(shares: pd.Series) -> str:
    if shares.empty:
        return ""
    low, high = percent(shares.min()), percent(shares.max())
    return f", {low} in" if low == high else f", {low.removesuffix(FIXED_SPACE + '%')} to {high} in"


def summary(
    detail: Detail,
    *,
    show: Show,
    time: Time,
    hidden: str | Iterable[str] = (),
    incidents: Sequence[Incident] = (),
) -> str:
    """The chart's text alternative: a sentence with figures, and what else is marked."""
    check_detail(detail, show, time)
    lines = shown_lines(detail.lines, hidden)
    measure = measure_label(detail.row.measure)
    what = f"{measure} per 1000 usage hours" if show == "rate" else measure
    place = f"on {detail.channel}, {detail.product.platform(detail.os_name).label}"
    if not lines:
        return f"{what} {place}: all lines are switched off."
    names = ", ".join(line.label for line in lines[:-1])
    names = " and ".join(filter(None, [names, lines[-1].label]))
    if detail.line in contract.FINE_DIMENSIONS:
        names = f"{detail.newest.version}, {dimension_words(detail.line)} {names},"
    said = [*_said(detail.newest, detail.row.newest, show, "since its release"),
            *_said(detail.previous, detail.row.previous, show, "at the same age")]  # fmt: skip
    figures = f": {'; '.join(said)}" if said else ""
    sentence = f"{what} of {names} {place}, by {_window_words(detail.every)} {_span(detail, lines, time)}{figures}."
    return " ".join([sentence, *_marked(detail, lines, time, incidents_shown(detail, time, hidden, incidents))])


def _marked(detail: Detail, lines: list[Line], time: Time, incidents: Sequence[Incident]) -> list[str]:
    """What the chart marks on its x axis, in sentences."""
    start, end = x_extent(detail, lines, time)
    releases = releases_in(detail, lines, Axis(start, end, False, time != "latest"))
    said = [f"{version} came out on {moment(released)}." for version, released in releases]
    if incidents:
        said.append(f"The chart marks {_number_of(incidents)}, listed below it.")
    return said


def _said(version: Any, rate: Rate | None, show: Show, when: str) -> list[str]:
    if version is None or rate is None:
        return []
    if show == "count":
        return [f"{version.version} has {rate.events} {when}"]
    value, interval = rate_and_interval(rate.value, rate.lower, rate.upper)
    return [f"{version.version} has {value} ({interval}) {when}"] if interval else []


def _window_words(every: timedelta) -> str:
    words = {timedelta(hours=1): "hour", timedelta(days=1): "day"}
    return words.get(every, f"{every.total_seconds() / 60:.0f} min")


def _span(detail: Detail, lines: Sequence[Line], time: Time) -> str:
    if time == "latest":
        return f"from {moment_without_zone(detail.since)} to {moment(detail.until)}"
    return f"for the first {x_extent(detail, lines, time)[1]:.0f} h since each release"
