"""Pings of the simulated fleet drawn one by one: their builds, contents and times."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from missioncontrol_nb.simulator import ping_templates, population
from missioncontrol_nb.simulator.builds import Build
from missioncontrol_nb.simulator.faulty_pings import FAULTS
from missioncontrol_nb.simulator.fleet import (
    CRASH_DISPERSION,
    CRASH_PINGS,
    DELAY_EDGES_HOURS,
    DELAY_SHARES,
    EVENT_DISPERSION,
    LENGTH_SHAPE,
    MEAN_LENGTH_HOURS,
    PING_DISPERSION,
    PING_MEASURES,
    WINDOW_SECONDS,
    Array,
    Expected,
    Fleet,
    window_of,
)

DEFAULT_EVERY = timedelta(seconds=2)
WINDOWS_AT_A_TIME = 12
_DELAY_EDGES = np.array(DELAY_EDGES_HOURS)
_DELAY_CUMULATED = np.cumsum(DELAY_SHARES)
Fields = dict[bytes, bytes]


@dataclass(frozen=True)
class Batch:
    """The pings that arrived in [start, end), by time; broken: the number of broken pings, by reason."""

    start: datetime
    end: datetime
    documents: tuple[bytes, ...]
    broken: dict[str, int]


def batches(fleet: Fleet, start: datetime, every: timedelta = DEFAULT_EVERY) -> Iterator[Batch]:
    """Endless batches of pings from `start` on; every: length of a batch; the same arguments give the same pings."""
    rng = fleet.generator("live", start.astimezone(UTC).isoformat())
    sender = Sender(fleet, window_of(start), rng)
    while True:
        if not sender.covers(start):
            sender = Sender(fleet, window_of(start), rng)
        yield sender.batch(start, start + every)
        start += every


class Sender:
    """Draws the pings of WINDOWS_AT_A_TIME windows, beginning with `first_window`."""

    def __init__(self, fleet: Fleet, first_window: int, rng: np.random.Generator) -> None:
        expected = fleet.expect(first_window, WINDOWS_AT_A_TIME)
        self.fleet = fleet
        self.builds = expected.builds
        self._rng = rng
        self._first_window = first_window
        self._draw_means(expected)

    def _draw_means(self, expected: Expected) -> None:
        """Draws the mean numbers of pings and events, over-dispersed as in the history."""
        rows = expected.rows
        self._reports = expected.reported_hours / MEAN_LENGTH_HOURS * self._gamma(PING_DISPERSION * rows)
        self._crashes = np.array(
            [
                expected.used_hours * expected.rates(measure) * self._gamma(CRASH_DISPERSION * rows)
                for measure in CRASH_PINGS
            ]
        )
        self._events = np.array(
            [expected.rates(measure) * self._gamma(EVENT_DISPERSION * rows) for measure in PING_MEASURES]
        )
        self._startup_share = expected.startup_share

    def _gamma(self, shapes: Array) -> Array:
        return self._rng.gamma(shapes, 1 / shapes)

    def covers(self, moment: datetime) -> bool:
        """Whether a moment is in the sender's windows."""
        return self._first_window <= window_of(moment) < self._first_window + WINDOWS_AT_A_TIME

    def batch(self, start: datetime, end: datetime) -> Batch:
        """The pings between two moments, by the expected values of the first moment's window."""
        window = window_of(start) - self._first_window
        since, seconds = start.timestamp(), (end - start).total_seconds()
        share = seconds / WINDOW_SECONDS
        reports = np.repeat(np.arange(len(self.builds)), self._rng.poisson(self._reports[:, window] * share))
        found = self._draw_reports(reports, window, since, seconds)
        for measure, means in zip(CRASH_PINGS, self._crashes[:, :, window] * share, strict=True):
            crashes = np.repeat(np.arange(len(self.builds)), self._rng.poisson(means))
            found += [self._crash(place, measure, window, since, seconds) for place in crashes.tolist()]
        faults = self._rng.poisson([fault.share * self._reports[:, window].sum() * share for fault in FAULTS])
        found += self._draw_broken(np.repeat(np.arange(len(FAULTS)), faults), window, since, seconds)
        found.sort()
        broken = {fault.reason: count for fault, count in zip(FAULTS, faults.tolist(), strict=True) if count}
        return Batch(start, end, tuple(document for _, document in found), broken)

    def _draw_reports(self, places: Array, window: int, since: float, seconds: float) -> list[tuple[float, bytes]]:
        """Main and core pings, each with its moment; places: indices of their builds."""
        rng, number = self._rng, len(places)
        moments = since + rng.random(number) * seconds
        hours = rng.gamma(LENGTH_SHAPE, MEAN_LENGTH_HOURS / LENGTH_SHAPE, number)
        events = rng.poisson(self._events[:, places, window] * hours).T
        buckets = np.searchsorted(_DELAY_CUMULATED[:-1], rng.random(number) * _DELAY_CUMULATED[-1])
        delays = _DELAY_EDGES[buckets] + np.diff(_DELAY_EDGES)[buckets] * rng.random(number)
        lengths = np.maximum(np.round(hours * 3600), 1).astype(int)
        drawn = zip(*(a.tolist() for a in (places, moments, lengths, delays, events)), strict=True)
        return [(moment, self._report(place, moment, *rest)) for place, moment, *rest in drawn]

    def _report(self, place: int, moment: float, length: int, delay_hours: float, events: Sequence[int]) -> bytes:
        build = self.builds[place]
        fields = self._fields(build, moment)
        fields[b"length"] = b"%d" % length
        if build.os_name == "Android":
            return ping_templates.core_ping(fields)
        delay = delay_hours * 3600
        if moment - delay < build.out:  # The build was not used before its release
            delay = (moment - build.out) * self._rng.random()
        fields[b"created"] = _as_text(moment - delay)
        fields[b"started"] = _as_text(moment - delay - length)
        fields |= ping_templates.histogram_fields(dict(zip(PING_MEASURES, events, strict=True)))
        return ping_templates.main_ping(build.os_name, int(self._rng.integers(ping_templates.TEMPLATES)), fields)

    def _crash(self, place: int, measure: str, window: int, since: float, seconds: float) -> tuple[float, bytes]:
        """A crash ping with its moment; it is sent within seconds of the crash."""
        build, moment = self.builds[place], since + self._rng.random() * seconds
        fields = self._fields(build, moment)
        is_at_startup = measure == "main_crashes" and self._rng.random() < self._startup_share[place, window]
        fields[b"length"] = b"%d" % (self._rng.integers(30) if is_at_startup else self._rng.integers(60, 20000))
        return moment, ping_templates.crash_ping(
            build.os_name, fields | ping_templates.crash_fields(measure, is_at_startup, moment)
        )

    def _draw_broken(self, faults: Array, window: int, since: float, seconds: float) -> list[tuple[float, bytes]]:
        """Broken pings, each with its moment; faults: indices into FAULTS."""
        found = []
        for fault in (FAULTS[place] for place in faults.tolist()):
            is_core = fault.document_type == "core"
            can_send = [(build.os_name == "Android") == is_core for build in self.builds]
            means = self._reports[:, window] * can_send
            place = int(self._rng.choice(len(means), p=means / means.sum()))
            if fault.document_type == "crash":
                moment, sound = self._crash(place, "main_crashes", window, since, seconds)
            else:
                [(moment, sound)] = self._draw_reports(np.array([place]), window, since, seconds)
            found.append((moment, fault.break_it(json.loads(sound))))
        return found

    def _fields(self, build: Build, moment: float) -> Fields:
        """The fields of all kinds of pings about the build, its user and the moment, as text."""
        user = {name: self._one_of(population.shares(name, build.os_name)) for name in ping_templates.PEOPLE}
        enrolment = self._enrolment(build, moment)
        return ping_templates.common_fields(
            build, user, enrolment, moment, self._rng.bytes(ping_templates.RANDOM_BYTES)
        )

    def _one_of(self, shares: dict[str, float]) -> str:
        drawn = self._rng.random() * sum(shares.values())
        for value, share in shares.items():
            drawn -= share
            if drawn < 0:
                return value
        return value

    def _enrolment(self, build: Build, moment: float) -> tuple[population.Experiment, str] | None:
        """The experiment and branch of a random user of a build; None for most users."""
        for experiment in population.EXPERIMENTS:
            is_eligible = experiment.is_on(build) and experiment.is_running(moment, self.fleet.weeks)
            if is_eligible and self._rng.random() < experiment.share:
                return experiment, experiment.branches[self._rng.integers(len(experiment.branches))]
        return None


def _as_text(moment: float) -> bytes:
    return ping_templates.time_text(moment, "milliseconds")
