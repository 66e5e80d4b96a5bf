"""Where a demo runs, and what goes wrong in it."""

import socket
import threading
from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from missioncontrol_nb.commands.demo import command
from missioncontrol_nb.demo import run as demo_module
from missioncontrol_nb.demo.run import BAD_EFFECT, WORST_FACTOR, bad_release
from missioncontrol_nb.demo.workspace import HOST, MARKER, check_port, own_folder
from missioncontrol_nb.simulator.fleet import window_of
from missioncontrol_nb.simulator.fleets import ERAS, fleet_at
from missioncontrol_nb.simulator.sessions import WINDOW_SECONDS
from streaming.errors import MissionControlError


@pytest.mark.parametrize("name", ERAS)
@pytest.mark.parametrize("age_days", [2, 4, 6, 8.9])
def test_bad_release_is_so_bad_that_its_rate_since_the_release_shows_it(age_days, name):
    now = ERAS[name].released + timedelta(days=age_days)
    sound = fleet_at(now, name)
    assert sound.weeks == 0
    bad = bad_release(sound, now)
    assert 1 < bad.factor <= WORST_FACTOR
    effect = rate_since_release(fleet_at(now, name, bad=[bad]), now) / rate_since_release(sound, now) - 1
    assert effect == pytest.approx(BAD_EFFECT, abs=0.05)


def rate_since_release(fleet, now):
    """Expected content crashes of the played release on Windows per hour that was used."""
    first = int(fleet.released.timestamp() // WINDOW_SECONDS)
    expected = fleet.expect(first, window_of(now) - first)
    [place] = [
        place
        for place, build in enumerate(expected.builds)
        if (build.channel, build.os_name, build.display_version) == ("release", "Windows_NT", fleet.era.version)
        and build.is_official
    ]
    used = expected.used_hours[place]
    return (used * expected.rates("content_crashes")[place]).sum() / used.sum()


def test_a_taken_port_is_said_before_anything_starts(tmp_path):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MissionControlError, match=f"port {port} .*--port"):
            check_port(port)
        result = CliRunner().invoke(command, ["--port", str(port), "--folder", str(tmp_path / "demo")])
    assert isinstance(result.exception, MissionControlError)
    assert result.output == ""
    assert not (tmp_path / "demo").exists()
    check_port(port)
    check_port(0)


def test_a_folder_that_was_not_named_goes_away():
    with own_folder(None) as folder:
        (folder / "pings").mkdir()
    assert not folder.exists()


def test_a_named_folder_stays_and_an_earlier_demos_parts_in_it_are_replaced(tmp_path):
    named = tmp_path / "some" / "demo"
    for _ in range(2):
        with own_folder(named) as folder:
            assert folder == named
            assert [path.name for path in folder.iterdir()] == [MARKER] or (folder / "notes.txt").exists()
            assert not (folder / "pings").exists()
            (folder / "pings").mkdir()
            (folder / "releases.json").write_text("{}")
            (folder / "notes.txt").write_text("mine")
    assert (named / "notes.txt").read_text() == "mine"


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "pings").mkdir()
    with pytest.raises(MissionControlError, match="not a demo's folder"), own_folder(tmp_path):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(MissionControlError, match="not a demo's folder"), own_folder(tmp_path / "file"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"pings", "file"}


def test_two_demos_do_not_share_a_folder(tmp_path):
    with (
        own_folder(tmp_path / "demo"),
        pytest.raises(MissionControlError, match="another demo runs in"),
        own_folder(tmp_path / "demo"),
    ):
        pass
    with own_folder(tmp_path / "demo"):
        pass


def test_bad_release_is_bad_since_half_a_day():
    now = datetime(2026, 11, 24, tzinfo=UTC)
    fleet = fleet_at(now)
    assert bad_release(fleet, now).since == now - timedelta(hours=12)


class Part:
    """A part of a demo that only knows whether it was ended."""

    sent = None
    is_ended = False
    running = True

    def end(self) -> None:
        self.is_ended = True

    def page_visits(self) -> int:
        return 0


def test_end_of_a_demo_ends_every_part_even_when_nothing_can_be_told(tmp_path, monkeypatch):
    ended = []
    monkeypatch.setattr(demo_module, "kill", ended.append)
    monkeypatch.setattr(demo_module, "end_aggregator", ended.append)
    demo = demo_module.Demo(demo_module.DemoSettings(), tmp_path, threading.Event(), print)
    demo._live, demo._server, demo._written, demo._aggregator = Part(), Part(), object(), object()
    monkeypatch.setattr(demo, "_summary", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        demo.end()
    assert demo._live.is_ended
    assert demo._server.is_ended
    assert len(ended) == 2


def summary_of(tmp_path, monkeypatch, counts):
    """What a demo of 100 live pings says at its end. counts: what the dataset holds, each time it is looked at."""
    demo = demo_module.Demo(demo_module.DemoSettings(), tmp_path, threading.Event(), print)
    demo._aggregator = Part()
    monkeypatch.setattr(demo_module, "counts_in", counts)
    clock = count(0, 0.9 * demo_module.CATCH_UP_SECONDS)
    monkeypatch.setattr(demo_module, "monotonic", lambda: next(clock))
    sent, written = SimpleNamespace(pings=100), SimpleNamespace(pings=1000, rejected={"not_json": 5})
    return demo._summary(sent, written, Part())


def test_summary_waits_for_as_long_as_the_job_goes_on_counting(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_module, "end_aggregator", lambda _: None)
    looked = count(0, 10)
    counts = lambda _: (1000 + min(next(looked), 90), {"not_json": 15})  # noqa: E731
    said = summary_of(tmp_path, monkeypatch, counts)
    assert said == "100 pings in (90 counted, 10 not counted: not_json 10), 0 page visits"


def test_summary_has_what_the_job_counts_as_it_ends(tmp_path, monkeypatch):
    ended = []
    monkeypatch.setattr(demo_module, "end_aggregator", ended.append)
    said = summary_of(tmp_path, monkeypatch, lambda _: (1100 if ended else 1099, {"not_json": 5}))
    assert said == "100 pings in (100 counted, 0 not counted), 0 page visits"


def test_summary_says_what_the_job_did_not_read_any_more(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_module, "end_aggregator", lambda _: None)
    said = summary_of(tmp_path, monkeypatch, lambda _: (1060, {"not_json": 5}))
    assert said == "100 pings in (60 counted, 0 not counted; 40 not read any more), 0 page visits"
