"""The whole demo in real Chromium: what a newcomer starts, sees and ends."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from missioncontrol_nb.loader import Dataset
from tests.browser.conftest import first_url, wait_for, wait_until

DEMO = [str(Path(sys.executable).with_name("missioncontrol")), "demo"]
LAST_LINE = re.compile(
    r"([\d,]+) pings? in \(([\d,]+) counted, ([\d,]+) rejected(?:: [^)]*)?\), ([\d,]+) page visits?$", re.M
)
END_SECONDS = 40


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
        output, _ = self.process.communicate(timeout=END_SECONDS)
        return self.process.returncode, output

    def left(self) -> list[psutil.Process]:
        """The processes it started that are still there."""
        return psutil.wait_procs(self.started, timeout=1)[1]


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
                    process.wait(END_SECONDS)

    return start


def number(text: str) -> int:
    return int(text.replace(",", ""))


def test_demo_shows_live_numbers_and_ctrl_c_ends_it_all(start_demo, browser, tmp_path):
    folder = tmp_path / "demo"
    with start_demo("--port", 0, "--folder", folder) as demo:
        page = browser.new_page()
        page.goto(demo.url)
        wait_for(page, "document.body.innerText.includes('56.0') && document.querySelector('.mc-fresh') !== null", 60)
        assert re.search(r"\d\.\d\d", page.inner_text("body"))
        fresh = "document.querySelector('.mc-fresh').dataset.mcUpTo"
        before = wait_for(page, fresh, 30)
        wait_until(lambda: page.evaluate(fresh) > before, 60)  # live pings went all the way to the page
        code, output = demo.end()
        assert code == 0, demo.said()
        pings, counted, rejected, visits = map(number, LAST_LINE.search(output).groups())
        assert pings > 100
        assert pings == counted + rejected
        assert visits == 1
        assert Dataset(folder / "dataset").load_rejected()["count"].sum() >= rejected
        assert demo.left() == []


def test_second_demo_beside_the_first_and_each_end_is_a_clean_one(start_demo):
    with start_demo("--port", 0) as first:
        port = first.url.rstrip("/").rsplit(":", 1)[1]
        taken = subprocess.run([*DEMO, "--port", port], capture_output=True, text=True, timeout=60, check=False)
        assert taken.returncode == 1
        assert taken.stdout == ""
        assert re.fullmatch(rf"missioncontrol: port {port} .*--port.*\n", taken.stderr)
        with start_demo("--port", 0, "--minutes", 0.05) as second:
            assert second.url != first.url
            code, output = second.end(number=None)
            assert code == 0, second.said()
            assert LAST_LINE.search(output)
            assert second.left() == []
        assert urlopen(first.url + "health").status == 200
        code, output = first.end(signal.SIGTERM)
        assert code == 0, first.said()
        assert LAST_LINE.search(output)
        assert first.left() == []


def test_demo_that_loses_a_part_says_which_and_ends(start_demo):
    with start_demo("--port", 0) as demo:
        [job] = [p for p in psutil.Process(demo.process.pid).children() if "aggregate" in p.cmdline()]
        job.kill()
        code, _ = demo.end(number=None)
        assert code == 1
        assert "missioncontrol: the Spark job ended by itself" in demo.said()
        assert demo.left() == []


def test_ctrl_c_before_the_first_page_ends_it_all():
    with subprocess.Popen([*DEMO, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        assert "Spark" in line
        started = wait_until(lambda: psutil.Process(process.pid).children(recursive=True))
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=END_SECONDS)
        assert process.returncode == 0
        assert "Stopped before the first page was ready" in output
        assert psutil.wait_procs(started, timeout=1)[1] == []
