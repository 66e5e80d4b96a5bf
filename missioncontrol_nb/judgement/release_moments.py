"""When each release came out, as far as was known at a moment.

All times are hours since 1970, UTC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from missioncontrol_nb.judgement.observations import Name, Observations, hours_of, moment_of
from missioncontrol_nb.releases.versions import version_key

CAME_BEFORE = 36.0  # hours; the data of a release whose day on the calendar is earlier does not begin with it
OUT_SHARE = 0.001  # of the busiest hour of a release's first day: with less, it is not out yet
MOST_KEPT = 64  # moments whose releases are remembered


@dataclass(frozen=True)
class Released:
    """A release of a channel and the moment when it came out."""

    name: Name
    moment: float

    @property
    def sort_key(self) -> tuple[float, object, str]:
        """Oldest first."""
        return self.moment, version_key(self.name.display_version), self.name.build_id


class Releases:
    """The releases of an application on a channel.

    One is out from the first window, from its day on the calendar on, with more than a few of its first day's pings;
    one of a product without a calendar from its first ping.
    """

    def __init__(self, observations: Observations, channel: str, application: str) -> None:
        self._observations, self._channel = observations, channel
        segments = [each for each in observations.channel(channel) if each.application == application]
        names = dict.fromkeys(name for segment in segments for name in segment.releases)
        self._sums = {name: [each.releases[name] for each in segments if name in each.releases] for name in names}
        self._out: dict[float, list[Released]] = {}
        self._settled: dict[Name, float] = {}  # the moments that further pings do not change

    def at(self, moment: float) -> Sequence[Released]:
        """Those that were out at a moment, oldest first."""
        if moment not in self._out:
            while len(self._out) >= MOST_KEPT:
                del self._out[next(iter(self._out))]
            self._out[moment] = self._find(moment)
        return self._out[moment]

    def _find(self, moment: float) -> list[Released]:
        product, calendar = self._observations.product, self._observations.calendar
        days = {each.version: each.date for each in calendar.on(self._channel, moment_of(moment))}
        found = []
        for name in self._sums:
            since = -np.inf
            if product.calendar is not None:
                if name.display_version not in days:
                    continue
                day = days[name.display_version]
                since = hours_of(datetime(day.year, day.month, day.day, tzinfo=UTC))
            out = self._settled.get(name)
            if out is None:
                out = self._first_busy_window(name, since, moment)
                if out is not None and out < moment - 25:
                    self._settled[name] = out
            if out is not None and out < moment:
                found.append(Released(name, out))
        return sorted(found, key=lambda released: released.sort_key)

    def _first_busy_window(self, name: Name, since: float, until: float) -> float | None:
        """The start of the first window with enough of a release's pings; None where it has none in these hours.

        Where the data begins after its day on the calendar, it is the middle of that day; for a build that is there
        when the data begins, it is when it was made.
        """
        sums = self._sums[name]
        begins = self._observations.begins
        if name.build_id:
            made = _made(name.build_id)
            if made is not None and made + CAME_BEFORE < begins:
                return made
        elif np.isfinite(since) and since + CAME_BEFORE < begins:
            return since + 12.0
        ends = np.unique(np.concatenate([each.ends for each in sums]))
        ends = ends[(ends > since + 1e-6) & (ends <= until + 1e-6)]
        if not len(ends):
            return None
        ends = ends[ends <= ends[0] + 24]
        lengths = np.where(ends > self._observations.fine_since + 1e-6, self._observations.step, 1.0)
        starts = ends - lengths
        before, after = (sum(each.up_to("count", moments) for each in sums) for moments in (starts, starts + 1))
        in_hour = np.asarray(after - before)
        busy = in_hour >= np.maximum(OUT_SHARE * in_hour.max(), 1)
        return float(starts[np.argmax(busy)])


def _made(build_id: str) -> float | None:
    """When a build was made; None for a build id that is no time."""
    try:
        return hours_of(datetime.strptime(build_id, "%Y%m%d%H%M%S").replace(tzinfo=UTC))
    except ValueError:
        return None
