"""Programs on a network that has only a loopback: they reach each other, and nothing outside reaches them."""

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic

from streaming.child_process import ChildProcess
from streaming.errors import MissionControlError

_UNSHARE = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
_AS_A_USER = ("--map-current-user", "--keep-caps")
_START_TIMEOUT_SECONDS = 60.0
_END_TIMEOUT_SECONDS = 10.0


class OfflineNetwork:
    """A network and a process namespace of Linux, for root and, where the system allows it, for others.

    However this process ends, the namespaces and all programs in them end too. Raises MissionControlError where there
    are no namespaces.
    """

    def __init__(self, stop: threading.Event | None = None) -> None:
        """stop: ends the wait for the namespaces when it is set, with a MissionControlError."""
        if shutil.which(_UNSHARE[0]) is None:
            raise MissionControlError("programs without a way out need Linux, and its program unshare (util-linux)")
        self._changed = threading.Condition()
        self._is_ready = False
        self._exit_codes: dict[str, int | None] = {}
        self._errors: list[str] = []
        as_a_user = _AS_A_USER if os.geteuid() else ()
        self._process = ChildProcess(
            [*_UNSHARE, *as_a_user, sys.executable, "-P", "-m", "missioncontrol_nb.demo.offline_init"],
            on_line=self._note,
            on_error_line=self._errors.append,
            has_input=True,
        )
        try:
            self._wait_until_ready(stop or threading.Event())
        except BaseException:
            self.end()
            raise

    def _wait_until_ready(self, stop: threading.Event) -> None:
        deadline = monotonic() + _START_TIMEOUT_SECONDS
        while not self._is_ready and self._process.is_running:
            if stop.is_set() or monotonic() > deadline:
                why = "a stop was requested" if stop.is_set() else f"it took {_START_TIMEOUT_SECONDS:g} s"
                raise MissionControlError(f"the network of Firefox did not start: {why}")
            with self._changed:
                self._changed.wait(0.1)
        if not self._is_ready:
            self._process.wait()
            raise MissionControlError(
                f"this system does not give Firefox a network of its own ({' '.join(self._errors)}); root "
                "may make one, and so may others where user namespaces are allowed"
            )

    def _note(self, line: str) -> None:
        event = json.loads(line)
        with self._changed:
            if "ended" in event:
                self._exit_codes[event["ended"]] = event["code"]
            self._is_ready = True
            self._changed.notify_all()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Start a program; its output is appended to a file. The name is for the other methods."""
        self._exit_codes[name] = None
        self._order(start=name, command=list(command), environment=dict(environment), log=str(log))

    def send_signal(self, name: str, number: signal.Signals) -> None:
        """Send a program a signal; does nothing if it has ended."""
        self._order(signal=name, number=number)

    def relay(self, at: Path | int, to: int, certificate: Path | None = None) -> None:
        """Pass connections on to a port in there.

        at: a port in there, or the path of a Unix socket, which this process can connect to; certificate: a file with
        a key, of the TLS that connections come in.
        """
        self._order(relay=at if isinstance(at, int) else str(at), to=to, certificate=certificate and str(certificate))

    def _order(self, **order: object) -> None:
        try:
            self._process.write_line(json.dumps(order))
        except OSError:
            raise self._has_ended() from None

    def _has_ended(self) -> MissionControlError:
        return MissionControlError(f"the network of Firefox has ended: {' '.join(self._errors[-1:])}")

    def exit_code(self, name: str) -> int | None:
        """The exit code of a program, negative for a signal; None while it runs.

        Raises MissionControlError when it could not be started, or the namespaces have ended for another reason.
        """
        code = self._exit_codes[name]
        if code is None and not self._process.is_running:
            self._process.wait()  # until all lines are read
            raise self._has_ended()
        return code

    def end(self) -> None:
        """Kill all programs, and end the namespaces."""
        self._process.close_input()
        self._process.end(signal.SIGKILL, _END_TIMEOUT_SECONDS)
        self._process.wait()
