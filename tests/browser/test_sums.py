"""From pings to pixels: the figures of a page equal the sums that a plain loop over the pings' JSON gives."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page

from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.simulator import Fleet, weeks_until
from missioncontrol_nb.simulator.live import write_live
from streaming import contract
from tests.browser.conftest import Served, offline_browser, open_view, running_server, wait_for
from tests.browser.counted import of_version, pings_in, release_day, sums_of
from tests.browser.page_actions import PLATFORMS, download, number, table_texts, turn_to
from tests.patience import PATIENCE_SECONDS, wait_until

MISSIONCONTROL = Path(sys.executable).with_name("missioncontrol")
SERVE = """
import sys
from missioncontrol_nb.dashboard.server.configuration import Hosting
from missioncontrol_nb.dashboard.server.server import serve
from missioncontrol_nb.dashboard.server.settings import Settings
dataset, releases, _, port = sys.argv[1:]
settings = Settings(dataset, releases, stale_after_seconds=40, refresh_seconds=1)
serve(settings, Hosting(port=int(port), pool=1), on_ready=lambda url: print(url, flush=True))
"""
WATCH_FRESHNESS = """() => {
  window.drawn = window.fresh = 0;
  const look = () => {
    window.drawn += 1;
    window.fresh += document.querySelectorAll(".mc-fresh:not(.mc-stale)").length;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""
PINGS, ENOUGH_SECONDS = 1500, 3600
NEWEST, PREVIOUS = "56.0", "55.0.3"


class Pipeline:
    """A folder of pings, the job that follows it, and the dashboard of what it writes."""

    def __init__(self, folder: Path) -> None:
        self.pings, self.dataset, self.calendar = folder / "pings", folder / "dataset", folder / "releases.json"
        self._fleet = Fleet(load_calendar(), weeks_until(datetime.now(UTC)))
        self._fleet.calendar.save(self.calendar)
        self.dataset.mkdir()
        day = release_day(self.calendar, "release", PREVIOUS)
        self.send(
            datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=34), PINGS
        )  # after 36 h it would not count as there from the start
        self.send(datetime.now(UTC) - timedelta(seconds=40), PINGS)
        while any(self.expected(NEWEST, os_name)["seconds"] <= ENOUGH_SECONDS for os_name in PLATFORMS.values()):
            self.send(datetime.now(UTC) - timedelta(seconds=40), PINGS // 3)  # which pings come depends on the time
        self.url: Served

    def send(self, start: datetime, pings: int) -> None:
        """Writes the pings that come in from a moment on."""
        write_live(self._fleet, self.pings, start, at_most=pings, is_paced=False)

    def expected(self, version: str, os_name: str) -> dict[str, int]:
        """The sums of a version's official builds on the release channel, of the previous one at the same age.

        The numbers of pings by kind are of all ages: what a version's pings can report does not depend on its age.
        """
        counted = of_version(pings_in(self.pings), self.calendar, "release", version)
        of_all_ages = counted = counted[counted["os_name"] == os_name]
        if version == PREVIOUS:
            counted = counted[counted["submitted"] < datetime.now(UTC) - timedelta(days=10)]
        came = sums_of(of_all_ages)
        return sums_of(counted) | {name: came[name] for name in contract.PING_COUNTS}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("pipeline")
    made = Pipeline(folder)
    follow = [MISSIONCONTROL, "aggregate", made.pings, "--dataset", made.dataset, "--follow"]
    serve = [sys.executable, "-c", SERVE, made.dataset, made.calendar]
    with (folder / "job.log").open("w") as log:
        job = subprocess.Popen(list(map(str, follow)), stdout=log, stderr=log)
    try:
        with running_server(serve, folder / "server.log") as made.url:
            wait_until(lambda: re.search(r"^batch 0: ", (folder / "job.log").read_text(), re.M))
            yield made
    finally:
        job.send_signal(signal.SIGINT)
        assert job.wait(PATIENCE_SECONDS) == 0, (folder / "job.log").read_text()


@pytest.fixture(scope="module")
def page(chromium, pipeline) -> Iterator[Page]:
    with offline_browser(chromium) as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        yield open_view(page, pipeline.url, "?view=table", "table")


def counts_of(sums: dict[str, int]) -> dict[str, int]:
    """The counts of measures that pings of the version could report: where no crash ping came, crashes are unknown."""
    came = {name for name in contract.PING_COUNTS if sums[name]}
    return {
        measure.name: sums[measure.name]
        for measure in contract.MEASURES
        if came.intersection(map(contract.count_of_pings, measure.kinds))
    }


@pytest.mark.parametrize("platform", ["windows", "mac", "linux"])
def test_counts_and_rates_of_a_table_equal_the_sums_of_the_pings(page, pipeline, platform):
    turn_to(page, f"?view=table&platform={platform}&show=count")
    newest, previous = (pipeline.expected(version, PLATFORMS[platform]) for version in (NEWEST, PREVIOUS))
    wait_for(page, f"document.querySelector('.mc-table caption').textContent.includes('{platform[1:]}')"
                   " && document.querySelector('.mc-table caption').textContent.includes('as counts')")  # fmt: skip
    of_newest = counts_of(newest)
    of_previous = {name: count for name, count in counts_of(previous).items() if name in of_newest}
    for version, counts in ((NEWEST, of_newest), (PREVIOUS, of_previous)):  # they may be in different micro-batches
        wait_until(lambda version=version, counts=counts: figures(page, version) == counts)
    turn_to(page, f"?view=table&platform={platform}")
    wait_for(page, "document.querySelector('.mc-table caption').textContent.includes('per 1000')")
    for version, sums in ((NEWEST, newest), (PREVIOUS, previous)):
        for measure, shown in texts(page, version).items():
            last_digit = 10 ** -len(shown.partition(".")[2])
            assert number(shown) == pytest.approx(sums[measure] / sums["seconds"] * 3.6e6, abs=0.51 * last_digit)


def texts(page: Page, version: str) -> dict[str, str]:
    """A table's figures of a version, as they are written, by those measures that it reports."""
    return {measure: each[version] for measure, each in table_texts(page).items() if version in each}


def figures(page: Page, version: str) -> dict[str, float]:
    return {measure: number(text) for measure, text in texts(page, version).items()}


def test_figures_and_windows_of_a_detail_equal_the_sums_of_the_pings(page, pipeline):
    turn_to(page, "?view=detail&measure=slow_script_page_count&interval=24h&window=5min&show=count")
    page.wait_for_selector(".mc-figures")
    newest = pipeline.expected(NEWEST, "Windows_NT")
    said = page.locator(".mc-figures > div", has_text="since release").locator("small").inner_text()
    events, usage = re.search(r"([\d\u202f]+) in ([\d\u202f.]+)\u00a0h$", said).groups()
    assert number(events) == newest["slow_script_page_count"] > 0
    assert number(usage) == pytest.approx(newest["seconds"] / 3600, abs=0.51)
    _, content = download(page, "csv")
    rows = [line.split(",") for line in content.decode().splitlines()]
    names = rows[0]
    windows = {
        row[names.index("window_start")]: (int(row[names.index("events")]), float(row[names.index("usage_hours")]))
        for row in rows[1:] if row[names.index("line")] == NEWEST
    }  # fmt: skip
    counted = of_version(pings_in(pipeline.pings), pipeline.calendar, "release", NEWEST)
    counted = counted[counted["os_name"] == "Windows_NT"].groupby("window_start")[["slow_script_page_count", "seconds"]]
    expected = {
        f"{start}": (row["slow_script_page_count"], pytest.approx(row["seconds"] / 3600))
        for start, row in counted.sum().iterrows()
    }
    assert windows == expected


def test_new_pings_reach_an_open_page_by_themselves_and_it_says_when_they_stop(page, pipeline):
    turn_to(page, "?view=table&show=count")
    wait_for(page, "document.querySelector('.mc-table caption')?.textContent.includes('as counts')")
    wait_until(lambda: figures(page, NEWEST) == counts_of(pipeline.expected(NEWEST, "Windows_NT")))
    wait_for(page, "document.querySelector('.mc-fresh.mc-stale') !== null")
    up_to = "Number(document.querySelector('.mc-fresh').dataset.mcUpTo)"
    before, moment_before = pipeline.expected(NEWEST, "Windows_NT"), page.evaluate(up_to)
    page.evaluate("window.kept = true")

    def sent_another_event() -> dict[str, int] | None:
        """What a table shows once pings have come; None while none of them has an event that it counts."""
        pipeline.send(datetime.now(UTC) - timedelta(seconds=10), 160)
        counts = counts_of(pipeline.expected(NEWEST, "Windows_NT"))
        return counts if counts != counts_of(before) else None

    expected = wait_until(sent_another_event, every=1.5)
    wait_until(lambda: figures(page, NEWEST) == expected)
    newest = pings_in(pipeline.pings)["submitted"].max()
    wait_until(lambda: page.evaluate(up_to) == int(newest.timestamp() * 1000) > moment_before)
    said = f"Data up to {newest:%H:%M:%S} UTC"
    wait_for(page, f"document.querySelector('.mc-fresh:not(.mc-stale)')?.textContent.startsWith('{said}')")
    wait_for(page, "document.querySelector('.mc-fresh.mc-stale') !== null")
    assert page.locator(".mc-fresh").inner_text().startswith(f"Data stopped at {newest:%H:%M:%S} UTC")
    page.evaluate(WATCH_FRESHNESS)
    turn_to(page, "?view=overview")
    wait_for(page, "document.querySelector('.mc-crumbs h1').textContent === 'Release'")
    frames = page.evaluate("window.drawn")
    wait_for(page, f"window.drawn > {frames + 5}")
    assert page.evaluate("window.fresh") == 0
    assert page.evaluate("window.kept") is True
