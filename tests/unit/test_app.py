"""The page of one visitor without a browser: what it reads, what it shows, what its URL says."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd
import pytest

from missioncontrol_nb.dashboard import app as app_module
from missioncontrol_nb.dashboard.app import App, Summary
from missioncontrol_nb.dashboard.controls import Switches
from missioncontrol_nb.dashboard.judged import Judged
from missioncontrol_nb.dashboard.query import Query, read_search
from missioncontrol_nb.dashboard.reader import DatasetReader, OpeningReader, detail_request
from missioncontrol_nb.dashboard.server.settings import Settings
from missioncontrol_nb.dashboard.state import State
from missioncontrol_nb.dashboard.widgets.page import Markup, Page
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.monitor import ChannelTable, Detail, NoRelease, Overview
from streaming import contract
from streaming.errors import MissionControlError
from tests.unit.small_dataset import CALENDAR, moment, write
from tests.unit.small_summaries import LEVEL, UP, channel, detail, measured, overview, platform, table
from tests.unit.small_verdicts import judged, verdict

TABLE = "?view=table"
DETAIL = "?view=detail&interval=7d"
ACME = replace(contract.FIREFOX, name="Acme", label="Acme", channels=(contract.Channel("default", "Default"),))


BAD = judged(verdict("bad", measure="main_crashes"))
SAID = "2.1 times as many main crashes as expected"


class FakeReader:
    """Answers each query with a summary that says its channel; notes what is asked; waits and fails when told to."""

    def __init__(self) -> None:
        self.queries: list[Query] = []
        self.looked = 0
        self.has_news = False
        self.fails: Exception | None = None
        self.refresh_fails: Exception | None = None
        self.answer: Callable[[Query], Summary] = summary_of
        self.known_verdicts = BAD
        self.judgings = 0
        self.judge_fails: Exception | None = None
        self.may_judge = threading.Event()
        self.may_judge.set()
        self.known = contract.PACKAGED_PRODUCTS
        self.may_answer, self.may_look = threading.Event(), threading.Event()
        self.may_answer.set()
        self.may_look.set()

    def products(self) -> contract.Products:
        return self.known

    def judged(self, query: Query) -> Judged:
        return self.known_verdicts

    def judge(self, query: Query) -> None:
        self.judgings += 1
        assert self.may_judge.wait(60)
        if self.judge_fails:
            raise self.judge_fails
        self.known_verdicts = BAD

    def refresh(self) -> bool:
        self.looked += 1
        assert self.may_look.wait(60)
        if self.refresh_fails:
            raise self.refresh_fails
        has_news, self.has_news = self.has_news, False
        return has_news

    def read(self, query: Query) -> Summary:
        self.queries.append(query)
        answer, fails = self.answer, self.fails
        assert self.may_answer.wait(60)
        if fails:
            raise fails
        return answer(query)


def summary_of(query: Query) -> Summary:
    if query.view == "table":
        return replace(table({"main_crashes": UP}), channel=query.channel, os_name=query.os_name)
    if query.view == "detail":
        return replace(detail(measured(query.measure, UP)), channel=query.channel, os_name=query.os_name)
    return overview(channel(platform("Windows_NT", UP, LEVEL), name=query.channel))


class FakePage(Page):
    """A page whose browser is a test; sent: what it was told to do."""

    def __init__(self) -> None:
        self.sent: list[tuple[dict[str, Any], Any]] = []
        super().__init__()

    def send(self, content: Any, buffers: Any = None) -> None:
        self.sent.append((content, buffers))

    def hear(self, **message: Any) -> None:
        """What comes from the browser."""
        self._receive(self, message, [])

    def urls(self, how: str) -> list[str]:
        """The URLs it was told to push or replace."""
        return [content["search"] for content, _ in self.sent if content["do"] == how]


class Watched(App):
    """An app that counts how often it looked whether there is something to do, and keeps all its headlines."""

    def __init__(self, reader: FakeReader, page: FakePage, settings: Settings) -> None:
        self.ticks = 0
        super().__init__(reader, page, settings)
        self.reader, self.page = reader, page
        self.headlines: list[str] = []
        self._headline.observe(lambda change: self.headlines.append(change.new), "value")

    async def _tick(self) -> None:
        try:
            await super()._tick()
        finally:
            self.ticks += 1

    @property
    def seen(self) -> str:
        """All HTML that is on the page."""
        return "\n".join(each.value for each in _all(self.widget) if isinstance(each, Markup))

    def control(self, label: str) -> widgets.Widget:
        """The control of that name that is on the page."""
        return next(each for each in _all(self.widget) if getattr(each, "description", None) == label)

    async def idle(self, ticks: int = 3) -> None:
        """Lets it look a few times more."""
        reached = self.ticks + ticks
        await until(lambda: self.ticks >= reached)


def _all(widget: widgets.Widget) -> Iterator[widgets.Widget]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _all(child)


async def until(condition: Callable[[], bool]) -> None:
    """Waits until something is so; fails after a minute: the first chart imports much, on a busy machine slowly."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def in_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that is a coroutine; its loop runs in a thread of its own, for a browser's may run in this one."""

    @wraps(test)
    def run(**fixtures: Any) -> None:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(test(**fixtures))).result()

    return run


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "GLANCE_SECONDS", 0.002)


