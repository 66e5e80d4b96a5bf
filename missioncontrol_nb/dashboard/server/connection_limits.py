"""Limits on what a client may use of the server: connections, file descriptors, time and bytes of a request."""

import resource
import socket
from collections import Counter
from contextlib import suppress
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from tornado.escape import xhtml_escape
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' blob:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Server": "missioncontrol",
}
"""The headers of every response."""
WANTED_DESCRIPTORS = 16_384  # a page uses about ten
SPARE_DESCRIPTORS = 100  # with fewer left, no further page or websocket is admitted
MOST_CONNECTIONS = 2_000
MOST_CONNECTIONS_EACH = 500  # per address: 200 visitors behind one address, with three each
MOST_BODY_BYTES = 65_536  # no route accepts a body
BODY_SECONDS = 10.0
IDLE_SECONDS = 65.0  # for a request to arrive completely; load balancers keep idle connections for 60
UNREAD_SECONDS = 60  # until a client that reads no bytes of a response is disconnected
AGAIN_SECONDS = 30  # until the browser retries a page that was rejected
INPUT_BYTES = 1_048_576  # per connection, read but not yet handled


class PlainErrors:
    """A mixin for handlers: the headers of every response, and errors as a sentence that loads no resources.

    The browser retries a request that was rejected with 503, because the screen may be unattended.
    """

    def set_default_headers(self) -> None:
        """Called by Tornado for each response."""
        for name, value in HEADERS.items():
            self.set_header(name, value)  # type: ignore[attr-defined]

    def write_error(self, status_code: int, **_details: Any) -> None:
        """Called by Tornado to send an error as the response."""
        reason = xhtml_escape(self._reason)  # type: ignore[attr-defined]
        self.set_header("Content-Type", "text/html; charset=utf-8")  # type: ignore[attr-defined]
        again = ""
        if status_code == 503:
            self.set_header("Retry-After", str(AGAIN_SECONDS))  # type: ignore[attr-defined]
            again = f'<meta http-equiv="refresh" content="{AGAIN_SECONDS}">'
        self.finish(  # type: ignore[attr-defined]
            f'<!DOCTYPE html><html lang="en"><meta name="color-scheme" content="light dark">{again}'
            f"<title>{status_code} {reason}</title><p>{reason}.</p></html>"
        )


def raise_descriptor_limit() -> None:
    """Raises the limit of file descriptors to what the system allows this process, at most 16,384."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, WANTED_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def has_spare_descriptors() -> bool:
    """Whether this process can still open enough files for a page."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_files = Path("/dev/fd")
    try:
        used = sum(1 for _ in open_files.iterdir())
    except OSError:  # no descriptor is left for this check, or the system does not list them
        used = soft if open_files.is_dir() else 0
    return soft == resource.RLIM_INFINITY or soft - used >= SPARE_DESCRIPTORS


class GuardedServer(HTTPServer):
    """Tornado's server with limits on incomplete requests, unread responses, large bodies and many connections."""

    def initialize(  # type: ignore[override]
        self, application: Any, *, most_connections_each: int | None = MOST_CONNECTIONS_EACH, **options: Any
    ) -> None:
        """Sets the limits.

        most_connections_each: None where all connections come through a proxy, from one address.
        """
        super().initialize(
            application,
            idle_connection_timeout=options.get("idle_seconds", IDLE_SECONDS),
            body_timeout=BODY_SECONDS,
            max_body_size=MOST_BODY_BYTES,
            max_buffer_size=INPUT_BYTES,
        )
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_connections = MOST_CONNECTIONS if soft < 0 else min(MOST_CONNECTIONS, soft // 2)
        self._most_connections_each = most_connections_each
        self._unread_seconds = options.get("unread_seconds", UNREAD_SECONDS)
        self._addresses: WeakKeyDictionary[IOStream, str | None] = WeakKeyDictionary()

    def handle_stream(self, stream: IOStream, address: tuple) -> None:
        """Called for each new connection; a connection above the limits is closed at once."""
        client = client_of(address[0] if address else "")
        open_ = Counter(known for known_stream, known in self._addresses.items() if not known_stream.closed())
        each = self._most_connections_each
        if open_.total() >= self._most_connections or (each is not None and open_[client] >= each):
            stream.close()
            return
        self._addresses[stream] = client
        if hasattr(socket, "TCP_USER_TIMEOUT") and stream.socket.family != getattr(socket, "AF_UNIX", None):
            stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._unread_seconds * 1000))
        super().handle_stream(stream, address)


def client_of(address: str) -> str | None:
    """The client that an address counts as; None if it is not an address.

    An address is one client; with IPv6, a whole 64-bit network is one client.
    """
    try:
        parsed = ip_address(address.strip())
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed.packed, 64), strict=False)) if not parsed.is_loopback else str(parsed)
    return str(parsed)


def visitor_of(request: HTTPServerRequest, is_behind_proxy: bool) -> str | None:
    """The client of a request; behind a proxy, the last entry of X-Forwarded-For, or None if there is none."""
    if not is_behind_proxy:
        return client_of(request.remote_ip or "")
    return client_of(request.headers.get("X-Forwarded-For", "").rpartition(",")[2])


def is_navigation(request: HTTPServerRequest) -> bool:
    """Whether a page is requested for viewing, not as an image, script, frame or data of another page.

    Browsers send this in Sec-Fetch-* to servers on this machine or with TLS; otherwise only Accept shows it. Clients
    other than browsers send neither.
    """
    headers = request.headers
    destination, site = headers.get("Sec-Fetch-Dest", ""), headers.get("Sec-Fetch-Site", "")
    if destination not in ("", "document", "empty"):
        return False
    if site not in ("", "none", "same-origin") and headers.get("Sec-Fetch-Mode") != "navigate":
        return False
    accepted = headers.get("Accept", "*/*")
    return "text/html" in accepted or accepted == "*/*"
