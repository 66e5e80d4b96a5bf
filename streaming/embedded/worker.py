"""A process that does one task after another, and ends with the process that gives them.

Its argument is the number of the open socket over which tasks come and results go.
"""

import os
import pickle
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
    """Why a task has failed. is_expected: a message for users; otherwise a traceback."""

    message: str
    is_expected: bool


def main() -> None:
    """Does tasks until there is nobody left who gives them."""
    connection = Connection(int(sys.argv[1]))
    tasks: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, tasks), daemon=True).start()
    while True:
        connection.send_bytes(pickle.dumps(_outcome(*tasks.get()), protocol=5))


def _receive(connection: Connection, tasks: "SimpleQueue[Any]") -> None:
    """Passes tasks on; ends this process at once when the other one has ended, whatever this one is doing."""
    try:
        while True:
            tasks.put(pickle.loads(connection.recv_bytes()))
    except (EOFError, OSError):
        os._exit(0)


def _outcome(function: Any, arguments: tuple[Any, ...]) -> Done | Failed:
    try:
        return Done(function(*arguments))
    except MissionControlError as error:
        return Failed(str(error), is_expected=True)
    except Exception:
        return Failed(traceback.format_exc(), is_expected=False)
