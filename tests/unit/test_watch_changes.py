"""What a look changes: which messages there are, and what waits for whom."""

from datetime import timedelta

import pytest

from missioncontrol_nb.watching.changes import Up, apply_look, keep_only
from missioncontrol_nb.watching.outbox import (
    LONGEST_WAIT,
    add_target,
    next_message,
    note_delivered,
    note_failed,
    waiting_of,
)
from missioncontrol_nb.watching.state import Message, State
from missioncontrol_nb.watching.wording import as_text, title_of
from tests.unit.watched import NOW, at, finding, look, state_with


def kinds(messages: list[Message]) -> list[list[tuple[str, str]]]:
    return [[(each.kind, each.event["measure"]) for each in message.findings] for message in messages]


def delivered(state: State, name: str, hours: float = 0.0, *, is_quiet: bool = False) -> list[Message]:
    """All that a target gets when it takes whatever it is sent."""
    got = []
    while (message := next_message(state, name, at(hours), is_quiet=is_quiet)) is not None:
        got.append(message)
        note_delivered(state, name, message, at(hours))
    state.drop_delivered()
    return got


def test_alarm_its_change_and_its_end_are_each_told_once():
    state = state_with("a", "b")
    bad = finding()
    assert kinds(apply_look(state, look([bad]), NOW)) == [[("alarm", "content_crashes")]]
    assert apply_look(state, look([], bad), at(1)) == []
    moved = finding("content_crashes", "update", where={"country": "DE"})
    [message] = apply_look(state, look([moved]), at(2))
    assert message.findings[0].change == "it is now found elsewhere"
    assert kinds(apply_look(state, look([finding(kind="recovered")]), at(3))) == [[("recovered", "content_crashes")]]
    assert state.alarms == {}
    assert [kinds([message]) for message in delivered(state, "a")] == [
        [[("alarm", "content_crashes")]],
        [[("update", "content_crashes")]],
        [[("recovered", "content_crashes")]],
    ]
    assert len(state.messages) == 3  # b has none of them yet
    delivered(state, "b")
    assert state.messages == {}


def test_several_measures_and_systems_of_one_cause_are_one_message():
    state = state_with("a")
    events = [
        finding(),
        finding("main_crashes", os_name="Darwin", since="2017-10-02T21:00:00Z", ratio=3.0),
        finding("gpu_crashes", channel="beta"),
        finding("gpu_crashes", since="2017-09-28T10:00:00Z"),
    ]
    messages = apply_look(state, look(events), NOW)
    assert sorted(len(message.findings) for message in messages) == [1, 1, 2]
    assert len({message.cause for message in messages}) == 3
    [joint] = [message for message in messages if len(message.findings) == 2]
    assert title_of(joint) == (
        "Bad: main crashes and content crashes of Firefox 56.0 (release) on macOS and Windows, up to 3.0 times the "
        "expected rate"
    )


def test_what_comes_later_of_a_cause_belongs_to_it():
    state = state_with("a")
    [first] = apply_look(state, look([finding()]), NOW)
    [second] = apply_look(state, look([finding("main_crashes")], finding()), at(1))
    assert first.cause == second.cause
    [end] = apply_look(state, look([finding("main_crashes", "recovered")], finding()), at(2))
    assert end.cause == first.cause


@pytest.mark.parametrize(("ratio", "is_told"), [(2.9, False), (3.0, True)])
def test_alarm_that_grew_by_half_against_what_was_told_is_told_again(ratio, is_told):
    state = state_with("a")
    apply_look(state, look([finding(ratio=2.0)]), NOW)
    assert apply_look(state, look([], finding(ratio=2.5)), at(1)) == []  # not what was told
    messages = apply_look(state, look([], finding(ratio=ratio)), at(2))
    assert bool(messages) == is_told
    if is_told:
        assert "worse, it was 2.0 times" in as_text(messages[0])
        assert messages[0].findings[0].kind == "update"
        assert apply_look(state, look([], finding(ratio=4.4)), at(3)) == []  # against 3.0 now


def test_end_that_the_judge_did_not_tell_is_told():
    state = state_with("a")
    apply_look(state, look([finding()]), NOW)
    assert kinds(apply_look(state, look(), at(1))) == [[("recovered", "content_crashes")]]


def test_what_looks_bad_is_an_alarm_later_and_over_once():
    state = state_with("a")
    suspect = finding(kind="looks bad", ratio=1.4)
    assert kinds(apply_look(state, look([], suspect), NOW)) == [[("looks bad", "content_crashes")]]
    assert apply_look(state, look([], suspect), at(1)) == []
    assert kinds(apply_look(state, look([finding()]), at(2))) == [[("alarm", "content_crashes")]]
    assert kinds(apply_look(state, look([finding(kind="recovered")]), at(3))) == [[("recovered", "content_crashes")]]


def test_stale_data_are_told_once_and_judged_no_more_until_they_are_fresh():
    state = state_with("a")
    apply_look(state, look([finding()]), NOW)
    told = [apply_look(state, look(stale=True), at(hours)) for hours in (1, 2)]
    assert [[message.kind for message in messages] for messages in told] == [["stale"], []]
    assert title_of(told[0][0]).startswith("Data are stale: the newest ping is of Mon 2 Oct 20:00 UTC, 1 hour old")
    assert list(state.alarms) == [finding().key]
    assert [message.kind for message in apply_look(state, look([], finding()), at(3))] == ["fresh"]


