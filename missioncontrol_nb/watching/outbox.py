"""Which message a target gets next, and what is noted of an attempt: functions on a state, without a clock."""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from missioncontrol_nb.watching.changes import as_kind, new_id, staleness
from missioncontrol_nb.watching.state import Finding, Message, Missed, State, TargetState
from missioncontrol_nb.watching.wording import subject_of

AWAY = timedelta(hours=1)  # after which a target no longer gets what it missed one by one
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=5), timedelta(minutes=15)
_EXAMPLES = 3


def add_targets(state: State, names: Sequence[str], now: datetime) -> None:
    """Adds targets, which are told whether data are stale or what is up; those that are there stay as they are.

    To be called after a look. While data are stale nobody knows what is up: new targets are told that once they are
    fresh.
    """
    new = [name for name in names if name not in state.targets or (state.targets[name].is_new and not state.is_stale)]
    if not new:
        return
    messages = [staleness(state, now)] if state.is_stale else []
    if not state.is_stale:
        causes: dict[str, list[Finding]] = {}
        for alarm in state.alarms.values():
            causes.setdefault(alarm.cause, []).append(_now_an_alarm(alarm.finding))
        messages = [Message(new_id(), "alarms", cause, now, findings) for cause, findings in causes.items()]
    state.messages |= {message.id: message for message in messages}
    for name in new:
        target = state.targets.setdefault(name, TargetState())
        target.queue += [message.id for message in messages]
        target.is_new = state.is_stale


def next_message(state: State, name: str, now: datetime, *, is_quiet: bool, at_once: bool = False) -> Message | None:
    """The message that is due for a target, None where there is none; what it missed for long becomes one message.

    is_quiet: whether its quiet hours are; at_once: although the watch's own time for it has not come.
    """
    target = state.targets[name]
    if is_quiet:
        target.is_held = bool(target.queue) and target.failing_since is None
    if is_quiet or now < due_at(target, at_once=at_once):
        return None
    while target.queue:
        message = _first(state, target, now)
        if message is None or not message.is_empty:
            return message
        target.queue.remove(message.id)
    return None


def due_at(target: TargetState, *, at_once: bool = False) -> datetime:
    """When a target's next attempt is due. at_once: as for `next_message`."""
    moments = target.not_before, None if at_once else target.next_attempt
    return max(filter(None, moments), default=datetime.min.replace(tzinfo=UTC))


def is_waiting(state: State, name: str, now: datetime, *, is_quiet: bool) -> bool:
    """Whether something waits for a target that neither quiet hours nor stale data hold back."""
    copy = state.copy()
    copy.targets[name].not_before = None
    return next_message(copy, name, now, is_quiet=is_quiet, at_once=True) is not None


def _first(state: State, target: TargetState, now: datetime) -> Message | None:
    """What a target is told next; None: nothing while data are stale."""
    first = state.messages[target.queue[0]]
    is_late = (target.is_held and len(target.queue) > 1) or now - first.created_at > AWAY
    if is_late:
        return _staleness(state, target, now) if state.is_stale else _sum_up(state, target, now)
    told = [finding for finding in first.findings if finding.kind != "recovered" or finding.key in target.told]
    return msgspec.structs.replace(first, findings=told)


def _staleness(state: State, target: TargetState, now: datetime) -> Message | None:
    """That data are stale, to a target that missed messages: whether what these say is true is not known now."""
    if target.told_stale:
        return None
    first = state.messages[target.queue[0]]
    if first.kind != "stale" or now - first.created_at > AWAY:
        first = staleness(state, now)
        state.messages[first.id] = first
        target.queue = [first.id, *(each for each in target.queue if state.messages[each].kind == "alarms")]
    return first


