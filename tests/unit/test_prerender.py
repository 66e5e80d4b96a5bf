"""A page as HTML without its widgets: every kind of widget, what is pressed and chosen, and nothing that escapes."""

import json
import re
from base64 import b64decode
from datetime import date
from html.parser import HTMLParser

import ipywidgets as widgets
import numpy as np
import pytest

from missioncontrol_nb.dashboard import prerender
from missioncontrol_nb.dashboard.controls import html
from missioncontrol_nb.dashboard.day_field import DayField
from missioncontrol_nb.dashboard.state import State
from missioncontrol_nb.dashboard.views import DetailView, OverviewView, TableView
from missioncontrol_nb.dashboard.widgets.vega_chart import VegaChart

HOSTILE = "</script><script>evil()</script>"


class Tags(HTMLParser):
    """Elements as (name, attributes), and whether each was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag != "input":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "input":
            assert self.open.pop() == tag

    def with_class(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.found if name in (attributes.get("class") or "").split()]


def test_controls_show_what_is_chosen_and_cannot_be_used() -> None:
    state = State(interval="48h", channel="beta")
    tags = Tags("".join(map(prerender.still, DetailView(state).controls)))
    assert tags.open == []
    chosen = re.findall(r"<option selected>([^<]+)<", prerender.still(DetailView(state).controls[0]))
    assert chosen == ["Beta", "Windows", "Content crashes", "none", "Version"]
    pressed = re.findall(r"mod-active\"[^>]*>([^<]+)<", prerender.still(DetailView(state).controls[0]))
    assert pressed == ["Rate", "Official", "48 h", "Latest", "Shown", "Hour"]
    for kind in ("widget-dropdown", "widget-toggle-buttons", "widget-text", "mc-more"):
        found = tags.with_class(kind)
        assert found, kind
        assert all("inert" in attributes for attributes in found), kind


@pytest.mark.parametrize("make", [lambda: OverviewView(), lambda: TableView(State()), lambda: DetailView(State())])
def test_every_widget_of_every_view_has_a_still(make) -> None:
    view = make()

    def kinds(widget: widgets.Widget):
        yield type(widget)
        for child in getattr(widget, "children", ()):
            yield from kinds(child)

    plain = prerender.still.dispatch(object)
    for top in (*view.controls, *view.content):
        for kind in kinds(top):
            assert prerender.still.dispatch(kind) is not plain, kind


def test_html_stays_and_classes_are_kept() -> None:
    place = html("mc-body mc-gone")
    place.value = "<b>7</b>"
    tags = Tags(prerender.still(place))
    assert "<b>7</b>" in prerender.still(place)
    assert len(tags.with_class("mc-gone")) == len(tags.with_class("widget-html")) == 1


def test_texts_of_controls_are_escaped() -> None:
    control = widgets.Dropdown(options=[HOSTILE], description=HOSTILE)
    boxes = [control, widgets.Checkbox(description=HOSTILE), widgets.Button(description=HOSTILE)]
    text = "".join(map(prerender.still, boxes))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 5


def test_day_is_that_of_the_field() -> None:
    state = State(interval="custom", since=date(2017, 10, 2), until=date(2017, 10, 3))
    field = DayField(state, "since", "First day", widgets.Layout()).field
    assert 'value="2017-10-02"' in prerender.still(field)
    assert 'placeholder="YYYY-MM-DD"' in prerender.still(field)


def test_charts_figures_come_along_and_cannot_end_the_script() -> None:
    columns = {"rows": {"x": np.array([1.5, 2.5]).tobytes(), "name": {"codes": b"\0\0\0\0", "labels": [HOSTILE]}}}
    text = prerender.still(VegaChart(spec={"mark": HOSTILE}, columns=columns, summary="s", readout={}))
    assert text.count("<script") == text.count("</script") == 1
    given = json.loads(re.search(r"<script[^>]*>(.*)</script>", text)[1])
    assert given["spec"] == {"mark": HOSTILE}
    assert given["columns"]["rows"]["name"]["labels"] == [HOSTILE]
    assert np.frombuffer(b64decode(given["columns"]["rows"]["x"]["base64"])).tolist() == [1.5, 2.5]


def test_page_brings_its_style_and_script() -> None:
    tags = Tags(prerender.page(widgets.VBox([html()])))
    assert [name for name, _ in tags.found] == ["div", "style", "div", "div", "div", "script"]
    assert tags.open == []
