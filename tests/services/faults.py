"""A proxy that does to requests what networks and object stores do now and then; a real one, on real sockets."""

import http.client
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.services.ports import free_port

ROOT = Path(__file__).parents[2]
FAULTS = ("busy", "unheard", "unanswered", "cut", "late")
LATE_SECONDS = 0.3
_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


class FaultProxy:
    """Passes HTTP requests on to a port of this machine, but for a share of them to which it does one of FAULTS.

    busy: answers 503; unheard: cuts the connection before the server hears of the request; unanswered: after the server
    did what was asked; cut: in the midst of the answer's body; late: passes it on after a while. Each comes up as often
    as the others. It is a process of its own: a client in this one may hold Python's lock while it waits for an answer.
    """

    def __init__(self, target: int, seed: int = 0) -> None:
        self.port = free_port()
        self._command = [sys.executable, "-m", "tests.services.faults", *map(str, (self.port, target, seed))]
        self._process: subprocess.Popen[str] | None = None

    @property
    def endpoint(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    def disturb(self, share: float) -> None:
        """From now on a fault happens to so many of the requests."""
        self._tell("disturb", share)

    def stop(self) -> None:
        """Refuses connections, and cuts those that are open."""
        self._tell("stop")

    def start(self) -> None:
        """Listens, unless it does."""
        self._tell("start")

    def done(self) -> Counter[str]:
        """How many faults of each kind have happened; `requests`: how many of those there were."""
        return Counter(self._tell("done"))

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Nothing gets through meanwhile."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def _tell(self, *command: object) -> Any:
        assert self._process
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Self:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(self._command, cwd=ROOT, text=True, **pipes)
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process
        self._process.communicate()  # the end of its input is its end


class _Proxy:
    """What the process does: it takes a command a line, JSON, and answers with a line."""

    def __init__(self, port: int, target: int, seed: int) -> None:
        self.port, self.target = port, target
        self._share, self._seen = 0.0, Counter[str]()
        self._random = random.Random(seed)
        self._next: list[str] = []
        self._lock = threading.Lock()
        self._listener: _Listener | None = None

    def start(self) -> None:
        self._listener = self._listener or _Listener(self)

    def stop(self) -> None:
        if self._listener:
            self._listener.end()
        self._listener = None

    def disturb(self, share: float) -> None:
        self._share = share

    def done(self) -> dict[str, int]:
        return dict(self._seen)

    def fault(self) -> str | None:
        """What happens to the next request, None when nothing does."""
        with self._lock:
            self._seen["requests"] += 1
            if self._random.random() >= self._share:
                return None
            if not self._next:
                self._next = self._random.sample(FAULTS, len(FAULTS))
            fault = self._next.pop()
            self._seen[fault] += 1
            return fault

    def obey(self) -> None:
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            print(json.dumps(getattr(self, name)(*arguments)), flush=True)


class _Listener(ThreadingHTTPServer):
    """A port that is listened on, and the connections that were accepted there."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, proxy: _Proxy) -> None:
        self.proxy = proxy
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", proxy.port), _Passage)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: that connections break is what it is for."""

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()
        for connection in list(self._open):
            _cut(connection)


class _Passage(BaseHTTPRequestHandler):
    """The requests of one connection, one after another, each passed on."""

    server: _Listener
    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        fault = self.server.proxy.fault()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault == "busy":
            self._answer(503, [("Content-Type", "application/xml")], _SLOW_DOWN)
        elif fault == "unheard":
            self._break()
        else:
            if fault == "late":
                time.sleep(LATE_SECONDS)
            answer, content = self._ask(body)
            if fault == "unanswered" or (fault == "cut" and not content):
                self._break()
            elif fault == "cut":
                self._answer(answer.status, answer.getheaders(), content, keeps=len(content) // 2)
                self._break()
            else:
                self._answer(answer.status, answer.getheaders(), content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass  # noqa: N815 (as http.server calls them)

    def _ask(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """What the server answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.proxy.target, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in (*_HOP_BY_HOP, "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, keeps: int | None = None) -> None:
        self.send_response_only(status)
        has_length = any(name.lower() == "content-length" for name, _ in headers)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        if not has_length and status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:keeps])

    def _break(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        _cut(self.connection)


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):  # the other end was faster
        connection.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    _Proxy(*map(int, sys.argv[1:])).obey()
