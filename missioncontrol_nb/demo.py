"""The whole of Mission Control on one machine: a simulated fleet, the Spark job, the dashboard, and an orderly end."""

import fcntl
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import IO, TYPE_CHECKING

from streaming import contract
from streaming.errors import MissionControlError

if TYPE_CHECKING:
    import psutil  # type: ignore[import-untyped]

    from missioncontrol_nb.aggregator import Aggregator
    from missioncontrol_nb.simulate import Bad, Fleet
    from missioncontrol_nb.simulate.history import Written
    from missioncontrol_nb.simulate.live import Sent

HOST = "127.0.0.1"
HISTORY_DAYS = 60
BAD_VERSION, BAD_OS, BAD_MEASURE = "56.0", "Windows_NT", "content_crashes"
BAD_FOR = timedelta(hours=12)
BAD_EFFECT = 0.4  # on the rate since the release
WORST_FACTOR = 6.0
KEPT_PINGS = timedelta(minutes=10)
MARKER = ".missioncontrol-demo"
OWN_NAMES = (MARKER, "pings", "dataset", "releases.json", "dashboard.log")
CATCH_UP_SECONDS = 8.0
STOP_SECONDS = 15.0
TOLD_EVERY_SECONDS = 10.0


@dataclass(frozen=True)
class Settings:
    """port: 0 is any free one; minutes: None is until it is stopped; folder: None is one that goes away at the end."""

    port: int = 8866
    minutes: float | None = None
    folder: Path | None = None
    seed: int = 0


class Stopped(Exception):  # noqa: N818 (no error)
    """Somebody stopped the demo before it was under way."""


def run(settings: Settings, tell: Callable[[str], None] = print) -> None:
    """Run the demo until SIGINT, SIGTERM, SIGHUP or the end of its minutes; then end every process it started.

    tell: told what happens, line by line, one of them the URL. To be called in the main thread. Raises
    MissionControlError where the port is taken or the folder is somebody else's, before anything is started, and when
    a part of the demo fails.
    """
    check_port(settings.port)
    with ExitStack() as stack:
        stop = stack.enter_context(_stopped_by_signals())
        folder = stack.enter_context(_folder(settings.folder))
        demo = Demo(settings, folder, stop, tell)
        stack.callback(demo.end)
        try:
            demo.start()
            demo.watch()
        except Stopped:
            tell("Stopped before the first page was ready")


def check_port(port: int) -> None:
    """Raises MissionControlError when nobody can listen on a port of this machine; 0 is any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise MissionControlError(
                f"port {port} cannot be had ({error.strerror}); name another with --port, or 0 for any free one"
            ) from None


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    stop = threading.Event()

    def set_stop(*_: object) -> None:
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, set_stop) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    """The demo's folder, empty and locked: the one that is named, which stays, or one that goes away."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="missioncontrol-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    is_there = folder.is_dir()
    names = {path.name for path in folder.iterdir()} if is_there else set()
    if (folder.exists() and not is_there) or (names and MARKER not in names):
        raise MissionControlError(f"{folder} is not a demo's folder and not empty: name another one with --folder")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / MARKER).open("a") as marker:
        _lock(marker, folder)
        for name in names.intersection(OWN_NAMES) - {MARKER}:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield folder


