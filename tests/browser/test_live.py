"""A page that stays open: what its visitor is doing survives updates, and so do faults of the dataset's place."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import nbformat
import pytest
from jupyter_client import BlockingKernelClient
from playwright.sync_api import Page, WebSocketRoute

from streaming import contract
from tests.browser.conftest import (
    HERE,
    KERNEL_ID,
    Served,
    connection_file,
    evaluate,
    open_view,
    running_server,
    settled,
    wait_for,
    wait_until_live,
)
from tests.browser.kernel_of_page import get, kernel_process
from tests.patience import wait_until
from tests.unit.small_dataset import CALENDAR, moment, write

UPDATES, UPDATING_SECONDS = 5, 8.0  # at least so many, and for so long

HISTORY = """
    window     display_version  os_name     usage_hours  main_crashes  content_crashes  gpu_crashes
    02T10:00   55.0.3           Windows_NT  90000        180           900              90
    05T13:00   56.0             Windows_NT  90000        180           900              90
    02T10:00   55.0.3           Linux       9000         18            90               9
    05T13:00   56.0             Linux       9000         18            90               9
"""


class Growing:
    """A small dataset that gets more pings of 56.0 on Windows with each `grow`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calendar = folder / "dataset", folder / "releases.json"
        self.folder.mkdir()
        releases = [[each.version, each.channel, each.date.isoformat()] for each in CALENDAR.releases]
        self.calendar.write_text(json.dumps({"releases": releases}))
        self._commits = 0
        write(self.folder, HISTORY, "05T13:30")

    def grow(self) -> None:
        """One more commit; by turns another measure becomes the one with the largest change."""
        self._commits += 1
        worst, other = ("main_crashes", "gpu_crashes") if self._commits % 2 else ("gpu_crashes", "main_crashes")
        window = moment("05T13:30") + self._commits * contract.WINDOW
        row = f"{window:%dT%H:%M} 90000 {self._commits * 2000} 100 900"
        up_to = f"{window + timedelta(minutes=1):%dT%H:%M}"
        write(self.folder, f"window usage_hours {worst} {other} content_crashes\n{row}", up_to)


@contextmanager
def serving(data: Growing, refresh: float, *options: object) -> Iterator[Served]:
    command = [sys.executable, "-m", "tests.browser.serve_dataset", data.folder, data.calendar, "--refresh", refresh]
    with running_server([*command, *options], data.folder.parent / "server.log", HERE.parents[1]) as served:
        yield served


# ---------- updates ----------
@pytest.fixture
def growing(tmp_path) -> Iterator[tuple[Growing, Served]]:
    """A dataset and its dashboard, which shows what is new within a fraction of a second."""
    data = Growing(tmp_path)
    with serving(data, 0.1) as served:
        yield data, served


BEGIN = """([link, text]) => {
  const inner = document.querySelector(".mc-get pre, .mc-say");
  inner.style.cssText = "max-height: 20px; width: 120px; overflow: scroll; white-space: nowrap";
  inner.scrollLeft = 15;
  const texts = document.createTreeWalker(document.querySelector(text), NodeFilter.SHOW_TEXT), nodes = [];
  while (texts.nextNode()) nodes.push(texts.currentNode);
  const longest = nodes.sort((one, other) => other.data.length - one.data.length)[0];
  getSelection().setBaseAndExtent(longest, 1, longest, longest.data.length - 1);
  const focused = document.querySelector(link);
  focused.focus({preventScroll: true});
  scrollBy(0, focused.getBoundingClientRect().top - 300);
  Object.assign(window, {inner, focused, selectedText: String(getSelection()), scrolledTo: scrollY});
  const {x, y, height} = focused.getBoundingClientRect();
  return [x + 3, y + height / 2];
}"""
STATE = """() => ({
  focus: document.activeElement === focused && focused.isConnected,
  selection: String(getSelection()) === selectedText && selectedText.length > 5,
  scroll: scrollY > 0 && Math.abs(scrollY - scrolledTo) <= 1,
  inner: inner.isConnected && Math.abs(inner.scrollLeft - 15) <= 1,
  hover: focused.matches(":hover"),
})"""
UP_TO = "document.querySelector('.mc-fresh').dataset.mcUpTo"
VIEWS = [
    ("", "overview", ".mc-card[data-mc-key=Windows_NT] h3 a", ".mc-main > .mc-body > div > p"),
    ("?view=table", "table", ".mc-table tr[data-mc-key=main_crashes] th a", ".mc-note"),
    ("?view=detail&measure=main_crashes&table=open", "detail", ".mc-toggle", ".mc-plain tbody tr:last-child th"),
]


