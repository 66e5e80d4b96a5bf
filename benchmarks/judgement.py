"""How good the judge of releases is, on simulated fleets whose releases differ, beside other rules on the same fleets.

Some series of a fleet rise, from their release on or later, by a known factor. Each fleet is drawn once and replayed,
hour by hour; judge and rivals see the same counts at the same moments. Parts, any of which --only can choose:

  judge      false alarms, what is found, and how late. Beside the judge stands an oracle that uses the same rule of
             evidence and is told the expected counts, the spread between releases, and when the rise began: what it
             does not find cannot be found
  rivals     the same of Mission Control v1 and v2, a velocity alert, a Poisson test, Farrington's improved method
  intervals  how many of the judge's 90 % intervals hold the truth: rate ratio, expected rate, used hours
  nowcast    how far off its hours of use are while reports are coming in, beside the reported ones
  outside    a rise in all versions at once: is it one alarm?
  slices     is the slice below an alarm the right one?
  adopters   what it is worth to tell the users of a release apart by system version, architecture and country
  stress     fleets unlike those that the judge was made for: shown, not promised

Figures go to the standard output, progress to the standard error. A channel's fleet takes some minutes, and all
of it hours. Try:

    python benchmarks/judgement.py --only rivals,slices --channels beta --seeds 1
    python benchmarks/judgement.py --only judge,rivals --channels release --seeds 2 --every 3
    python benchmarks/judgement.py --seeds 4 --json > judgement.json
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

# The judge's matrices are small: with a thread per core each process took four times the CPU time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.judgement_adopters import FLEETS, adopters_cases  # noqa: E402
from benchmarks.judgement_checks import Checks  # noqa: E402
from benchmarks.judgement_outside import outside_case  # noqa: E402
from benchmarks.judgement_report import JUDGE, Results, lines  # noqa: E402
from benchmarks.judgement_rivals import RIVALS, first_alarms, histories  # noqa: E402
from benchmarks.judgement_series import Span, Verdict, cases_of, replayed, verdicts  # noqa: E402
from benchmarks.judgement_slices import slice_cases  # noqa: E402
from benchmarks.judgement_stress import STRESSES, stressed  # noqa: E402
from missioncontrol_nb.judgement import evidence as filtering  # noqa: E402
from missioncontrol_nb.judgement.alarms import Judge  # noqa: E402
from missioncontrol_nb.judgement.evidence import Evidence  # noqa: E402
from missioncontrol_nb.simulator.fleet import (  # noqa: E402
    CRASH_DISPERSION,
    CRASH_MEASURES,
    EVENT_DISPERSION,
    Bad,
    Expected,
    Fleet,
)
from missioncontrol_nb.simulator.sessions import WINDOW_SECONDS  # noqa: E402
from missioncontrol_nb.simulator.variety import VARIED  # noqa: E402
from tests.judged_fleets import ALL_SYSTEMS, CALENDAR, MEASURES, draw, midnight  # noqa: E402

# The first day of data, days of data, and the day from which releases are judged.
SPANS = {
    "release": (midnight(2017, 5, 28), 160, 60),
    "beta": (midnight(2017, 7, 20), 60, 25),
    "nightly": (midnight(2017, 8, 20), 40, 15),
    "esr": (midnight(2017, 5, 1), 170, 40),
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


PARTS = ("judge", "rivals", "intervals", "nowcast", "outside", "slices", "adopters", "stress")
OF_A_FLEET = frozenset(PARTS[:4])
OF_THE_JUDGE = frozenset(("judge", "intervals", "nowcast"))
OUTSIDE_CASES, SLICE_CASES = 3, 50  # by seed; of a channel, and of a kind of slice


@dataclass(frozen=True)
class Task:
    """What one process does at a time. parts: of the benchmark; stress: the name of a stress or of a fleet of adopters,
    or ""."""

    parts: frozenset[str]
    channel: str
    seed: int
    every: int
    stress: str = ""


def main() -> int:
    given = arguments()
    tasks = list(tasks_of(given))
    began = time.monotonic()
    try:
        results, failed = run(tasks, given.processes)
    except KeyboardInterrupt:
        print("Stopped; nothing is left running.", file=sys.stderr)
        return 130
    if given.json:
        print(json.dumps(results.as_json()))
        return failed
    if given.alarms:
        for each in results.judge:
            if (each.factor == 1) == (each.found is not None) and (each.factor == 1 or each.oracle is not None):
                print(each)
    for line in lines(results, given.only):
        print(line)
    print(f"\n{len(tasks)} tasks, {time.monotonic() - began:.0f} s", file=sys.stderr)
    return failed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), metavar="PARTS", help="separated by commas (default: all)")
    parser.add_argument("--channels", default=",".join(SPANS), help=f"some of {','.join(SPANS)} (default: all)")
    parser.add_argument("--seeds", type=int, default=4, help="fleets by channel (default: 4)")
    parser.add_argument("--first-seed", type=int, default=1, help="seed of the first (default: 1)")
    parser.add_argument("--every", type=int, default=1, help="hours between looks (default: 1)")
    parser.add_argument("--stress-every", type=int, default=3, help="hours between looks under stress (default: 3)")
    parser.add_argument("--processes", type=int, default=2, help="how many at once (default: 2)")
    parser.add_argument("--alarms", action="store_true", help="print the judge's false alarms and what it missed")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object, with a record per series, instead of text"
    )
    given = parser.parse_args()
    given.only, given.channels = given.only.split(","), given.channels.split(",")
    for option, names, known in (("--only", given.only, PARTS), ("--channels", given.channels, SPANS)):
        for name in names:
            if name not in known:
                parser.error(f"{option} takes some of {', '.join(known)}; not {name!r}")
    for option in ("seeds", "every", "stress_every", "processes"):
        if getattr(given, option) < 1:
            parser.error(f"--{option.replace('_', '-')} takes 1 or more, not {getattr(given, option)}")
    return given


def tasks_of(given: argparse.Namespace) -> Iterator[Task]:
    """The longest first."""
    parts = frozenset(given.only)
    cases = [
        (channel, seed)
        for channel in given.channels
        for seed in range(given.first_seed, given.first_seed + given.seeds)
    ]
    for channel, seed in cases if parts & OF_A_FLEET else ():
        yield Task(parts & OF_A_FLEET, channel, seed, given.every)
    for stress in STRESSES if "stress" in parts else ():
        for channel, seed in cases:
            yield Task(frozenset(["stress"]), channel, seed, given.stress_every, stress.name)
    for fleet in FLEETS if "adopters" in parts else ():
        for channel, seed in cases:
            yield Task(frozenset(["adopters"]), channel, seed, given.every, fleet.name)
    for channel, seed in cases if "outside" in parts else ():
        yield Task(frozenset(["outside"]), channel, seed, given.every)
    for seed in dict.fromkeys(seed for _, seed in cases) if "slices" in parts else ():
        yield Task(frozenset(["slices"]), "", seed, given.every)


def run(tasks: Sequence[Task], processes: int) -> tuple[Results, bool]:
    """Does all tasks; returns whether one failed, too, which is told on the standard error.

    When it is interrupted or terminated, its processes end with it.
    """
    results, failed = Results(), False
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    workers = ProcessPoolExecutor(processes, initializer=_leave_signals_to_the_parent)
    try:
        doing = {workers.submit(play, task): task for task in tasks}
        for each in tqdm(as_completed(doing), total=len(tasks), unit="task", file=sys.stderr):
            error = each.exception()
            if error is None:
                results.add(each.result())
            else:  # hours of other tasks are not lost
                failed = True
                print(f"\n{doing[each]} failed:", *traceback.format_exception(error), file=sys.stderr)
        workers.shutdown()
    finally:
        workers.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
            child.join()
    return results, failed


def _leave_signals_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def play(task: Task) -> Results:
    """Does a task."""
    channel, seed, every = task.channel, task.seed, task.every
    if "slices" in task.parts:
        return Results(slices=slice_cases(seed, SLICE_CASES))
    span = Span(channel, *SPANS[channel])
    if "outside" in task.parts:
        seeds = [100 * seed + number for number in range(OUTSIDE_CASES)]
        return Results(outside=[outside_case(span, each, every, CANDIDATES) for each in seeds])
    if "adopters" in task.parts:
        [fleet] = [each for each in FLEETS if each.name == task.stress]
        return Results(adopters=adopters_cases(fleet, span, seed, every, CANDIDATES))
    sick = list(illnesses(channel, seed))
    if task.stress:
        [stress] = [each for each in STRESSES if each.name == task.stress]
        return Results(stress=stressed(stress, span, seed, every, sick, CANDIDATES))
    return play_fleet(span, seed, every, sick, task.parts)


def play_fleet(span: Span, seed: int, every: int, sick: list[Bad], parts: frozenset[str]) -> Results:
    """Draws a channel's fleet and shows it to the judge and its rivals."""
    observations, expected = draw(span.channel, span.first, span.days, seed, bad=sick, systems=ALL_SYSTEMS)
    checks = Checks(expected, span.channel, span.begin)
    alarms = {}
    if parts & OF_THE_JUDGE:
        has_checks = parts & {"intervals", "nowcast"}
        alarms = (
            replayed(Judge(observations), span, every, checks.see, checks.moments)
            if has_checks
            else replayed(Judge(observations), span, every)
        )
    results = Results(checks=checks.found)
    if not parts & {"judge", "rivals"}:
        return results
    outcomes = list(outcomes_of(span.channel, expected, sick, alarms, span.begin, span.end, every))
    if "judge" in parts:
        results.judge = outcomes
    if "rivals" in parts:
        cases = list(cases_of(span, expected, sick))
        oracle = {(each.os_name, each.release, each.measure): each.oracle for each in outcomes}
        of_systems = list(histories(observations, expected, MEASURES, span.begin))
        for rule, says in RIVALS.items():
            found = {
                (os_name, releases[release], MEASURES[measure]): look
                for os_name, releases, history in of_systems
                for (release, measure), look in first_alarms(history, says(history), span.begin, every).items()
            }
            results.rivals += verdicts(rule, cases, found, oracle)
    return results


def illnesses(channel: str, seed: int) -> Iterator[Bad]:
    """What goes wrong with a fleet."""
    random = np.random.default_rng([seed, 2])
    first, _, from_day = SPANS[channel]
    begin = (first + timedelta(days=from_day)).timestamp()
    for build in Fleet(CALENDAR, 0, seed).builds:
        of_channel = build.channel == channel and build.os_name in ALL_SYSTEMS and build.is_official
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
) -> Iterator[Verdict]:
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
            factor = ill.factor if ill else 1.0
            yield Verdict(JUDGE, channel, build.os_name, name, measure, factor, is_later, hours, oracle)


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


if __name__ == "__main__":
    sys.exit(main())
