"""The real dashboard in real Chromium: every control, every URL, the back button, phones, strangers, downloads."""

import json
import re
import sys
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page

from tests.browser.conftest import KERNEL_ID, Seen, offline_browser, open_view, seen, settled, wait_for
from tests.browser.page_actions import download, dropdown, number, table_texts, toggle, turn_to
from tests.patience import wait_until

VIEWS = ("overview", "table", "detail")
MISSIONCONTROL = Path(sys.executable).with_name("missioncontrol")


@pytest.fixture(scope="module")
def one_page(chromium, dashboard_server) -> Iterator[Page]:
    """One visitor's page for the tests that end where they began; it must log no error."""
    with offline_browser(chromium) as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield open_view(page, dashboard_server)
        assert errors == []
        assert dashboard_server.log.read_text().splitlines() == ["Making the first page ready ..."]


# ---------- controls ----------


def checkbox(page: Page, name: str) -> None:
    page.locator(".mc-versions label", has_text=re.compile(f"^{re.escape(name)}$")).locator("input").click()


def link(page: Page, text: str) -> None:
    page.locator(".mc a:visible", has_text=text).first.click()


def day(page: Page, label: str, value: str) -> None:
    page.get_by_label(label, exact=True).locator("visible=true").fill(value)
    page.keyboard.press("Tab")


# (what is clicked, its label, the choice, what the URL then says of it)
SEEN_EVERY_SECONDS = 0.3  # what is seen of a page is large
TABLE_STEPS = [
    (toggle, "Time", "Last 24 h", "period=last-24h"),
    (toggle, "Show", "Count", "show=count"),
    (dropdown, "Channel", "Beta", "channel=beta"),
    (dropdown, "Platform", "macOS", "platform=mac"),
    (toggle, "Order", "By name", "order=name"),
    (link, "show all builds", "", "builds=all"),
]
DETAIL_STEPS = [
    (dropdown, "Platform", "Linux", "platform=linux"),
    (toggle, "Builds", "All", "builds=all"),
    (toggle, "Builds", "Official", "platform=linux"),
    (dropdown, "Platform", "Windows", "interval=7d"),
    (dropdown, "Measure", "Main crashes", "measure=main_crashes"),
    (dropdown, "Leave out highest", "5 % of rates", "cut=5"),
    (toggle, "Show", "Count", "show=count"),
    (toggle, "Window", "Day", "window=1d"),
    (toggle, "Interval", "14 d", "interval=14d"),
    (toggle, "Time", "Since release", "time=since-release"),
    (toggle, "First 24 h", "Left out", "skip=24h"),
    (toggle, "First 24 h", "Shown", "time=since-release"),
    (toggle, "Time", "Latest", "interval=14d"),
    (checkbox, "55.0.3", "", "off="),
    (dropdown, "Line for each", "Build", "line=build"),
    (dropdown, "Line for each", "Country", "line=country"),
    (toggle, "Interval", "Custom", "since="),
    (link, "Table behind the chart", "", "table=open"),
    (dropdown, "Channel", "Beta", "channel=beta"),
]


def act(page: Page, step: tuple, before: Seen) -> Seen:
    """Does one step and expects page and URL to say so; what is there then."""
    what, label, choice, said = step
    what(*([page, label, choice] if choice else [page, label]))
    try:
        has_chart = what is not link and "view=detail" in before.url
        wait_until(lambda: differs(before, seen(page), has_chart), every=SEEN_EVERY_SECONDS)
    except AssertionError:
        raise AssertionError(f"{label} {choice}: {before.url} and {page.url} look alike") from None
    after = settled(page)
    assert said in after.url, (label, choice)
    return after


def differs(before: Seen, after: Seen, has_other_chart: bool) -> bool:
    """Whether a step has come through: the URL, what is written, and the chart, which is drawn last."""
    written, drawn = (json.loads(state.content) for state in (before, after))
    is_drawn = written[2] != drawn[2] or not has_other_chart
    return before.url != after.url and written != drawn and is_drawn


def walk(page: Page, steps: list[tuple]) -> list[Seen]:
    """Does all steps; the states before each, and after the last."""
    states = [settled(page)]
    for step in steps:
        states.append(act(page, step, states[-1]))
    return states


def expect(page: Page, state: Seen) -> None:
    try:
        wait_until(lambda: seen(page) == state, every=SEEN_EVERY_SECONDS)
    except AssertionError:
        assert settled(page)._asdict() == state._asdict()


