"""Judging beside a page: in a thread, one at a time, without keeping the page or its process from anything."""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable

from missioncontrol_nb.dashboard.query import Query
from streaming.errors import MissionControlError

AGAIN_SECONDS = 60.0  # after judging failed
log = logging.getLogger(__name__)


class JudgingTask:
    """Computes verdicts when a page lacks them. has_failed: the last attempt did; a page says so until one succeeds."""

    def __init__(self, judge: Callable[[Query], None], on_end: Callable[[], None]) -> None:
        """judge: blocks until there are verdicts for a query. on_end: called in the event loop after each attempt."""
        self._judge, self._on_end = judge, on_end
        self._is_running = False
        self._not_before = -math.inf
        self.has_failed = False

    def ask(self, query: Query) -> None:
        """Begins to judge, unless it is being done, or failed a moment ago."""
        if self._is_running or time.monotonic() < self._not_before:
            return
        self._is_running = True
        loop = asyncio.get_running_loop()
        # A daemon, unlike an executor's threads: a process that ends does not wait for it.
        threading.Thread(target=self._run, args=(query, loop), daemon=True).start()

    def _run(self, query: Query, loop: asyncio.AbstractEventLoop) -> None:
        error: Exception | None = None
        try:
            self._judge(query)
        except Exception as failure:
            error = failure
        try:
            loop.call_soon_threadsafe(self._end, error)
        except RuntimeError:  # the page has ended
            log.debug("a page ended while it was judged")

    def _end(self, error: Exception | None) -> None:
        self._is_running, self.has_failed = False, error is not None
        if isinstance(error, MissionControlError):
            log.error("%s", error)
        elif error is not None:
            log.error("the releases could not be judged", exc_info=error)
        if error is not None:
            self._not_before = time.monotonic() + AGAIN_SECONDS
        self._on_end()
