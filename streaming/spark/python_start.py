"""How Spark's Python processes start, and how they skip an unused import of pandas, which would take a second."""

import os
import shlex
import sys
from contextlib import suppress
from importlib import import_module
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

STARTED_BY_US = "MISSIONCONTROL_STARTED"  # set in the environment of processes that run only this package's tasks
# Spark puts a zip archive of PySpark first on PYTHONPATH. The archive holds no compiled code, so each process would
# compile the modules it imports. Without the archive a process imports the same PySpark from its installed folder.
_LAUNCHER = """#!/bin/sh
set -f
kept= IFS=:
for each in $PYTHONPATH; do
  case $each in {zipped}) ;; *) kept=${{kept:+$kept:}}$each ;; esac
done
export PYTHONPATH="$kept" {ours}=1
exec {python} "$@"
"""
_ZIPPED = {"pyspark": "*/python/lib/pyspark.zip", "py4j": "*/python/lib/py4j-*-src.zip"}  # by the module they hold


def write_launcher(path: Path) -> Path:
    """Writes a script that starts this Python for Spark on this machine.

    Returns the script's path, or the path of Python itself where no file in the script's folder can be executed.
    """
    zipped = [pattern for module, pattern in _ZIPPED.items() if _is_installed(module)] or ["''"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_LAUNCHER.format(zipped="|".join(zipped), ours=STARTED_BY_US, python=shlex.quote(sys.executable)))
    with suppress(OSError):  # raised by file systems without modes
        path.chmod(0o755)
    return path if os.access(path, os.X_OK) else Path(sys.executable)


def _is_installed(module: str) -> bool:
    """Whether this process imports a module from a folder, not from an archive."""
    found = import_module(module).__file__
    return found is not None and Path(found).is_file()


class _NoPandas(MetaPathFinder):
    @classmethod
    def find_spec(cls, name: str, path: Any, target: Any = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("not looked for", name=name)


def skip_pandas_import() -> None:
    """Keeps PyArrow from importing pandas in a process that runs only this package's tasks.

    PyArrow looks for pandas once, when it makes the first array from a list.
    """
    if STARTED_BY_US not in os.environ or "pandas" in sys.modules:
        return
    import pyarrow as pa

    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_NoPandas)
