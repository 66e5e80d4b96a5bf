"""Time from navigation to the first chart, and memory of a kernel: our pages beside a naive Voilà page.

"answers": until the page's widgets have taken over from the page that the kernel showed at once, so that controls work.

The naive page is Voilà's stock template with Altair's `JupyterChart.enable_offline()`; "same page" is that page with
our template, widget and server; "dashboard" is the real one on a chart of its detail view. Real Chromium, a cold cache
each time, interleaved repeats, medians. What the stock template asks of other hosts is refused at once: waiting
for them would only make it slower.

    python benchmarks/pages.py [--repeats 5] [--dataset FOLDER --releases FILE] [--json]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser.chromium import FLAGS  # noqa: E402
from tests.services.ports import free_port  # noqa: E402

NOTEBOOKS = Path(__file__).parent / "pages_notebooks"
MISSIONCONTROL = Path(sys.executable).with_name("missioncontrol")
GOAL = 0.25
NAIVE = "naive page"
# A frame after a chart is to be seen, then after the widgets answer; counted from the start of the navigation.
FIRST_CHART = """
addEventListener("DOMContentLoaded", () => {
  const look = () => {
    const charts = [...document.querySelectorAll("canvas, svg.marks")];
    const isSeen = (chart) => getComputedStyle(chart).visibility === "visible";
    const isThere = charts.some((chart) => chart.getBoundingClientRect().width > 50 && isSeen(chart));
    if (isThere) requestAnimationFrame(() => { window.firstChart = performance.now(); live(); });
    else requestAnimationFrame(look);
  };
  const live = () => {
    if (document.getElementById("mc-still")) requestAnimationFrame(live);
    else window.live = performance.now();
  };
  look();
});
"""


@dataclass
class Page:
    """One kind of page: how its server is started, where it is, what was measured."""

    name: str
    command: list[str]
    search: str = ""
    is_preheated: bool = False
    url: str = ""
    process: subprocess.Popen | None = None
    seconds: list[float] = field(default_factory=list)
    answering: list[float] = field(default_factory=list)
    megabytes: list[tuple[float, float]] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)

    def kernels(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return sorted((child for child in children if is_kernel(child)), key=lambda child: child.create_time())


def is_kernel(process: psutil.Process) -> bool:
    try:
        is_ours = process.name().startswith("page-")
        return process.status() != psutil.STATUS_ZOMBIE and (is_ours or "-f" in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def pages(dataset: Path | None, releases: Path | None) -> list[Page]:
    ours = [sys.executable, "-m", "tests.browser.serve_notebook", str(NOTEBOOKS / "shared.ipynb")]
    naive = [sys.executable, "-m", "voila", str(NOTEBOOKS / "naive.ipynb"), "--no-browser", "--Voila.port_retries=0"]
    found = [
        Page(NAIVE, naive),
        Page("same page, cold", [*ours, "--pool", "0"]),
        Page("same page, preheated", [*ours, "--pool", "1"], is_preheated=True),
    ]
    if dataset:
        real = [str(MISSIONCONTROL), "dashboard", "--dataset", str(dataset)]
        real += ["--releases", str(releases)] if releases else []
        detail = "?view=detail"
        found += [
            Page("dashboard, cold", [*real, "--pool", "0"], detail),
            Page("dashboard, preheated", [*real, "--pool", "1"], detail, is_preheated=True),
        ]
    return found


@contextmanager
def running(page: Page) -> Iterator[None]:
    port = free_port()
    page.url = f"http://127.0.0.1:{port}/"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    page.process = subprocess.Popen([*page.command, f"--port={port}"], cwd=ROOT, env=environment, **quiet)
    try:
        wait_until(lambda: answers(page))
        yield
    finally:
        page.process.terminate()
        page.process.wait(30)


def answers(page: Page) -> bool:
    """Whether the server is up, and a page is ready where pages are preheated; starts no kernel."""
    probe = "voila/static/voila.js" if page.name == NAIVE else "health"
    try:
        with urllib.request.urlopen(page.url + probe, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def wait_until(condition, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.1)


def measure(browser: Browser, page: Page) -> None:
    """One visit: navigation to first chart, then the memory of the kernel behind it."""
    wait_until(lambda: answers(page))
    before = {kernel.pid for kernel in page.kernels()}
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.route(lambda url: urlsplit(url).hostname != "127.0.0.1", lambda route: route.abort())
    tab = context.new_page()
    tab.add_init_script(FIRST_CHART)
    tab.goto(page.url + page.search, wait_until="commit", timeout=120_000)
    wait_until(lambda: tab.evaluate("window.live !== undefined"))
    page.seconds.append(tab.evaluate("window.firstChart") / 1000)
    page.answering.append(tab.evaluate("window.live") / 1000)
    visited = next((kernel for kernel in page.kernels() if page.is_preheated == (kernel.pid in before)), None)
    if visited:
        memory = visited.memory_full_info()
        page.megabytes.append((memory.rss / 1e6, memory.uss / 1e6))
        page.processor_seconds.append(sum(visited.cpu_times()[:2]))
    tab.close(run_before_unload=True)
    context.close()
    if page.name == NAIVE:
        return  # it leaves its kernel behind, idle, and starts another where that one is killed
    if visited:
        end(visited)
    wait_until(lambda: answers(page) and len(page.kernels()) == int(page.is_preheated))


def end(kernel: psutil.Process) -> None:
    try:
        kernel.wait(3)
    except psutil.TimeoutExpired:
        kernel.kill()


def simulate(folder: Path) -> tuple[Path, Path]:
    dataset, releases = folder / "dataset", folder / "releases.json"
    command = [MISSIONCONTROL, "simulate", "--history", dataset, "--days", "21", "--releases-to", releases]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return dataset, releases


def report(measured: list[Page]) -> dict[str, dict[str, float]]:
    naive = statistics.median(measured[0].seconds)
    return {
        page.name: {
            "seconds": round(statistics.median(page.seconds), 2),
            "answers_seconds": round(statistics.median(page.answering), 2),
            "of_naive": round(statistics.median(page.seconds) / naive, 3),
            "rss_mb": round(statistics.median(rss for rss, _ in page.megabytes)),
            "uss_mb": round(statistics.median(uss for _, uss in page.megabytes)),
            "kernel_cpu_seconds": round(statistics.median(page.processor_seconds), 2),
        }
        for page in measured
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dataset", type=Path, help="an existing dataset; default: simulate three weeks")
    parser.add_argument("--releases", type=Path, help="the release calendar of that dataset")
    parser.add_argument("--no-dashboard", action="store_true", help="only the naive page and the same page of ours")
    parser.add_argument("--json", action="store_true", help="one JSON line instead of a table")
    given = parser.parse_args()
    with ExitStack() as stack:
        dataset, releases = given.dataset, given.releases
        if not dataset and not given.no_dashboard:
            dataset, releases = simulate(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        measured = pages(None if given.no_dashboard else dataset, releases)
        for page in measured:
            stack.enter_context(running(page))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=find_outside(), args=list(FLAGS))
        for _ in range(given.repeats):
            for page in measured:
                measure(browser, page)
        browser.close()
        figures = report(measured)
    show(figures, given.json)
    return 0 if figures[measured[-1].name]["of_naive"] <= GOAL else 1


def find_outside() -> str:
    """Chromium's path, looked for in a process of its own: Playwright must not run twice in one."""
    code = "from tests.browser.chromium import find; print(find() or '')"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def show(figures: dict[str, dict[str, float]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures))
        return
    print(f"{'median':24} {'first chart':>12} {'of naive':>9} {'answers':>9} {'kernel RSS / USS':>18} {'and CPU':>9}")
    for name, row in figures.items():
        memory = f"{row['rss_mb']:.0f} / {row['uss_mb']:.0f} MB"
        times = f"{row['seconds']:10.2f} s {row['of_naive']:9.2f} {row['answers_seconds']:7.2f} s"
        print(f"{name:24} {times} {memory:>18} {row['kernel_cpu_seconds']:7.2f} s")
    print(f"Goal: the last line at most {GOAL} of the naive page")


if __name__ == "__main__":
    sys.exit(main())