def _lock(marker: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise MissionControlError(f"another demo runs in {folder}: name another folder, or none") from None


def bad_release(fleet: "Fleet", now: datetime) -> "Bad":
    """56.0 on Windows, going wrong since some hours so that its rate since the release is BAD_EFFECT higher.

    The older it is the less do the last hours count in that, and the worse it must get to show.
    """
    from missioncontrol_nb.simulate import Bad
    from missioncontrol_nb.simulate.fleet import WINDOW_SECONDS, window_of

    last = window_of(now)
    [build] = [
        build
        for build in fleet.builds
        if (build.channel, build.os_name, build.display_version) == ("release", BAD_OS, BAD_VERSION)
        and build.is_official
    ]
    first = int(build.out // WINDOW_SECONDS)
    expected = fleet.expect(first, last - first)
    used_hours = expected.used_hours[expected.builds.index(build)]
    windows = BAD_FOR // contract.WINDOW
    share = used_hours[-windows:].sum() / used_hours.sum()
    return Bad(BAD_VERSION, now - BAD_FOR, BAD_MEASURE, min(1 + BAD_EFFECT / share, WORST_FACTOR), os_name=BAD_OS)


class Demo:
    """The parts of a running demo: history, live pings (a thread), the Spark job and the dashboard (processes)."""

    def __init__(self, settings: Settings, folder: Path, stop: threading.Event, tell: Callable[[str], None]) -> None:
        self._settings, self._folder, self._stop, self._tell = settings, folder, stop, tell
        self._pings, self._dataset = folder / "pings", folder / "dataset"
        self._aggregator: Aggregator | None = None
        self._server: Server | None = None
        self._live: Live | None = None
        self._written: Written | None = None
        self._began = monotonic()

    def start(self) -> None:
        """Start everything, and tell the URL when the first page is ready. Raises Stopped when told to stop before."""
        from missioncontrol_nb.aggregator import Aggregator

        self._pings.mkdir()
        self._tell("Starting Spark, and writing two months of history meanwhile ...")
        self._aggregator = Aggregator(str(self._pings), str(self._dataset), trigger=2)
        self._aggregator.start()
        now = datetime.now(UTC)
        fleet = self._fleet(now)
        self._write_history(fleet, now)
        self._live = Live(fleet, self._pings, now)
        self._live.start()
        self._server = Server(self._dataset, self._folder, self._settings.port)
        self._tell("Making the first page ready ...")
        url = self._await_url(self._server)
        self._tell(f"Ready after {monotonic() - self._began:.0f} s; Ctrl-C ends it. Look at")
        self._tell(url)

    def _fleet(self, now: datetime) -> "Fleet":
        from missioncontrol_nb.releases import load_calendar
        from missioncontrol_nb.simulate import Fleet, weeks_until

        calendar, weeks = load_calendar(), weeks_until(now)
        bad = bad_release(Fleet(calendar, weeks, self._settings.seed), now)
        fleet = Fleet(calendar, weeks, self._settings.seed, [bad])
        fleet.calendar.save(self._folder / "releases.json")
        self._tell(
            f"October 2017 is played {weeks} weeks later. {BAD_VERSION} goes wrong on Windows: "
            f"{bad.factor:.1f} times the content crashes since {bad.since:%a %d %b %H:%M} UTC"
        )
        return fleet

    def _write_history(self, fleet: "Fleet", now: datetime) -> None:
        from missioncontrol_nb.simulate.history import write_history

        def on_progress(done: int, days: int) -> None:
            if self._stop.is_set():
                raise Stopped
            if done % 20 == 0 or done == days:
                self._tell(f"History: {done} of {days} days")

        self._written = write_history(fleet, str(self._dataset), now, HISTORY_DAYS, on_progress)
        self._tell(f"History: {self._written.pings:,} pings in {self._written.rows:,} rows")

    def _await_url(self, server: "Server") -> str:
        while server.url is None:
            self._check_parts()
            if self._stop.wait(0.05):
                raise Stopped
        return server.url

    def watch(self) -> None:
        """Tell how it goes until the end. Raises MissionControlError when a part fails."""
        minutes = self._settings.minutes
        ends = None if minutes is None else monotonic() + 60 * minutes
        told = monotonic()
        while not self._stop.wait(0.5):
            self._check_parts()
            if ends is not None and monotonic() >= ends:
                return
            if monotonic() - told >= TOLD_EVERY_SECONDS:
                told = monotonic()
                self._tell(self._progress())
                self._prune()

    def _check_parts(self) -> None:
        aggregator, server, live = self._aggregator, self._server, self._live
        if aggregator is not None and not aggregator.running:
            raise MissionControlError(_failure("the Spark job", list(aggregator.log)))
        if server is not None and server.process.poll() is not None:
            raise MissionControlError(_failure("the dashboard", server.last_lines()))
        if live is not None and live.error is not None:
            raise MissionControlError(f"the simulated fleet failed: {live.error!r}") from live.error

    def _progress(self) -> str:
        assert self._live is not None
        assert self._aggregator is not None
        sent = self._live.sent
        return f"{sent.pings:,} pings in, {sent.bytes / 1e6:,.0f} MB; {self._aggregator.progress}"

    def _prune(self) -> None:
        """Remove pings that were counted some time ago, unless the folder is to stay."""
        if self._settings.folder is not None:
            return
        up_to = _data_up_to(self._dataset)
        for path in self._pings.glob("*.jsonl.gz"):
            written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            if up_to is not None and written < min(up_to, datetime.now(UTC)) - KEPT_PINGS:
                path.unlink()

    def end(self) -> None:
        """End every process that was started, and tell what went in and what was shown."""
        started = _descendants()
        if self._live is not None:
            self._live.end()
        if self._live is not None and self._written is not None and self._server is not None:
            self._tell(self._summary(self._live.sent, self._written, self._server))
        if self._server is not None:
            self._server.end()
        if self._aggregator is not None:
            _end_aggregator(self._aggregator)
        _kill(started)

    def _summary(self, sent: "Sent", written: "Written", server: "Server") -> str:
        counted, rejected = self._await_counted(sent, written)
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(rejected.items(), key=lambda r: -r[1]))
        all_rejected = sum(rejected.values())
        missing = sent.pings - counted - all_rejected
        what = f"{counted:,} counted, {all_rejected:,} rejected{f': {reasons}' if reasons else ''}"
        left = f"; {missing:,} not read any more" if missing else ""
        return f"{sent.pings:,} pings in ({what}{left}), {_plural(server.page_visits(), 'page visit')}"

    def _await_counted(self, sent: "Sent", written: "Written") -> tuple[int, dict[str, int]]:
        """How many live pings the dataset holds, and how many rejected ones by reason; waits a while for the last."""
        assert self._aggregator is not None
        gives_up = monotonic() + CATCH_UP_SECONDS
        while True:
            counted, rejected = _counts(self._dataset)
            counted -= written.pings
            rejected = {reason: count - written.rejected.get(reason, 0) for reason, count in rejected.items()}
            rejected = {reason: count for reason, count in rejected.items() if count}
            is_done = counted + sum(rejected.values()) >= sent.pings
            if is_done or monotonic() > gives_up or not self._aggregator.running:
                return counted, rejected
            threading.Event().wait(0.2)


class Live:
    """The fleet's pings, written into files by a thread. error: what ended it before its time."""

    def __init__(self, fleet: "Fleet", folder: Path, start: datetime) -> None:
        from missioncontrol_nb.simulate.live import Sent

        self._fleet, self._folder, self._from = fleet, folder, start
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, name="live pings", daemon=True)
        self.sent = Sent()
        self.error: Exception | None = None

    def start(self) -> None:
        """Begin, with what came in since the start that was named."""
        self._thread.start()

    def _write(self) -> None:
        from missioncontrol_nb.simulate.live import write_live

        try:
            write_live(self._fleet, self._folder, self._from, stop=self._stop, sent=self.sent)
        except Exception as error:  # whatever it is: the main thread tells it
            self.error = error

    def end(self) -> None:
        """Write the file at hand, and no more."""
        self._stop.set()
        self._thread.join()