@asynccontextmanager
async def running(
    reader: FakeReader | None = None, search: str = "", seen: bool = True, refresh_seconds: float = 0.001
) -> AsyncIterator[Watched]:
    """A visitor's page with that URL, kept up to date; seen: its browser's heart beats."""
    page = FakePage()
    app = Watched(reader or FakeReader(), page, Settings("nowhere", refresh_seconds=refresh_seconds))
    task = asyncio.create_task(app.run())
    try:
        if seen:
            page.hear(beat=1)
        if search:
            page.search = search
            await shown(app)
        yield app
    finally:
        app.reader.may_answer.set()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def shown(app: Watched) -> None:
    """Waits until what the state asks for is on the page."""
    await until(lambda: app._shown == app.state.query and not app._is_asked and not app._is_waiting)


# ---------- the URL ----------
@in_a_loop
async def test_first_page_is_read_before_there_is_a_visitor() -> None:
    async with running(seen=False) as app:
        assert app.reader.queries == [Query()]
        assert SAID in app.seen


@pytest.mark.parametrize(
    ("search", "query"),
    [
        ("?channel=beta", Query(channel="beta")),
        ("?view=table&platform=linux&period=last-24h", Query(view="table", os_name="Linux", period="last_24h")),
        (
            "?view=detail&measure=gpu_crashes&interval=24h&window=5min&line=build&off=20170926190823",
            Query(
                view="detail",
                measure="gpu_crashes",
                interval="24h",
                window="5min",
                line="build",
                hidden=("20170926190823",),
            ),
        ),
        (
            "?view=detail&interval=custom&since=2017-10-01&until=2017-10-03",
            Query(view="detail", interval="custom", since=date(2017, 10, 1), until=date(2017, 10, 3)),
        ),
    ],
)
@in_a_loop
async def test_url_makes_exactly_its_query(search: str, query: Query) -> None:
    async with running(search=search) as app:
        assert app.reader.queries == [Query(), query]
        assert app.page.search == app.state.query.search == search
        assert app.page.urls("push") == []


@in_a_loop
async def test_url_of_a_stranger_is_written_the_way_it_is_understood() -> None:
    async with running(search="?view=table&channel=<b>&platform=linux&x=1") as app:
        assert app.page.urls("replace") == ["?view=table&platform=linux"]
        assert app.page.search == "?view=table&platform=linux"
        assert "<b>" not in app.page.title


@in_a_loop
async def test_product_that_was_declared_after_the_page_was_made_is_shown_by_its_url() -> None:
    async with running() as app:
        app.reader.known = contract.Products((contract.FIREFOX, ACME))
        app.page.search = "?product=acme&view=table&platform=mac"
        await until(lambda: app.state.product == ACME)
        assert (app.state.channel, app.state.os_name) == ("default", "Darwin")
        await until(lambda: app.reader.queries[-1].product == ACME)
        assert app.page.search == "?product=acme&view=table&platform=mac"


@in_a_loop
async def test_product_that_nobody_declared_means_the_first() -> None:
    async with running() as app:
        app.page.search = "?product=nothing&channel=beta"
        await until(lambda: app.page.search == "?channel=beta")
        assert app.state.product == contract.FIREFOX


