"""Environments of other programs, each of its own, made once in the checkout's cache from a list of pinned packages."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.schedulers.recipes import Places

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
UV = Path(sys.executable).with_name("uv")


def environment(name: str, folder: Path = HERE) -> Path:
    """An environment of the packages of NAME.txt, which uv pip compile has made for airflow, prefect and glean.

    uv pip compile --universal --python-version 3.11 --no-annotate --no-header -o airflow.txt -
    """
    listed = folder / f"{name}.txt"
    made = ROOT / ".cache" / "schedulers" / f"{name}-{hashlib.sha256(listed.read_bytes()).hexdigest()[:12]}"
    if not made.exists():
        unfinished = made.with_name(f"{made.name}-unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        _run(UV, "venv", "--python", sys.executable, "--relocatable", unfinished)
        _run(UV, "pip", "install", "--python", unfinished, "--requirements", listed)
        unfinished.rename(made)
    return made


def own_environment(folder: Path) -> Path:
    """Another environment of Mission Control, as set-up makes it, that a test may add packages to."""
    _run(UV, "venv", "--seed", "--python", sys.executable, folder)
    _run(UV, "pip", "install", "--python", folder, "--require-hashes", "--requirements", ROOT / "requirements.lock")
    _run(UV, "pip", "install", "--python", folder, "--no-deps", "--no-build-isolation", "--editable", ROOT)
    return folder


def shell(script: str, places: Places, **environment: str) -> str:
    """Runs a recipe's shell commands; gives what they print."""
    usual = {"PATH": "/usr/bin:/bin", "HOME": str(places.home)}
    return _run("sh", "-e", "-c", script, env={**usual, **environment}, cwd=places.folder)


def _run(*command: str | Path, **options: object) -> str:
    done = subprocess.run(
        [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False, **options,  # type: ignore[call-overload]
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return str(done.stdout)
