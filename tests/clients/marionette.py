"""Remote control of a Firefox by its Marionette protocol: JSON arrays, each after its length, over a socket."""

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.patience import PATIENCE_SECONDS, wait_until

ARGUMENTS = ("--marionette", "--remote-allow-system-access")
PREFERENCES = {"remote.prefs.recommended": False}  # those that Marionette recommends turn Glean's pings off
PORT = 2828  # Firefox's default


class Marionette:
    """A session with the Firefox behind a Unix socket; scripts run with the rights of the browser itself."""

    def __init__(self, path: Path) -> None:
        self._number, self._received = 0, b""
        self._socket = wait_until(lambda: _connect(path), "Marionette")
        self._socket.settimeout(PATIENCE_SECONDS)
        self._greeting = self._receive()
        self._ask("WebDriver:NewSession")

    def navigate(self, url: str) -> None:
        """Loads a page in the tab, to its end."""
        self._ask("WebDriver:Navigate", url=url)

    def run(self, script: str) -> Any:
        """The value that a function's body in JavaScript returns; of a promise, what it becomes."""
        self._ask("Marionette:SetContext", value="chrome")
        value = self._ask("WebDriver:ExecuteScript", script=script, args=[])["value"]
        self._ask("Marionette:SetContext", value="content")
        return value

    def send(self, script: str) -> None:
        """Runs a script that Firefox does not survive."""
        self._ask("Marionette:SetContext", value="chrome")
        self._send("WebDriver:ExecuteScript", script=script, args=[])

    def quit(self) -> None:
        """Closes Firefox as its menu does."""
        self._ask("Marionette:Quit", flags=["eAttemptQuit"])

    def _ask(self, command: str, **parameters: Any) -> Any:
        self._send(command, **parameters)
        _, number, error, result = self._receive()
        assert number == self._number
        assert error is None, error
        return result

    def _send(self, command: str, **parameters: Any) -> None:
        self._number += 1
        message = json.dumps([0, self._number, command, parameters]).encode()
        self._socket.sendall(b"%d:%b" % (len(message), message))

    def _receive(self) -> Any:
        length = int(self._read_until(lambda got: got.find(b":")))
        self._received = self._received[1:]
        return json.loads(self._read_until(lambda got: length if len(got) >= length else -1))

    def _read_until(self, find_end: Any) -> bytes:
        while (end := find_end(self._received)) < 0:
            more = self._socket.recv(1 << 16)
            assert more, "Firefox has ended"
            self._received += more
        taken, self._received = self._received[:end], self._received[end:]
        return taken

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()


def _connect(path: Path) -> socket.socket | None:
    """A connection on which something has been said; None while nobody listens at the other end."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE_SECONDS)
    try:
        connection.connect(str(path))
        if connection.recv(1, socket.MSG_PEEK):
            return connection
    except OSError:
        pass
    connection.close()
    return None
