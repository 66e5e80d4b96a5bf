"""A page that stays open: what its visitor is doing survives updates, and so do faults of the dataset's place."""

import re
from collections.abc import Callable

from jupyter_client import BlockingKernelClient
from playwright.sync_api import Page, WebSocketRoute

from tests.browser.conftest import KERNEL_ID, Served, wait_until, wait_until_live
from tests.browser.test_server import kernel_process


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
    process = kernel_process(served, kernel_id)
    client = BlockingKernelClient(connection_file=next(part for part in process.cmdline() if part.endswith(".json")))
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
    labels = [text.strip("\u200b\n ") for text in page.locator(".mc-versions .widget-checkbox").all_inner_texts()]
    assert labels == ["56.0", "55.0.3", "55.0.2", "Older"]
    assert "javascript error" not in page.content()
