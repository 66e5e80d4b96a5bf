"""Prerenders a page's widgets as static HTML, which a visitor sees until the widgets themselves are loaded."""

# Elements and classes are the same as those of ipywidgets, so one style sheet serves both and nothing moves at
# hydration. Controls are inert; charts contain their specification and columns, which `hydrate.js` draws.

import json
from base64 import b64encode
from functools import singledispatch
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from missioncontrol_nb.dashboard.html.html import tag, text
from missioncontrol_nb.dashboard.widgets.page import Markup
from missioncontrol_nb.dashboard.widgets.vega_chart import VegaChart

HERE = Path(__file__).parent
PARTS = (HERE / "widgets" / "vega_chart.js", HERE / "hydrate.js")
LOOK = HERE.parent / "style" / "dashboard.css"


def page(widget: widgets.Widget) -> str:
    """The widget and its children in their current state, with style sheet and script, as HTML for a page's body."""
    style = tag("style", LOOK.read_text(encoding="utf-8"))
    code = "\n".join(part.read_text(encoding="utf-8") for part in PARTS)
    return tag("div", style, still(widget), id="mc-still") + f'<script type="module" async>{code}</script>'


@singledispatch
def still(widget: widgets.Widget) -> str:
    """The HTML of one widget with its children; an invisible widget is an empty element."""
    return tag("div", css=_classes(widget))


@still.register
def _box(box: widgets.Box) -> str:
    kind = "widget-hbox" if isinstance(box, widgets.HBox) else "widget-vbox"
    role = "main" if "mc-main" in box._dom_classes else None
    return tag("div", *map(still, box.children), css=_classes(box, f"widget-container widget-box {kind}"), role=role)


@still.register
def _html(place: Markup) -> str:
    content = tag("div", place.value, css="widget-html-content")
    return tag("div", content, css=_classes(place, "widget-inline-hbox widget-html"))


@still.register
def _button(button: widgets.Button) -> str:
    css = _classes(button, "jupyter-button widget-button")
    return tag("button", text(button.description), css=css, type="button", inert=True)


@still.register
def _dropdown(control: widgets.Dropdown) -> str:
    options = (tag("option", text(label), selected=label == control.label) for label in control._options_labels)
    return _control(
        control, "widget-inline-hbox widget-dropdown", tag("select", *options, aria_label=control.description)
    )


@still.register
def _toggles(control: widgets.ToggleButtons) -> str:
    def button(label: str) -> str:
        is_on = label == control.label
        css = "widget-toggle-button jupyter-button" + (" mod-active" if is_on else "")
        return tag("button", text(label), css=css, type="button", aria_pressed=str(is_on).lower())

    group = tag("div", *map(button, control._options_labels), role="group", aria_label=control.description)
    return _control(control, "widget-toggle-buttons", group)


@still.register
def _field(control: widgets.Text) -> str:
    field = tag(
        "input", type="text", value=control.value, placeholder=control.placeholder, aria_label=control.description
    )
    return _control(control, "widget-inline-hbox widget-text", field)


@still.register
def _checkbox(control: widgets.Checkbox) -> str:
    field = tag("input", type="checkbox", checked=bool(control.value))
    label = tag("label", field, tag("span", text(control.description)), css="widget-label-basic")
    return tag("div", label, css=_classes(control, "widget-inline-hbox widget-checkbox"), inert=True)


@still.register
def _chart(chart: VegaChart) -> str:
    given = {name: getattr(chart, name) for name in ("spec", "columns", "summary", "readout")}
    data = json.dumps(given, default=_encode, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return tag("div", tag("script", data, type="application/json"), css=_classes(chart, "mc-waits"))


def _control(control: widgets.DOMWidget, kind: str, field: str) -> str:
    label = tag("label", text(control.description), css="widget-label")
    return tag("div", label, field, css=_classes(control, kind), inert=True)


def _classes(widget: widgets.Widget, kind: str = "") -> str:
    own = getattr(widget, "_dom_classes", ())
    return " ".join(("jupyter-widgets", *kind.split(), *own))


def _encode(value: Any) -> Any:
    if isinstance(value, (bytes, memoryview)):
        return {"base64": b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} in a chart's traits")
