"""The report before: which alarms were up then."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from missioncontrol_nb.judgement.events import OpenAlarm
from missioncontrol_nb.report.parameters import Subject
from missioncontrol_nb.report.shelves import ALARMS, shelf_of
from streaming.errors import MissionControlError


@dataclass(frozen=True)
class Previous:
    """A report's alarms.json. where: its folder or URL; as_of: ISO 8601, UTC."""

    where: str
    as_of: str
    product: str
    channels: tuple[str, ...]
    alarms: tuple[OpenAlarm, ...]

    @property
    def moment(self) -> datetime:
        """As of when it was (UTC)."""
        return datetime.fromisoformat(self.as_of)


def read_previous(where: str, subject: Subject) -> Previous:
    """The report in a folder or at a URL, which is to be one before another on a subject.

    Raises MissionControlError where there is none, where it is of another form, product or channels, and where it is
    not from an earlier moment, or the same.
    """
    content = shelf_of(where).read(ALARMS)
    if content is None:
        raise MissionControlError(f"expected a report as the previous one; there is no {ALARMS} in {where!r}")
    found = previous_of(where, content)
    if found.product != subject.product.name or found.channels != subject.channels:
        there = f"{found.product} on {', '.join(found.channels)}"
        here = f"{subject.product.name} on {', '.join(subject.channels)}"
        raise MissionControlError(f"expected a previous report of {here}; got one of {there}: {where}")
    if found.moment > subject.as_of:
        raise MissionControlError(
            f"expected a previous report from before {iso(subject.as_of)}; got one as of {found.as_of}"
        )
    return found


def iso(when: datetime) -> str:
    """ "2017-10-02T13:00:00Z" """
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def previous_of(where: str, content: bytes) -> Previous:
    """The report whose alarms.json has this content. Raises MissionControlError for another form."""
    try:
        record: Mapping[str, Any] = json.loads(content)
        found = Previous(
            where,
            record["as_of"],
            record["product"],
            tuple(record["channels"]),
            tuple(OpenAlarm.of_record(each) for each in record["open"]),
        )
        found.moment.astimezone()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MissionControlError(f"{ALARMS} in {where!r} is not that of a report: {error!r}") from error
    return found
