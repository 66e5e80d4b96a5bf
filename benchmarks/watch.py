"""Plays a watch hour by hour over weeks of the simulated fleet: how long looks take, and what a person would have got.

python benchmarks/watch.py FOLDER [--days 28] [--every 1] [--channel release] [--least-state looks-bad]

The last seven days are bad: 56.0 has twice as many content crashes on Windows. The other weeks are healthy.
"""

import argparse
import resource
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.simulator import Bad, Fleet
from missioncontrol_nb.simulator.history import write_history
from missioncontrol_nb.simulator.variety import VARIED
from missioncontrol_nb.watching.changes import apply_look
from missioncontrol_nb.watching.looking import Request, look_here
from missioncontrol_nb.watching.state import State
from missioncontrol_nb.watching.wording import title_of

END = datetime(2017, 10, 8, 0, tzinfo=UTC)
HISTORY_DAYS = 90
BAD_DAYS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=int, default=28)
    parser.add_argument("--every", type=float, default=1.0, help="hours")
    parser.add_argument("--channel")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--least-state", choices=["looks-bad", "bad"], default="bad")
    given = parser.parse_args()
    began_bad = END - timedelta(days=BAD_DAYS)
    if not given.folder.exists():
        bad = Bad("56.0", began_bad, "content_crashes", 2.0, "Windows_NT", "release")
        fleet = Fleet(load_calendar(), seed=given.seed, bad=[bad], variety=VARIED)
        write_history(fleet, str(given.folder), END, days=HISTORY_DAYS)
    state, weeks, seconds, last = State(str(given.folder), "Firefox"), Counter[str](), [], END
    at = END - timedelta(days=given.days)
    while at <= last:
        known = [alarm.record for alarm in state.alarms.values() if alarm.record]
        request = Request(
            str(given.folder), "Firefox", at, 600, at, given.channel, looks_bad=given.least_state != "bad", known=known
        )
        began = time.perf_counter()
        found = look_here(request)
        seconds.append(time.perf_counter() - began)
        for message in apply_look(state, found, at):
            week = "bad days" if at >= began_bad else f"{(at - END).days // 7 + 1} weeks"
            weeks[week] += 1
            print(f"{at:%Y-%m-%d %H:%M} {message.cause[:6]} {title_of(message)}", flush=True)
        at += timedelta(hours=given.every)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(seconds)} looks, {sum(seconds):.0f} s in all, {sorted(seconds)[len(seconds) // 2]:.2f} s in the median; "
        f"{memory:.0f} MB at most; messages: {dict(weeks) or 'none'}"
    )


if __name__ == "__main__":
    main()
