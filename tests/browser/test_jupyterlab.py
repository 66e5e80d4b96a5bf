"""The notebooks in real JupyterLab: all cells run, all is drawn, no other host is asked."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from missioncontrol_nb import report
from missioncontrol_nb.report.page import alarms_of
from tests.browser.conftest import HERE, wait_for
from tests.patience import PATIENCE_SECONDS, wait_until
from tests.services.ports import answers, free_port

TOKEN = "a-token-for-this-test"


@pytest.fixture
def lab(simulated_dataset, tmp_path) -> Iterator[str]:
    """The URL of a notebook in a JupyterLab that has ours, and the dataset they name, in its folder."""
    dataset, calendar = simulated_dataset
    fleet = tmp_path / "root" / "fleet"
    fleet.mkdir(parents=True)
    for name in ("explore.ipynb", "release_report.ipynb"):
        shutil.copy(HERE.parents[1] / "notebooks" / name, fleet.parent)
    shutil.copy(calendar, fleet / "releases.json")
    for table in dataset.iterdir():
        (fleet / table.name).symlink_to(table)
    port = free_port()
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--ServerApp.port={port}"]
    command += [f"--ServerApp.root_dir={tmp_path / 'root'}", f"--IdentityProvider.token={TOKEN}"]
    command += ["--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    command += ["--LabApp.expose_app_in_browser=True", "--allow-root"]
    folders = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = os.environ | folders | {"JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces")}
    with (tmp_path / "lab.log").open("w") as log, subprocess.Popen(
        command, stdout=log, stderr=log, env=environment, start_new_session=True
    ) as process:  # fmt: skip
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/api"))
            yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token={TOKEN}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_SECONDS)


# A notebook that is run before its kernel is there waits for nothing, and is not run.
RUN_ALL_CELLS = """async () => {
    const notebook = jupyterapp.shell.currentWidget;
    await notebook.context.ready;
    await notebook.sessionContext.ready;
    await notebook.sessionContext.session.kernel.info;
    return await jupyterapp.commands.execute('notebook:run-all-cells');
}"""


def test_explore_draws_its_chart_and_the_dashboard(browser, lab):
    page = browser.new_page(viewport={"width": 1600, "height": 6000})
    page.goto(lab.format("explore.ipynb"))
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    assert page.evaluate(RUN_ALL_CELLS), page.locator("body").inner_text()
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


def test_report_has_the_figures_that_the_library_gives(browser, lab, tmp_path):
    """As `missioncontrol report` does, whose page tests/unit/test_report.py compares with that of papermill alone."""
    page = browser.new_page(viewport={"width": 1600, "height": 6000})
    page.goto(lab.format("release_report.ipynb"))
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    assert page.evaluate(RUN_ALL_CELLS), page.locator("body").inner_text()
    page.wait_for_selector(".jp-OutputArea .mc-report figure svg.mc-chart-svg")
    page.evaluate("async () => await jupyterapp.commands.execute('docmanager:save')")
    saved = json.loads((tmp_path / "root" / "release_report.ipynb").read_text())
    given = report.Parameters(dataset=str(tmp_path / "root" / "fleet"))
    assert alarms_of(saved) == report.read_report(given).as_record()
    assert page.locator(".jp-OutputArea .mc-card").count() == 4
