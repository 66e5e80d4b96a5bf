"""A real JupyterLab with our notebooks and a dataset, in a folder of its own."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page

from tests.patience import PATIENCE_SECONDS, wait_until
from tests.services.ports import answers, free_port

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
TOKEN = "a-token-for-this-test"


@contextmanager
def running_lab(notebook: str, dataset: Path, calendar: Path, folder: Path) -> Iterator[str]:
    """The URL of a notebook in a JupyterLab whose folder, `root` in the given one, has the dataset that it names."""
    fleet = folder / "root" / "fleet"
    fleet.mkdir(parents=True)
    shutil.copy(NOTEBOOKS / notebook, fleet.parent)
    shutil.copy(calendar, fleet / "releases.json")
    for table in dataset.iterdir():
        (fleet / table.name).symlink_to(table)
    port = free_port()
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--ServerApp.port={port}"]
    command += [f"--ServerApp.root_dir={folder / 'root'}", f"--IdentityProvider.token={TOKEN}"]
    command += ["--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    command += ["--LabApp.expose_app_in_browser=True", "--allow-root"]
    folders = {f"JUPYTER_{name}_DIR": str(folder / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = os.environ | folders | {"JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces")}
    with (folder / "lab.log").open("w") as log, subprocess.Popen(
        command, stdout=log, stderr=log, env=environment, start_new_session=True
    ) as process:  # fmt: skip
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/api"))
            yield f"http://127.0.0.1:{port}/lab/tree/{notebook}?token={TOKEN}"
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


def run_all_cells(page: Page, url: str) -> None:
    """Opens a notebook and runs its cells; they may still be running."""
    page.goto(url)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    assert page.evaluate(RUN_ALL_CELLS), page.locator("body").inner_text()
