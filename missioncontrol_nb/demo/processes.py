"""The background parts of a demo (live pings and the dashboard) and the shutdown of all its processes."""

import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from missioncontrol_nb.aggregator_process import MISSIONCONTROL, AggregatorProcess
from missioncontrol_nb.demo.workspace import HOST
from streaming.child_process import ChildProcess
from streaming.errors import MissionControlError

if TYPE_CHECKING:
    import psutil  # type: ignore[import-untyped]

    from missioncontrol_nb.simulator import Fleet

DASHBOARD_STOP_TIMEOUT_SECONDS = 15.0


class LivePings:
    """A thread that writes the fleet's pings into files or a topic. error: the exception that ended it early."""

    def __init__(self, fleet: "Fleet", to: str, start: datetime) -> None:
        from missioncontrol_nb.simulator.live import Sent

        self._fleet, self._to, self._from = fleet, to, start
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, name="live pings", daemon=True)
        self.sent = Sent()
        self.error: Exception | None = None

    def start(self) -> None:
        """Start the thread, which begins with the pings since the given start."""
        self._thread.start()

    def _write(self) -> None:
        from missioncontrol_nb.simulator.live import sink_of, write_live

        try:
            write_live(self._fleet, sink_of(self._to), self._from, stop=self._stop, sent=self.sent)
        except Exception as error:  # of any kind: the main thread reports it
            self.error = error

    def end(self) -> None:
        """Finish the current file and stop."""
        self._stop.set()
        self._thread.join()


class DashboardProcess:
    """The dashboard in a child process. calendar: None is the snapshot; url: set when the first page is ready."""

    def __init__(self, dataset: Path, folder: Path, port: int, calendar: Path | None = None) -> None:
        self._log = folder / "dashboard.log"
        self.url: str | None = None
        what = ["--dataset", str(dataset), *(["--releases", str(calendar)] if calendar else [])]
        self._process = ChildProcess(
            [*MISSIONCONTROL, "dashboard", "--verbose", *what, "--host", HOST, "--port", str(port)],
            on_line=self._note_url,
            error_log=self._log,
        )

    def _note_url(self, line: str) -> None:
        if line.startswith("http"):
            self.url = line.strip()

    @property
    def is_running(self) -> bool:
        """Whether the process is running."""
        return self._process.is_running

    def last_lines(self, number: int = 15) -> list[str]:
        """The last lines of the dashboard's log."""
        return self._log.read_text(errors="replace").splitlines()[-number:]

    def page_visits(self) -> int:
        """The number of pages that the dashboard served."""
        lines = self._log.read_text(errors="replace").splitlines()
        return sum("Page handed out" in line for line in lines)

    def end(self) -> None:
        """Stop the dashboard and its kernels."""
        self._process.end(signal.SIGINT, DASHBOARD_STOP_TIMEOUT_SECONDS)


def check_running(aggregator: AggregatorProcess | None, server: DashboardProcess | None) -> None:
    """Raises MissionControlError when one of these processes has ended."""
    if aggregator is not None and not aggregator.running:
        raise MissionControlError(ended_early("the job", list(aggregator.log)))
    if server is not None and not server.is_running:
        raise MissionControlError(ended_early("the dashboard", server.last_lines()))


def ended_early(what: str, lines: Sequence[str], how: str = "ended by itself") -> str:
    """The message for a part of a demo that ended too early. lines: of its log."""
    return "\n  ".join([f"{what} {how}; its last words:", *lines[-15:]])


def end_aggregator(aggregator: AggregatorProcess) -> None:
    """Stop the job after its current micro-batch."""
    with suppress(MissionControlError):  # the job had failed, which is reported already
        aggregator.stop()


def descendants() -> "list[psutil.Process]":
    """All direct and indirect child processes of this process."""
    import psutil

    return psutil.Process().children(recursive=True)


def kill(processes: "Sequence[psutil.Process]") -> None:
    """Kill these processes, and all current descendants of this process, if they still run."""
    import psutil

    for process in {*processes, *descendants()}:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(list(processes), timeout=DASHBOARD_STOP_TIMEOUT_SECONDS)
