"""A URL says exactly what a visitor looks at, and nothing a stranger puts into one does harm."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traitlets import TraitError

from missioncontrol_nb.dashboard.query import DEFAULT, LONGEST_INTERVAL, Query, choices_of, read_search
from missioncontrol_nb.dashboard.state import State
from streaming import contract

CHOICES = choices_of(contract.FIREFOX)

TODAY = date(2017, 10, 2)
days = st.dates(date(2016, 1, 1), date(2030, 1, 1))
names = st.sampled_from(["56.0", "55.0.3", "57.0b4", "52.4.0esr", "20170926190823", "older"])


@st.composite
def queries(draw):
    """Any state that controls can reach."""
    query = Query(**{name: draw(st.sampled_from(list(choice.words.values()))) for name, choice in CHOICES.items()})
    query = replace(query, hidden=tuple(sorted(draw(st.sets(names)))))
    state = State(today=lambda: TODAY)
    since = draw(days)
    state.set(replace(query, since=since, until=since + draw(st.timedeltas(timedelta(0), LONGEST_INTERVAL))))
    return read_search(state.query.search)


def state_at(query: Query = DEFAULT) -> State:
    state = State(today=lambda: TODAY)
    state.set(query)
    return state


@given(queries(), st.booleans())
def test_the_url_of_any_state_restores_exactly_it_on_any_screen(query, narrow):
    assert read_search(query.search, narrow=narrow) == query


@given(
    st.text()
    | st.lists(st.sampled_from(["?", "&", "view=detail", "off=", "since=", "interval=custom", "<b>", "%ff"])).map(
        "".join
    )
)
def test_no_url_of_a_stranger_raises_or_leaves_the_known_choices(text):
    query = read_search(text)
    for name, choice in CHOICES.items():
        assert getattr(query, name) in choice.words.values()
    assert read_search(query.search) == query


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("", DEFAULT),
        ("?channel=beta", Query(channel="beta")),
        ("?channel=BETA", DEFAULT),
        ("?channel=<script>", DEFAULT),
        ("?view=table&platform=linux&show=count", Query(view="table", os_name="Linux", show="count")),
        ("?view=table&interval=24h&measure=gpu_crashes", Query(view="table")),
        ("?view=detail&interval=24h&cut=5", Query(view="detail", interval="24h", cut=5)),
        ("?view=detail&interval=custom", Query(view="detail")),
        ("?view=detail&interval=custom&since=2017-13-40&until=2017-10-01", Query(view="detail")),
        ("?view=detail&interval=custom&since=2001-01-01&until=2999-01-01", Query(view="detail")),
        (
            "?view=detail&interval=custom&since=2017-10-02&until=2017-10-01",
            Query(view="detail", interval="custom", since=date(2017, 10, 1), until=date(2017, 10, 2)),
        ),
        ("?view=detail&off=56.0,<b>,older", Query(view="detail", hidden=("56.0", "older"))),
        ("?view=detail&off=none", Query(view="detail", hidden=())),
        ("?builds=all&utm_source=mail", Query(official=False)),
    ],
)
def test_a_url_means_its_known_words_and_else_the_default(search, expected):
    assert read_search(search) == expected


def test_a_detail_url_without_interval_means_48_hours_on_a_phone_and_7_days_elsewhere():
    assert read_search("?view=detail", narrow=True).interval == "48h"
    assert read_search("?view=detail").interval == "7d"
    assert "interval=7d" in Query(view="detail").search


def test_links_carry_what_their_view_has_and_leave_the_interval_to_the_screen():
    table = Query(view="table", channel="beta", show="count", order="name", official=False)
    assert table.link(view="detail", measure="gpu_crashes") == (
        "?view=detail&channel=beta&measure=gpu_crashes&show=count&builds=all"
    )
    assert table.link(view="overview") == "?channel=beta&builds=all"
    assert Query(view="detail", interval="24h").link(behind=True) == "?view=detail&interval=24h&table=open"


def test_choices_changed_together_are_one_change_of_the_query():
    state, seen = state_at(), []
    state.observe(lambda change: seen.append(change.new), "query")
    state.set(Query(view="detail", channel="beta", measure="gpu_crashes"))
    assert seen == [Query(view="detail", channel="beta", measure="gpu_crashes")]


def test_a_single_control_changes_the_query():
    state = state_at(Query(view="detail"))
    state.cut = 5
    assert state.query == Query(view="detail", cut=5)


@pytest.mark.parametrize("name", ["channel", "os_name", "measure", "show"])
def test_values_that_no_control_offers_are_refused(name):
    with pytest.raises(TraitError):
        setattr(state_at(), name, "<script>")


def test_lines_of_builds_of_any_form_can_be_switched_off():
    query = Query(view="detail", line="build", hidden=("build-77_b+1", "older"))
    assert read_search(query.search) == query
    assert read_search("?view=detail&off=<b>,-x,older").hidden == ("older",)


def test_a_custom_interval_begins_as_the_last_week_and_stays_in_order():
    state = state_at(Query(view="detail"))
    state.interval = "custom"
    assert (state.query.since, state.query.until) == (date(2017, 9, 26), TODAY)
    assert (state.since, state.until) == (date(2017, 9, 26), TODAY)
    state.until = date(2017, 9, 20)
    assert (state.query.since, state.query.until) == (date(2017, 9, 20), date(2017, 9, 26))
    state.interval = "24h"
    assert (state.query.since, state.query.until) == (None, None)


def test_other_lines_are_all_shown_again():
    state = state_at(Query(view="detail", hidden=("56.0",)))
    state.line = "build"
    assert state.query.hidden == DEFAULT.hidden


def test_a_url_with_hidden_lines_of_another_channel_keeps_them_hidden():
    state = state_at(Query(view="detail"))
    state.set(read_search("?view=detail&channel=beta&off=57.0b4"))
    assert state.query.hidden == ("57.0b4",)
