"""How often the judge is wrong and how soon it is right, on simulated fleets whose releases differ.

Some series of a fleet rise, from their release on or later, by a known factor. Each fleet is replayed; beside the judge
stands an oracle that uses the same rule of evidence and is told the expected counts, how they vary, the spread between
releases, and when the rise began: what it does not find cannot be found.

    python benchmarks/judgement.py [--channels release,beta,nightly] [--seeds 4] [--every 1] [--json]
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from missioncontrol_nb.judgement import evidence as filtering  # noqa: E402
from missioncontrol_nb.judgement.evidence import Evidence  # noqa: E402
from missioncontrol_nb.judgement.judging import Judge  # noqa: E402
from missioncontrol_nb.judgement.observations import hours_of  # noqa: E402
from missioncontrol_nb.simulator.fleet import (  # noqa: E402
    CRASH_DISPERSION,
    CRASH_MEASURES,
    EVENT_DISPERSION,
    WINDOW_SECONDS,
    Bad,
    Expected,
    Fleet,
)
from missioncontrol_nb.simulator.variety import VARIED  # noqa: E402
from tests.judged_fleets import CALENDAR, MEASURES, SYSTEMS, draw, midnight  # noqa: E402

# The first day of data, days of data, and the day from which releases are judged.
SPANS = {
    "release": (midnight(2017, 5, 28), 160, 60),
    "beta": (midnight(2017, 7, 20), 60, 25),
    "nightly": (midnight(2017, 8, 20), 40, 15),
}
FACTORS = (1.25, 1.5, 2.0, 4.0)
SICK_SHARE = 0.35  # of the releases on a system: one of their measures rises
LATER_SHARE = 0.4  # of these: it rises later, within LATER_DAYS
LATER_DAYS = (1.0, 6.0)
FOR_HOURS = 14 * 24.0
LEAST_SCATTER = 0.01  # of the oracle's counts, so that no interval tells everything
CANDIDATES = (
    "main_crashes",
    "content_crashes",
    "content_shutdown_crashes",
    "plugin_crashes",
    "slow_script_notice_count",
)


@dataclass(frozen=True)
class Outcome:
    """What became of one series. factor: 1 for a healthy one; found, oracle: hours since it rose, None if never."""

    channel: str
    os_name: str
    release: str
    measure: str
    factor: float
    is_later: bool
    found: float | None
    oracle: float | None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", default="release,beta,nightly")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="hours between looks")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--alarms", action="store_true", help="print false alarms and what was missed")
    parser.add_argument("--json", action="store_true", help="one JSON line instead of text")
    given = parser.parse_args()
    cases = [
        (channel, seed, given.every)
        for seed in range(given.first_seed, given.first_seed + given.seeds)
        for channel in given.channels.split(",")
    ]
    began = time.monotonic()
    with ProcessPoolExecutor(given.processes) as workers:
        outcomes = [outcome for of_case in workers.map(play, cases) for outcome in of_case]
    if given.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes]))
        return 0
    if given.alarms:
        for each in outcomes:
            if (each.factor == 1) == (each.found is not None) and (each.factor == 1 or each.oracle is not None):
                print(each)
    for line in table(outcomes):
        print(line)
    print(f"{len(cases)} fleets, {time.monotonic() - began:.0f} s")
    return 0


def play(case: tuple[str, int, int]) -> list[Outcome]:
    """Replays a fleet's channel."""
    channel, seed, every = case
    first, days, from_day = SPANS[channel]
    sick = list(illnesses(channel, seed))
    observations, expected = draw(channel, first, days, seed, bad=sick)
    judge = Judge(observations)
    begin, end = hours_of(first) + 24 * from_day, hours_of(first) + 24 * days
    alarms: dict[tuple[str, str, str], float] = {}
    for look in np.arange(begin, end, every):
        for _, event in judge.look(float(look)):
            if event is not None and event.event == "alarm":
                name = event.build_ids[0] if channel == "nightly" else str(event.display_version)
                alarms.setdefault((event.os_name, name, event.measure), float(look))
    return list(outcomes_of(channel, expected, sick, alarms, begin, end, every))


def illnesses(channel: str, seed: int) -> Iterator[Bad]:
    """What goes wrong with a fleet."""
    random = np.random.default_rng([seed, 2])
    first, _, from_day = SPANS[channel]
    begin = (first + timedelta(days=from_day)).timestamp()
    for build in Fleet(CALENDAR, 0, seed).builds:
        of_channel = build.channel == channel and build.os_name in SYSTEMS and build.is_official
        if of_channel and build.out > begin and random.random() < SICK_SHARE:
            later = random.uniform(*LATER_DAYS) if random.random() < LATER_SHARE else -1.0
            since = first + timedelta(seconds=build.out - first.timestamp() + later * 86400)
            measure, factor = random.choice(CANDIDATES), random.choice(FACTORS)
            nightly = build.build_id if channel == "nightly" else None
            yield Bad(build.display_version, since, str(measure), float(factor), build.os_name, channel, nightly)


