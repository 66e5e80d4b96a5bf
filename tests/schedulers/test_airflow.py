"""The recipe for Airflow: the page's file is imported, and both of its tasks run by `airflow tasks test`."""

import json
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

from tests.schedulers.environments import ROOT, environment, shell
from tests.schedulers.recipes import Places, recipes

AT = "2017-10-02T12:00:00+00:00"  # an hour before the newest data
pytestmark = pytest.mark.long


class Airflow:
    """An Airflow with a home of its own and the page's file."""

    def __init__(self, places: Places) -> None:
        assert places.scheduler
        self.places, self.home = places, places.folder / "airflow"
        self.program = places.scheduler / "bin" / "airflow"
        setup, dag = recipes("Airflow", places)
        shell(setup.text, places)
        dags = self.home / "dags"
        dags.mkdir(parents=True)
        (dags / Path(dag.name).name).write_text(dag.text)
        self.run("db", "migrate")

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command of Airflow, with an environment that knows nothing of Mission Control."""
        variables = {
            "PATH": f"{self.program.parent}:/usr/bin:/bin",
            "HOME": str(self.places.home),
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }
        return subprocess.run(
            [self.program, *arguments], env=variables, cwd=self.home, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip


@pytest.fixture
def airflow(bad_places: Places) -> Airflow:
    places = Places(bad_places.folder, scheduler=environment("airflow"))
    shutil.copy(ROOT / "notebooks" / "release_report.ipynb", places.folder / "srv")
    return Airflow(places)


def test_both_tasks_make_the_report_of_their_run(airflow: Airflow) -> None:
    imported = airflow.run("dags", "list-import-errors")
    assert "No data found" in imported.stdout, imported.stdout
    notebook = airflow.run("tasks", "test", "release_report", "notebook", AT)
    assert "new_state=success" in notebook.stdout, notebook.stdout
    executed = nbformat.read(airflow.places.folder / "srv" / "notebooks" / "2017-10-02T12-00Z.ipynb", 4)
    shown = json.dumps([cell.get("outputs") for cell in executed.cells])
    assert "Bad on Windows" in shown
    publish = airflow.run("tasks", "test", "release_report", "publish", AT)
    assert "new_state=success" in publish.stdout, publish.stdout
    latest = json.loads((airflow.places.reports / "latest.json").read_text())
    assert (latest["as_of"], latest["state"]) == ("2017-10-02T12:00:00Z", "alarm")
    assert latest["headlines"][0]["sentence"] in "".join(
        output["data"].get("text/html", "") for cell in executed.cells for output in cell.get("outputs", [])
    ), "the notebook alone says the same"
    airflow.places.data.unlink()
    for task in ("notebook", "publish"):
        failed = airflow.run("tasks", "test", "release_report", task, "2017-10-02T13:00:00+00:00")
        assert "new_state=up_for_retry" in failed.stdout, failed.stdout
        assert "there is no dataset at" in failed.stdout, task
