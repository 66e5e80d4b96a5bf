"""Processes of Python beside Spark's Java: how they start, and what they would import for a second without using it."""

import os
import shlex
import sys
from contextlib import suppress
from importlib import import_module
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

_OURS = "MISSIONCONTROL_STARTED"  # in the environment of processes that run nothing but this package's tasks
# Spark puts PySpark as a zip archive before all else. That holds no compiled code, so each process would compile what
# it imports. Without the archive it imports the same PySpark from where it is installed.
_LAUNCHER = """#!/bin/sh
set -f
kept= IFS=:
for each in $PYTHONPATH; do
  case $each in {zipped}) ;; *) kept=${{kept:+$kept:}}$each ;; esac
done
export PYTHONPATH="$kept" {ours}=1
exec {python} "$@"
"""
_ZIPPED = {"pyspark": "*/python/lib/pyspark.zip", "py4j": "*/python/lib/py4j-*-src.zip"}  # by what they hold


def write_launcher(path: Path) -> Path:
    """Writes what starts this Python for Spark on this machine.

    Returns the path, or that of Python itself where no file in that folder can be executed.
    """
    zipped = [pattern for module, pattern in _ZIPPED.items() if _is_installed(module)] or ["''"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_LAUNCHER.format(zipped="|".join(zipped), ours=_OURS, python=shlex.quote(sys.executable)))
    with suppress(OSError):  # of file systems without modes
        path.chmod(0o755)
    return path if os.access(path, os.X_OK) else Path(sys.executable)


def _is_installed(module: str) -> bool:
    """Whether this process has a module from a folder, not from an archive."""
    found = import_module(module).__file__
    return found is not None and Path(found).is_file()


class _NoPandas(MetaPathFinder):
    @classmethod
    def find_spec(cls, name: str, path: Any, target: Any = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("not looked for", name=name)


def spare_pandas() -> None:
    """Keeps PyArrow from importing pandas in a process that runs nothing but this package's tasks.

    It looks for pandas once, when the first array is made of a list.
    """
    if _OURS not in os.environ or "pandas" in sys.modules:
        return
    import pyarrow as pa

    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_NoPandas)
