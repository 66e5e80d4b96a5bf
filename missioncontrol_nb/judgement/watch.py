"""Judges one release on one channel and system, again and again as data comes in.

All times are hours since 1970, UTC.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.judgement import evidence as filtering
from missioncontrol_nb.judgement.activity import Activity
from missioncontrol_nb.judgement.adopters import Standard
from missioncontrol_nb.judgement.baseline import MEDIAN_COST, Curves, Spread
from missioncontrol_nb.judgement.evidence import EFFECTS, Evidence
from missioncontrol_nb.judgement.incidents import covered
from missioncontrol_nb.judgement.observations import Segment, Sums
from missioncontrol_nb.judgement.release_moments import Released
from missioncontrol_nb.judgement.release_use import ReleaseUse, Usage
from missioncontrol_nb.judgement.scatter import EARLY_DAYS, EARLY_DRIFT, NEWEST_DRIFT, SUPERSEDED_DRIFT
from missioncontrol_nb.judgement.used_hours import HOURS_A_PING, clock_edges
from missioncontrol_nb.judgement.ways import (
    NEWEST,
    SETTLED,
    USUAL,
    WHILE_YOUNG,
    Steps,
    log_prior,
    shares_of_ways,
    tiled,
    together,
)

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
# Evidence of 100 comes up in at most one of 100 healthy series, however often one looks. An alarm that it no longer
# supports is over.
ALARM, LOOKS_BAD, NOTHING_ROSE = np.log(100.0), np.log(10.0), np.log(3.0)
LONGEST_PAST = 504.0  # hours of a release's own past that count
SHARED_ERROR = 2.0  # the error of the curve in young intervals counts so much, because neighbours share it
BACK = 0.95  # probability that a factor has ended, from which an alarm is over
# A release that mends another is like it, or like any healthy one: how likely, and how like it, in parts of tau.
LIKE_MENDED, MENDED_SCALE = 0.5, 0.5
LEAST_CHAINED = 24  # intervals of a past that tells the effects of a release
QUANTILE = 1.645  # of 90 % intervals


def interval_edges(released: float, until: float) -> Array:
    """The intervals whose counts are compared with a typical release's: an hour in the first day, then two."""
    day = np.ceil(released + 24)
    if until <= day:
        return clock_edges(released, until, 1.0)
    return np.concatenate([clock_edges(released, day, 1.0)[:-1], clock_edges(day, until, 2.0)])


@dataclass(frozen=True)
class Look:
    """What is known of a release at a moment, by measure.

    edges: of intervals; events, exposure, typical: (intervals, measures), typical events being those of a typical
    release. log_evidence, share_back: by measure. used, used_deviation: hours since the release, and the relative
    standard deviation of that estimate; reported: hours since the release.
    """

    at: float
    edges: Array
    events: Array
    exposure: Array
    typical: Array
    log_evidence: Array
    share_back: Array
    reported: float
    used: float
    used_deviation: float
    total_events: Array
    total_exposure: Array
    total_typical: Array
    ratio_variance: Array
    healthy_variance: Array