def test_focus_selection_scroll_and_hover_stay_through_updates(browser, growing):
    data, served = growing
    pages: dict[str, Page] = {}
    for search, view, link, text in VIEWS:
        page = pages[view] = browser.new_page(viewport={"width": 1280, "height": 450})
        open_view(page, served, search, view)
        settled(page)
        page.mouse.move(*page.evaluate(BEGIN, [link, text]))
        assert set(page.evaluate(STATE).values()) == {True}
    shown: dict[str, set[str]] = {view: set() for view in pages}
    began, updates = time.monotonic(), 0
    while updates < UPDATES or time.monotonic() - began < UPDATING_SECONDS:
        updates += 1
        up_to = {view: page.evaluate(UP_TO) for view, page in pages.items()}
        data.grow()
        for view, page in pages.items():
            wait_for(page, f"{UP_TO} !== '{up_to[view]}'")
            shown[view].add(page.locator(".mc-main").inner_text())
            state = page.evaluate(STATE)
            if view == "table":  # its rows change places, and the pointer stays where it is
                del state["hover"]
            assert [name for name, is_kept in state.items() if not is_kept] == [], view
    assert [len(texts) for texts in shown.values()] == [updates] * len(pages)


# ---------- widgets that come while others are fetched ----------
def hold_fetch(page: Page) -> tuple[list[bool], Callable[[], None]]:
    """Keeps the page's request for all widgets from the kernel: whether it is held, and what lets it go on."""
    held: list[tuple[WebSocketRoute, str | bytes]] = []
    is_held: list[bool] = []

    def route(page_side: WebSocketRoute) -> None:
        kernel_side = page_side.connect_to_server()

        def pass_on(message: str | bytes) -> None:
            if b"request_states" in (message if isinstance(message, bytes) else message.encode()) and not is_held:
                held.append((kernel_side, message))
                is_held.append(True)
            else:
                kernel_side.send(message)

        page_side.on_message(pass_on)

    page.route_web_socket(re.compile("/channels"), route)
    return is_held, lambda: [side.send(message) for side, message in held]


def run_in_kernel(served: Served, kernel_id: str, code: str) -> None:
    """Runs code in the kernel of a page, as the server does."""
    file = connection_file(kernel_process(served, kernel_id))
    client = BlockingKernelClient(connection_file=str(file))
    client.load_connection_file()
    client.start_channels(stdin=False, hb=False)
    try:
        answer = client.execute_interactive(code, timeout=90, output_hook=lambda message: None)
        assert answer["content"]["status"] == "ok"
    finally:
        client.stop_channels()


def test_view_first_shown_while_the_browser_fetches_all_widgets_has_its_switches(browser, dashboard_server):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    is_held, let_go = hold_fetch(page)
    page.goto(dashboard_server)
    wait_until(lambda: page.evaluate("true") and is_held)
    show = "from missioncontrol_nb.dashboard.app import first_sight as _ask; await _ask('?view=detail', 1280)"
    run_in_kernel(dashboard_server, page.evaluate(KERNEL_ID), show)
    let_go()
    wait_until_live(page)
    page.evaluate("history.pushState(null, '', '?view=detail'); dispatchEvent(new PopStateEvent('popstate'))")
    page.wait_for_selector(".mc-chart canvas")
    labels = page.locator(".mc-versions .widget-checkbox")
    wait_until(lambda: labels.count() == 4)
    assert [text.strip("\u200b\n ") for text in labels.all_inner_texts()] == ["56.0", "55.0.3", "55.0.2", "Older"]
    assert "javascript error" not in page.content()


