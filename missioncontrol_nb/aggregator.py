"""The Spark job of `missioncontrol aggregate --follow`, started, watched and stopped from Python."""

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from missioncontrol_nb import arguments
from streaming.errors import MissionControlError

if TYPE_CHECKING:
    import click

STOP_SECONDS = 30
_LINES_KEPT = 200


class Aggregator:
    """Follows a source into a dataset in a process of its own.

    source, dataset: paths or URLs. options: those of the command, spelled as Python does: `trigger=0.5`,
    `recount=True`, `checkpoint="state"`, several values of one as a list; None and, of a flag, False leave one out.
    Raises MissionControlError for an option that the command does not have, and for a value that is none.

    >>> with Aggregator("pings/", "data/") as aggregator:  # doctest: +SKIP
    ...     print(aggregator.progress)
    """

    def __init__(self, source: str | Path, dataset: str | Path, **options: object) -> None:
        self._command = [
            sys.executable,
            "-c",
            "from missioncontrol_nb.cli import main; main()",
            "aggregate",
            f"--dataset={arguments.place('dataset', dataset)}",
            "--follow",
            *_as_arguments(options),
            "--",
            arguments.place("source", source),
        ]
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
    """`{"trigger": 0.5, "recount": True}` as `--trigger=0.5 --recount`."""
    known = _options()
    given: list[str] = []
    for name, value in options.items():
        option = known[arguments.choice("option", name, known)]
        if value is None:
            continue
        if option.is_flag:
            given += [option.opts[0]] if arguments.flag(name, value) else option.secondary_opts[:1]
            continue
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(each, bool) or not isinstance(each, (str, int, float, os.PathLike, datetime)) or each == "":
                raise MissionControlError(f"{name} takes text, a number or a path, not {arguments.brief(each)}")
            given.append(f"{option.opts[0]}={each.isoformat() if isinstance(each, datetime) else each}")
    return given


def _options() -> dict[str, "click.Option"]:
    """The options of the command by their names in Python; those that are given otherwise left out."""
    import click

    from missioncontrol_nb.commands.aggregate import command

    options = [each for each in command.params if isinstance(each, click.Option)]
    named = {each.opts[0].removeprefix("--").replace("-", "_"): each for each in options}
    return {name: each for name, each in named.items() if name not in ("dataset", "follow", "help")}
