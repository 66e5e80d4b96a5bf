"""One client can not take the dashboard from the others: each way that it could was tried against a running server."""

import asyncio
import base64
import json
import os
import socket
import sys
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psutil
import pytest
from tornado.httpclient import HTTPClientError

from tests.browser.conftest import HERE, NOTEBOOK, Served, running_server
from tests.browser.kernel_of_page import alive, get
from tests.browser.visitor import (
    PROTOCOL,
    channels,
    connect,
    framed,
    is_ended,
    kernel_of_new_page,
    message,
    model_with,
    opened_control,
    raw_connection,
    states,
    status_from,
    to_widget,
    unframed,
)
from tests.patience import PATIENCE_SECONDS, wait_until

ANSWER_SECONDS = 15.0  # of /health, on a machine that others want too
MEGABYTE = 1_000_000
T = TypeVar("T")
States = dict[str, dict[str, Any]]
VEGA = "voila/labextensions/missioncontrol/static/vega.js"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Served]:
    """One server for all doors, with short limits; its environment holds a key that is not the dashboard's."""
    log = tmp_path_factory.mktemp("doors") / "server.log"
    command = [
        sys.executable,
        "-m",
        "tests.browser.serve_notebook",
        NOTEBOOK,
        "--idle",
        5,
        "--unread",
        5,
        "--cull-after",
        900,
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAYMENTS_API_KEY", "not the dashboard's")
        patch.setenv("AWS_ACCESS_KEY_ID", "of the dataset")
        with running_server(command, log, HERE.parents[1]) as served:
            yield served


@pytest.fixture(autouse=True)
def unharmed(request, server: Served) -> Iterator[None]:
    """After each test the server answers at once, has taken less than 60 MB, and logged no traceback."""
    yield
    began = time.monotonic()
    assert get(server + "health")[0] in (200, 503)
    assert time.monotonic() - began < ANSWER_SECONDS
    assert memory(server) < 400 * MEGABYTE
    assert "Traceback" not in server.log.read_text()


def memory(server: Served) -> int:
    return psutil.Process(server.process.pid).memory_info().rss


@pytest.fixture(scope="module")
def kernel_id(server) -> str:
    """The kernel of one page, which all tests connect to that do it no harm."""
    kernel_id = kernel_of_new_page(server)
    told(server, kernel_id)
    return kernel_id


def told(server: Served, kernel_id: str, *frames: bytes) -> tuple[States, States]:
    """The states of all widgets of a page before and after it is sent some frames."""

    async def tell() -> tuple[States, States]:
        async with connect(server, kernel_id, PROTOCOL) as page:
            before = await states(page)
            for frame in frames:
                await page.write_message(frame, binary=True)
            return before, await states(page)

    return run(tell())


def run(what: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(what, PATIENCE_SECONDS))


# ---------- websockets ----------
def test_websocket_without_the_subprotocol_is_refused(server, kernel_id):
    async def ask_in_the_older_framing() -> None:
        async with connect(server, kernel_id) as page:
            for kind, content in (
                ("comm_open", {"comm_id": "c", "target_name": "jupyter.widget.control", "data": {}}),
                ("comm_msg", {"comm_id": "c", "data": {"method": "request_states"}}),
            ):
                await page.write_message(json.dumps(message(kind, content)))
            while True:
                await page.read_message()

    with pytest.raises(HTTPClientError, match="400"):
        run(ask_in_the_older_framing())


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff" * 8,
        (1 << 40).to_bytes(8, "little") + b"\0" * 100,
        b"",
        b"\x06",
        framed("comm_info_request", {})[:60],
        b"[" * 50_000,
    ],
    ids=["2^64", "2^40", "empty", "one byte", "cut", "nested"],
)
def test_frame_that_claims_more_than_it_holds_is_dropped(server, kernel_id, frame):
    before = memory(server)
    assert told(server, kernel_id, frame)[1]
    assert memory(server) - before < 20 * MEGABYTE


