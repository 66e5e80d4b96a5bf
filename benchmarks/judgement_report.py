"""What the benchmark of the judge found, as lines, as Markdown tables that can be pasted, and as JSON."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from statistics import median
from typing import Any

from benchmarks.judgement_adopters import AdoptersSeries, adopters_table
from benchmarks.judgement_checks import (
    EXPECTED_RATE,
    RATE_RATIO,
    USED_HOURS,
    Check,
    coverage,
    interval_lines,
    median_errors,
    nowcast_lines,
)
from benchmarks.judgement_outside import SOON_HOURS, Outside, outside_lines, share_soon
from benchmarks.judgement_series import Verdict, delay_ratio, false_alarms, found_of, percent
from benchmarks.judgement_slices import KINDS, SliceCase, share_right
from benchmarks.judgement_stress import stress_table

JUDGE = "Mission Control (the judge)"
MOST_FALSE = 0.01
COVERAGE = 0.86, 0.94
NOWCAST_GOALS = {1: 0.15, 6: 0.06, 24: 0.04}
SLICE_GOAL = 0.95
FACTORS = (1.25, 1.5, 2.0, 4.0)
DELAY_GOALS = {
    (1.5, False): "75 %; 2",
    (2.0, False): "95 %; 1.5",
    (4.0, False): "95 %; 1.5",
    (1.5, True): "75 %",
    (2.0, True): "95 %; 2",
    (4.0, True): "95 %; 2",
}
"""By factor, and whether the rise begins later than the release: the share that is found, and the delay."""
NOTHING, ALL_CHANNELS = "", "all channels"


@dataclass
class Results:
    """All that was found, by part. judge, rivals, stress: what became of each series."""

    judge: list[Verdict] = field(default_factory=list)
    rivals: list[Verdict] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    outside: list[Outside] = field(default_factory=list)
    slices: list[SliceCase] = field(default_factory=list)
    stress: list[Verdict] = field(default_factory=list)
    adopters: list[AdoptersSeries] = field(default_factory=list)

    def add(self, other: "Results") -> None:
        """Takes in what another process found."""
        for each in fields(self):
            getattr(self, each.name).extend(getattr(other, each.name))

    def as_json(self) -> dict[str, Any]:
        """All records by part, and the tables' figures."""
        records = {each.name: [asdict(record) for record in getattr(self, each.name)] for each in fields(self)}
        return {"goals": list(goals(self)), "rivals_table": list(compared(self)), **records}

    def of(self, channel: str) -> "Results":
        """What belongs to a channel."""
        kept = {
            each.name: [record for record in getattr(self, each.name) if record.channel == channel]
            for each in fields(self)
            if each.name != "slices"
        }
        return Results(**kept)

    @property
    def channels(self) -> list[str]:
        """The channels of which anything is known."""
        several: list[Any] = [*self.judge, *self.rivals, *self.checks, *self.outside]
        return list(dict.fromkeys(each.channel for each in several))


def lines(results: Results, parts: Sequence[str]) -> Iterator[str]:
    """Every part in detail, then the tables."""
    for rule in dict.fromkeys(each.rule for each in results.judge + results.rivals):
        yield f"\n{rule}"
        yield from rule_lines([each for each in results.judge + results.rivals if each.rule == rule])
    if "intervals" in parts:
        yield ""
        yield from interval_lines(results.checks)
    if "nowcast" in parts:
        yield ""
        yield from nowcast_lines(results.checks)
    if results.outside:
        yield ""
        yield from outside_lines(results.outside)
    if results.slices:
        yield ""
        rows = [(kind, share_right(results.slices, kind)) for kind in KINDS]
        told = ", ".join(f"{kind} {percent(share)}" for kind, share in rows if share is not None)
        yield f"slices that are right: {told}; {len(results.slices)} cases"
    yield from _markdown("goal", "wanted", results.channels, goals(results))
    if results.rivals:
        yield from _markdown("rule", NOTHING, results.channels, compared(results))
        yield "Each: false alarms per healthy series in 14 days; found of the oracle's; median delay by the oracle's."
    if results.adopters:
        yield ""
        yield from adopters_table(results.adopters)
    if results.stress:
        yield ""
        yield from stress_table(results.stress)


def rule_lines(several: Sequence[Verdict]) -> Iterator[str]:
    """False alarms by channel, and what was found by factor, a line each."""
    for channel in dict.fromkeys(each.channel for each in several):
        false, healthy = false_alarms([each for each in several if each.channel == channel])
        if healthy:
            yield f"{channel}: false alarms {false} of {healthy} healthy series, {percent(false / healthy, 2)}"
    groups: dict[tuple[str, float, bool], list[Verdict]] = defaultdict(list)
    for each in several:
        if each.factor > 1 and each.oracle is not None:
            groups[each.channel, each.factor, each.is_later].append(each)
    for (channel, factor, is_later), of_group in sorted(groups.items()):
        found, risen = found_of(of_group, factor)
        ratio = delay_ratio(found)
        after = ""
        if ratio is not None:
            ours, theirs = median(each.found or 0 for each in found), median(each.oracle or 0 for each in found)
            after = f", median delay {ours:.0f} h, the oracle's {theirs:.0f} h: {ratio:.2f}"
        yield f"{channel} x{factor} {_when(is_later)}: found {len(found)} of the oracle's {risen}{after}"


