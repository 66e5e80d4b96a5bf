"""The wheel, installed into a bare environment, brings the command, the notebooks, the template and the charts."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    completed = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def missioncontrol(wheel, tmp_path_factory) -> Path:
    """The command as the wheel installs it, with nothing of the checkout in reach."""
    environment = tmp_path_factory.mktemp("bare") / "environment"
    uv = Path(sys.executable).parent / "uv"
    run(uv, "venv", "--python", sys.executable, environment)
    install = [uv, "pip", "install", "--python", environment, "--constraint", ROOT / "requirements.lock", wheel]
    # The set-up left all packages in uv's cache: 3 s from there. Without --offline uv builds pyspark again, 30 s.
    if subprocess.run([*install, "--offline"], capture_output=True, check=False).returncode:
        run(*install)
    return environment / "bin" / "missioncontrol"


def test_wheel_holds_notebooks_template_and_bundle(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "notebooks/dashboard.ipynb",
        "notebooks/explore.ipynb",
        "static/vega.js",
        "dashboard.css",
        "py.typed",
    ):
        assert any(name.endswith(wanted) for name in names), wanted
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


def test_dashboard_of_the_installed_wheel_shows_rates(missioncontrol, tmp_path, serve, browser):
    dataset = tmp_path / "dataset"
    calendar = tmp_path / "releases.json"
    history = ("simulate", "--history", dataset, "--days", "7", "--releases-to", calendar)
    run(missioncontrol, *history, cwd=tmp_path)
    command = [missioncontrol, "dashboard", "--dataset", dataset, "--releases", calendar, "--pool", "0"]
    with serve(command, cwd=tmp_path) as url:
        page = browser.new_page()
        page.goto(url)
        page.wait_for_selector(".mc-card .mc-rate")
        assert page.locator(".mc-card").count() == 4


def test_installed_command_knows_every_subcommand(missioncontrol, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for name in ("aggregate", "dashboard", "demo", "releases", "simulate"):
        help_text = subprocess.run(
            [missioncontrol, name, "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout
        assert help_text.startswith(f"Usage: missioncontrol {name}")
