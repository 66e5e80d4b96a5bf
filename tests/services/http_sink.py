"""A real HTTP server that takes what is posted to it, and answers well or in one of the ways in which servers fail."""

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

Answer = int | str | tuple[int, dict[str, str]]
"""A status; a status with headers; "hang", "cut" before any answer, "trickle" byte by byte without an end."""


class HttpSink:
    """Requests that were received whole, in order, and the answers to give: one each, 200 when there are no more."""

    def __init__(self, answers: Sequence[Answer] = (), certificate: Path | None = None) -> None:
        self.answers = list(answers)
        self.received: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.arrived_at: list[float] = []
        self.on_received: Callable[[Any], None] = lambda body: None
        self.is_over = threading.Event()
        self._lock = threading.Lock()
        self._server, self._scheme = _Server(self), "https" if certificate else "http"
        if certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}/hook"

    @property
    def ids(self) -> list[str]:
        return [body["id"] for body in self.received]

    def take(self, body: Any, headers: dict[str, str], path: str) -> Answer:
        with self._lock:
            self.received.append(body)
            self.headers.append(headers)
            self.paths.append(path)
            self.arrived_at.append(time.monotonic())
            answer = self.answers.pop(0) if self.answers else 200
        self.on_received(body)
        return answer

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, sink: HttpSink) -> None:
        self.sink = sink
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, *_: object) -> None:
        pass  # a client that was killed, and connections that were cut on purpose


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = self.server.sink.take(body, dict(self.headers), self.path)
        if answer == "hang":
            self.server.sink.is_over.wait(60)
        elif answer == "trickle":
            self._trickle()
        elif answer == "cut":
            # A reset, as of a server that dies, and not an end in order
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        else:
            self._answer(*(answer if isinstance(answer, tuple) else (int(answer), {})))

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "2"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"ok")

    def _trickle(self) -> None:
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
            while not self.server.sink.is_over.wait(0.05):
                self.wfile.write(b"a")

    def log_message(self, *_: object) -> None:
        pass
