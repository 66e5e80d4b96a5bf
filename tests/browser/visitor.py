"""A client of the dashboard's server that is no browser, and does what none would."""

import json
import re
import socket
import urllib.request
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

PROTOCOL = "v1.kernel.websocket.jupyter.org"


def kernel_of_new_page(url: str) -> str:
    """Opens a page; the id of its kernel."""
    with urllib.request.urlopen(url, timeout=90) as answer:
        return re.search(r'"kernelId": ?"([\w-]+)"', answer.read().decode()).group(1)


def channels(url: str, kernel_id: str) -> str:
    """The address of a kernel's websocket."""
    return f"{url.replace('http', 'ws', 1)}api/kernels/{kernel_id}/channels?session_id={uuid.uuid4().hex}"


@asynccontextmanager
async def connect(url: str, kernel_id: str, *protocols: str) -> AsyncIterator[WebSocketClientConnection]:
    """A websocket to a kernel; raises HTTPClientError where it is refused."""
    request = HTTPRequest(channels(url, kernel_id), connect_timeout=60, request_timeout=60)
    page = await websocket_connect(request, subprotocols=list(protocols) or None)
    try:
        yield page
    finally:
        page.close()
        while await page.read_message() is not None:
            pass


def message(kind: str, content: dict[str, Any], channel: str = "shell") -> dict[str, Any]:
    """A message to a kernel, in the older framing when written as JSON."""
    header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "username": "", "session": "s", "version": "5.3"}
    header["date"] = "2026-01-01T00:00:00Z"
    metadata = {"version": "1.0.0"}
    return {"header": header, "parent_header": {}, "metadata": metadata, "content": content, "channel": channel}


def framed(kind: str, content: dict[str, Any], channel: str = "shell") -> bytes:
    """A message to a kernel, in the framing of PROTOCOL."""
    given = message(kind, content, channel)
    parts = [channel.encode()]
    parts += [json.dumps(given[name]).encode() for name in ("header", "parent_header", "metadata", "content")]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return b"".join(number.to_bytes(8, "little") for number in (len(offsets), *offsets)) + b"".join(parts)


def unframed(frame: bytes) -> tuple[str, dict[str, Any]]:
    """Kind and content of a kernel's message."""
    numbers = [int.from_bytes(frame[at : at + 8], "little") for at in range(0, 8 * 7, 8)]
    parts = [frame[start:end] for start, end in pairwise(numbers[1:])]
    return json.loads(parts[1])["msg_type"], json.loads(parts[4])


def opened_control(comm: str = "control") -> bytes:
    """What begins a fetch of all widgets."""
    return framed("comm_open", {"comm_id": comm, "target_name": "jupyter.widget.control", "data": {}})


def to_widget(model_id: str, **data: Any) -> bytes:
    """A message to a widget."""
    return framed("comm_msg", {"comm_id": model_id, "data": data})


async def states(page: WebSocketClientConnection) -> dict[str, dict[str, Any]]:
    """The states of all widgets of a page, by model id."""
    comm = uuid.uuid4().hex
    await page.write_message(opened_control(comm), binary=True)
    await page.write_message(to_widget(comm, method="request_states"), binary=True)
    while True:
        kind, content = unframed(await page.read_message())
        is_ours = content.get("comm_id") == comm  # the kernel's answers to others come here too
        if kind == "comm_msg" and is_ours and content["data"].get("method") == "update_states":
            await page.write_message(framed("comm_close", {"comm_id": comm, "data": {}}), binary=True)
            return {model_id: model["state"] for model_id, model in content["data"]["states"].items()}


def model_with(found: dict[str, dict[str, Any]], trait: str) -> str:
    """The id of the widget that has a trait."""
    return next(model_id for model_id, state in found.items() if trait in state)


def raw_connection(url: str, text: str = "", source: str | None = None) -> socket.socket:
    """A connection that has sent some text; source: the client's own address."""
    place = urlsplit(url)
    source_address = (source, 0) if source else None
    connection = socket.create_connection((place.hostname, place.port), 30, source_address=source_address)
    connection.sendall(text.encode())
    return connection


def status_from(url: str, source: str) -> int:
    """The status of a page that is asked for from an address."""
    host = urlsplit(url).netloc
    with raw_connection(url, f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", source) as asking:
        asking.settimeout(90)
        return int(asking.makefile("rb").readline().split()[1])


def is_ended(connection: socket.socket, seconds: float) -> bool:
    """Whether the server ends a connection in time; what came before is read."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True
