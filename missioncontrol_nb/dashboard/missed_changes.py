"""What a page's widgets miss while a browser creates them, sent to them again."""

from collections.abc import Iterable, Iterator

import ipywidgets as widgets

from missioncontrol_nb.dashboard.widgets.page import Page


class MissedChanges:
    """The traits that change between a browser's fetch of all widgets and the moment when it has created them.

    The browser creates its widgets one by one, and those that are not created yet miss changes.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._fetched: dict[widgets.Widget, dict[str, object]] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether a browser has fetched the widgets and not yet shown them."""
        return bool(self._fetched)

    def note_fetch(self, shown: Iterable[widgets.Widget]) -> None:
        """Records the state of all widgets when a browser fetches it. shown: those that hold all others."""
        if not self._fetched:
            self._fetched = {each: {name: getattr(each, name) for name in each.keys} for each in _with_children(shown)}
            self._fetched[self._page] = {"title": self._page.title}

    def send(self) -> None:
        """Sends again the traits that have changed since a browser fetched them."""
        for each, fetched in self._fetched.items():
            if changed := [name for name, value in fetched.items() if getattr(each, name) is not value]:
                each.send_state(changed)
        self._fetched = {}


def _with_children(shown: Iterable[widgets.Widget]) -> Iterator[widgets.Widget]:
    met: set[widgets.Widget] = set()
    waiting = [*shown]
    while waiting:
        each = waiting.pop()
        if each in met:  # a browser can set the children of a box so that it contains itself
            continue
        met.add(each)
        waiting += getattr(each, "children", ())
        yield each
