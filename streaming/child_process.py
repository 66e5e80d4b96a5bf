"""Runs a program in a child process, reads its output line by line, and ends it in an orderly way."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from signal import Signals
from typing import IO

NICENESS = 10  # a tenth of a busy core: a larger share delays a job visibly, niceness 19 starves what runs beside it


class ChildProcess:
    """A running program in a session of its own: Ctrl-C reaches only the process that started it.

    on_line: called from another thread with each line of standard output, without its line end; on_error_line: the same
    for standard error; error_log: a file that standard error is written to instead; with neither, standard error is
    part of standard output; has_input: whether standard input is a pipe from this process, so that the program notices
    when this process ends; otherwise its input is empty. Raises OSError where the program cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        on_line: Callable[[str], None],
        *,
        on_error_line: Callable[[str], None] | None = None,
        error_log: Path | None = None,
        has_input: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        error_file = error_log.open("w") if error_log else None
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=error_file or (subprocess.PIPE if on_error_line else subprocess.STDOUT),
                text=True,
                errors="replace",
                env=environment,
                start_new_session=True,
            )
        finally:
            if error_file:
                error_file.close()
        streams = [(self._process.stdout, on_line), (self._process.stderr, on_error_line)]
        self._readers = [
            threading.Thread(target=_read, args=(stream, callback), daemon=True)
            for stream, callback in streams
            if stream and callback
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def wait(self) -> int:
        """Wait until the process has ended and all its lines are read; its exit code."""
        for reader in self._readers:
            reader.join()
        code = self._process.wait()
        self.close_input()
        return code

    def write_line(self, line: str) -> None:
        """Write a line to the program's standard input. Raises OSError when it has ended."""
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def close_input(self) -> None:
        """Close the program's standard input."""
        if self._process.stdin:
            with suppress(OSError):  # it has ended without reading the last line
                self._process.stdin.close()

    def end(self, by: Signals, seconds: float) -> int:
        """Send the program a signal, and kill it if it has not ended within so many seconds; its exit code."""
        if self.is_running:
            self._process.send_signal(by)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def kill(self) -> None:
        """Kill the program at once; does nothing if it has ended."""
        self._process.kill()


def _read(stream: IO[str], on_line: Callable[[str], None]) -> None:
    with stream:
        for line in stream:
            on_line(line.rstrip("\n"))


class SupervisedProcess:
    """A module of Python that runs beside a job, and is started again whenever it has died.

    name: in notices; module, arguments: what is run; on_notice: called, from another thread, with each line that it
    prints, and where it fails; retry_seconds: between its end and its next start.
    """

    def __init__(
        self, name: str, module: str, arguments: Sequence[str], on_notice: Callable[[str], None], retry_seconds: float
    ) -> None:
        self._name, self._module, self._arguments = name, module, arguments
        self._on_notice, self._retry_seconds = on_notice, retry_seconds
        self._is_over, self._start_lock = threading.Event(), threading.Lock()
        self._process: ChildProcess | None = None
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)

    def start(self) -> None:
        """Starts the process, from a thread that keeps it running."""
        self._supervisor.start()

    def _supervise(self) -> None:
        while not self._is_over.is_set():
            try:
                process = self._start()
            except OSError as error:
                failure = f"{self._name} did not start ({error})"
            else:
                failure = f"{self._name} ended with exit code {process.wait()}" if process else ""
            if not self._is_over.is_set():
                self._notify(f"{failure} and will be tried again")
                self._is_over.wait(self._retry_seconds)

    def _start(self) -> ChildProcess | None:
        paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        with self._start_lock:
            if self._is_over.is_set():
                return None
            self._process = ChildProcess(
                [sys.executable, "-P", "-m", self._module, *self._arguments],
                on_line=self._notify,
                has_input=True,
                environment=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            )
        return self._process

    def _notify(self, notice: str) -> None:
        with suppress(OSError, ValueError):  # nobody reads the job's output any more
            self._on_notice(notice)

    def stop(self, seconds: float) -> None:
        """Ends the process by the end of its input; kills it after so many seconds."""
        with self._start_lock:
            self._is_over.set()
        if self._process is not None:
            self._process.close_input()
            self._supervisor.join(seconds)
            self._process.kill()
        self._supervisor.join()


def run_beside(stop: threading.Event, seconds: float) -> None:
    """Makes this process one that runs beside a job: of low priority, without the signals that the job handles.

    Sets stop when its input ends, as it does at the job's end, and exits after so many seconds more.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _lower_priority()
    threading.Thread(target=_exit_with_parent, args=(stop, seconds), daemon=True).start()


def _lower_priority() -> None:
    os.nice(NICENESS)
    for _ in range(20):  # Linux lets only one process of a machine write it in a tenth of a second
        try:
            Path("/proc/self/autogroup").write_text(str(NICENESS))
        except BlockingIOError:
            time.sleep(random.uniform(0.05, 0.3))
        except OSError:  # Linux does not group processes by session, or it is not Linux
            return
        else:
            return


def _exit_with_parent(stop: threading.Event, seconds: float) -> None:
    os.read(0, 1)
    stop.set()
    time.sleep(seconds)
    os._exit(1)
