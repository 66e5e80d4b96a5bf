"""How often the slice below an alarm is the right one, on cells with the simulated population's shares.

A cell is a system version, an architecture and a country. The counts are those at the moment of an alarm: all cells
together have 1.5 to 4 times the expected events, which the cause's cells alone bring about.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from missioncontrol_nb.judgement.where import slice_of
from missioncontrol_nb.simulator.era import OCTOBER_2017

DIMENSIONS = ("os_version", "architecture", "country")
SYSTEMS = ("Windows_NT", "Darwin", "Linux")
ONE, TWO, EVERYWHERE, SMALL = "one dimension", "two dimensions", "everywhere", "2 % of usage"
KINDS = (ONE, TWO, EVERYWHERE, SMALL)
RATIOS = (1.5, 4.0)  # of all cells together
EXPECTED_EVENTS = (30.0, 1000.0)  # of all cells, when the alarm goes up
EVENTS_AN_HOUR = 0.004
CELL_SPREAD = 0.2  # standard deviation of the logarithm of the cells' rates
HISTORY_TIMES = 30.0  # how many times as many hours the history has
SMALL_SHARES = (0.015, 0.025)
LEAST_SHARE = 0.04  # of usage, of other causes
MEASURE = "content_crashes"


@dataclass(frozen=True)
class SliceCase:
    """A cause and the answer. ratio: of events by expected events of all cells; expected: events of all cells."""

    kind: str
    cause: Mapping[str, str]
    answer: Mapping[str, str]
    ratio: float
    expected: float

    @property
    def is_right(self) -> bool:
        """Whether the cause was named, and nothing else."""
        return self.answer == self.cause


def slice_cases(seed: int, cases: int) -> list[SliceCase]:
    """So many cases of each kind."""
    random = np.random.default_rng([seed, 4])
    return [_case(random, kind) for kind in KINDS for _ in range(cases)]


def _case(random: np.random.Generator, kind: str) -> SliceCase:
    cells = _population(str(random.choice(SYSTEMS)))
    cause = _cause(random, cells, kind)
    inside = _inside(cells, cause)
    ratio, expected = (float(np.exp(random.uniform(*np.log(span)))) for span in (RATIOS, EXPECTED_EVENTS))
    rate = EVENTS_AN_HOUR * np.exp(random.normal(0, CELL_SPREAD, len(cells)))
    usual = cells["share"].to_numpy() * rate
    hours = expected / usual.sum()
    factor = 1 + (ratio - 1) * usual.sum() / usual[inside].sum()
    keys = cells[list(DIMENSIONS)]
    history = keys.assign(
        usage_hours=HISTORY_TIMES * hours * cells["share"],
        **{MEASURE: random.poisson(HISTORY_TIMES * hours * usual)},
    )
    now = keys.assign(
        usage_hours=hours * cells["share"], **{MEASURE: random.poisson(hours * usual * np.where(inside, factor, 1.0))}
    )
    return SliceCase(kind, cause, slice_of(now, history, MEASURE), ratio, expected)


def _population(os_name: str) -> pd.DataFrame:
    """All cells of a system with their shares of usage."""
    values = [OCTOBER_2017.shares(name, os_name) for name in DIMENSIONS]
    cells = pd.MultiIndex.from_product([list(each) for each in values], names=DIMENSIONS).to_frame(index=False)
    parts = [cells[name].map(each) for name, each in zip(DIMENSIONS, values, strict=True)]
    share = parts[0] * parts[1] * parts[2]
    return cells.assign(share=share / share.sum())


def _cause(random: np.random.Generator, cells: pd.DataFrame, kind: str) -> dict[str, str]:
    if kind == EVERYWHERE:
        return {}
    several = [name for name in DIMENSIONS if cells[name].nunique() > 1]
    while True:
        number = 1 if kind == ONE else 2 if kind == TWO else int(random.integers(1, 3))
        chosen = set(random.choice(several, number, replace=False))
        cell = cells.iloc[int(random.integers(len(cells)))]
        cause = {name: str(cell[name]) for name in several if name in chosen}
        share = float(cells["share"][_inside(cells, cause)].sum())
        if SMALL_SHARES[0] <= share <= SMALL_SHARES[1] if kind == SMALL else LEAST_SHARE <= share <= 0.9:
            return cause


def _inside(cells: pd.DataFrame, cause: Mapping[str, str]) -> npt.NDArray[np.bool_]:
    inside = np.ones(len(cells), bool)
    for name, value in cause.items():
        inside &= (cells[name] == value).to_numpy()
    return inside


def share_right(cases: Sequence[SliceCase], kind: str | None = None) -> float | None:
    """The share of right answers; None where there are no cases. kind: None means all."""
    chosen = [each.is_right for each in cases if kind in (None, each.kind)]
    return sum(chosen) / len(chosen) if chosen else None
