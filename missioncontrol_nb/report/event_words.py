"""What a report says of an alarm: in the words of the pages' verdicts, plain text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from missioncontrol_nb import alarm_words
from missioncontrol_nb.dashboard import messages, verdict_words
from missioncontrol_nb.dashboard.judged import Judged
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
    told_at: str

    @property
    def state(self) -> str:
        """The state whose colour and sign it has."""
        return _STATES[self.kind]


def told(events: Sequence[Event], alarms: Sequence[OpenAlarm], product: contract.Product, judged: Judged) -> list[Told]:
    """What is to be told: new alarms, what changed about others, those that are still up, and those that are over.

    Figures are those of the verdicts where there are any, so that they are the same everywhere.
    """
    kinds: dict[tuple[object, ...], Kind] = {}
    for event in events:
        kinds[_subject(event)] = "changed" if event.event == "update" else "new"
    up = [each.event for each in alarms]
    found = [_told(event, kinds.get(_subject(event), "still"), product, _figures(event, judged)) for event in up]
    found += [_told(event, "over", product, None) for event in events if event.event == "recovered"]
    return sorted(found, key=lambda each: list(KINDS).index(each.kind))


def _subject(event: Event) -> tuple[object, ...]:
    return event.channel, event.os_name, event.measure, event.display_version, event.build_ids[:1]


def _told(event: Event, kind: Kind, product: contract.Product, now: Figures | None) -> Told:
    told_at = moment(datetime.fromisoformat(event.detected_at))
    return Told(kind, _sentence(event, product, now), _figures_words(event, now), told_at)


def _sentence(event: Event, product: contract.Product, now: Figures | None) -> str:
    """ "Bad on Windows: 56.0 on release has 28 % more content crashes than expected, since Mon 2 Oct 00:00 UTC" """
    is_over = event.event == "recovered"
    measure = messages.measure_words(event.measure)
    return alarm_words.sentence(
        "Over" if is_over else "Bad",
        product.platform(event.os_name).label,
        event.display_version or "all versions",
        product.channel(event.channel).in_sentence,
        alarm_words.back(measure) if is_over else verdict_words.excess_of(event.measure, now),
        f"since {moment(datetime.fromisoformat(event.since))}" if event.since and not is_over else "",
        is_one=event.display_version is not None,
    )


def _figures_words(event: Event, now: Figures | None) -> str:
    """The rate against the expected one since the rise, and which users have most of the excess; may be empty."""
    if now is None or now.rate is None or now.expected_rate is None:
        return ""
    said = alarm_words.rates(now.rate, now.lower, now.upper, now.expected_rate, verdict_words.size_interval(now))
    return " ".join(filter(None, [f"{said}.", alarm_words.slice_words(event.slice)]))


def _figures(event: Event, judged: Judged) -> Figures | None:
    """The figures of the verdict on what an alarm is about; where there is none, those of the event itself."""
    if judged.verdicts is not None and event.display_version is not None:
        verdict = judged.verdicts.of(event.channel, event.os_name, event.display_version, event.measure)
        if verdict is not None and verdict.series.build_ids == event.build_ids and verdict.since_rise is not None:
            return verdict.since_rise
    expected = event.expected_rate
    if event.observed_rate is None or expected is None or event.lower is None or event.upper is None:
        return None
    lower, upper = expected * event.lower, expected * event.upper  # for the number of decimals
    return Figures(0, 0.0, event.observed_rate, lower, upper, expected, event.rate_ratio, event.lower, event.upper)
