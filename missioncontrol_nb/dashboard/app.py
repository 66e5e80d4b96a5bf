"""Joins state, views and a data reader into one page, keeps it up to date, and reports failures to do so."""

import asyncio
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import ipywidgets as widgets

from missioncontrol_nb.dashboard import messages, prerender, verdict_words
from missioncontrol_nb.dashboard.controls import box, html
from missioncontrol_nb.dashboard.html.html import headline
from missioncontrol_nb.dashboard.missed_changes import MissedChanges
from missioncontrol_nb.dashboard.page_verdicts import PageVerdicts
from missioncontrol_nb.dashboard.pages import layout
from missioncontrol_nb.dashboard.query import Query, product_asked, read_search
from missioncontrol_nb.dashboard.reader import DatasetReader, OpeningReader, Reader, Summary
from missioncontrol_nb.dashboard.server.settings import Settings
from missioncontrol_nb.dashboard.state import State
from missioncontrol_nb.dashboard.views import DetailView, OverviewView, TableView, View
from missioncontrol_nb.dashboard.widgets.page import Page
from missioncontrol_nb.monitor import NoRelease
from streaming import contract
from streaming.errors import MissionControlError

PHONE_WIDTH = 640  # CSS pixels; the limit in the style sheet
PATIENCE_SECONDS = 0.3  # a loading notice is shown for slower reads
CONTACT_SECONDS = 90.0  # without a heartbeat for this long there is no visitor: nothing is read or sent
REST_FACTOR = 5  # new data is read only after a pause of five times the duration of the last read
FIRST_SIGHT_SECONDS = 1.0  # how long the first page (the prerender) waits for the newest data
ANSWER_SECONDS = 8.0  # a dataset that has not answered for this long counts as unreachable until it answers
# S3 requests time out earlier than by default (180 s), because they are repeated every few seconds.
RETRIES = {"max_retries": "3", "retry_timeout": "10s"}
GLANCE_SECONDS = 1.0  # how often to check whether there is something to do

log = logging.getLogger(__name__)


