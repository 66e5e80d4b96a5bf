"""What each layer imports, looked at in a fresh interpreter: one direction, and nothing heavy before it is used."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import missioncontrol_nb as mc

ROOT = Path(__file__).parent.parent.parent
SECONDS_BEYOND_PANDAS = 0.3
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout


def imported_by(*modules: str) -> set[str]:
    """The modules that are there after an import of some."""
    names = ", ".join(modules)
    return set(json.loads(run(f"import json, sys\nimport {names}\nprint(json.dumps(sorted(sys.modules)))")))


def modules_of(package: str) -> list[str]:
    """The names of the modules of a package, without its commands."""
    files = sorted((ROOT / package).rglob("*.py"))
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return [name.removesuffix(".__init__") for name in names if ".share." not in name]


# What must not be imported with a module: whatever lies above it, and what it has no use for before a call.
FORBIDDEN = {
    "missioncontrol_nb": ("pyspark", "pandas", "numpy", "pyarrow", "deltalake", "altair", "scipy", "click"),
    "missioncontrol_nb.cli": ("pyspark", "pandas", "pyarrow", "deltalake", "altair", "scipy", "fsspec"),
    "missioncontrol_nb.releases": (
        "pyspark",
        "pandas",
        "pyarrow",
        "deltalake",
        "altair",
        "missioncontrol_nb.loading.dataset",
    ),
    "missioncontrol_nb.loading.query": (
        "pyspark",
        "pandas",
        "pyarrow",
        "deltalake",
        "missioncontrol_nb.loading.dataset",
    ),
    "missioncontrol_nb.statistics": (
        "pyspark",
        "altair",
        "deltalake",
        "missioncontrol_nb.loading.dataset",
        "missioncontrol_nb.releases",
    ),
    "missioncontrol_nb.loading.dataset": (
        "pyspark",
        "altair",
        "missioncontrol_nb.statistics",
        "missioncontrol_nb.releases",
    ),
    "missioncontrol_nb.incidents": (
        "pyspark",
        "altair",
        "scipy",
        "missioncontrol_nb.judgement",
        "missioncontrol_nb.releases",
    ),
    "missioncontrol_nb.status": ("pyspark", "altair", "ipywidgets", "scipy", "missioncontrol_nb.monitor"),
    "missioncontrol_nb.watching.watch": (
        "pyspark",
        "pandas",
        "numpy",
        "pyarrow",
        "deltalake",
        "scipy",
        "missioncontrol_nb.judgement",
    ),
    "missioncontrol_nb.watching.looking": ("pyspark", "pandas", "numpy", "missioncontrol_nb.judgement"),
    "missioncontrol_nb.status.server": ("pyspark", "tornado"),
    "missioncontrol_nb.report": ("pyspark", "pandas", "numpy", "altair", "papermill", "vl_convert", "click"),
    "missioncontrol_nb.report.running": ("pyspark", "papermill", "nbformat", "vl_convert", "mistune", "click"),
    "missioncontrol_nb.monitor": (
        "pyspark",
        "altair",
        "ipywidgets",
        "missioncontrol_nb.charts",
        "missioncontrol_nb.dashboard",
    ),
    "missioncontrol_nb.charts": ("pyspark", "missioncontrol_nb.dashboard.app", "missioncontrol_nb.dashboard.views"),
    "streaming.contract": ("pyspark", "pandas", "pyarrow", "missioncontrol_nb"),
    "streaming.job.progress": ("pyspark", "pandas", "pyarrow", "deltalake", "missioncontrol_nb"),
    "streaming.dataset.day_sums": ("pyspark", "pandas", "pyarrow", "deltalake", "missioncontrol_nb"),
    "streaming.pings.decode": ("pyspark", "pandas", "missioncontrol_nb"),
    "streaming.aggregation.counter": ("pyspark", "pandas", "missioncontrol_nb"),
}


@pytest.mark.parametrize("module", FORBIDDEN)
def test_layer_imports_nothing_from_above_and_nothing_heavy(module: str) -> None:
    imported = imported_by(module)
    assert module in imported
    assert imported.isdisjoint(FORBIDDEN[module])


def test_streaming_never_imports_the_library() -> None:
    imported = imported_by(*modules_of("streaming"))
    assert "streaming.contract" in imported
    assert [name for name in imported if name.split(".")[0] == "missioncontrol_nb"] == []


def test_kernel_of_a_dashboard_never_imports_pyspark() -> None:
    kernel = ["loading.dataset", "loading.legacy_parquet", "statistics", "releases", "monitor", "charts", "dashboard"]
    kernel += [name.removeprefix("missioncontrol_nb.") for name in modules_of("missioncontrol_nb/dashboard")]
    imported = imported_by(*(f"missioncontrol_nb.{name}" for name in kernel))
    assert "missioncontrol_nb.monitor" in imported
    assert [name for name in imported if name.split(".")[0] in ("pyspark", "py4j")] == []


def test_every_exported_name_is_there() -> None:
    assert [name for name in mc.__all__ if getattr(mc, name, None) is None] == []
    assert set(mc.__all__) <= set(dir(mc))
    assert sorted(mc.__all__) == mc.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mc.nothing  # noqa: B018


def test_import_takes_little_more_than_pandas() -> None:
    """Median of fresh interpreters, in seconds of processor, which are much the same on a busy machine."""
    timed = "import time, pandas\nstart = time.process_time()\nimport {}\nprint(time.process_time() - start)"
    assert statistics.median(float(run(timed.format("missioncontrol_nb"))) for _ in range(5)) < SECONDS_BEYOND_PANDAS
