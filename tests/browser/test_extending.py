"""What docs/extending.md says to add, added: counted by the real job, maintained, backfilled, loaded, seen on pages."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

import pytest
from playwright.sync_api import Page

from streaming.aggregation.counter import Counter
from tests.browser.conftest import Served, offline_browser, open_view, running_server
from tests.other_version import ROOT, copy_with
from tests.spark.small_pings import crash_ping, main_ping

BLOCKS = re.findall(
    r"^```\w+ (\S+)(?: (\w+))?\n(.*?)^```", (ROOT / "docs" / "extending.md").read_text(), re.MULTILINE | re.DOTALL
)
THUNDERBIRD = """
name = "Thunderbird"
[channels]
release = "Release"
[platforms]
Windows_NT = "Windows"
Linux = "Linux"
"""
CLI = (sys.executable, "-c", "from missioncontrol_nb.cli import main; main()")


def with_entry(text: str, name: str, entry: str) -> str:
    """The text of a module with an entry more at the end of a tuple."""
    begin = re.search(rf"^{name}\b.*= \($", text, re.MULTILINE)
    assert begin, name
    end = text.index("\n)\n", begin.end()) + 1
    return f"{text[:end]}{indent(entry.rstrip(), '    ')},\n{text[end:]}"


class Extended:
    """A copy of the package to which the page's declarations were added, and a dataset that it counts into."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.dataset, self.pings = folder, folder / "dataset", folder / "pings"
        files: dict[str, str] = {}
        self.products = {"thunderbird.toml": THUNDERBIRD}
        for path, name, code in BLOCKS:
            if path.endswith(".toml"):
                self.products[path] = code
            elif path.endswith(".json"):
                assert Counter().add(code.encode(), 0) is None, path
            elif name:
                files[path] = with_entry(files.get(path) or (ROOT / path).read_text(), name, code)
            else:
                files[path] = code
        copy_with(folder, files)
        for path, text in self.products.items():
            (folder / path).write_text(text)
        self.touched = set(files)
        self.pings.mkdir()

    def run(self, *command: str) -> str:
        """What a program of the copy prints."""
        done = subprocess.run(
            command, cwd=self.folder, env=os.environ | {"PYTHONPATH": str(self.folder)}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def missioncontrol(self, *arguments: object) -> str:
        return self.run(*CLI, *map(str, arguments))

    def loaded(self, *, by: str, measures: list[str], **filters: str) -> dict[str, list[float | None]]:
        """Pings, usage hours and measures of the dataset, by the values of a dimension."""
        code = f"""
import json, missioncontrol_nb as mc
rows = mc.load({str(self.dataset)!r}, every=None, by={by!r}, measures={measures!r}, **{filters!r})
numbers = rows.set_index({by!r}).astype(object)
print(json.dumps(numbers.where(numbers.notna(), None).astype(object).T.to_dict("list")))
"""
        return json.loads(self.run(sys.executable, "-c", code))


def session_ping(minute: int, version: str, hangs: int, *, hour: int = 14, os: str = "Linux") -> bytes:
    """A session of an hour of Acme Notes."""
    said = {"version": version, "build": f"{version}+7", "channel": "release", "os": os, "os_version": "6.1"}
    return json.dumps(
        {
            "metadata": {"document_namespace": "acme-notes", "document_type": "session"},
            "submission_timestamp": f"2017-10-02T{hour}:{minute:02}:00Z",
            "session": said | {"cpu": "x86-64", "seconds": 3600, "hangs": hangs},
        }
    ).encode()


def firefox_main(minute: int, locale: str, extension: int) -> bytes:
    payload = {
        "info": {"subsessionLength": 3600, "subsessionStartDate": f"2017-10-02T13:{minute:02}:00Z"},
        "keyedHistograms": {"SUBPROCESS_CRASHES_WITH_DUMP": {"extension": {"values": {"0": extension}}}},
    }
    system = {"os": {"name": "Windows_NT", "version": "10.0"}}
    return main_ping(minute, payload=payload, environment={"system": system, "settings": {"locale": locale}})


def thunderbird(ping: bytes) -> bytes:
    return ping.replace(b'"normalized_app_name": "Firefox"', b'"normalized_app_name": "Thunderbird"')


PINGS = [
    *(firefox_main(minute, locale, 2) for minute, locale in enumerate(("de", "de", "fr", "<script>"))),
    crash_ping(5),
    *(thunderbird(main_ping(minute)) for minute in range(20, 23)),
    *(thunderbird(crash_ping(minute)) for minute in (24, 25)),
    *(session_ping(minute, "2.0.0", 1, hour=10) for minute in range(10)),
    *(session_ping(minute, "2.1.0", 3, hour=12) for minute in range(9)),
    session_ping(1, "2.1.0", 3),  # the newest hour, which is still coming in
]


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Extended:
    """Half of the pings counted with --product for each product, then the other half by a job without that option."""
    made = Extended(tmp_path_factory.mktemp("extended"))
    first, second = PINGS[::2], PINGS[1::2]
    (made.pings / "first.jsonl").write_bytes(b"\n".join(first))
    named = [f"--product={path}" for path in made.products]
    said = made.missioncontrol("aggregate", made.pings, "--dataset", made.dataset, "--json", *named)
    assert json.loads(said)["rejected"] == {}
    (made.pings / "second.jsonl").write_bytes(b"\n".join(second))
    said = made.missioncontrol("aggregate", made.pings, "--dataset", made.dataset, "--json")
    assert json.loads(said)["rejected"] == {}, "the dataset keeps its products"
    return made


def test_each_declaration_touches_one_file_and_a_kind_one_line_more(extended: Extended) -> None:
    assert extended.touched == {
        "streaming/contract/measures.py",
        "streaming/contract/dimensions.py",
        "streaming/pings/kinds/acme_session.py",
        "streaming/pings/kinds/__init__.py",
    }


COUNTED = {"de": [2, 2, 4], "fr": [1, 1, 2], "??": [2, 1, 2]}  # count, usage_hours, extension_crashes


def test_measure_and_dimension_are_counted_maintained_and_backfilled(extended: Extended) -> None:
    def by_language() -> dict[str, list[float | None]]:
        return extended.loaded(by="locale", measures=["extension_crashes"], application="Firefox")

    assert by_language() == COUNTED
    extended.missioncontrol("maintain", "--dataset", extended.dataset)
    assert by_language() == COUNTED
    backfill = ("backfill", extended.pings, "--dataset", extended.dataset, "--from=2017-10-02", "--to=2017-10-02")
    extended.missioncontrol(*backfill)
    assert by_language() == COUNTED


def test_products_are_apart_and_their_kinds_are_counted(extended: Extended) -> None:
    measures = ["main_crashes", "hangs"]
    assert extended.loaded(by="application", measures=measures) == {
        "Firefox": [5, 4, 1, None],
        "Thunderbird": [5, 3, 2, None],
        "Acme Notes": [20, 20, None, 40],
    }


def test_status_knows_the_products_of_the_dataset(extended: Extended) -> None:
    code = "from missioncontrol_nb.status.collect import Collector\n"
    code += f"print(Collector({str(extended.dataset)!r}).collect().products)"
    assert extended.run(sys.executable, "-c", code) == "('Firefox', 'Thunderbird', 'Acme Notes')\n"


@pytest.fixture(scope="module")
def served(extended: Extended, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("server") / "server.log"
    environment = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(extended.folder)
    try:
        with running_server([*CLI, "dashboard", "--dataset", extended.dataset], log, extended.folder) as url:
            yield url
    finally:
        os.environ.pop("PYTHONPATH")
        if environment is not None:
            os.environ["PYTHONPATH"] = environment


@pytest.fixture(scope="module")
def page(served: Served, chromium) -> Iterator[Page]:
    with offline_browser(chromium) as browser:
        yield browser.new_page()


def test_overview_leads_to_each_product(page: Page, served: Served) -> None:
    open_view(page, served)
    links = page.locator(".mc-products a")
    assert links.all_inner_texts() == ["Firefox", "Thunderbird", "Acme Notes"]
    assert page.locator(".mc-products [aria-current]").inner_text() == "Firefox"
    links.filter(has_text="Acme Notes").click()
    page.wait_for_selector("h2:has-text('2.1.0')")
    assert "product=acme-notes" in page.evaluate("location.search")
    assert "Hangs" in page.locator(".mc-card").inner_text()
    assert page.locator(".mc-matrix thead th").all_inner_texts()[1:-1] == ["Linux", "Windows"]
    assert "Acme Notes 2.1.0 on release" in page.locator(".mc-say").inner_text()


def test_new_version_of_a_product_without_a_calendar_is_compared(page: Page, served: Served) -> None:
    open_view(page, served, "?product=acme-notes&view=table&platform=linux", "table")
    row = page.locator(".mc-table tbody tr", has_text="Hangs")
    assert "3000" in re.sub(r"[^0-9]", "", row.inner_text())
    assert page.locator(".mc-table tbody tr").count() == 1, "of its own measures"
    assert "not on the release calendar" not in page.locator(".mc-main").inner_text()


def test_measure_that_was_declared_is_on_the_page(page: Page, served: Served) -> None:
    open_view(page, served, "?view=detail&measure=extension_crashes&window=5min", "detail")
    assert "Extension crashes" in page.locator(".mc-chart-head, .mc-title").first.inner_text()
    assert "2000" in re.sub(r"[^0-9]", "", page.locator(".mc-figures").inner_text())


def test_dimension_that_was_declared_has_lines_on_the_page(page: Page, served: Served) -> None:
    open_view(page, served, "?view=detail&measure=extension_crashes&window=5min&line=locale", "detail")
    assert (
        page.locator(".mc-controls select:visible").last.evaluate("each => each.selectedOptions[0].label") == "Language"
    )
    assert page.locator(".mc-versions label:visible").all_inner_texts() == ["de", "??", "fr"]
    assert "by 5 minutes and language" in page.locator(".mc-title").inner_text()


def test_declared_product_of_the_users_own_has_pages(page: Page, served: Served) -> None:
    open_view(page, served, "?product=thunderbird&view=table&platform=windows", "table")
    assert "Thunderbird" in page.title()
    row = page.locator(".mc-table tbody tr", has_text="Main crashes").first
    assert "667" in re.sub(r"[^0-9]", "", row.inner_text())