class App:
    """One visitor's page: the state, the widgets, and the task that keeps them up to date.

    Reading happens in a thread, one read at a time. The result for a query that is no longer current is discarded.
    The first page is read before the constructor returns, so a preheated kernel holds a complete page.
    """

    def __init__(self, reader: Reader, page: Page, settings: Settings) -> None:
        self.state, self._reader, self._page, self._settings = State(), reader, page, settings
        self._top, self._headline, self._instead = html("mc-header"), html("mc-body"), html("mc-body")
        self._main = box(css="mc-main")
        self.widget = box(page, self._top, self._main, css="mc")
        self._data_up_to: datetime | None = None
        self._shown: Query | None = None
        self._outcome: Summary | Exception | None = None  # that is shown
        self._verdicts = PageVerdicts(reader, self._call)
        self._missed = MissedChanges(page)
        self._adopting = self._has_failed = self._is_asked = False
        self._has_news = False
        self._is_waiting = False  # for the first answer to a query
        self._read_seconds, self._read_at = 0.0, -math.inf
        self._logged_failure = ""
        self._wake = asyncio.Event()
        self._is_settled = asyncio.Event()
        self._refreshed = time.monotonic()
        self._products = contract.PACKAGED_PRODUCTS
        self.state.set(read_search(settings.search))
        outcome = self._read(self.state.query)
        self._asked = ""
        asked = read_search(settings.search, products=self._products)  # may name a product that is known only now
        if asked.product != self.state.product:
            self.state.set(asked)
            outcome = self._read(asked)
        self._show(self.state.query, outcome)
        page.observe(lambda change: self._adopt(change.new), "search")
        page.observe(lambda change: self._resize(change.old, change.new), "viewport")
        page.on_fetch(lambda: self._missed.note_fetch(self._widgets()))
        page.observe(lambda _: self._open(), "opened")
        page.on_action(self._act)
        self.state.observe(lambda _: self._follow(), "query")

    @cached_property
    def _views(self) -> dict[str, View]:
        return {"overview": OverviewView(), "table": TableView(self.state), "detail": DetailView(self.state)}

    # ---------- the URL ----------
    def _adopt(self, search: str) -> None:
        """Takes over the query of the visitor's URL, and writes it back in its normal form."""
        self._adopting = True
        try:
            self.state.set(read_search(search, narrow=self._is_narrow, products=self._products))
        finally:
            self._adopting = False
        if product_asked(search, self._products) is None:
            self._asked = search  # the product may have been declared since; the next read will show
            self._ask()
        elif search and self.state.query.search != search:
            self._page.replace(self.state.query.search)

    def _resize(self, before: int, now: int) -> None:
        """Redraws when the window changes between phone width and a wider one, because their charts differ."""
        if (before <= PHONE_WIDTH) != (now <= PHONE_WIDTH):
            self._ask()

    def _open(self) -> None:
        """Looks for new data at once when a visitor opens the page, which may have been made long ago."""
        self._missed.send()
        self._refreshed = self._read_at = -math.inf
        self._call()

    def _widgets(self) -> list[widgets.Widget]:
        """The widgets that hold all others with something to show, now or in another view."""
        views = [each for view in self._views.values() for each in (*view.controls, *view.content)]
        return [self._top, self._main, self._headline, self._instead, *views]

    def _ask(self) -> None:
        """Requests an update, because the page no longer shows what its query or window asks for."""
        self._is_asked = True
        self._call()

    def _call(self) -> None:
        self._is_settled.clear()
        self._wake.set()

    async def first_sight(self, search: str, viewport: int) -> str:
        """Prerenders the page of a visitor's URL with the newest data: its HTML, before the browser is connected.

        Empty where reading takes long: a page other than the URL's would be misleading.
        """
        self._page.greet(search, viewport)
        self._open()
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SIGHT_SECONDS):
                await self._is_settled.wait()
        if self._shown != self.state.query or (self._has_failed and not self._is_settled.is_set()):
            return ""
        self._show_frame(self._shown)  # the data may have become stale while the page waited for its visitor
        return prerender.page(self.widget)

    def _follow(self) -> None:
        """Handles a query that a control or the URL changed: updates the URL and requests a read."""
        if not self._adopting:
            self._page.push(self.state.query.search)
        self._ask()

    def _act(self, action: str) -> None:
        """Handles a button of the shown page that the browser does not handle alone."""
        shown = self._shown or self.state.query
        file = self._views[shown.view].export(action)
        if file is not None:
            self._page.download(*file)

    @property
    def _is_narrow(self) -> bool:
        return self._page.viewport <= PHONE_WIDTH

    # ---------- updates ----------
    async def run(self) -> None:
        """Handles query changes, and looks for new data while there is a visitor; never ends."""
        self._judge_if_needed()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(GLANCE_SECONDS):
                    await self._wake.wait()
            try:
                await self._tick()
            except Exception:
                log.exception("a page could not be brought up to date")

    async def _tick(self) -> None:
        self._wake.clear()
        if self._is_visited and self._is_due:
            await self._look()
        is_asked, self._is_asked = self._is_asked, False
        if is_asked or (self._has_news and self._is_rested):
            self._has_news = False
            await self._update()
        if self._verdicts.has_news:
            await self._show_verdicts()
        if self._is_visited:
            self._judge_if_needed()
        if not self._wake.is_set():
            self._is_settled.set()

    @property
    def _is_visited(self) -> bool:
        return self._page.seconds_unseen < CONTACT_SECONDS

    @property
    def _is_due(self) -> bool:
        return time.monotonic() - self._refreshed >= self._settings.refresh_seconds

    @property
    def _is_rested(self) -> bool:
        return time.monotonic() - self._read_at >= REST_FACTOR * self._read_seconds

    async def _look(self) -> None:
        """Looks for new data, even while reading them has to wait; reports an unreachable dataset at once."""
        self._refreshed = time.monotonic()
        query = self.state.query
        try:
            with self._impatient(query):
                is_new = await asyncio.to_thread(self._reader.refresh)
        except Exception as error:
            self._log_failure(error)
            if query == self.state.query:
                self._show(query, error)
        else:
            self._has_news = self._has_news or is_new or self._has_failed

    async def _update(self) -> None:
        query, began = self.state.query, time.monotonic()
        notice = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._announce, query)
        try:
            with self._impatient(query):
                outcome = await asyncio.to_thread(self._read, query)
        finally:
            notice.cancel()
            self._read_at = time.monotonic()
            self._read_seconds = self._read_at - began
        asked, self._asked = self._asked, ""
        if asked and product_asked(asked, self._products) is not None:
            self._adopt(asked)
        elif asked:
            self._page.replace(self.state.query.search)
        if query == self.state.query:
            self._show(query, outcome)

    async def _show_verdicts(self) -> None:
        """Shows the page again, with the verdicts that have come since it was read."""
        query, outcome = self.state.query, self._outcome
        await asyncio.to_thread(self._verdicts.read, query)
        if outcome is not None and query == self._shown == self.state.query and outcome is self._outcome:
            self._show(query, outcome)

    def _judge_if_needed(self) -> None:
        """Begins to judge where the page shows data without verdicts, or with older ones."""
        is_shown = self._outcome is not None and not isinstance(self._outcome, (Exception, NoRelease))
        if is_shown and self._shown is not None:
            self._verdicts.judge_if_needed(self._shown)

    @contextmanager
    def _impatient(self, query: Query) -> Iterator[None]:
        """Reports a dataset that does not answer within ANSWER_SECONDS, and still waits for its answer."""
        error = MissionControlError(f"no answer for {ANSWER_SECONDS:.0f} s")
        so_far = f"The dataset has not answered for {ANSWER_SECONDS:.0f} s; it is still being read."

        def complain() -> None:
            has_answered = query == self._shown and not self._is_waiting
            if has_answered:
                self._log_failure(error)
            elif not self._is_waiting:
                log.warning("the dataset has not answered for %.0f s", ANSWER_SECONDS)
            if query == self.state.query:
                self._show(query, error if has_answered else messages.StillReadingError(so_far))

        complaint = asyncio.get_running_loop().call_later(ANSWER_SECONDS, complain)
        try:
            yield
        finally:
            complaint.cancel()

    def _read(self, query: Query) -> Summary | Exception:
        """The summary of the query, or the error that reading raised."""
        try:
            summary = self._reader.read(query)
            self._verdicts.read(query)
            self._products = self._reader.products()
            self._logged_failure = ""
            return summary
        except Exception as error:
            self._log_failure(error)
            return error

    def _log_failure(self, error: Exception) -> None:
        """Logs a reason only once, because the data is read again every few seconds."""
        if str(error) == self._logged_failure:
            return
        self._logged_failure = str(error)
        if isinstance(error, MissionControlError):
            log.error("the dataset could not be read: %s", error)
        else:
            log.error("a page's data could not be read", exc_info=error)

    # ---------- showing ----------
    def _announce(self, query: Query) -> None:
        """Shows a loading notice in place of a view that is being read."""
        if self._shown is not None and query.view != self._shown.view:
            self._instead.value = layout.loading(query.view)
            self._show_frame(query)
            self._arrange(self._views[query.view].controls, (self._instead,))

    def _show(self, query: Query, outcome: Summary | Exception) -> None:
        """Shows a summary, or a message in its place; controls stay."""
        view = self._views[query.view]
        view.name(query)
        self._outcome = outcome
        content = (self._instead,)
        self._has_failed = isinstance(outcome, Exception)
        self._is_waiting = isinstance(outcome, messages.StillReadingError)
        if isinstance(outcome, Exception):
            self._show_failure(outcome)
        else:
            self._data_up_to = outcome.data_up_to
            if isinstance(outcome, NoRelease):
                self._headline.value = headline(
                    *verdict_words.no_release_headline(outcome.product, outcome.channel, outcome.os_name)
                )
                self._instead.value = layout.no_release(query)
            elif self._draw(view, outcome, query):
                content = view.content
        self._show_frame(query)
        self._arrange(view.controls, content)
        self._shown = query

    def _draw(self, view: View, summary: Summary, query: Query) -> bool:
        """Shows a summary in a view; returns whether that succeeded."""
        try:
            self._headline.value = view.show(summary, self._verdicts.judged, query, self._is_narrow)
        except Exception as error:
            log.exception("a view could not be drawn")
            self._show_failure(error)
            return False
        return True

    def _show_failure(self, error: Exception) -> None:
        self._headline.value = ""
        said = messages.failure(error, self._settings.refresh_seconds)
        is_over = not isinstance(error, messages.StillReadingError)
        self._instead.value = layout.failure(*said) if is_over else layout.still_reading(*said)

    def _show_frame(self, query: Query) -> None:
        self._top.value = layout.top(query, self._data_up_to, self._settings.stale_after_seconds)
        self._page.title = messages.page_title(query)

    def _arrange(self, controls: tuple, content: tuple) -> None:
        children = (self._headline, *controls, *content)
        if self._main.children != children:
            self._main.children = children


