"""Datasets and places that the recipes run with."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.schedulers.recipes import Places

NOW = "2017-10-02T13:00:00Z"
MISSIONCONTROL = Path(sys.executable).with_name("missioncontrol")


def simulate(folder: Path, *options: str) -> Path:
    """A fleet's dataset up to NOW."""
    subprocess.run(
        [MISSIONCONTROL, "simulate", "--history", folder, "--now", NOW, *options], check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="session")
def young_fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of all channels: too young for any alarm."""
    return simulate(tmp_path_factory.mktemp("young") / "data", "--days", "3")


@pytest.fixture(scope="session")
def bad_fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two months in which 56.0 has twice its content crashes on Windows in the last three days."""
    bad = ("--bad", "56.0", "--bad-os", "Windows_NT", "--bad-since", "2017-09-29T00:00:00Z", "--bad-factor", "2")
    return simulate(tmp_path_factory.mktemp("bad") / "data", *bad)


@pytest.fixture
def places(young_fleet: Path, tmp_path: Path) -> Places:
    """The places of the page, with a dataset of their own."""
    made = Places(tmp_path).make()
    shutil.copytree(young_fleet, made.data)
    return made


@pytest.fixture
def bad_places(bad_fleet: Path, tmp_path: Path) -> Places:
    """The places of the page, with a dataset of which an alarm is up."""
    made = Places(tmp_path).make()
    made.data.symlink_to(bad_fleet)
    return made
