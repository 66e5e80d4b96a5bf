"""The run of a demo: a simulated fleet, the job and the dashboard on one machine, and an orderly shutdown."""

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from missioncontrol_nb.aggregator_process import AggregatorProcess
from missioncontrol_nb.alarm_words import excess
from missioncontrol_nb.demo.processes import (
    DashboardProcess,
    LivePings,
    check_running,
    descendants,
    end_aggregator,
    kill,
)
from missioncontrol_nb.demo.workspace import check_port, check_topic, own_folder
from missioncontrol_nb.formatting import moment
from missioncontrol_nb.terminal import HISTORY_DAYS, plural, stopped_by_signals
from streaming import contract
from streaming.errors import MissionControlError

if TYPE_CHECKING:
    from missioncontrol_nb.simulator import Bad, Fleet
    from missioncontrol_nb.simulator.history import Written
    from missioncontrol_nb.simulator.live import Sent

BAD_OS, BAD_MEASURE = "Windows_NT", "content_crashes"
BAD_FOR = timedelta(hours=12)
# Relative increase of the rate since the release. Pages show a smaller increase: 55.0.3, which was not throttled, had
# more early adopters at that age.
BAD_EFFECT = 0.5
WORST_FACTOR = 9.0  # upper limit; an old release may need this much for BAD_EFFECT
KEPT_PINGS = timedelta(minutes=10)
CATCH_UP_SECONDS = 20.0  # timeout at the end, since the last progress of the job
REPORT_EVERY_SECONDS = 10.0


@dataclass(frozen=True)
class DemoSettings:
    """The settings of a demo.

    port: 0 is any free port; minutes: counted from the first live ping, None runs until the demo is stopped; folder:
    None is a temporary folder; topic: `kafka://HOST:PORT/TOPIC` for the live pings, None uses files; days: of history;
    fleet: `2017` or `today`.
    """

    port: int = 8866
    minutes: float | None = None
    folder: Path | None = None
    seed: int = 0
    topic: str | None = None
    days: int = HISTORY_DAYS
    fleet: str = "2017"


class DemoStopped(Exception):  # noqa: N818 (no error)
    """The demo was stopped before the first page was ready."""


def run(settings: DemoSettings, report: Callable[[str], None] = print) -> None:
    """Run the demo until SIGINT, SIGTERM, SIGHUP or the end of its minutes; then end every process it started.

    report: called with each line of the report, one of which is the URL. This function must run in the main thread.
    Raises MissionControlError before it starts anything if the port is in use, the topic does not exist or the folder
    is not a demo's; and later if a part of the demo fails.
    """
    check_port(settings.port)
    if settings.topic is not None:
        check_topic(settings.topic, report)
    with ExitStack() as stack:
        stop = stack.enter_context(stopped_by_signals(signal.SIGHUP))
        folder = stack.enter_context(own_folder(settings.folder))
        demo = Demo(settings, folder, stop, report)
        stack.callback(demo.end)
        try:
            demo.start()
            demo.watch()
        except DemoStopped:
            report("Stopped before the first page was ready")


