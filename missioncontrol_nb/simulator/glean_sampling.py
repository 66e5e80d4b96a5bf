"""Pings of clients that send Glean pings, drawn one by one: crash and baseline pings, beside legacy pings."""

from collections.abc import Sequence
from functools import cached_property
from heapq import heappop, heappush

import numpy as np

from missioncontrol_nb.simulator import midnight, ping_templates
from missioncontrol_nb.simulator.builds import Build
from missioncontrol_nb.simulator.faulty_pings import BASELINE, CRASH
from missioncontrol_nb.simulator.fleet import PING_DISPERSION, Expected
from missioncontrol_nb.simulator.glean_pings import (
    NO_DUMP,
    Client,
    Crash,
    baseline_ping,
    crash_ping,
    local_text,
    sends_legacy_crash_pings,
)
from missioncontrol_nb.simulator.population import utc_offset_hours
from missioncontrol_nb.simulator.sampling import Found, Sender
from missioncontrol_nb.simulator.sessions import (
    BASELINES_A_SESSION,
    KILLED_SHARE,
    MEAN_LENGTH_HOURS,
    MEAN_TICKS,
    PAUSES_A_SESSION,
    WINDOW_SECONDS,
)

# The crash ping of a main crash is sent again after the next start: for some within minutes, for others days later.
SENT_AGAIN_SECONDS = 57.0
RESTARTED_AT_ONCE, RESTART_SECONDS = 0.55, 240.0
CLOSED_HOURS, CLOSED_SPREAD, LONGEST_CLOSED_HOURS = 9.0, 1.4, 240.0  # Of the others: log-normal
WITHOUT_DUMP, EMPTY_DUMP = 0.03, 0.02  # Shares of crashes
REMOTE_TYPES = ("web", "webIsolated=https://example.org", "privilegedabout", "extension", "file")
TICKS_SHAPE = 0.5  # Of a gamma distribution: in some sessions hardly anything is done
PROCESSES = {"main_crashes": "main", "content_crashes": "content", "content_shutdown_crashes": "content"}
# By kind of baseline ping: its reason, and how many there are in a session
BASELINES = (
    ("active", 1.0),
    ("active", PAUSES_A_SESSION),  # The end of a pause
    ("inactive", PAUSES_A_SESSION),
    ("dirty_startup", KILLED_SHARE),
)
BASELINES_UP_TO = np.cumsum([number for _, number in BASELINES])
START, END_OF_PAUSE = 0, 1


def process_of(measure: str) -> str:
    """The process whose crashes a measure counts."""
    return PROCESSES.get(measure) or measure.removesuffix("_crashes")


