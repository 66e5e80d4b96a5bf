"""Processes of Python beside Spark's Java: what they find, and what they leave out."""

import os
import subprocess
import sys
from pathlib import Path

from streaming.python_start import write_launcher

ROOT = Path(__file__).parent.parent.parent


def said_by(code: str, python: Path | str = sys.executable, **environment: str) -> str:
    """What a fresh interpreter prints."""
    command = [str(python), "-c", code]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_launcher_starts_this_python_without_zipped_packages(tmp_path: Path) -> None:
    launcher = write_launcher(tmp_path / "a folder" / "python")
    zipped = tmp_path / "spark" / "python" / "lib" / "pyspark.zip"
    path = os.pathsep.join([str(zipped), "/else/where.jar", str(tmp_path / "with space"), str(zipped), "/last"])
    code = "import os, sys; print(os.environ['PYTHONPATH'], sys.prefix, sys.argv[1:], sep='\\n')"
    assert said_by(code, launcher, PYTHONPATH=path).splitlines() == [
        os.pathsep.join(["/else/where.jar", str(tmp_path / "with space"), "/last"]),
        sys.prefix,
        "[]",
    ]
    assert said_by("print(1)", launcher, PYTHONPATH="") == "1"


def test_pandas_is_imported_only_where_something_else_may_need_it() -> None:
    code = """
import sys
from streaming.python_start import spare_pandas
spare_pandas()
import pyarrow as pa
pa.array([1, None]), pa.RecordBatch.from_pylist([{"a": "b"}])
print("pandas" in sys.modules)
import pandas
print(pandas.Series([1]).sum())
"""
    assert said_by(code, MISSIONCONTROL_STARTED="1") == "False\n1"
    assert said_by(code) == "True\n1"


def test_test_utilities_of_pyspark_are_there_for_who_needs_them() -> None:
    code = """
import sys
from streaming.python_start import spare_test_utilities
spare_test_utilities()
from pyspark.testing.utils import have_numpy
print(have_numpy, "pandas" in sys.modules)
from pyspark.testing.utils import assertDataFrameEqual, have_pandas
print(assertDataFrameEqual.__module__, have_pandas, "pandas" in sys.modules)
from pyspark.testing import assertSchemaEqual
spare_test_utilities()
import pyspark.testing.utils
print(pyspark.testing.utils.assertSchemaEqual is assertSchemaEqual)
"""
    assert said_by(code).splitlines() == ["True False", "pyspark.testing.utils True True", "True"]
