"""The widget of a chart, drawn by Vega."""

from typing import TYPE_CHECKING, Any

import anywidget
from traitlets import Dict, Unicode

from missioncontrol_nb.dashboard.widgets.altair_columns import split_chart
from missioncontrol_nb.dashboard.widgets.page import BUNDLE, HERE

if TYPE_CHECKING:
    import altair as alt


class VegaChart(anywidget.AnyWidget):
    """A Vega-Lite specification and its data as binary columns; new columns update the drawing in place.

    `spec` names its data sets and holds no rows; its colours may be CSS variables ("var(--mc-v0)"), a width may be
    "container" or "mc:width" (the width of the box without the axes). `columns` is {data set: {column: values}} where
    values are little-endian float64 bytes (times: epoch milliseconds) or, for text, {"codes": int32 bytes, "labels":
    [...]}. A parameter named "hover" fills the line above the chart as `readout` specifies.
    """

    _esm = HERE / "vega_chart.js"
    spec = Dict().tag(sync=True)
    columns = Dict().tag(sync=True)
    summary = Unicode("", help="the text alternative").tag(sync=True)
    readout = Dict().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.on_msg(self._receive)

    @classmethod
    def from_altair(cls, chart: "alt.TopLevelMixin", summary: str = "") -> "VegaChart":
        """Any Altair chart as a widget: its rows move into binary columns, its times are shown in UTC."""
        spec, columns = split_chart(chart)
        return cls(spec=spec, columns=columns, summary=summary)

    def _receive(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if isinstance(content, dict) and content.get("want") == "bundle" and BUNDLE.exists():
            self.send({"do": "bundle"}, buffers=[BUNDLE.read_bytes()])
