"""Verdicts as the judge gives them, written down: what pages are tested with."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from missioncontrol_nb.dashboard.judged import Judged
from missioncontrol_nb.judgement.course import Course
from missioncontrol_nb.judgement.events import Event
from missioncontrol_nb.judgement.observations import hours_of
from missioncontrol_nb.judgement.series import Series, State
from missioncontrol_nb.judgement.verdicts import Figures, Verdict, Verdicts, tables_of
from tests.unit.small_dataset import moment
from tests.unit.small_summaries import NEWEST, NOW

RISE = moment("09T02:00")
RELEASE = Figures(5910, 1e6, 5.91, 5.76, 6.06, 4.28, 1.38, 1.31, 1.45)
DOUBLED = Figures(940, 1e5, 9.4, 9.0, 9.7, 4.48, 2.1, 1.85, 2.37)
MORE = Figures(494, 1e5, 4.94, 4.7, 5.2, 4.33, 1.14, 1.04, 1.25)
USUAL = Figures(4300, 1e6, 4.30, 4.1, 4.5, 4.28, 1.005, 0.93, 1.08)
FEW = Figures(2, 300.0, 6.7, 2.0, 16.0, 4.28, 1.6, 0.6, 3.2)
TOO_FEW = "so far the rate may be double the expected one without being told apart"


def verdict(
    state: State,
    os_name: str = "Windows_NT",
    measure: str = "content_crashes",
    *,
    channel: str = "release",
    version: str = NEWEST.version,
    since: datetime | None = RISE,
    evidence: float | None = None,
    now: Figures | None = None,
    why: str = "",
    part: Mapping[str, str] | None = None,
) -> Verdict:
    """A verdict with the usual figures of its state: bad is 2.1 times as many, looks bad 14 % more."""
    is_up = state in ("bad", "looks bad")
    usual = {"bad": (DOUBLED, 25_000.0), "looks bad": (MORE, 32.0), "fine": (USUAL, 0.02), "too early": (FEW, 1.1)}
    figures, likely = usual[state]
    figures = now or figures
    series = Series(
        "2017-10-09T14:35:00Z", "Firefox", channel, os_name, measure, version, ("20171004190823",), 97.6, state,
        RELEASE.events, 8e5, 1e6, 9.7e5, 1.03e6, 5.91, 4.28, 3.7, 5.0, 1.38, 1.31, 1.45, evidence or likely, part or {},
        f"{since:%Y-%m-%dT%H:%M:%SZ}" if is_up and since else None, why or (TOO_FEW if state == "too early" else ""),
    )  # fmt: skip
    return Verdict(series, RELEASE if is_up else figures, figures if is_up else None, course(), 0.01, False)


def course(hours: int = 97, ratio: float = 2.0) -> Course:
    """Since the release of 56.0, by hour: 12 expected events in 3000 hours; from the rise on `ratio` times as many."""
    edges = hours_of(NEWEST.released) + np.arange(hours + 1.0)
    expected = np.full(hours, 12.0)
    events = np.where(edges[:-1] < hours_of(RISE), expected, ratio * expected)
    return Course(edges, events, np.full(hours, 3000.0), expected, 1.25, 0.03)


def judged(*verdicts: Verdict, outside: Sequence[Event] = (), is_current: bool = True) -> Judged:
    """What a page has when these verdicts are all that the judge gives."""
    return Judged(Verdicts(tables_of(verdicts, outside, NOW - timedelta(seconds=10))), is_current=is_current)


def with_builds(found: Verdict, *builds: str) -> Verdict:
    """The verdict on builds that are judged one by one."""
    return replace(found, series=replace(found.series, build_ids=builds), is_of_build=True)
