"""What a look changes: alarms that come up, change, get worse or end become messages, one for each cause.

Pure functions on a state: no clock, no file.
"""

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from missioncontrol_nb.watching.state import Alarm, Finding, Kind, Message, State

WORSE = 1.5  # an alarm whose ratio has grown so many times against what was told last is told again
ONE_CAUSE = timedelta(hours=6)  # rises of a channel that begin no further apart have one cause


class Up(msgspec.Struct):
    """An alarm that is up, with its current figures. record: what the judge needs to go on, None: nothing."""

    finding: Finding
    record: dict[str, Any] | None = None


class Look(msgspec.Struct):
    """What a look found. data_up_to: the newest submission, None: not known; is_stale: nothing was judged then.

    events: what the judge tells, in order; open: what is up.
    """

    data_up_to: datetime | None
    is_stale: bool
    events: list[Finding] = []
    open: list[Up] = []


def apply_look(state: State, look: Look, now: datetime, *, as_of: datetime | None = None) -> list[Message]:
    """Takes a look's findings into a state and puts what is to be told into all queues; returns these messages.

    as_of: the moment that was looked at; None: now.
    """
    state.last_look, state.data_up_to, state.failing_since = now, look.data_up_to, None
    messages = apply_staleness(state, is_stale=look.is_stale, now=now, as_of=as_of)
    if not look.is_stale:
        for cause, findings in _by_cause(state, look).items():
            messages.append(Message(new_id(), "alarms", cause, now, findings))
            _queue(state, messages[-1])
    return messages


def apply_staleness(state: State, *, is_stale: bool, now: datetime, as_of: datetime | None = None) -> list[Message]:
    """Tells once that data are stale, and once that they are fresh again."""
    if is_stale == state.is_stale:
        return []
    state.is_stale = is_stale
    message = staleness(state, now, as_of)
    _queue(state, message)
    return [message]


def apply_failure(state: State, now: datetime, stale_after_seconds: float) -> list[Message]:
    """Notes that a look failed. Where looks fail for so long that the data would be stale by now, tells that."""
    state.failing_since = state.failing_since or now
    is_over = now - (state.data_up_to or state.failing_since) > timedelta(seconds=stale_after_seconds)
    return apply_staleness(state, is_stale=state.is_stale or is_over, now=now)


def staleness(state: State, now: datetime, as_of: datetime | None = None) -> Message:
    """The message that data are stale, or fresh again."""
    kind: Kind = "stale" if state.is_stale else "fresh"
    return Message(new_id(), kind, "data", now, [], state.data_up_to, as_of or now)


def new_id() -> str:
    """An id of a message or a cause."""
    return secrets.token_hex(8)


def _queue(state: State, message: Message) -> None:
    state.messages[message.id] = message
    for target in state.targets.values():
        if message.kind != "alarms" or not target.is_new:  # a new one gets what is up when that is known
            target.queue.append(message.id)


def _by_cause(state: State, look: Look) -> dict[str, list[Finding]]:
    """What is to be told, by cause; the state's alarms become those of the look."""
    known, up = dict(state.alarms), {each.finding.key: each for each in look.open}
    events = {finding.key: finding for finding in look.events}
    told = [_told(known.get(key), up.get(key), events.get(key)) for key in {**events, **up, **known}]
    causes: dict[str, list[Finding]] = {}
    for finding in sorted(filter(None, told), key=lambda each: (each.event["since"] or "", each.key)):
        cause = known[finding.key].cause if finding.key in known else _cause_of(finding, known.values())
        causes.setdefault(cause, []).append(finding)
        known[finding.key] = Alarm(finding, None, finding.ratio, cause)
        if finding.kind == "recovered":
            up.pop(finding.key, None)  # what is up all the same is new at the next look
    state.alarms = {
        key: Alarm(each.finding, each.record, known[key].told_ratio, known[key].cause)
        for key, each in sorted(up.items())
    }
    return causes


def _told(before: Alarm | None, up: Up | None, event: Finding | None) -> Finding | None:
    """The message about an alarm, given it before the look, after it, and the judge's event; None: there is none."""
    now = None if up is None else up.finding
    was_alarm = before is not None and not before.finding.looks_bad
    is_alarm = now is not None and not now.looks_bad
    if before is not None and (now is None or (was_alarm and not is_alarm) or (event and event.kind == "recovered")):
        return event if event is not None and event.kind == "recovered" else as_kind(before.finding, "recovered")
    if now is None:  # it came up and went between two looks
        return None
    if before is None or (is_alarm and not was_alarm):
        return as_kind(now, "alarm" if is_alarm else now.kind)
    if event is not None and is_alarm:
        return as_kind(now, "update", _change(before.finding, now))
    if is_alarm and _is_worse(before, now):
        return as_kind(now, "update", f"worse, it was {before.told_ratio:.1f} times")
    return None


def as_kind(finding: Finding, kind: str, change: str = "") -> Finding:
    """A finding as an event of another kind."""
    return Finding(finding.key, finding.event | {"event": kind}, finding.words, finding.search, change)


def _is_worse(before: Alarm, now: Finding) -> bool:
    return before.told_ratio is not None and now.ratio is not None and now.ratio >= WORSE * before.told_ratio


def _change(before: Finding, now: Finding) -> str:
    """What is different from before, in words."""
    parts = []
    if before.event["slice"] != now.event["slice"]:
        parts.append("it is now found elsewhere")
    if before.event["since"] != now.event["since"]:
        parts.append("its beginning was found anew")
    return " and ".join(parts)


def _cause_of(finding: Finding, known: Iterable[Alarm]) -> str:
    """The cause of an alarm of the same channel that began at about the same time; a new one where there is none."""
    for alarm in known:
        if alarm.finding.event["channel"] == finding.event["channel"] and _are_near(alarm.finding, finding):
            return alarm.cause
    return new_id()


def _are_near(one: Finding, other: Finding) -> bool:
    since = one.event["since"], other.event["since"]
    if None in since:
        return since[0] == since[1]
    first, second = (datetime.fromisoformat(each) for each in since)
    return abs(first - second) <= ONE_CAUSE


def keep_only(
    state: State,
    targets: Sequence[str],
    *,
    measures: Sequence[str] = (),
    channel: str | None = None,
    os_name: str | None = None,
    tells_looks_bad: bool = True,
) -> list[str]:
    """Drops what the watch was told not to look at any more, and keeps the state of its targets alone.

    measures, channel, os_name: empty or None: all. Returns the names of the targets that were dropped while messages
    waited for them.
    """

    def is_kept(finding: Finding) -> bool:
        return (
            (tells_looks_bad or not finding.looks_bad)
            and (not measures or finding.event["measure"] in measures)
            and channel in (None, finding.event["channel"])
            and os_name in (None, finding.event["os_name"])
        )

    dropped = [name for name, target in state.targets.items() if name not in targets and target.queue]
    state.targets = {name: state.targets[name] for name in targets if name in state.targets}
    state.alarms = {key: alarm for key, alarm in state.alarms.items() if is_kept(alarm.finding)}
    for message in state.messages.values():
        message.findings = [finding for finding in message.findings if is_kept(finding)]
    known = {*state.alarms, *(finding.key for message in state.messages.values() for finding in message.findings)}
    for target in state.targets.values():
        target.queue = [each for each in target.queue if not state.messages[each].is_empty]
        target.told = {
            key: kind for key, kind in target.told.items() if key in known and (tells_looks_bad or kind != "looks bad")
        }
    return dropped
