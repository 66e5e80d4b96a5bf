"""A field for a day, linked to the state and written as 2017-09-29 in every browser language."""

import re
from datetime import date

import ipywidgets as widgets
from traitlets import HasTraits

from missioncontrol_nb.dashboard.html.html import tag
from missioncontrol_nb.dashboard.widgets.page import Markup

_DAY = re.compile(r"2[0-9]{3}-[0-9]{2}-[0-9]{2}")
INVALID = tag("span", "Write a day as YYYY-MM-DD", css="mc-small mc-complaint", role="alert")


def read_day(text: str) -> date | None:
    """The day of a text in the form 2017-09-29; None for any other text."""
    try:
        return date.fromisoformat(text.strip()) if _DAY.fullmatch(text.strip()) else None
    except ValueError:
        return None


class DayField:
    """An editable day of the state; an invalid text is reported below the field and changes nothing."""

    def __init__(self, state: HasTraits, name: str, label: str, layout: widgets.Layout) -> None:
        self._state, self._name = state, name
        self.field = widgets.Text(
            description=label, placeholder="YYYY-MM-DD", continuous_update=False, layout=layout, _dom_classes=["mc-day"]
        )
        self._complaint = Markup(layout=layout)
        self.widget = widgets.VBox((self.field, self._complaint), layout=layout)
        self._show()
        self.field.observe(lambda change: self._take(change.new), "value")
        state.observe(lambda _: self._show(), ["query", name])  # any change of the page resets an invalid text

    def _show(self) -> None:
        day = getattr(self._state, self._name)
        self.field.value = day.isoformat() if day else ""
        self._complain(False)

    def _take(self, text: str) -> None:
        day, present = read_day(text), getattr(self._state, self._name)
        if text == (present.isoformat() if present else ""):
            self._complain(False)
        elif day is None:
            self._complain(True)
        elif day == present:
            self._show()
        else:
            setattr(self._state, self._name, day)
            self._show()  # the state may have adjusted the day

    def _complain(self, is_wrong: bool) -> None:
        self._complaint.value = INVALID if is_wrong else ""
        (self.field.add_class if is_wrong else self.field.remove_class)("mc-invalid")
