"""What a demo with a real Firefox says about arriving pings, and what it refuses before it starts anything."""

import json
import re
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from missioncontrol_nb.commands.demo import command
from missioncontrol_nb.demo.arrivals import Arrivals
from missioncontrol_nb.demo.firefox import PREFERENCES, OfflineFirefox, find_firefox
from missioncontrol_nb.demo.firefox_run import FirefoxDemo, FirefoxSettings
from streaming.errors import MissionControlError


def glean(document_type: str, reason: str, **texts: str) -> dict:
    return {
        "metadata": {"document_type": document_type},
        "ping_info": {"reason": reason},
        "metrics": {"string": {f"crash.{name}": text for name, text in texts.items()}},
    }


def write(folder, name: str, *pings: dict) -> None:
    (folder / name).write_text("".join(json.dumps(ping) + "\n" for ping in pings))


def test_each_ping_is_described_once_and_a_crash_reported_again_as_the_same(tmp_path):
    arrivals = Arrivals(tmp_path)
    assert list(arrivals.new()) == []
    main = {
        "metadata": {"document_type": "main"},
        "payload": {"info": {"reason": "shutdown", "subsessionLength": 20}},
    }
    write(tmp_path, "pings-1.jsonl", main, glean("crash", "crash", process_type="main", event_id="a"))
    write(tmp_path, ".pings-2.jsonl.tmp", main)
    assert list(arrivals.new()) == ["main ping (shutdown): 20 s of use", "crash ping (crash): the main process"]
    write(
        tmp_path, "pings-3.jsonl", {**glean("baseline", "active"), "metrics": None},
        glean("crash", "event_found", process_type="main", event_id="a"),
        glean("crash", "crash", process_type="gpu", event_id="b"),
    )  # fmt: skip
    assert list(arrivals.new()) == [
        "baseline ping (active)",
        "crash ping (event_found): the main process, the same crash again",
        "crash ping (crash): the gpu process",
    ]
    assert arrivals.number == 5


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder that holds all programs: a Firefox, and what its crash reporter's pings need."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("firefox-esr", "openssl", "curl"):
        (tmp_path / name).touch(0o755)
    return tmp_path


def test_firefox_is_found_under_another_name_unless_one_is_given(programs):
    assert find_firefox() == str(programs / "firefox-esr")
    assert find_firefox(str(programs / "firefox-esr")) == str(programs / "firefox-esr")
    with pytest.raises(MissionControlError, match="no Firefox is found as firefox-beta"):
        find_firefox("firefox-beta")
    (programs / "curl").unlink()
    with pytest.raises(MissionControlError, match="with curl: install it"):
        find_firefox()


def test_demo_without_a_display_says_how_it_goes_without_one(programs, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(command, ["--firefox", "--port", "0"])
    assert isinstance(result.exception, MissionControlError)
    assert "with --headless" in str(result.exception)


@pytest.mark.parametrize("options", [["--firefox", "--days", "3"], ["--headless"]])
def test_options_of_the_other_kind_of_demo_are_refused(options):
    result = CliRunner().invoke(command, options)
    assert result.exit_code == 2
    assert "has no effect without" in result.output


class FakeFirefox:
    """A Firefox that has been opened so many times, and ended with a code."""

    def __init__(self, home) -> None:
        self.home, self.exit_code, self.open_seconds, self.opened = home, None, 60.0, 0

    @property
    def has_crashed(self) -> bool:
        return OfflineFirefox.has_crashed.fget(self)

    def open(self, *pages: str) -> None:
        self.opened, self.exit_code = self.opened + 1, None

    def last_lines(self) -> list[str]:
        return ["no such library"]


@pytest.fixture
def demo(tmp_path):
    """A demo whose Firefox is open, with what it said."""
    said: list[str] = []
    demo = FirefoxDemo(FirefoxSettings(), FakeFirefox(tmp_path), tmp_path, threading.Event(), said.append)
    demo._open()
    demo.said = said
    return demo


def test_firefox_opens_again_after_a_crash_and_after_a_quit_when_asked(demo):
    firefox = demo._firefox
    demo._open_again()
    assert (firefox.opened, demo.said) == (1, [])
    firefox.exit_code = 11  # as after about:crashparent; a signal would be negative
    demo._open_again()
    assert firefox.opened == 2
    assert "has crashed" in demo.said[-1]
    firefox.exit_code = 0
    demo._open_again()
    demo._open_again()
    assert firefox.opened == 2
    assert "Enter opens it again" in demo.said[-1]
    demo._wants_open.set()
    demo._open_again()
    demo._open_again()
    assert firefox.opened == 3


@pytest.mark.parametrize(
    ("code", "how"), [(1, "ended with exit code 1"), (0, "ended with exit code 0"), (11, "crashed"), (-6, "crashed")]
)
def test_firefox_that_ends_at_once_ends_the_demo_with_how_and_its_last_words(demo, code, how):
    demo._firefox.exit_code, demo._firefox.open_seconds = code, 0.5
    message = f"Firefox {how} within 3 s of its start; its last words:\n  no such library"
    with pytest.raises(MissionControlError, match=message):
        demo._open_again()


def test_preferences_of_the_page_are_those_of_the_demo():
    page = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
    written = dict(re.findall(r'^user_pref\("(.+)", (.+?)\);', page, re.MULTILINE))
    assert len(written) > 5
    assert {name: json.loads(value) for name, value in written.items()}.items() <= PREFERENCES.items()
