"""Who uses a release: how much more or less its users would crash than the channel's, whatever the release is like.

Users are told apart by cells: a system version, an architecture and a country. The channel's own past says how much
more often a cell's users crash than others (`Adopters.learn`); a release's index is the mean of these factors over the
users who report it (`Standard.index`), and what a typical release would show is multiplied by it. This is indirect
standardisation, as of mortality by age: Breslow, Day, Statistical Methods in Cancer Research II, 1987, chapter 2.

All times are hours since 1970, UTC.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Counts = npt.NDArray[np.float32]  # of millions of rows
Mask = npt.NDArray[np.bool_]
DAY = 24.0
PAST_DAYS = 28  # before the moment of learning, from which the factors of cells are learned
ASSUMED_EVENTS = 20.0  # as expected: a value with fewer events has a factor near 1
ROUNDS = 6  # of the fit; the factors of the dimensions are found by turns
LATER_HOURS = 12.0  # reports that come so much later tell who had crashes: half of use is reported later than 6 hours
# Of usual users: a release with fewer hours of reports has an index near 1, and an interval near its release's.
ASSUMED_HOURS, ASSUMED_HOURS_OF_RELEASE = 60.0, 100.0


@dataclass(frozen=True)
class Adopters:
    """The hours that a segment's users reported, and their events, by release, window and cell: a row each.

    releases: their names, such as `observations.Name`. values: by cell and dimension, the number of the value. Rows are
    in the order of release and end. release, cell: numbers; begins, ends: of the windows, which do not overlap within a
    release; events: (rows, measures).
    """

    releases: Sequence[tuple[str, str]]
    values: Codes
    release: Codes
    cell: Codes
    begins: Array
    ends: Array
    hours: Array
    events: Counts

    @cached_property
    def rows_of(self) -> dict[tuple[str, str], slice]:
        """The rows of each release."""
        places = np.searchsorted(self.release, np.arange(len(self.releases) + 1))
        return {name: slice(*places[number : number + 2]) for number, name in enumerate(self.releases)}

    def learn(self, day: float, comes_later: Mask, wrong: Mask | None = None) -> "Standard":
        """The factors of the cells as of the beginning of a day.

        comes_later: by measure, whether its hours are reported after its events. wrong: the days that are left out, of
        the PAST_DAYS days before. Releases and days are compared with themselves only: a release that crashes more and
        is used by others does not count against those who use it.
        """
        first = day - DAY * PAST_DAYS
        kept = (self.ends > first + 1e-6) & (self.ends <= day + 1e-6)
        of_day = np.floor((self.ends - first - 1e-6) / DAY).astype(np.int64)
        if wrong is not None:
            kept &= ~wrong[np.clip(of_day, 0, PAST_DAYS - 1)]
        rows = np.flatnonzero(kept)
        _, stratum = np.unique(self.release[rows] * (PAST_DAYS + 1) + of_day[rows], return_inverse=True)
        shape = int(stratum.max(initial=-1)) + 1, len(self.values)
        place = stratum * shape[1] + self.cell[rows]
        hours = _sums(place, self.hours[rows, None], shape[0] * shape[1]).reshape(shape)
        some = np.flatnonzero(self.events[rows].any(axis=1))  # most rows have no event
        events = self.events[rows[some]]
        by_stratum = _sums(stratum[some], events, shape[0])
        by_cell = _sums(self.cell[rows[some]], events, shape[1])
        return Standard(self, factors_of(hours, by_stratum, by_cell, self.values), comes_later)


def _sums(places: Codes, values: Array | Counts, size: int) -> Array:
    """The sums of rows by place: (size, columns)."""
    return np.stack([np.bincount(places, each, size) for each in values.T], axis=1).astype(float)


def factors_of(hours: Array, by_stratum: Array, by_cell: Array, values: Codes) -> Array:
    """How many times the rate of all users the users of a cell have: (cells, measures), 1 on average over the hours.

    hours: (strata, cells); by_stratum, by_cell: events, (strata, measures) and (cells, measures); values: the numbers
    of the cells' values, (cells, dimensions). The factor of a cell is the product of one for each of its values; a
    stratum has a level of its own. Fitted by iterative proportional fitting, with ASSUMED_EVENTS at 1 for each value.
    """
    dimensions = [np.eye(int(codes.max(initial=0)) + 1)[:, codes] for codes in values.T]  # (values, cells)
    dimensions = [each for each in dimensions if len(each) > 1]
    of_cells, total = np.ones(by_cell.shape), hours.sum()
    if not dimensions or total <= 0:
        return of_cells
    found = [np.ones((len(each), by_cell.shape[1])) for each in dimensions]
    observed = [each @ by_cell + ASSUMED_EVENTS for each in dimensions]
    for _ in range(ROUNDS):
        level = by_stratum / np.maximum(hours @ of_cells, 1e-12)
        base = hours.T @ level
        for number, each in enumerate(dimensions):
            others = of_cells / (each.T @ found[number])
            found[number] = observed[number] / (each @ (base * others) + ASSUMED_EVENTS)
            of_cells = others * (each.T @ found[number])
    return np.asarray(of_cells * total / (hours.sum(axis=0) @ of_cells))


@dataclass(frozen=True)
class Standard:
    """The factors of cells as known at a moment: (cells, measures). comes_later: as for `Adopters.learn`."""

    adopters: Adopters
    factors: Array
    comes_later: Mask
    _totals: dict[tuple[str, str], tuple[Array, Array]] = field(default_factory=dict)

    def index(self, name: tuple[str, str], edges: Array, until: float) -> Array:
        """How many times the channel's rate a release's users would have, by what was reported by a moment.

        edges: of intervals, ascending. Returns (intervals, measures); 1 for a release of which nothing is known.
        """
        if name not in self._totals:
            self._totals[name] = self._totals_of(name)
        moments, totals = self._totals[name]
        known = int(np.searchsorted(moments, until + 1e-6, side="right"))
        if known < 2:
            return np.ones((len(edges) - 1, len(self.comes_later)))
        moments, totals = moments[:known], totals[:known]
        whole = (totals[-1, 1:] + ASSUMED_HOURS) / (totals[-1, 0] + ASSUMED_HOURS)
        at = _at(np.concatenate([edges, edges[1:] + LATER_HOURS]), moments, totals)
        soon, late = np.diff(at[: len(edges)], axis=0), at[len(edges) :] - at[: len(edges) - 1]
        weighed = np.where(self.comes_later, late[:, 1:], soon[:, 1:])
        hours = np.where(self.comes_later, late[:, :1], soon[:, :1])
        return np.asarray((weighed + ASSUMED_HOURS_OF_RELEASE * whole) / (hours + ASSUMED_HOURS_OF_RELEASE))

    def _totals_of(self, name: tuple[str, str]) -> tuple[Array, Array]:
        """Moments, and by then the reported hours, and these times the factor of each measure: (moments, 1 +
        measures)."""
        all_rows = self.adopters
        rows = all_rows.rows_of.get(name, slice(0, 0))
        ends, hours = all_rows.ends[rows], all_rows.hours[rows]
        if not len(ends):
            return np.zeros(0), np.zeros((0, 1 + len(self.comes_later)))
        first = np.flatnonzero(np.diff(ends, prepend=-np.inf) > 1e-6)
        weighed = np.concatenate([hours[:, None], hours[:, None] * self.factors[all_rows.cell[rows]]], axis=1)
        sums = np.cumsum(np.add.reduceat(weighed, first, axis=0), axis=0)
        moments = np.concatenate([all_rows.begins[rows][:1], ends[first]])
        return moments, np.concatenate([np.zeros((1, sums.shape[1])), sums])


def _at(wanted: Array, moments: Array, totals: Array) -> Array:
    """The totals at any moments, linear in between: (moments, columns)."""
    place = np.clip(np.searchsorted(moments, wanted, side="right") - 1, 0, len(moments) - 2)
    part = np.clip((wanted - moments[place]) / (moments[place + 1] - moments[place]), 0.0, 1.0)[:, None]
    return np.asarray((1 - part) * totals[place] + part * totals[place + 1])
