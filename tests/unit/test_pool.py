"""The pages that wait for visitors, without a server: which are handed out, which are made anew and when."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from missioncontrol_nb.dashboard.server.admission import Places
from missioncontrol_nb.dashboard.server.configuration import Hosting
from missioncontrol_nb.dashboard.server.handlers import LimitedPageHandler
from missioncontrol_nb.dashboard.server.kernels import PatientKernelManager, end_kernel
from missioncontrol_nb.dashboard.server.pool import FAILED, Pool, has_failed, is_ready
from missioncontrol_nb.dashboard.server.server import Server

GOOD = ["<html>", "<p>a page</p>"]
BAD = ["<html>", f"<p {FAILED}>no page</p>"]


class Manager:
    """A kernel manager whose kernels live, but for those named."""

    def __init__(self) -> None:
        self.notebook_path = "page.ipynb"
        self._pools: dict[str, list[asyncio.Future]] = {self.notebook_path: []}
        self.dead: set[str] = set()
        self.ended: list[str] = []
        self.filled = 0

    def __contains__(self, kernel_id: str) -> bool:
        return True

    def get_kernel(self, kernel_id: str) -> Any:
        return SimpleNamespace(is_alive=lambda: kernel_id not in self.dead)

    async def shutdown_kernel(self, kernel_id: str, now: bool) -> None:
        self.ended.append(kernel_id)

    def fill_if_needed(self, delay: float, notebook_name: str) -> None:
        self.filled += 1

    def add(self, kernel_id: str, html: list[str] | Exception | None) -> asyncio.Future:
        """A page that waits: made of this, failed, or None while it is being made."""
        loop = asyncio.get_running_loop()
        rendering, item = loop.create_future(), loop.create_future()
        if isinstance(html, Exception):
            rendering.set_exception(html)
        elif html is not None:
            rendering.set_result((html, None))
        cache = html if isinstance(html, list) else []
        renderer = SimpleNamespace(rendered_cache=cache)
        item.set_result({"kernel_id": kernel_id, "task": rendering, "renderer": renderer})
        self._pools[self.notebook_path].append(item)
        return item

    def waiting(self) -> list[str]:
        return [item.result()["kernel_id"] for item in self._pools[self.notebook_path]]


def run(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """A test that is a coroutine."""

    def in_loop() -> None:
        asyncio.run(test())

    in_loop.__name__ = test.__name__
    return in_loop


def pool_of(manager: Manager, now: Callable[[], float] = lambda: 0.0) -> Pool:
    return Pool(manager, logging.getLogger("pool"), now)


@run
async def test_a_page_is_ready_when_it_is_made_and_is_no_failure() -> None:
    manager = Manager()
    items = [manager.add(name, html) for name, html in (("a", GOOD), ("b", BAD), ("c", None), ("d", OSError()))]
    assert [is_ready(item) for item in items] == [True, False, False, False]
    assert [has_failed(item) for item in items] == [False, True, False, True]
    assert pool_of(manager).ready() == 1


@run
async def test_failed_and_dead_pages_are_never_chosen_and_one_that_is_ready_comes_first() -> None:
    manager = Manager()
    for name, html in (("failed", BAD), ("making", None), ("dead", GOOD), ("raised", OSError()), ("ready", GOOD)):
        manager.add(name, html)
    manager.dead = {"dead"}
    await pool_of(manager).choose()
    assert manager.waiting() == ["ready", "making"]
    await asyncio.sleep(0)
    assert sorted(manager.ended) == ["dead", "failed", "raised"]


@run
async def test_pages_are_made_again_after_pauses_that_grow_until_one_is_good() -> None:
    manager, clock = Manager(), [0.0]
    pool = pool_of(manager, lambda: clock[0])
    pauses = []
    for _ in range(6):
        manager.add("bad", BAD)
        await pool.tend()
        began, filled = clock[0], manager.filled
        assert pool.is_paused
        while manager.filled == filled and clock[0] - began < 100:
            clock[0] += 1
            await pool.tend()
        pauses.append(clock[0] - began)
    assert pauses == [5, 10, 20, 40, 60, 60]
    manager.add("good", GOOD)
    await pool.tend()
    manager.add("bad", BAD)
    await pool.tend()
    began, filled = clock[0], manager.filled
    while manager.filled == filled and clock[0] - began < 60:
        clock[0] += 1
        await pool.tend()
    assert clock[0] - began == 5


class VoilaManager(Manager):
    """Asks every waiting page for its kernel before it ends one, as Voilà's does."""

    log = logging.getLogger("kernels")

    async def shutdown_kernel(self, kernel_id: str, now: bool) -> None:
        for item in self._pools[self.notebook_path]:
            if item.done():
                item.result()
        await super().shutdown_kernel(kernel_id, now)

    def add_failed(self, *, cancelled: bool) -> None:
        item = asyncio.get_running_loop().create_future()
        if cancelled:
            item.cancel()
        else:
            item.set_exception(OSError("no kernel"))
        self._pools[self.notebook_path].append(item)


@pytest.mark.parametrize("cancelled", [False, True])
def test_kernels_are_ended_though_a_page_that_waits_has_failed(cancelled: bool) -> None:
    async def end() -> None:
        manager = VoilaManager()
        places = Places(2, 2, -1.0)
        place, _ = places.take("a", manager)
        place.kernel_id = "left"
        places.hand_out(place)
        manager.add_failed(cancelled=cancelled)
        await end_kernel(manager, "another")
        assert manager.ended == []
        pool = pool_of(manager)
        hosting = Hosting(pool=0)
        app = SimpleNamespace(settings={"places": places})
        server = SimpleNamespace(
            app=app, pool=pool, log=manager.log, kernel_manager=manager, pooled_pages=lambda: 0, hosting=hosting
        )
        server._pool_size = lambda: 0
        await Server._tend(server)
        assert manager.ended == ["left"]

    asyncio.run(end())


@run
async def test_place_is_given_back_where_room_for_it_cannot_be_made() -> None:
    places = Places(1, 1, 25.0)
    handler = Mock(spec=LimitedPageHandler)
    handler.settings = {"is_behind_proxy": False, "voila": Mock(fit_pool=Mock(side_effect=OSError("no room")))}
    handler._places = places
    handler._take_place = lambda: places.take("a", ())
    handler._make_room = lambda ending: LimitedPageHandler._make_room(handler, ending)
    handler.request = HTTPServerRequest(
        headers=HTTPHeaders({"Host": "localhost"}),
        connection=Mock(),
        start_line=RequestStartLine("GET", "/", "HTTP/1.1"),
    )
    with pytest.raises(OSError, match="no room"):
        await LimitedPageHandler.get(handler)
    assert len(places) == 0


@pytest.mark.parametrize("pools", [{}, {"page.ipynb": []}])
def test_without_waiting_pages_there_is_nothing_to_do(pools: dict) -> None:
    manager = Manager()
    manager._pools = pools
    asyncio.run(pool_of(manager).choose())
    asyncio.run(pool_of(manager).tend())
    assert manager.filled == 0


def test_kernel_that_has_ended_meanwhile_does_not_keep_the_server_from_ending_all() -> None:
    manager = PatientKernelManager()
    manager._pending_kernels["gone"] = None
    asyncio.run(manager.shutdown_all(now=True))
