"""The widget around a page with its URL, title and downloads, and a widget for HTML that is changed in place."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import anywidget
from traitlets import Float, Int, Unicode

HERE = Path(__file__).parent
BUNDLE = HERE.parents[1] / "share/jupyter/labextensions/missioncontrol/static/vega.js"


class Page(anywidget.AnyWidget):
    """One per page: the URL's search part as a trait, clicks on links and actions, downloads, browser heartbeat."""

    _esm = HERE / "page.js"
    _css = HERE.parents[1] / "style" / "dashboard.css"
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
        """The state of the widget; called without a key when a browser fetches all widgets of the kernel."""
        if key is None:
            for callback in getattr(self, "_fetch_callbacks", ()):  # not set yet while the page is being created
                callback()
        return super().get_state(key, drop_defaults)

    def on_fetch(self, callback: Callable[[], None]) -> None:
        """Calls back when a browser fetches all widgets of the kernel, which it then creates one by one."""
        self._fetch_callbacks.append(callback)

    @property
    def seconds_unseen(self) -> float:
        """Seconds since the browser's last heartbeat (each 2 s, each minute in a hidden tab); inf before the first."""
        return time.monotonic() - self.last_seen

    def greet(self, search: str, viewport: int) -> None:
        """Notes that a visitor has requested this page, so a browser will connect to it."""
        self._note_contact()
        with self.hold_trait_notifications():
            self.viewport, self.search = viewport, search

    def push(self, search: str) -> None:
        """Shows another state in the URL, as a new entry of the browser's history."""
        self._show(search, "push")

    def replace(self, search: str) -> None:
        """Shows another state in the URL, in place of the current entry of the browser's history."""
        self._show(search, "replace")

    def on_action(self, callback: Callable[[str], None]) -> None:
        """Calls back with the name of each `data-mc-action` clicked that the browser does not handle alone."""
        self._actions.append(callback)

    def download(self, filename: str, content: bytes, mime: str) -> None:
        """Saves `content` as a file on the visitor's computer."""
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
    """HTML that is changed in place: a new value replaces only the parts that differ from the value before.

    Keyboard focus, selected text and scroll positions are kept. Elements of a list that may change its order or length
    need a `data-mc-key` that is unique among their siblings.
    """

    _esm = HERE / "markup.js"
    value = Unicode("", help="HTML, escaped where it is not ours").tag(sync=True)
