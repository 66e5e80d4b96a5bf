"""The verdicts of one page: judged in a thread, one at a time, which keeps neither the page nor its process waiting."""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from missioncontrol_nb.dashboard.judged import Judged
from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.dashboard.reader import Reader
from streaming.errors import MissionControlError

PAUSE_SECONDS, AGAIN_SECONDS = 5.0, 60.0  # after judging, and after it failed
log = logging.getLogger(__name__)


class PageVerdicts:
    """The verdicts that a page shows. judged: those read last; has_news: whether there may be newer ones."""

    def __init__(self, reader: Reader, on_news: Callable[[], None]) -> None:
        """on_news: called in the event loop when judging has ended."""
        self._reader, self._on_news = reader, on_news
        self.judged, self.has_news = Judged(), False
        self._is_running = False
        self._not_before = -math.inf
        self._failed: set[tuple[str, bool]] = set()

    def read(self, query: Query) -> None:
        """Takes the newest verdicts that are there, at once; may be called from a thread."""
        self.has_news = False
        try:
            found = self._reader.judged(query)
        except Exception:
            log.exception("verdicts could not be read")
            self.judged = Judged(has_failed=True)
        else:
            self.judged = replace(found, has_failed=_key(query) in self._failed)

    def judge_if_needed(self, query: Query) -> None:
        """Begins to judge where there are no current verdicts, unless it is being done, or was a moment ago."""
        if self.judged.is_current or self._is_running or time.monotonic() < self._not_before:
            return
        self._is_running = True
        loop = asyncio.get_running_loop()
        # A daemon, unlike an executor's threads: a process that ends does not wait for it.
        threading.Thread(target=self._judge, args=(query, loop), daemon=True).start()

    def _judge(self, query: Query, loop: asyncio.AbstractEventLoop) -> None:
        error: Exception | None = None
        try:
            self._reader.judge(query)
        except Exception as failure:
            error = failure
        try:
            loop.call_soon_threadsafe(self._end, query, error)
        except RuntimeError:
            log.debug("a page ended while it was judged")

    def _end(self, query: Query, error: Exception | None) -> None:
        self._is_running = False
        self._not_before = time.monotonic() + (PAUSE_SECONDS if error is None else AGAIN_SECONDS)
        (self._failed.discard if error is None else self._failed.add)(_key(query))
        if isinstance(error, MissionControlError):
            log.error("%s", error)
        elif error is not None:
            log.error("the releases could not be judged", exc_info=error)
        self.has_news = True
        self._on_news()


def _key(query: Query) -> tuple[str, bool]:
    return query.product.name, query.official
