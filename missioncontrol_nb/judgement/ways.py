"""Explanations of a release's hours of use, among which the counts of several measures choose.

A release's own delays differ from the usual ones, and are unknown while it is young. And its use may have jumped within
the last hours, as when a roll-out is opened to all: reports tell of that only later.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.judgement import evidence as filtering
from missioncontrol_nb.judgement.evidence import Evidence

Array = npt.NDArray[np.float64]
# Delays, in standard deviations of their logarithm, and how likely each is.
LAW_NODES = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
LAW_WEIGHTS = np.exp(-0.5 * LAW_NODES**2) / np.exp(-0.5 * LAW_NODES**2).sum()
JUMP = 0.6  # how much more use there is after a jump than the estimate says, where nothing has been reported yet
JUMP_SHARE = 0.06  # how likely it is that there was one within the last hours
# Places of the ways: shorter delays, usual ones, longer ones, and usual ones with a jump.
SHORTER, USUAL, LONGER, JUMPED = 1, 2, 3, len(LAW_NODES)
WAYS = len(LAW_NODES) + 1
WHILE_YOUNG = tuple(range(WAYS))
NEWEST = (USUAL, JUMPED)  # of the newest hours of an older release
SETTLED = (USUAL,)
LEAST_TYPICAL = 1e-6  # events


def with_jump(hours: Array, missing: Array) -> Array:
    """The hours of each way, given those of all delays: (ways, intervals). missing: the share still to be reported."""
    return np.concatenate([hours, (hours[USUAL] * (1 + JUMP * missing**2))[None]])


def log_prior(ways: Sequence[int]) -> Array:
    """The logarithm of how likely some ways are, if one of them is right."""
    weights = np.append((1 - JUMP_SHARE) * LAW_WEIGHTS, JUMP_SHARE)
    chosen = np.array([1 - JUMP_SHARE, JUMP_SHARE]) if tuple(ways) == NEWEST else weights[list(ways)]
    return np.asarray(np.log(chosen / chosen.sum()))


def _ways_of(chain: Evidence, measures: int) -> tuple[int, ...]:
    """The ways that a chain holds, one after another."""
    by_number = {len(ways): ways for ways in (SETTLED, NEWEST, WHILE_YOUNG)}
    return by_number[len(chain.weights) // measures]


def shares_of_ways(chain: Evidence, measures: int, tells: Array) -> Array:
    """How likely each way is, (ways,), 0 for those that the chain does not hold.

    tells: by measure, 1 where its counts tell about use.
    """
    ways = _ways_of(chain, measures)
    shares = np.zeros(WAYS)
    shares[list(ways)] = np.exp(filtering.weights_by_witnesses(chain, log_prior(ways), tells[None])[:, 0])
    return shares


def together(chain: Evidence, measures: int, witnesses: Array) -> Evidence:
    """The evidence of each measure over the ways that a chain holds, one after another.

    witnesses: (measures, measures), 1 where the second tells about the first one's hours.
    """
    ways = _ways_of(chain, measures)
    if ways == SETTLED:
        return chain
    return filtering.mixed(chain, filtering.weights_by_witnesses(chain, log_prior(ways), witnesses))


def tiled(chain: Evidence, number: int) -> Evidence:
    """A chain of one way, so many times."""
    return Evidence(
        np.tile(chain.weights, (number, 1, 1)), np.tile(chain.log_healthy, number), np.tile(chain.log_risen, number)
    )


@dataclass(frozen=True)
class Steps:
    """What the evidence is computed from, by interval. ages: n + 1, hours; typical: by way; others: n x measures."""

    ages: Array
    events: Array
    typical: Array
    scatter: Array
    drift: Array

    def likely(self, way: int, start: int, stop: int) -> Array:
        """The logarithm of the likelihood of some intervals' events if one way is right."""
        events, typical = self.events[start:stop], self.typical[way, start:stop]
        likely = filtering.log_likelihood(events, typical, self.scatter[start:stop])
        # It is up to a constant, which differs between ways.
        return likely + (events * np.log(np.maximum(typical, LEAST_TYPICAL)))[..., None]

    def after(self, chain: Evidence, likely: Array, place: int, ways: int) -> Evidence:
        """The chain after one more interval."""
        since, until = float(self.ages[place]), float(self.ages[place + 1])
        weight = filtering.later_weight(since, until)
        if place == 0:
            weight += filtering.FROM_RELEASE
        return chain.after(likely, np.tile(self.drift[place], ways), weight, until - since)
