"""The widgets of a page: `Page` (URL, links, downloads, heartbeat), `Markup` (HTML) and `VegaChart` (a drawing)."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anywidget
import numpy as np
import pandas as pd
from traitlets import Dict, Float, Int, Unicode

if TYPE_CHECKING:
    import altair as alt

STATIC = Path(__file__).parent / "static"
BUNDLE = Path(__file__).parents[1] / "share/jupyter/labextensions/missioncontrol/static/vega.js"


class Page(anywidget.AnyWidget):
    """One a page: the URL's search part as a trait, clicks on links and actions, downloads, the browser's heartbeat."""

    _esm = STATIC / "page.js"
    _css = Path(__file__).parent / "look.css"
    identity = Unicode(help="tells this page from others in the same document").tag(sync=True)
    search = Unicode("", help="location.search, e.g. '?channel=beta'; a stranger's text").tag(sync=True)
    viewport = Int(1280, help="width of the window in CSS pixels").tag(sync=True)
    title = Unicode("", help="document.title").tag(sync=True)
    opened = Float(0.0, help="when a browser last began to show this page, epoch milliseconds").tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(identity=uuid4().hex, **traits)
        self.last_seen = -math.inf
        self._actions: list[Callable[[str], None]] = []
        self._fetch_callbacks: list[Callable[[], None]] = []
        self.observe(lambda _: self._note_contact(), "opened")
        self.on_msg(self._receive)

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """Called without a key when a browser fetches all widgets of the kernel."""
        if key is None:
            for callback in getattr(self, "_fetch_callbacks", ()):  # none yet while the page is made
                callback()
        return super().get_state(key, drop_defaults)

    def on_fetch(self, callback: Callable[[], None]) -> None:
        """Calls back when a browser fetches all widgets of the kernel, which it then makes one by one."""
        self._fetch_callbacks.append(callback)

    @property
    def seconds_unseen(self) -> float:
        """Seconds since the browser's last heartbeat (each 2 s; each minute in a hidden tab); inf before the first."""
        return time.monotonic() - self.last_seen

    def greet(self, search: str, viewport: int) -> None:
        """A visitor has asked for this page; his browser will connect to it."""
        self._note_contact()
        with self.hold_trait_notifications():
            self.viewport, self.search = viewport, search

    def push(self, search: str) -> None:
        """Shows another state in the URL, as a new entry of the browser's history."""
        self._show(search, "push")

    def replace(self, search: str) -> None:
        """Shows another state in the URL, in place of the present entry."""
        self._show(search, "replace")

    def on_action(self, callback: Callable[[str], None]) -> None:
        """Calls back with the name of each `data-mc-action` clicked that the browser does not handle alone."""
        self._actions.append(callback)

    def download(self, filename: str, content: bytes, mime: str) -> None:
        """Saves `content` as a file of the visitor."""
        self.send({"do": "download", "filename": filename, "mime": mime}, buffers=[content])

    def _show(self, search: str, how: str) -> None:
        self.send({"do": how, "search": search})
        self.search = search

    def _note_contact(self) -> None:
        self.last_seen = time.monotonic()

    def _receive(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if not isinstance(content, dict):
            return
        if "beat" in content:
            self._note_contact()
            self.send({"do": "beat", "now": time.time() * 1000})
        action = content.get("action")
        if isinstance(action, str):
            for callback in self._actions:
                callback(action)


class Markup(anywidget.AnyWidget):
    """HTML that is changed in place: a new value replaces only what differs from the one before.

    The keyboard's focus, selected text and scroll positions survive. Elements of a list that may change its order or
    length carry `data-mc-key`, unique among their siblings.
    """

    _esm = STATIC / "markup.js"
    value = Unicode("", help="HTML, escaped where it is not ours").tag(sync=True)


class VegaChart(anywidget.AnyWidget):
    """A Vega-Lite specification and its data as binary columns; new columns update the drawing in place.

    `spec` names its data sets and holds no rows; its colours may be CSS variables ("var(--mc-v0)"), a width may be
    "container" or "mc:width" (whatever the box leaves beside the axes). `columns` is {data set: {column: values}} where
    values are little-endian float64 bytes (times: epoch milliseconds) or, for text, {"codes": int32 bytes, "labels":
    [...]}. A parameter named "hover" fills the line above the chart as `readout` says.
    """

    _esm = STATIC / "chart.js"
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


def frame_columns(frame: pd.DataFrame) -> dict[str, Any]:
    """A frame's columns in the binary form of `VegaChart.columns`; times become epoch milliseconds."""
    return {str(name): _column(frame[name]) for name in frame.columns}


def split_chart(chart: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """An Altair chart's specification without rows, and its data sets as binary columns.

    Data sets with names of their own (`charts.Rows`) keep them, and never become rows at all.
    """
    import altair as alt

    from ..charts import Rows

    chart = chart.copy(deep=False)
    named = {} if alt.utils.is_undefined(chart.datasets) else dict(chart.datasets)
    frames = {name: rows.frame for name, rows in named.items() if isinstance(rows, Rows)}
    chart.datasets = {name: rows for name, rows in named.items() if name not in frames} or alt.Undefined
    with alt.data_transformers.enable("default", consolidate_datasets=True, max_rows=None):
        spec = chart.to_dict(validate=not frames)
    datasets = spec.pop("datasets", {})
    temporal = set(_temporal_fields(spec))
    names = {old: f"data{number}" for number, old in enumerate(datasets)}
    columns = {names[old]: frame_columns(_rows_frame(rows, temporal)) for old, rows in datasets.items()}
    return _in_place(spec, names), columns | {name: frame_columns(frame) for name, frame in frames.items()}


def _column(values: pd.Series) -> bytes | dict[str, Any]:
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return _milliseconds(values).tobytes()
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
        return values.to_numpy(dtype="<f8", na_value=np.nan).tobytes()
    codes, labels = pd.factorize(values)
    return {"codes": codes.astype("<i4").tobytes(), "labels": np.asarray(labels, dtype=object).tolist()}


def _milliseconds(times: pd.Series) -> np.ndarray:
    utc = pd.to_datetime(times, utc=True).dt.tz_localize(None).astype("datetime64[us]")
    ticks = utc.astype("int64").to_numpy() / 1000
    return np.where(utc.isna(), np.nan, ticks).astype("<f8")


def _rows_frame(rows: list[Mapping[str, Any]], temporal: set[str]) -> pd.DataFrame:
    frame = pd.DataFrame.from_records(rows)
    for name in temporal.intersection(frame.columns):
        if not pd.api.types.is_numeric_dtype(frame[name].dtype):
            frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601")
    return frame


def _temporal_fields(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for item in node for name in _temporal_fields(item)]
    if not isinstance(node, dict):
        return []
    here = [node["field"]] if node.get("type") == "temporal" and isinstance(node.get("field"), str) else []
    return here + [name for item in node.values() for name in _temporal_fields(item)]


def _in_place(node: Any, names: Mapping[str, str]) -> Any:
    """The specification with its data sets renamed for good, and its times in UTC.

    Altair names a data set by a hash of its rows: with that in it, new rows would be a new specification.
    """
    if isinstance(node, list):
        return [_in_place(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _in_place(value, names) for key, value in node.items()}
    if set(kept) <= {"name", "format"} and kept.get("name") in names:
        kept["name"] = names[kept["name"]]
    if kept.get("type") == "temporal" and "timeUnit" not in kept and kept.get("scale", {}) == {} and "field" in kept:
        kept["scale"] = {"type": "utc"}
    return kept
