"""A status for probes, Prometheus and people, over HTTP: looked up again and again in one thread, answered at once."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from missioncontrol_nb.status import words
from missioncontrol_nb.status.collect import Collector, Status
from missioncontrol_nb.status.page import as_page
from missioncontrol_nb.status.prometheus import CONTENT_TYPE, as_metrics
from streaming.errors import MissionControlError

LOOK_SECONDS = 5.0
_CLIENT_SECONDS = 10.0  # for a request to come in
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Board:
    """The newest status, and why there is no newer one; its age is that of the moment it is asked for."""

    def __init__(self, collector: Collector) -> None:
        """Looks once. Raises MissionControlError where the dataset cannot be read."""
        self._collector, self._trouble = collector, ""
        self._status = collector.collect()

    def look(self) -> None:
        """Looks again; a failure is kept as the trouble."""
        try:
            self._status, self._trouble = self._collector.collect(), ""
        except Exception as error:  # a probe must outlive whatever a store raises, and say it
            self._trouble = str(error) or repr(error)

    def read(self) -> tuple[Status, str]:
        """The status as it is now, and the trouble."""
        return replace(self._status, at=datetime.now(UTC)), self._trouble


def serve(
    collector: Collector,
    host: str,
    port: int,
    stop: threading.Event,
    on_ready: Callable[[str], None],
    look_seconds: float = LOOK_SECONDS,
) -> None:
    """Answers until stop is set. on_ready: told the URL. Raises MissionControlError where it cannot listen."""
    board = Board(collector)

    class Bound(_Handler):
        board_: ClassVar[Board] = board

    try:
        server = _Server((host, port), Bound)
    except (OSError, OverflowError) as error:
        raise MissionControlError(f"cannot listen on {host}:{port}: {error}") from error
    with server:
        answering = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        answering.start()
        on_ready(f"http://{f'[{host}]' if ':' in host else host}:{server.server_address[1]}/")
        while not stop.wait(look_seconds):
            board.look()
        server.shutdown()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        import socket

        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that went away is its own affair."""


class _Handler(BaseHTTPRequestHandler):
    board_: ClassVar[Board]
    timeout = _CLIENT_SECONDS
    server_version, sys_version = "missioncontrol", ""

    def do_GET(self) -> None:
        """Answers one of the three paths."""
        status, trouble = self.board_.read()
        path = self.path.partition("?")[0]
        if path == "/":
            self._answer(200, "text/html; charset=utf-8", as_page(status, trouble))
        elif path == "/metrics":
            self._answer(200, CONTENT_TYPE, as_metrics(status))
        elif path == "/healthz":
            said = f"{'stale' if status.is_stale else 'fresh'}: {words.freshness(status)}\n"
            self._answer(503 if status.is_stale else 200, "text/plain; charset=utf-8", said)
        else:
            self._answer(404, "text/plain; charset=utf-8", "there is /, /metrics and /healthz\n")

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, code: int, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(code)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **_HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing: a probe a second is no news."""
