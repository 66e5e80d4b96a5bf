"""The pages without a mouse and without eyes: axe-core's rules, focus that is seen, states that are said."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from missioncontrol_nb.dashboard import prerender
from missioncontrol_nb.dashboard.app import App
from missioncontrol_nb.dashboard.judged import Judged
from missioncontrol_nb.dashboard.messages import StillReadingError
from missioncontrol_nb.dashboard.server.settings import Settings
from missioncontrol_nb.dashboard.widgets.page import Page as PageWidget
from missioncontrol_nb.monitor import MeasureSummary, NoRelease, Overview
from streaming import contract
from streaming.errors import MissionControlError
from tests.browser.axe import issues
from tests.browser.conftest import SHOWN, offline_browser, open_view, wait_for
from tests.browser.page_actions import turn_to
from tests.unit.small_summaries import NO_CONTENT, NOW, UP, channel, detail, overview, platform, without_pings
from tests.unit.small_verdicts import judged

VIEWS = {"overview": "", "table": "?view=table", "detail": "?view=detail&interval=7d&table=open"}


@pytest.fixture(scope="module")
def visited(chromium, dashboard_server) -> Iterator[Page]:
    """One visitor's page for all tests of the live pages."""
    with offline_browser(chromium) as browser:
        yield open_view(browser.new_page(viewport={"width": 1280, "height": 900}), dashboard_server)


def turned_to(page: Page, view: str) -> Page:
    """The page, as wide and light as it was, once it shows a view."""
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")
    turn_to(page, VIEWS[view] or "/")
    page.wait_for_selector(SHOWN[view])
    if view == "detail":
        page.wait_for_selector(".mc-chart canvas")
    return page


def found_in_all_looks(page: Page) -> list[str]:
    """axe's findings in both themes, on a desk and on a phone."""
    found = []
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme, reduced_motion="reduce")
            found += [f"{width} {theme}: {issue}" for issue in issues(page)]
    page.set_viewport_size({"width": 1280, "height": 900})
    return found


# ---------- the live pages ----------
FOCUSED = """() => {
  const el = document.activeElement, style = getComputedStyle(el);
  if (el === document.body) return null;
  const box = el.getBoundingClientRect();
  const isOutlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return [el.outerHTML.slice(0, 120), isOutlined && box.width > 2 && box.height > 2];
}"""


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_and_focus_is_seen_on_every_control(visited, view) -> None:
    page = turned_to(visited, view)
    wait_for(page, "document.querySelector('[role=main]#mc-main') !== null")
    assert found_in_all_looks(page) == []
    page.emulate_media(color_scheme="light")
    page.evaluate("document.activeElement.blur(), getSelection().setPosition(document.body, 0)")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    met: list[str] = []
    while (focused := page.evaluate(FOCUSED)) is not None and len(met) < 200:
        assert focused[1], f"focus is not seen on {focused[0]}"
        met.append(focused[0])
        page.keyboard.press("Tab")
    assert len(met) > 10


def test_toggles_say_their_role_name_and_state(visited) -> None:
    page = turned_to(visited, "table")
    group = page.get_by_role("group", name="Show", exact=True)
    assert group.get_by_role("button", name="Rate", pressed=True).count() == 1
    group.get_by_role("button", name="Count", pressed=False).focus()
    page.keyboard.press("Enter")
    group.get_by_role("button", name="Count", pressed=True).wait_for()
    assert group.get_by_role("button", pressed=True).count() == 1


