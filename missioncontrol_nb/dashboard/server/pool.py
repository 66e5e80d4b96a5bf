"""The pool of preheated pages: a page that failed, or whose kernel has died, is never handed out."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from jupyter_core.utils import ensure_async

FAILED = 'class="mc-failed"'
"""The template writes this in place of a page that could not be made."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 60.0  # backoff after a failure, doubled with each further one
Item = asyncio.Future  # in the pool of Voilà's kernel manager: returns the kernel, the renderer and the rendering task


def has_failed(item: Item) -> bool:
    """Whether a page has failed, also while it is still being rendered."""
    if not item.done():
        return False
    if item.cancelled() or item.exception():
        return True
    rendering, cache = item.result()["task"], item.result()["renderer"].rendered_cache
    if not rendering.done():
        return _says_so(cache)
    return rendering.cancelled() or rendering.exception() is not None or _says_so(rendering.result()[0])


def is_ready(item: Item) -> bool:
    """Whether a page is completely rendered and has not failed."""
    return item.done() and not has_failed(item) and item.result()["task"].done()


def _says_so(html: list[str]) -> bool:
    return any(FAILED in part for part in html)


class Pool:
    """The preheated pages of Voilà's kernel manager; without preheated kernels there are none.

    After a page has failed, no other page is made for a backoff time, which grows with each further failure.
    """

    def __init__(self, manager: Any, log: logging.Logger, now: Callable[[], float] = time.monotonic) -> None:
        self._manager, self._log, self._now = manager, log, now
        self._failures, self._paused_until = 0, 0.0
        self._is_short = False  # failed pages were removed and are not replaced yet
        self._ending: set[asyncio.Task] = set()

    @property
    def is_paused(self) -> bool:
        """Whether the backoff is still running, so that no page should be preheated now."""
        return self._now() < self._paused_until

    def __iter__(self) -> Iterator[Item]:
        for pool in self._pools():
            yield from pool

    def ready(self) -> int:
        """How many preheated pages are completely rendered."""
        return sum(map(is_ready, self))

    async def tend(self) -> None:
        """Removes failed pages, and makes new ones once the backoff is over; call this about every second."""
        await self._drop_dead()
        self._drop_failed()
        if self.ready():
            self._failures = 0
        if self._is_short and not self.is_paused:
            self._is_short = False
            self._manager.fill_if_needed(delay=0, notebook_name=self._manager.notebook_path)

    async def choose(self) -> None:
        """Called before a page is handed out: removes failed pages, and moves the ready ones to the front."""
        await self._drop_dead()
        self._drop_failed()
        for pool in self._pools():
            pool.sort(key=lambda item: not is_ready(item))

    def _pools(self) -> list[list[Item]]:
        return list(getattr(self._manager, "_pools", {}).values())

    def _drop_failed(self) -> None:
        self._drop([item for item in self if has_failed(item)])

    async def _drop_dead(self) -> None:
        made = [item for item in self if item.done() and not has_failed(item)]
        self._drop([item for item in made if not await self._is_alive(item.result()["kernel_id"])])

    async def _is_alive(self, kernel_id: str) -> bool:
        return kernel_id in self._manager and await ensure_async(self._manager.get_kernel(kernel_id).is_alive())

    def _drop(self, items: list[Item]) -> None:
        for pool in self._pools():
            for item in [each for each in pool if each in items]:
                pool.remove(item)
                self._is_short = True
                self._pause()
                if not item.cancelled() and not item.exception():
                    ending = asyncio.get_running_loop().create_task(self._end(item.result()["kernel_id"]))
                    self._ending.add(ending)  # the event loop keeps only weak references to tasks
                    ending.add_done_callback(self._ending.discard)

    def _pause(self) -> None:
        if not self.is_paused:
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**self._failures)
            self._failures, self._paused_until = min(self._failures + 1, 10), self._now() + pause
            self._log.error("A page that waited for a visitor failed; another is made in %.0f s", pause)

    async def _end(self, kernel_id: str) -> None:
        with suppress(Exception):  # it may have ended by itself
            await ensure_async(self._manager.shutdown_kernel(kernel_id, now=True))
