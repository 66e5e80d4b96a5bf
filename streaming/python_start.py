"""Processes of Python beside Spark's Java: how they start, and what they would import for a second without using it."""

import importlib
import os
import shlex
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_OURS = "MISSIONCONTROL_STARTED"  # in the environment of processes that run nothing but this package's tasks
_TEST_UTILITIES = "pyspark.testing.utils"

# Spark puts PySpark as a zip archive before all else. That holds no compiled code, so each process would compile what
# it imports. Without the archive it imports the same PySpark from where it is installed.
_LAUNCHER = """#!/bin/sh
kept= IFS=:
for each in $PYTHONPATH; do
  case $each in {zipped}) ;; *) kept=${{kept:+$kept:}}$each ;; esac
done
export PYTHONPATH="$kept" {ours}=1
exec {python} "$@"
"""


def write_launcher(path: Path) -> Path:
    """Writes what starts this Python for Spark on this machine; returns the path."""
    import pyspark

    is_installed = Path(pyspark.__file__).is_file()  # not in an archive itself
    zipped = "*/python/lib/*.zip" if is_installed else "''"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_LAUNCHER.format(zipped=zipped, ours=_OURS, python=shlex.quote(sys.executable)))
    path.chmod(0o755)
    return path


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


class _TestUtilities(ModuleType):
    """Has what PySpark asks its test utilities for outside of tests; whoever asks for more gets the real ones."""

    have_numpy = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system looks for
            raise AttributeError(name)
        if sys.modules.get(_TEST_UTILITIES) is self:
            del sys.modules[_TEST_UTILITIES]
        return getattr(importlib.import_module(_TEST_UTILITIES), name)


def spare_test_utilities() -> None:
    """Keeps PySpark from importing its test utilities, and pandas with them, when it hands a value to Java.

    It asks them whether there is NumPy.
    """
    sys.modules.setdefault(_TEST_UTILITIES, _TestUtilities(_TEST_UTILITIES))
