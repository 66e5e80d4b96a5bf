"""The recipe for systemd: its units are without a fault, and their command lines do what the units say of them."""

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.patience import PATIENCE_SECONDS, wait_until
from tests.schedulers.recipes import Places, Recipe, recipes
from tests.services.http_sink import HttpSink

ANALYZE = shutil.which("systemd-analyze")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"  # what systemd gives a service


def units_of(places: Places) -> list[Recipe]:
    units = recipes("Systemd", places)
    assert [unit.name for unit in units] == [
        "/etc/systemd/system/missioncontrol-report.service",
        "/etc/systemd/system/missioncontrol-report.timer",
        "/etc/systemd/system/missioncontrol-watch.service",
    ]
    return units


def service_of(unit: Recipe) -> Mapping[str, str]:
    """The section [Service] of a unit."""
    parser = ConfigParser(interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.text.replace("\\\n", " "))
    return parser["Service"]


def start(unit: Recipe, places: Places) -> "subprocess.Popen[str]":
    """Starts a service's command as systemd would: no shell, its environment, the specifiers replaced.

    Credentials are in the folder in which the test has the files to load, under the same names.
    """
    service = service_of(unit)
    for loaded in filter(None, [service.get("LoadCredential")]):
        name, _, file = loaded.partition(":")
        assert Path(file) == places.secrets / name

    def whole(text: str) -> str:
        state, folder = str(places.home.parent), service["StateDirectory"]
        return text.replace(f"%S/{folder}", f"{state}/{places.home.name}").replace("%d", str(places.secrets))

    name, _, value = service["Environment"].partition("=")
    return subprocess.Popen(
        [whole(word) for word in shlex.split(service["ExecStart"])], env={"PATH": PATH, name: whole(value)}, cwd="/",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def verify(folder: Path, *units: Recipe) -> str:
    """What systemd-analyze says of units."""
    files = [folder / Path(unit.name).name for unit in units]
    for file, unit in zip(files, units, strict=True):
        file.write_text(unit.text)
    done = subprocess.run(
        [str(ANALYZE), "--man=no", "verify", *files], capture_output=True, text=True, env={"PATH": os.environ["PATH"]}
    )
    return done.stdout + done.stderr


@pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze; on Debian: apt-get install systemd")
def test_units_are_without_a_fault(tmp_path: Path) -> None:
    units = units_of(Places(tmp_path).make())
    assert verify(tmp_path, *units) == ""
    wrong = Recipe("ini", units[0].text.replace("StateDirectory", "StateFolder"))
    assert "StateFolder" in verify(tmp_path, wrong), "a fault would be told"


def test_watch_runs_until_it_is_told_to_end(places: Places) -> None:
    *_, watch = units_of(places)
    with HttpSink() as slack:
        (places.secrets / "slack_url").write_text(slack.url)
        process = start(watch, places)
        wait_until(lambda: slack.received, "the message that data are stale", process)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, said
    assert slack.url not in said
    assert service_of(watch)["Restart"] == "always"


@pytest.mark.long
def test_alarm_is_no_failure_of_the_service(bad_places: Places) -> None:
    report, *_ = units_of(bad_places)
    process = start(report, bad_places)
    said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert "Bad on Windows" in said
    assert [process.returncode] == [int(code) for code in service_of(report)["SuccessExitStatus"].split()] == [3]
    assert (bad_places.reports / "latest.html").stat().st_size > 10_000
