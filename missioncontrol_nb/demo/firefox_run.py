"""The run of a demo with a real Firefox: its pings, the job and the dashboard, while a person makes it crash."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from missioncontrol_nb.aggregator_process import AggregatorProcess
from missioncontrol_nb.demo.arrivals import Arrivals
from missioncontrol_nb.demo.firefox import PROGRAMS, OfflineFirefox, find_firefox, offline_firefox
from missioncontrol_nb.demo.processes import (
    DashboardProcess,
    check_running,
    descendants,
    end_aggregator,
    ended_early,
    kill,
)
from missioncontrol_nb.demo.run import counts_in
from missioncontrol_nb.demo.workspace import check_port, own_folder
from missioncontrol_nb.terminal import plural, stopped_by_signals
from streaming.errors import MissionControlError

MIN_OPEN_SECONDS = 3.0  # a Firefox that ends sooner did not start
_WELCOME_FILE = "welcome.html"
_WELCOME = """<!doctype html><meta charset="utf-8"><title>Mission Control</title>
<body style="font: 18px/1.6 sans-serif; max-width: 40em; margin: 4em auto">
<h1>This Firefox reports to Mission Control on this machine</h1>
<p>It has a profile of its own and no way to any other machine.
<p>Type <b>about:crashparent</b> into the address bar and press Enter: Firefox crashes, and opens again.
<p>The terminal says which pings arrive, and the dashboard counts the crash: <b>@URL@</b> (in your own browser)
"""


@dataclass(frozen=True)
class FirefoxSettings:
    """The settings of a demo with a real Firefox.

    program: its name or path; is_headless: it has no window, and crashes by itself; port: of the dashboard, 0 is any
    free one; minutes: counted from the first ping, None runs until the demo is stopped; folder: None is a temporary
    folder.
    """

    program: str = PROGRAMS[0]
    is_headless: bool = False
    port: int = 8866
    minutes: float | None = None
    folder: Path | None = None


def run(settings: FirefoxSettings, report: Callable[[str], None] = print) -> None:
    """Run the demo until SIGINT, SIGTERM, SIGHUP or the end of its minutes; then end every process it started.

    report: called with each line of the report, one of which is the URL. This function must run in the main thread.
    Raises MissionControlError before it starts anything where Firefox, what it needs or a display is missing, the port
    is in use or the folder is not a demo's; and later if a part of the demo fails.
    """
    program = find_firefox(settings.program)
    if not settings.is_headless and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        raise MissionControlError(
            "no display is here for Firefox's window (neither DISPLAY nor WAYLAND_DISPLAY is set); with --headless it "
            "has no window and crashes by itself"
        )
    check_port(settings.port)
    with ExitStack() as stack:
        stop = stack.enter_context(stopped_by_signals(signal.SIGHUP))
        folder = stack.enter_context(own_folder(settings.folder))
        pings = folder / "pings"
        pings.mkdir()
        report("Starting the receiver, the job and the dashboard ...")
        try:
            firefox = stack.enter_context(offline_firefox(program, pings, is_headless=settings.is_headless, stop=stop))
        except MissionControlError:
            if stop.is_set():
                return
            raise
        demo = FirefoxDemo(settings, firefox, folder, stop, report)
        stack.callback(demo.end)
        demo.start()
        demo.watch()


class FirefoxDemo:
    """The parts of a running demo: a Firefox with its receiver, the job and the dashboard, all processes."""

    def __init__(
        self,
        settings: FirefoxSettings,
        firefox: OfflineFirefox,
        folder: Path,
        stop: threading.Event,
        report: Callable[[str], None],
    ) -> None:
        self._settings, self._firefox, self._stop, self._report = settings, firefox, stop, report
        self._folder = folder
        self._dataset = folder / "dataset"
        self._arrivals = Arrivals(folder / "pings")
        self._aggregator = AggregatorProcess(str(folder / "pings"), str(self._dataset), ["--trigger=1"])
        self._server: DashboardProcess | None = None
        self._counted, self._told = 0, set[str]()
        self._is_open = self._has_crashed = False
        self._wants_open = threading.Event()

    def start(self) -> None:
        """Start everything, and report the URL when the first page is ready."""
        self._aggregator.start()
        self._server = DashboardProcess(self._dataset, self._folder, self._settings.port)
        while self._server.url is None:
            check_running(self._aggregator, self._server)
            if self._stop.wait(0.05):
                return
        self._report(self._server.url)
        (self._firefox.home / _WELCOME_FILE).write_text(_WELCOME.replace("@URL@", self._server.url))
        if self._settings.is_headless:
            self._report("A Firefox without a window opens, and crashes after its first main ping. Ctrl-C ends it all")
        else:
            self._report("A Firefox opens. Type about:crashparent into its address bar: it crashes, and opens again.")
            self._report("Ctrl-C ends it all")
        self._open()
        if sys.stdin.isatty():
            threading.Thread(target=self._read_keys, name="keys", daemon=True).start()

    def _open(self) -> None:
        self._firefox.open((self._firefox.home / _WELCOME_FILE).as_uri())
        self._is_open = True

    def _read_keys(self) -> None:
        for _ in sys.stdin:
            self._wants_open.set()

    def watch(self) -> None:
        """Report what arrives and what is counted until the end. Raises MissionControlError when a part fails."""
        minutes, ends = self._settings.minutes, None
        while not self._stop.wait(0.5) and (ends is None or monotonic() < ends):
            if minutes is not None and ends is None and self._arrivals.number:
                ends = monotonic() + 60 * minutes
            check_running(self._aggregator, self._server)
            for line in self._arrivals.new():
                self._report(f"{datetime.now(UTC):%H:%M:%S} UTC  {line}")
                if self._settings.is_headless and line.startswith("main ping") and not self._has_crashed:
                    self._has_crashed = True
                    self._firefox.crash()
            self._tell_counts()
            self._open_again()

    def _open_again(self) -> None:
        """Opens Firefox after a crash, or when a person who has closed it asks for it."""
        code = self._firefox.exit_code
        if self._is_open and code is not None:
            if self._firefox.open_seconds < MIN_OPEN_SECONDS:
                how = "crashed" if self._firefox.has_crashed else f"ended with exit code {code}"
                how += f" within {MIN_OPEN_SECONDS:g} s of its start"
                raise MissionControlError(ended_early("Firefox", self._firefox.last_lines(), how))
            self._is_open = False
            if code:
                self._report("Firefox has crashed, and opens again; a minute later it reports the same crash again")
                self._wants_open.set()
            else:
                self._report("Firefox was closed. Enter opens it again; it then sends what it had still to send")
                self._wants_open.clear()
        if not self._is_open and self._wants_open.is_set():
            self._wants_open.clear()
            self._open()

    def _tell_counts(self) -> None:
        """Reports what the dataset holds, where that changed, once the job has counted all pings that arrived."""
        if self._counted == self._arrivals.number:
            return
        counted, uncounted = counts_in(self._dataset)
        if counted + sum(uncounted.values()) < self._arrivals.number:
            return
        self._counted = self._arrivals.number
        lines = list(self._totals())
        if uncounted:
            lines.append(f"Not counted: {', '.join(f'{reason} {count}' for reason, count in uncounted.items())}")
        for line in lines:
            if line not in self._told:
                self._told.add(line)
                self._report(line)

    def _totals(self) -> Iterator[str]:
        """A line for each version in the dataset: its main crashes, its usage, and the page that shows them."""
        from missioncontrol_nb.dashboard.query import Query
        from missioncontrol_nb.loading.dataset import Dataset

        assert self._server is not None
        sums = Dataset(self._dataset).load(
            every=None, by=["application", "channel", "os_name", "display_version"], measures=["main_crashes"]
        )
        for row in sums.fillna(0).itertuples():
            page = Query(view="table", channel=row.channel, os_name=row.os_name, show="count").search
            yield (
                f"Counted of {row.application} {row.display_version}: main crashes {row.main_crashes:.0f}, "
                f"{60 * row.usage_hours:.1f} minutes of use: {self._server.url}{page}"
            )

    def end(self) -> None:
        """Report what arrived, and end every process that was started, even after an error."""
        started = descendants()
        with ExitStack() as stack:
            stack.callback(kill, started)
            stack.callback(end_aggregator, self._aggregator)
            if self._server is not None:
                stack.callback(self._server.end)
                visits = plural(self._server.page_visits(), "page visit")
                self._report(f"{plural(self._arrivals.number, 'ping')} in, {visits}")