# ---------- a dataset that is away, and comes back ----------
def failure_of(page: Page) -> str:
    """The sentence that stands in place of a view; "" where there is none."""
    found = page.locator("#rendered_cells [role=alert] .mc-error, #mc-still [role=alert] .mc-error")
    return found.first.inner_text() if found.count() else ""


def test_vanished_dataset_is_said_by_open_and_new_pages_which_go_on_by_themselves(browser, tmp_path):
    data = Growing(tmp_path)
    with serving(data, 1.0, "--pool", 2) as served:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        open_view(page, served, "?view=table", "table")
        for what in (data.folder, data.folder / "error_aggregates" / "_delta_log"):
            what.rename(tmp_path / "away")
            wait_until(lambda: failure_of(page).startswith("The dataset could not be read"))
            visitor = browser.new_page(viewport={"width": 390, "height": 844})
            visitor.goto(served)
            wait_until(lambda visitor=visitor: failure_of(visitor).startswith("The dataset could not be read"))
            (tmp_path / "away").rename(what)
            page.wait_for_selector(".mc-table")
            visitor.wait_for_selector(".mc-matrix")
            assert (failure_of(page), failure_of(visitor)) == ("", "")
            visitor.close(run_before_unload=True)
        assert re.search(f"could not be read: .*{re.escape(str(data.folder))}", served.log.read_text())


def test_page_made_while_dataset_and_calendar_were_away_is_good_for_the_next_visitor(browser, tmp_path):
    data = Growing(tmp_path)
    (tmp_path / "away").mkdir()
    for name in ("dataset", "releases.json"):
        (tmp_path / name).rename(tmp_path / "away" / name)
    with serving(data, 1.0, "--pool", 1) as served:
        for name in ("dataset", "releases.json"):
            (tmp_path / "away" / name).rename(tmp_path / name)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(served)
        page.wait_for_selector(".mc-matrix")
        assert page.locator(".mc-failed").count() == 0
        assert failure_of(page) == ""


# ---------- a page that cannot be made ----------
FAILING = """
from pathlib import Path
from ipywidgets import HTML
from missioncontrol_nb.dashboard.widgets import Page
from ipywidgets import VBox
if Path({flag!r}).exists():
    raise RuntimeError("it is broken")
box = VBox([Page(), HTML("<b id=made>made</b>")])
box.add_class("mc")
box
"""


@pytest.fixture
def failing(tmp_path) -> tuple[Path, Path]:
    """A notebook that fails as long as a file is there."""
    flag, notebook = tmp_path / "broken", tmp_path / "failing.ipynb"
    flag.touch()
    cell = nbformat.v4.new_code_cell(FAILING.format(flag=str(flag)))
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), notebook)
    return notebook, flag


def test_waiting_page_that_failed_is_not_handed_out(browser, serve, failing):
    notebook, flag = failing
    with serve([sys.executable, "-m", "tests.browser.serve_notebook", notebook, "--pool", 2], HERE.parents[1]) as url:
        assert get(url + "health")[0] == 503, "no page is ready"
        flag.unlink()
        page = browser.new_page()
        page.goto(url)
        page.wait_for_selector("#made")
        assert page.locator(".mc-failed").count() == 0
        wait_until(lambda: get(url + "health")[0] == 200)


def test_page_that_could_not_be_made_says_so_and_tries_again_by_itself(browser, serve, failing):
    notebook, flag = failing
    with serve([sys.executable, "-m", "tests.browser.serve_notebook", notebook, "--pool", 0], HERE.parents[1]) as url:
        page = browser.new_page()
        page.goto(url)
        said = re.compile(
            r"This page could not be made. The reason is in the server's log. It is tried again after (\d+) s."
        )

        def pause() -> int:
            page.wait_for_selector(".mc-failed")
            found = said.fullmatch(str(evaluate(page, "document.querySelector('.mc-failed')?.innerText")))
            return int(found[1]) if found else 0

        first = wait_until(pause)
        # None while it tries again
        assert "Traceback" not in wait_until(lambda: evaluate(page, "document.documentElement.outerHTML"))
        assert "RuntimeError: it is broken" in url.log.read_text()
        wait_until(lambda: pause() > first)
        flag.unlink()
        page.wait_for_selector("#made")
        wait_for(page, "sessionStorage.length === 0")
