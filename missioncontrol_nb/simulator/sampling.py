"""Pings of the simulated fleet drawn one by one: their builds, contents and times."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np

from missioncontrol_nb.simulator import ping_templates, population
from missioncontrol_nb.simulator.builds import Build
from missioncontrol_nb.simulator.faulty_pings import faults_of
from missioncontrol_nb.simulator.fleet import (
    CRASH_DISPERSION,
    DELAY_EDGES_HOURS,
    DELAY_SHARES,
    EVENT_DISPERSION,
    PING_DISPERSION,
    Array,
    Expected,
    Fleet,
    window_of,
)
from missioncontrol_nb.simulator.sessions import LENGTH_SHAPE, MEAN_LENGTH_HOURS, WINDOW_SECONDS

DEFAULT_EVERY = timedelta(seconds=2)
WINDOWS_AT_A_TIME = 12
_DELAY_EDGES = np.array(DELAY_EDGES_HOURS)
_DELAY_CUMULATED = np.cumsum(DELAY_SHARES)
Fields = dict[bytes, bytes]
Found = list[tuple[float, bytes]]
"""Pings, each with the moment of its arrival in seconds since 1970."""


@dataclass(frozen=True)
class Batch:
    """The pings that arrived in [start, end), by time; broken: the number of broken pings, by reason."""

    start: datetime
    end: datetime
    documents: tuple[bytes, ...]
    broken: dict[str, int]


class Sender:
    """Draws the pings of WINDOWS_AT_A_TIME windows, beginning with `first_window`."""

    def __init__(self, fleet: Fleet, first_window: int, rng: np.random.Generator) -> None:
        self.fleet, self.faults = fleet, faults_of(fleet.era)
        self._rng = rng
        self.move_to(first_window)

    def move_to(self, first_window: int) -> None:
        """Goes on with the windows from `first_window` on."""
        expected = self.fleet.expect(first_window, WINDOWS_AT_A_TIME)
        self.builds = expected.builds
        self._first_window = first_window
        self._draw_means(expected)

    @cached_property
    def counted_in_main_pings(self) -> tuple[str, ...]:
        """The measures of which main pings have histograms."""
        return self.fleet.era.ping_measures

    def _draw_means(self, expected: Expected) -> None:
        """Draws the mean numbers of pings and events, over-dispersed as in the history."""
        rows = expected.rows
        self._reports = expected.reported_hours / MEAN_LENGTH_HOURS * self._gamma(PING_DISPERSION * rows)
        self._crashes = np.array(
            [
                expected.used_hours * expected.rates(measure) * self._gamma(CRASH_DISPERSION * rows)
                for measure in self.fleet.era.crash_pings
            ]
        )
        self._events = np.array(
            [expected.rates(measure) * self._gamma(EVENT_DISPERSION * rows) for measure in self.counted_in_main_pings]
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
        for measure, means in zip(self.fleet.era.crash_pings, self._crashes[:, :, window] * share, strict=True):
            crashes = np.repeat(np.arange(len(self.builds)), self._rng.poisson(means))
            found += [self._crash(place, measure, window, since, seconds) for place in crashes.tolist()]
        faults = self._rng.poisson([fault.share * self._reports[:, window].sum() * share for fault in self.faults])
        found += self._draw_broken(np.repeat(np.arange(len(self.faults)), faults), window, since, seconds)
        found += self._draw_others(window, since, seconds)
        found.sort()
        broken: Counter[str] = Counter()
        for fault, count in zip(self.faults, faults.tolist(), strict=True):
            broken[fault.reason] += count
        return Batch(start, end, tuple(document for _, document in found), dict(+broken))

    def _draw_others(self, window: int, since: float, seconds: float) -> Found:
        """Pings of other kinds than those that all eras have."""
        return []

    def _draw_reports(self, places: Array, window: int, since: float, seconds: float) -> Found:
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
        fields[b"started"] = _as_text((moment - delay - length) // 3600 * 3600)  # As clients cut it
        fields |= ping_templates.histogram_fields(dict(zip(self.counted_in_main_pings, events, strict=True)))
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

    def _draw_broken(self, faults: Array, window: int, since: float, seconds: float) -> Found:
        """Broken pings, each with its moment; faults: indices into the faults."""
        found = []
        for fault in (self.faults[place] for place in faults.tolist()):
            can_send = [self._can_send(build, fault.document_type) for build in self.builds]
            means = self._reports[:, window] * can_send
            place = int(self._rng.choice(len(means), p=means / means.sum()))
            moment, sound = self._draw_one(fault.document_type, place, window, since, seconds)
            found.append((moment, fault.break_it(json.loads(sound))))
        return found

    def _can_send(self, build: Build, document_type: str) -> bool:
        """Whether clients of a build send pings of a type."""
        return (build.os_name == "Android") == (document_type == "core")

    def _draw_one(
        self, document_type: str, place: int, window: int, since: float, seconds: float
    ) -> tuple[float, bytes]:
        """A ping of a type with its moment; place: the index of its build."""
        if document_type == "crash":
            return self._crash(place, "main_crashes", window, since, seconds)
        [found] = self._draw_reports(np.array([place]), window, since, seconds)
        return found

    def _fields(self, build: Build, moment: float) -> Fields:
        """The fields of all kinds of pings about the build, its user and the moment, as text."""
        return ping_templates.common_fields(
            build,
            self._user(build),
            self._enrolment(build, moment),
            moment,
            self._rng.bytes(ping_templates.RANDOM_BYTES),
        )

    def _user(self, build: Build) -> dict[str, str]:
        """The country and system of a random user of a build."""
        return {name: self._one_of(self.fleet.era.shares(name, build.os_name)) for name in ping_templates.PEOPLE}

    def _one_of(self, shares: Mapping[str, float]) -> str:
        drawn = self._rng.random() * sum(shares.values())
        for value, share in shares.items():
            drawn -= share
            if drawn < 0:
                return value
        return value

    def _enrolment(self, build: Build, moment: float) -> tuple[population.Experiment, str] | None:
        """The experiment and branch of a random user of a build; None for most users."""
        for experiment in self.fleet.era.experiments:
            is_eligible = experiment.is_on(build) and experiment.is_running(moment, self.fleet.released)
            if is_eligible and self._rng.random() < experiment.share:
                return experiment, experiment.branches[self._rng.integers(len(experiment.branches))]
        return None


def _as_text(moment: float) -> bytes:
    return ping_templates.time_text(moment, "milliseconds")
