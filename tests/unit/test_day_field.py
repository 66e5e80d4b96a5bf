"""The fields for days: in step with the state, and plain about what is no day."""

from datetime import date

import ipywidgets as widgets
import pytest

from missioncontrol_nb.dashboard.day_field import DayField, read_day
from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.dashboard.state import State

FIRST, LAST = date(2017, 9, 29), date(2017, 10, 5)


def fields() -> tuple[State, DayField, DayField]:
    state = State(interval="custom", since=FIRST, until=LAST)
    return state, *(DayField(state, name, name, widgets.Layout()) for name in ("since", "until"))


def complaint(field: DayField) -> str:
    return field.widget.children[1].value


@pytest.mark.parametrize(
    "text", ["", "29/09/2017", "2017-9-29", "2017-02-30", "20170929", "1999-01-01", "<b>", "٢٠١٧-09-29"]
)
def test_what_is_no_day_changes_nothing_and_is_said(text: str) -> None:
    state, first, _ = fields()
    first.field.value = text
    assert read_day(text) is None
    assert state.since == FIRST
    assert "YYYY-MM-DD" in complaint(first)
    assert "mc-invalid" in first.field._dom_classes
    assert first.field.value == text  # to be mended, not to be written anew
    first.field.value = "2017-09-30"
    assert (state.since, complaint(first)) == (date(2017, 9, 30), "")
    assert "mc-invalid" not in first.field._dom_classes


def test_day_that_is_typed_is_that_of_the_state_and_of_the_url() -> None:
    state, first, last = fields()
    assert (first.field.value, last.field.value) == ("2017-09-29", "2017-10-05")
    first.field.value = " 2017-10-01 "
    assert (state.query.since, first.field.value) == (date(2017, 10, 1), "2017-10-01")
    first.field.value = "2017-10-09"  # after the last day: they change places
    assert (state.since, state.until) == (LAST, date(2017, 10, 9))
    assert (first.field.value, last.field.value) == ("2017-10-05", "2017-10-09")


def test_fields_follow_the_url_back_and_forth() -> None:
    state, first, last = fields()
    first.field.value = "no day"
    state.set(Query(view="detail", interval="custom", since=date(2017, 8, 1), until=date(2017, 8, 2)))
    assert (first.field.value, last.field.value) == ("2017-08-01", "2017-08-02")
    assert complaint(first) == ""
    first.field.value = "no day"
    state.set(Query(view="detail", interval="custom", since=date(2017, 8, 1), until=date(2017, 8, 3)))
    assert (first.field.value, last.field.value, complaint(first)) == ("2017-08-01", "2017-08-03", "")
