"""Finds rises that come from outside: all versions of a channel rise at once on a system, as with a web site or driver.

The versions that were superseded are summed and compared with their own past. Nothing about them changed, so where they
rise, the cause is not in a release. And where one version rises that came out long ago, the others tell whose it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.judgement import evidence as filtering
from missioncontrol_nb.judgement.evidence import Evidence
from missioncontrol_nb.judgement.observations import Name
from missioncontrol_nb.judgement.watch import Look, Watch

Array = npt.NDArray[np.float64]
PAST_HOURS = 72.0
LEAST_EXPECTED = 5.0  # events of a version since a rise began, so that it can tell whether it rose
LEAST_EVENTS = 20.0  # expected in this time, so that it can tell anything
OWN_SPREAD = 0.05  # of the sum of several versions around its own past
DRIFT_A_DAY = 0.05
SCATTER = 0.06
SUSPICIOUS = np.log(3.0)  # evidence of older versions from which a newer one's rise may be from outside
TELLS = np.log(5.0)  # evidence of the other versions that a rise is theirs, too; or that it is not
TOLD_WITHIN = 8.0  # hours of a rise, within which the other versions may tell whose it is
YOUNG_HOURS = 24.0  # of age: a rise that begins then is the version's own
OVER_HOURS, OVER_RATIO = 12.0, 1.1  # it is over when the ratio of so many hours is below this


@dataclass(frozen=True)
class Past:
    """Several versions of a system, summed: by interval, events and those expected by their own past.

    exposure: hours that the events belong to, by measure. dispersion: of counts, by measure. versions: events and
    expected events of each version. has_newest: whether the newest version is among them.
    """

    edges: Array
    events: Array
    expected: Array
    exposure: Array
    dispersion: Array
    versions: tuple[tuple[Array, Array], ...] = ()
    has_newest: bool = False

    @cached_property
    def log_evidence(self) -> Array:
        """The logarithm of the evidence of a rise, by measure."""
        measures = self.events.shape[1]
        enough = self.expected.sum(axis=0) >= LEAST_EVENTS
        chain = Evidence.before(filtering.healthy_effects(np.full((measures, 1), OWN_SPREAD), np.ones(1)))
        scatter = np.sqrt(SCATTER**2 + (self.dispersion - 1) / np.maximum(self.expected, 1e-9))
        likely = filtering.log_likelihood(self.events, self.expected, scatter)
        for place in range(len(self.events)):
            hours = float(self.edges[place + 1] - self.edges[place])
            drift = np.full(measures, DRIFT_A_DAY**2 * hours / 24)
            weight = filtering.LATER * hours / filtering.LATER_HOURS
            chain = chain.after(likely[place], drift, weight, hours)
        return np.where(enough, chain.log_ratio, -np.inf)

    def log_evidence_with(self, newest: Array) -> Array:
        """The same with the newest version's, which counts for more where the older ones look suspicious."""
        others = self.log_evidence
        is_more = (others >= SUSPICIOUS) & (not self.has_newest)
        return np.where(is_more, others + np.fmax(newest, 0.0), others)

    def since(self, measure: int) -> float:
        """When a rise most likely began."""
        ratios = np.cumsum((self.events - self.expected)[::-1, measure])[::-1]
        noise = np.sqrt(np.maximum(np.cumsum(self.expected[::-1, measure])[::-1], 1.0))
        return float(self.edges[int(np.argmax(ratios / noise))])

    def risers(self, measure: int, since: float, ratio: float) -> int:
        """How many versions rose since a moment by at least half of a ratio's excess."""
        later = self.edges[:-1] >= since - 1e-6
        sums = [(events[later, measure].sum(), expected[later, measure].sum()) for events, expected in self.versions]
        return sum(
            expected >= LEAST_EXPECTED and events >= expected * (1 + (ratio - 1) / 2) for events, expected in sums
        )

    @property
    def variance(self) -> float:
        """The variance of the logarithm of expected events."""
        return OWN_SPREAD**2 + SCATTER**2

    def ratio(self, measure: int, since: float) -> tuple[float, float]:
        """Events, and expected events, from a moment on."""
        later = self.edges[:-1] >= since - 1e-6
        return float(self.events[later, measure].sum()), float(self.expected[later, measure].sum())

    def hours(self, measure: int, since: float) -> float:
        """The hours that events belong to, from a moment on."""
        return float(self.exposure[self.edges[:-1] >= since - 1e-6, measure].sum())


