"""Differences where Spark runs on a cluster: addresses, the workers' Python, waiting for executors."""

import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from streaming.errors import MissionControlError
from streaming.spark.python_start import write_launcher
from streaming.storage.locations import is_remote

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CONNECT_TIMEOUT_SECONDS = 5.0
EXECUTOR_NOTICE_SECONDS = 10.0  # a longer wait for executors is reported
EXECUTOR_SETTLE_SECONDS = 2.0  # time without a new executor until the first micro-batch is split into tasks
_POLL_SECONDS = 0.1
SHUFFLE_PARTITIONS = "spark.sql.shuffle.partitions"
_ENVIRONMENT = "environment"  # the folder, in an executor's working folder, that the archive is unpacked to
_PYTHON = f"./{_ENVIRONMENT}/bin/python"


def is_cluster(master: str) -> bool:
    """Whether Spark's master is a cluster's, with several processes."""
    return not re.fullmatch(r"local(\[.*\])?", master)


def own_address(master: str) -> str | None:
    """The address at which a cluster's master sees this machine; None if the master has no address, as YARN's.

    Raises MissionControlError when no master responds.
    """
    if not is_cluster(master):
        return "127.0.0.1"
    scheme, _, rest = master.partition("://")
    if not rest:
        return None
    reason: OSError | ValueError | None = None
    for address in rest.removeprefix("https://").removeprefix("http://").split(","):
        try:
            url = urlsplit(f"//{address}")
            port = url.port or (443 if scheme == "k8s" else 7077)
            with socket.create_connection((url.hostname or "", port), CONNECT_TIMEOUT_SECONDS) as connection:
                return connection.getsockname()[0]
        except (OSError, ValueError) as error:
            reason = error
    raise MissionControlError(f"no master answers at --master {master!r}: {reason}")


def environment_settings(archive: str, folder: Path) -> dict[str, str]:
    """Spark's settings with which executors fetch the environment in an archive and start its Python.

    archive: a file, or a URL that Spark's executors fetch; folder: the working folder of the driver. The driver plans
    micro-batches and starts Python by the same relative path for this, so a launcher at that path in its folder starts
    the Python that runs here. Raises MissionControlError when there is no such file.
    """
    if not is_remote(archive) and not Path(archive).is_file():
        raise MissionControlError(f"no such --environment: {archive!r}; make it: missioncontrol environment")
    if write_launcher(folder / _PYTHON) != folder / _PYTHON:
        raise MissionControlError(
            f"no file can be executed in {str(folder)!r}, and --environment needs that: name another --checkpoint"
        )
    archive_url = archive if is_remote(archive) else Path(archive).resolve().as_uri()
    return {"spark.archives": f"{archive_url}#{_ENVIRONMENT}", "spark.pyspark.python": _PYTHON}


def await_executors(spark: "SparkSession", stop: threading.Event, notify: Callable[[str], None]) -> None:
    """Wait until a cluster's executors have started or stop is set, and report a long wait.

    The number of cores decides how a micro-batch is split into tasks and, unless the settings define it, into how many
    partitions its sums are split. Executors that start within a moment of one another are therefore waited for.
    """
    if not is_cluster(str(spark.sparkContext.master)):
        return
    began = grown = time.monotonic()
    count, is_reported = 0, False
    while not stop.wait(_POLL_SECONDS) and (not count or time.monotonic() - grown < EXECUTOR_SETTLE_SECONDS):
        now = _executors(spark)
        if now > count:
            grown = time.monotonic()
        count = now
        if not count and not is_reported and time.monotonic() - began > EXECUTOR_NOTICE_SECONDS:
            notify("the cluster has started no executor yet: has it free cores and memory? waiting")
            is_reported = True
    if spark.sparkContext.getConf().get(SHUFFLE_PARTITIONS) is None:
        spark.conf.set(SHUFFLE_PARTITIONS, str(spark.sparkContext.defaultParallelism))


def _executors(spark: "SparkSession") -> int:
    context = spark.sparkContext._jsc.sc()
    if context.isStopped():
        raise MissionControlError("the cluster ended the application; its master's log says why")
    return context.getExecutorMemoryStatus().size() - 1  # the driver is counted as one
