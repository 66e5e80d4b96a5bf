"""Data incidents and releases in the chart of a real page, and the states of a page beside those of the judge."""

import sys
from collections.abc import Iterator
from itertools import combinations, pairwise, product
from pathlib import Path

import pytest
from playwright.sync_api import Page

import missioncontrol_nb as mc
from missioncontrol_nb.dashboard.judged import WORDS
from missioncontrol_nb.releases.sources import load_calendar
from tests.browser.conftest import HERE, Served, open_view, running_server, settled, wait_for
from tests.four_states import SINCE, UNTIL, write_four_states

DETAIL = "?view=detail&channel=release&platform=windows&measure=content_crashes"
LONG = "The collector of the second data centre sent its whole queue again after a restart. " * 11
HOSTILE = (
    "<img src=x onerror=window.evil=1></bdi><script>window.evil=1</script> {{evil}} ${window.evil=1} datum.x \u202e"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("four") / "dataset"
    write_four_states(made)
    return made


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory) -> Iterator[Served]:
    """The dashboard of a simulated dataset of all four states."""
    calendar = tmp_path_factory.mktemp("calendar") / "releases.json"
    load_calendar().save(calendar)
    command = [sys.executable, "-m", "tests.browser.serve_dataset", folder, calendar, "--refresh", "0.5"]
    with running_server(command, tmp_path_factory.mktemp("server") / "server.log", HERE.parents[1]) as served:
        yield served


@pytest.fixture
def page(browser, server) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    open_view(page, server, DETAIL, "detail")
    settled(page)
    return page


# ---------- the judge's states ----------
def test_states_of_a_page_are_the_judges(browser, server, folder):
    page = open_view(browser.new_page(viewport={"width": 1280, "height": 900}), server)
    settled(page)
    judged = mc.judge(folder, channel="release", releases=load_calendar())
    newest = judged[judged["display_version"] == "56.0"].set_index(["os_name", "measure"])["state"]
    states = dict(newest.items())
    assert set(newest) == {"bad", "looks bad", "too early", "fine"}
    for os_name, word in (("Windows_NT", "windows"), ("Darwin", "mac"), ("Linux", "linux")):
        open_view(page, server, f"?view=table&channel=release&platform={word}", "table")
        settled(page)
        rows = page.evaluate(ROWS)
        assert len(rows) > 5
        for measure, word in rows:
            state = states[os_name, measure].replace(" ", "-").replace("too-early", "early")
            assert (measure, word) == (measure, WORDS[state])


ROWS = """() => [...document.querySelectorAll(".mc-table tbody tr")].flatMap((row) => {
  const href = row.querySelector("th a")?.getAttribute("href") || "";
  const chip = row.querySelector(".mc-verdict");
  const measure = new URLSearchParams(href).get("measure");
  return chip && !chip.classList.contains("mc-none") ? [[measure || "content_crashes", chip.textContent]] : [];
})"""


# ---------- labels ----------
# All texts, rules and lines of the upper plot, with their boxes in pixels of the chart.
DRAWN = """() => {
  const found = {texts: [], rules: [], newest: []};
  const lines = [];
  const walk = (mark, x, y) => {
    for (const item of mark.items) {
      const {x1, x2, y1, y2} = item.bounds ?? {};
      const box = [x + x1, y + y1, x + x2, y + y2];
      if (mark.marktype === "group") for (const inner of item.items) walk(inner, x + (item.x || 0), y + (item.y || 0));
      else if (mark.role === "axis-label" || mark.role?.startsWith("title")) continue;
      else if (mark.marktype === "text" && item.text && !item.stroke) found.texts.push([item.text, ...box]);
      else if (mark.marktype === "rule" && item.opacity !== 0 && x1 !== undefined && x2 - x1 < 4) found.rules.push(box);
    }
    if (mark.marktype === "line" && mark.items.length) {
      const points = mark.items.filter((item) => item.defined !== false).map((item) => [x + item.x, y + item.y]);
      lines.push([mark.items[0].strokeWidth, points]);
    }
  };
  walk(document.querySelector(".mc-chart").mcView.scenegraph().root, 0, 0);
  const widest = Math.max(...lines.map(([width]) => width));
  found.newest = lines.filter(([width]) => width === widest).map(([, points]) => points);
  return found;
}"""


