"""The Spark job of `missioncontrol aggregate --follow`, started, watched and stopped from Python."""

import signal
import subprocess
import sys
import threading
from collections import deque
from types import TracebackType
from typing import IO, Self

from streaming.errors import MissionControlError

STOP_SECONDS = 30
_LINES_KEPT = 200


class Aggregator:
    """Follows a source into a dataset in a process of its own.

    options: those of the command, spelled as Python does: `trigger=0.5`, `recount=True`, `checkpoint="state"`.

    >>> with Aggregator("pings/", "data/") as aggregator:  # doctest: +SKIP
    ...     print(aggregator.progress)
    """

    def __init__(self, source: str, dataset: str, **options: object) -> None:
        self._command = [
            sys.executable,
            "-c",
            "from missioncontrol_nb.cli import main; main()",
            "aggregate",
            str(source),
            "--dataset",
            str(dataset),
        ]
        self._command += ["--follow", *_as_arguments(options)]
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        self.progress = "not started"
        self.log: deque[str] = deque(maxlen=_LINES_KEPT)

    def start(self) -> None:
        """Start the process; it takes some seconds until it counts. Raises MissionControlError when it runs already."""
        if self.running:
            raise MissionControlError("the aggregator runs already: stop it first")
        self.progress = "starting"
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C in the notebook or the terminal is for its owner to pass on
        )
        streams = [(self._process.stdout, True), (self._process.stderr, False)]
        self._readers = [threading.Thread(target=self._read, args=stream, daemon=True) for stream in streams]
        for reader in self._readers:
            reader.start()

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process's id, None before the start."""
        return self._process.pid if self._process else None

    def stop(self) -> int:
        """End the process after the micro-batch that it is at; its exit code. To stop twice does no harm.

        Raises MissionControlError with the process's last words when it had failed.
        """
        if self._process is None:
            return 0
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        for reader in self._readers:
            reader.join()
        if code > 0:
            raise MissionControlError(f"the aggregator failed: {self.log[-1] if self.log else f'exit code {code}'}")
        return code

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _read(self, stream: IO[str], is_progress: bool) -> None:
        with stream:
            for line in stream:
                self.log.append(line.rstrip("\n"))
                if is_progress:
                    self.progress = line.rstrip("\n")


def _as_arguments(options: dict[str, object]) -> list[str]:
    """`{"trigger": 0.5, "recount": True}` as `--trigger 0.5 --recount`."""
    arguments: list[str] = []
    for name, value in options.items():
        if value is not None and value is not False:
            arguments += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return arguments
