"""Plays a scheduler: every hour of weeks of the simulated fleet, a report of release and a watch of all channels.

python benchmarks/schedule.py FOLDER [--days 28] [--every 1] [--only watch]

Both are asked for their hour as the commands with --as-of and --at are. The last six days are bad: 56.0 has twice as
many content crashes on Windows. What was played goes on where it was stopped; its time is counted from the last start.
"""

import argparse
import json
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.report.parameters import Parameters
from missioncontrol_nb.report.running import run_report
from missioncontrol_nb.simulator import Bad, Fleet
from missioncontrol_nb.simulator.history import write_history
from missioncontrol_nb.simulator.variety import VARIED
from missioncontrol_nb.watching.targets import read_targets
from missioncontrol_nb.watching.watch import WatchSettings, watch

END = datetime(2017, 10, 8, 0, tzinfo=UTC)
HISTORY_DAYS = 90
BAD_SINCE = END - timedelta(days=6)
RECEIVER = '#!/bin/sh\ncat >> "{place}"\necho >> "{place}"\n'


def write_fleet(folder: Path) -> None:
    """Writes the fleet's dataset."""
    bad = Bad("56.0", BAD_SINCE, "content_crashes", 2.0, "Windows_NT", "release")
    write_history(
        Fleet(load_calendar(), seed=0, bad=[bad], variety=VARIED), str(folder / "fleet"), END, days=HISTORY_DAYS
    )


def watcher(folder: Path) -> Callable[[datetime], None]:
    """What looks once as of a moment, and delivers to a program that appends to messages.jsonl."""
    receiver = folder / "receive"
    receiver.write_text(RECEIVER.format(place=folder / "messages.jsonl"))
    receiver.chmod(0o700)
    targets = read_targets([f"command:{receiver}"])

    def look(at: datetime) -> None:
        settings = WatchSettings(str(folder / "fleet"), folder / "state", "Firefox", 3600, at=at)
        if not watch(settings, targets, threading.Event(), lambda line: None, print):
            raise SystemExit("something was not delivered")

    return look


def reporter(folder: Path) -> Callable[[datetime], None]:
    """What makes a report as of a moment."""

    def report(at: datetime) -> None:
        run_report(Parameters(str(folder / "fleet"), as_of=f"{at:%Y-%m-%dT%H:%MZ}"), str(folder / "reports"))

    return report


def play(
    tasks: dict[str, Callable[[datetime], None]], moments: list[datetime], on_done: Callable[[datetime], object]
) -> None:
    """Does all tasks at all moments; says what they took, and this process's memory. on_done: called with each."""
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    memory: list[float] = []
    for number, at in enumerate(moments, 1):
        for name, task in tasks.items():
            began = time.perf_counter()
            task(at)
            taken[name].append(time.perf_counter() - began)
        on_done(at)
        memory.append(psutil.Process().memory_info().rss / 1e6)
        if number % 24 == 0 or number == len(moments):
            said = ", ".join(
                f"{len(seconds)} of {name}: {sum(seconds):.0f} s, median {sorted(seconds)[len(seconds) // 2]:.1f}"
                for name, seconds in taken.items()
            )
            print(f"{at:%Y-%m-%d %H:%M} {said}; {memory[0]:.0f} MB at first, {memory[-1]:.0f} MB now", flush=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"processes: {used.ru_utime + used.ru_stime:.0f} s of CPU, {used.ru_maxrss / 1024:.0f} MB at most")


def told(folder: Path) -> None:
    """Prints what a person has got, and how many messages on healthy and on bad days."""
    place = folder / "messages.jsonl"
    messages = [json.loads(line) for line in place.read_text().splitlines() if line] if place.exists() else []
    days: Counter[str] = Counter()
    for message in messages:
        at = max(each["at"] for each in message["events"]) if message["events"] else ""
        days["bad days" if at >= BAD_SINCE.isoformat() else "healthy days"] += 1
        print(f"{at} {message['kind']}: {message['text'].splitlines()[0]}")
    print(f"messages: {dict(days) or 'none'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=int, default=28)
    parser.add_argument("--every", type=float, default=1.0, help="hours")
    parser.add_argument("--only", choices=["watch", "report"])
    given = parser.parse_args()
    folder = given.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "fleet").exists():
        write_fleet(folder)
    tasks = {
        name: make(folder) for name, make in (("watch", watcher), ("report", reporter)) if given.only in (name, None)
    }
    done = folder / f"played-{given.only or 'both'}"
    first = datetime.fromisoformat(done.read_text()) if done.exists() else END - timedelta(days=given.days)
    every = timedelta(hours=given.every)
    moments = [first + number * every for number in range((END - first) // every + 1)]

    play(tasks, moments, lambda at: done.write_text((at + every).isoformat()))
    told(folder)


if __name__ == "__main__":
    main()
