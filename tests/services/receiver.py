"""A receiver in a process of its own, clients that behave as Firefox's do, and what they and the receiver count."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.patience import PATIENCE_SECONDS, wait_until
from tests.services.ports import free_port

ROOT = Path(__file__).parents[2]
BUILD = f"{datetime.now(UTC) - timedelta(days=3):%Y%m%d}120000"  # pings of old builds do not count
CRASH = json.dumps(
    {
        "type": "crash",
        "clientId": "0e1b5e4d-7c1a-4c0e-9d8a-2b1f8d3c5a6e",
        "application": {"buildId": BUILD, "version": "56.0", "architecture": "x86-64", "name": "Firefox"},
        "environment": {"system": {"os": {"name": "Windows_NT", "version": "10.0"}}},
        "payload": {"processType": "main", "metadata": {}},
    }
).encode()


def path_of(document_id: str, document_type: str = "crash") -> str:
    """Where a client posts a ping to."""
    return f"/submit/telemetry/{document_id}/{document_type}/Firefox/56.0/release/{BUILD}?v=4"


class ReceiverProcess:
    """`missioncontrol receive`, started as a user starts it."""

    def __init__(self, to: Path | str, *options: str, port: int = 0, environment: dict[str, str] | None = None) -> None:
        self.port, self.metrics_port = port or free_port(), free_port()
        program = [sys.executable, "-c", "from missioncontrol_nb.cli import main; main()", "receive", "--to", str(to)]
        addresses = ["--listen", f"127.0.0.1:{self.port}", "--metrics", f"127.0.0.1:{self.metrics_port}"]
        self._command = [*program, *addresses, *options]
        self._environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        self.process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert "/submit/" in line, line or self.process.communicate()
        return self

    def kill(self) -> None:
        """Ends it at once."""
        self._end(signal.SIGKILL)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Ends it in order: its exit code, and what it said on standard error."""
        return self._end(number)

    def _end(self, number: int) -> tuple[int, str]:
        assert self.process
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, said

    def counts(self) -> dict:
        return json.loads(get(self.metrics_port, "/counts")[1])

    def post(self, path: str, body: bytes = CRASH, method: str = "POST", **headers: str) -> int:
        """The status of the answer to one request."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
            return connection.getresponse().status
        finally:
            connection.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process and self.process.returncode is None:
            self.stop()


def get(port: int, path: str, **headers: str) -> tuple[int, str]:
    """The status and the body of an answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Clients:
    """Clients that post pings one after another, each until it is answered 200, as long as the block lasts.

    What was answered 5xx, or not at all, is sent again with the same id. unheard: ids of pings whose answer was lost:
    they may have been kept. Any other answer is an error.
    """

    def __init__(self, port: int, number: int = 4, body: bytes = gzip.compress(CRASH)) -> None:
        self._port, self._body = port, body
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(number)]
        self.answered: set[str] = set()
        self.unheard: set[str] = set()
        self.answers: Counter[int] = Counter()

    def _send(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
        while not self._stop.is_set():
            document_id = str(uuid.uuid4())
            while (status := self._try(connection, document_id)) != 200:
                self.answers[status] += 1
                assert status == 0 or status >= 500, status
                if self._stop.is_set():
                    break
                time.sleep(0.02)
            else:
                self.answers[200] += 1
                self.answered.add(document_id)
        connection.close()

    def _try(self, connection: HTTPConnection, document_id: str) -> int:
        try:
            connection.request("POST", path_of(document_id), self._body, {"Content-Encoding": "gzip"})
        except OSError:
            connection.close()
            self.unheard.add(document_id)  # all of it may have been sent
            return 0
        try:
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, HTTPException):
            connection.close()
            self.unheard.add(document_id)
            return 0

    def wait_for(self, more: int) -> None:
        """Waits until so many more pings were answered 200."""
        wanted = len(self.answered) + more
        wait_until(lambda: len(self.answered) >= wanted, "answers", every=0.02)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


HEAD = f"{'':<22}{'200':>8}{'5xx':>8}{'unheard':>9}{'kept':>8}{'lost':>6}{'doubled':>9}{'by clients':>12}"


def account(what: str, clients: Clients, kept: Iterable[str]) -> tuple[int, int]:
    """Prints a line of the table of HEAD; how many pings were lost, and how many the receiver doubled.

    lost: answered 200, and not kept. doubled: kept more than once though all answers were heard. A ping whose answer
    was lost is sent again by its client, and may be kept twice with the same id: `by clients`.
    """
    found = Counter(kept)
    lost = len(clients.answered - set(found))
    twice = {document_id for document_id, times in found.items() if times > 1}
    by_clients = len(twice & clients.unheard)
    doubled = len(twice) - by_clients
    answers = clients.answers
    failed = sum(count for status, count in answers.items() if status >= 500)
    print(f"{what:<22}{answers[200]:>8,}{failed:>8,}{answers[0]:>9,}{sum(found.values()):>8,}", end="")
    print(f"{lost:>6,}{doubled:>9,}{by_clients:>12,}")
    return lost, doubled


def ids_in(folder: Path) -> list[str]:
    """The ids of the pings in the finished files of a folder."""
    return [
        json.loads(line)["document_id"]
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]
