"""Runs a program in a child process, reads its output line by line, and ends it in an orderly way."""

import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import Signals
from typing import IO


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

    def close_input(self) -> None:
        """Close the program's standard input."""
        if self._process.stdin:
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