def test_skip_link_leads_to_the_content(visited) -> None:
    page = turned_to(visited, "overview")
    wait_for(page, "document.querySelector('[role=main]#mc-main') !== null")
    before = page.evaluate("location.href")
    page.locator("#rendered_cells .mc-skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "mc-main"
    assert page.evaluate("location.href") == before


def test_freshness_is_said_only_when_it_changes(visited) -> None:
    page = turned_to(visited, "overview")
    clock = page.locator("#rendered_cells .mc-fresh")
    clock.evaluate("el => { el.dataset.mcStaleAfter = 1_000_000_000; }")
    wait_for(page, "!document.querySelector('#rendered_cells .mc-fresh').classList.contains('mc-stale')")
    page.evaluate("""() => {
      window.said = [];
      const top = document.querySelector("#rendered_cells .mc-top");
      new MutationObserver((changes) => {
        for (const each of changes) {
          const el = each.target.closest ? each.target : each.target.parentElement;
          const place = el.closest("[role=status], [aria-live]");
          if (place) said.push(place.textContent);
        }
      }).observe(top, {childList: true, characterData: true, subtree: true});
    }""")
    before = clock.inner_text()
    clock.evaluate("el => { el.dataset.mcUpTo -= 300_000; }")
    wait_for(page, f"document.querySelector('#rendered_cells .mc-fresh').innerText !== {before!r}")
    assert page.evaluate("said") == []
    clock.evaluate("el => { el.dataset.mcStaleAfter = 0; }")
    wait_for(page, "said.length > 0")
    clock.evaluate("el => { el.dataset.mcStaleAfter = 1_000_000_000; }")
    wait_for(page, "said.length > 1")
    assert [text.split(" at ")[0].split(",")[0] for text in page.evaluate("said")] == [
        "Data stopped",
        "Data arrive again",
    ]


def test_what_is_no_day_is_said_and_the_back_button_takes_it_back(visited) -> None:
    page = turned_to(visited, "detail")
    page.get_by_role("group", name="Interval", exact=True).get_by_role("button", name="Custom").click()
    first = page.get_by_label("First day", exact=True).locator("visible=true")
    wait_for(page, "location.search.includes('since=')")
    before = first.input_value()
    assert f"since={before}" in page.evaluate("location.search")
    first.fill("29/09/2017")
    page.keyboard.press("Tab")
    page.get_by_role("alert").get_by_text("Write a day as YYYY-MM-DD").wait_for()
    wait_for(page, "document.querySelector('.mc-day input[aria-invalid=true]') !== null")
    assert f"since={before}" in page.evaluate("location.search")
    first.fill("2017-09-29")
    page.keyboard.press("Tab")
    wait_for(page, "document.querySelector('.mc-day input[aria-invalid=true]') === null")
    wait_for(page, f"!location.search.includes('since={before}')")
    page.go_back()
    wait_for(page, f"document.querySelector('#rendered_cells .mc-day input').value === '{before}'")


EDGES = """() => ["mc-crumbs", "mc-headline"].map((name) => {
  const box = document.querySelector(`#rendered_cells .${name}`).getBoundingClientRect();
  return Math.round(box.left);
})"""
TABLE = """() => [".mc-table thead", ".mc-table"]
  .map((name) => document.querySelector(`#rendered_cells ${name}`))
  .map((el) => [getComputedStyle(el).display, el.getBoundingClientRect().right <= innerWidth])"""


def test_header_and_page_are_aligned_and_a_tablet_shows_a_table(visited) -> None:
    page = turned_to(visited, "table")
    for width in (820, 1280, 1920, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        crumbs, headline = page.evaluate(EDGES)
        assert crumbs == headline, width
        assert page.evaluate(TABLE) == [["table-header-group", True], ["table", True]], width
    page.set_viewport_size({"width": 1280, "height": 900})


# ---------- pages with nothing to show ----------
class Given:
    """A reader that gives one summary, or fails."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome

    def products(self) -> contract.Products:
        return contract.PACKAGED_PRODUCTS

    def refresh(self) -> bool:
        return False

    def judged(self, _query: object) -> Judged:
        return judged()

    def read(self, _query: object) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


STATES = {
    "empty": ("", Overview((), None, NOW)),
    "no usage yet": ("", overview(channel(platform("Windows_NT", UP, UP), without_pings("Linux")))),
    "no release": ("?view=table", NoRelease("release", "Windows_NT", NOW)),
    "not reported": (
        "?view=detail",
        detail(MeasureSummary("content_crashes", "not_reported", why=NO_CONTENT), names=()),
    ),
    "failed": ("?view=detail", MissionControlError("no dataset")),
    "still reading": ("?view=detail", StillReadingError("The dataset has not answered for 8 s")),
}


@pytest.mark.parametrize("name", STATES)
def test_axe_finds_nothing_where_there_is_nothing_to_show(browser, name) -> None:
    search, outcome = STATES[name]
    app = App(Given(outcome), PageWidget(), Settings("nowhere", search=search))
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    shown = prerender.page(app.widget)
    page.set_content(f'<!DOCTYPE html><html lang="en"><head><title>Pages</title></head><body>{shown}</body></html>')
    page.evaluate("document.querySelectorAll('[inert]').forEach((each) => { each.inert = false; })")
    assert found_in_all_looks(page) == []
