"""Whether a rise in all versions at once is told as one alarm of no version, on simulated fleets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

import numpy as np

from benchmarks.judgement_series import Span, percent
from missioncontrol_nb.judgement.alarms import Judge
from missioncontrol_nb.simulator.fleet import Bad, Fleet
from tests.judged_fleets import CALENDAR, draw

SYSTEM = "Windows_NT"
FACTOR = 2.0
LOOKED_BEFORE, LOOKED_AFTER = 24.0, 24.0  # hours around the rise
SOON_HOURS = 6.0


@dataclass(frozen=True)
class Outside:
    """The alarms after all versions rose by FACTOR. found: hours until the alarm; None: not within LOOKED_AFTER.

    others: alarms of single versions or other measures on the system in the same time; told: what these were.
    """

    channel: str
    measure: str
    since: str
    found: float | None
    others: int
    told: tuple[str, ...]


def outside_case(span: Span, seed: int, every: float, measures: Sequence[str]) -> Outside:
    """Replays the hours around a rise, in one of some measures, at a random moment."""
    random = np.random.default_rng([seed, 5])
    channel = span.channel
    since = float(np.floor(random.uniform(span.begin + LOOKED_BEFORE, span.end - LOOKED_AFTER)))
    measure = str(random.choice(list(measures)))
    moment = datetime.fromtimestamp(since * 3600, UTC)
    builds = [each for each in Fleet(CALENDAR, 0, seed).builds if (each.channel, each.os_name) == (channel, SYSTEM)]
    versions = {build.display_version for build in builds}
    bad = [Bad(version, moment, measure, FACTOR, SYSTEM, channel) for version in sorted(versions)]
    observations, _ = draw(channel, span.first, span.days, seed, bad=bad, systems=(SYSTEM,))
    judge = Judge(observations)
    found, told = None, []
    for look in np.arange(since - LOOKED_BEFORE, since + LOOKED_AFTER + 1e-6, every):
        for _, event in judge.look(float(look)):
            if event is None or event.event != "alarm" or look <= since:
                continue
            if event.display_version is None and event.measure == measure and found is None:
                found = float(look - since)
            else:
                told.append(f"{event.measure} of {event.display_version or 'all versions'}")
    return Outside(channel, measure, moment.isoformat(), found, len(told), tuple(told))


def share_soon(cases: Sequence[Outside]) -> float | None:
    """The share that was told as one alarm within SOON_HOURS; None where there are no cases."""
    soon = [each.found is not None and each.found <= SOON_HOURS for each in cases]
    return sum(soon) / len(soon) if soon else None


def outside_lines(cases: Sequence[Outside]) -> Iterator[str]:
    """What was found by channel, a line each."""
    for channel in dict.fromkeys(each.channel for each in cases):
        of_channel = [each for each in cases if each.channel == channel]
        delays = [each.found for each in of_channel if each.found is not None]
        soon = share_soon(of_channel) or 0.0
        after = f", median delay {median(delays):.0f} h" if delays else ""
        others = sum(each.others for each in of_channel)
        yield (
            f"{channel} x{FACTOR:g} in all versions on Windows: {percent(soon)} of {len(of_channel)} told as one alarm "
            f"within {SOON_HOURS:.0f} h{after}; {others} other alarms"
        )
