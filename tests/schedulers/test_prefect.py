"""The recipe for Prefect: the page's flow is run, with an alarm and without a dataset."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.schedulers.environments import environment
from tests.schedulers.recipes import Places, recipes

pytestmark = pytest.mark.long
RUN = "from release_report import release_report; print('alarm is up:', release_report())"


def run_flow(places: Places, program: str = RUN) -> "subprocess.CompletedProcess[str]":
    """Runs Python in Prefect's environment, beside the page's file; Prefect's server lives as long as that."""
    [flow] = recipes("Prefect", places)
    folder = places.folder / "prefect"
    folder.mkdir(exist_ok=True)
    (folder / Path(flow.name).name).write_text(flow.text.replace("retry_delay_seconds=60", "retry_delay_seconds=0"))
    variables = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(places.home),
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    return subprocess.run(
        [f"{places.scheduler}/bin/python", "-c", program], cwd=folder, env=variables, text=True, check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_flow_makes_the_report_and_fails_without_a_dataset(bad_places: Places) -> None:
    places = Places(bad_places.folder, scheduler=environment("prefect"))
    done = run_flow(places)
    assert done.returncode == 0, done.stdout
    assert "alarm is up: True" in done.stdout
    assert "Bad on Windows" in done.stdout, "the flow's log has what the command said"
    assert json.loads((places.reports / "latest.json").read_text())["state"] == "alarm"
    places.data.unlink()
    failed = run_flow(places)
    assert failed.returncode != 0
    assert "there is no dataset at" in failed.stdout
    assert "RuntimeError: no report, exit code 1" in failed.stdout
