"""A real Chromium that may talk to this machine only, and real servers on free ports."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

from tests.browser.chromium import FLAGS, find
from tests.patience import PATIENCE_SECONDS, wait_until

HERE = Path(__file__).parent
NOTEBOOK = HERE / "notebooks" / "widgets.ipynb"
THIS_MACHINE = {"127.0.0.1", "localhost", None}


class OfflineBrowser:
    """Opens pages, each in a fresh context, and records what they ask for."""

    def __init__(self, browser: Browser) -> None:
        self.chromium = browser
        self.requests: list[str] = []
        self._contexts: list[BrowserContext] = []

    def new_page(self, **options: object) -> Page:
        context = self.chromium.new_context(**options)
        self._contexts.append(context)
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        context.on("request", lambda request: self.requests.append(request.url))
        return context.new_page()

    def asked_elsewhere(self) -> list[str]:
        return [url for url in self.requests if urlsplit(url).hostname not in THIS_MACHINE]

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for the tests of a module: an event loop runs in this thread until it is closed."""
    path = find()
    if path is None:
        pytest.fail("no Chromium: `make chromium` installs one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@contextmanager
def offline_browser(chromium: Browser) -> Iterator[OfflineBrowser]:
    """A browser with contexts of its own, which fails when a page asks another host for anything."""
    offline = OfflineBrowser(chromium)
    yield offline
    offline.close()
    assert offline.asked_elsewhere() == []


@pytest.fixture
def browser(chromium) -> Iterator[OfflineBrowser]:
    """A browser for one test."""
    with offline_browser(chromium) as offline:
        yield offline


class Served(str):
    """The URL of a running server; its process and its log."""

    process: subprocess.Popen
    log: Path

    def kernels(self) -> list[psutil.Process]:
        """The kernels of this server, alive now."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if is_kernel(child)]


def connection_file(kernel: psutil.Process) -> Path:
    """The file that says how to connect to a kernel."""
    beginning = kernel.name().removeprefix("page-")
    folders = {Path(tempfile.gettempdir()), Path("/tmp")}
    (file,) = [file for folder in folders for file in folder.glob(f"mc-*/voila_*/kernel-{beginning}*.json")]
    return file


def is_kernel(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.name().startswith("page-")
    except psutil.NoSuchProcess:
        return False


def wait_for(page: Page, expression: str, seconds: float = PATIENCE_SECONDS) -> object:
    """The first true value of a JavaScript expression. Playwright's own wait needs eval, which our pages forbid."""
    return wait_until(lambda: evaluate(page, expression), seconds=seconds)


def evaluate(page: Page, expression: str) -> object:
    """The value of a JavaScript expression; None while the page is on its way to another."""
    try:
        return page.evaluate(expression)
    except Error as error:
        if "context was destroyed" in str(error):
            return None
        raise


KERNEL_ID = "JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId"
SHOWN = {"overview": ".mc-matrix", "table": ".mc-table", "detail": ".mc-figures"}
CONTENT = """() => {
  const charts = [...document.querySelectorAll(".mc-chart")].filter((box) => box.mcView && box.getClientRects().length);
  const drawn = charts.map((box) => {
    const tables = Object.keys(box.mcView._runtime.data).map((name) => [name, box.mcView.data(name)]);
    return [box.getAttribute("aria-label"), tables.filter(([, rows]) => !rows.some((row) => row.mark || row.items))];
  });
  const texts = [...document.querySelectorAll(".mc-main > :not(.mc-controls)")].map((part) => {
    const copy = part.cloneNode(true);
    copy.querySelectorAll("pre, .mc-readout").forEach((other) => other.remove());
    return copy.textContent;
  });
  // A page that is changed in place may have its attributes in another order.
  const described = (node) => node.nodeType !== Node.ELEMENT_NODE ? node.textContent : [
    node.tagName, [...node.attributes].map(({name, value}) => `${name}=${value}`).sort(),
    [...node.childNodes].map(described),
  ];
  const sparks = [...document.querySelectorAll(".mc-main svg")].map(described);
  return JSON.stringify([texts, sparks, drawn]);
}"""
CONTROLS = """() => JSON.stringify([...document.querySelectorAll(".mc-controls, .mc-versions")].map((part) => [
  [...part.querySelectorAll("select")].map((list) => list.selectedOptions[0].text),
  [...part.querySelectorAll(".mod-active")].map((button) => button.textContent),
  [...part.querySelectorAll("input")].map((input) => input.type === "checkbox" ? input.checked : input.value),
]))"""


class Seen(NamedTuple):
    """All that tells two states of a page apart."""

    url: str
    title: str
    controls: str
    content: str


def seen(page: Page) -> Seen:
    # not `page.url`, which is as of the last event that Playwright came to handle
    return Seen(page.evaluate("location.href"), page.title(), page.evaluate(CONTROLS), page.evaluate(CONTENT))


def settled(page: Page, seconds: float = PATIENCE_SECONDS) -> Seen:
    """What a page shows once it has stopped changing, and no longer reads or judges what it is to show."""
    states: list[Seen] = []

    def is_still() -> bool:
        if page.locator(".mc-main [aria-busy=true], .mc-main .mc-judging").count():
            states.clear()
            return False
        states.append(seen(page))
        return len(states) > 2 and states[-1] == states[-2] == states[-3]

    wait_until(is_still, seconds=seconds, every=0.2)
    return states[-1]


def open_view(page: Page, url: str, search: str = "", view: str = "overview") -> Page:
    """Goes to a state of the dashboard and waits until its view is there, and answers."""
    page.goto(url.rstrip("/") + "/" + search)
    page.wait_for_selector(SHOWN[view])
    wait_until_live(page)
    if view == "detail":
        page.wait_for_selector(".mc-chart canvas, .mc-empty")
    return page


def wait_until_live(page: Page) -> None:
    """Waits until the widgets have taken over from what the kernel showed first."""
    page.wait_for_selector("#rendered_cells .mc-main > *")
    wait_for(page, "document.getElementById('mc-still') === null")


def first_url(process: subprocess.Popen) -> str | None:
    """The URL that the server prints when its first page is ready; None when it ends before."""
    stop = threading.Timer(PATIENCE_SECONDS, process.kill)
    stop.start()
    try:
        return next((line.strip() for line in process.stdout if line.startswith("http")), None)
    finally:
        stop.cancel()


@contextmanager
def running_server(command: list, log: Path, cwd: Path | None = None) -> Iterator[Served]:
    """Starts the command on any free port, waits for its URL, ends it with SIGINT and expects exit code 0."""
    command = [*map(str, command), "--port", "0"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MISSIONCONTROL_")}
    with log.open("w") as errors, subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
    ) as process:  # fmt: skip
        url = first_url(process)
        assert url, log.read_text()
        served = Served(url)
        served.process, served.log = process, log
        try:
            yield served
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                code = process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert code == 0, log.read_text()


@pytest.fixture
def serve(tmp_path) -> Callable[..., AbstractContextManager[Served]]:
    """`with serve([command, ...], cwd=...) as url:` runs a server of ours; `--port` is appended."""

    def start(command: list, cwd: Path | None = None) -> AbstractContextManager[Served]:
        return running_server(command, tmp_path / "server.log", cwd)

    return start


@pytest.fixture
def serve_notebook(serve) -> Callable[..., AbstractContextManager[Served]]:
    """`with serve_notebook("--pool", 0) as url:` serves the test notebook with its own options."""

    def start(*options: object) -> AbstractContextManager[Served]:
        return serve([sys.executable, "-m", "tests.browser.serve_notebook", NOTEBOOK, *options], cwd=HERE.parents[1])

    return start


@pytest.fixture(scope="module")
def widgets_server(tmp_path_factory) -> Iterator[Served]:
    """The test notebook, served for all tests of a module."""
    log = tmp_path_factory.mktemp("server") / "server.log"
    command = [sys.executable, "-m", "tests.browser.serve_notebook", NOTEBOOK, "--pool", 3]
    with running_server(command, log, HERE.parents[1]) as served:
        yield served


@pytest.fixture(scope="session")
def simulated_dataset(tmp_path_factory, worker_id) -> tuple[Path, Path]:
    """A dataset of two simulated months and the calendar that goes with it, to be read; one for all of a run."""
    ours = tmp_path_factory.getbasetemp()
    folder = (ours if worker_id == "master" else ours.parent) / "simulated"
    folder.mkdir(exist_ok=True)
    dataset, calendar, complete = folder / "dataset", folder / "releases.json", folder / "complete"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            command = [Path(sys.executable).with_name("missioncontrol"), "simulate", "--history", dataset]
            command += ["--releases-to", calendar]
            completed = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
            assert completed.returncode == 0, completed.stdout + completed.stderr
            complete.touch()
    return dataset, calendar


@pytest.fixture(scope="session")
def dashboard_server(simulated_dataset, tmp_path_factory) -> Iterator[Served]:
    """The real dashboard over the simulated dataset, as `missioncontrol dashboard` serves it."""
    dataset, calendar = simulated_dataset
    log = tmp_path_factory.mktemp("dashboard") / "server.log"
    command = [Path(sys.executable).with_name("missioncontrol"), "dashboard", "--dataset", dataset]
    with running_server([*command, "--releases", calendar], log) as served:
        yield served
