"""What Voilà leaves open is closed: tried against a running server."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Route

from tests.browser.conftest import (
    HERE,
    KERNEL_ID,
    NOTEBOOK,
    Served,
    connection_file,
    running_server,
    wait_for,
)
from tests.browser.kernel_of_page import alive, get, kernel_process, new_kernel
from tests.patience import PATIENCE_SECONDS, wait_until

MISSIONCONTROL = Path(sys.executable).with_name("missioncontrol")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Served:
    """A server whose notebook lies beside files that are nobody's business."""
    folder = tmp_path_factory.mktemp("secure")
    shutil.copy(NOTEBOOK, folder)
    (folder / "secret.png").write_bytes(b"\x89PNG secret")
    (folder / "voila.py").write_text("raise SystemExit('a voila.py of the working directory was loaded')")
    command = [sys.executable, "-m", "tests.browser.serve_notebook", folder / NOTEBOOK.name]
    with running_server(command, folder / "server.log", HERE.parents[1]) as served:
        yield served


def open_page(browser, url: str, **options):
    page = browser.new_page(**options)
    page.goto(url)
    page.wait_for_selector(".mc-chart canvas")
    return page


def test_theme_and_template_of_the_query_are_ignored(server):
    status, _, page = get(server + "?theme=%3Cscript%3Eevil()%3C/script%3E&template=lab")
    assert status == 200
    assert "evil()" not in page
    assert "mc-skeleton" in page
    assert "fontawesome" not in page


def test_unknown_template_hangs_nothing(server):
    status, _, page = get(server + "?template=no-such-template")
    assert (status, "mc-skeleton" in page) == (200, True)


@pytest.mark.parametrize("path", ["voila/files/secret.png", f"voila/files/{NOTEBOOK.name}", "secret.png", "voila.py"])
def test_files_beside_the_notebook_are_not_served(server, path):
    status, _, content = get(server + path)
    assert status in (403, 404)
    assert "secret" not in content.replace(path, "")


def test_query_handler_of_preheated_kernels_is_gone(server):
    assert get(f"{server}voila/query/12345678-1234-1234-1234-123456789012")[0] == 404


@pytest.mark.parametrize(
    "path", ["", "health", "voila/static/voila.js", "voila/labextensions/missioncontrol/static/vega.js"]
)
def test_every_answer_carries_the_headers(server, path):
    status, headers, _ = get(server + path)
    assert status in (200, 503)  # 503: the pool is being filled
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe-eval" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_another_host_header_is_turned_away(server):
    assert get(server + "health", Host="rebound.example.org")[0] == 403
    assert get(server + "health", Host="localhost:1")[0] in (200, 503)


def test_health_probe_starts_no_kernel(server):
    wait_until(lambda: get(server + "health")[0] == 200)
    before = {kernel.pid for kernel in server.kernels()}
    assert all(get(server + "health")[0] == 200 for _ in range(20))
    assert {kernel.pid for kernel in server.kernels()} == before


def test_nothing_that_a_callback_prints_or_raises_reaches_the_browser(browser, server):
    page = browser.new_page()
    frames: list[bytes] = []
    page.on("websocket", lambda ws: ws.on("framereceived", lambda data: frames.append(as_bytes(data))))
    page.goto(server)
    page.wait_for_selector(".mc-chart canvas")
    page.locator("[data-mc-action='leak']").click()
    wait_for(page, "document.querySelector('#seen').textContent === 'leaked'")
    page.get_by_text("raise", exact=True).click()
    page.locator("[data-mc-action='more']").click()
    wait_for(page, "document.querySelector('#seen').textContent.endsWith(':1')")
    assert any(b"leaked" in frame for frame in frames)
    assert not [frame for frame in frames if b"SECRET" in frame]
    assert "SECRET" not in page.content()


def as_bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


def test_kernels_listen_on_no_tcp_port(browser, server):
    open_page(browser, server)
    kernels = server.kernels()
    assert kernels
    assert [found for kernel in kernels for found in kernel.net_connections("tcp")] == []


def test_closing_the_page_ends_its_kernel(browser, server):
    page = open_page(browser, server)
    kernel_id = page.evaluate(KERNEL_ID)
    assert alive(server, kernel_id)
    page.close(run_before_unload=True)
    wait_until(lambda: not alive(server, kernel_id))


