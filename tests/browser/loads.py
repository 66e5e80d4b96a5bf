"""Loads the dashboard again and again on a busy machine, and counts the loads that end in an error instead of a page.

`python -m tests.browser.loads --loads 300 --loops 3`: each load is a fresh page of one of the views; the busy loops are
processes that each keep one core busy.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, sync_playwright

from tests.browser.chromium import FLAGS, find
from tests.browser.conftest import SHOWN, open_view, running_server, wait_for

MISSIONCONTROL = Path(sys.executable).with_name("missioncontrol")
SEARCHES = ("?view=detail", "?view=detail&line=build&off=none", "?view=table", "")
ERRORS = ("Click to show javascript error", "This page could not be made")


@contextmanager
def busy_loops(number: int) -> Iterator[None]:
    """Keeps as many cores busy."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def load(browser: Browser, url: str, search: str) -> list[str]:
    """What is wrong with one load; nothing where all is well."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(120_000)
    page = context.new_page()
    found: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if "widget model not found" in message.text:
            found.append(message.text.splitlines()[0])

    page.on("console", note)
    try:
        view = next((view for view in SHOWN if f"view={view}" in search), "overview")
        open_view(page, url, search, view)
        if view == "detail":
            wait_for(page, "document.querySelectorAll('.mc-versions input').length >= 2")
        return found + [error for error in ERRORS if error in page.content()]
    except Exception as error:
        return [*found, f"{type(error).__name__}: {error}".splitlines()[0], *(e for e in ERRORS if e in page.content())]
    finally:
        page.close(run_before_unload=True)
        context.close()


def main() -> int:
    """The number of failed loads is printed; the exit code is 1 where there was one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loads", type=int, default=300)
    parser.add_argument("--loops", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset, calendar = Path(folder, "dataset"), Path(folder, "releases.json")
        command = [MISSIONCONTROL, "simulate", "--history", dataset, "--releases-to", calendar]
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
        command = [MISSIONCONTROL, "dashboard", "--dataset", dataset, "--releases", calendar]
        with running_server(command, Path(folder, "server.log")) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find(), args=list(FLAGS))
            began, failed = time.monotonic(), 0
            with busy_loops(given.loops):
                for number in range(given.loads):
                    wrong = load(browser, url, SEARCHES[number % len(SEARCHES)])
                    failed += bool(wrong)
                    if wrong:
                        print(f"load {number + 1}: {'; '.join(wrong)}", flush=True)
                    if (number + 1) % 20 == 0:
                        print(f"{number + 1} loads, {failed} failed", flush=True)
            browser.close()
            seconds = time.monotonic() - began
    print(f"{given.loads} loads under {given.loops} busy loops in {seconds:.0f} s: {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