def test_a_kernel_has_three_websockets_at_most_and_others_are_served(server):
    kernel_id = kernel_of_new_page(server)
    descriptors = psutil.Process(server.process.pid).num_fds()

    async def crowd() -> list[int]:
        everyone_is_here = asyncio.Barrier(30)

        async def come() -> int:
            try:
                async with connect(server, kernel_id, PROTOCOL):
                    await everyone_is_here.wait()
                    return 101
            except HTTPClientError as error:
                await everyone_is_here.wait()
                return error.code

        return await asyncio.gather(*(come() for _ in range(30)))

    assert sorted(run(crowd())) == [101] * 3 + [503] * 27
    assert psutil.Process(server.process.pid).num_fds() - descriptors < 120
    assert told(server, kernel_id)[1]  # their places are free again


def test_page_that_does_not_read_is_disconnected(server):
    kernel_id = kernel_of_new_page(server)  # which has the answers to make when this is over
    key = base64.b64encode(os.urandom(16)).decode()
    place = urlsplit(channels(server, kernel_id))
    request = (
        f"GET {place.path}?{place.query} HTTP/1.1\r\nHost: {place.netloc}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n"
    )
    before = memory(server)
    with raw_connection(server, request) as page:
        port = page.getsockname()[1]
        assert b"101" in page.recv(100)
        page.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        with suppress(OSError):  # it may be disconnected before it has asked for all
            page.sendall(masked(opened_control()))
            for _ in range(2000):
                page.sendall(masked(to_widget("control", method="request_states")))
        wait_until(lambda: port not in ports_of_clients(server))
    assert memory(server) - before < 100 * MEGABYTE


def masked(payload: bytes) -> bytes:
    """A binary frame of a websocket, as clients send it."""
    return b"\x82\xfe" + len(payload).to_bytes(2, "big") + b"\0\0\0\0" + payload


def ports_of_clients(server: Served) -> set[int]:
    found = psutil.Process(server.process.pid).net_connections("tcp")
    return {each.raddr.port for each in found if each.raddr and each.status == psutil.CONN_ESTABLISHED}


def test_vega_does_not_come_over_the_websocket(server, kernel_id):
    found, _ = told(server, kernel_id)
    chart, page_widget = model_with(found, "readout"), model_with(found, "viewport")

    async def ask() -> list[str]:
        async with connect(server, kernel_id, PROTOCOL) as page:
            await page.write_message(to_widget(chart, method="custom", content={"want": "bundle"}), binary=True)
            answers = []
            beat = asyncio.create_task(beat_until_done(page, page_widget))
            while "beat" not in answers:
                kind, content = unframed(await page.read_message())
                if kind == "comm_msg" and content["data"]["method"] == "custom":
                    answers.append(content["data"]["content"]["do"])
            beat.cancel()
            return answers

    assert run(ask()) == ["beat"]


async def beat_until_done(page, page_widget) -> None:
    """As a page does; what is sent before the kernel's channels are ready may be lost."""
    while True:
        await page.write_message(to_widget(page_widget, method="custom", content={"beat": 1}), binary=True)
        await asyncio.sleep(2)


def test_page_changes_only_what_its_controls_change(server, kernel_id):
    """A box that holds itself was an endless loop; new widgets were memory without end."""
    found, _ = told(server, kernel_id)
    box, chart, page = (model_with(found, trait) for trait in ("children", "readout", "viewport"))
    state = {"_model_module": "@jupyter-widgets/controls", "_model_name": "HTMLModel", "value": "x" * 9000}
    before, after = told(
        server,
        kernel_id,
        to_widget(box, method="update", state={"children": [f"IPY_MODEL_{box}"]}),
        to_widget(chart, method="update", state={"summary": "x" * 9000}),
        framed("comm_open", {"comm_id": "mine", "target_name": "jupyter.widget", "data": {"state": state}}),
        framed("comm_close", {"comm_id": chart, "data": {}}),
        framed("shutdown_request", {"restart": False}, "control"),
        to_widget(page, method="update", state={"search": "?channel=beta"}),
    )
    changed = {name for model in after for name in after[model] if after[model][name] != before[model][name]}
    assert after.keys() == before.keys()
    assert changed == {"search", "value"}  # what was asked for, and the line that says so


