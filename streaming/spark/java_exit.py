"""Explains how Spark's Java ended, and ends a Java that is out of memory."""

import math
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from streaming.errors import MissionControlError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MEMORY, DRIVER_MEMORY = "spark.driver.memory", "1g"
# Exit codes when Java ends by itself: of -XX:+ExitOnOutOfMemoryError, and of Spark's SparkExitCode.
_OUT_OF_MEMORY_CODES, _UNCAUGHT_CODES = (3, 52), (50, 51)
_UNCAUGHT = re.compile(r"Uncaught exception in thread Thread\[([^\],]*).*\n(?:\s*(\S.*))?")
GC_CHECK_SECONDS, GC_THRASHING_SECONDS, GC_THRASHING_SHARE = 5.0, 30.0, 0.95
SPARK_EXIT_TIMEOUT_SECONDS = 60
PROCESS_EXIT_SECONDS = 2.0  # from a lost connection to the end of the process behind it
# Settings with such names may hold credentials and are kept off the command line, which every user can read.
SECRET_SETTINGS = re.compile(r"spark\.executorEnv\.|.*(secret|password|token|credential|access\.?key)", re.IGNORECASE)


class SparkEndedError(MissionControlError):
    """Spark's Java ended by itself or was ended."""


def is_lost_connection(error: Exception) -> bool:
    """Whether the error is one that Py4J raises when Java no longer responds."""
    return isinstance(error, ConnectionError | EOFError) or "py4j" in type(error).__module__


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process ends within PROCESS_EXIT_SECONDS."""
    try:
        process.wait(PROCESS_EXIT_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def how_ended(code: int, log: Path, memory: str) -> str:
    """The exit code or signal with which Java ended, and its meaning."""
    if code < 0:
        return f"by signal {-code} ({signal.strsignal(-code)}): was it killed, or was there too little memory?"
    if code in _OUT_OF_MEMORY_CODES:
        return f"with exit code {code}: out of memory. {more_memory(memory)}"
    found = list(_UNCAUGHT.finditer(log.read_text(errors="replace"))) if code in _UNCAUGHT_CODES else []
    if found:
        thread, message = found[-1].groups()
        return f"with exit code {code}: an error in its thread {thread!r} that nothing caught: {message or 'unknown'}"
    return f"with exit code {code}"


def bytes_of(memory: str) -> int:
    """Bytes of a memory size that Spark reads: 1g, 512m or a number of MiB. Raises MissionControlError for others."""
    match = re.fullmatch(r"(\d+)\s*([bkmgtp]?)b?", memory.strip().lower())
    if match is None:
        raise MissionControlError(f"expected {MEMORY} as Spark takes it, such as 2g; got {memory!r}")
    return int(match[1]) << 10 * "bkmgtp".index(match[2] or "m")


def more_memory(now: str) -> str:
    """Advice for when Spark's Java has too little memory. now: its memory, in Spark's form."""
    return f"It has {now}: give it more by a line such as {MEMORY} = 2g in a file that --spark-config names"


def end_with_any_thread(spark: "SparkSession") -> None:
    """Makes Java end when an error ends one of its threads; otherwise its other threads would wait forever."""
    jvm = spark._jvm
    assert jvm is not None
    handler = jvm.org.apache.spark.util.SparkUncaughtExceptionHandler(True)
    jvm.java.lang.Thread.setDefaultUncaughtExceptionHandler(handler)


class MemoryWatch:
    """Ends a Java that does nothing but collect garbage: it is out of memory, and may take hours to report that.

    now: the clock; collected_seconds: the total time spent on garbage collection so far; both are for tests.
    """

    def __init__(
        self,
        spark: "SparkSession",
        *,
        now: Callable[[], float] = time.monotonic,
        collected_seconds: Callable[[], float] | None = None,
    ) -> None:
        # A session that was started elsewhere has no process here.
        self._process: subprocess.Popen[bytes] | None = getattr(spark.sparkContext._gateway, "proc", None)
        self._memory = spark.sparkContext.getConf().get(MEMORY, DRIVER_MEMORY)
        self._jvm, self._now = spark._jvm, now
        self._collected_seconds = collected_seconds or self._gc_seconds
        self._seen = (now(), math.inf)
        self.has_ended = False  # whether this watch has ended Java
        self._thrashing_since: float | None = None

    def check(self) -> None:
        """Checks Java at most every GC_CHECK_SECONDS. Raises SparkEndedError once Java was ended as out of memory."""
        (then, before), now = self._seen, self._now()
        if now - then < GC_CHECK_SECONDS:
            return
        collected = self._collected_seconds()
        now = self._now()
        self._seen = (now, collected)
        if collected - before < GC_THRASHING_SHARE * (now - then):
            self._thrashing_since = None
            return
        self._thrashing_since = self._thrashing_since or then
        if now - self._thrashing_since >= GC_THRASHING_SECONDS:
            if self._process is not None:
                self._process.kill()
                self.has_ended = True
            raise SparkEndedError(f"Spark's Java was ended: out of memory. {more_memory(str(self._memory))}")

    def _gc_seconds(self) -> float:
        beans = self._jvm.java.lang.management.ManagementFactory.getGarbageCollectorMXBeans()  # type: ignore[union-attr]
        return sum(bean.getCollectionTime() for bean in beans) / 1000


def last_error_line(log: Path) -> str:
    """The line of Spark's log that best explains the failure."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    error_lines = [line for line in lines if re.search(r"exception|error", line, re.IGNORECASE)]
    return re.sub(r'^Exception in thread "\w+" [\w.$]+: ', "", (error_lines or lines[-1:] or [""])[0])
