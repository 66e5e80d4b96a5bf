"""What `missioncontrol aggregate` makes of good and bad files, in one run and in several."""

import gzip
import json
import os
import subprocess
import sys
import uuid
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import zstandard
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from streaming import contract
from streaming.errors import MissionControlError
from streaming.job.aggregate import aggregate
from streaming.job.settings import AggregateSettings, Batch, Summary
from streaming.pings.kinds import REASONS
from streaming.spark.java import find_java, java_version, wheel_java
from tests.patience import PATIENCE_SECONDS
from tests.services.receiver import ReceiverProcess, path_of
from tests.spark.jobs import MISSIONCONTROL
from tests.spark.small_pings import crash_ping, dataset_sums, main_ping, table_sums


@pytest.fixture
def pings(tmp_path: Path) -> Path:
    folder = tmp_path / "pings"
    folder.mkdir()
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return tmp_path / "dataset"


def lines(*documents: bytes) -> bytes:
    return b"".join(document + b"\n" for document in documents)


def run(spark: SparkSession, pings: Path | str, dataset: Path, **settings: object) -> Summary:
    return aggregate(str(pings), str(dataset), settings=AggregateSettings(**settings), spark=spark)  # type: ignore[arg-type]


def counted(dataset: Path) -> int:
    """The pings that the dataset holds."""
    place = contract.ERROR_AGGREGATES.sums.index("count")
    return sum(sums[place] for sums in table_sums(dataset, contract.ERROR_AGGREGATES).values())


def test_pings_of_every_kind_of_file_land_in_their_windows(spark: SparkSession, pings: Path, dataset: Path) -> None:
    (pings / "one.json").write_bytes(json.dumps(json.loads(crash_ping(1)), indent=2).encode())
    (pings / "deep").mkdir()
    (pings / "deep" / "lines.jsonl").write_bytes(lines(crash_ping(2), main_ping(2, hours=3)))
    (pings / "packed.jsonl.gz").write_bytes(gzip.compress(lines(crash_ping(3))) + gzip.compress(lines(crash_ping(7))))
    (pings / "packed.jsonl.zst").write_bytes(zstandard.compress(lines(crash_ping(8), crash_ping(8))))
    summary = run(spark, pings, dataset)
    assert (summary.pings, summary.accepted, summary.rejected) == (7, 7, {})

    def key(minute: int) -> tuple[object, ...]:
        start = datetime(2017, 10, 2, 14, minute, tzinfo=UTC)
        dimensions = ("Firefox", "release", "56.0", "56.0", "20170926190823", "Windows_NT", "10.0", "x86-64", "DE")
        return (date(2017, 10, 2), start, start.replace(minute=minute + 5), *dimensions)

    sums = table_sums(dataset, contract.ERROR_AGGREGATES)
    places = [contract.COUNTS.index(name) for name in ("usage_hours", "count", "main_crashes")]
    assert {group: tuple(row[place] for place in places) for group, row in sums.items()} == {
        key(0): (3 * 3600, 4, 3),
        key(5): (0, 3, 3),
    }
    assert (
        DeltaTable(str(dataset / "error_aggregates")).history(1)[0][contract.DATA_UP_TO].startswith("2017-10-02T14:08")
    )


def test_job_goes_on_where_another_engine_has_ended(session: SparkSession, pings: Path, dataset: Path) -> None:
    for number, engine in enumerate([session, None, None, session, None]):
        (pings / f"{number}.jsonl").write_bytes(lines(*(crash_ping(minute) for minute in range(number + 1))))
        summary = aggregate(str(pings), str(dataset), spark=engine)
        assert (summary.accepted, summary.batches) == (number + 1, 1)
    assert counted(dataset) == 1 + 2 + 3 + 4 + 5
    records = dataset / "_checkpoint" / "spark"
    for folder in ("offsets", "commits"):
        assert {path.name for path in (records / folder).glob("[0-9]*")} == set("01234")


