"""Quiet hours, in which messages wait."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from streaming.errors import MissionControlError

_FORM = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)(?:@(\S+))?")


@dataclass(frozen=True)
class QuietHours:
    """From a time of day to another one, which may be on the next day, in a time zone."""

    begin: time
    end: time
    zone: tzinfo

    def cover(self, moment: datetime) -> bool:
        """Whether a moment is in quiet hours; the end is not."""
        at = moment.astimezone(self.zone).time()
        if self.begin < self.end:
            return self.begin <= at < self.end
        return at >= self.begin or at < self.end


def read_quiet_hours(text: str) -> QuietHours:
    """Quiet hours such as 22:00-07:00@Europe/Berlin; without a zone, in UTC. Raises MissionControlError."""
    found = _FORM.fullmatch(text.strip())
    try:
        if not found:
            raise ValueError
        begin, end = time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4]))
        if begin == end:
            raise ValueError
    except ValueError:
        raise MissionControlError(
            f"expected quiet hours such as 22:00-07:00 or 22:00-07:00@Europe/Berlin; got {text!r}"
        ) from None
    try:
        return QuietHours(begin, end, ZoneInfo(found[5]) if found[5] else UTC)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise MissionControlError(f"expected a time zone such as Europe/Berlin; got {found[5]!r}") from None
