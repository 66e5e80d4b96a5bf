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
    """Starts a service's command as systemd would: without a shell, with its environment."""
    service = service_of(unit)

    def whole(text: str) -> str:
        return text.replace(f"%S/{service['StateDirectory']}", str(places.home))

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


SYSTEMD = Path("/lib/systemd/systemd")
# A manager of units as users have one: it wants a /run of a system that systemd has booted, and gets its own.
MANAGER = """
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/user
chmod 700 /run/user
{systemd} --user --log-target=console >systemd.log 2>&1 &
trap "kill -KILL $!" EXIT
until systemctl --user list-units >up.log 2>&1; do sleep 0.1; done
systemctl --user start missioncontrol-watch.service missioncontrol-report.timer
systemctl --user list-timers --all --no-pager
systemctl --user start missioncontrol-report.service
echo report $?
systemctl --user show missioncontrol-report.service --property=Result,ExecMainStatus
systemctl --user show missioncontrol-watch.service --property=ActiveState,NRestarts
systemctl --user stop missioncontrol-watch.service missioncontrol-report.timer
systemctl --user show missioncontrol-watch.service --property=Result
"""


@pytest.mark.long
@pytest.mark.skipif(os.getuid() != 0 or not SYSTEMD.exists(), reason="needs root and systemd")
def test_units_run_under_systemd_itself(bad_places: Places) -> None:
    """As a user's units: these have no User=, and their %S is where the configuration is."""
    folder = bad_places.folder
    units = folder / "systemd" / "user"
    units.mkdir(parents=True)
    for unit in units_of(bad_places):
        name = Path(unit.name).name
        (units / name).write_text(unit.text.replace("User=missioncontrol\n", ""))
        if name.endswith(".service"):  # there is no journal
            (units / f"{name}.d").mkdir()
            log = f"append:{folder}/{name}.log"
            (units / f"{name}.d" / "log.conf").write_text(f"[Service]\nStandardOutput={log}\nStandardError={log}\n")
    variables = ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
    environment = {"PATH": PATH, "XDG_RUNTIME_DIR": "/run/user", **dict.fromkeys(variables, str(folder))}
    with HttpSink() as slack, (folder / "told.log").open("w") as told:
        (bad_places.secrets / "slack_url").write_text(slack.url)
        subprocess.run(
            ["unshare", "--mount", "sh", "-c", MANAGER.format(systemd=SYSTEMD)], cwd=folder, env=environment,
            stdin=subprocess.DEVNULL, stdout=told, stderr=told, check=False, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
    said = "\n".join(file.read_text() for file in sorted(folder.glob("*.log")))
    for line in ("report 0", "ExecMainStatus=3", "Result=success", "ActiveState=active", "NRestarts=0"):
        assert line in said
    assert "missioncontrol-report.timer missioncontrol-report.service" in said
    assert "Bad on Windows" in said
    assert slack.received, said
    assert (bad_places.reports / "latest.html").exists()
