"""A watch that is killed at any moment loses nothing, and repeats only what it had no answer to, with the same id."""

import random
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer

import msgspec
import pytest

from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.simulator import Bad, Fleet
from missioncontrol_nb.simulator.history import write_history
from missioncontrol_nb.watching.changes import Look
from tests.patience import PATIENCE_SECONDS
from tests.services.http_sink import HttpSink
from tests.unit.watched import at, finding, up

ALARMS = 12
CLI = (sys.executable, "-c", "from missioncontrol_nb.cli import main; main()")


def recorded(folder: Path) -> tuple[Path, list[tuple[str, str]]]:
    """Looks in which one alarm comes up after the other, and is over three looks later; and what is to be told."""
    findings = [finding(version=f"56.{number}", since=f"2017-09-{number + 1:02}T00:00:00Z") for number in range(ALARMS)]
    looks, told = [], []
    for number in range(ALARMS + 4):
        looks.append(Look(at(number), False, [], up(*findings[max(number - 3, 0) : number + 1])))
        told += [(each.event["display_version"], "alarm") for each in findings[number : number + 1]]
        told += [
            (each.event["display_version"], "recovered") for each in findings[number - 4 : number - 3] if number > 3
        ]
    path = folder / "looks.json"
    path.write_bytes(msgspec.json.encode(looks))
    return path, sorted(told)


class Tally:
    """What a server was sent, by the run of the watch that sent it.

    A run says its number in a header: what it sent just before it was killed may arrive when the next one runs.
    """

    def __init__(self, sink: HttpSink, folder: Path) -> None:
        self.run = 0
        self._sink, self._hook = sink, folder / "hook"

    def target_of_next_run(self) -> str:
        """The target of a run that begins."""
        self.run += 1
        self._hook.write_text(f"{self._sink.url}\nRun: {self.run}")
        return f"webhook:@{self._hook}"

    @property
    def bodies(self) -> dict[str, list[dict]]:
        """The events of each message as it was sent first, by id."""
        first: dict[str, list[dict]] = {}
        for body in self._sink.received:
            first.setdefault(body["id"], body["events"])
        return first

    @property
    def changed(self) -> list[str]:
        """Ids of messages that were sent with other events later."""
        return [body["id"] for body in self._sink.received if body["events"] != self.bodies[body["id"]]]

    def told(self) -> list[tuple[str, str]]:
        """Version and kind of all events, each id once."""
        return sorted((event["display_version"], event["event"]) for events in self.bodies.values() for event in events)

    def repeats(self) -> int:
        """How many messages were taken twice. Those of one run are a fault: it had the answer."""
        runs = [headers["Run"] for headers in self._sink.headers]
        sent = list(zip(self._sink.ids, runs, strict=True))
        assert len({*sent}) == len(sent), f"one run sent a message twice: {sent}"
        return len(sent) - len(self.bodies)


def kill_again_and_again(folder: Path, kills: int, seed: int) -> tuple[int, int]:
    """Kills watches until there were so many kills; returns the number of repeats, and that of messages."""
    rng, done, repeats, messages, passes = random.Random(seed), 0, 0, 0, 0
    while done < kills:
        passes += 1
        here = folder / f"pass-{passes}"
        here.mkdir()
        looks, expected = recorded(here)
        with HttpSink() as sink:
            tally = Tally(sink, here)
            while True:
                process = start(here / "state", looks, tally.target_of_next_run())
                if done < kills and kill_at_some_moment(process, sink, rng):
                    done += 1
                    continue
                assert process.wait(PATIENCE_SECONDS) == 0
                break
            assert tally.told() == expected
            assert tally.changed == []
            repeats, messages = repeats + tally.repeats(), messages + len(tally.bodies)
            assert tally.repeats() < tally.run
    return repeats, messages