@in_a_loop
async def test_control_pushes_the_url_it_makes() -> None:
    async with running(search=TABLE) as app:
        app.control("Channel").value = "esr"
        app.control("Show").value = "count"
        assert app.page.urls("push") == ["?view=table&channel=esr", "?view=table&channel=esr&show=count"]
        await shown(app)
        assert app.reader.queries[-1] == Query(view="table", channel="esr", show="count")
        assert app.page.title.startswith("ESR, Windows")


@in_a_loop
async def test_back_button_sets_the_controls_and_pushes_nothing() -> None:
    async with running(search=TABLE) as app:
        app.control("Channel").value = "beta"
        await shown(app)
        app.page.search = TABLE
        assert app.control("Channel").value == "release"
        await shown(app)
        assert app.reader.queries[-1] == Query(view="table")
        assert app.page.urls("push") == ["?view=table&channel=beta"]
        app.page.search = ""
        await shown(app)
        assert app.reader.queries[-1] == Query()
        assert app.page.urls("replace") == []


@in_a_loop
async def test_detail_on_a_phone_begins_with_48_hours() -> None:
    async with running() as app:
        app.page.viewport = 390
        app.page.search = "?view=detail"
        await shown(app)
        assert app.state.interval == "48h"
        assert app.page.urls("replace") == ["?view=detail&interval=48h"]


@in_a_loop
async def test_custom_interval_opens_its_days() -> None:
    async with running(search=DETAIL) as app:
        days = app.control("First day")
        app.control("Interval").value = "custom"
        await shown(app)
        assert app.page.search == f"?view=detail&interval=custom&since={days.value}&until={app.state.until}"
        assert app.state.until - app.state.since == timedelta(days=6)


# ---------- keeping up ----------
@in_a_loop
async def test_answer_to_what_is_no_longer_asked_is_thrown_away() -> None:
    async with running(search=TABLE) as app:
        app.reader.may_answer.clear()
        app.control("Channel").value = "beta"
        await until(lambda: app.reader.queries[-1].channel == "beta")
        app.control("Channel").value = "esr"
        app.reader.may_answer.set()
        await shown(app)
        assert app.reader.queries[-1].channel == "esr"
        assert not any("on beta" in headline for headline in app.headlines)
        assert "on ESR" in app.headlines[-1]


@in_a_loop
async def test_two_quick_changes_end_with_the_last() -> None:
    async with running(search=TABLE) as app:
        app.state.channel, app.state.os_name = "beta", "Linux"
        await shown(app)
        assert app.reader.queries[-1] == Query(view="table", channel="beta", os_name="Linux")
        assert "on beta, Linux" in app.headlines[-1]


@in_a_loop
async def test_nothing_is_looked_for_without_a_visitor() -> None:
    async with running(seen=False) as app:
        app.reader.has_news = True
        await app.idle(5)
        assert (app.reader.looked, len(app.reader.queries)) == (0, 1)
        app.page.hear(beat=1)
        await until(lambda: len(app.reader.queries) == 2)


@in_a_loop
async def test_visitor_who_went_is_no_longer_served() -> None:
    async with running() as app:
        await until(lambda: app.reader.looked > 0)
        app.page.last_seen -= app_module.CONTACT_SECONDS
        await app.idle(1)
        looked = app.reader.looked
        await app.idle(5)
        assert app.reader.looked == looked


@in_a_loop
async def test_page_that_was_ready_for_long_looks_for_news_as_soon_as_it_is_opened() -> None:
    async with running(seen=False, refresh_seconds=3600) as app:
        app.reader.has_news = True
        await app.idle(3)
        assert app.reader.looked == 0
        app.page.opened = 1.0
        await until(lambda: len(app.reader.queries) == 2)


@in_a_loop
async def test_failure_to_read_is_mended_without_news() -> None:
    async with running(search=TABLE) as app:
        app.reader.fails = MissionControlError("it cannot be read")
        app.control("Channel").value = "beta"
        await until(lambda: "could not be read" in app.seen)
        app.reader.fails = None
        await until(lambda: "mc-table" in app.seen)


@in_a_loop
async def test_page_is_read_again_only_when_there_is_something_new() -> None:
    async with running() as app:
        await until(lambda: app.reader.looked >= 3)
        assert len(app.reader.queries) == 1
        app.reader.answer = lambda query: NoRelease("release", "Linux", moment("10T00:00"))
        app.reader.has_news = True
        await until(lambda: "10T" in app.seen or "00:00:00 UTC" in app.seen)
        assert app.reader.queries == [Query(), Query()]


