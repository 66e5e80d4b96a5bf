"""A process that does one task after another, and ends with the process that gives them.

Its argument is the number of the open socket over which tasks come and results go.
"""

import os
import pickle
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, NamedTuple

from streaming.errors import MissionControlError


class Done(NamedTuple):
    """What a task has returned."""

    result: Any


class Failed(NamedTuple):
    """The error that a task has raised."""

    error: Exception


def main() -> None:
    """Does tasks until there is nobody left who gives them."""
    for number in (signal.SIGINT, signal.SIGTERM):  # who asks gets them too, and decides
        signal.signal(number, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    tasks: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, tasks), daemon=True).start()
    while True:
        connection.send_bytes(_outcome(tasks.get()))


def _receive(connection: Connection, tasks: "SimpleQueue[bytes]") -> None:
    """Passes tasks on; ends this process at once when the other one has ended, whatever this one is doing."""
    try:
        while True:
            tasks.put(connection.recv_bytes())
    except (EOFError, OSError):
        os._exit(0)


def _outcome(task: bytes) -> bytes:
    """What a pickled function returns for its arguments, or the error that it or the pickling raises, pickled."""
    try:
        function, arguments = pickle.loads(task)
        return pickle.dumps(Done(function(*arguments)), protocol=5)
    except Exception as error:
        trace = traceback.format_exc()
        try:
            if not isinstance(error, MissionControlError):
                error.add_note(trace)
            return pickle.dumps(Failed(error))
        except Exception:  # an error that cannot be pickled
            return pickle.dumps(Failed(RuntimeError(trace)))
