"""The views of a page: overview, table and detail."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

import ipywidgets as widgets

from missioncontrol_nb.dashboard import messages, verdict_words
from missioncontrol_nb.dashboard.controls import (
    BUILDS,
    CUTS,
    INTERVALS,
    LINES,
    MOST_SWITCHES,
    ORDERS,
    PERIODS,
    SHOWS,
    SKIPS,
    TIMES,
    WINDOWS,
    Controls,
    Switches,
    box,
    channel_and_platform,
    dropdown,
    html,
    measures,
    plain_layout,
    toggles,
)
from missioncontrol_nb.dashboard.day_field import DayField
from missioncontrol_nb.dashboard.export import FORMATS, as_bytes, detail_frame, filename, table_frame
from missioncontrol_nb.dashboard.html.html import headline
from missioncontrol_nb.dashboard.judged import Judged
from missioncontrol_nb.dashboard.pages import detail as detail_page
from missioncontrol_nb.dashboard.pages import overview as overview_page
from missioncontrol_nb.dashboard.pages import table as table_page
from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.dashboard.state import State
from missioncontrol_nb.dashboard.widgets.altair_columns import split_chart
from missioncontrol_nb.dashboard.widgets.vega_chart import VegaChart
from missioncontrol_nb.monitor import OLDER, ChannelTable, Detail, Overview

if TYPE_CHECKING:
    from missioncontrol_nb.charts import Expected

File = tuple[str, bytes, str]
"""Name, content and MIME type of a download."""


class View(Protocol):
    """One kind of page; controls stay while data are read or reading fails, content shows the data."""

    controls: tuple[widgets.Widget, ...]
    content: tuple[widgets.Widget, ...]

    def name(self, query: Query) -> None:
        """Shows the current settings on a phone's button, whether or not there is data to show."""

    def show(self, summary: Any, judged: Judged, query: Query, narrow: bool) -> str:
        """Shows a summary with its verdicts; returns the page's headline. narrow: on a phone."""

    def export(self, format_: str) -> File | None:
        """The shown data as a file to download; None where there is no such format."""


class OverviewView:
    """Channels by platforms and a card for each platform, all of it HTML; its links change the state."""

    def __init__(self) -> None:
        self._body = html("mc-body")
        self.controls: tuple[widgets.Widget, ...] = ()
        self.content: tuple[widgets.Widget, ...] = (self._body,)

    def name(self, query: Query) -> None:
        """Nothing: there are no controls."""

    def show(self, summary: Overview, judged: Judged, query: Query, narrow: bool) -> str:
        """Shows an overview."""
        self._body.value = overview_page.overview(summary, query, judged)
        return headline(*verdict_words.overview_headline(summary, query.channel, judged))

    def export(self, format_: str) -> File | None:
        """Nothing: figures are downloaded from the table and detail pages."""
        return None


class TableView:
    """Measures by version of one channel and platform."""

    def __init__(self, state: State) -> None:
        self._controls = Controls(
            box(
                *channel_and_platform(state),
                toggles(state, "show", "Show", SHOWS),
                toggles(state, "period", "Time", PERIODS),
                toggles(state, "order", "Order", ORDERS),
                across=True,
            )
        )
        self._body = html("mc-body")
        self._shown: tuple[ChannelTable, Query] | None = None
        self.controls: tuple[widgets.Widget, ...] = (self._controls.widget,)
        self.content: tuple[widgets.Widget, ...] = (self._body,)

    def name(self, query: Query) -> None:
        """Shows the current settings on a phone's button."""
        self._controls.name(messages.setting(query))

    def show(self, summary: ChannelTable, judged: Judged, query: Query, narrow: bool) -> str:
        """Shows a table."""
        self._shown = summary, query
        self._body.value = table_page.table(summary, query, judged)
        return headline(*verdict_words.table_headline(summary, judged))

    def export(self, format_: str) -> File | None:
        """The table's figures."""
        if self._shown is None or format_ not in FORMATS:
            return None
        table, query = self._shown
        return filename(query, format_), as_bytes(table_frame(table), format_), FORMATS[format_]