def test_page_of_a_dead_kernel_says_so_and_reloads_with_its_url(browser, server):
    page = open_page(browser, server + "?channel=beta")
    kernel_id = page.evaluate(KERNEL_ID)
    wait_for(page, "document.querySelector('#seen').textContent.startsWith('13:')")
    kernel_process(server, kernel_id).kill()
    killed = time.monotonic()
    page.wait_for_selector("#mc-banner:not([hidden])")
    assert 8 < time.monotonic() - killed < 45
    assert "No answer" in page.locator("#mc-banner").inner_text()
    wait_until(lambda: new_kernel(page, kernel_id))
    assert page.url.endswith("?channel=beta")
    wait_for(page, "document.querySelector('#seen')?.textContent.startsWith('13:')")
    assert page.locator("#mc-banner").is_hidden()


def test_pages_come_back_when_the_process_is_killed_that_kernels_are_forked_from(browser, serve_notebook):
    with serve_notebook() as url:
        page = open_page(browser, url + "?channel=beta")
        kernel_id = page.evaluate(KERNEL_ID)
        kernel = kernel_process(url, kernel_id)
        kernel.parent().kill()
        assert psutil.wait_procs([kernel], PATIENCE_SECONDS)[1] == []
        wait_until(lambda: new_kernel(page, kernel_id))
        wait_for(page, "document.querySelector('#seen')?.textContent.startsWith('13:')")


def test_page_works_where_no_process_can_be_forked(browser, serve_notebook):
    with serve_notebook("--no-fork", "--pool", 0) as url:
        open_page(browser, url)
        assert url.kernels() == []
        started = psutil.Process(url.process.pid).children()
        assert ["missioncontrol_nb.dashboard.server.kernel" in child.cmdline() for child in started] == [True]


def test_page_whose_widgets_are_made_late_shows_what_its_url_says(browser, server):
    """What a kernel answers to a page before a widget is made would not reach that widget."""
    page = browser.new_page()
    fetched, late = [], []
    page.on(
        "websocket", lambda socket: socket.on("framesent", lambda frame: fetched.append("request_states" in str(frame)))
    )

    def pass_on(route: Route) -> None:
        if any(fetched):  # the script of a kind of widgets
            late.append(route.request.url)
            time.sleep(1)
        route.continue_()

    page.route("**/jupyterlab-manager/static/*", pass_on)
    page.goto(server + "?channel=beta")
    wait_for(page, "document.querySelector('#seen')?.textContent.startsWith('13:')")
    assert late


def test_abandoned_kernel_is_culled_and_a_watched_or_pooled_one_is_not(browser, serve_notebook):
    with serve_notebook("--cull-after", 2, "--cull-every", 1) as url:
        page = open_page(browser, url)
        watched = page.evaluate(KERNEL_ID)
        wait_until(lambda: get(url + "health")[0] == 200)
        pooled = {kernel.pid for kernel in url.kernels()}
        get(url)  # a visitor whose browser never connects
        wait_until(lambda: get(url + "health")[0] == 200 and len(url.kernels()) == 2)
        assert alive(url, watched)
        assert len(pooled - {kernel.pid for kernel in url.kernels()}) == 1


def test_a_page_that_waits_for_a_visitor_takes_nobody_s_place(serve_notebook):
    with serve_notebook("--most-pages", 1) as url:
        assert get(url)[0] == 200
        assert get(url)[0] == 503
        assert get(url + "health")[0] == 200
        assert len(url.kernels()) == 1


def test_page_works_below_a_path(browser, serve_notebook):
    with serve_notebook("--base-url", "/mission/", "--pool", 0) as url:
        assert url.endswith("/mission/")
        open_page(browser, url)


def test_sigterm_ends_server_and_kernels_and_removes_their_files(serve_notebook):
    with serve_notebook() as url:
        kernels = url.kernels()
        connection = connection_file(kernels[0])
        url.process.send_signal(signal.SIGTERM)
        assert url.process.wait(PATIENCE_SECONDS) == 0
    assert psutil.wait_procs(kernels, PATIENCE_SECONDS)[1] == []
    assert not connection.parents[1].exists()


def dashboard(*options: object) -> subprocess.CompletedProcess:
    environment = os.environ | {"COLUMNS": "120"}
    command = [str(part) for part in (MISSIONCONTROL, "dashboard", *options)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS, env=environment
    )


def test_taken_port_is_said_before_anything_starts(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        completed = dashboard("--dataset", tmp_path, "--port", port)
    assert completed.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in completed.stderr
    assert completed.stdout == ""


def test_missing_dataset_is_said_at_once(tmp_path):
    completed = dashboard("--dataset", tmp_path / "nowhere", "--port", 0)
    assert completed.returncode == 1
    assert str(tmp_path / "nowhere") in completed.stderr
    assert "Traceback" not in completed.stderr
