"""Processes of Python beside Spark's Java: what they find, and what they leave out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streaming.errors import MissionControlError
from streaming.spark.cluster import environment_settings
from streaming.spark.python_start import write_launcher

ROOT = Path(__file__).parent.parent.parent


def said_by(code: str, python: Path | str = sys.executable, **environment: str) -> str:
    """What a fresh interpreter prints."""
    command = [str(python), "-c", code]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_launcher_starts_this_python_without_zipped_packages(tmp_path: Path) -> None:
    launcher = write_launcher(tmp_path / "a folder" / "python")
    (tmp_path / "app1").mkdir()
    zipped = [f"{tmp_path}/spark/python/lib/{name}" for name in ("pyspark.zip", "py4j-0.10.9.9-src.zip")]
    kept = ["/else/where.jar", f"{tmp_path}/with space", f"{tmp_path}/app[1]", "/opt/python/lib/mine.zip", "/last"]
    path = os.pathsep.join([*zipped, *kept[:2], *zipped, *kept[2:]])
    code = "import os, sys; print(os.environ['PYTHONPATH'], sys.prefix, sys.argv[1:], sep='\\n')"
    assert said_by(code, launcher, PYTHONPATH=path).splitlines() == [os.pathsep.join(kept), sys.prefix, "[]"]
    assert said_by("print(1)", launcher, PYTHONPATH="") == "1"


def test_python_is_started_itself_where_no_file_can_be_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a folder of a file system that is mounted with noexec."""
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.X_OK)
    assert write_launcher(tmp_path / "python") == Path(sys.executable)
    with pytest.raises(MissionControlError, match="no file can be executed in"):
        environment_settings("s3://bucket/environment.tar.gz", tmp_path)


def test_pandas_is_imported_only_where_something_else_may_need_it() -> None:
    code = """
import sys
from streaming.spark.python_start import skip_pandas_import
skip_pandas_import()
import pyarrow as pa
pa.array([1, None]), pa.RecordBatch.from_pylist([{"a": "b"}])
print("pandas" in sys.modules)
import pandas
print(pandas.Series([1]).sum())
"""
    assert said_by(code, MISSIONCONTROL_STARTED="1") == "False\n1"
    assert said_by(code) == "True\n1"
