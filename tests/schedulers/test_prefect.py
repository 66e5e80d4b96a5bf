"""The recipe for Prefect: its server and the page's file run the flow when it is time."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.patience import PATIENCE_SECONDS, wait_until
from tests.schedulers.environments import environment
from tests.schedulers.recipes import Places, recipes
from tests.services.ports import answers, free_port

pytestmark = pytest.mark.long


@contextmanager
def service(script: str, log: Path, places: Places) -> "Iterator[subprocess.Popen[bytes]]":
    """Runs a service of the page until the end of the block."""
    variables = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(places.home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            ["sh", "-c", script], cwd=places.home, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def test_flow_makes_the_report_and_fails_without_a_dataset(bad_places: Places) -> None:
    folder = bad_places.folder / "prefect"
    folder.mkdir()
    places, file = Places(bad_places.folder, scheduler=environment("prefect")), folder / "release_report.py"
    flow, server, served = recipes("Prefect", places)
    assert Path(flow.name).name == file.name
    written = flow.text.replace('cron="7 * * * *"', 'cron="* * * * *"')
    assert written != flow.text
    file.write_text(written.replace("retry_delay_seconds=60", "retry_delay_seconds=0"))
    port = str(free_port())
    log, latest = folder / "served.log", places.reports / "latest.json"
    with ExitStack() as stack:
        stack.enter_context(service(server.text.replace("4200", port), folder / "server.log", places))
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/api/health"), "Prefect's server")
        serve = served.text.replace("4200", port).replace(flow.name, str(file))
        process = stack.enter_context(service(serve, log, places))
        wait_until(
            lambda: "Finished in state Completed" in log.read_text() and latest.exists(), "the flow's run", process
        )
        places.data.unlink()
        wait_until(lambda: "Finished in state Failed" in log.read_text(), "the run that fails", process)
    said = log.read_text()
    assert json.loads(latest.read_text())["state"] == "alarm"
    assert "Bad on Windows" in said, "the flow's log has what the command said"
    assert "there is no dataset at" in said
    assert "RuntimeError: no verdict, exit code 1" in said
