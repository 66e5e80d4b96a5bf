"""What a report says of an alarm: in the words of the pages' verdicts, plain text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from missioncontrol_nb.dashboard import messages, verdict_words
from missioncontrol_nb.formatting import moment
from missioncontrol_nb.judgement.events import Event, OpenAlarm
from missioncontrol_nb.judgement.verdicts import Figures
from streaming import contract

Kind = Literal["new", "changed", "still", "over"]
KINDS: Mapping[Kind, str] = {"new": "New", "changed": "Changed", "still": "Still up", "over": "Over"}
_STATES = {"new": "bad", "changed": "bad", "still": "bad", "over": "fine"}


@dataclass(frozen=True)
class Told:
    """One line about an alarm. kind: since the report before; state: as the pages' verdicts have it."""

    kind: Kind
    sentence: str
    figures: str
    since: str
    told_at: str

    @property
    def state(self) -> str:
        """The state whose colour and sign it has."""
        return _STATES[self.kind]


def told(events: Sequence[Event], alarms: Sequence[OpenAlarm], product: contract.Product) -> list[Told]:
    """What is to be told: new alarms, what changed about others, those that are still up, and those that are over."""
    kinds: dict[tuple[object, ...], Kind] = {}
    for event in events:
        kinds[_subject(event)] = "changed" if event.event == "update" else "new"
    found: list[Told] = []
    for alarm in alarms:
        found.append(_told(alarm.event, kinds.get(_subject(alarm.event), "still"), product))
    found += [_told(event, "over", product) for event in events if event.event == "recovered"]
    return sorted(found, key=lambda each: list(KINDS).index(each.kind))


def _subject(event: Event) -> tuple[object, ...]:
    return event.channel, event.os_name, event.measure, event.display_version, event.build_ids[:1]


def _told(event: Event, kind: Kind, product: contract.Product) -> Told:
    since = moment(datetime.fromisoformat(event.since)) if event.since else ""
    told_at = moment(datetime.fromisoformat(event.detected_at))
    return Told(kind, sentence(event, product), figures(event), since, told_at)


def sentence(event: Event, product: contract.Product) -> str:
    """ "56.0 on release, Windows, has 28 % more content crashes than expected" """
    platform = product.platform(event.os_name).label
    channel = product.channel(event.channel).in_sentence
    if event.event == "recovered":
        words = messages.measure_words(event.measure)
        who = event.display_version or "All versions"
        has = "has" if event.display_version else "have"
        return f"{who} on {channel}, {platform}, {has} no more {words} than expected any longer"
    excess = verdict_words.excess_of(event.measure, _figures(event))
    if event.display_version is None:
        return f"All versions on {channel}, {platform}, have {excess}: not one release"
    return f"{event.display_version} on {channel}, {platform}, has {excess}"


def figures(event: Event) -> str:
    """The rate against the expected one since the rise, and which users have most of the excess; may be empty."""
    now = _figures(event)
    if now is None or now.rate is None or now.expected_rate is None:
        return ""
    said = f"{verdict_words.rate_like(now.rate, now)} per 1000 hours of use since then, "
    said += f"{verdict_words.rate_like(now.expected_rate, now)} expected ({verdict_words.size_interval(now)})."
    return " ".join(filter(None, [said, verdict_words.slice_words(event.slice)]))


def _figures(event: Event) -> Figures | None:
    """An event's figures; the interval of the rate is that of the ratio, for the number of decimals."""
    expected = event.expected_rate
    if event.observed_rate is None or expected is None or event.lower is None or event.upper is None:
        return None
    lower, upper = expected * event.lower, expected * event.upper
    return Figures(0, 0.0, event.observed_rate, lower, upper, expected, event.rate_ratio, event.lower, event.upper)
