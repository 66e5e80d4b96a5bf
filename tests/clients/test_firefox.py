"""A real Firefox that is used, crashes, starts again and is closed: what a receiver, the job and a page make of it."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import pytest

import missioncontrol_nb as mc
from missioncontrol_nb.aggregator_process import AggregatorProcess
from missioncontrol_nb.demo.firefox import find_firefox, offline_firefox
from missioncontrol_nb.demo.run import counts_in
from tests.browser.conftest import open_view, settled
from tests.browser.page_actions import table_texts
from tests.clients import firefox as client
from tests.clients import marionette
from tests.clients.marionette import Marionette
from tests.patience import PATIENCE_SECONDS, wait_until
from tests.unit.small_dataset import CALENDAR

MISSIONCONTROL = str(Path(sys.executable).with_name("missioncontrol"))
CRASH = """
  const {gBrowser} = Services.wm.getMostRecentWindow("navigator:browser");
  gBrowser.selectedTab = gBrowser.addTrustedTab("about:crashparent");
"""
# What Firefox does by itself a minute after its start: it reports the crashes that it finds.
LOOK_FOR_CRASHES = "return Services.crashmanager.runMaintenanceTasks().then(() => true)"


@pytest.fixture(autouse=True)
def _can_run(network):
    """Skips where there is no Firefox or no network for it."""
    if reason := client.missing():
        pytest.skip(reason)


def pings_in(folder: Path) -> list[dict]:
    return [json.loads(line) for path in folder.glob("pings-*.jsonl") for line in path.read_bytes().splitlines()]


def kinds_in(folder: Path) -> list[str]:
    """The kind and the reason of each ping that has arrived."""
    described = []
    for ping in pings_in(folder):
        reason = (ping.get("ping_info") or ping.get("payload", {}).get("info", {})).get("reason", "")
        described.append(f"{ping['metadata']['document_type']} {reason}")
    return described


def live_through_a_crash(firefox, pings: Path) -> None:
    """Uses and crashes an open Firefox, opens it again until it has reported that crash again, and closes it."""
    socket = firefox.home / "marionette"
    firefox.network.relay(socket, marionette.PORT)
    with Marionette(socket) as browser:
        browser.navigate("data:text/html,<h1>used")
        wait_until(lambda: any(kind.startswith("main") for kind in kinds_in(pings)), "a main ping")
        browser.send(CRASH)
        wait_until(lambda: "crash crash" in kinds_in(pings), "a crash ping")
        wait_until(lambda: firefox.exit_code, "the end of Firefox")
    firefox.open("about:blank")
    with Marionette(socket) as browser:
        assert browser.run(LOOK_FOR_CRASHES)
        wait_until(lambda: "crash event_found" in kinds_in(pings), "the same crash again")
        browser.quit()
    wait_until(lambda: firefox.exit_code is not None, "the end of Firefox")
    assert firefox.exit_code == 0


def test_crash_of_a_real_firefox_counts_once_and_is_on_the_page(tmp_path, browser, serve):
    pings, dataset, calendar = tmp_path / "pings", tmp_path / "dataset", tmp_path / "releases.json"
    pings.mkdir()
    CALENDAR.save(calendar)
    remote = {"arguments": marionette.ARGUMENTS, "preferences": marionette.PREFERENCES}
    with offline_firefox(find_firefox(), pings, is_headless=True, **remote) as firefox:
        firefox.open("about:blank")  # its first main ping comes after 15 s: the job and the dashboard start meanwhile
        with (
            AggregatorProcess(str(pings), str(dataset), ["--trigger=1"]) as job,
            serve([MISSIONCONTROL, "dashboard", "--pool", 1, "--dataset", dataset, "--releases", calendar]) as url,
        ):
            live_through_a_crash(firefox, pings)
            arrived = pings_in(pings)
            wait_until(lambda: job.running and number_counted(dataset) >= len(arrived))
            sums = mc.load(dataset, every=None, by=["application", "channel", "display_version"])
            [version] = sums["display_version"]
            search = f"?channel={sums['channel'][0]}&platform=linux&view=table&show=count"
            page = open_view(browser.new_page(), url, search, "table")
            settled(page)
            assert table_texts(page)["main_crashes"][version] == "1"
            assert f"{version} is not on the release calendar" in page.inner_text(".mc-main")
    main_pings = [ping for ping in arrived if ping["metadata"]["document_type"] == "main"]
    assert version == main_pings[0]["application"]["displayVersion"]
    assert sums["main_crashes"].tolist() == [1]
    seconds = sum(ping["payload"]["info"]["subsessionLength"] for ping in main_pings)
    assert seconds > 0
    assert sums["usage_hours"].tolist() == pytest.approx([seconds / 3600])


def number_counted(dataset: Path) -> int:
    """How many pings the dataset tells of, counted or not."""
    counted, uncounted = counts_in(dataset)
    return counted + sum(uncounted.values())


@pytest.fixture
def temporary():
    """A folder for temporary ones whose path is short enough for sockets in them."""
    with tempfile.TemporaryDirectory(prefix="mc-", dir="/tmp") as folder:
        yield Path(folder)


def test_demo_shows_the_crash_of_its_firefox_and_ctrl_c_leaves_nothing(temporary):
    command = [MISSIONCONTROL, "demo", "--firefox", "--headless", "--port", "0"]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        timer = threading.Timer(PATIENCE_SECONDS, process.kill)
        timer.start()
        lines = iter(process.stdout.readline, "")
        shown = next((line for line in lines if "main crashes 1," in line), None)
        timer.cancel()
        assert shown, process.stderr.read()
        assert re.search(r"Firefox [\d.]+\w*: main crashes 1, 0\.[1-9] minutes of use: http://127\.0\.0\.1:", shown)
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors
    assert re.search(r"\d+ pings in, 0 page visits\n$", output)
    assert len(started) > 5
    assert psutil.wait_procs(started, timeout=PATIENCE_SECONDS)[1] == []
    assert list(temporary.iterdir()) == []
