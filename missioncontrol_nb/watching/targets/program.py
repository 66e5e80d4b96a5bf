"""A command that is run for each message, with the message as JSON on standard input."""

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from missioncontrol_nb.watching.state import Message
from missioncontrol_nb.watching.targets.target import About, DeliveryError, Target, payload

LONGEST_SECONDS = 60.0


class Program(Target):
    """A command. It took a message when it ends with exit code 0; what it prints is not kept."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        super().__init__(name)
        self._command = list(command)

    def check(self) -> None:
        """Nothing is checked: it shows when it runs."""

    def send(self, message: Message, about: About) -> None:
        """Runs the command. Raises DeliveryError."""
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise DeliveryError(f"it did not start: {error.strerror}") from None
        try:
            process.communicate(json.dumps(payload(message, about)).encode() + b"\n", timeout=LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            raise DeliveryError(f"it was ended after {LONGEST_SECONDS:.0f} s") from None
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # with all that it started
                process.wait()
        if process.returncode:
            raise DeliveryError(f"exit code {process.returncode}")