def test_failed_attempts_wait_longer_and_longer_but_not_for_ever_nor_shorter_than_was_asked():
    state = state_with("a")
    apply_look(state, look([finding()]), NOW)
    waits = []
    for _ in range(12):
        note_failed(state, "a", NOW, "HTTP 500")
        waits.append(state.targets["a"].next_attempt - NOW)
    assert timedelta(seconds=2.5) <= waits[0] <= timedelta(seconds=5)
    assert waits[6] > 10 * waits[0]
    assert max(waits) <= LONGEST_WAIT
    assert len({*waits[-3:]}) == 3  # jitter
    assert next_message(state, "a", NOW, is_quiet=False) is None
    note_failed(state, "a", NOW, "HTTP 429", retry_after=7200)
    assert state.targets["a"].next_attempt == at(2)
    assert waiting_of(state) == {"a": (1, NOW)}
    assert (state.targets["a"].failure, state.targets["a"].failing_since) == ("HTTP 429", NOW)


def test_target_that_was_away_for_a_day_gets_what_is_true_and_one_line_about_what_it_missed():
    state = state_with("a", "b")
    apply_look(state, look([finding()]), NOW)
    assert len(delivered(state, "a")) == 1
    assert len(delivered(state, "b")) == 1
    apply_look(state, look([finding("main_crashes", ratio=3.0)], finding()), at(1))
    apply_look(state, look([finding("gpu_crashes")], finding(), finding("main_crashes")), at(2))
    apply_look(state, look([finding("gpu_crashes", "recovered")], finding(), finding("main_crashes")), at(3))
    apply_look(state, look([finding(kind="recovered")], finding("main_crashes", ratio=3.2)), at(20))
    assert len(delivered(state, "a", 20.5)) == 1  # all after the first hour
    [summary] = delivered(state, "b", 25)
    assert [(each.kind, each.event["measure"], each.ratio) for each in summary.findings] == [
        ("alarm", "main_crashes", 3.2),
        ("recovered", "content_crashes", 2.0),
    ]
    assert as_text(summary).split("\n")[-1] == (
        "This could not be delivered since Mon 2 Oct 21:00 UTC: 4 messages are summed up here. Came up and is over "
        "again: GPU crashes of Firefox 56.0 (release) on Windows."
    )
    assert state.messages == {}
    assert state.targets["b"].told == {finding("main_crashes").key: "alarm"}


def test_summary_that_is_not_delivered_for_long_either_is_summed_up_again():
    state = state_with("a")
    apply_look(state, look([finding()]), NOW)
    first = next_message(state, "a", at(2), is_quiet=False)
    apply_look(state, look([finding(kind="recovered")]), at(3))
    second = next_message(state, "a", at(9), is_quiet=False)
    assert first.id != second.id
    assert second.findings == []
    assert second.missed.messages == 2
    assert second.missed.since == NOW
    assert title_of(second) == "What came up meanwhile is over again"
    assert len(state.targets["a"].queue) == 1


def test_quiet_hours_hold_messages_back_and_their_end_tells_one():
    state = state_with("a")
    apply_look(state, look([finding()]), NOW, is_quiet=True)
    assert next_message(state, "a", at(1), is_quiet=True) is None
    apply_look(state, look([finding("main_crashes")], finding()), at(0.2), is_quiet=True)
    apply_look(state, look([finding(kind="recovered")], finding("main_crashes")), at(0.5), is_quiet=True)
    [message] = delivered(state, "a", 0.9)
    assert kinds([message]) == [[("alarm", "main_crashes")]]
    assert (
        as_text(message)
        .split("\n")[-1]
        .startswith(
            "Quiet hours since Mon 2 Oct 20:00 UTC: 3 messages are summed up here. Came up and is over again: content"
        )
    )


def test_stale_data_that_are_fresh_again_at_the_end_of_quiet_hours_are_not_told_as_stale():
    state = state_with("a")
    apply_look(state, look(stale=True), NOW, is_quiet=True)
    apply_look(state, look([finding()]), at(1), is_quiet=True)
    assert [message.kind for message in delivered(state, "a", 2)] == ["alarms"]
    apply_look(state, look(stale=True), at(3), is_quiet=True)
    apply_look(state, look([finding("gpu_crashes")], finding()), at(4), is_quiet=True)
    apply_look(state, look(stale=True), at(5), is_quiet=True)
    assert [message.kind for message in delivered(state, "a", 6)] == ["alarms", "stale"]
    assert state.targets["a"].told_stale


def test_new_target_is_told_what_is_up_and_one_that_is_named_no_longer_is_dropped():
    state = state_with("a")
    apply_look(state, look([finding()]), NOW)
    assert keep_only(state, ["b"]) == ["a"]
    apply_look(state, look(stale=True), at(0.5))
    add_target(state, "b", at(1))
    add_target(state, "b", at(1))
    told = delivered(state, "b", 1)
    assert [message.kind for message in told] == ["alarms", "stale"]
    assert kinds(told[:1]) == [[("alarm", "content_crashes")]]
    apply_look(state, look([], finding()), at(2))
    assert [message.kind for message in delivered(state, "b", 2)] == ["fresh"]
    assert list(state.targets) == ["b"]


def test_alarms_that_are_filtered_out_are_dropped_and_not_told_as_over():
    state = state_with("a")
    apply_look(state, look([finding(), finding("main_crashes", channel="beta")]), NOW)
    keep_only(state, ["a"], channel="release")
    assert [alarm.finding.event["channel"] for alarm in state.alarms.values()] == ["release"]
    assert apply_look(state, look([], finding()), at(1)) == []


def test_suspicions_that_are_not_wanted_any_more_are_forgotten():
    state = state_with("a")
    suspect = look([finding("main_crashes")])
    suspect.open += [Up(finding(kind="looks bad"))]
    apply_look(state, suspect, NOW)
    keep_only(state, ["a"], tells_looks_bad=False)
    assert [alarm.finding.event["measure"] for alarm in state.alarms.values()] == ["main_crashes"]
