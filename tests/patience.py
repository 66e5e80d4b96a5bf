"""How long tests wait for what must come: on a machine that others want too, it costs nothing where all is well."""

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_SECONDS = 300.0
T = TypeVar("T")


def wait_until(
    condition: Callable[[], T],
    what: str = "",
    process: "subprocess.Popen[bytes] | subprocess.Popen[str] | None" = None,
    *,
    seconds: float = PATIENCE_SECONDS,
    every: float = 0.1,
) -> T:
    """The first true value of the condition; fails when none comes in time, or the process that brings it has ended.

    what: the awaited event, for the failure's message.
    """
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline or (process and process.poll() is not None):
            raise AssertionError(f"waited in vain for {what or condition}, {seconds} s at most")
        time.sleep(every)