class Server:
    """The dashboard, in a process of its own. url: once the first page is ready."""

    def __init__(self, dataset: Path, folder: Path, port: int) -> None:
        self._log = folder / "dashboard.log"
        program = [sys.executable, "-c", "from missioncontrol_nb.cli import main; main()", "dashboard", "--verbose"]
        what = ["--dataset", str(dataset), "--releases", str(folder / "releases.json")]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*program, *what, "--host", HOST, "--port", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is the demo's
            )
        self.url: str | None = None
        threading.Thread(target=self._read_url, daemon=True).start()

    def _read_url(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                if line.startswith("http"):
                    self.url = line.strip()

    def last_lines(self, number: int = 15) -> list[str]:
        """The end of its log."""
        return self._log.read_text(errors="replace").splitlines()[-number:]

    def page_visits(self) -> int:
        """How many pages it handed out."""
        lines = self._log.read_text(errors="replace").splitlines()
        return sum(" 200 GET / " in line or " 200 GET /?" in line for line in lines)

    def end(self) -> None:
        """End it and its kernels."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def _end_aggregator(aggregator: "Aggregator") -> None:
    with suppress(MissionControlError):  # it had failed, which is told already
        aggregator.stop()


def _descendants() -> "list[psutil.Process]":
    import psutil

    return psutil.Process().children(recursive=True)


def _kill(processes: "Sequence[psutil.Process]") -> None:
    """Kill those that are still there, of these and what they started meanwhile."""
    import psutil

    for process in {*processes, *_descendants()}:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(list(processes), timeout=STOP_SECONDS)


def _counts(dataset: Path) -> tuple[int, dict[str, int]]:
    """How many pings a dataset holds, and how many rejected ones by reason."""
    from missioncontrol_nb.loader import Dataset

    opened = Dataset(dataset)
    rejected = opened.load_rejected().groupby("reason")["count"].sum()
    return int(opened.load(every=None, measures=[])["count"].sum()), {str(r): int(n) for r, n in rejected.items()}


def _data_up_to(dataset: Path) -> datetime | None:
    from missioncontrol_nb.loader import Dataset

    return Dataset(dataset).data_up_to()


def _failure(what: str, lines: Sequence[str]) -> str:
    return "\n  ".join([f"{what} ended by itself; its last words:", *lines[-15:]])


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
