"""The widgets of the three views, linked to the state; they decide nothing.

A view has `controls`, that stay while data are read or fail to, and `content`, that shows the data. Widgets share
one layout and one style model: what a page creates, its visitor waits for.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Protocol

import ipywidgets as widgets
from traitlets import HasTraits, link

from missioncontrol_nb.figures import CHANNEL_LABELS, PLATFORM_LABELS
from missioncontrol_nb.monitor import ChannelTable, Detail, Overview
from streaming import contract

from . import words
from .days import DayField
from .export import FORMATS, as_bytes, detail_frame, filename, table_frame
from .pages import detail as detail_page
from .pages import overview as overview_page
from .pages import table as table_page
from .parts import headline
from .state import OLDER, Query, State
from .widgets import Markup, VegaChart, split_chart

Options = Sequence[tuple[str, object]]

CHANNELS: Options = [(CHANNEL_LABELS[name], name) for name in contract.CHANNELS]
PLATFORMS: Options = [(label, name) for name, label in PLATFORM_LABELS.items()]
MEASURES: Options = [(measure.label, measure.name) for measure in contract.MEASURES]
SHOWS: Options = [("Rate", "rate"), ("Count", "count")]
PERIODS: Options = [("Since release", "since_release"), ("Last 24 h", "last_24h")]
ORDERS: Options = [("Worst first", "worst"), ("By name", "name")]
CUTS: Options = [("none", 0), ("1 % of rates", 1), ("5 % of rates", 5)]
INTERVALS: Options = [("24 h", "24h"), ("48 h", "48h"), ("7 d", "7d"), ("14 d", "14d"), ("Custom", "custom")]
TIMES: Options = [("Latest", "latest"), ("Since release", "since_release")]
WINDOWS: Options = [("5 min", "5min"), ("Hour", "1h"), ("Day", "1d")]
LINES: Options = [("Version", "version"), ("Build", "build")]
BUILDS: Options = [("Official", True), ("All", False)]
MOST_SWITCHES = 4  # three lines by name, and all older ones together


@cache
def _plain_layout() -> widgets.Layout:
    return widgets.Layout()


def html(css: str = "") -> Markup:
    """A place for a page's own HTML."""
    return Markup(layout=_plain_layout(), _dom_classes=css.split())


def box(*children: widgets.Widget, css: str = "", across: bool = False) -> widgets.Box:
    """Widgets below each other, or beside each other where the width allows."""
    kind = widgets.HBox if across else widgets.VBox
    return kind(children, layout=_plain_layout(), _dom_classes=css.split())


def dropdown(state: HasTraits, name: str, label: str, options: Options) -> widgets.Dropdown:
    """A list to choose one from, linked to the state's choice of that name."""
    return _linked(widgets.Dropdown, state, name, label, options)


def toggles(state: HasTraits, name: str, label: str, options: Options) -> widgets.ToggleButtons:
    """Buttons side by side, one of them pressed, linked to the state's choice of that name."""
    return _linked(widgets.ToggleButtons, state, name, label, options)


def _linked(kind: type, state: HasTraits, name: str, label: str, options: Options) -> widgets.Widget:
    control = kind(
        options=options, value=getattr(state, name), description=label, tooltip=label, layout=_plain_layout()
    )
    link((state, name), (control, "value"))
    return control


class Controls:
    """Rows of controls; on a phone one button that names their setting opens and closes them."""

    def __init__(self, *rows: widgets.Box) -> None:
        self._more = widgets.Button(layout=_plain_layout(), _dom_classes=["mc-more"])
        self.widget = box(*rows, self._more, css="mc-controls")
        self._more.on_click(self._toggle)

    def name(self, setting: str) -> None:
        """Says on the button what is set."""
        self._more.description = setting

    def _toggle(self, _button: widgets.Button) -> None:
        open_ = "mc-open" in self.widget._dom_classes
        (self.widget.remove_class if open_ else self.widget.add_class)("mc-open")


File = tuple[str, bytes, str]
"""Name, content and type of a download."""


class View(Protocol):
    """One kind of page. controls stay while data are read or fail to be; content shows the data."""

    controls: tuple[widgets.Widget, ...]
    content: tuple[widgets.Widget, ...]

    def name(self, query: Query) -> None:
        """Says on a phone's button what the controls are set to, whether there is something to show or not."""

    def show(self, summary: Any, query: Query, narrow: bool) -> str:
        """Shows a summary; returns the page's headline. narrow: on a phone."""

    def export(self, format_: str) -> File | None:
        """What is shown, as a file to download; None where there is nothing of that format."""


class OverviewView:
    """Channels by platforms, a card a platform; all of it HTML, its links change the state."""

    def __init__(self) -> None:
        self._body = html("mc-body")
        self.controls: tuple[widgets.Widget, ...] = ()
        self.content: tuple[widgets.Widget, ...] = (self._body,)

    def name(self, query: Query) -> None:
        """Nothing: there are no controls."""

    def show(self, summary: Overview, query: Query, narrow: bool) -> str:
        """Shows an overview."""
        self._body.value = overview_page.overview(summary, query)
        return headline(*words.overview_headline(summary, query.channel))

    def export(self, format_: str) -> File | None:
        """Nothing: figures are taken along from the pages below."""
        return None


