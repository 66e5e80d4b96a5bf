"""Serves a receiver over HTTP, by aiohttp: limits on what a client may take, its counts on another address, its end."""

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from ipaddress import ip_address

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from missioncontrol_nb.failures import sentence_of
from missioncontrol_nb.receiver.answering import Receiver, Refusal
from missioncontrol_nb.receiver.bodies import MAX_PACKED_BYTES
from missioncontrol_nb.receiver.sinks import CannotKeepError
from streaming.errors import MissionControlError

REQUEST_SECONDS = 30.0  # for a request to arrive completely
KEEP_ALIVE_SECONDS = 75.0  # longer than proxies keep idle connections: they close them, not this server
DRAIN_SECONDS = 25.0
MAX_CONNECTIONS = 4096
MAX_UNREAD_BYTES = 256 << 20  # of bodies that have arrived in part
_MAX_LINE_BYTES, _MAX_FIELD_BYTES, _MAX_HEADERS = (
    8190,
    8191,
    64,
)  # the first two differ so that errors can be told apart
_BACKLOG = 1024
_SWEEP_SECONDS = 1.0
_HEADERS = {"Server": "missioncontrol"}
_TEXT = {**_HEADERS, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
_HEARTBEATS = ("/__heartbeat__", "/__lbheartbeat__", "/__version__")
# aiohttp would log addresses, and its messages tell an operator nothing to do.
_SILENT = logging.getLogger("missioncontrol.receiver")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    @classmethod
    def of(cls, option: str, text: str) -> "Address":
        """The address in a text HOST:PORT or PORT. Raises MissionControlError for others."""
        host, _, port = text.rpartition(":")
        if not port.isdecimal() or not port.isascii() or int(port) > 65_535:
            raise MissionControlError(f"expected {option} as [HOST:]PORT, such as 127.0.0.1:8080; got {text!r}")
        return cls(host.strip("[]") or "127.0.0.1", int(port))


class _Connection(RequestHandler):
    """A connection, and since when a request is arriving on it; None while none is."""

    def __init__(self, *arguments: object, receiver: Receiver, **settings: object) -> None:
        super().__init__(*arguments, **settings)  # type: ignore[arg-type]
        self.receiver = receiver
        self.arriving_since: float | None = time.monotonic()

    def data_received(self, data: bytes) -> None:
        if self.arriving_since is None:
            self.arriving_since = time.monotonic()
        super().data_received(data)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no request, or a fault of ours: an empty body, then the end of the connection."""
        if isinstance(exc, LineTooLong):
            refusal = (
                Refusal(414, "path_too_long") if exc.args[1] == _MAX_LINE_BYTES else Refusal(431, "header_too_long")
            )
        elif "Too many headers" in str(exc):
            refusal = Refusal(431, "header_count")
        else:
            refusal = Refusal(400, "not_http")
        if status == 400:
            status = self.receiver.refused(refusal)
        else:
            if not self.receiver.counts.not_kept["fault"] and exc is not None:
                print(f"missioncontrol: {sentence_of(exc)}", file=sys.stderr, flush=True)
            self.receiver.counts.not_kept["fault"] += 1
            self.receiver.answered(status)
        return _response(status, closes=True)


class _Connections(web.Server):
    """What aiohttp calls for each connection."""

    def __init__(self, receiver: Receiver, *arguments: object, **settings: object) -> None:
        super().__init__(*arguments, **settings)  # type: ignore[arg-type]
        self._receiver = receiver

    def __call__(self) -> RequestHandler:
        return _Connection(self, receiver=self._receiver, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) > MAX_CONNECTIONS:
            transport.abort()

    def end_slow(self, seconds: float) -> None:
        """Ends connections whose request has been arriving for longer."""
        latest = time.monotonic() - seconds
        for connection in self.connections:
            since = connection.arriving_since if isinstance(connection, _Connection) else None
            if since is not None and since < latest and connection.transport is not None:
                connection.transport.abort()


class Edge:
    """The handlers of requests: pings and probes on one address, counts on another."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._unread_bytes = 0
        self.open_requests = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers a request of a client."""
        path, _, query = request.raw_path.partition("?")
        connection = request.protocol
        if path in _HEARTBEATS:
            self._arrived(connection)
            return await self._probe(request.method, path)
        headers = request.headers
        admitted = self._receiver.admit(request.method, path, query, headers)
        if isinstance(admitted, Refusal):
            self._arrived(connection)
            return _response(self._receiver.refused(admitted), closes=request.body_exists)
        self.open_requests += 1
        try:
            body = await self._read(request)
            self._arrived(connection)
            peer = request.transport.get_extra_info("peername") if request.transport else None
            forwarded = headers.getall("X-Forwarded-For", [])
            status = await self._receiver.keep(admitted, headers, forwarded, peer[0] if peer else "", body)
            return _response(status)
        except CannotKeepError as error:
            self._receiver.counts.not_kept[error.reason] += 1
            return _response(self._receiver.answered(error.status), closes=True)
        except (ConnectionError, RequestPayloadError):  # the client is gone, or was too slow: nobody gets this answer
            self._receiver.counts.not_kept["cut_off"] += 1
            return _response(503, closes=True)
        finally:
            self.open_requests -= 1

    @staticmethod
    def _arrived(connection: object) -> None:
        if isinstance(connection, _Connection):
            connection.arriving_since = None

    async def _read(self, request: web.BaseRequest) -> bytes:
        """The body, as sent. Raises CannotKeepError where too many bodies are arriving at once."""
        if "expect" in request.headers:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        content = request.content
        chunk = await content.readany()
        if content.is_eof():  # most pings arrive at once
            return chunk
        parts = [chunk]
        held = len(chunk)
        self._unread_bytes += held
        try:
            while chunk := await content.readany():
                if self._unread_bytes > MAX_UNREAD_BYTES or held > MAX_PACKED_BYTES:
                    raise CannotKeepError(503, "too_many_bodies")
                parts.append(chunk)
                held += len(chunk)
                self._unread_bytes += len(chunk)
        finally:
            self._unread_bytes -= held
        return b"".join(parts)

    async def _probe(self, method: str, path: str) -> web.StreamResponse:
        if method not in ("GET", "HEAD"):
            return _response(405, closes=True)
        if path == "/__version__":
            said = {"name": "missioncontrol", "version": version("missioncontrol-nb")}
            return web.Response(text=json.dumps(said), content_type="application/json", headers=_TEXT)
        problem = await self._receiver.sink.check() if path == "/__heartbeat__" else ""
        return _response(503 if problem else 200)

    async def answer_operator(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers a request of an operator: counts, for Prometheus and for `missioncontrol status`."""
        if not _is_direct(request.headers.get("Host", "")):
            return _response(403, closes=True)
        problem = await self._receiver.sink.check()
        counts = self._receiver.counts
        if request.path == "/metrics":
            text = counts.as_metrics(self.open_requests, problem)
            return web.Response(
                text=text, headers={**_TEXT, "Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
            )
        if request.path == "/counts":
            said = counts.as_record(problem)
            return web.Response(text=json.dumps(said), content_type="application/json", headers=_TEXT)
        return web.Response(status=404, text="there is /metrics and /counts\n", headers=_TEXT)


def _is_direct(host: str) -> bool:
    """Whether a Host is an address or localhost: a web page can make a name of its own resolve to this machine."""
    name = host.rsplit(":", 1)[0].strip("[]") if host.count(":") == 1 or "]:" in host else host.strip("[]")
    try:
        ip_address(name)
    except ValueError:
        return name.lower() in ("", "localhost")
    return True


def _response(status: int, *, closes: bool = False) -> web.Response:
    headers = {**_HEADERS, "Allow": "POST, PUT"} if status == 405 else _HEADERS
    response = web.Response(status=status, headers=headers)
    if closes:
        response.force_close()
    return response


async def serve(
    receiver: Receiver, listen: Address, metrics: Address | None, on_ready: Callable[[str, str], None]
) -> None:
    """Answers requests until SIGTERM or Ctrl-C; then accepts none, answers those that have come, and closes the sink.

    on_ready: called with the URLs of the receiver and of its counts, the latter empty without metrics. Raises
    MissionControlError where an address cannot be listened on.
    """
    from missioncontrol_nb.dashboard.server.connection_limits import raise_descriptor_limit

    raise_descriptor_limit()
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    edge = Edge(receiver)
    settings = {
        "auto_decompress": False,
        "access_log": None,
        "logger": _SILENT,
        "keepalive_timeout": KEEP_ALIVE_SECONDS,
        "lingering_time": 2.0,
        "max_line_size": _MAX_LINE_BYTES,
        "max_field_size": _MAX_FIELD_BYTES,
        "max_headers": _MAX_HEADERS,
    }
    clients = _Connections(receiver, edge.answer, **settings)
    operators = web.Server(edge.answer_operator, **settings)  # type: ignore[arg-type]
    try:
        runner, url = await _listen(clients, listen)
        inner, metrics_url = await _listen(operators, metrics) if metrics else (None, "")
        on_ready(url, metrics_url)
        while not stop.is_set():
            clients.end_slow(REQUEST_SECONDS)
            try:
                await asyncio.wait_for(stop.wait(), _SWEEP_SECONDS)
            except TimeoutError:
                continue
        ending = asyncio.create_task(runner.cleanup())
        while not ending.done():
            await asyncio.wait([ending], timeout=_SWEEP_SECONDS)
            clients.end_slow(_SWEEP_SECONDS)  # a request that has not arrived by now is not answered
        await ending
        if inner:
            await inner.cleanup()
    finally:
        await receiver.sink.close()


async def _listen(server: web.Server, address: Address) -> tuple[web.ServerRunner, str]:
    runner = web.ServerRunner(server, shutdown_timeout=DRAIN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, address.host, address.port, backlog=_BACKLOG).start()
    except (OSError, OverflowError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise MissionControlError(
            f"cannot listen on {address.host}:{address.port} ({why}): name another address with --listen or --metrics"
        ) from error
    port = runner.addresses[0][1]
    host = f"[{address.host}]" if ":" in address.host else address.host
    return runner, f"http://{host}:{port}/"
