"""The whole demo in real Chromium: what a newcomer starts, sees and ends."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pandas as pd
import psutil
import pytest
from playwright.sync_api import Page

from missioncontrol_nb.loading.dataset import Dataset
from tests.browser.conftest import first_url, wait_for, wait_until_live
from tests.browser.counted import files_of, history_of, of_version, pings_of, sums_of
from tests.browser.page_actions import dropdown, table_texts, toggle
from tests.browser.page_actions import number as figure
from tests.patience import PATIENCE_SECONDS, wait_until
from tests.services import kafka

DEMO = [str(Path(sys.executable).with_name("missioncontrol")), "demo"]
SHORT = ("--days", "7")
LAST_LINE = re.compile(
    r"([\d,]+) pings? in \(([\d,]+) counted, ([\d,]+) not counted(?:: [^)]*)?\), ([\d,]+) page visits?$", re.M
)


class Demo:
    """A running demo: its URL, its process, and what it started."""

    def __init__(self, process: subprocess.Popen, log: Path) -> None:
        self.process, self._log = process, log
        url = first_url(process)
        assert url, self.said()
        self.url = url
        self.started = psutil.Process(process.pid).children(recursive=True)

    def said(self) -> str:
        return self._log.read_text()

    def end(self, number: int | None = signal.SIGINT) -> tuple[int, str]:
        """Ends it by a signal, or waits for it to end by itself; exit code and all that it said since the URL."""
        self.started = [*self.started, *psutil.Process(self.process.pid).children(recursive=True)]
        if number is not None:
            self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, output

    def left(self) -> list[psutil.Process]:
        """The processes it started that are still there."""
        return [process for process in psutil.wait_procs(self.started, timeout=10)[1] if is_alive(process)]


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs: one that has ended may wait for this machine's first process to take note."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def start_demo(tmp_path):
    """`with start_demo("--minutes", 1) as demo:` runs a demo until its first page is ready; it is killed at the end."""
    logs = iter(range(9))

    @contextmanager
    def start(*options: object) -> Iterator[Demo]:
        log = tmp_path / f"demo-{next(logs)}.log"
        with log.open("w") as errors, subprocess.Popen(
            [*DEMO, *map(str, options)], stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process:  # fmt: skip
            try:
                yield Demo(process, log)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait(PATIENCE_SECONDS)

    return start


def number(text: str) -> int:
    return int(text.replace(",", ""))


class LiveSums:
    """What a table may show of 56.0 on release, Windows: the history, and the live pings of the first files."""

    def __init__(self, folder: Path) -> None:
        self._pings, self._calendar = folder / "pings", folder / "releases.json"
        history = self._official(history_of(folder / "dataset", "release", "56.0"))
        self._sums, self._files = [sums_of(history)], set()

    def _official(self, rows: pd.DataFrame) -> pd.DataFrame:
        counted = of_version(rows, self._calendar, "release", "56.0")
        return counted[counted["os_name"] == "Windows_NT"]

    def hold(self, counts: dict[str, int]) -> bool:
        for file in sorted(set(files_of(self._pings)) - self._files):
            more = sums_of(self._official(pings_of(file)))
            self._sums.append({name: total + more[name] for name, total in self._sums[-1].items()})
            self._files.add(file)
        return any(counts.items() <= sums.items() for sums in self._sums[1:])


def counts_of(page: Page) -> dict[str, int]:
    """The counts of 56.0 that a table shows, by measure; of measures that 56.0 reports."""
    shown = table_texts(page)
    return {measure: int(figure(versions["56.0"])) for measure, versions in shown.items() if "56.0" in versions}


def click_through(page: Page, folder: Path) -> None:
    """From the overview to a table, whose numbers equal the sums of the pings, to a detail, whose URL restores it."""
    page.locator(".mc-matrix a", has_text="Bad").first.click()  # once it is judged
    page.wait_for_selector(".mc-table")
    toggle(page, "Show", "Count")
    wait_for(page, "document.querySelector('.mc-table caption').textContent.endsWith('as counts')")
    assert page.evaluate("location.search") == "?view=table&show=count"
    sums = LiveSums(folder)
    wait_until(lambda: sums.hold(counts_of(page)))
    page.locator(".mc-table a", has_text="Content crashes").click()
    page.wait_for_selector(".mc-chart canvas")
    toggle(page, "Interval", "48 h")
    wait_for(page, "location.search.includes('interval=48h')")
    dropdown(page, "Line for each", "Build")
    wait_for(page, "location.search.includes('line=build')")
    url = page.evaluate("location.href")
    page.reload()
    wait_until_live(page)
    assert page.evaluate("location.href") == url
    pressed = page.locator(".mc-controls .mod-active:visible").all_inner_texts()
    assert pressed == ["Count", "Official", "48 h", "Latest", "Shown", "Hour"]


def test_demo_shows_live_numbers_that_equal_the_pings_and_ctrl_c_ends_it_all(start_demo, browser, tmp_path):
    folder = tmp_path / "demo"
    with start_demo("--port", 0, "--folder", folder, "--days", 30) as demo:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(demo.url)
        wait_until_live(page)
        wait_for(page, "document.body.innerText.includes('56.0') && document.querySelector('.mc-fresh') !== null")
        assert re.search(r"\d\.\d\d", page.inner_text("body"))
        fresh = "document.querySelector('.mc-fresh').dataset.mcUpTo"
        before = wait_for(page, fresh)
        wait_until(lambda: page.evaluate(fresh) > before)  # live pings went all the way to the page
        click_through(page, folder)
        code, output = demo.end()
        assert code == 0, demo.said()
        pings, counted, rejected, visits = map(number, LAST_LINE.search(output).groups())
        assert pings > 100
        assert pings == counted + rejected
        assert visits == 2
        assert Dataset(folder / "dataset").load_rejected()["count"].sum() >= rejected
        assert demo.left() == []


@pytest.fixture
def through_kafka(request) -> list[str]:
    """What sends a demo's pings through Kafka."""
    if said := kafka.missing():
        pytest.skip(said)
    broker = request.getfixturevalue("broker")
    broker.create("demo", 4)
    return ["--kafka", f"kafka://{broker.address}/demo"]


