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
    """An alarm that is up, with its current figures. record: what the judge needs to go on; None: it looks bad only."""

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


def apply_look(
    state: State, look: Look, now: datetime, *, as_of: datetime | None = None, is_quiet: bool = False
) -> list[Message]:
    """Takes a look's findings into a state and puts what is to be told into all queues; returns these messages.

    as_of: the moment that was looked at; None: now.
    """
    state.last_look, state.data_up_to = now, look.data_up_to
    messages = apply_staleness(state, is_stale=look.is_stale, now=now, as_of=as_of, is_quiet=is_quiet)
    if not look.is_stale:
        for cause, findings in _by_cause(state, look).items():
            messages.append(Message(new_id(), "alarms", cause, now, findings, held=is_quiet))
            _queue(state, messages[-1])
    return messages


def apply_staleness(
    state: State, *, is_stale: bool, now: datetime, as_of: datetime | None = None, is_quiet: bool = False
) -> list[Message]:
    """Tells once that data are stale, and once that they are fresh again."""
    if is_stale == state.is_stale:
        return []
    state.is_stale = is_stale
    kind: Kind = "stale" if is_stale else "fresh"
    message = Message(new_id(), kind, "data", now, [], state.data_up_to, as_of or now, is_quiet)
    _queue(state, message)
    return [message]


def new_id() -> str:
    """An id of a message or a cause."""
    return secrets.token_hex(8)


def _queue(state: State, message: Message) -> None:
    state.messages[message.id] = message
    for target in state.targets.values():
        target.queue.append(message.id)


def _by_cause(state: State, look: Look) -> dict[str, list[Finding]]:
    """What is to be told, by cause; the state's alarms become those of the look."""
    told = _told(state, look)
    known, up = dict(state.alarms), {each.finding.key: each for each in look.open}
    causes: dict[str, list[Finding]] = {}
    for finding in sorted(told, key=lambda each: (each.event["since"] or "", each.key)):
        cause = known[finding.key].cause if finding.key in known else _cause_of(finding, known.values())
        causes.setdefault(cause, []).append(finding)
        known[finding.key] = Alarm(finding, None, finding.ratio, cause)
    state.alarms = {
        key: Alarm(each.finding, each.record, known[key].told_ratio, known[key].cause)
        for key, each in sorted(up.items())
    }
    return causes


def _told(state: State, look: Look) -> list[Finding]:
    """The judge's events, with the words for what changed; alarms that got worse; ends that it did not tell."""
    up, known = {each.finding.key for each in look.open}, state.alarms
    last = {finding.key: finding for finding in look.events}
    told = []
    for finding in last.values():
        if finding.kind == "recovered":
            told += [finding] if finding.key in known else []  # else it came up and went between two looks
        elif finding.key in up:
            before = known.get(finding.key)
            kind = finding.kind if before is None or finding.kind != "alarm" else _kind_again(before.finding)
            told.append(_as(finding, kind, _change(before.finding if before else None, finding)))
    for finding in (each.finding for each in look.open):
        before = known.get(finding.key)
        if finding.key not in last and before is None:
            told.append(_as(finding, "alarm" if finding.kind != "looks bad" else finding.kind))
        elif finding.key not in last and before is not None and _is_worse(before, finding):
            told.append(_as(finding, "update", f"worse, it was {before.told_ratio:.1f} times"))
    for key, alarm in known.items():
        if key not in up and key not in last:
            told.append(_as(alarm.finding, "recovered"))
    return told


def _kind_again(before: Finding) -> str:
    """The kind of an alarm that is known already: new only where it merely looked bad before."""
    return "alarm" if before.kind == "looks bad" else "update"


def _as(finding: Finding, kind: str, change: str = "") -> Finding:
    return Finding(finding.key, finding.event | {"event": kind}, finding.words, finding.search, change)


def _is_worse(before: Alarm, now: Finding) -> bool:
    return before.told_ratio is not None and now.ratio is not None and now.ratio >= WORSE * before.told_ratio


def _change(before: Finding | None, now: Finding) -> str:
    """What is different from before, in words."""
    if before is None or before.kind == "looks bad":
        return ""
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
    state: State, targets: Sequence[str], measures: Sequence[str], channel: str | None, os_name: str | None
) -> list[str]:
    """Drops what the watch was told not to look at any more, and keeps the state of its targets alone.

    Returns the names of the targets that were dropped with messages that they had not got. A new target has been told
    nothing yet: it gets what is up at its first delivery.
    """
    state.alarms = {
        key: alarm
        for key, alarm in state.alarms.items()
        if (not measures or alarm.finding.event["measure"] in measures)
        and channel in (None, alarm.finding.event["channel"])
        and os_name in (None, alarm.finding.event["os_name"])
    }
    dropped = [name for name, target in state.targets.items() if name not in targets and target.queue]
    kept = {name: state.targets[name] for name in targets if name in state.targets}
    state.targets = kept
    return dropped