@in_a_loop
async def test_page_that_waits_long_says_so_where_the_data_will_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "PATIENCE_SECONDS", 0)
    async with running() as app:
        app.reader.may_answer.clear()
        app.page.search = TABLE
        await until(lambda: "mc-skeleton" in app.seen)
        assert app.control("Channel").value == "release"
        app.reader.may_answer.set()
        await until(lambda: "mc-skeleton" not in app.seen)
        assert "mc-table" in app.seen


@in_a_loop
async def test_what_changed_while_a_browser_made_its_widgets_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[object, Any]] = []
    async with running() as app:
        app.page.get_state()  # a browser fetches all
        app.page.search = TABLE + "&channel=beta"
        await shown(app)
        monkeypatch.setattr(widgets.Widget, "send_state", lambda widget, key=None: sent.append((widget, key)))
        app.page.opened = 1.0
        assert (app._main, ["children"]) in sent
        assert (app._headline, ["value"]) in sent
        assert (app.page, ["title"]) in sent
        assert any(widget is app.control("Channel") and "index" in keys for widget, keys in sent)
        assert not any(widget is app.control("Platform") for widget, _ in sent)
        sent.clear()
        app.page.opened = 2.0
        assert [widget for widget, _ in sent if widget is not app.page] == []


@in_a_loop
async def test_all_widgets_of_a_page_exist_before_its_browser_connects() -> None:
    """One made while a browser fetches the others refers to models that the browser does not know yet."""
    made: list[widgets.Widget] = []
    async with running() as app:
        widgets.Widget.on_widget_constructed(made.append)
        try:
            for search in (TABLE, DETAIL, DETAIL + "&line=build&off=none", DETAIL + "&interval=custom", ""):
                app.page.search = search
                await shown(app)
            app.reader.answer = lambda query: NoRelease(query.channel, query.os_name, None)
            app.page.search = TABLE + "&channel=esr"
            await shown(app)
            app.reader.fails = MissionControlError("it cannot be read")
            app.page.search = DETAIL
            await shown(app)
        finally:
            widgets.Widget.on_widget_constructed(None)
        assert made == []


# ---------- verdicts ----------
@in_a_loop
async def test_page_shows_its_figures_while_it_is_judged_and_then_the_verdict_without_reading_again() -> None:
    reader = FakeReader()
    reader.known_verdicts = Judged()
    reader.may_judge.clear()
    async with running(reader) as app:
        await until(lambda: reader.judgings == 1)
        assert "Judging 56.0 on release" in app.seen
        assert "5.91" in app.seen
        await app.idle(5)
        assert reader.judgings == 1, "one at a time"
        reader.may_judge.set()
        await until(lambda: SAID in app.seen)
        assert len(reader.queries) == 1


@in_a_loop
async def test_older_verdicts_stay_while_newer_ones_are_computed() -> None:
    reader = FakeReader()
    reader.known_verdicts = replace(BAD, is_current=False)
    reader.may_judge.clear()
    async with running(reader) as app:
        await until(lambda: reader.judgings == 1)
        assert SAID in app.seen
        assert "Judging" not in app.seen
        reader.may_judge.set()
        await app.idle(5)
        assert reader.judgings == 1


