"""The recipe for GitHub Actions: a valid workflow, whose script says of an alarm and of a failure what it should."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.schedulers.environments import ROOT, UV
from tests.schedulers.recipes import Places, Recipe, recipes

pytestmark = pytest.mark.long
SCHEMA = ("check-jsonschema==0.39.0", "check-jsonschema", "--builtin-schema", "vendor.github-workflows")
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"


def workflow(places: Places) -> Recipe:
    [found] = recipes("GitHub Actions", places)
    assert found.name == ".github/workflows/release-report.yml"
    return found


@pytest.fixture
def file(places: Places) -> Path:
    made = places.folder / ".github" / "workflows" / "release-report.yml"
    made.parent.mkdir(parents=True)
    made.write_text(workflow(places).text)
    return made


def test_workflow_fits_the_schema_of_workflows(file: Path) -> None:
    check = [str(UV), "tool", "run", "--from", *SCHEMA, str(file)]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    file.write_text(file.read_text().replace("runs-on", "runs-at"))
    assert subprocess.run(check, capture_output=True).returncode == 1, "a fault would be told"


@pytest.mark.skipif(not shutil.which("go"), reason="actionlint is built by Go; on Debian: apt-get install golang-go")
def test_actionlint_finds_nothing(file: Path) -> None:
    folder = ROOT / ".cache" / "actionlint"
    if not (folder / "actionlint").exists():
        subprocess.run(["go", "install", ACTIONLINT], env=os.environ | {"GOBIN": str(folder)}, check=True)
    done = subprocess.run([folder / "actionlint", "-no-color", file], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def run_script(places: Places) -> "subprocess.CompletedProcess[str]":
    """Runs the last step's script as GitHub's runner does for `shell: bash`."""
    step = yaml.safe_load(workflow(places).text)["jobs"]["report"]["steps"][-1]
    assert (step["shell"], *step["env"]) == ("bash", "DATA", "OUT")
    script = places.folder / "step.sh"
    script.write_text(step["run"])
    variables = {
        "PATH": f"{places.environment}/bin:/usr/bin:/bin",
        "HOME": str(places.home),
        "DATA": str(places.data),
        "OUT": str(places.reports),
        "GITHUB_STEP_SUMMARY": str(places.folder / "summary.md"),
    }
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)]
    return subprocess.run(command, env=variables, cwd=places.folder, capture_output=True, text=True, check=False)


def test_alarm_is_a_warning_and_a_failure_is_one(bad_places: Places) -> None:
    done = run_script(bad_places)
    assert done.returncode == 0, done.stderr
    assert "::warning::An alarm is up" in done.stdout
    assert "Bad on Windows" in (bad_places.folder / "summary.md").read_text()
    bad_places.data.unlink()
    failed = run_script(bad_places)
    assert failed.returncode == 1
    assert "::warning::" not in failed.stdout