def bad_release(fleet: "Fleet", now: datetime) -> "Bad":
    """The played release on Windows: it crashes more since some hours, so its rate since its release is higher.

    It is higher by BAD_EFFECT.

    The older the release, the less weight the last hours have in that rate, and the larger the factor must be.
    """
    from missioncontrol_nb.simulator import Bad
    from missioncontrol_nb.simulator.fleet import window_of
    from missioncontrol_nb.simulator.sessions import WINDOW_SECONDS

    last = window_of(now)
    [build] = [
        build
        for build in fleet.builds
        if (build.channel, build.os_name, build.display_version) == ("release", BAD_OS, fleet.era.version)
        and build.is_official
    ]
    first = int(build.out // WINDOW_SECONDS)
    expected = fleet.expect(first, last - first)
    used_hours = expected.used_hours[expected.builds.index(build)]
    windows = BAD_FOR // contract.WINDOW
    share = used_hours[-windows:].sum() / used_hours.sum()
    return Bad(
        fleet.era.version, now - BAD_FOR, BAD_MEASURE, float(min(1 + BAD_EFFECT / share, WORST_FACTOR)), os_name=BAD_OS
    )


class Demo:
    """The parts of a running demo: history, live pings (a thread), the job and the dashboard (processes)."""

    def __init__(
        self, settings: DemoSettings, folder: Path, stop: threading.Event, report: Callable[[str], None]
    ) -> None:
        self._settings, self._folder, self._stop, self._report = settings, folder, stop, report
        self._pings, self._dataset = folder / "pings", folder / "dataset"
        self._aggregator: AggregatorProcess | None = None
        self._server: DashboardProcess | None = None
        self._live: LivePings | None = None
        self._written: Written | None = None
        self._began = monotonic()

    def start(self) -> None:
        """Start everything, and report the URL when the first page is ready. Raises DemoStopped if stopped earlier."""
        self._pings.mkdir()
        now = datetime.now(UTC)
        source = self._settings.topic or str(self._pings)
        options = [f"--starting-offsets={now.isoformat()}"] if self._settings.topic else []
        self._report(f"Writing {plural(self._settings.days, 'day')} of history ...")
        self._aggregator = AggregatorProcess(source, str(self._dataset), ["--trigger=2", *options])
        self._aggregator.start()
        fleet = self._fleet(now)
        self._write_history(fleet, now)
        self._live = LivePings(fleet, source, now)
        self._live.start()
        self._server = DashboardProcess(
            self._dataset, self._folder, self._settings.port, self._folder / "releases.json"
        )
        self._report("Making the first page ready ...")
        url = self._await_url(self._server)
        self._report(f"Ready after {monotonic() - self._began:.0f} s; Ctrl-C ends it. Look at")
        self._report(url)

    def _fleet(self, now: datetime) -> "Fleet":
        from missioncontrol_nb.dashboard.messages import measure_words
        from missioncontrol_nb.simulator.fleets import fleet_at

        name, seed = self._settings.fleet, self._settings.seed
        bad = bad_release(fleet_at(now, name, seed), now)
        fleet = fleet_at(now, name, seed, [bad])
        fleet.calendar.save(self._folder / "releases.json")
        self._report(
            f"{fleet.era.label} is played {fleet.weeks} weeks later. {bad.version} goes wrong on Windows: it has "
            f"{excess(measure_words(BAD_MEASURE), *3 * (bad.factor,))}, since {moment(bad.since)}"
        )
        return fleet

    def _write_history(self, fleet: "Fleet", now: datetime) -> None:
        from missioncontrol_nb.simulator.history import write_history

        def on_progress(done: int, days: int) -> None:
            if self._stop.is_set():
                raise DemoStopped
            if done % 20 == 0 and done < days:
                self._report(f"History: {done} of {days} days")

        self._written = write_history(fleet, str(self._dataset), now, self._settings.days, on_progress)
        self._report(f"History: {self._written.pings:,} pings in {self._written.rows:,} rows")

    def _await_url(self, server: "DashboardProcess") -> str:
        while server.url is None:
            self._check_parts()
            if self._stop.wait(0.05):
                raise DemoStopped
        return server.url

    def watch(self) -> None:
        """Report progress until the end. Raises MissionControlError when a part fails."""
        assert self._live is not None
        minutes, ends = self._settings.minutes, None
        reported_at = monotonic()
        while not self._stop.wait(0.5):
            self._check_parts()
            if minutes is not None and ends is None and self._live.sent.pings:
                ends = monotonic() + 60 * minutes
            if ends is not None and monotonic() >= ends:
                return
            if monotonic() - reported_at >= REPORT_EVERY_SECONDS:
                reported_at = monotonic()
                self._report(self._progress())
                self._prune()

    def _check_parts(self) -> None:
        check_running(self._aggregator, self._server)
        if self._live is not None and self._live.error is not None:
            raise MissionControlError(f"the simulated fleet failed: {self._live.error!r}") from self._live.error

    def _progress(self) -> str:
        assert self._live is not None
        assert self._aggregator is not None
        sent = self._live.sent
        return f"{sent.pings:,} pings in, {sent.bytes / 1e6:,.0f} MB; {self._aggregator.progress}"

    def _prune(self) -> None:
        """Remove ping files that were counted some time ago, unless the folder is kept at the end."""
        if self._settings.folder is not None:
            return
        up_to = _data_up_to(self._dataset)
        for path in self._pings.glob("*.jsonl.gz"):
            written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            if up_to is not None and written < min(up_to, datetime.now(UTC)) - KEPT_PINGS:
                path.unlink()

    def end(self) -> None:
        """Report the pings sent and the pages shown, and end every process that was started, even after an error."""
        started = descendants()
        with ExitStack() as stack:
            stack.callback(kill, started)
            if self._aggregator is not None:
                stack.callback(end_aggregator, self._aggregator)
            if self._server is not None:
                stack.callback(self._server.end)
            if self._live is not None:
                self._live.end()
            if self._live is not None and self._written is not None and self._server is not None:
                self._report(self._summary(self._live.sent, self._written, self._server))

    def _summary(self, sent: "Sent", written: "Written", server: "DashboardProcess") -> str:
        assert self._aggregator is not None
        self._await_counted(sent, written)
        end_aggregator(self._aggregator)  # the job still counts its current micro-batch
        counted, rejected = self._counted(written)
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(rejected.items(), key=lambda r: -r[1]))
        all_rejected = sum(rejected.values())
        missing = sent.pings - counted - all_rejected
        what = f"{counted:,} counted, {all_rejected:,} not counted{f': {reasons}' if reasons else ''}"
        left = f"; {missing:,} not read any more" if missing else ""
        return f"{sent.pings:,} pings in ({what}{left}), {plural(server.page_visits(), 'page visit')}"

    def _await_counted(self, sent: "Sent", written: "Written") -> None:
        """Waits until the job has counted all live pings, or has made no progress for CATCH_UP_SECONDS."""
        assert self._aggregator is not None
        before, since = -1, monotonic()
        while self._aggregator.running:
            counted, rejected = self._counted(written)
            known = counted + sum(rejected.values())
            if known != before:
                before, since = known, monotonic()
            if known >= sent.pings or monotonic() - since > CATCH_UP_SECONDS:
                return
            threading.Event().wait(0.2)

    def _counted(self, written: "Written") -> tuple[int, dict[str, int]]:
        """The number of live pings in the dataset, and of live pings that do not count by reason."""
        counted, all_rejected = counts_in(self._dataset)
        rejected = {reason: count - written.rejected.get(reason, 0) for reason, count in all_rejected.items()}
        return counted - written.pings, {reason: count for reason, count in rejected.items() if count}


def counts_in(dataset: Path) -> tuple[int, dict[str, int]]:
    """The number of pings in a dataset, and of those that do not count by reason."""
    import pandas as pd

    from missioncontrol_nb.loading.dataset import Dataset

    opened = Dataset(dataset)
    rejected = pd.concat([opened.load_rejected(), opened.load_passed_over()]).groupby("reason")["count"].sum()
    return int(opened.load(every=None, measures=[], by="application")["count"].sum()), {
        str(r): int(n) for r, n in rejected.items()
    }


def _data_up_to(dataset: Path) -> datetime | None:
    from missioncontrol_nb.loading.dataset import Dataset

    return Dataset(dataset).data_up_to()
