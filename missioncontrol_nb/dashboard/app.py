"""Joins state, views and a reader of data into one page, keeps it fresh, and says so when it cannot."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Protocol

import ipywidgets as widgets

from streaming.errors import MissionControlError

from . import markup, words
from .state import Query, State, read_search
from .views import DetailView, OverviewView, TableView, box, html
from .widgets import Page

PHONE_WIDTH = 640  # CSS pixels; the style sheet's limit
PATIENCE_SECONDS = 0.3  # a slower answer is announced
CONTACT_SECONDS = 60.0  # without a heartbeat for so long there is no visitor: nothing is read or sent
GLANCE_SECONDS = 1.0  # how often to look whether there is something to do

log = logging.getLogger(__name__)


class Reader(Protocol):
    """Where a page's data come from."""

    def refresh(self) -> bool:
        """Looks for new data; whether there are any."""

    def read(self, query: Query) -> object:
        """The summary that the query's view shows: Overview, ChannelTable or Detail."""


class App:
    """One visitor's page: the state, the widgets, and the task that keeps them up to date.

    Reading happens in a thread, one at a time; what arrives for a query that is no longer asked for is thrown
    away. The first page is read before the constructor returns, so a preheated kernel holds a complete one.
    """

    def __init__(self, reader: Reader, page: Page, stale_after_seconds: float, refresh_seconds: float) -> None:
        self.state, self._reader, self._page = State(), reader, page
        self._stale_after, self._refresh_seconds = stale_after_seconds, refresh_seconds
        self._top, self._headline, self._notice = html("mc-header"), html("mc-body"), html("mc-body")
        self._views: dict[str, OverviewView | TableView | DetailView] = {}
        self._main = box(css="mc-main")
        self.widget = box(page, self._top, self._main, css="mc")
        self._adopting = False
        self._wanted = asyncio.Event()
        self._refreshed = time.monotonic()
        self._show(self.state.query, self._read(self.state.query))
        page.observe(lambda change: self._adopt(change.new), "search")
        page.on_action(self._act)
        self.state.observe(lambda _: self._follow(), "query")

    # ---------- the URL ----------
    def _adopt(self, search: str) -> None:
        """Takes over what the visitor's URL says, and writes it back the way it is understood."""
        self._adopting = True
        try:
            self.state.set(read_search(search, narrow=self._narrow))
        finally:
            self._adopting = False
        if self.state.query.search != search:
            self._page.replace(self.state.query.search)

    def _follow(self) -> None:
        """A control or the URL changed the query: the URL says it, and what it asks for is read."""
        if not self._adopting:
            self._page.push(self.state.query.search)
        self._wanted.set()

    @property
    def _narrow(self) -> bool:
        return self._page.viewport <= PHONE_WIDTH

    # ---------- keeping up ----------
    async def run(self) -> None:
        """Answers changes of the query and looks for new data, for as long as there is a visitor; never ends."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), GLANCE_SECONDS)
            try:
                await self._tick()
            except Exception:
                log.exception("a page could not be brought up to date")

    async def _tick(self) -> None:
        asked = self._wanted.is_set()
        self._wanted.clear()
        if asked or (self._visited and self._due and await self._find_new()):
            await self._update()

    @property
    def _visited(self) -> bool:
        return time.monotonic() - self._page.last_seen < CONTACT_SECONDS

    @property
    def _due(self) -> bool:
        return time.monotonic() - self._refreshed >= self._refresh_seconds

    async def _find_new(self) -> bool:
        self._refreshed = time.monotonic()
        return await asyncio.to_thread(self._reader.refresh)

    async def _update(self) -> None:
        query = self.state.query
        notice = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._announce, query)
        try:
            outcome = await asyncio.to_thread(self._read, query)
        finally:
            notice.cancel()
        if query == self.state.query:
            self._show(query, outcome)

    # ---------- reading and showing ----------
    def _read(self, query: Query) -> object:
        """The summary of the query, or the error in its place."""
        try:
            return self._reader.read(query)
        except Exception as error:
            return error
