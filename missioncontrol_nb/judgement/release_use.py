"""The hours that a release was used for, estimated again and again as its reports come in.

All times are hours since 1970, UTC.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.delay_law import DelayLaw
from missioncontrol_nb.judgement.activity import Activity
from missioncontrol_nb.judgement.observations import Sums
from missioncontrol_nb.judgement.used_hours import RECENT, UsedHours, estimate_used_hours, report_edges
from missioncontrol_nb.judgement.ways import LAW_NODES, LONGER, SHORTER, USUAL, WAYS, with_jump

Array = npt.NDArray[np.float64]
SETTLED_AFTER = 24.0  # hours; the evidence keeps the use of older intervals as it was estimated then
YOUNG_HOURS = 48.0  # of age; the use of so many hours depends on the release's own delays
UNSURE = 1.4  # times what its bends say, the share's uncertainty: activity and delays are not quite as they were
LEAST_DEVIATION = 0.015  # of all hours, relative: what is too old to be estimated anew has none of its own
MOST_USED_SCATTER = 1.5  # of the estimate of an interval's use; of less certain ones little can be said


@dataclass(frozen=True)
class Usage:
    """What a channel's use on a system was like, as of a day."""

    activity: Activity
    law: DelayLaw


@dataclass
class ReleaseUse:
    """The use of a release. sums: its reports; released: its moment; begins: that, or later if it is looked at from
    then on.

    known, with_settled: hours by way and interval as of the last estimate: as they are known then, and with those of
    settled intervals as they were when they settled. settled: how many intervals these are. deviation: of all hours as
    they are known, the relative standard deviation if delays are the usual ones.
    """

    sums: Sums
    released: float
    begins: float
    known: Array = field(default_factory=lambda: np.zeros((WAYS, 0)))
    with_settled: Array = field(default_factory=lambda: np.zeros((WAYS, 0)))
    settled: int = 0
    deviation: float = 0.0

    def estimate(
        self, at: float, edges: Array, usage: Usage, law_scatter: float, superseded_at: float
    ) -> tuple[Array, Array]:
        """The hours by way and interval as they are known at a moment, and the relative scatter of the estimate.

        edges: of the intervals; those of the estimate before begin alike. law_scatter: of the logarithm of delays. The
        scatter, by interval, is that of usual delays; of intervals that are not young that by unknown delays is in it.
        What is too old to be estimated anew has none.
        """
        laws = [usage.law.scaled(float(factor)) for factor in np.exp(LAW_NODES * law_scatter)]
        since = self.begins
        if self.settled and at - self.begins > RECENT:
            since = max(self.begins, min(float(edges[self.settled]), float(np.floor(at - RECENT))))
        is_young = self._was_released and at - self.begins <= YOUNG_HOURS + SETTLED_AFTER
        needed = range(len(laws)) if is_young or not self.settled else (SHORTER, USUAL, LONGER)
        found = {place: self._used(at, since, usage.activity, laws[place], superseded_at) for place in needed}
        first = int(np.searchsorted(edges, since - 1e-6))
        recent = edges[first:]
        hours = np.array([found.get(place, found[USUAL]).between(recent) for place in range(len(laws))])
        log_hours = np.log(np.maximum(hours, 1e-9))
        by_delays = np.abs(log_hours[LONGER] - log_hours[SHORTER]) / 2
        is_old = np.arange(first, len(edges) - 1) >= self.young(edges)
        scatter = found[USUAL].deviation(recent)
        scatter = np.minimum(np.where(is_old, np.hypot(scatter, by_delays), scatter), MOST_USED_SCATTER)
        settled = max(int(np.searchsorted(edges[1:], at - SETTLED_AFTER + 1e-6, side="right")), self.settled)
        missing = 1 - usage.law.mean_reported(at - recent[:-1], at - recent[1:])
        missing[: max(settled - first, 0)] = 0.0
        hours = with_jump(np.where(is_old, hours[USUAL], hours), missing)
        self.known = np.concatenate([self.known[:, :first], hours], axis=1)
        self.with_settled = np.concatenate(
            [self.with_settled[:, : self.settled], self.known[:, self.settled :]], axis=1
        )
        self.settled = settled
        by_share = float(found[USUAL].deviation(recent[[0, -1]])[0] * hours[USUAL].sum())
        of_old = float((by_delays * hours[USUAL])[is_old].sum())
        by_reports = np.hypot(UNSURE * by_share, of_old) / max(self.known[USUAL].sum(), 1e-9)
        self.deviation = float(np.hypot(by_reports, LEAST_DEVIATION))
        return self.known, np.concatenate([np.zeros(first), scatter])

    def young(self, edges: Array) -> int:
        """How many intervals have a use that depends on the release's own delays."""
        if not self._was_released:
            return 0
        return int(np.searchsorted(edges[1:], self.begins + YOUNG_HOURS + 1e-6, side="right"))

    @property
    def _was_released(self) -> bool:
        """Whether it begins with the release."""
        return self.begins == self.released

    def _used(self, at: float, since: float, activity: Activity, law: DelayLaw, superseded_at: float) -> UsedHours:
        reports = report_edges(self.released, at, since)
        reported = self.sums.between("usage_hours", reports)
        return estimate_used_hours(reports, reported, self.released, activity, law, superseded_at)