@pytest.mark.parametrize(
    ("view", "steps"), [pytest.param("table", TABLE_STEPS, marks=pytest.mark.long), ("detail", DETAIL_STEPS)]
)
def test_each_control_changes_page_and_url_and_the_url_restores_it(browser, dashboard_server, view, steps):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    open_view(page, dashboard_server, f"?view={view}", view)
    kernel = page.evaluate(KERNEL_ID)
    states = walk(page, steps)
    for state in reversed(states[:-1]):
        page.go_back()
        expect(page, state)
    for state in states[1:]:
        page.go_forward()
        wait_for(page, f"location.href === '{state.url}'")
    expect(page, states[-1])
    assert page.evaluate(KERNEL_ID) == kernel
    page.reload()
    page.wait_for_selector(".mc-headline")
    assert page.evaluate(KERNEL_ID) != kernel
    expect(page, states[-1])
    elsewhere = browser.new_page(viewport={"width": 1280, "height": 900})
    elsewhere.goto(states[-1].url)
    expect(elsewhere, states[-1])


def test_clicks_lead_from_overview_to_table_to_detail_and_back_within_one_kernel(one_page):
    page = one_page
    kernel = page.evaluate(KERNEL_ID)
    page.evaluate("window.kept = true")
    steps = [
        (link, "Beta", "", "channel=beta"),
        (link, "show all builds", "", "builds=all"),
        (link, "show official ones only", "", "channel=beta"),
        (link, "Release", "", "/"),
        (link, "Windows", "", "view=table"),
        (link, "Content crashes", "", "view=detail"),
    ]
    states = walk(page, steps)
    assert [state.title.split(" · ")[0] for state in states[-3:]] == [
        "Release", "Release, Windows", "Content crashes, Release, Windows"
    ]  # fmt: skip
    for crumb, state in (("Windows", states[-2]), ("Release", states[-3])):
        page.locator(".mc-crumbs a", has_text=crumb).click()
        wait_until(lambda state=state: seen(page).content == state.content)
    for state in (*states[-2:], *reversed(states[:-1])):
        page.go_back()
        wait_until(lambda state=state: seen(page).content == state.content)
    assert page.evaluate(KERNEL_ID) == kernel
    assert page.evaluate("window.kept") is True


# ---------- look ----------


def show(page: Page, view: str) -> None:
    turn_to(page, f"?view={view}")
    page.wait_for_selector({"overview": ".mc-matrix", "table": ".mc-table", "detail": ".mc-chart canvas"}[view])
    settled(page)


CONTRASTS = """() => {
  const parse = (text) => text.match(/[0-9.]+/g).map(Number);
  const linear = (part) => part / 255 <= 0.03928 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4;
  const light = (rgb) => 0.2126 * linear(rgb[0]) + 0.7152 * linear(rgb[1]) + 0.0722 * linear(rgb[2]);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const colour = parse(getComputedStyle(element).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
      if (colour[3] > 0) return null; // see-through: not looked at
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll(".mc *")) {
    const says = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!says || !element.getClientRects().length || element.closest("svg, .mc-hidden")) continue;
    const style = getComputedStyle(element), on = ground(element);
    if (!on || style.visibility === "hidden") continue;
    const [a, b] = [light(parse(style.color)), light(on)].sort((one, other) => other - one);
    found.push([(a + 0.05) / (b + 0.05), element.className + ": " + element.textContent.trim().slice(0, 40)]);
  }
  return found;
}"""


@pytest.mark.parametrize("view", VIEWS)
def test_both_colour_schemes_are_legible_and_differ(one_page, view):
    page = one_page
    show(page, view)
    grounds, canvases = set(), set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        wait_for(page, f"getComputedStyle(document.querySelector('.mc')).colorScheme === '{scheme}'")
        settled(page)
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 20
        assert [(round(ratio, 2), text) for ratio, text in contrasts if ratio < 4.5] == []
        grounds.add(page.evaluate("getComputedStyle(document.querySelector('.mc')).backgroundColor"))
        if view == "detail":
            canvases.add(page.evaluate("document.querySelector('.mc-chart canvas').toDataURL()"))
    page.emulate_media(color_scheme="light")
    assert len(grounds) == 2
    assert len(canvases) in (0, 2)


TARGETS = (
    ".mc-controls select, .mc-controls button, .mc-get button, .mc-crumbs a, .mc-toggle, .mc-cell, .mc-versions label"
)
SMALL = """selector => [...document.querySelectorAll(selector)].filter((target) => {
  const {width, height} = target.getBoundingClientRect();
  return width && height < 39.5 || width && width < 24;
}).map((target) => target.outerHTML.slice(0, 200))"""


def test_no_view_scrolls_sideways_and_fingers_find_their_targets(browser, dashboard_server):
    page = browser.new_page(viewport={"width": 1280, "height": 900}, has_touch=True)
    open_view(page, dashboard_server)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        for view in VIEWS:
            show(page, view)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, view
            if width == 390 and view != "overview":
                page.locator(".mc-more:visible").click()
                wait_for(page, "document.querySelector('.mc-controls.mc-open select')?.getClientRects().length > 0")
                assert page.evaluate("document.documentElement.scrollWidth") <= width, view
            if width == 390:
                assert page.evaluate(SMALL, TARGETS) == []


