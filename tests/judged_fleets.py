"""Simulated fleets in the form that judging reads, without a dataset between: a channel, drawn in seconds."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.judgement.observations import Name, Observations, Segment, Sums, are_builds
from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.simulator.fleet import (
    CRASH_DISPERSION,
    CRASH_MEASURES,
    EVENT_DISPERSION,
    LONGEST_DELAY_WINDOWS,
    PING_DISPERSION,
    Bad,
    Expected,
    Fleet,
    delay_kernels,
    window_of,
)
from missioncontrol_nb.simulator.sessions import LENGTH_SHAPE, MEAN_LENGTH_HOURS, WINDOW_SECONDS
from missioncontrol_nb.simulator.variety import VARIED, Variety
from streaming import contract

Array = npt.NDArray[np.float64]
WINDOWS_AN_HOUR = 3600 // WINDOW_SECONDS
SYSTEMS = ("Windows_NT", "Darwin", "Linux")
ALL_SYSTEMS = (*SYSTEMS, "Android")
MEASURES = (
    "main_crashes", "startup_crashes", "content_crashes", "content_shutdown_crashes",
    "gpu_crashes", "plugin_crashes", "browser_shim_usage_blocked", "slow_script_notice_count",
)  # fmt: skip
CALENDAR = load_calendar()


class KnownRates(Expected):
    """Expected values whose rates are computed once: of a fleet of many builds that takes seconds."""

    @cached_property
    def _known(self) -> dict[tuple[str, bool], Array]:
        return {}

    def rates(self, measure: str) -> Array:
        if (measure, False) not in self._known:
            self._known[measure, False] = super().rates(measure)
        return self._known[measure, False]

    def _sound_rates(self, measure: str) -> Array:
        if (measure, True) not in self._known:
            self._known[measure, True] = super()._sound_rates(measure)
        return self._known[measure, True]


def draw(
    channel: str,
    first: datetime,
    days: int,
    seed: int,
    *,
    bad: Sequence[Bad] = (),
    variety: Variety = VARIED,
    rate: float = 40.0,
    systems: Sequence[str] = SYSTEMS,
    kind: type[Fleet] = Fleet,
) -> tuple[Observations, Expected]:
    """A channel's observations from a midnight on, and what was to be expected, of its official builds."""
    fleet = kind(CALENDAR, 0, seed, bad, rate, variety)
    expected = fleet.expect(window_of(first), days * 24 * WINDOWS_AN_HOUR, channel)
    kept = [place for place, build in enumerate(expected.builds) if build.is_official and build.os_name in systems]
    builds = tuple(expected.builds[place] for place in kept)
    expected = replace(
        expected, builds=builds, hours_in_use=expected.hours_in_use[kept], reported_hours=expected.reported_hours[kept]
    )
    random = np.random.default_rng([seed, 1])
    columns = _columns(random, expected)
    ends = (expected.starts + WINDOW_SECONDS) / 3600
    by_build = are_builds(contract.FIREFOX, channel)
    segments = []
    for os_name in systems:
        releases, application = {}, ""
        for place, build in enumerate(builds):
            if build.os_name == os_name:
                some = columns["count"][place] > 0
                totals = {
                    name: np.concatenate([[0.0], np.cumsum(values[place][some])]) for name, values in columns.items()
                }
                name = Name(build.display_version, build.build_id if by_build else "")
                releases[name] = Sums(ends[some], totals, (build.build_id,))
                application = build.application
        if releases:
            delay_ends, delays = _delays(expected, os_name)
            segments.append(Segment(application, channel, os_name, releases, delay_ends, delays))
    observations = Observations(
        contract.FIREFOX,
        CALENDAR,
        tuple(segments),
        MEASURES,
        WINDOW_SECONDS / 3600,
        float(ends[0] - 1),
        float(ends[-1]),
        float(ends[0]),
    )
    return observations, expected


def _columns(random: np.random.Generator, expected: Expected) -> dict[str, Array]:
    reported, used = expected.reported_hours, expected.used_hours
    pings = _overdispersed(random, reported / MEAN_LENGTH_HOURS, PING_DISPERSION * expected.rows)
    hours = random.gamma(LENGTH_SHAPE * np.maximum(pings, 1e-9)) * (MEAN_LENGTH_HOURS / LENGTH_SHAPE) * (pings > 0)
    columns = {"usage_hours": hours}
    for name in MEASURES:
        exposure = used if name in CRASH_MEASURES else hours
        shape = (CRASH_DISPERSION if name in CRASH_MEASURES else EVENT_DISPERSION) * expected.rows
        if name != "startup_crashes":
            columns[name] = _overdispersed(random, exposure * expected.rates(name), shape)
    columns["startup_crashes"] = random.binomial(columns["main_crashes"].astype(np.int64), expected.startup_share)
    crashes = columns["main_crashes"] + columns["content_crashes"] + columns["content_shutdown_crashes"]
    return columns | {"count": pings + crashes}


def _overdispersed(random: np.random.Generator, means: Array, shape: Array) -> Array:
    drawn = np.zeros(means.shape)
    some = means > 0
    drawn[some] = random.poisson(means[some] * random.gamma(shape[some], 1 / shape[some]))
    return drawn


def _delays(expected: Expected, os_name: str) -> tuple[Array, Array]:
    """The reported hours by delay bucket, as running totals by hour of submission; Android's pings tell none."""
    windows = expected.hours_in_use.shape[1]
    arrived = np.zeros((len(contract.DELAY_BUCKET_EDGES_HOURS), windows - LONGEST_DELAY_WINDOWS))
    for place, build in enumerate(expected.builds):
        if build.os_name == os_name != "Android":
            kernels = delay_kernels(expected.fleet.differences(build).delay)
            spread = np.fft.rfft(expected.hours_in_use[place]) * np.fft.rfft(kernels, windows, axis=1)
            arrived += np.maximum(np.fft.irfft(spread, windows, axis=1)[:, LONGEST_DELAY_WINDOWS:], 0.0)
    hourly = arrived.reshape(len(arrived), -1, WINDOWS_AN_HOUR).sum(axis=2).T
    ends = expected.starts[WINDOWS_AN_HOUR - 1 :: WINDOWS_AN_HOUR] / 3600 + 1 / WINDOWS_AN_HOUR
    return ends, np.concatenate([np.zeros((1, hourly.shape[1])), np.cumsum(hourly, axis=0)])


def midnight(year: int, month: int, day: int) -> datetime:
    """A midnight, UTC."""
    return datetime(year, month, day, tzinfo=UTC)
