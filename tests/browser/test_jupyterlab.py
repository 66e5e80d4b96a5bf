"""explore.ipynb in real JupyterLab: all cells run, chart and dashboard are drawn, no other host is asked."""

from collections.abc import Iterator

import pytest

from tests.browser.conftest import wait_for
from tests.browser.jupyterlab import run_all_cells, running_lab


@pytest.fixture
def lab(simulated_dataset, tmp_path) -> Iterator[str]:
    with running_lab("explore.ipynb", *simulated_dataset, tmp_path) as url:
        yield url


def test_explore_draws_its_chart_and_the_dashboard(browser, lab):
    page = browser.new_page(viewport={"width": 1600, "height": 6000})
    run_all_cells(page, lab)
    page.wait_for_selector(".jp-OutputArea .mc .mc-matrix")
    wait_for(page, "document.querySelectorAll('.jp-OutputArea canvas').length >= 1")
    canvas = page.locator(".jp-OutputArea canvas").first
    assert canvas.bounding_box()["width"] > 400
    assert (
        page.locator(".jp-RenderedText[data-mime-type*='stderr'], .jp-RenderedText[data-mime-type*='error']").count()
        == 0
    )
    kernel_says = page.locator(".jp-OutputArea").all_inner_texts()
    assert any("rate_per_1k_hours" in text for text in kernel_says)
    page.locator(".mc a", has_text="Windows").first.click()
    page.wait_for_selector(".jp-OutputArea .mc .mc-table")
    assert page.url.partition("?")[0].endswith("/lab/tree/explore.ipynb")