def outcomes_of(
    channel: str,
    expected: Expected,
    sick: list[Bad],
    alarms: dict[tuple[str, str, str], float],
    begin: float,
    end: float,
    every: int,
) -> Iterator[Outcome]:
    for place, build in enumerate(expected.builds):
        out = build.out / 3600
        if out < begin or out > end - 24:
            continue
        name = build.build_id if channel == "nightly" else build.display_version
        for measure in MEASURES:
            if measure == "startup_crashes" or not expected.rates(measure)[place].any():
                continue
            ill = next((bad for bad in sick if bad.measure == measure and bad.hits(build)), None)
            found = alarms.get((build.os_name, name, measure))
            since = out if ill is None else max(out, ill.since.timestamp() / 3600)
            hours = None if found is None or found - out > FOR_HOURS else found - since
            is_later = ill is not None and since > out + 1
            oracle = None
            if ill is not None:
                if found is not None and found < since:
                    hours = None  # it was false: the rise had not begun
                oracle = oracle_of(expected, place, measure, since, min(end, out + FOR_HOURS), every)
            yield Outcome(channel, build.os_name, name, measure, ill.factor if ill else 1.0, is_later, hours, oracle)


def oracle_of(expected: Expected, place: int, measure: str, since: float, until: float, every: int) -> float | None:
    """When the oracle finds a rise, in hours from its beginning."""
    fleet, build = expected.fleet, expected.builds[place]
    healthy = Fleet(CALENDAR, 0, fleet.seed, (), variety=fleet.variety)
    exposure = expected.used_hours[place] if measure in CRASH_MEASURES else expected.reported_hours[place]
    sound = Expected(healthy, (build,), expected.first_window, expected.hours_in_use[[place]], exposure[None])
    effect = fleet._difference(build, measure)
    rate = sound.rates(measure)[0]
    mean = exposure * rate / effect / np.maximum(_drift(fleet, build, measure, expected.starts), 1e-9)
    actual = exposure * expected.rates(measure)[place]
    random = np.random.default_rng([fleet.seed, place, 3])
    shape = CRASH_DISPERSION if measure in CRASH_MEASURES else EVENT_DISPERSION
    clusters = np.maximum(shape * expected.rows[place], 1e-9)
    counts = random.poisson(actual * random.gamma(clusters, 1 / clusters))
    hour = (expected.starts + WINDOW_SECONDS) / 3600
    out = build.out / 3600
    tau = VARIED.rate_spread[build.channel]
    chain = Evidence.before(filtering.healthy_effects(np.array([[tau]]), np.ones(1)))
    edges = np.arange(np.floor(out), until, 1.0)
    for start in edges:
        inside = (hour > start) & (hour <= start + 1)
        if not inside.any():
            continue
        typical, events = float(mean[inside].sum()), float(counts[inside].sum())
        if typical <= 0:
            continue
        extra = float((mean[inside] ** 2 / clusters[inside]).sum())
        scatter = np.hypot(np.sqrt(extra) / typical, LEAST_SCATTER)
        likely = filtering.log_likelihood(np.array([events]), np.array([typical]), np.array([scatter]))
        begins = 1.0 if start <= since < start + 1 else 0.0
        if since - 1e-6 <= out and start == edges[0]:
            begins = 1.0
        chain = chain.after(likely, np.array([VARIED.drift_a_day**2 / 24]), max(begins, 1e-12), 1.0)
        if start + 1 > since and chain.log_ratio[0] >= np.log(100):
            return float(max(start + 1 - since, every))
    return None


def _drift(fleet: Fleet, build: Any, measure: str, starts: np.ndarray[Any, Any]) -> Any:
    return fleet.drift(build, measure, starts)


def table(outcomes: list[Outcome]) -> Iterator[str]:
    """The figures, a line each."""
    healthy = [each for each in outcomes if each.factor == 1]
    for channel in dict.fromkeys(each.channel for each in outcomes):
        of_channel = [each for each in healthy if each.channel == channel]
        false = sum(each.found is not None for each in of_channel)
        share = 100 * false / len(of_channel)
        yield f"{channel}: false alarms {false} of {len(of_channel)} healthy series, {share:.2f} %"
    groups: dict[tuple[str, float, bool], list[Outcome]] = defaultdict(list)
    for each in outcomes:
        if each.factor > 1 and each.oracle is not None:
            groups[each.channel, each.factor, each.is_later].append(each)
    for (channel, factor, is_later), several in sorted(groups.items()):
        found = [each for each in several if each.found is not None]
        ratio = ""
        if found:
            ours, theirs = median(each.found or 0 for each in found), median(each.oracle or 0 for each in found)
            ratio = f", median delay {ours:.0f} h, the oracle's {theirs:.0f} h: {ours / theirs:.2f}"
        when = "later" if is_later else "from release"
        yield f"{channel} x{factor} {when}: found {len(found)} of the oracle's {len(several)}{ratio}"


if __name__ == "__main__":
    sys.exit(main())
