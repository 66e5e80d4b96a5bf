"""The two widgets in real Chromium: drawing, updating, reading out, the URL, links, downloads, memory."""

import re

import pytest

from tests.browser.conftest import wait_for
from tests.patience import wait_until

UPDATES = 150


@pytest.fixture
def page(browser, widgets_server):
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    open_page(page, widgets_server)
    return page


def open_page(page, url):
    page.goto(url)
    page.wait_for_selector(".mc-chart canvas")
    wait_for(page, "document.querySelector('.mc-chart').dataset.mcEmbeds == '1'")


def count(page, what):
    return int(page.locator(".mc-chart").get_attribute(f"data-mc-{what}"))


def click_action(page, name):
    page.locator(f"[data-mc-action='{name}']").click()


def seen(page):
    return page.locator("#seen").inner_text()


def pixel_colours(page):
    """The colours of the drawing, by how often they occur."""
    return page.evaluate(
        """() => {
          const canvas = document.querySelector(".mc-chart canvas");
          const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          const counts = {};
          for (let i = 0; i < data.length; i += 4) {
            if (data[i + 3] < 255) continue;
            const key = [data[i], data[i + 1], data[i + 2]].join(",");
            counts[key] = (counts[key] || 0) + 1;
          }
          return counts;
        }"""
    )


def test_chart_fills_its_box_and_has_a_text_alternative(page):
    box = page.locator(".mc-chart")
    assert box.get_attribute("role") == "img"
    assert box.get_attribute("aria-label") == "A line that waves"
    width = box.bounding_box()["width"]
    assert width - 2 <= page.locator(".mc-chart canvas").bounding_box()["width"] <= width
    page.set_viewport_size({"width": 600, "height": 900})
    wait_for(page, "document.querySelector('.mc-chart canvas').getBoundingClientRect().width < 600")
    assert count(page, "embeds") == 1


def test_new_columns_update_the_same_canvas(page):
    page.evaluate("document.querySelector('.mc-chart canvas').kept = true")
    before = pixel_colours(page)
    for _ in range(12):
        click_action(page, "more")
    wait_for(page, "document.querySelector('#seen').textContent.endsWith(':12')")
    wait_for(page, "document.querySelector('.mc-chart').dataset.mcUpdates > 0")
    wait_until(lambda: pixel_colours(page) != before)
    assert page.evaluate("document.querySelector('.mc-chart canvas').kept") is True
    assert count(page, "embeds") == 1


def test_hover_reads_out_the_figures_of_the_columns(page):
    assert page.locator(".mc-readout").inner_text() == "Point at the chart"
    box = page.locator(".mc-chart canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 100)
    wait_for(page, "document.querySelector('.mc-readout b') !== null")
    text = page.locator(".mc-readout").inner_text()
    found = re.search(r"(\d\d) (Sep|Oct) 2017 (\d\d):00 UTC\s*56\.0 (\S+) \((\S+) to (\S+)\), 12 k h", text)
    assert found, text
    day, month, hour, rate, lower, upper = found.groups()
    hours = (int(day) + (30 if month == "Oct" else 0) - 25) * 24 + int(hour) - 14
    expected = page.evaluate(f"4 + Math.sin({hours} / 9)")
    assert float(rate) == pytest.approx(expected, abs=0.006)
    assert (float(lower), float(upper)) == pytest.approx((expected - 0.5, expected + 0.5), abs=0.006)
    page.mouse.move(5, 5)
    wait_for(page, "document.querySelector('.mc-readout').textContent === 'Point at the chart'")


def test_theme_switch_redraws_in_the_other_colours(page):
    blue_of_light, blue_of_dark = "26,77,240", "90,166,255"
    assert blue_of_light in pixel_colours(page)
    page.emulate_media(color_scheme="dark")
    wait_until(lambda: blue_of_dark in pixel_colours(page))
    assert blue_of_light not in pixel_colours(page)


def test_link_click_keeps_the_kernel_and_back_button_returns(page, widgets_server):
    kernel = page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
    page.get_by_text("beta", exact=True).click()
    wait_for(page, "document.querySelector('#seen').textContent.startsWith('13:')")
    assert page.url.endswith("/?channel=beta")
    click_action(page, "push")
    wait_for(page, "location.search === '?from=python'")
    page.go_back()
    wait_for(page, "document.querySelector('#seen').textContent.startsWith('13:')")
    page.go_back()
    wait_for(page, "document.querySelector('#seen').textContent.startsWith('0:')")
    assert page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId") == kernel


def test_url_and_window_reach_the_kernel(browser, widgets_server):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    open_page(page, widgets_server + "?channel=esr")
    wait_for(page, "document.querySelector('#seen').textContent.startsWith('12:390:')")
    page.set_viewport_size({"width": 1280, "height": 800})
    wait_for(page, "document.querySelector('#seen').textContent.startsWith('12:1280:')")
    assert page.title() == "Widgets under test"


@pytest.mark.parametrize(
    ("action", "filename", "begins"),
    [("csv", "rates.csv", b"version,rate\n56.0,4.0\n"), ("png", "missioncontrol.png", b"\x89PNG"),
     ("svg", "missioncontrol.svg", b"<svg")],
)  # fmt: skip
def test_download(page, action, filename, begins):
    with page.expect_download() as download:
        click_action(page, action)
    assert download.value.suggested_filename == filename
    content = download.value.path().read_bytes()
    assert content.startswith(begins)
    assert len(content) > 20


def test_stale_data_says_when_it_stopped(page):
    page.wait_for_selector(".mc-fresh.mc-stale")
    assert page.locator(".mc-fresh").inner_text().startswith("Data stopped at 2017-09-25 14:00:00 UTC")


def heap_bytes(session):
    session.send("HeapProfiler.collectGarbage")
    return session.send("Runtime.getHeapUsage")["usedSize"]


@pytest.mark.long
def test_memory_stays_flat_over_hundreds_of_updates(page):
    session = page.context.new_cdp_session(page)

    def update(times):
        before = count(page, "updates")
        for _ in range(times):
            drawn = count(page, "updates")
            click_action(page, "more")
            wait_for(page, f"document.querySelector('.mc-chart').dataset.mcUpdates > {drawn}")
        assert count(page, "updates") - before >= times

    update(UPDATES // 3)
    early = heap_bytes(session)
    update(UPDATES)
    late = heap_bytes(session)
    assert late - early < 1.5e6, f"{early / 1e6:.1f} MB grew to {late / 1e6:.1f} MB"
    assert largest_lookup(page) <= 3 * 2000


def largest_lookup(page):
    """The most entries that a look-up table of Vega's transforms holds: rows gone leave nulls, which are cleaned."""
    return page.evaluate(
        """() => {
          const view = document.querySelector(".mc-chart").mcView;
          const tables = Object.values(view._runtime.nodes).map((node) => node.value)
            .filter((value) => value && Object.getPrototypeOf(value) === Object.prototype);
          return Math.max(0, ...tables.map((table) => Object.keys(table).length));
        }"""
    )
