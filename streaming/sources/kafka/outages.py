"""Brokers that do not answer: the error for them, and retries of requests until a timeout."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from streaming.errors import MissionControlError

BROKER_TIMEOUT_SECONDS = 30.0  # timeout for brokers that do not answer
_Result = TypeVar("_Result")


class BrokersUnavailable(Exception):  # noqa: N818 (a state that passes)
    """No broker answers, or none accepts the connection. is_refusal: the latter."""

    def __init__(self, reason: str, *, is_refusal: bool = False) -> None:
        super().__init__(reason)
        self.is_refusal = is_refusal


def call_brokers_with_retry(
    request: Callable[[], _Result],
    brokers: str,
    stop: threading.Event | None = None,
    notify: Callable[[str], None] = lambda notice: None,
    *,
    seconds: float | None = None,
    tolerates_refusal: bool = True,
) -> _Result:
    """The answer of brokers; waits for them, half a minute or as many seconds as given, and reports that once.

    Raises MissionControlError where none answers in time or before stop is set, or where they refuse the connection,
    unless tolerates_refusal.
    """
    stop, is_reported = stop or threading.Event(), False
    deadline = time.monotonic() + (BROKER_TIMEOUT_SECONDS if seconds is None else seconds)
    while True:
        try:
            return request()
        except BrokersUnavailable as unavailable:
            if unavailable.is_refusal and not tolerates_refusal:
                raise MissionControlError(
                    f"the brokers at {brokers} refuse the connection: {unavailable}. A file named with --kafka-config "
                    "says how to connect"
                ) from unavailable
            if not is_reported:
                notify(f"no broker answers at {brokers} yet: waiting")
                is_reported = True
            if time.monotonic() > deadline or stop.wait(0.5):
                raise MissionControlError(f"no broker answers at {brokers}: {unavailable}") from unavailable