# ---------- requests ----------
@pytest.mark.parametrize("path", ["/", "/nowhere", "/voila/static/voila.js"])
def test_body_is_not_taken(server, path):
    before = memory(server)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 90000000\r\n\r\n"
    sent = 0
    with raw_connection(server, head) as sending:
        try:
            while sent < 30 * MEGABYTE:
                sent += sending.send(b"x" * 65_536)
        except OSError:
            pass
    assert sent < 12 * MEGABYTE  # what fits into the system's buffers
    assert memory(server) - before < 10 * MEGABYTE


def test_half_requests_and_half_bodies_end(server):
    half = ["GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nx"]
    with ExitStack() as open_:
        connections = [open_.enter_context(raw_connection(server, text)) for text in half * 50]
        deadline = time.monotonic() + 60
        assert all(is_ended(each, max(0.1, deadline - time.monotonic())) for each in connections)


def test_answer_that_nobody_reads_is_given_up(server):
    head = f"GET /{VEGA} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with raw_connection(server, head * 20) as lazy:
        port = lazy.getsockname()[1]
        wait_until(lambda: port in ports_of_clients(server))
        wait_until(lambda: port not in ports_of_clients(server))


def test_connections_of_one_address_have_an_end(server):
    with ExitStack() as open_:
        for _ in range(560):
            open_.enter_context(raw_connection(server))
        wait_until(lambda: len(ports_of_clients(server)) <= 500)
        assert status_from(server, "127.0.0.2") == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Dest": "image", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Dest": "script", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Accept": "image/avif,image/webp,image/*,*/*;q=0.8"},
    ],
    ids=["image", "frame", "script", "fetch", "image where browsers do not say so"],
)
def test_page_inside_another_site_s_starts_no_kernel(server, headers):
    before = {kernel.pid for kernel in server.kernels()}
    assert get(server, **headers)[0] == 403
    assert {kernel.pid for kernel in server.kernels()} <= before


def test_page_is_handed_to_whoever_follows_a_link(server):
    headers = {"Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert get(server, **headers)[0] == 200


# ---------- what answers tell ----------
@pytest.mark.parametrize(
    "path",
    [
        "logout",
        "login",
        "voila/templates/x",
        "voila/templates/a/b/c",
        "voila/labextensions/@jupyter-widgets/jupyterlab-manager/package.json",
        "voila/api/themes/x",
    ],
)
def test_path_that_no_page_needs_is_not_found(server, path):
    status, headers, content = get(server + path)
    assert status == 404
    assert headers["Server"] == "missioncontrol"
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "http" not in content


def test_cookies_are_not_sent_along_by_other_sites(server):
    _, headers, _ = get(server + "health")
    assert "SameSite=Lax" in headers["Set-Cookie"]


def test_kernel_has_no_key_that_is_not_the_dashboard_s(server):
    wait_until(server.kernels)
    environment = server.kernels()[0].environ()
    assert "PAYMENTS_API_KEY" not in environment
    assert environment["AWS_ACCESS_KEY_ID"] == "of the dataset"
    assert environment["PATH"] == os.environ["PATH"]


# ---------- places ----------
def test_places_are_as_many_as_said_and_come_back(serve_notebook):
    """Eight at once, a client without a browser, and one from elsewhere."""
    with serve_notebook("--most-pages", 2, "--pool", 2, "--unreached", 20) as url:
        with ThreadPoolExecutor(8) as pool:
            codes = sorted(status for status, _, _ in pool.map(get, [url] * 8))
        assert codes == [200] * 2 + [503] * 6
        assert len(url.kernels()) <= 2
        assert get(url + "health")[0] == 200  # full, but well
        assert status_from(url, "127.0.0.2") == 200  # one of those that nobody came for gives way
        wait_until(lambda: len(url.kernels()) <= 2)
        kernel_id = wait_until(lambda: page_or_none(url))  # in twenty seconds the others do, too
        assert alive(url, kernel_id)


def page_or_none(url: str) -> str | None:
    try:
        return kernel_of_new_page(url)
    except OSError:
        return None