class Latest:
    """The page created last in this process; a kernel of the dashboard's server has only one."""

    app: App | None = None


def start(settings: Settings, *, must_exist: bool = False) -> App:
    """The page of a dataset, with the task that keeps it up to date running in this kernel's event loop.

    must_exist: a dataset or calendar that cannot be opened raises an error here; else the page reports it and retries.
    """
    from missioncontrol_nb.dashboard.warm_up import warm_up
    from missioncontrol_nb.loading.dataset import Dataset
    from missioncontrol_nb.loading.table_cache import TableCache
    from missioncontrol_nb.releases.sources import load_calendar
    from streaming.storage.locations import is_remote

    def open_reader() -> DatasetReader:
        options = RETRIES if is_remote(settings.dataset) else None
        cache = TableCache(settings.cache) if settings.cache else None
        return DatasetReader(Dataset(settings.dataset, options, cache=cache), load_calendar(settings.releases), options)

    reader = OpeningReader(open_reader)
    if must_exist:
        reader.open()
    app = App(reader, Page(), settings)
    if settings.is_preheated:
        warm_up()
    task = asyncio.get_running_loop().create_task(app.run())
    app.widget.mc_task = task  # the event loop keeps only weak references to tasks
    Latest.app = app
    return app


@dataclass(frozen=True)
class Html:
    """Text that the kernel's replies contain as HTML."""

    text: str

    def _repr_html_(self) -> str:
        return self.text


async def first_sight(search: str, viewport: int) -> Html:
    """The prerendered page, which the server requests when it hands out a page.

    search: the URL's query; viewport: the window's likely width in CSS pixels.
    """
    return Html(await Latest.app.first_sight(search, viewport) if Latest.app else "")
