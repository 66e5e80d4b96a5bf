"""The page of a report as people see it: on a phone and a desk, light, dark, without JavaScript and on paper.

And its notebook in real JupyterLab, with the same figures.
"""

import json
import re
from pathlib import Path

import nbformat
import pytest

from missioncontrol_nb import report
from missioncontrol_nb.report.page import alarms_of
from missioncontrol_nb.report.parameters import subject_of
from missioncontrol_nb.report.publishing import publish
from missioncontrol_nb.report.running import files_of, packaged_notebook
from missioncontrol_nb.report.shelves import shelf_of
from tests.browser import axe
from tests.browser.jupyterlab import run_all_cells, running_lab


@pytest.fixture(scope="module")
def made(simulated_dataset) -> report.Report:
    """A report of the release channel."""
    dataset, calendar = simulated_dataset
    return report.read_report(report.Parameters(dataset=str(dataset), releases=str(calendar)))


@pytest.fixture(scope="module")
def page_file(made, tmp_path_factory) -> Path:
    """The published page of the report. The notebook's cells run in this process, which spares a kernel."""
    notebook = nbformat.read(packaged_notebook(), 4)
    for cell in notebook.cells:
        if cell.source.startswith("report."):
            section = eval(cell.source, {"report": report, "read": made})
            shown = section._repr_mimebundle_() if hasattr(section, "_repr_mimebundle_") else {}
            shown = shown or {"text/html": section._repr_html_()}
            cell.outputs = [nbformat.v4.new_output("execute_result", shown)]
    subject, shelf = subject_of(made.parameters), shelf_of(str(tmp_path_factory.mktemp("reports")))
    files = files_of(notebook, made.as_record(), made.parameters, subject, {"made_at": "now"})
    return Path(shelf.where(publish(shelf, subject, files))) / "report.html"


def test_page_is_small_and_shows_every_figure_as_a_picture(browser, page_file):
    page = browser.new_page(java_script_enabled=False)
    page.goto(page_file.as_uri())
    assert page_file.stat().st_size < 2_000_000
    figures = page.locator("figure")
    assert figures.count() >= 1
    for number in range(figures.count()):
        shown = figures.nth(number).locator("svg.mc-chart-svg:visible")
        assert shown.count() == 1
        assert shown.bounding_box()["height"] > 300
        assert re.search(r"per 1000 usage hours of .* on ", shown.locator("title").text_content())


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
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
    assert page.locator("h1").inner_text() == "Firefox Release"


@pytest.mark.long
def test_jupyterlab_shows_the_same_figures(browser, made, simulated_dataset, tmp_path):
    page = browser.new_page(viewport={"width": 1600, "height": 6000})
    with running_lab("release_report.ipynb", *simulated_dataset, tmp_path) as url:
        run_all_cells(page, url)
        page.wait_for_selector(".jp-OutputArea .mc-report figure svg.mc-chart-svg")
        assert page.locator(".jp-OutputArea .mc-card").count() == len(made.overview.channels[0].platforms)
        page.evaluate("async () => await jupyterapp.commands.execute('docmanager:save')")
    shown = alarms_of(json.loads((tmp_path / "root" / "release_report.ipynb").read_text()))
    record = made.as_record()
    assert shown is not None
    assert shown["made_of"].pop("dataset") == shown["dataset"] == str(tmp_path / "root" / "fleet")
    assert {name: shown[name] for name in record if name not in ("dataset", "made_of")} == {
        name: record[name] for name in record if name not in ("dataset", "made_of")
    }
    assert shown["made_of"]["commits"] == record["made_of"]["commits"]