def _sum_up(state: State, target: TargetState, now: datetime) -> Message:
    """Replaces the messages that wait for a target by one that says what is true now, and what it missed."""
    waiting = [state.messages[each] for each in target.queue]
    missed_of: dict[str, list[Finding]] = {}
    for finding in (finding for message in waiting for finding in message.findings):
        missed_of.setdefault(finding.key, []).append(finding)
    findings, over = [], list[str]()
    for key, missed_findings in missed_of.items():
        alarm = state.alarms.get(key)
        anew = _anew(alarm.finding, target.told.get(key), missed_findings) if alarm is not None else []
        if alarm is None and key in target.told:
            anew = [as_kind(missed_findings[-1], "recovered")]
        findings += anew
        if not anew and (alarm is None or any(finding.kind == "alarm" for finding in missed_findings)):
            over.append(subject_of(missed_findings[-1]))
    if not target.told_stale and any(message.kind == "stale" for message in waiting):
        over.append("stale data")
    missed: Missed | None = _missed(waiting, over, is_held=target.is_held)
    summaries = []
    if findings or over or not target.told_stale:
        cause = next((message.cause for message in waiting if message.findings), waiting[0].cause)
        summaries.append(Message(new_id(), "alarms", cause, now, findings, missed=missed))
        missed = None
    if target.told_stale:
        summaries.append(msgspec.structs.replace(staleness(state, now), missed=missed))
    target.queue, target.is_held = [summary.id for summary in summaries], False
    state.messages |= {summary.id: summary for summary in summaries}
    return summaries[0]


def _missed(waiting: list[Message], over: list[str], *, is_held: bool) -> Missed:
    earlier = [message.missed for message in waiting if message.missed]
    count = sum(each.messages or 1 for each in earlier) + sum(message.missed is None for message in waiting)
    examples = [text for each in earlier for text in each.examples] + over
    return Missed(
        min([message.created_at for message in waiting] + [each.since for each in earlier]),
        "quiet" if is_held else "away",
        count,
        sum(each.over for each in earlier) + len(over),
        examples[:_EXAMPLES],
    )


def _anew(finding: Finding, told: str | None, missed: Sequence[Finding]) -> list[Finding]:
    """What is said of something that is up to a target that missed messages about it. told: as what it knows it."""
    if told == "alarm" and finding.looks_bad:
        return [as_kind(finding, "recovered"), finding]
    if told == "alarm":
        was_over = any(each.kind == "recovered" for each in missed)
        changes = ["it was over meanwhile"] if was_over else dict.fromkeys(each.change for each in missed)
        return [as_kind(finding, "update", "; ".join(filter(None, changes)))]
    return [] if told == finding.kind else [_now_an_alarm(finding)]


def _now_an_alarm(finding: Finding) -> Finding:
    return finding if finding.looks_bad else as_kind(finding, "alarm")


def up_of(state: State, name: str, now: datetime) -> list[Finding]:
    """What is up of what a target was told, to be said again to one that forgets it.

    On stale data only what it has not forgotten yet: what that was is not known to be up.
    """
    target = state.targets[name]
    if state.is_stale and (target.told_at is None or now - target.told_at > AWAY):
        return []
    return [state.alarms[key].finding for key in target.told if key in state.alarms]


def note_delivered(state: State, name: str, message: Message, now: datetime) -> None:
    """Notes that a target has a message."""
    target = state.targets[name]
    target.queue = [each for each in target.queue if each != message.id]
    for finding in message.findings:
        if finding.kind == "recovered":
            target.told.pop(finding.key, None)
        else:
            target.told[finding.key] = "looks bad" if finding.looks_bad else "alarm"
    if message.kind in ("stale", "fresh"):
        target.told_stale = message.kind == "stale"
    else:
        target.told_at = now
    target.is_held = target.is_held and bool(target.queue)
    target.attempts, target.next_attempt, target.not_before = 0, None, None
    target.failing_since, target.failure = None, ""


def note_failed(state: State, name: str, now: datetime, reason: str, retry_after: float | None = None) -> None:
    """Notes a failed attempt, and when the next one is: twice as long after each, by chance up to half of it sooner.

    retry_after: seconds that the target asked to wait.
    """
    target = state.targets[name]
    target.attempts += 1
    wait = min(FIRST_WAIT * 2 ** min(target.attempts - 1, 20), LONGEST_WAIT) * random.uniform(0.5, 1.0)
    target.next_attempt = now + wait
    target.not_before = None if retry_after is None else now + timedelta(seconds=retry_after)
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