@pytest.mark.long
def test_second_demo_through_kafka_beside_the_first_and_each_end_is_a_clean_one(start_demo, through_kafka):
    with start_demo("--port", 0, *SHORT) as first:
        port = first.url.rstrip("/").rsplit(":", 1)[1]
        taken = subprocess.run(
            [*DEMO, "--port", port], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
        assert taken.returncode == 1
        assert taken.stdout == ""
        assert re.fullmatch(rf"missioncontrol: port {port} .*--port.*\n", taken.stderr)
        with start_demo("--port", 0, "--minutes", 0.3, *SHORT, *through_kafka) as second:
            assert second.url != first.url
            code, output = second.end(number=None)
            assert code == 0, second.said()
            pings, counted, rejected, _ = map(number, LAST_LINE.search(output).groups())
            assert pings == counted + rejected, "every ping is counted"
            assert pings > 0
            assert second.left() == []
        assert urlopen(first.url + "health").status == 200
        code, output = first.end(signal.SIGTERM)
        assert code == 0, first.said()
        assert LAST_LINE.search(output)
        assert first.left() == []


def test_demo_that_loses_a_part_says_which_and_ends(start_demo):
    with start_demo("--port", 0, *SHORT) as demo:
        [job] = [p for p in psutil.Process(demo.process.pid).children() if "aggregate" in p.cmdline()]
        job.kill()
        code, _ = demo.end(number=None)
        assert code == 1
        assert "missioncontrol: the job ended by itself" in demo.said()
        assert demo.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_before_the_first_page_ends_it_all(number):
    with subprocess.Popen([*DEMO, "--port", "0", *SHORT], stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        assert line == "Writing 7 days of history ...\n"
        started = wait_until(lambda: psutil.Process(process.pid).children(recursive=True))
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
        assert "Stopped before the first page was ready" in output
        assert psutil.wait_procs(started, timeout=10)[1] == []