def _when(is_later: bool) -> str:
    return "later" if is_later else "from release"


def goals(results: Results) -> Iterator[dict[str, str]]:
    """The goals beside the figures: "goal", "wanted", and a figure by channel."""
    rows: list[tuple[str, str, Callable[[Results], str]]] = [
        (
            "false alarms per healthy series in 14 days",
            f"at most {percent(MOST_FALSE)}",
            lambda of_channel: _false(of_channel.judge),
        )
    ]
    rows += [
        (
            f"x{factor:g} {_when(is_later)}: found of the oracle's; median delay by its",
            DELAY_GOALS.get((factor, is_later), NOTHING),
            partial(_found_by_judge, factor, is_later),
        )
        for factor in FACTORS
        for is_later in (False, True)
    ]
    wanted = f"{percent(COVERAGE[0])} to {percent(COVERAGE[1])}"
    rows += [
        (f"90 % intervals of the {what} that hold the truth", wanted, partial(_coverage, what))
        for what in (RATE_RATIO, EXPECTED_RATE, USED_HOURS)
    ]
    rows += [
        (
            f"median error of used hours after {age} h (of the reported ones)",
            f"at most {percent(most)}",
            partial(_error, age),
        )
        for age, most in NOWCAST_GOALS.items()
    ]
    rows.append((f"outside causes told as one alarm within {SOON_HOURS:.0f} h", NOTHING, _soon))
    for goal, wanted, figure in rows:
        found = {channel: figure(results.of(channel)) for channel in results.channels}
        if any(found.values()):
            yield {"goal": goal, "wanted": wanted, **found}
    for kind in KINDS if results.slices else ():
        share = share_right(results.slices, kind)
        figures = dict.fromkeys(results.channels[:1] or [ALL_CHANNELS], NOTHING if share is None else percent(share))
        yield {"goal": f"right slices: {kind} (of no channel)", "wanted": f"at least {percent(SLICE_GOAL)}", **figures}


def compared(results: Results) -> Iterator[dict[str, str]]:
    """The judge beside its rivals: "rule", and by channel false alarms, what was found, and the delay."""
    several = results.judge + results.rivals
    for rule in dict.fromkeys(each.rule for each in several):
        row = {"rule": rule}
        for channel in results.channels:
            chosen = [each for each in several if each.rule == rule and each.channel == channel]
            row[channel] = f"{_false(chosen)}; {_found(chosen, None)}" if chosen else NOTHING
        yield row


def _false(several: Sequence[Verdict]) -> str:
    false, healthy = false_alarms(several)
    return percent(false / healthy, 1) if healthy else NOTHING


def _found(several: Sequence[Verdict], factor: float | None) -> str:
    """factor: None means all."""
    factors = sorted({each.factor for each in several if each.factor > 1}) if factor is None else [factor]
    groups = [found_of(several, each) for each in factors]
    found, risen = [verdict for group, _ in groups for verdict in group], sum(number for _, number in groups)
    if not risen:
        return NOTHING
    ratio = delay_ratio(found)
    return f"{len(found)} of {risen}" + ("" if ratio is None else f"; {ratio:.1f}")


def _found_by_judge(factor: float, is_later: bool, of_channel: Results) -> str:
    return _found([each for each in of_channel.judge if each.is_later == is_later], factor)


def _coverage(what: str, of_channel: Results) -> str:
    share = coverage(of_channel.checks, what)
    return NOTHING if share is None else percent(share)


def _error(age: int, of_channel: Results) -> str:
    errors = median_errors(of_channel.checks, age)
    return NOTHING if errors is None else f"{percent(errors[0], 1)} ({percent(errors[1])})"


def _soon(of_channel: Results) -> str:
    share = share_soon(of_channel.outside)
    return NOTHING if share is None else f"{percent(share)} of {len(of_channel.outside)}"


def _markdown(first: str, second: str, channels: Sequence[str], rows: Iterator[dict[str, str]]) -> Iterator[str]:
    found = list(rows)
    if not found:
        return
    columns = list(dict.fromkeys(name for row in found for name in row))
    columns = [name for name in columns if name in (first, second) or name in channels or name == ALL_CHANNELS]
    yield ""
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    for row in found:
        yield f"| {' | '.join(row.get(name, NOTHING) for name in columns)} |"
