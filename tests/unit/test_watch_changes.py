"""What a look changes: which messages there are, and what waits for whom."""

from datetime import timedelta

import pytest

from missioncontrol_nb.watching.changes import Look, Up, apply_failure, apply_look, keep_only
from missioncontrol_nb.watching.outbox import (
    LONGEST_WAIT,
    add_targets,
    is_waiting,
    next_message,
    note_delivered,
    note_failed,
    up_of,
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
        "Bad on macOS and Windows: Firefox 56.0 on release has up to 3.0 times as many main crashes and content "
        "crashes as expected"
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
        assert "Worse, it was 2.0 times" in as_text(messages[0])
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
    assert state.targets["a"].not_before == at(2)
    assert next_message(state, "a", at(1), is_quiet=False, at_once=True) is None
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


def quietly(state: State, found: Look, hours: float) -> None:
    """A look in quiet hours, in which a target asks for messages, and asks again in vain."""
    apply_look(state, found, at(hours))
    assert next_message(state, "a", at(hours), is_quiet=True) is None


def test_quiet_hours_hold_messages_back_and_their_end_tells_one():
    state = state_with("a")
    quietly(state, look([finding()]), 0)
    quietly(state, look([finding("main_crashes")], finding()), 0.2)
    quietly(state, look([finding(kind="recovered")], finding("main_crashes")), 0.5)
    [message] = delivered(state, "a", 0.9)
    assert kinds([message]) == [[("alarm", "main_crashes")]]
    assert (
        as_text(message)
        .split("\n")[-1]
        .startswith(
            "Quiet hours since Mon 2 Oct 20:00 UTC: 3 messages are summed up here. Came up and is over again: content"
        )
    )


def test_message_of_just_before_quiet_hours_was_held_by_them_and_one_that_failed_was_not():
    state = state_with("a", "b")
    apply_look(state, look([finding()]), NOW)
    note_failed(state, "b", NOW, "HTTP 500")
    for name, said in (("a", "Quiet hours since"), ("b", "This could not be delivered since")):
        assert next_message(state, name, at(0.1), is_quiet=True) is None
        [message] = delivered(state, name, 9)
        assert as_text(message).split("\n")[-1].startswith(said)


def test_stale_data_at_the_end_of_quiet_hours_are_as_old_as_they_are_then():
    state = state_with("a")
    quietly(state, look(stale=True), 0.2)
    [message] = delivered(state, "a", 8)
    assert "20:00 UTC, 8 hours old" in title_of(message)
    assert as_text(message).split("\n")[1:] == []


def test_stale_data_that_are_fresh_again_at_the_end_of_quiet_hours_are_not_told_as_stale():
    state = state_with("a")
    quietly(state, look(stale=True), 0)
    quietly(state, look([finding()]), 1)
    [message] = delivered(state, "a", 2)
    assert kinds([message]) == [[("alarm", "content_crashes")]]
    assert as_text(message).endswith("Came up and is over again: stale data.")
    quietly(state, look(stale=True), 3)
    quietly(state, look([finding("gpu_crashes")], finding()), 4)
    quietly(state, look(stale=True), 5)
    assert [message.kind for message in delivered(state, "a", 6)] == ["stale"]
    assert state.targets["a"].told_stale
    apply_look(state, look([], finding(), finding("gpu_crashes")), at(7))
    told = delivered(state, "a", 7)
    assert [message.kind for message in told] == ["alarms", "fresh"]
    assert kinds(told[:1]) == [[("alarm", "gpu_crashes")]]


def test_target_that_missed_stale_data_and_their_end_is_told_what_was_over():
    state = state_with("a")
    apply_look(state, look(stale=True), NOW)
    apply_look(state, look(), at(0.5))
    [message] = delivered(state, "a", 2)
    assert as_text(message).startswith("What came up meanwhile is over again\n")
    assert as_text(message).endswith("2 messages are summed up here. Came up and is over again: stale data.")


@pytest.mark.parametrize(("meanwhile", "is_told"), [(look(), []), (look([finding()]), [True])])
def test_suspicion_that_is_there_again_is_told_only_with_what_came_up_meanwhile(meanwhile, is_told):
    state, suspect = state_with("a"), look([], finding(kind="looks bad"))
    apply_look(state, suspect, NOW)
    delivered(state, "a")
    for number, found in enumerate((meanwhile, suspect, suspect), 1):  # an alarm's end is told by a look of its own
        apply_look(state, found, at(number))
    told = [as_text(message) for message in delivered(state, "a", 9)]
    assert ["Came up and is over again: content crashes" in text for text in told] == is_told


def test_nothing_that_was_up_before_is_told_as_up_on_stale_data():
    state = state_with("a", "b")
    apply_look(state, look([finding()]), NOW)
    delivered(state, "b")
    apply_look(state, look(stale=True), at(30))
    assert [message.kind for message in delivered(state, "a", 30)] == ["stale"]
    assert not is_waiting(state, "a", at(30), is_quiet=False)
    assert up_of(state, "b", at(30)) == []
    assert up_of(state, "b", at(0.5)) == [finding()]
    apply_look(state, look(), at(31))
    assert [message.kind for message in delivered(state, "a", 31)] == ["alarms", "fresh"]
    assert state.targets["a"].told == {}


@pytest.mark.parametrize(
    ("looks", "change"),
    [
        ((look([finding(kind="recovered")]), look([finding(since="2017-10-03T00:00:00Z")])), "it was over meanwhile"),
        ((look([], finding(ratio=3.2)),), "worse, it was 2.0 times"),
        ((look([finding("content_crashes", "update", where={"country": "DE"})]),), "it is now found elsewhere"),
    ],
)
def test_change_that_was_missed_is_told_with_what_changed(looks, change):
    state = state_with("a")
    apply_look(state, look([finding()]), NOW)
    delivered(state, "a")
    for number, found in enumerate(looks, 1):
        apply_look(state, found, at(number))
    [message] = delivered(state, "a", 4)
    assert message.findings[0].change == change


def test_looks_that_fail_for_long_are_stale_data_also_where_none_has_ever_succeeded():
    state = state_with("a")
    assert apply_failure(state, NOW, 600) == []
    [message] = apply_failure(state, at(0.2), 600)
    assert title_of(message).startswith("Data are stale: no ping is known")
    assert apply_failure(state, at(0.4), 600) == []
    assert [each.kind for each in apply_look(state, look(), at(0.5))] == ["fresh"]
    assert apply_failure(state, at(0.1), 600) == []  # data up to NOW
    assert [each.kind for each in apply_failure(state, at(0.6), 600)] == ["stale"]


def test_new_target_is_told_what_is_up_and_one_that_is_named_no_longer_is_dropped():
    state = state_with("a")
    [release, beta] = apply_look(state, look([finding(), finding("gpu_crashes", channel="beta")]), NOW)
    assert keep_only(state, ["b"]) == ["a"]
    add_targets(state, ["b", "c"], at(1))
    add_targets(state, ["b", "c"], at(1))
    told = delivered(state, "b", 1)
    assert sorted((message.cause, kinds([message])) for message in told) == sorted(
        [(release.cause, kinds([release])), (beta.cause, kinds([beta]))]
    )
    assert [message.id for message in delivered(state, "c", 1)] == [message.id for message in told]
    assert list(state.targets) == ["b", "c"]


def test_new_target_is_told_what_is_up_once_data_are_fresh():
    state = state_with("a")
    apply_look(state, look([finding()]), NOW)
    apply_look(state, look(stale=True), at(0.5))
    add_targets(state, ["b"], at(1))
    assert [message.kind for message in delivered(state, "b", 1)] == ["stale"]
    moved = finding("content_crashes", "update", where={"country": "DE"})
    for found in (look([moved]), look([], moved)):
        apply_look(state, found, at(2))
        add_targets(state, ["b"], at(2))
    [fresh, message] = delivered(state, "b", 2)
    assert fresh.kind == "fresh"
    assert kinds([message]) == [[("alarm", "content_crashes")]]


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


def test_what_is_filtered_out_is_not_told_as_over_to_who_knew_it():
    state, beta = state_with("a"), finding("main_crashes", channel="beta")
    apply_look(state, look([beta, finding()]), NOW)
    delivered(state, "a")
    apply_look(
        state, look([finding("main_crashes", "update", channel="beta", where={"country": "DE"})], finding()), NOW
    )
    keep_only(state, ["a"], channel="release")
    assert waiting_of(state) == {}
    assert delivered(state, "a", 2) == []
    assert state.targets["a"].told == {finding().key: "alarm"}
    apply_look(state, look([beta], finding()), at(3))
    assert kinds(delivered(state, "a", 3)) == [[("alarm", "main_crashes")]]


def test_what_is_filtered_out_is_not_told_as_over_to_who_never_knew_it():
    state = state_with("a")
    apply_look(state, look([finding("main_crashes", channel="beta")]), NOW)
    keep_only(state, ["a"], channel="release")
    assert delivered(state, "a", 2) == []


@pytest.mark.parametrize("is_told", [False, True])
def test_suspicions_that_wait_are_forgotten_too_with_their_end(is_told):
    state = state_with("a")
    apply_look(state, look([], finding(kind="looks bad")), NOW)
    if is_told:
        delivered(state, "a")
    apply_look(state, look(), at(0.5))
    keep_only(state, ["a"], tells_looks_bad=False)
    assert delivered(state, "a", 0.6) == []
