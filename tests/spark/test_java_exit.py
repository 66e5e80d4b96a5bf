"""Spark's Java that is out of memory, or whose thread an error ended: said in a sentence, at once."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streaming.errors import MissionControlError
from streaming.spark.java_exit import MemoryWatch, bytes_of
from tests.spark.small_pings import crash_ping

ENDED = {
    "a heap that is full": (
        "held = [jvm.java.nio.ByteBuffer.allocate(50_000_000) for _ in range(50)]",
        "with exit code 3: out of memory. It has 520m: give it more by a line such as spark.driver.memory = 2g",
    ),
    "a thread": (
        """
class Fails:
    def run(self):
        raise ValueError("nobody catches this")

    class Java:
        implements = ["java.lang.Runnable"]


from pyspark.java_gateway import ensure_callback_server_started

ensure_callback_server_started(spark.sparkContext._gateway)
jvm.java.lang.Thread(Fails(), "important").start()
while True:
    time.sleep(0.1)
    spark.range(1).count()
""",
        "with exit code 50: an error in its thread 'important' that nothing caught: py4j.Py4JException",
    ),
}
SCRIPT = """
import sys, time
from pathlib import Path
from streaming.errors import MissionControlError
from streaming.spark.session import spark_session
try:
    with spark_session("local[1]", Path(sys.argv[1]), config={"spark.driver.memory": "520m"}) as spark:
        jvm = spark._jvm
        exec(sys.argv[2])
except MissionControlError as error:
    print(error)
"""


@pytest.mark.parametrize("what", ENDED)
def test_java_that_cannot_go_on_is_said_with_its_reason(tmp_path: Path, what: str) -> None:
    code, said = ENDED[what]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.startswith(f"Spark's Java has ended {said}"), done.stdout + done.stderr[-2000:]


class Killed:
    is_killed = False

    def kill(self) -> None:
        self.is_killed = True


def watch(process: Killed, times: Iterator[float], collected: Iterator[float]) -> MemoryWatch:
    gateway = SimpleNamespace(proc=process)
    context = SimpleNamespace(_gateway=gateway, getConf=lambda: {"spark.driver.memory": "1g"})
    spark: Any = SimpleNamespace(sparkContext=context, _jvm=None)
    return MemoryWatch(spark, now=lambda: next(times), collected_seconds=lambda: next(collected))


def test_java_that_only_collects_garbage_is_ended() -> None:
    process = Killed()
    times = iter([0.0, *(moment for step in range(1, 20) for moment in (6.0 * step, 6.0 * step))])
    watching = watch(process, times, iter([0.0, *(6.0 * step for step in range(1, 20))]))
    for _ in range(5):
        watching.check()
    with pytest.raises(MissionControlError, match=r"out of memory\. It has 1g: give it more"):
        watching.check()
    assert process.is_killed


CHOKED_JOB = """
import sys, time
from streaming.errors import MissionControlError
from streaming.job.aggregate import aggregate
from streaming.job.settings import AggregateSettings
from streaming.spark import java_exit
java_exit.GC_CHECK_SECONDS, java_exit.GC_THRASHING_SECONDS = 0.0, 0.1
java_exit.MemoryWatch._gc_seconds = lambda _: time.monotonic()
try:
    aggregate(*sys.argv[1:], settings=AggregateSettings(follow=True, master="local[1]"))
except MissionControlError as error:
    print(error)
"""


def test_job_says_why_it_ended_a_java_that_only_collects_garbage(tmp_path: Path) -> None:
    (tmp_path / "pings.jsonl").write_bytes(crash_ping())
    places = [str(tmp_path / name) for name in ("pings.jsonl", "data")]
    done = subprocess.run(
        [sys.executable, "-c", CHOKED_JOB, *places], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.startswith("Spark's Java was ended: out of memory. It has "), done.stdout + done.stderr[-2000:]


def test_java_that_collects_much_garbage_and_works_is_left_alone() -> None:
    process = Killed()
    times = iter([0.0, *(moment for step in range(1, 40) for moment in (6.0 * step, 6.0 * step))])
    watching = watch(process, times, iter(6.0 * 0.9 * step for step in range(40)))
    for _ in range(30):
        watching.check()
    assert not process.is_killed


def test_memory_is_understood_as_spark_spells_it() -> None:
    assert [bytes_of(text) for text in ("1g", "512m", "2048", "1GB", "64kb")] == [
        1 << 30,
        512 << 20,
        2 << 30,
        1 << 30,
        64 << 10,
    ]
    with pytest.raises(MissionControlError, match=r"expected spark.driver.memory .*; got 'much'"):
        bytes_of("much")
