"""Worker processes of a job: each does one task at a time."""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from streaming.embedded.worker import Done, Failed
from streaming.errors import MissionControlError
from streaming.spark.python_start import STARTED_BY_US

_POLL_SECONDS = 0.1
_END_SECONDS = 5.0
_STOP_SECONDS = 1.0  # a service manager ends the workers and the job together, and either may get its signal first
_PROGRAM = "from streaming.embedded.worker import main; main()"  # -m would give its classes other names


class WorkerEndedError(MissionControlError):
    """A process has ended before its task was done."""


class Workers:
    """Up to `most` processes, started when there are tasks for them; they end with the context, and with this process.

    log: a file for what they print; inherited_file: an open file, such as a lock, that they keep open.
    """

    def __init__(self, most: int, log: Path, inherited_file: BinaryIO) -> None:
        self.most, self._log, self._inherited_file = most, log, inherited_file
        self._processes: dict[Connection, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._processes:
            connection.close()
        for process in self._processes.values():
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:  # it was stopped, or its disk does not answer
                process.kill()
                process.wait()
        self._processes.clear()

    def map(
        self,
        function: Callable[..., Any],
        tasks: Sequence[tuple[Any, ...]],
        stop: threading.Event,
        look: Callable[[], None],
    ) -> Iterator[Any]:
        """The result of the function for each task's arguments, as they come; ends early when stop is set.

        function: of a module; look: called several times a second meanwhile. After an early end or an error no
        further tasks can be given. Raises what a task raises, and MissionControlError where a process has ended.
        """
        try:
            waiting, busy = list(reversed(tasks)), set[Connection]()
            while len(self._processes) < min(self.most, len(tasks)):
                self._start()
            free = list(self._processes)
            while (waiting or busy) and not stop.is_set():
                while waiting and free:
                    connection = free.pop()
                    busy.add(connection)
                    self._give(connection, (function, waiting.pop()))
                finished = wait(list(busy), _POLL_SECONDS)
                look()
                for each in finished:
                    assert isinstance(each, Connection)
                    yield self._result(each)
                    busy.remove(each)
                    free.append(each)
        except WorkerEndedError:
            if not stop.wait(_STOP_SECONDS):
                raise

    def _start(self) -> None:
        ours, theirs = Pipe()
        paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        with theirs, self._log.open("ab") as log:
            self._processes[ours] = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), STARTED_BY_US: "1"},
                pass_fds=[theirs.fileno(), self._inherited_file.fileno()],
                start_new_session=True,  # this process handles Ctrl-C
            )

    def _give(self, connection: Connection, task: tuple[Callable[..., Any], tuple[Any, ...]]) -> None:
        try:
            connection.send_bytes(pickle.dumps(task, protocol=5))
        except OSError:
            self._raise_ended(connection)

    def _result(self, connection: Connection) -> Any:
        try:
            outcome: Done | Failed = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            self._raise_ended(connection)
        if isinstance(outcome, Done):
            return outcome.result
        raise outcome.error

    def _raise_ended(self, connection: Connection) -> NoReturn:
        code = self._processes[connection].wait()
        raise WorkerEndedError(
            f"a worker process has ended with exit code {code}: was it killed, or was there too little memory? Start "
            "the job again: nothing is lost, and nothing counts twice"
        )
