"""What differs where Spark computes on other machines: addresses, the workers' Python, executors to be awaited."""

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

ANSWER_SECONDS = 5.0
NOTICE_SECONDS = 10.0  # how long executors are awaited before that is said
SETTLED_SECONDS = 2.0  # how long no further executor must come until the first micro-batch is shared out
_POLL_SECONDS = 0.1
SHARES_OF_SUMS = "spark.sql.shuffle.partitions"
_ENVIRONMENT = "environment"  # the folder, in an executor's own, that the archive is unpacked to
_PYTHON = f"./{_ENVIRONMENT}/bin/python"


def is_cluster(master: str) -> bool:
    """Whether a master, as Spark means it, is of several processes."""
    return not re.fullmatch(r"local(\[.*\])?", master)


def own_address(master: str) -> str | None:
    """The address that a cluster's master sees this machine at; None where the master has none, as YARN's.

    Raises MissionControlError when no master answers.
    """
    if not is_cluster(master):
        return "127.0.0.1"
    scheme, _, rest = master.partition("://")
    if not rest:
        return None
    reason: OSError | ValueError | None = None
    for place in rest.removeprefix("https://").removeprefix("http://").split(","):
        try:
            url = urlsplit(f"//{place}")
            port = url.port or (443 if scheme == "k8s" else 7077)
            with socket.create_connection((url.hostname or "", port), ANSWER_SECONDS) as connection:
                return connection.getsockname()[0]
        except (OSError, ValueError) as error:
            reason = error
    raise MissionControlError(f"no master answers at --master {master!r}: {reason}")


def environment_settings(archive: str, folder: Path) -> dict[str, str]:
    """How executors come by the environment in an archive and start its Python.

    archive: a file, or a URL that Spark's executors fetch; folder: that Spark's own process works in. That one plans
    micro-batches and starts the same Python by the same name for it, so in its folder that name leads to ours.
    Raises MissionControlError when there is no such file.
    """
    if not is_remote(archive) and not Path(archive).is_file():
        raise MissionControlError(f"no such --environment: {archive!r}; make it: missioncontrol environment")
    if write_launcher(folder / _PYTHON) != folder / _PYTHON:
        raise MissionControlError(
            f"no file can be executed in {str(folder)!r}, and --environment needs that: name another --checkpoint"
        )
    place = archive if is_remote(archive) else Path(archive).resolve().as_uri()
    return {"spark.archives": f"{place}#{_ENVIRONMENT}", "spark.pyspark.python": _PYTHON}


def await_executors(spark: "SparkSession", stop: threading.Event, say: Callable[[str], None]) -> None:
    """Wait until a cluster's executors are there, or until told to stop; say so where it takes long.

    How many cores there are decides how a micro-batch is shared out, and its sums unless the settings say it, so those
    that come within a moment are awaited.
    """
    if not is_cluster(str(spark.sparkContext.master)):
        return
    began = grown = time.monotonic()
    count, is_said = 0, False
    while not stop.wait(_POLL_SECONDS) and (not count or time.monotonic() - grown < SETTLED_SECONDS):
        now = _executors(spark)
        if now > count:
            grown = time.monotonic()
        count = now
        if not count and not is_said and time.monotonic() - began > NOTICE_SECONDS:
            say("the cluster has started no executor yet: has it free cores and memory? waiting")
            is_said = True
    if spark.sparkContext.getConf().get(SHARES_OF_SUMS) is None:
        spark.conf.set(SHARES_OF_SUMS, str(spark.sparkContext.defaultParallelism))


def _executors(spark: "SparkSession") -> int:
    context = spark.sparkContext._jsc.sc()
    if context.isStopped():
        raise MissionControlError("the cluster ended the application; its master's log says why")
    return context.getExecutorMemoryStatus().size() - 1  # Spark's own process is one of them