def past_of(looks: Sequence[tuple[Watch, Look]], effects: Mapping[Name, Array], *, of_all: bool = False) -> Past | None:
    """The sums of the older versions among the looks at a system; None where there are none with a past of their own.

    effects: by version, those to compare with; those of its settled past for others. of_all: of the newest version too.
    """
    known = [(watch, look) for watch, look in looks if watch.is_compared and (of_all or watch.superseded_at < look.at)]
    if not known:
        return None
    at = known[0][1].at
    edges = np.concatenate([np.arange(np.floor((at - PAST_HOURS) / 2) * 2, at - 1e-6, 2.0), [at]])
    versions = []
    for watch, look in known:
        own = effects.get(watch.released.name)
        typical = look.typical * np.exp(watch.effect() if own is None else own)
        place = np.searchsorted(edges, look.edges[:-1] + 1e-6, side="right") - 1
        inside = (place >= 0) & (look.edges[:-1] - watch.released.moment >= YOUNG_HOURS)
        sums = np.zeros((3, len(edges) - 1, look.events.shape[1]))
        for total, each in zip(sums, (look.events, typical, look.exposure), strict=True):
            np.add.at(total, place[inside], each[inside])
        versions.append(sums)
    events, expected, exposure = np.sum(versions, axis=0)
    of_each = tuple((each[0], each[1]) for each in versions)
    return Past(edges, events, expected, exposure, known[0][0].dispersion, of_each, of_all)


def others_rose(
    looks: Sequence[tuple[Watch, Look]], watch: Watch, measure: int, since: float, ratio: float
) -> bool | None:
    """Whether the other versions rose, since a moment, by the ratio by which one did; None: it will be known soon.

    A rise that begins with a version, or where the others have too little use to tell soon, is taken as its own.
    """
    own_look = next(look for each, look in looks if each is watch)
    elapsed = own_look.at - since
    begins_late = since >= min(watch.released.moment + YOUNG_HOURS, watch.superseded_at)
    if not begins_late or ratio <= 1 or elapsed <= 0:
        return False
    events = expected = variance = 0.0
    for other, look in looks:
        if other is not watch and other.is_compared:
            later = look.edges[:-1] >= since - 1e-6
            own = float(look.typical[later, measure].sum() * np.exp(other.effect()[measure]))
            events, expected = events + float(look.events[later, measure].sum()), expected + own
            settled = other.superseded_at < look.at
            variance += own**2 * (OWN_SPREAD**2 if settled else float(look.ratio_variance[measure]))
    if expected <= 0:
        return False
    scatter = variance / expected**2 + SCATTER**2 + (watch.dispersion[measure] - 1) / expected
    size = 1 / scatter
    told = events * np.log(ratio) - (events + size) * np.log((ratio * expected + size) / (expected + size))
    if told >= TELLS:
        return True
    rate = expected / elapsed
    to_come = rate * max(TOLD_WITHIN - elapsed, 0.0) * (ratio - 1 - np.log(ratio))
    return None if abs(told) < TELLS and abs(told) + to_come >= TELLS and elapsed < TOLD_WITHIN else False


def rises_alike(look: Look, effect: Array, measure: int, since: float, ratio: float) -> bool | None:
    """Whether the newest version rose with the others; None where it cannot tell. ratio: that of the others."""
    later = look.edges[:-1] >= since - 1e-6
    events = float(look.events[later, measure].sum())
    expected = float(look.typical[later, measure].sum() * np.exp(effect[measure]))
    return None if expected < 2 * LEAST_EXPECTED else bool(events / expected >= 1 + (ratio - 1) / 2)