class GleanSender(Sender):
    """Draws the pings of a fleet whose clients send Glean pings."""

    def __init__(self, *arguments: object) -> None:
        self._waiting: Found = []  # A heap of pings that are still to be sent
        super().__init__(*arguments)  # type: ignore[arg-type]

    @cached_property
    def counted_in_main_pings(self) -> tuple[str, ...]:
        """Main pings have crashes of processes other than the main process, too."""
        return (*self.fleet.era.ping_measures, *self._of_processes)

    @cached_property
    def _of_processes(self) -> tuple[str, ...]:
        return tuple(name for name in self.fleet.era.crash_pings if process_of(name) != "main")

    def _draw_means(self, expected: Expected) -> None:
        super()._draw_means(expected)
        assert expected.midnight_hours is not None
        with np.errstate(invalid="ignore"):
            self._midnight_share = np.nan_to_num(expected.midnight_hours / expected.reported_hours)
        sessions = expected.used_hours / MEAN_LENGTH_HOURS
        self._baselines = sessions * BASELINES_A_SESSION * self._gamma(PING_DISPERSION * expected.rows)

    def _report(self, place: int, moment: float, length: int, delay_hours: float, events: Sequence[int]) -> bytes:
        """A main ping: made at midnight, or as its session ended."""
        build, rng = self.builds[place], self._rng
        window = min(max(int(moment // WINDOW_SECONDS) - self._first_window, 0), self._midnight_share.shape[1] - 1)
        user, reason, delay = self._user(build), "shutdown", delay_hours * 3600
        at_midnight = midnight.countries_at(self._first_window + window)
        if at_midnight and rng.random() < self._midnight_share[place, window]:
            reason, user["country"] = "daily", self._one_of(at_midnight)
            since_midnight = (moment + utc_offset_hours(user["country"]) * 3600) % 86400
            delay = since_midnight - min(1.0, since_midnight / 2)
        elif moment - delay < build.out:  # The build was not used before its release
            delay = (moment - build.out) * rng.random()
        offset = utc_offset_hours(user["country"])
        created = moment - delay
        local_hour = (created - length + offset * 3600) // 3600 * 3600 - offset * 3600
        counts = dict(zip(self.counted_in_main_pings, events, strict=True))
        processes: dict[str, int] = {}
        for measure in self._of_processes:
            processes[process_of(measure)] = processes.get(process_of(measure), 0) + counts.pop(measure)
        random = rng.bytes(ping_templates.RANDOM_BYTES)
        fields = ping_templates.common_fields(build, user, self._enrolment(build, moment), moment, random)
        fields |= ping_templates.histogram_fields(counts, processes)
        fields |= {
            b"length": b"%d" % length,
            b"reason": reason.encode(),
            b"timezone": b"%d" % (offset * 60),
            b"created": ping_templates.time_text(created, "milliseconds"),
            b"started": local_text(local_hour, offset).replace(".000", ".0").encode(),
        }
        return ping_templates.main_ping(build.os_name, int(rng.integers(ping_templates.TEMPLATES)), fields)

    def _crash(self, place: int, measure: str, window: int, since: float, seconds: float) -> tuple[float, bytes]:
        """The first crash ping of a crash, with its moment. That of a main crash is sent again later."""
        rng, moment = self._rng, since + self._rng.random() * seconds
        client, process = self._client(place, moment), process_of(measure)
        is_at_startup = measure == "main_crashes" and bool(rng.random() < self._startup_share[place, window])
        crash = Crash(
            process,
            moment - 1,
            self._id(),
            self._dump(),
            int(rng.integers(500, 30_000) if is_at_startup else rng.integers(60_000, 20_000_000)),
            int(rng.choice([4, 8, 16, 32])) << 30,
            is_at_startup,
            measure == "content_shutdown_crashes",
            str(rng.choice(REMOTE_TYPES)) if process == "content" else None,
        )
        if process in ("main", "content") and sends_legacy_crash_pings(client.build):
            heappush(self._waiting, (moment, self._legacy_crash(client, measure, crash)))
        if process == "main":
            again = moment + self._closed_seconds() + SENT_AGAIN_SECONDS
            document = crash_ping(client, crash, "event_found", again - 0.1, again, self._id())
            heappush(self._waiting, (again, document))
        return moment, crash_ping(client, crash, "crash", moment - 0.1, moment, self._id())

    def _legacy_crash(self, client: Client, measure: str, crash: Crash) -> bytes:
        """The legacy crash ping of a crash."""
        moment, random = crash.moment + 1, self._rng.bytes(ping_templates.RANDOM_BYTES)
        user = {name: getattr(client, name) for name in ping_templates.PEOPLE}
        fields = ping_templates.common_fields(client.build, user, client.enrolment, moment, random)
        fields |= ping_templates.crash_fields(measure, crash.is_at_startup, crash.moment)
        fields[b"length"] = b"%d" % (crash.uptime_ms // 1000)
        return ping_templates.crash_ping(client.build.os_name, fields)

    def _dump(self) -> str | None:
        drawn = self._rng.random()
        if drawn < WITHOUT_DUMP:
            return None
        return NO_DUMP if drawn < WITHOUT_DUMP + EMPTY_DUMP else self._rng.bytes(32).hex()

    def _closed_seconds(self) -> float:
        """How long the browser stays closed after a crash of the main process."""
        if self._rng.random() < RESTARTED_AT_ONCE:
            return float(self._rng.exponential(RESTART_SECONDS))
        hours = CLOSED_HOURS * np.exp(self._rng.normal(0, CLOSED_SPREAD))
        return float(min(hours, LONGEST_CLOSED_HOURS) * 3600)

    def _can_send(self, build: Build, document_type: str) -> bool:
        """Whether clients of a build send pings of a type; crashes of the others are counted from legacy pings."""
        return document_type != CRASH or not sends_legacy_crash_pings(build)

    def _draw_one(
        self, document_type: str, place: int, window: int, since: float, seconds: float
    ) -> tuple[float, bytes]:
        if document_type == BASELINE:
            return self._baseline(place, since + self._rng.random() * seconds)
        if document_type == CRASH:  # Of a process whose crashes are reported once
            return self._crash(place, "gpu_crashes", window, since, seconds)
        return super()._draw_one(document_type, place, window, since, seconds)

    def _draw_others(self, window: int, since: float, seconds: float) -> Found:
        """Baseline pings, and crash pings that are sent again."""
        found: Found = []
        while self._waiting and self._waiting[0][0] < since + seconds:
            found.append(heappop(self._waiting))
        means = self._baselines[:, window] * (seconds / WINDOW_SECONDS)
        for place, number in enumerate(self._rng.poisson(means).tolist()):
            found += [self._baseline(place, since + self._rng.random() * seconds) for _ in range(number)]
        return found

    def _baseline(self, place: int, moment: float) -> tuple[float, bytes]:
        """A baseline ping with its moment. Pings are sent at once."""
        rng = self._rng
        kind = int(np.searchsorted(BASELINES_UP_TO, rng.random() * BASELINES_UP_TO[-1], side="right"))
        has_ticks = kind != END_OF_PAUSE and not (kind == START and rng.random() < KILLED_SHARE)
        ticks = int(rng.poisson(rng.gamma(TICKS_SHAPE, MEAN_TICKS / TICKS_SHAPE))) if has_ticks else 0
        client = self._client(place, moment)
        return moment, baseline_ping(client, BASELINES[kind][0], ticks, moment - 0.1, moment, self._id())

    def _client(self, place: int, moment: float) -> Client:
        """A random client of a build."""
        build = self.builds[place]
        return Client(
            build, **self._user(build), enrolment=self._enrolment(build, moment), identity=self._rng.bytes(32)
        )

    def _id(self) -> str:
        return ping_templates.as_uuid(self._rng.bytes(16).hex()).decode()