def test_files_of_a_receiver_count_once_each_though_it_was_killed(
    spark: SparkSession, pings: Path, dataset: Path
) -> None:
    receiver = ReceiverProcess(pings, "--file-seconds", "1000").start()
    try:
        assert {receiver.post(path_of(str(uuid.uuid4()))) for _ in range(5)} == {200}
        with pytest.raises(MissionControlError, match=r"passed over: 1 whose names begin with \. or _"):
            run(spark, pings, dataset)
        receiver.kill()
        receiver.start()
        assert run(spark, pings, dataset).accepted == 5
        assert {receiver.post(path_of(str(uuid.uuid4()))) for _ in range(3)} == {200}
    finally:
        receiver.stop()
    assert run(spark, pings, dataset).accepted == 3
    assert run(spark, pings, dataset).pings == 0
    assert counted(dataset) == 8


def test_bad_files_are_counted_and_named_and_harm_no_neighbour(spark: SparkSession, pings: Path, dataset: Path) -> None:
    packed = gzip.compress(lines(*(crash_ping(minute, noise=os.urandom(20_000).hex()) for minute in range(4))))
    cases: dict[str, tuple[bytes, int, dict[str, int]]] = {
        "truncated.json": (crash_ping()[:100], 0, {"not_json": 1}),
        "truncated.jsonl": (lines(crash_ping()) + crash_ping()[:100], 1, {"not_json": 1}),
        "wrong_type.json": (crash_ping(payload=7), 0, {"wrong_type": 1}),
        "nan.json": (crash_ping().replace(b'"main"', b"NaN"), 0, {"not_json": 1}),
        "long.jsonl": (lines(crash_ping(noise="x" * 10_000_000), crash_ping()), 1, {"too_large": 1}),
        "empty.json": (b"", 0, {"empty": 1}),
        "empty.jsonl": (b"", 0, {"empty": 1}),
        "blank.jsonl": (b"\n \r\n", 0, {"empty": 1}),
        "empty.jsonl.gz": (b"", 0, {"empty": 1}),
        "binary.json": (bytes(range(256)), 0, {"not_json": 1}),
        "half.jsonl.gz": (packed[: len(packed) // 2], 1, {"file_corrupt": 1}),
        "text.jsonl.gz": (b"no gzip", 0, {"file_corrupt": 1}),
        "text.jsonl.zst": (b"no zstandard", 0, {"file_corrupt": 1}),
        "mark.jsonl": ((b"\xef\xbb\xbf" + crash_ping() + b"\r\n\r\n" + crash_ping() + b"\r\n") * 2, 4, {}),
        "good.jsonl": (lines(crash_ping(), crash_ping()), 2, {}),
    }
    for name, (content, _, _) in cases.items():
        (pings / name).write_bytes(content)
    (pings / "loop.json").symlink_to(pings / "loop.json")
    (pings / ".hidden.json").write_bytes(b"unfinished")
    (pings / "_unfinished.jsonl").write_bytes(b"unfinished")
    (pings / "ping.json.tmp").write_bytes(b"unfinished")
    batches: list[Batch] = []
    summary = aggregate(str(pings), str(dataset), spark=spark, on_batch=batches.append)
    expected = {str(pings / name): rejected for name, (_, _, rejected) in cases.items() if rejected}
    bad_files = {name: reasons for batch in batches for name, reasons in batch.bad_files.items()}
    assert bad_files == expected | {str(pings / "loop.json"): {"file_unreadable": 1}}
    assert summary.accepted == sum(accepted for _, accepted, _ in cases.values()) == counted(dataset)
    assert sum(summary.rejected.values()) == len(expected) + 1
    assert set(summary.rejected) <= set(REASONS)


def test_file_that_vanished_is_counted_once_and_its_neighbours_too(
    spark: SparkSession, pings: Path, dataset: Path
) -> None:
    from streaming.job.checkpoint import open_checkpoint
    from streaming.sources.files.batch_log import FileLog
    from streaming.sources.files.listing import list_files

    (pings / "stays.json").write_bytes(crash_ping())
    (pings / "goes.json").write_bytes(crash_ping())
    with open_checkpoint(dataset / "_checkpoint", str(pings), str(dataset)) as checkpoint:
        FileLog(checkpoint.folder / "files.log").append(list_files(str(pings)))
    (pings / "goes.json").unlink()
    summary = run(spark, pings, dataset)
    assert (summary.accepted, summary.rejected) == (1, {"file_vanished": 1})
    assert run(spark, pings, dataset).pings == 0


def test_what_was_counted_is_not_counted_again_and_what_is_new_is(
    spark: SparkSession, pings: Path, dataset: Path
) -> None:
    (pings / "a.json").write_bytes(crash_ping())
    assert run(spark, pings, dataset).pings == 1
    assert run(spark, pings, dataset).pings == 0
    late = pings / "older.json"
    late.write_bytes(crash_ping())
    os.utime(late, (0, 0))
    assert run(spark, pings, dataset).pings == 1
    assert counted(dataset) == 2


def test_micro_batches_are_as_large_as_they_may_be(spark: SparkSession, pings: Path, dataset: Path) -> None:
    for number in range(4):
        (pings / f"{number}.json").write_bytes(crash_ping())
    assert run(spark, pings, dataset, max_batch_bytes=2 * len(crash_ping())).batches == 2
    assert counted(dataset) == 4


def test_large_file_of_lines_is_shared_between_tasks_and_nothing_is_lost(
    spark: SparkSession, pings: Path, dataset: Path
) -> None:
    from streaming.sources.files.listing import list_files
    from streaming.sources.files.splits import assign_to_tasks

    ping = crash_ping(noise="x" * 40_000)
    (pings / "large.jsonl").write_bytes(lines(*[ping] * 600))
    shares = assign_to_tasks(list_files(str(pings)), cores=4)
    assert len(shares) == 4
    assert sum(piece.end - piece.start for share in shares for piece in share) == 600 * (len(ping) + 1)
    assert run(spark, pings, dataset).accepted == 600


def test_second_checkpoint_adds_its_own_source_and_is_no_replay(
    spark: SparkSession, tmp_path: Path, dataset: Path
) -> None:
    for name, minutes in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pings.jsonl").write_bytes(lines(*[crash_ping()] * minutes))
        run(spark, tmp_path / name, dataset, checkpoint=str(tmp_path / f"checkpoint-{name}"))
    assert counted(dataset) == 3


def test_lost_or_foreign_checkpoints_are_refused(
    spark: SparkSession, tmp_path: Path, pings: Path, dataset: Path
) -> None:
    (pings / "a.json").write_bytes(crash_ping())
    (tmp_path / "other").mkdir()
    run(spark, pings, dataset)
    with pytest.raises(MissionControlError, match="belongs to the source"):
        run(spark, tmp_path / "other", dataset)
    with pytest.raises(MissionControlError, match="belongs to the dataset"):
        run(spark, pings, tmp_path / "elsewhere", checkpoint=str(dataset / "_checkpoint"))
    with pytest.raises(MissionControlError, match=r"holds pings from .* already"):
        run(spark, pings, dataset, checkpoint=str(tmp_path / "new"))
    (dataset / "_checkpoint" / "files.log").unlink()
    with pytest.raises(MissionControlError, match="knows 0 micro-batches and the dataset 1"):
        run(spark, pings, dataset)
    assert counted(dataset) == 1
    assert run(spark, pings, dataset, checkpoint=str(tmp_path / "again"), recount=True).pings == 1
    assert counted(dataset) == 2


def test_loss_of_sparks_own_notes_counts_nothing_twice(spark: SparkSession, pings: Path, dataset: Path) -> None:
    import shutil

    for number in range(3):
        (pings / f"{number}.json").write_bytes(crash_ping(number))
        run(spark, pings, dataset)
    before = dataset_sums(dataset)
    shutil.rmtree(dataset / "_checkpoint" / "spark")
    run(spark, pings, dataset)
    assert dataset_sums(dataset) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "--dataset", "data"], "no such file or folder"),
        (["notes.txt", "--dataset", "data"], "expected a file that ends in"),
        ([".", "--dataset", "notes.txt"], "notes.txt"),
        ([".", "--dataset", "s3://bucket/data"], "no credentials"),
        (["s3://bucket/pings", "--dataset", "data"], "no credentials"),
        ([".", "--dataset", "data", "--channel", "relaese"], "release"),
        ([".", "--dataset", "data", "--submitted-at", "noon"], "ISO 8601"),
        ([".", "--dataset", "data", "--master", "moon"], "--master 'moon'"),
    ],
)
def test_what_the_user_can_mend_is_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "notes.txt").write_text("no pings")
    (tmp_path / "ping.json").write_text("{}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [*MISSIONCONTROL, "aggregate", *arguments],
        cwd=tmp_path,
        env=environment | {"HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.startswith("missioncontrol: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.long
def test_job_runs_on_the_java_of_the_wheel(tmp_path: Path, pings: Path, dataset: Path) -> None:
    (pings / "a.json").write_bytes(crash_ping())
    code = (
        "from pathlib import Path; from streaming.job.aggregate import *; from streaming.spark.java import wheel_java\n"
        f"settings = AggregateSettings(java_home=wheel_java(Path({str(tmp_path)!r})), master='local[1]')\n"
        f"print(aggregate({str(pings)!r}, {str(dataset)!r}, settings=settings).accepted)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert (java_version(wheel_java(tmp_path)) or 0) >= 25


def test_java_that_is_there_wins_and_an_old_one_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in (8, 17):
        home = tmp_path / str(version)
        (home / "bin").mkdir(parents=True)
        (home / "bin" / "java").touch()
        (home / "release").write_text(f'JAVA_VERSION="{version}.0.1"\n')
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "17"))
    assert find_java(tmp_path) == tmp_path / "17"
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "8"))
    assert find_java(tmp_path) == tmp_path / "java"