@dataclass
class Watch:
    """A release that is watched. is_crash: by measure, whether its events come at once, and its hours late.

    witnesses: (measures, measures), 1 where the second tells how long delays are to the first.

    While it is young, its own delays are unknown, and matter: everything is computed for shorter, usual and longer
    ones, and for use that jumped, each with its weight (see `ways`). Later the first hours' use is settled, and so is
    the evidence of those hours.
    """

    segment: Segment
    released: Released
    measures: tuple[str, ...]
    is_crash: Mask
    witnesses: Array
    sums: Sums = field(init=False)

    def __post_init__(self) -> None:
        self.sums = self.segment.releases[self.released.name]
        self._use = ReleaseUse(self.sums, self.released.moment, self.released.moment)
        self.superseded_at = np.inf
        self.latched = np.zeros(len(self.measures), bool)  # whose evidence was enough for an alarm
        self.looks_bad = np.zeros(len(self.measures), bool)  # whose evidence was suspicious, and still is some
        self._curves: Curves | None = None
        self._spread = Spread.usual(len(self.measures))
        self._mended: Array | None = None
        self._likely_ways = np.exp(log_prior(WHILE_YOUNG))  # how likely each way is, by the counts of all measures
        self._standard: Standard | None = None
        self._chain: Evidence | None = None
        self._chained = 0  # intervals that the chain has
        self._is_anew = True  # whether no look has been taken since the curves were learned
        self._last: Evidence | None = None
        self._skip_until = np.full(len(self.measures), -np.inf)

    def counts_since(self, measure: int) -> float:
        """The moment from which a measure's intervals count: since its last alarm was over."""
        return float(self._skip_until[measure])

    def begin_at(self, at: float) -> None:
        """Leaves out what is too long ago, of a release that is first looked at when it is old."""
        if at - self.released.moment > LONGEST_PAST:
            self._use.begins = float(np.floor(at - LONGEST_PAST))

    @property
    def begins(self) -> float:
        """From when on its counts are looked at."""
        return self._use.begins

    def learn(
        self, curves: Curves | None, spread: Spread, mended: Array | None = None, standard: Standard | None = None
    ) -> None:
        """Compares with these curves from now on; the evidence so far is computed anew with them.

        mended: the effects of the release that this one mends, as from `posterior`; None where there is none. standard:
        how the rates of those who use a release differ; None where they are not told apart.
        """
        self._curves, self._spread, self._mended, self._standard = curves, spread, mended, standard
        self._chain, self._chained, self._is_anew = None, 0, True
        self.latched[:], self.looks_bad[:] = False, False

    @property
    def dispersion(self) -> Array:
        """The variance of small counts over that of chance, by measure."""
        return self._spread.dispersion

    @property
    def tau(self) -> float:
        """The mean scale of differences between releases."""
        return self._spread.tau

    @property
    def is_compared(self) -> bool:
        """Whether there is a baseline to compare with."""
        return self._curves is not None

    def look(self, at: float, usage: Usage) -> Look:
        """The judgement as of a moment, which must not be before that of the last look."""
        edges = interval_edges(self.begins, at)
        known, used_scatter = self._use.estimate(at, edges, usage, self._spread.law_scatter, self.superseded_at)
        events = self.sums.table(self.measures, edges)
        wrong = self._wrong(edges, usage.activity)
        events[wrong] = 0.0
        known_by_way, by_way = (self._exposure_of(edges, each, wrong) for each in (known, self._use.with_settled))
        ages = np.maximum((edges[1:] + edges[:-1]) / 2 - self.released.moment, 0.0)
        nothing = np.full(len(self.measures), np.nan)
        log_evidence, share_back = nothing, nothing
        rate = np.full(events.shape, np.nan)
        if self._curves is not None:
            rate = self._curves.rate(ages)
            if self._standard is not None:
                rate *= self._standard.index(self.released.name, edges, at)
            log_evidence, share_back = self._evidence(edges, ages, events, by_way * rate, used_scatter)
        hours = np.einsum("w,wim->im", self._likely_ways, known_by_way)
        typical = hours * rate
        reported = float(self.sums.up_to("usage_hours", at) - self.sums.up_to("usage_hours", self.begins))
        total = known.sum(axis=1)
        deviation = self._deviation(total, reported)
        healthy_variance = ratio_variance = nothing
        if self._curves is not None:
            weight = typical / np.maximum(typical.sum(axis=0), 1e-12)
            curve = (weight * self._curves.log_variance(ages)).sum(axis=0) + self._curves.level_variance
            baseline = self._spread.tau**2 * MEDIAN_COST / np.maximum(self._curves.known, 1) + curve
            scatter = ((weight * self._spread.scatter_of(ages, typical)) ** 2).sum(axis=0)
            drift = self._spread.drift[NEWEST_DRIFT] ** 2 * (at - self.begins) / 24 / 3
            ratio_variance = baseline + scatter + np.where(self.is_crash, deviation**2, 0.0)
            healthy_variance = self._spread.tau**2 + baseline + drift
        return Look(
            at=at,
            edges=edges,
            events=events,
            exposure=hours,
            typical=typical,
            log_evidence=log_evidence,
            share_back=share_back,
            reported=reported,
            used=float(self._likely_ways @ total),
            used_deviation=deviation,
            total_events=events.sum(axis=0),
            total_exposure=hours.sum(axis=0),
            total_typical=typical.sum(axis=0),
            ratio_variance=ratio_variance,
            healthy_variance=healthy_variance,
        )

    def _deviation(self, total: Array, reported: float) -> float:
        """The relative standard deviation of the estimate of use: by unknown delays, by the share, and by chance.

        total: hours by way.
        """
        log_total, likely = np.log(np.maximum(total, 1e-9)), self._likely_ways
        by_ways = float(np.sqrt(likely @ (log_total - likely @ log_total) ** 2))
        by_chance = np.sqrt(HOURS_A_PING / max(reported, HOURS_A_PING / 4))
        return float(np.sqrt(by_ways**2 + self._use.deviation**2 + by_chance**2))

    def _exposure_of(self, edges: Array, used: Array, wrong: Mask) -> Array:
        """The hours that each measure's events belong to, by way: used ones for crashes, else reported ones."""
        reported = self.sums.between("usage_hours", edges)
        hours = np.where(self.is_crash, used[:, :, None], reported[None, :, None])
        return np.where(wrong, 0.0, hours)

    def _wrong(self, edges: Array, activity: Activity) -> Mask:
        """The intervals in which data is missing, or that a data incident touches: (intervals, measures)."""
        first, last = np.floor(edges[:-1] + 1e-6), np.ceil(edges[1:] - 1e-6) - 1
        outage = activity.is_outage(first.astype(np.int64)) | activity.is_outage(last.astype(np.int64))
        return outage[:, None] | covered(self.segment.incidents, self.measures, edges)

    def _evidence(
        self, edges: Array, ages: Array, events: Array, typical: Array, used_scatter: Array
    ) -> tuple[Array, Array]:
        assert self._curves is not None
        drift = self._drift(edges)
        scatter = np.sqrt(
            self._spread.scatter_of(ages, typical[USUAL]) ** 2
            + SHARED_ERROR
            * (self._curves.early_variance(ages) + np.where(self.is_crash, used_scatter[:, None] ** 2, 0))
        )
        counted = (typical[USUAL] > 0) & (edges[:-1, None] >= self._skip_until[None, :])
        events, typical = np.where(counted, events, 0.0), np.where(counted, typical, 0.0)
        steps = Steps(edges - self.released.moment, events, typical, scatter, drift)
        settled, young = self._use.settled, self._use.young(edges)
        if self._chain is None:
            self._chain, self._chained = Evidence.before(self._prior()), 0
        self._chain = self._advanced(self._chain, steps, settled, young, latches=True)
        self._chained = settled
        # The first look finds by itself what earlier looks would have seen.
        chain = self._advanced(self._chain, steps, len(events), young, is_newest=True, latches=self._last is None)
        self._last = self._together(chain)
        self._suspect(self._last.log_ratio)
        self._is_anew = False
        return self._last.log_ratio, self._last.share_back

    def _advanced(
        self, chain: Evidence, steps: Steps, until: int, young: int, *, is_newest: bool = False, latches: bool = False
    ) -> Evidence:
        """The chain after more intervals, over the ways that the hours of each may be explained in."""
        place = self._chained
        while place < until:
            ways = WHILE_YOUNG if place < young else NEWEST if is_newest else SETTLED
            if len(chain.weights) != len(ways) * len(self.measures):
                chain = tiled(self._together(chain), len(ways))
            stop = min(until, young) if place < young else until
            likely = np.concatenate([steps.likely(way, place, stop) for way in ways], axis=1)
            for number in range(place, stop):
                chain = steps.after(chain, likely[number - place], number, len(ways))
                if latches:
                    chain = self._latched(chain, float(steps.ages[number + 1] + self.released.moment))
            place = stop
            if ways == WHILE_YOUNG:
                self._likely_ways = shares_of_ways(chain, len(self.measures), self.witnesses.max(axis=0))
        return chain

    def _together(self, chain: Evidence) -> Evidence:
        """The evidence of each series, over all ways."""
        return together(chain, len(self.measures), self.witnesses)

    def _latched(self, chain: Evidence, at: float) -> Evidence:
        """Notes which series are up, and begins anew with those whose factor has ended."""
        mixed = self._together(chain)
        if self._is_anew:
            self._suspect(mixed.log_ratio)
        self.latched |= mixed.log_ratio >= ALARM
        over = self.latched & is_over(mixed.log_ratio, mixed.share_back)
        if over.any():
            self.latched, self.looks_bad = self.latched & ~over, self.looks_bad & ~over
            self._skip_until = np.where(over, at, self._skip_until)
            chain = self._restarted(chain, mixed, over)
            if self._chain is not None:  # later looks leave out the hours in which it ended
                self._chain = self._restarted(self._chain, mixed, over)
        return chain

    def _suspect(self, log_evidence: Array) -> None:
        """Notes which series look bad: it takes more evidence to begin than to go on."""
        self.looks_bad = (log_evidence >= LOOKS_BAD) | (self.looks_bad & (log_evidence >= NOTHING_ROSE))

    def _restarted(self, chain: Evidence, mixed: Evidence, over: Mask) -> Evidence:
        """The chain, where some series begin anew."""
        ways = len(chain.weights) // len(self.measures)
        return chain.with_rows(tiled(mixed.restarted(), ways), np.tile(over, ways))

    def recover(self, over: Mask, at: float) -> None:
        """Begins anew with series whose alarm is over."""
        self.latched, self.looks_bad = self.latched & ~over, self.looks_bad & ~over
        self._skip_until = np.where(over, at, self._skip_until)
        if self._chain is not None and self._last is not None:
            self._chain = self._restarted(self._chain, self._last, over)

    def _drift(self, edges: Array) -> Array:
        """The variance of the effect's step to each interval: (intervals, measures)."""
        days = np.diff(edges, prepend=edges[0])[:-1] / 24
        drift = self._spread.drift
        scale = np.where(edges[:-1] >= self.superseded_at, drift[SUPERSEDED_DRIFT], drift[NEWEST_DRIFT])
        scale = np.where(edges[:-1] < self.released.moment + 24 * EARLY_DAYS, drift[EARLY_DRIFT], scale)
        return np.repeat((days * scale**2)[:, None], len(self.measures), axis=1)

    def _prior(self) -> Array:
        assert self._curves is not None
        fixed = self._curves.settled_variance + self._curves.level_variance
        taus = self._spread.taus**2 * (1 + MEDIAN_COST / np.maximum(self._curves.known, 1))[:, None]
        prior = filtering.healthy_effects(np.sqrt(taus + fixed[:, None]), self._spread.tau_weights)
        if self._mended is None:
            return prior
        near = filtering.blurred(self._mended, MENDED_SCALE * self._spread.tau)
        return np.asarray((1 - LIKE_MENDED) * prior + LIKE_MENDED * near)

    def posterior(self) -> Array | None:
        """The effects that the settled past shows, without a factor: (measures, effects). Of measures that rose, those
        of healthy releases; None where there is no past to tell."""
        if self._chain is None or self._chained < LEAST_CHAINED:
            return None
        return np.where(self.latched[:, None], self._prior(), self._together(self._chain).healthy)

    def effect(self) -> Array:
        """The mean effect of the settled past, by measure; 0 without one."""
        if self._chain is None:
            return np.zeros(len(self.measures))
        return np.asarray(self._together(self._chain).healthy @ EFFECTS)


