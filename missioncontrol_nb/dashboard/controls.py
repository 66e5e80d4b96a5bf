"""The controls of a view, each linked to a trait of the state."""

from collections.abc import Sequence
from functools import cache

import ipywidgets as widgets
from traitlets import HasTraits, link

from missioncontrol_nb.dashboard.state import State
from missioncontrol_nb.dashboard.widgets.page import Markup
from missioncontrol_nb.formatting import measure_label
from streaming import contract

Options = Sequence[tuple[str, object]]
SHOWS: Options = [("Rate", "rate"), ("Count", "count")]
PERIODS: Options = [("Since release", "since_release"), ("Last 24 h", "last_24h")]
ORDERS: Options = [("Worst first", "worst"), ("By name", "name")]
CUTS: Options = [("none", 0), ("1 % of rates", 1), ("5 % of rates", 5)]
INTERVALS: Options = [("24 h", "24h"), ("48 h", "48h"), ("7 d", "7d"), ("14 d", "14d"), ("Custom", "custom")]
TIMES: Options = [("Latest", "latest"), ("Since release", "since_release")]
SKIPS: Options = [("Shown", False), ("Left out", True)]
WINDOWS: Options = [("5 min", "5min"), ("Hour", "1h"), ("Day", "1d")]
LINES: Options = [
    *(("Version", "version"), ("Build", "build")),
    *((contract.dimension(name).label, name) for name in contract.FINE_DIMENSIONS),
]
BUILDS: Options = [("Official", True), ("All", False)]
MOST_SWITCHES = 4  # three lines by name, and one switch for all older lines


@cache
def plain_layout() -> widgets.Layout:
    """The layout shared by all controls that need no layout of their own."""
    return widgets.Layout()


def html(css: str = "") -> Markup:
    """A widget for a page's own HTML."""
    return Markup(layout=plain_layout(), _dom_classes=css.split())


def box(*children: widgets.Widget, css: str = "", across: bool = False) -> widgets.Box:
    """Widgets below each other, or beside each other where the width allows."""
    kind = widgets.HBox if across else widgets.VBox
    return kind(children, layout=plain_layout(), _dom_classes=css.split())


def dropdown(state: HasTraits, name: str, label: str, options: Options) -> widgets.Dropdown:
    """A dropdown list, linked to the state's choice of that name."""
    return _linked(widgets.Dropdown, state, name, label, options)


class ProductDropdown:
    """A dropdown list of channels, platforms or measures, with the choices of the state's product."""

    def __init__(self, state: State, name: str, label: str) -> None:
        self._state, self._name = state, name
        self._is_showing = False
        self.widget = widgets.Dropdown(
            options=self._options(), value=getattr(state, name), description=label, tooltip=label, layout=plain_layout()
        )
        state.observe(lambda _: self._show(), ["product", name])
        self.widget.observe(lambda change: self._choose(change.new), "value")

    def _options(self) -> Options:
        product = self._state.product
        if self._name == "channel":
            return tuple((channel.label, channel.name) for channel in product.channels)
        if self._name == "os_name":
            return tuple((platform.label, platform.os_name) for platform in product.platforms)
        return tuple((measure_label(name), name) for name in product.measures)

    def _show(self) -> None:
        self._is_showing = True
        try:
            if self.widget.options != self._options():
                self.widget.options = self._options()
            self.widget.value = getattr(self._state, self._name)
        finally:
            self._is_showing = False

    def _choose(self, value: object) -> None:
        if not self._is_showing:
            setattr(self._state, self._name, value)


def channel_and_platform(state: State) -> tuple[widgets.Dropdown, widgets.Dropdown]:
    """The dropdown lists of the product's channels and platforms."""
    return ProductDropdown(state, "channel", "Channel").widget, ProductDropdown(state, "os_name", "Platform").widget


def measures(state: State) -> widgets.Dropdown:
    """The dropdown list of the product's measures."""
    return ProductDropdown(state, "measure", "Measure").widget


def toggles(state: HasTraits, name: str, label: str, options: Options) -> widgets.ToggleButtons:
    """Toggle buttons, one of them pressed, linked to the state's choice of that name."""
    return _linked(widgets.ToggleButtons, state, name, label, options)


def _linked(kind: type, state: HasTraits, name: str, label: str, options: Options) -> widgets.Widget:
    control = kind(options=options, value=getattr(state, name), description=label, tooltip=label, layout=plain_layout())
    link((state, name), (control, "value"))
    return control


class Controls:
    """Rows of controls; on a phone, a button with the current settings opens and closes them."""

    def __init__(self, *rows: widgets.Box) -> None:
        self._more = widgets.Button(layout=plain_layout(), _dom_classes=["mc-more"])
        self.widget = box(*rows, self._more, css="mc-controls")
        self._more.on_click(self._toggle)

    def name(self, setting: str) -> None:
        """Shows the current settings on the button."""
        self._more.description = setting

    def _toggle(self, _button: widgets.Button) -> None:
        open_ = "mc-open" in self.widget._dom_classes
        (self.widget.remove_class if open_ else self.widget.add_class)("mc-open")


class Switches:
    """A checkbox for each line of the chart; the checkboxes are also its legend.

    All checkboxes are created at once, before a browser connects. A widget created while the browser fetches the
    others refers to models that the browser does not know yet, and remains an error on that page.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._pool = [self._checkbox() for _ in range(MOST_SWITCHES)]
        self._names: list[str] = []
        self._showing = False
        self.widget = box(css="mc-versions", across=True)
        state.observe(lambda _: self._take_over(), "hidden")

    def show(self, lines: Sequence[tuple[str, str, str]]) -> None:
        """Shows a checkbox for each line.

        lines: (name, label, class), at most MOST_SWITCHES; a box is checked unless the state hides its name.
        """
        self._showing = True
        self._names = [name for name, _, _ in lines]
        for checkbox, (name, label, css) in zip(self._pool, lines, strict=False):
            checkbox.description, checkbox._dom_classes = label, (css,)
            checkbox.value = name not in self._state.hidden
        self._showing = False
        if len(self.widget.children) != len(lines):
            self.widget.children = tuple(self._pool[: len(lines)])

    def _checkbox(self) -> widgets.Checkbox:
        checkbox = widgets.Checkbox(indent=False, layout=plain_layout())
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