class DetailView:
    """One measure over time, version against version, with all its controls."""

    def __init__(self, state: State) -> None:
        self._days = box(
            DayField(state, "since", "First day", plain_layout()).widget,
            DayField(state, "until", "Last day", plain_layout()).widget,
            css="mc-days",
            across=True,
        )
        self._controls = Controls(*self._rows(state))
        self._title = html("mc-title")
        self._versions = Switches(state)
        self._empty = html("mc-body")
        self.chart = VegaChart(layout=plain_layout())
        head = box(self._title, self._versions.widget, css="mc-chart-head", across=True)
        self._panel = box(head, self._empty, self.chart, css="mc-panel")
        self._below = html("mc-body")
        self._shown: tuple[Detail, Query] | None = None
        self.controls: tuple[widgets.Widget, ...] = (self._controls.widget,)
        self.content: tuple[widgets.Widget, ...] = (self._panel, self._below)
        state.observe(lambda change: self._show_days(change.new == "custom"), "interval")
        self._show_days(state.interval == "custom")

    def _rows(self, state: State) -> Iterable[widgets.Box]:
        yield box(
            *channel_and_platform(state),
            measures(state),
            toggles(state, "show", "Show", SHOWS),
            dropdown(state, "cut", "Leave out highest", CUTS),
            toggles(state, "official", "Builds", BUILDS),
            across=True,
        )
        yield box(
            toggles(state, "interval", "Interval", INTERVALS),
            self._days,
            toggles(state, "time", "Time", TIMES),
            toggles(state, "skip", "First 24 h", SKIPS),
            toggles(state, "window", "Window", WINDOWS),
            dropdown(state, "line", "Line for each", LINES),
            across=True,
        )

    def _show_days(self, shown: bool) -> None:
        (self._days.remove_class if shown else self._days.add_class)("mc-gone")

    def name(self, query: Query) -> None:
        """Shows the current settings on a phone's button."""
        self._controls.name(messages.setting(query))

    def show(self, summary: Detail, judged: Judged, query: Query, narrow: bool) -> str:
        """Shows a measure."""
        self._shown = summary, query
        self._title.value = detail_page.chart_title(query)
        self._versions.show(lines(summary))
        self._show_chart(summary, judged, query, narrow)
        self._below.value = detail_page.below_chart(summary, query, judged)
        return headline(*verdict_words.detail_headline(summary, judged))

    def _show_chart(self, detail: Detail, judged: Judged, query: Query, narrow: bool) -> None:
        is_empty = detail.windows.empty
        self._empty.value = detail_page.no_windows(detail, query) if is_empty else ""
        (self.chart.add_class if is_empty else self.chart.remove_class)("mc-gone")
        if is_empty:
            return
        with self.chart.hold_sync():
            for name, value in drawing(detail, judged, query, narrow).items():
                setattr(self.chart, name, value)

    def export(self, format_: str) -> File | None:
        """The chart's windows."""
        if self._shown is None or format_ not in FORMATS:
            return None
        detail, query = self._shown
        return filename(query, format_), as_bytes(detail_frame(detail), format_), FORMATS[format_]


def drawing(detail: Detail, judged: Judged, query: Query, narrow: bool) -> dict[str, Any]:
    """The traits of a `VegaChart` that shows a measure, by name."""
    from missioncontrol_nb import charts

    expected = expected_of(detail, judged)
    how: Any = {"show": query.show, "time": query.time, "hidden": query.hidden, "incidents": judged.incidents}
    chart = charts.detail_chart(detail, **how, narrow=narrow, expected=expected)
    spec, columns = split_chart(chart)
    summary = charts.summary(detail, **how)
    readout = charts.readout(detail, **how, expected=expected)
    return {"spec": spec, "columns": columns, "summary": summary, "readout": readout}


def expected_of(detail: Detail, judged: Judged) -> "Expected":
    """What the judge expects of the newest version, and the estimated hours of the versions that it watches."""
    from missioncontrol_nb.charts import Expected

    standing = judged.standing(detail, detail.os_name, detail.row)
    if detail.line != "version" or judged.verdicts is None or standing.verdict is None:
        return Expected()
    hours = {}
    for line in detail.lines:
        course = judged.verdicts.course_of(detail.channel, detail.os_name, line.name, detail.row.measure)
        if course is not None and course.deviation > 0:
            hours[line.name] = course.frame()
    verdict = standing.verdict
    return Expected(verdict.course.frame(), hours, verdict.since, is_bad=standing.state == "bad")


def lines(detail: Detail) -> list[tuple[str, str, str]]:
    """(name, label, class) of every line that can be switched; lines after the third share one switch."""
    own, others = detail.lines[: MOST_SWITCHES - 1], detail.lines[MOST_SWITCHES - 1 :]
    found = [(line.name, line.label, f"mc-v{line.rank}" if line.rank < 3 else "mc-v-old") for line in own]
    if others:
        found.append((OLDER, "Older" if detail.line in ("version", "build") else "Others", "mc-v-old"))
    return found