class TableView:
    """Measures by version of one channel and platform."""

    def __init__(self, state: State) -> None:
        self._controls = Controls(
            box(
                dropdown(state, "channel", "Channel", CHANNELS),
                dropdown(state, "os_name", "Platform", PLATFORMS),
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
        """Says on a phone's button what is set."""
        self._controls.name(words.setting(query))

    def show(self, summary: ChannelTable, query: Query, narrow: bool) -> str:
        """Shows a table."""
        self._shown = summary, query
        self._body.value = table_page.table(summary, query)
        return headline(*words.table_headline(summary))

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
            DayField(state, "since", "First day", _plain_layout()).widget,
            DayField(state, "until", "Last day", _plain_layout()).widget,
            css="mc-days",
            across=True,
        )
        self._controls = Controls(*self._rows(state))
        self._title = html("mc-title")
        self._versions = Switches(state)
        self._empty = html("mc-body")
        self.chart = VegaChart(layout=_plain_layout())
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
            dropdown(state, "channel", "Channel", CHANNELS),
            dropdown(state, "os_name", "Platform", PLATFORMS),
            dropdown(state, "measure", "Measure", MEASURES),
            toggles(state, "show", "Show", SHOWS),
            dropdown(state, "cut", "Leave out highest", CUTS),
            toggles(state, "official", "Builds", BUILDS),
            across=True,
        )
        yield box(
            toggles(state, "interval", "Interval", INTERVALS),
            self._days,
            toggles(state, "time", "Time", TIMES),
            toggles(state, "window", "Window", WINDOWS),
            toggles(state, "line", "Line for each", LINES),
            across=True,
        )

    def _show_days(self, shown: bool) -> None:
        (self._days.remove_class if shown else self._days.add_class)("mc-gone")

    def name(self, query: Query) -> None:
        """Says on a phone's button what is set."""
        self._controls.name(words.setting(query))

    def show(self, summary: Detail, query: Query, narrow: bool) -> str:
        """Shows a measure."""
        self._shown = summary, query
        self._title.value = detail_page.chart_title(query)
        self._versions.show(lines(summary))
        self._show_chart(summary, query, narrow)
        self._below.value = detail_page.below_chart(summary, query)
        return headline(*words.detail_headline(summary))

    def _show_chart(self, detail: Detail, query: Query, narrow: bool) -> None:
        is_empty = detail.windows.empty
        self._empty.value = detail_page.no_windows(detail, query) if is_empty else ""
        (self.chart.add_class if is_empty else self.chart.remove_class)("mc-gone")
        if is_empty:
            return
        with self.chart.hold_sync():
            for name, value in drawing(detail, query, narrow).items():
                setattr(self.chart, name, value)

    def export(self, format_: str) -> File | None:
        """The chart's windows."""
        if self._shown is None or format_ not in FORMATS:
            return None
        detail, query = self._shown
        return filename(query, format_), as_bytes(detail_frame(detail), format_), FORMATS[format_]


def drawing(detail: Detail, query: Query, narrow: bool) -> dict[str, Any]:
    """What a `VegaChart` shows of a measure, by trait."""
    from missioncontrol_nb import charts

    chart = charts.detail_chart(detail, show=query.show, time=query.time, hidden=query.hidden, narrow=narrow)
    spec, columns = split_chart(chart)
    summary = charts.summary(detail, show=query.show, time=query.time, hidden=query.hidden)
    readout = charts.readout(detail, show=query.show, time=query.time, hidden=query.hidden)
    return {"spec": spec, "columns": columns, "summary": summary, "readout": readout}


def lines(detail: Detail) -> list[tuple[str, str, str]]:
    """(name, label, class) of every line that can be switched; those after the third go together."""
    own, others = detail.lines[: MOST_SWITCHES - 1], detail.lines[MOST_SWITCHES - 1 :]
    found = [(line.name, line.label, f"mc-v{line.rank}" if line.rank < 3 else "mc-v-old") for line in own]
    if others:
        found.append((OLDER, "Older", "mc-v-old"))
    return found


class Switches:
    """A checkbox a line of the chart: they are its legend.

    All checkboxes are made at once, before a browser connects: a widget made while the browser fetches the others
    refers to models that the browser does not know yet, and stays an error on that page for good.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._pool = [self._checkbox() for _ in range(MOST_SWITCHES)]
        self._names: list[str] = []
        self._showing = False
        self.widget = box(css="mc-versions", across=True)
        state.observe(lambda _: self._take_over(), "hidden")

    def show(self, lines: Sequence[tuple[str, str, str]]) -> None:
        """lines: (name, label, class), at most MOST_SWITCHES; a box is checked unless the state hides its name."""
        self._showing = True
        self._names = [name for name, _, _ in lines]
        for checkbox, (name, label, css) in zip(self._pool, lines, strict=False):
            checkbox.description, checkbox._dom_classes = label, (css,)
            checkbox.value = name not in self._state.hidden
        self._showing = False
        if len(self.widget.children) != len(lines):
            self.widget.children = tuple(self._pool[: len(lines)])

    def _checkbox(self) -> widgets.Checkbox:
        checkbox = widgets.Checkbox(indent=False, layout=_plain_layout())
        checkbox.observe(lambda _: self._tell(), "value")
        return checkbox

    def _take_over(self) -> None:
        self._showing = True
        for checkbox, name in zip(self._pool, self._names, strict=False):
            checkbox.value = name not in self._state.hidden
        self._showing = False

    def _tell(self) -> None:
        if self._showing:
            return
        shown = {name for checkbox, name in zip(self._pool, self._names, strict=False) if checkbox.value}
        others = set(self._state.hidden) - set(self._names)
        self._state.hidden = tuple(sorted(others | (set(self._names) - shown)))
