"""What a watcher is told, in the form that is published."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something that a watcher is told: an alarm, what changed about it, or that it is over."""

    event: str
    detected_at: str
    application: str
    channel: str
    os_name: str
    measure: str
    display_version: str | None
    build_ids: tuple[str, ...]
    rate_ratio: float | None
    lower: float | None
    upper: float | None
    evidence: float | None
    expected_rate: float | None
    observed_rate: float | None
    slice: dict[str, str]
    since: str | None

    def as_record(self) -> dict[str, Any]:
        """The event as a JSON object."""
        return self.__dict__ | {"build_ids": list(self.build_ids)}


@dataclass(frozen=True)
class OpenAlarm:
    """An alarm that is up, and what it takes to go on watching it: the slice found last, and when it was looked for.

    event: the alarm with its newest figures, as told at its `detected_at`.
    """

    event: Event
    found: dict[str, str]
    checked_at: str

    def as_record(self) -> dict[str, Any]:
        """The alarm as a JSON object."""
        return {"event": self.event.as_record(), "found": self.found, "checked_at": self.checked_at}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "OpenAlarm":
        """The alarm of a JSON object."""
        event = Event(**{**record["event"], "build_ids": tuple(record["event"]["build_ids"])})
        return cls(event, dict(record["found"]), record["checked_at"])

    @classmethod
    def of_event(cls, event: Event) -> "OpenAlarm":
        """The alarm that an event tells of."""
        return cls(event, event.slice, event.detected_at)
