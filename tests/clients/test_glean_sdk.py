"""A program with glean-sdk, whose declared ping is counted by the job, loaded, and shown on a page."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from streaming.contract.declared_pings import VARIABLE
from tests.browser.conftest import open_view, settled
from tests.schedulers.environments import environment
from tests.services.receiver import ReceiverProcess

HERE = Path(__file__).parent
DECLARED = HERE / "my_product.toml"
MISSIONCONTROL = str(Path(sys.executable).with_name("missioncontrol"))
BUILD = f"{datetime.now(UTC):%Y%m}01000000"
LOAD = """
import sys
import missioncontrol_nb as mc
sums = mc.load(sys.argv[1], application="my-product", by="display_version", every=None)
print(sums.set_index("display_version")[["count", "usage_hours", "failed_saves", "slow_opens"]].to_json(orient="index"))
"""


def run(*command: str | Path | int) -> str:
    """What a program prints that knows the declarations."""
    return subprocess.run(
        list(map(str, command)), env={**os.environ, VARIABLE: str(DECLARED)}, capture_output=True, text=True, check=True
    ).stdout


def test_pings_of_a_program_with_the_glean_sdk_are_loaded_and_shown(tmp_path, browser, serve):
    program = environment("glean", HERE) / "bin" / "python", HERE / "my_product.py"
    pings, dataset = tmp_path / "pings", tmp_path / "dataset"
    with ReceiverProcess(pings, environment={VARIABLE: str(DECLARED)}) as receiver:
        for version, sessions in (("2.5.0", 2), ("2.5.1", 4)):
            url = f"http://127.0.0.1:{receiver.port}"
            run(*program, url, tmp_path / version, version, BUILD, sessions)
        assert receiver.counts()["kept"] == 6
    run(MISSIONCONTROL, "aggregate", pings, "--dataset", dataset, "--product", DECLARED)
    assert json.loads(run(sys.executable, "-c", LOAD, dataset)) == {
        "2.5.0": {"count": 2, "usage_hours": 2.0, "failed_saves": 1, "slow_opens": 6},
        "2.5.1": {"count": 4, "usage_hours": 4.0, "failed_saves": 2, "slow_opens": 12},
    }
    with serve(["env", f"{VARIABLE}={DECLARED}", MISSIONCONTROL, "dashboard", "--dataset", dataset]) as url:
        search = "?product=my-product&platform=linux&view=table&show=count"
        page = open_view(browser.new_page(), url, search, "table")
        settled(page)
        rows = page.locator(".mc-table tbody tr").all()
        shown = {row.locator("th").inner_text(): row.locator(".mc-num").first.inner_text() for row in rows}
        assert shown == {"Failed saves": "2", "Slow opens": "12"}
