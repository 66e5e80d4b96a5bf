"""The page of a report as people see it: on a phone and a desk, light, dark, without JavaScript and on paper."""

import re
from pathlib import Path

import pytest

from missioncontrol_nb import report
from missioncontrol_nb.report.running import run_report
from tests.browser import axe


@pytest.fixture(scope="module")
def page_file(simulated_dataset, tmp_path_factory) -> Path:
    """A report of all channels, on this machine."""
    dataset, calendar = simulated_dataset
    given = report.Parameters(dataset=str(dataset), channel="release, beta, nightly", releases=str(calendar))
    return Path(run_report(given, str(tmp_path_factory.mktemp("reports"))).where)


def test_page_is_small_and_shows_every_figure_as_a_picture(browser, page_file):
    page = browser.new_page(java_script_enabled=False)
    page.goto(page_file.as_uri())
    assert page_file.stat().st_size < 2_000_000
    figures = page.locator("figure")
    assert figures.count() >= 4
    for number in range(figures.count()):
        shown = figures.nth(number).locator("svg.mc-chart-svg:visible")
        assert shown.count() == 1
        assert shown.bounding_box()["height"] > 300
        assert re.search(r"per 1000 usage hours of .* on ", shown.locator("title").text_content())


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_withholds_nothing_and_fits(browser, page_file, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(page_file.as_uri())
    assert axe.issues(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(244, 245, 247)", "dark": "rgb(15, 18, 22)"}[scheme]


def test_page_prints_on_a4(chromium, page_file, tmp_path):
    page = chromium.new_page()
    page.goto(page_file.as_uri())
    page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    page.close()
    content = (tmp_path / "report.pdf").read_bytes()
    assert re.search(rb"/MediaBox \[0 0 59[45](\.\d+)? 84[12](\.\d+)?\]", content)
    assert 2 <= len(re.findall(rb"/Type /Page\b", content)) <= 10


def test_list_of_reports_leads_to_the_newest(browser, page_file):
    page = browser.new_page()
    page.goto((page_file.parents[1] / "index.html").as_uri())
    assert axe.issues(page) == []
    page.locator("a").nth(1).click()
    assert page.url == page_file.as_uri()
    page.go_back()
    page.get_by_text("The newest one").click()
    assert page.locator("h1").inner_text() == "Firefox Release, Beta and Nightly"
