"""A job killed at any moment and started again counts every ping once; one told to stop leaves nothing behind."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from pyspark.sql import SparkSession

from streaming import contract
from streaming.job.aggregate import aggregate
from tests.patience import PATIENCE_SECONDS, wait_until
from tests.spark.jobs import ROOT, start
from tests.spark.small_pings import (
    crash_ping,
    dataset_sums,
    main_ping,
    some_pings,
    sums_by_plain_loop,
    total_pings,
    write_pings,
)

KILLS = 4  # those of a topic are tests/faults
_JOB = """
import os, signal, sys
from streaming.job.aggregate import aggregate
from streaming.job.settings import AggregateSettings
source, dataset, table, batch, master = sys.argv[1:]
def on_commit(done, number):
    if (done, number) == (table, int(batch)):
        os.kill(os.getpid(), signal.SIGKILL)
aggregate(source, dataset, settings=AggregateSettings(max_batch_bytes=3000, master=master or None), on_commit=on_commit)
"""


def test_job_killed_at_random_moments_counts_every_ping_once(spark: SparkSession, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    random_ = random.Random(seed)
    source, dataset = tmp_path / "pings", tmp_path / "dataset"
    source.mkdir()
    for kill in range(KILLS):
        for part in range(3):
            write_pings(source, f"{kill}-{part}.jsonl", some_pings(random_, 5))
        options = ("--follow", "--trigger", "0", "--batch-megabytes", "1")
        job = start(source, dataset, *options, by_spark=spark is not None)
        # From before all is up until some micro-batches are done, most of the time in the midst of them.
        wait_or_end(job, random_.uniform(1.5, 7) if spark else random_.uniform(0.3, 2))
        job.kill()
        job.communicate()
    aggregate(str(source), str(dataset), spark=spark)
    assert dataset_sums(dataset) == sums_by_plain_loop(source)
    assert total_pings(dataset) == KILLS * 3 * 5


def wait_or_end(job: subprocess.Popen[str], seconds: float) -> None:
    try:
        job.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    raise AssertionError(job.communicate()[1])


def wait_for(path: Path) -> None:
    """Until Spark has noted that a micro-batch is done; stopped before, it would begin with that one again."""
    wait_until(path.exists)


def test_job_killed_between_two_tables_counts_every_ping_once(spark: SparkSession, tmp_path: Path) -> None:
    """After one table's commit, of files; tests/faults does it after each step, of messages."""
    table = contract.EXPERIMENT_ERROR_AGGREGATES.name
    source, dataset = tmp_path / "pings", tmp_path / "dataset"
    source.mkdir()
    random_ = random.Random(table)
    for part in range(3):
        every = [
            crash_ping(),
            main_ping(1),
            main_ping(
                2, environment={"experiments": {"a": "b"}, "system": {"os": {"name": "Linux", "version": "4.4"}}}
            ),
            b"{",
        ]
        write_pings(source, f"{part}.jsonl", every + some_pings(random_, 4))
    killed = subprocess.run(
        [sys.executable, "-c", _JOB, source, dataset, table, "1", "local[2]" if spark else ""],
        cwd=ROOT,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    aggregate(str(source), str(dataset), spark=spark)
    assert dataset_sums(dataset) == sums_by_plain_loop(source)
    assert total_pings(dataset) == 3 * 8


@pytest.mark.parametrize("by_spark", [True, False], ids=["Spark", "processes"])
def test_follow_takes_new_files_and_ends_cleanly_when_told(tmp_path: Path, by_spark: bool) -> None:
    source, dataset = tmp_path / "pings", tmp_path / "dataset"
    source.mkdir()
    for batch, number in enumerate((signal.SIGINT, signal.SIGTERM)):
        job = start(source, dataset, "--follow", "--trigger", "0.1", by_spark=by_spark)
        assert job.stdout
        write_pings(source, f"{number}.jsonl", [crash_ping(), b"nonsense"])
        assert "1 file, 2 pings (1 rejected)" in job.stdout.readline()
        wait_for(dataset / "_checkpoint" / "spark" / "commits" / str(batch))
        children = psutil.Process(job.pid).children(recursive=True)
        assert children
        job.send_signal(number)
        output, errors = job.communicate(timeout=PATIENCE_SECONDS)
        assert job.returncode == 0
        assert "Traceback" not in errors
        assert f"rejected in {source / f'{number}.jsonl'}: not_json 1" in errors
        assert "2 pings: 1 accepted, 1 rejected" in output
        assert psutil.wait_procs(children, timeout=PATIENCE_SECONDS)[1] == []
    assert total_pings(dataset) == 4
    assert not (dataset / "_checkpoint" / "scratch").exists()


def test_second_job_waits_for_the_first_ones_checkpoint_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streaming.errors import MissionControlError
    from streaming.job import checkpoint

    monkeypatch.setattr(checkpoint, "LOCK_SECONDS", 0.2)
    with checkpoint.open_checkpoint(tmp_path / "checkpoint", "a", "b"):
        began = time.monotonic()
        with pytest.raises(MissionControlError, match="another job is running"):
            checkpoint.open_checkpoint(tmp_path / "checkpoint", "a", "b").__enter__()
    assert time.monotonic() - began >= 0.2


def running_job(tmp_path: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    """A job that has counted something and goes on, and its Java."""
    (tmp_path / "pings").mkdir()
    write_pings(tmp_path / "pings", "a.jsonl", [crash_ping()])
    job = start(tmp_path / "pings", tmp_path / "dataset", "--follow", "--trigger", "0")
    wait_for(tmp_path / "dataset" / "_checkpoint" / "spark" / "commits" / "0")
    [java] = [child for child in psutil.Process(job.pid).children(recursive=True) if child.name() == "java"]
    return job, java


@pytest.mark.parametrize("is_java_first", [pytest.param(False, marks=pytest.mark.long), True])
def test_job_that_is_ended_together_with_its_spark_says_what_it_did(tmp_path: Path, is_java_first: bool) -> None:
    job, java = running_job(tmp_path)
    for process in (java, job) if is_java_first else (job, java):
        process.terminate()
    output, errors = job.communicate(timeout=PATIENCE_SECONDS)
    assert (job.returncode, "Traceback" in errors) == (0, False), errors
    assert "1 ping: 1 accepted, 0 rejected" in output


def test_job_whose_spark_is_killed_says_so_in_a_sentence(tmp_path: Path) -> None:
    job, java = running_job(tmp_path)
    java.kill()
    _, errors = job.communicate(timeout=PATIENCE_SECONDS)
    said = "Spark's Java has ended by signal 9 (Killed): was it killed, or was there too little memory?"
    assert (job.returncode, errors.splitlines()[-1]) == (1, f"missioncontrol: {said}")
    assert "Traceback" not in errors
    assert total_pings(tmp_path / "dataset") == 1
