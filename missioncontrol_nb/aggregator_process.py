"""A child process that runs `missioncontrol aggregate --follow`: start, monitor and stop it."""

import signal
import sys
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from streaming.child_process import ChildProcess
from streaming.errors import MissionControlError

MISSIONCONTROL = (sys.executable, "-c", "from missioncontrol_nb.cli import main; main()")
AGGREGATOR_STOP_TIMEOUT_SECONDS = 30
_LINES_KEPT = 200


class AggregatorProcess:
    """Runs `missioncontrol aggregate --follow` for a source and a dataset in a child process.

    options: command-line arguments; progress: the newest line of standard output; log: the newest lines of standard
    output and standard error.
    """

    def __init__(self, source: str, dataset: str, options: Sequence[str] = ()) -> None:
        self._command = [*MISSIONCONTROL, "aggregate", f"--dataset={dataset}", "--follow", *options, "--", source]
        self._process: ChildProcess | None = None
        self.progress = "not started"
        self.log: deque[str] = deque(maxlen=_LINES_KEPT)

    def start(self) -> None:
        """Start the process, which counts after some seconds. Raises MissionControlError when it is already running."""
        if self.running:
            raise MissionControlError("the aggregator runs already: stop it first")
        self.progress = "starting"
        self._process = ChildProcess(self._command, self._note_progress, on_error_line=self.log.append)

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.is_running

    @property
    def pid(self) -> int | None:
        """The process id, None before the start."""
        return self._process.pid if self._process else None

    def stop(self) -> int:
        """Stop the process after its current micro-batch and return its exit code; stopping twice is harmless.

        Raises MissionControlError with the last line of the log when the process had failed.
        """
        if self._process is None:
            return 0
        self._process.end(signal.SIGTERM, AGGREGATOR_STOP_TIMEOUT_SECONDS)
        code = self._process.wait()
        if code > 0:
            raise MissionControlError(f"the aggregator failed: {self.log[-1] if self.log else f'exit code {code}'}")
        return code

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _note_progress(self, line: str) -> None:
        self.log.append(line)
        self.progress = line
