"""A job whose folders have names that Java, Spark and Delta's library misread, where the locale knows ASCII alone."""

import os
import subprocess
import sys
from pathlib import Path

from pyspark.sql import SparkSession

import missioncontrol_nb as mc
from streaming import contract
from streaming.job.aggregate import aggregate
from tests.spark.small_pings import crash_ping

ROOT = Path(__file__).parents[2]


def test_job_of_any_names_counts_and_goes_on(spark: SparkSession, tmp_path: Path) -> None:
    dataset = tmp_path / "out" / "données 🔥%20[1]\\,'^#?"
    source = tmp_path / "naïve a[1]::%41*"
    source.mkdir()
    (source / "é[1]%20?.jsonl").write_bytes(crash_ping() + b"\n")
    Path(os.fsdecode(bytes(source) + b"/not\xffutf8.jsonl")).write_bytes(crash_ping(1) + b"\nnonsense\n")
    run = [sys.executable, "-c", "from missioncontrol_nb.cli import main; main()", "aggregate", str(source)]
    done = subprocess.run(
        [*run, "--dataset", str(dataset)], cwd=ROOT, capture_output=True, text=True, errors="replace",
        env={name: value for name, value in os.environ.items() if name not in ("LANG", "PYTHONUTF8")} | {"LC_ALL": "C"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [int(mc.load(dataset, every=None, **of)["count"].sum()) for of in ({}, {"country": "DE"})] == [2, 2]
    (source / "more.jsonl").write_bytes(crash_ping(2) + b"\n")
    assert aggregate(str(source), str(dataset), spark=spark).pings == 1
    assert mc.load(dataset, every=None)["count"].sum() == 3
    assert {path.name for path in tmp_path.iterdir()} == {"out", source.name}
    assert [path.name for path in dataset.parent.iterdir()] == [dataset.name]
    assert {path.name for path in dataset.iterdir()} == {"_checkpoint", *(table.name for table in contract.TABLES)}