def is_over(log_evidence: Array, share_back: Array) -> Mask:
    """Whether what had risen is back, or seems not to have risen at all."""
    return np.asarray((share_back > BACK) | (log_evidence < NOTHING_ROSE))


def begun(look: Look, measure: int, since: float = -np.inf) -> int:
    """The interval with which a factor most likely began: one from `since` on that was not left out."""
    scatter = np.full(len(look.events), 0.05)
    likely = filtering.log_likelihood(look.events[:, measure], look.typical[:, measure], scatter)
    before = np.concatenate([np.zeros((1, likely.shape[1])), np.cumsum(likely, axis=0)])[:-1]
    after = np.cumsum(likely[::-1], axis=0)[::-1]
    places = filtering.SHIFTS[:, None] + np.arange(len(EFFECTS))[None, :]
    prior = -0.5 * (EFFECTS / 0.12) ** 2
    joint = before[:, None, : len(EFFECTS)] + after[:, places] + prior
    ages = look.edges - look.edges[0]
    weights = np.array([filtering.later_weight(*pair) for pair in pairwise(ages)])
    weights[0] += filtering.FROM_RELEASE  # a slice is found by what was before: a rise that seems to be later hides it
    largest = joint.max(axis=(1, 2))
    score = largest + np.log(np.exp(joint - largest[:, None, None]).sum(axis=(1, 2))) + np.log(weights)
    counts = look.edges[:-1] >= since
    place = int(np.argmax(np.where(counts, score, -np.inf))) if counts.any() else len(counts) - 1
    return place + int(np.argmax(look.typical[place:, measure] > 0))
