"""A page before its widgets are there: the same figures in the same places, links that lead on, charts that stay."""

import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest
from playwright.sync_api import Page, Route

from tests.browser.conftest import KERNEL_ID, SHOWN, open_view, settled, wait_for, wait_until_live
from tests.browser.kernel_of_page import get, kernel_process, new_kernel
from tests.patience import wait_until

PHONE = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Mobile Safari/537.36"
PLACES = """() => [...document.querySelectorAll(
  ".mc-top, .mc-main > *, .mc-controls *, .mc-panel > *, .mc-versions input, .mc-chart canvas, .mc-card, td, th"
)].filter((part) => part.getClientRects().length).map((part) => {
  const {x, y, width, height} = part.getBoundingClientRect();
  return [part.tagName, x, y, width, height, ["INPUT", "SELECT"].includes(part.tagName) ? part.value : ""];
})"""


def hold_scripts(page: Page) -> Callable[[], None]:
    """Keeps Voilà's scripts from the page until the returned function is called."""
    held: list[Route] = []
    page.route("**/voila.js", lambda route: held.append(route))

    def release() -> None:
        while held:
            held.pop().continue_()
        page.unroute("**/voila.js")

    return release


def look(page: Page, url: str, search: str, view: str) -> None:
    """Opens a page and waits for what it shows before its widgets."""
    open_showing_at_once(page, url, search)
    page.wait_for_selector(f"#mc-still {SHOWN[view]}")
    if view == "detail":
        page.wait_for_selector("#mc-still .mc-chart canvas")


def open_showing_at_once(page: Page, url: str, search: str) -> None:
    """Opens a page, anew until it shows something before its widgets: a busy machine's kernel may be too slow to."""

    def is_shown() -> bool:
        wait_until(lambda: get(url + "health")[0] == 200)
        response = page.goto(url + search, wait_until="commit")
        return 'id="mc-still"' in response.text()

    wait_until(is_shown)


@pytest.fixture(params=[1280, 390])
def page(browser, request) -> Page:
    agent = {"user_agent": PHONE} if request.param == 390 else {}
    return browser.new_page(viewport={"width": request.param, "height": 900}, **agent)


@pytest.mark.parametrize("view", SHOWN)
def test_nothing_moves_when_the_widgets_take_over(page, dashboard_server, view):
    release = hold_scripts(page)
    look(page, dashboard_server, f"?view={view}", view)
    page.evaluate("document.querySelectorAll('#mc-still canvas').forEach((canvas) => { canvas.kept = true; })")
    wait_for(page, "document.fonts.status === 'loaded'")
    before = page.evaluate(PLACES)
    release()
    wait_until_live(page)
    after = page.evaluate(PLACES)
    assert [part[0] for part in before] == [part[0] for part in after]
    assert len(before) > 10
    moved = [pair for pair in zip(before, after, strict=True) if is_elsewhere(*pair)]
    assert moved == []
    if view == "detail":
        settled(page)
        assert page.evaluate("document.querySelector('.mc-chart canvas').kept") is True
        assert page.locator(".mc-chart").get_attribute("data-mc-embeds") == "1"


def is_elsewhere(before: list, after: list) -> bool:
    """Whether an element has moved by more than what rounding does to a row of controls."""
    return before[-1] != after[-1] or any(abs(was - now) > 2 for was, now in zip(before[1:5], after[1:5], strict=True))


def test_a_link_clicked_before_the_widgets_are_there_leads_on_in_the_same_kernel(browser, dashboard_server):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    release = hold_scripts(page)
    look(page, dashboard_server, "", "overview")
    kernel = page.evaluate(KERNEL_ID)
    page.locator("#mc-still a", has_text="Beta").first.click()
    assert page.url.endswith("?channel=beta")
    release()
    wait_until_live(page)
    wait_for(page, "document.querySelector('.mc-crumbs [aria-current]').textContent === 'Beta'")
    assert page.evaluate(KERNEL_ID) == kernel
    page.go_back()
    wait_for(page, "document.querySelector('.mc-crumbs [aria-current]').textContent === 'Release'")


def test_a_kernel_that_does_not_answer_delays_the_page_little_and_it_lives_on(browser, dashboard_server):
    wait_until(lambda: get(dashboard_server + "health")[0] == 200)
    kernels = dashboard_server.kernels()
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    for kernel in kernels:
        with suppress(psutil.NoSuchProcess):  # that of a page which an earlier test has left
            kernel.suspend()
    try:
        began = time.monotonic()
        page.goto(dashboard_server, wait_until="commit")
        page.wait_for_selector("#mc-skeleton")
        wait_for(page, "document.readyState !== 'loading'")
        assert time.monotonic() - began < 30
        assert page.locator("#mc-still").count() == 0
    finally:
        for kernel in kernels:
            with suppress(psutil.NoSuchProcess):
                kernel.resume()
    page.wait_for_selector(SHOWN["overview"])
    wait_until_live(page)


def test_a_kernel_that_dies_before_the_widgets_come_is_replaced(browser, dashboard_server):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    hold_scripts(page)
    look(page, dashboard_server, "?view=table", "table")
    kernel_id = page.evaluate(KERNEL_ID)
    kernel_process(dashboard_server, kernel_id).send_signal(signal.SIGKILL)
    wait_until(lambda: new_kernel(page, kernel_id))
    assert page.url.endswith("?view=table")


def test_a_page_that_comes_slowly_says_so_and_waits(browser, dashboard_server):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    release = hold_scripts(page)
    look(page, dashboard_server, "", "overview")
    kernel_id = page.evaluate(KERNEL_ID)
    page.wait_for_selector("#mc-banner:not([hidden])")
    assert page.locator("#mc-banner").inner_text().startswith("Still loading")
    release()
    wait_until_live(page)
    wait_until(page.locator("#mc-banner").is_hidden)
    assert page.evaluate(KERNEL_ID) == kernel_id


def test_a_link_clicked_while_the_widgets_come_is_followed(browser, dashboard_server):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.add_init_script("""new MutationObserver((_, watch) => {
      const link = document.querySelector("#rendered_cells .mc") && document.querySelector("#mc-still .mc-cell");
      if (!link) return;
      watch.disconnect();
      globalThis.clicked = link.getAttribute("href");
      link.click();
    }).observe(document, {childList: true, subtree: true});""")
    open_showing_at_once(page, dashboard_server, "")
    page.wait_for_selector(".mc-table")
    wait_until_live(page)
    assert page.evaluate("globalThis.clicked") == page.evaluate("location.search")


def test_a_phone_is_drawn_as_one_from_the_start(browser, dashboard_server):
    page = browser.new_page(viewport={"width": 390, "height": 844}, user_agent=PHONE)
    hold_scripts(page)
    look(page, dashboard_server, "?view=detail", "detail")
    assert page.locator("#mc-still .mc-more").inner_text().startswith("48 h")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_narrow_window_that_says_so_late_ends_the_same(browser, dashboard_server):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    open_view(page, dashboard_server, "?view=detail", "detail")
    wait_for(page, "location.search.includes('interval=48h')")
    wait_until(lambda: page.locator(".mc-more:visible").inner_text().startswith("48 h"))