WORKERS = """
import sys
import psutil
from contextlib import suppress
from pathlib import Path
from streaming.job.aggregate import aggregate
from streaming.spark.session import spark_session

pings, dataset, folder = sys.argv[1:]
with spark_session("local[1]", Path(folder)) as spark:
    aggregate(pings, dataset, spark=spark)
    looked_at = 0
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a zombie, or ended just now
            if "pyspark.worker" in each.cmdline():
                assert ".zip" not in each.environ()["PYTHONPATH"]
                assert not [file.path for file in each.memory_maps() if "/pandas/" in file.path]
                looked_at += 1
    assert looked_at > 0
"""


def test_workers_import_compiled_code_and_no_pandas(pings: Path, dataset: Path, tmp_path: Path) -> None:
    """In a Spark of its own: PySpark itself imports pandas in workers that other ways of counting have used."""
    (pings / "a.jsonl").write_bytes(lines(crash_ping()))
    command = [sys.executable, "-c", WORKERS, str(pings), str(dataset), str(tmp_path / "spark")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr


INTERRUPTED = """
import os, signal, sys, threading
from pathlib import Path
from streaming.spark.session import spark_session
heard, is_up = [], threading.Event()
signal.signal(signal.SIGINT, lambda *_: heard.append(1))

def interrupt():
    while not is_up.wait(0.02):
        os.kill(os.getpid(), signal.SIGINT)

thread = threading.Thread(target=interrupt)
thread.start()
try:
    with spark_session("local[1]", Path(sys.argv[1])) as spark:
        spark.range(1).count()
        is_up.set()
finally:
    is_up.set()
    thread.join()
print(len(heard) > 20)
"""


def test_ctrl_c_while_spark_starts_is_heard_by_who_started_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_spark_is_asked_again_where_its_python_starts_too_slowly(pings: Path, dataset: Path, tmp_path: Path) -> None:
    """As on a machine whose cores are all taken: Spark waits 10 s for a Python process, and then fails the stream."""
    (pings / "some.jsonl").write_bytes(lines(crash_ping(1), main_ping(2, hours=3)))
    python, is_slow = tmp_path / "python", tmp_path / "started"
    python.write_text(
        f"""#!/bin/sh
case "$*" in *python_streaming_source_runner*) test -e {is_slow} || {{ touch {is_slow}; sleep 20; }} ;; esac
exec {sys.executable} "$@"
"""
    )
    python.chmod(0o755)
    config = tmp_path / "spark.conf"
    config.write_text(f"spark.pyspark.python = {python}\n")
    command = [*MISSIONCONTROL, "aggregate", pings, "--dataset", dataset, "--spark-config", config]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10 * PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Spark's Python did not start within 10 s: trying again") == 1
    assert counted(dataset) == 2
