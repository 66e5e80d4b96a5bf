"""The recipe for JupyterLab: jupyter-scheduler makes the page's job definition, and runs a job of it."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.patience import PATIENCE_SECONDS, wait_until
from tests.schedulers.environments import HERE, ROOT, UV, own_environment, shell
from tests.schedulers.recipes import Places, recipes
from tests.services.ports import answers, free_port

pytestmark = pytest.mark.long
TOKEN = "a-token-for-this-test"


@contextmanager
def jupyterlab(places: Places, command: str) -> Iterator[str]:
    """JupyterLab as the page starts it, on a free port and with a token that is known; gives its URL."""
    port = free_port()
    command += f" --allow-root --ServerApp.ip=127.0.0.1 --ServerApp.port={port} --IdentityProvider.token={TOKEN}"
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(places.home)}
    with (places.folder / "lab.log").open("w") as log, subprocess.Popen(
        ["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
    ) as process:  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: answers(f"{url}/api"), "JupyterLab", process)
            yield url
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def ask(url: str, body: object = None) -> Any:
    """GET, or POST of a body as JSON."""
    headers = {"Authorization": f"token {TOKEN}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, headers), timeout=60) as answer:
        return json.load(answer)


def test_job_of_the_definition_makes_the_report(bad_places: Places) -> None:
    places = Places(bad_places.folder, own_environment(bad_places.folder / "opt"))
    shutil.copy(ROOT / "notebooks" / "release_report.ipynb", places.folder / "srv")
    setup, definition, call = recipes("JupyterLab", places)
    install, start = setup.text.strip().splitlines()
    assert install == f"{places.environment}/bin/python -m pip install jupyter-scheduler"
    # The page's line takes the newest; here it is the version that was tried, from uv's cache.
    subprocess.run(
        [UV, "pip", "install", "--python", places.environment, "--requirements", HERE / "jupyter.txt"], check=True
    )
    (places.folder / "definition.json").write_text(definition.text)
    with jupyterlab(places, start) as url:
        answer = shell(call.text.replace("http://127.0.0.1:8888", url), places, TOKEN=TOKEN)
        made = ask(f"{url}/scheduler/job_definitions/{json.loads(answer)['job_definition_id']}")
        assert (made["schedule"], made["timezone"], made["active"]) == ("7 * * * *", "UTC", True)
        started = ask(f"{url}/scheduler/job_definitions/{made['job_definition_id']}/jobs", {})

        def ended() -> Any:
            job = ask(f"{url}/scheduler/jobs/{started['job_id']}")
            return job["status"] in ("COMPLETED", "FAILED") and job  # before it has started it is "STOPPED"

        job = wait_until(ended, "the end of the job", every=1)
    assert job["status"] == "COMPLETED", (job, (places.folder / "lab.log").read_text())
    [notebook] = staged(places.home, ".ipynb")
    assert "Bad on Windows" in notebook.read_text()
    [page] = staged(places.home, ".html")
    assert "Bad on Windows" in page.read_text()


def staged(home: Path, ending: str) -> list[Path]:
    """What jobs have made: Jupyter's data folder has it until someone downloads it."""
    made = (home / ".local" / "share" / "jupyter" / "scheduler_staging_area").rglob(f"*{ending}")
    return [file for file in made if re.search(r"-20\d\d-", file.name)]
