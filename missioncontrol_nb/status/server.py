"""An HTTP server for probes, Prometheus and people; one thread refreshes the status, so answers are immediate."""

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import ClassVar

from missioncontrol_nb.status import wording
from missioncontrol_nb.status.collect import Collector, Status
from missioncontrol_nb.status.metrics import CONTENT_TYPE, as_metrics
from missioncontrol_nb.status.page import as_page
from streaming.errors import MissionControlError

REFRESH_SECONDS = 5.0
_CLIENT_SECONDS = 10.0  # timeout for receiving a request
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class StatusCache:
    """The newest status, and why there is no newer one; the age is computed when the status is read."""

    def __init__(self, collector: Collector) -> None:
        """Collects the status once. Raises MissionControlError where the dataset cannot be read."""
        self._collector, self._problem = collector, ""
        self._status = collector.collect()

    def refresh(self) -> None:
        """Collects the status again; the message of an error is kept as the problem."""
        try:
            self._status, self._problem = self._collector.collect(), ""
        except Exception as error:  # the server must survive any storage error, and report it
            self._problem = str(error) or repr(error)

    def read(self) -> tuple[Status, str]:
        """The status as of now, and the problem."""
        return replace(self._status, at=datetime.now(UTC)), self._problem


def serve(
    collector: Collector,
    host: str,
    port: int,
    stop: threading.Event,
    on_ready: Callable[[str], None],
    refresh_seconds: float = REFRESH_SECONDS,
    names: Sequence[str] = (),
) -> None:
    """Answers requests until stop is set. Raises MissionControlError where it cannot listen on the address.

    on_ready: called with the URL; names: host names that requests may have, besides localhost and loopback addresses.
    Without names, and on an address that is not a loopback address, requests may have any host name.
    """
    cache = StatusCache(collector)

    class Bound(_Handler):
        cache_: ClassVar[StatusCache] = cache
        names_: ClassVar[frozenset[str]] = frozenset(name.lower() for name in names)
        any_host_: ClassVar[bool] = not names and not _is_this_machine(host)

    try:
        server = _Server((host, port), Bound)
    except (OSError, OverflowError) as error:
        raise MissionControlError(f"cannot listen on {host}:{port}: {error}") from error
    with server:
        answering = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        answering.start()
        on_ready(f"http://{f'[{host}]' if ':' in host else host}:{server.server_address[1]}/")
        while not stop.wait(refresh_seconds):
            cache.refresh()
        server.shutdown()


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        import socket

        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Does nothing: a client that disconnects is not an error of the server."""


class _Handler(BaseHTTPRequestHandler):
    cache_: ClassVar[StatusCache]
    names_: ClassVar[frozenset[str]] = frozenset()
    any_host_: ClassVar[bool] = False
    timeout = _CLIENT_SECONDS
    server_version, sys_version = "missioncontrol", ""

    def do_GET(self) -> None:
        """Answers a request for /, /metrics or /healthz."""
        if not self._is_for_us():
            self._answer(403, "text/plain; charset=utf-8", "this host is not served here; name it with --name\n")
            return
        status, problem = self.cache_.read()
        path = self.path.partition("?")[0]
        if path == "/":
            self._answer(200, "text/html; charset=utf-8", as_page(status, problem))
        elif path == "/metrics":
            self._answer(200, CONTENT_TYPE, as_metrics(status))
        elif path == "/healthz":
            answer = f"{'stale' if status.is_stale else 'fresh'}: {wording.freshness(status)}\n"
            self._answer(503 if status.is_stale else 200, "text/plain; charset=utf-8", answer)
        else:
            self._answer(404, "text/plain; charset=utf-8", "there is /, /metrics and /healthz\n")

    do_HEAD = do_GET  # noqa: N815

    def _is_for_us(self) -> bool:
        """Whether the request's host name is accepted. A web page can make its own name resolve to this machine."""
        given = self.headers.get("Host")
        host = re.fullmatch(r"(.*?)(:\d+)?", given or "", re.DOTALL)
        name = host[1].strip("[]").lower() if host else ""
        return given is None or self.any_host_ or name in self.names_ or _is_this_machine(name)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Called for an invalid request, or for an unsupported method."""
        self.close_connection = True
        self._answer(code, "text/plain; charset=utf-8", f"{message or HTTPStatus(code).phrase}\n")

    def _answer(self, code: int, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(code)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **_HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Logs nothing, because probes may come every second."""
