"""The job on a real cluster whose workers have nothing but Java and Spark, and the environment's archive."""

import random
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from missioncontrol_nb.cli import group
from streaming.errors import MissionControlError
from streaming.spark.session import spark_session
from tests.patience import PATIENCE_SECONDS, wait_until
from tests.plain_loop import plain_sums
from tests.services.cluster import JAVA_OPTIONS, Cluster
from tests.services.kafka import RECEIVED_MS, Broker
from tests.services.ports import free_port
from tests.spark.jobs import MISSIONCONTROL, ROOT, start
from tests.spark.small_pings import (
    crash_ping,
    dataset_sums,
    main_ping,
    some_pings,
    sums_by_plain_loop,
    total_pings,
    write_pings,
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = tmp_path_factory.mktemp("environment") / "environment.tar.gz"
    done = CliRunner().invoke(group, ["environment", "--output", str(archive)])
    assert done.exit_code == 0, done.output
    print(done.output)
    return archive


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def there(cluster: Cluster, environment: Path, tmp_path: Path) -> list[str]:
    """What sends a job to the cluster."""
    config = tmp_path / "spark.conf"
    config.write_text(
        f"spark.executor.extraJavaOptions = {JAVA_OPTIONS}\nspark.executorEnv.AWS_SECRET_ACCESS_KEY = a-secret\n"
    )
    return ["--master", cluster.url, "--environment", str(environment), "--spark-config", str(config)]


def test_workers_count_a_topic_by_the_archive_alone(
    cluster: Cluster, there: list[str], broker: Broker, tmp_path: Path
) -> None:
    topic, dataset = f"pings-{uuid.uuid4().hex[:8]}", tmp_path / "dataset"
    documents = some_pings(random.Random(1), 200)
    broker.create(topic, 4)
    broker.send(topic, documents)
    job = start(f"kafka://{broker.address}/{topic}", dataset, "--follow", *there)
    assert job.stdout
    assert "batch 0: 200 pings" in job.stdout.readline()
    executors = cluster.executors()
    code = {path for each in executors if "python" in each.name() for path in mapped_files(each) if "/python3" in path}
    keys = {each.environ().get("AWS_SECRET_ACCESS_KEY") for each in executors}
    driver = [word for each in psutil.Process(job.pid).children() for word in each.cmdline()]
    job.send_signal(signal.SIGINT)
    _, errors = job.communicate(timeout=PATIENCE_SECONDS)
    assert job.returncode == 0, errors
    assert dataset_sums(dataset) == plain_sums((each, RECEIVED_MS * 1000) for each in documents)
    assert code
    assert all(Path(path).is_relative_to(cluster.folder) for path in code)
    assert keys == {"a-secret"}
    assert not any("a-secret" in word for word in driver)


def mapped_files(process: psutil.Process) -> list[str]:
    return [process.exe(), *(each.path for each in process.memory_maps())]


@pytest.mark.long
def test_days_are_counted_anew_on_a_cluster(cluster: Cluster, there: list[str], tmp_path: Path) -> None:
    source, dataset, day = tmp_path / "pings", tmp_path / "dataset", "2017-10-02"
    source.mkdir()
    write_pings(source, "all.jsonl", [crash_ping(1), crash_ping(2, country="FR"), main_ping(3)])
    done = subprocess.run(
        [*MISSIONCONTROL, "backfill", source, "--dataset", dataset, "--from", day, "--to", day, *there],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "error_aggregates             pings 0 -> 3" in done.stdout
    assert dataset_sums(dataset) == sums_by_plain_loop(source)
    wait_until(lambda: not cluster.executors(), "the end of all executors")


@pytest.mark.long
def test_worker_killed_in_mid_stream_loses_nothing_and_ctrl_c_leaves_nothing_behind(
    cluster: Cluster, there: list[str], tmp_path: Path
) -> None:
    source, dataset = tmp_path / "pings", tmp_path / "dataset"
    source.mkdir()
    random_ = random.Random(uuid.uuid4().int)
    write_pings(source, "first.jsonl", some_pings(random_, 50))
    # The later --master counts.
    job = start(source, dataset, "--follow", "--trigger", "0", "--write-from", "workers", *there)
    assert job.stdout
    assert "batch 0: 1 file, 50 pings" in job.stdout.readline()
    written = threading.Thread(target=write_slowly, args=(source, random_))
    written.start()
    job.stdout.readline()
    cluster.kill_worker(0)
    written.join()
    wait_until(lambda: total_pings(dataset) == 50 + PARTS * 50, "the pings", job)
    job.send_signal(signal.SIGINT)
    _, errors = job.communicate(timeout=PATIENCE_SECONDS)
    assert job.returncode == 0, errors
    assert "Traceback" not in errors
    assert dataset_sums(dataset) == sums_by_plain_loop(source)
    wait_until(lambda: not cluster.state()["activeapps"] and not cluster.executors(), "the end of all executors")
    assert not (dataset / "_checkpoint" / "scratch").exists()
    cluster.start_worker(0)


PARTS = 25


def write_slowly(source: Path, random_: random.Random) -> None:
    """For some seconds, whatever happens to the workers."""
    pause = threading.Event()
    for part in range(PARTS):
        write_pings(source, f"{part}.jsonl", some_pings(random_, 50))
        pause.wait(0.2)


def test_master_that_does_not_answer_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "ping.json").write_text("{}")
    master = f"spark://127.0.0.1:{free_port()}"
    job = start(tmp_path / "ping.json", tmp_path / "dataset", "--master", master)
    _, errors = job.communicate(timeout=PATIENCE_SECONDS)
    assert job.returncode == 1
    assert errors.strip().endswith("Connection refused")
    with pytest.raises(MissionControlError, match="no such --environment"):
        spark_session("local[1]", tmp_path, environment=str(tmp_path / "none")).__enter__()
