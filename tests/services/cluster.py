"""A real Spark cluster of one machine: a standalone master and workers from the installed PySpark."""

import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import URLError
from urllib.request import urlopen

import psutil
import pyspark

from streaming.spark.class_archive import class_archive
from streaming.spark.java import find_java
from tests.patience import wait_until
from tests.services.ports import free_port

SPARK_HOME = Path(pyspark.__file__).parent
_CLASSES = "org.apache.spark.deploy"
# What makes Java start soonest; with the ready classes that `make setup` made, where it did.
JAVA_OPTIONS = f"-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:SharedArchiveFile={class_archive()} -Xlog:disable"


class Cluster:
    """A master and its workers on free ports of this machine, with nothing on a worker's path but the system's own.

    A worker has one core and room for one executor. It can be killed with all that it started, and started again.
    """

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self.folder = folder
        self._port, self._page_port = free_port(), free_port()
        self._master: subprocess.Popen[bytes] | None = None
        self._workers: list[subprocess.Popen[bytes] | None] = [None] * workers
        folder.mkdir(parents=True, exist_ok=True)
        self._java_home = find_java(folder)

    @property
    def url(self) -> str:
        """What --master takes."""
        return f"spark://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Starts all of it and waits until the master knows its workers."""
        address = ["--host", "127.0.0.1"]
        self._master = self._run("master", *address, "--port", self._port, "--webui-port", self._page_port)
        wait_until(self._answers, "the master's page", self._master)
        for number in range(len(self._workers)):
            self._start_worker(number)
        self.await_workers()

    def start_worker(self, number: int) -> None:
        """Starts one that was killed and waits until the master knows it."""
        self._start_worker(number)
        self.await_workers()

    def kill_worker(self, number: int) -> None:
        """Ends a worker and its executors at once, as the loss of a machine does."""
        worker = self._workers[number]
        assert worker
        processes = psutil.Process(worker.pid).children(recursive=True)
        worker.kill()
        worker.wait()
        for process in processes:
            if process.is_running():
                process.kill()
        psutil.wait_procs(processes)
        self._workers[number] = None

    def stop(self) -> None:
        """Ends all of it in order."""
        for number, worker in enumerate(self._workers):
            if worker:
                worker.terminate()
                worker.wait()
                self._workers[number] = None
        if self._master:
            self._master.terminate()
            self._master.wait()
            self._master = None

    def state(self) -> dict[str, Any]:
        """What the master says of workers and applications."""
        with urlopen(f"http://127.0.0.1:{self._page_port}/json/", timeout=5) as page:
            return json.load(page)

    def executors(self) -> list[psutil.Process]:
        """The executors and what they started, of all workers."""
        living = [worker.pid for worker in self._workers if worker]
        children = [child for pid in living for child in psutil.Process(pid).children(recursive=True)]
        return list(filter(lives, children))

    def await_workers(self) -> None:
        """Until the master knows as many workers as run."""
        running = sum(worker is not None for worker in self._workers)
        wait_until(lambda: self._alive() == running, f"{running} workers", self._master)

    def _alive(self) -> int:
        return sum(worker["state"] == "ALIVE" for worker in self.state()["workers"])

    def _answers(self) -> bool:
        try:
            return self.state()["status"] == "ALIVE"
        except (URLError, ConnectionError, ValueError):  # the last: for a moment it is a page of another kind
            return False

    def _start_worker(self, number: int) -> None:
        room = ["--cores", 1, "--memory", "1g", "--webui-port", 0, "--work-dir", self.folder / f"worker-{number}"]
        self._workers[number] = self._run("worker", self.url, "--host", "127.0.0.1", *room)

    def _run(self, what: str, *arguments: object) -> subprocess.Popen[bytes]:
        environment = {
            "JAVA_HOME": str(self._java_home),
            "PATH": os.defpath,
            "SPARK_HOME": str(SPARK_HOME),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_DAEMON_JAVA_OPTS": JAVA_OPTIONS,
        }
        command = [SPARK_HOME / "bin" / "spark-class", f"{_CLASSES}.{what}.{what.capitalize()}", *arguments]
        with (self.folder / f"{what}.log").open("ab") as log:
            return subprocess.Popen(
                list(map(str, command)), cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
