"""Which message a target gets next, and what is noted of an attempt: functions on a state, without a clock."""

import random
from collections.abc import Mapping
from datetime import datetime, timedelta

from missioncontrol_nb.watching.changes import new_id
from missioncontrol_nb.watching.state import Finding, Kind, Message, Missed, State, TargetState
from missioncontrol_nb.watching.wording import subject_of

AWAY = timedelta(hours=1)  # after which a target no longer gets what it missed one by one
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=5), timedelta(minutes=15)
_EXAMPLES = 3


def add_target(state: State, name: str, now: datetime) -> None:
    """Adds a target, which is told what is up, and whether data are stale; one that is there stays as it is."""
    if name in state.targets:
        return
    findings = [_now_an_alarm(alarm.finding) for alarm in state.alarms.values()]
    messages = [Message(new_id(), "alarms", new_id(), now, findings)] if findings else []
    messages += [Message(new_id(), "stale", "data", now, [], state.data_up_to, now)] if state.is_stale else []
    state.messages |= {message.id: message for message in messages}
    state.targets[name] = TargetState(queue=[message.id for message in messages])


def next_message(state: State, name: str, now: datetime, *, is_quiet: bool, at_once: bool = False) -> Message | None:
    """The message that is due for a target, None where there is none; what it missed for long becomes one message.

    is_quiet: whether its quiet hours are; at_once: whatever the next attempt was set to.
    """
    target = state.targets[name]
    if not target.queue or is_quiet or (not at_once and target.next_attempt is not None and now < target.next_attempt):
        return None
    first = state.messages[target.queue[0]]
    several = len(target.queue) > 1
    is_late = (first.held and several) or now - first.created_at > AWAY
    if is_late and (several or first.kind == "alarms"):
        return _sum_up(state, target, now, "quiet" if first.held else "away")
    return first


def _sum_up(state: State, target: TargetState, now: datetime, why: str) -> Message:
    """Replaces the messages that wait for a target by one that says what is true now, and what it missed."""
    waiting = [state.messages[each] for each in target.queue]
    last = {finding.key: finding for message in waiting for finding in message.findings}
    findings, over = [], list[Finding]()
    for key, finding in last.items():
        alarm = state.alarms.get(key)
        if alarm is not None:
            findings += _anew(alarm.finding, target.told.get(key))
        elif key in target.told:
            findings.append(_with_kind(finding, "recovered"))
        else:
            over.append(finding)
    missed: Missed | None = _missed(waiting, over, why)
    summaries = []
    if findings or over or state.is_stale == target.told_stale:
        cause = next((message.cause for message in waiting if message.findings), waiting[0].cause)
        summaries.append(Message(new_id(), "alarms", cause, now, findings, missed=missed))
        missed = None
    if state.is_stale != target.told_stale:
        kind: Kind = "stale" if state.is_stale else "fresh"
        summaries.append(Message(new_id(), kind, "data", now, [], state.data_up_to, now, missed=missed))
    target.queue = [summary.id for summary in summaries]
    state.messages |= {summary.id: summary for summary in summaries}
    return summaries[0]


def _missed(waiting: list[Message], over: list[Finding], why: str) -> Missed:
    earlier = [message.missed for message in waiting if message.missed]
    count = sum(each.messages or 1 for each in earlier) + sum(message.missed is None for message in waiting)
    examples = [text for each in earlier for text in each.examples] + [subject_of(finding) for finding in over]
    return Missed(
        min([message.created_at for message in waiting] + [each.since for each in earlier]),
        "quiet" if why == "quiet" else "away",
        count,
        sum(each.over for each in earlier) + len(over),
        examples[:_EXAMPLES],
    )


def _with_kind(finding: Finding, kind: str) -> Finding:
    return Finding(finding.key, finding.event | {"event": kind}, finding.words, finding.search)


def _anew(finding: Finding, told: str | None) -> list[Finding]:
    """What is said of something that is up to a target that missed messages about it. told: as what it knows it."""
    if told == "alarm":
        looks_bad = finding.kind == "looks bad"
        return [_with_kind(finding, "recovered"), finding] if looks_bad else [_with_kind(finding, "update")]
    return [] if told == finding.kind else [_now_an_alarm(finding)]


def _now_an_alarm(finding: Finding) -> Finding:
    return finding if finding.kind == "looks bad" else _with_kind(finding, "alarm")


def note_delivered(state: State, name: str, message: Message, now: datetime) -> None:
    """Notes that a target has a message."""
    target = state.targets[name]
    target.queue = [each for each in target.queue if each != message.id]
    for finding in message.findings:
        if finding.kind == "recovered":
            target.told.pop(finding.key, None)
        else:
            target.told[finding.key] = "looks bad" if finding.kind == "looks bad" else "alarm"
    if message.kind in ("stale", "fresh"):
        target.told_stale = message.kind == "stale"
    target.attempts, target.next_attempt, target.failing_since, target.failure = 0, None, None, ""
    target.delivered_at = now


def note_failed(state: State, name: str, now: datetime, reason: str, retry_after: float | None = None) -> None:
    """Notes a failed attempt, and when the next one is: twice as long after each, by chance up to half of it sooner.

    retry_after: seconds that the target asked to wait.
    """
    target = state.targets[name]
    target.attempts += 1
    wait = min(FIRST_WAIT * 2 ** min(target.attempts - 1, 20), LONGEST_WAIT) * random.uniform(0.5, 1.0)
    if retry_after is not None:
        wait = max(wait, timedelta(seconds=retry_after))
    target.next_attempt = now + wait
    target.failing_since = target.failing_since or now
    target.failure = reason


def waiting_of(state: State) -> Mapping[str, tuple[int, datetime]]:
    """By target, how many messages wait for it, and since when the oldest does."""
    return {
        name: (len(target.queue), min(_since(state.messages[each]) for each in target.queue))
        for name, target in state.targets.items()
        if target.queue
    }


def _since(message: Message) -> datetime:
    return message.missed.since if message.missed else message.created_at