# ---------- strangers ----------
STRANGE = [
    "?channel=%3Cscript%3Ewindow.evil=1%3C/script%3E",
    "?view=detail&off=%3Cimg%20src=x%20onerror=window.evil=1%3E&interval=48h",
    "?view=table&channel=" + "%3Cb%3E" * 1500,
    "?view=table&no=such&__proto__=1&platform=Windows_NT",
    "?view=detail&interval=custom&since=2026-99-99&until=%27",
    "?view[]=table&%ff%fe=%00&" + "&".join(f"a{number}=1" for number in range(60)),
]


@pytest.mark.parametrize("search", STRANGE)
def test_a_strangers_url_shows_a_default_state_and_runs_nothing(one_page, search):
    page = one_page
    view = next((view for view in VIEWS if f"view={view}" in search), "overview")
    show(page, view)
    usual = settled(page)
    show(page, "table" if view != "table" else "detail")
    turn_to(page, search)
    wait_until(
        lambda: (seen(page).title, page.locator(".mc-headline").text_content()) == (usual.title, headline(usual))
    )
    assert page.evaluate("window.evil") is None
    assert not {"script", "%3C", "evil", "such"} & set(re.findall(r"\w+|%3C", page.url.partition("?")[2]))
    assert "<" not in page.locator(".mc-crumbs").inner_text()


def headline(state: Seen) -> str:
    """The text of the headline's two lines."""
    return json.loads(state.content)[0][0]


def test_a_strangers_url_is_harmless_from_the_first_answer_on(browser, dashboard_server):
    page = browser.new_page()
    page.on("dialog", lambda dialog: pytest.fail(f"a dialog: {dialog.message}"))
    search = "?view=table&channel=%3Cscript%3Ealert(1)%3C/script%3E&theme=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&x="
    open_view(page, dashboard_server, search + "y" * 9000, "table")
    wait_for(page, "location.search === '?view=table'")
    assert "alert(1)" not in page.content()


# ---------- downloads ----------


def test_downloads_of_a_detail_hold_what_the_page_shows(one_page):
    page = one_page
    turn_to(page, "?view=detail&interval=24h&show=count&table=open&off=none")
    page.wait_for_selector(".mc-plain tbody tr")
    settled(page)
    stem = "missioncontrol-release-windows_nt-content_crashes"
    name, content = download(page, "csv")
    assert name == f"{stem}.csv"
    windows = pd.read_csv(StringIO(content.decode()), dtype={"line": str, "label": str})
    by_window = windows.set_index(["line", "window_start"])["events"]
    head = page.locator(".mc-plain thead th").all_inner_texts()
    assert head[1:3] == ["56.0", "Usage"]
    rows = [row.split("\t") for row in page.locator(".mc-plain tbody tr").all_inner_texts()]
    newest = sorted(set(windows["window_start"]), reverse=True)[: len(rows)]
    assert [int(number(row[1])) for row in rows] == [by_window.get(("56.0", start)) for start in newest]
    assert [int(number(row[3])) for row in rows] == [by_window.get(("55.0.3", start)) for start in newest]
    name, content = download(page, "parquet")
    assert name == f"{stem}.parquet"
    kept = pd.read_parquet(BytesIO(content))
    assert list(kept["events"]) == list(windows["events"])
    assert (set(kept["channel"]), set(kept["measure"])) == ({"release"}, {"content_crashes"})
    name, content = download(page, "svg")
    assert name == f"{stem}.svg"
    assert content.startswith(b"<svg")
    assert b"var(--" not in content
    name, content = download(page, "png")
    assert name == f"{stem}.png"
    assert content.startswith(b"\x89PNG")
    assert len(content) > 10_000


def test_csv_of_a_table_holds_the_figures_of_the_page(one_page):
    page = one_page
    turn_to(page, "?view=table&show=count")
    wait_for(page, "document.querySelector('.mc-table thead')?.textContent.includes('count')")
    settled(page)
    name, content = download(page, "csv")
    assert name == "missioncontrol-release-windows_nt.csv"
    figures = pd.read_csv(StringIO(content.decode()), dtype={"version": str}).set_index(["measure", "version"])
    shown = table_texts(page)
    assert "main_crashes" in shown
    assert not {"rdd_crashes", "vr_crashes"} & shown.keys()  # versions before 150 cannot report them
    for measure, by_version in shown.items():
        counted = {version: figures.loc[(measure, version), "events"] for version in by_version}
        assert {version: number(figure) for version, figure in by_version.items()} == counted