def start(state: Path, looks: Path, target: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.faults.watch_job", state, looks, target]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def kill_at_some_moment(process: "subprocess.Popen[bytes]", sink: HttpSink, rng: random.Random) -> bool:
    """Kills a process some milliseconds after its next few requests; False where it has ended by itself."""
    wanted = len(sink.received) + rng.randint(0, 3)
    give_up = time.monotonic() + PATIENCE_SECONDS
    while len(sink.received) < wanted and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.001)
    time.sleep(rng.choice((0.0, rng.uniform(0, 0.01), rng.uniform(0, 0.3))))
    if process.poll() is not None:
        return False
    process.kill()
    process.wait()
    return True


def test_kills_lose_nothing_and_repeat_only_what_had_no_answer(tmp_path):
    kill_again_and_again(tmp_path, kills=8, seed=random.randrange(1 << 30))


@pytest.mark.long
def test_fifty_kills_lose_nothing_and_repeat_only_what_had_no_answer(tmp_path):
    repeats, messages = kill_again_and_again(tmp_path, kills=50, seed=1)
    assert repeats <= 50
    assert messages >= 2 * ALARMS


MOMENTS = ("2017-10-02T09:00", "2017-10-03T03:00", "2017-10-03T12:00")
ENDS = datetime(2017, 10, 2, 18, tzinfo=UTC)
BAD = (
    Bad("56.0", datetime(2017, 10, 2, 3, tzinfo=UTC), "content_crashes", 4.0, "Windows_NT"),
    Bad("56.0", ENDS, "content_crashes", 0.25, "Windows_NT"),
    Bad("56.0", datetime(2017, 10, 3, 4, tzinfo=UTC), "main_crashes", 4.0, "Windows_NT"),
)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 days of a fleet of which a release goes wrong for some hours, and then in another way."""
    folder = tmp_path_factory.mktemp("watched") / "fleet"
    write_history(Fleet(load_calendar(), bad=BAD, rate=10), str(folder), datetime(2017, 10, 3, 13, tzinfo=UTC), days=45)
    return folder


def watch_at(fleet: Path, state: Path, moment: str, target: str) -> "subprocess.Popen[str]":
    options = [f"--dataset={fleet}", f"--state={state}", f"--notify={target}", f"--at={moment}"]
    options += ["--channel=release", "--os-name=Windows_NT"]
    return subprocess.Popen([*CLI, "watch", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def told_of(bodies: Sequence[dict]) -> list[tuple[str, str]]:
    return [(event["event"], event["measure"]) for body in bodies for event in body["events"]]


@pytest.mark.long
def test_watch_of_a_dataset_tells_each_change_once(fleet, tmp_path):
    with HttpSink() as sink:
        for moment in (*MOMENTS, MOMENTS[-1]):
            process = watch_at(fleet, tmp_path / "state", moment, f"webhook:{sink.url}")
            said, _ = process.communicate(timeout=PATIENCE_SECONDS)
            assert process.returncode == 0, said
        assert told_of(sink.received) == TOLD
        assert sink.received[0]["text"].startswith("Bad on Windows: Firefox 56.0 on release has ")
        assert 3 < sink.received[0]["events"][0]["rate_ratio"] < 5
        assert len({*sink.ids}) == 3


TOLD = [("alarm", "content_crashes"), ("recovered", "content_crashes"), ("alarm", "main_crashes")]


@pytest.mark.long
def test_fifty_kills_of_the_command_at_random_moments(fleet, tmp_path):
    rng, kills, passes, usual_seconds = random.Random(2), 0, 0, 4.0
    while kills < 50:
        passes += 1
        with HttpSink() as sink:
            tally = Tally(sink, tmp_path)
            for moment in MOMENTS:
                while True:
                    began = time.monotonic()
                    process = watch_at(fleet, tmp_path / f"state-{passes}", moment, tally.target_of_next_run())
                    killer = Timer(rng.uniform(0.1, 1.3 * usual_seconds), process.kill)
                    if kills < 50:
                        killer.start()
                    said, _ = process.communicate(timeout=PATIENCE_SECONDS)
                    killer.cancel()
                    if process.returncode == -9:
                        kills += 1
                        continue
                    assert process.returncode == 0, said
                    usual_seconds = time.monotonic() - began
                    break
            assert told_of([{"events": events} for events in tally.bodies.values()]) == TOLD
            assert tally.changed == []
            tally.repeats()