@pytest.fixture
def incidents(folder) -> Iterator[list[str]]:
    """Thirty data incidents of the last week, with long texts."""
    begins = [SINCE.replace(day=1) - (number % 10) * (UNTIL - SINCE) / 2 for number in range(30)]
    written = [
        mc.annotate(folder, begin, begin + (number % 7 + 1) * (UNTIL - SINCE) / 9, f"{number} {LONG}")
        for number, begin in enumerate(begins)
    ]
    yield written
    for each in written:
        mc.remove_annotation(folder, each)


SEARCHES = ("", "&interval=14d", "&time=since-release")


@pytest.mark.parametrize(
    ("width", "search"),
    [
        (390, SEARCHES[0]),
        (1280, SEARCHES[-1]),
        *(
            pytest.param(*each, marks=pytest.mark.long)
            for each in [(700, ""), (320, ""), *product((1280, 390), SEARCHES)]
        ),
    ],
)
def test_no_label_overlaps_another_nor_a_rule_nor_the_newest_line(browser, server, incidents, width, search):
    page = browser.new_page(viewport={"width": width, "height": 900})
    open_view(page, server, DETAIL + search, "detail")
    wait_for(page, "document.querySelectorAll('.mc-incidents li').length > 15")
    settled(page)
    drawn = page.evaluate(DRAWN)
    texts = drawn["texts"]
    assert len(texts) >= 3
    assert drawn["newest"]
    for (text, *box), (other, *other_box) in combinations(texts, 2):
        assert not meet(box, other_box), (text, other)
    for text, *box in texts:
        for rule in drawn["rules"]:
            assert not meet(box, [rule[0] + 1, rule[1], rule[2] - 1, rule[3]]), (text, rule)
        if text.startswith("acceptable"):
            for line in drawn["newest"]:
                assert not any(meet(box, around(*ends)) for ends in pairwise(line)), text
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def meet(one: list[float], other: list[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def around(one: list[float], other: list[float]) -> list[float]:
    """The box around a segment."""
    return [min(one[0], other[0]), min(one[1], other[1]), max(one[0], other[0]), max(one[1], other[1])]


# ---------- an open page ----------
def test_open_page_takes_up_an_incident_and_lets_it_go(page, folder):
    wait_for(page, "document.querySelector('.mc-incidents') === null")  # a page that was ready has those of before
    settled(page)
    embeds = page.locator(".mc-chart").get_attribute("data-mc-embeds")
    before = len(page.evaluate("document.querySelector('.mc-chart').mcView.data('incidents')"))
    written = mc.annotate(folder, "2017-09-30T06:00Z", "2017-09-30T18:00Z", HOSTILE)
    page.wait_for_selector(".mc-incidents li")
    settled(page)
    assert page.locator(".mc-incidents bdi").inner_text() == HOSTILE
    bands = page.evaluate("document.querySelector('.mc-chart').mcView.data('incidents').map((row) => [row.x, row.x2])")
    assert (before, bands) == (0, [[1506751200000, 1506794400000]])
    assert "The chart marks a data incident, listed below it." in page.locator(".mc-chart").get_attribute("aria-label")
    assert page.evaluate("window.evil") is None
    mc.remove_annotation(folder, written)
    wait_for(page, "document.querySelector('.mc-incidents') === null")
    settled(page)
    assert page.locator(".mc-chart").get_attribute("data-mc-embeds") == embeds, "the drawing was changed in place"


def test_long_list_opens_by_keyboard(page, incidents):
    wait_for(page, "document.querySelectorAll('.mc-incidents li').length === 30")
    settled(page)
    assert not page.locator(".mc-incidents li").first.is_visible()
    page.locator(".mc-incidents summary").focus()
    page.keyboard.press("Enter")
    wait_for(page, "document.querySelector('.mc-incidents').open")
    assert page.locator(".mc-incidents li").first.is_visible()