@pytest.mark.parametrize("error", [MissionControlError("a <reason>"), ZeroDivisionError("a <reason>")])
@in_a_loop
async def test_failure_to_judge_is_said_and_logged_once_and_breaks_nothing(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    reader = FakeReader()
    reader.known_verdicts, reader.judge_fails = Judged(), error
    async with running(reader) as app:
        await until(lambda: "could not be judged" in app.seen)
        assert "Too early to say: 56.0 on release" in app.seen
        assert "5.91" in app.seen
        await app.idle(5)
        assert reader.judgings == 1
        assert caplog.text.count("a <reason>") == 1
        assert "reason>" not in app.seen
        app.page.search = TABLE
        await until(lambda: "mc-table" in app.seen)


@in_a_loop
async def test_verdicts_that_cannot_be_read_are_as_good_as_none(caplog: pytest.LogCaptureFixture) -> None:
    reader = FakeReader()

    def fail(query: Query) -> Judged:
        raise OSError("the cache is gone")

    reader.judged = fail
    async with running(reader) as app:
        await until(lambda: "could not be judged" in app.seen)
        assert "verdicts could not be read" in caplog.text
        await app.idle(5)
        assert reader.judgings <= 1


# ---------- failing ----------
@in_a_loop
async def test_failure_to_read_is_a_sentence_and_the_next_data_mend_it(caplog: pytest.LogCaptureFixture) -> None:
    async with running(search=TABLE) as app:
        app.reader.fails = MissionControlError("the <bucket> cannot be read")
        app.control("Channel").value = "beta"
        await until(lambda: "could not be read" in app.seen)
        assert "bucket" not in app.seen
        assert [record.getMessage() for record in caplog.records] == [
            "the dataset could not be read: the <bucket> cannot be read"
        ]
        assert "Traceback" not in app.seen
        assert "mc-table" not in app.seen
        assert app.control("Channel").value == "beta"
        app.reader.fails, app.reader.has_news = None, True
        await until(lambda: "mc-table" in app.seen)
        assert "could not be read" not in app.seen


@in_a_loop
async def test_bug_is_in_the_log_and_not_on_the_page(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as app:
        app.reader.fails = ZeroDivisionError("secret detail")
        app.page.search = TABLE
        await until(lambda: "could not be drawn" in app.seen)
        assert "secret detail" not in app.seen
        assert "ZeroDivisionError" in caplog.text


@in_a_loop
async def test_summary_that_cannot_be_drawn_is_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    async with running(search=DETAIL) as app:
        broken = detail(measured("main_crashes", UP))
        app.reader.answer = lambda query: replace(broken, windows=broken.windows.drop(columns="rate"))
        app.reader.has_news = True
        await until(lambda: "could not be" in app.seen)
        assert "a view could not be drawn" in caplog.text
        app.reader.answer, app.reader.has_news = summary_of, True
        await until(lambda: "could not be" not in app.seen)


@in_a_loop
async def test_failure_to_look_for_news_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as app:
        app.reader.refresh_fails = OSError("the network is down")
        await until(lambda: "the network is down" in caplog.text)
        app.reader.refresh_fails, app.reader.has_news = None, True
        await until(lambda: len(app.reader.queries) == 2)


@in_a_loop
async def test_failing_first_page_is_a_sentence_too() -> None:
    reader = FakeReader()
    reader.fails = MissionControlError("no dataset")
    async with running(reader) as app:
        assert "could not be read" in app.seen
        reader.fails, reader.has_news = None, True
        await until(lambda: "could not be read" not in app.seen)


@in_a_loop
async def test_box_that_holds_itself_ends_no_page() -> None:
    async with running() as app:
        app._main.children = (*app._main.children, app.widget, app._main)
        app.page.get_state()  # a browser fetches all
        app.page.opened = 1.0
        assert not app._missed.is_waiting


@in_a_loop
async def test_vanished_dataset_is_said_although_nothing_is_asked_and_its_return_shows_the_page_again() -> None:
    async with running(search=TABLE) as app:
        app.reader.refresh_fails = app.reader.fails = MissionControlError("the table is gone")
        await until(lambda: "could not be read" in app.seen)
        assert "mc-table" not in app.seen
        app.reader.refresh_fails = app.reader.fails = None
        await until(lambda: "mc-table" in app.seen)
        assert "could not be read" not in app.seen


@in_a_loop
async def test_page_that_rests_after_a_long_reading_looks_for_its_dataset_all_the_same() -> None:
    async with running(search=TABLE) as app:
        app._read_seconds = 1000.0
        app.reader.has_news = True
        await until(lambda: app._has_news)
        read = len(app.reader.queries)
        await app.idle(5)
        assert len(app.reader.queries) == read
        app.reader.refresh_fails = MissionControlError("the table is gone")
        await until(lambda: "could not be read" in app.seen)


@pytest.mark.parametrize("what", ["refresh", "read"])
@in_a_loop
async def test_dataset_that_does_not_answer_is_said_and_its_late_answer_is_shown(what, monkeypatch) -> None:
    async with running(search=TABLE) as app:
        monkeypatch.setattr(app_module, "ANSWER_SECONDS", 0.05)
        answer = threading.Event()
        if what == "refresh":
            monkeypatch.setattr(app.reader, "refresh", lambda: not answer.wait(60))
        else:
            app.reader.may_answer.clear()
            app.reader.has_news = True
        await until(lambda: "could not be read" in app.seen)
        answer.set()
        app.reader.may_answer.set()
        await until(lambda: "mc-table" in app.seen)


@in_a_loop
async def test_what_takes_long_to_read_for_the_first_time_is_no_failure(monkeypatch) -> None:
    async with running() as app:
        monkeypatch.setattr(app_module, "ANSWER_SECONDS", 0.05)
        app.reader.may_answer.clear()
        app.state.set(read_search(TABLE))
        await until(lambda: "it is still being read" in app.seen)
        assert "aria-busy" in app.seen
        assert not any(sign in app.seen for sign in ("could not be read", "mc-error", 'role="alert"'))
        app.reader.may_answer.set()
        await until(lambda: "mc-table" in app.seen)


@in_a_loop
async def test_looking_and_then_reading_for_long_are_no_failure_either(monkeypatch, caplog) -> None:
    async with running(seen=False) as app:
        monkeypatch.setattr(app_module, "ANSWER_SECONDS", 0.05)
        app.reader.may_look.clear()
        app.reader.may_answer.clear()
        app.state.set(read_search(TABLE))
        app.page.opened = 1.0
        await until(lambda: "it is still being read" in app.seen)
        queries = len(app.reader.queries)
        app.reader.may_look.set()
        await until(lambda: len(app.reader.queries) > queries)
        await asyncio.sleep(0.2)  # four times as long as is waited before it is said
        assert "it is still being read" in app.seen
        app.reader.may_answer.set()
        await until(lambda: "mc-table" in app.seen)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@in_a_loop
async def test_page_made_while_its_dataset_is_away_is_complete_when_that_comes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(app_module, "FIRST_SIGHT_SECONDS", 60)
    reader = OpeningReader(lambda: DatasetReader(Dataset(tmp_path / "dataset"), CALENDAR))
    page = FakePage()
    app = App(reader, page, Settings(str(tmp_path), refresh_seconds=0.001))
    assert "could not be read" in app._instead.value
    (tmp_path / "dataset").mkdir()
    write(tmp_path / "dataset", "window usage_hours\n05T13:30 100", "05T13:30")
    task = asyncio.create_task(app.run())
    assert "mc-matrix" in await app.first_sight("", 1280)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@in_a_loop
async def test_first_sight_is_not_of_a_failure_that_may_be_over(monkeypatch) -> None:
    monkeypatch.setattr(app_module, "FIRST_SIGHT_SECONDS", 0.05)
    reader = FakeReader()
    reader.fails = MissionControlError("no dataset")
    async with running(reader, seen=False) as app:
        reader.fails = None
        reader.may_answer.clear()
        assert await app.first_sight("", 1280) == ""
        reader.may_answer.set()


@pytest.mark.parametrize("search", [TABLE, DETAIL])
@in_a_loop
async def test_place_without_a_release_says_so_and_keeps_its_controls(search: str) -> None:
    async with running(search=search) as app:
        app.reader.answer = lambda query: NoRelease(query.channel, query.os_name, None)
        app.control("Platform").value = "Android"
        await until(lambda: "No version on the release channel for Android has sent a ping yet" in app.seen)
        assert "mc-table" not in app.seen
        assert "No data yet" in app.seen
        app.reader.answer = summary_of
        app.control("Platform").value = "Linux"
        await until(lambda: "on release, Linux" in app.headlines[-1])


# ---------- what is taken along ----------
@in_a_loop
async def test_table_is_downloaded_as_csv() -> None:
    async with running(search="?view=table&channel=beta&platform=linux") as app:
        app.page.hear(action="csv")
        content, [data] = app.page.sent[-1]
        assert content == {
            "do": "download",
            "filename": "missioncontrol-beta-linux.csv",
            "mime": "text/csv",
        }
        frame = pd.read_csv(BytesIO(data))
        assert frame["version"].tolist() == ["56.0", "55.0.3", "55.0", "54.0"]
        assert frame["change"].tolist()[0] == 0.38


@in_a_loop
async def test_detail_is_downloaded_as_parquet() -> None:
    async with running(search=DETAIL + "&measure=gpu_crashes") as app:
        app.page.hear(action="parquet")
        content, [data] = app.page.sent[-1]
        assert content["filename"] == "missioncontrol-release-windows_nt-gpu_crashes.parquet"
        frame = pd.read_parquet(BytesIO(data))
        assert len(frame) == 30
        assert frame["measure"].unique().tolist() == ["gpu_crashes"]


@in_a_loop
async def test_download_is_of_the_page_that_is_shown_while_another_is_read() -> None:
    async with running(search=DETAIL) as app:
        app.page.search = TABLE
        await shown(app)
        app.reader.may_answer.clear()
        app.page.search = DETAIL + "&measure=gpu_crashes"
        await until(lambda: app.reader.queries[-1].view == "detail")
        app.page.hear(action="csv")
        assert app.page.sent[-1][0]["filename"] == "missioncontrol-release-windows_nt.csv"


@in_a_loop
async def test_action_that_nobody_knows_does_nothing() -> None:
    async with running() as app:
        sent = len(app.page.sent)
        for action in ("csv", "../../etc/passwd", ""):
            app.page.hear(action=action)
        app.page.search = TABLE
        await shown(app)
        app.page.hear(action="xlsx")
        assert [content for content, _ in app.page.sent[sent:] if content["do"] == "download"] == []


# ---------- the lines' switches ----------
LINES = [("56.0", "56.0", "mc-v0"), ("55.0.3", "55.0.3", "mc-v1"), ("older", "Older", "mc-v-old")]


def boxes(switches: Switches) -> dict[str, widgets.Checkbox]:
    return {box.description: box for box in switches.widget.children}


def test_switch_hides_and_shows_its_line() -> None:
    state = State()
    switches = Switches(state)
    switches.show(LINES)
    assert {name: box.value for name, box in boxes(switches).items()} == {"56.0": True, "55.0.3": True, "Older": False}
    boxes(switches)["55.0.3"].value = False
    assert state.hidden == ("55.0.3", "older")
    boxes(switches)["Older"].value = True
    assert state.hidden == ("55.0.3",)
    boxes(switches)["55.0.3"].value = True
    assert state.hidden == ()


def test_state_sets_the_switches() -> None:
    state = State()
    switches = Switches(state)
    switches.show(LINES)
    state.hidden = ("56.0",)
    assert {name: box.value for name, box in boxes(switches).items()} == {"56.0": False, "55.0.3": True, "Older": True}
    assert state.hidden == ("56.0",)


def test_other_lines_do_not_change_what_is_hidden() -> None:
    state = State()
    switches = Switches(state)
    state.hidden = ("55.0.3", "older")
    switches.show(LINES)
    switches.show([("57.0b4", "57.0b4", "mc-v0")])
    assert state.hidden == ("55.0.3", "older")
    assert [box.value for box in switches.widget.children] == [True]
    switches.widget.children[0].value = False
    assert state.hidden == ("55.0.3", "57.0b4", "older")
    state.hidden = ("55.0.3", "older")
    switches.show(LINES)
    assert [box.value for box in switches.widget.children] == [True, False, False]
    assert [box._dom_classes for box in switches.widget.children] == [("mc-v0",), ("mc-v1",), ("mc-v-old",)]


@in_a_loop
async def test_older_lines_are_switched_together() -> None:
    async with running(search=DETAIL) as app:
        assert app.control("Older").value is False
        app.control("Older").value = True
        await shown(app)
        assert app.page.search == "?view=detail&interval=7d&off=none"
        assert app.reader.queries[-1].hidden == ()
        app.page.search = "?view=detail&interval=7d&off=56.0"
        await shown(app)
        assert (app.control("56.0").value, app.control("Older").value) == (False, True)


# ---------- a real dataset ----------
@pytest.fixture
def reader(tmp_path: Path) -> DatasetReader:
    rows = """
        window    display_version  build_id        usage_hours  main_crashes
        02T10:00  55.0.3           20171001120000  100          1
        05T13:00  56.0             20171004120000  100          2
        05T13:00  56.0             20171012120000  100          7
    """
    write(tmp_path, rows, "05T13:30")
    return DatasetReader(Dataset(tmp_path), CALENDAR)


def test_reader_answers_with_what_the_view_shows(reader: DatasetReader, tmp_path: Path) -> None:
    assert isinstance(reader.read(Query()), Overview)
    found = reader.read(Query(view="table"))
    assert isinstance(found, ChannelTable)
    assert found.rows[0].newest.events == 2
    everything = reader.read(Query(view="table", official=False))
    assert isinstance(everything, ChannelTable)
    assert everything.rows[0].newest.events == 9
    one = reader.read(Query(view="detail", measure="main_crashes"))
    assert isinstance(one, Detail)
    assert [line.name for line in one.lines] == ["56.0", "55.0.3"]
    assert isinstance(reader.read(Query(view="table", channel="esr")), NoRelease)
    assert reader.refresh() is False
    write(tmp_path, "window usage_hours\n05T13:35 1", "05T13:36")
    assert reader.refresh() is True


@in_a_loop
async def test_page_of_a_real_dataset_follows_it(reader: DatasetReader, tmp_path: Path) -> None:
    page = FakePage()
    app = App(reader, page, Settings(str(tmp_path), refresh_seconds=0.001))
    task = asyncio.create_task(app.run())
    page.hear(beat=1)
    page.search = "?view=detail&interval=7d&measure=main_crashes"
    await until(lambda: "13:30:00 UTC" in app._top.value and app._shown == app.state.query)
    write(tmp_path, "window usage_hours main_crashes\n05T13:35 100 5", "05T13:36")
    await until(lambda: "13:36:00 UTC" in app._top.value)
    assert "7 in 200" in app._views["detail"]._below.value
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


# ---------- before a browser is connected ----------
@in_a_loop
async def test_first_sight_is_what_the_url_asks_for_with_the_newest_data() -> None:
    async with running(seen=False, refresh_seconds=1000) as app:
        app.reader.has_news = True
        html = await app.first_sight("?view=table&channel=beta", 1280)
        assert app._shown == Query(view="table", channel="beta")
        assert app.reader.looked == 1
        assert app._headline.value in html
        assert ">Windows</h1>" in html
        assert 'href="?channel=beta">Beta</a>' in html
        assert len(app.reader.queries) == 2, "the first page, and what was asked for"


@pytest.mark.parametrize("search", ["?view=table", "?channel=beta"])
@in_a_loop
async def test_first_sight_of_a_slow_dataset_is_empty_rather_than_another_page(search, monkeypatch) -> None:
    monkeypatch.setattr(app_module, "FIRST_SIGHT_SECONDS", 0.05)
    async with running(seen=False) as app:
        app.reader.may_answer.clear()
        assert await app.first_sight(search, 1280) == ""
        app.reader.may_answer.set()
        await until(lambda: app._shown == app.state.query)


@in_a_loop
async def test_first_sight_comes_although_new_data_cannot_be_looked_for() -> None:
    async with running(seen=False) as app:
        app.reader.refresh_fails = OSError("no disk")
        assert ">Windows</h1>" in await app.first_sight("?view=table", 1280)


@in_a_loop
async def test_first_sight_says_that_data_stopped_while_the_page_waited() -> None:
    async with running(seen=False) as app:
        app._data_up_to = datetime.now(UTC)
        app._show_frame(app.state.query)
        assert "mc-fresh mc-stale" not in app._top.value
        app._data_up_to -= timedelta(seconds=app._settings.stale_after_seconds + 1)
        assert "mc-fresh mc-stale" in await app.first_sight("", 1280)


@in_a_loop
async def test_first_sight_of_a_phone_is_drawn_for_one() -> None:
    async with running(seen=False) as app:
        await app.first_sight("?view=detail", 390)
        assert app.state.interval == "48h"


@in_a_loop
async def test_first_sight_without_a_page_is_empty() -> None:
    before, app_module.Latest.app = app_module.Latest.app, None
    try:
        assert (await app_module.first_sight("?view=table", 1280)).text == ""
    finally:
        app_module.Latest.app = before


@in_a_loop
async def test_page_starts_with_what_its_settings_ask_for() -> None:
    reader = FakeReader()
    App(reader, FakePage(), Settings("nowhere", search="?view=table&platform=mac"))
    assert reader.queries == [Query(view="table", os_name="Darwin")]


def test_last_day_of_a_custom_interval_is_within_it() -> None:
    days = {"since": date(2017, 10, 1), "until": date(2017, 10, 3)}
    request = detail_request(Query(view="detail", interval="custom", cut=5, window="1d", **days))
    assert (request.since, request.until) == (moment("01T00:00"), moment("04T00:00"))
    assert (request.cut, request.every) == (5, "1d")


@pytest.mark.parametrize(("interval", "length"), [("24h", 24), ("48h", 48), ("7d", 168), ("14d", 336)])
def test_interval_is_as_long_as_its_button_says(interval: Any, length: int) -> None:
    request = detail_request(Query(view="detail", interval=interval))
    assert (request.length, request.since, request.until) == (timedelta(hours=length), None, None)
