"""A channel's one number: main plus content crashes per 1000 usage hours, over all its systems."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from missioncontrol_nb.monitor.hourly import Counts
from missioncontrol_nb.monitor.place import Period, Place
from missioncontrol_nb.monitor.summaries import Change, ChannelSummary, Rate, Version
from missioncontrol_nb.rates import standardised_change, standardised_rate

SCORE_MEASURES = ("main_crashes", "content_crashes")


@dataclass(frozen=True)
class _Strata:
    """Events, usage hours and weights of the systems that count, each an array."""

    events: np.ndarray
    usage_hours: np.ndarray
    weights: np.ndarray

    def rate(self) -> Rate:
        value, lower, upper = standardised_rate(self.events, self.usage_hours, self.weights)
        return Rate(value, lower, upper, int(self.events.sum()), float(self.usage_hours.sum()))


def with_score(summary: ChannelSummary, places: Sequence[Place]) -> ChannelSummary:
    """The summary with its score: systems weighted by the previous version's usage at the same age.

    Weighted alike for both versions, so that one that reaches Windows first is not called better or worse for it.
    Systems on which either has no usage are left out. Without a previous version there is no score.
    """
    newest, previous = summary.newest, summary.previous
    if previous is None:
        return summary
    now, before = _strata(places, newest, previous), _strata(places, previous, previous)
    if not len(now.weights):
        return summary
    value, lower, upper = standardised_change(
        now.events, now.usage_hours, before.events, before.usage_hours, now.weights
    )
    change = Change(value, lower, upper) if np.isfinite(lower) else None
    last_day = _strata(places, newest, previous, "last_24h")
    return replace(
        summary,
        score=now.rate(),
        score_previous=before.rate(),
        score_last_24h=last_day.rate() if len(last_day.weights) else None,
        score_change=change,
    )


def _strata(places: Sequence[Place], version: Version, previous: Version, period: Period = "since_release") -> _Strata:
    pairs = [(place.counts(version, period), place.counts(previous)) for place in places]
    counted = [(now, before) for now, before in pairs if now.usage_hours > 0 and before.usage_hours > 0]
    weights = np.array([before.usage_hours for _, before in counted])
    return _Strata(
        np.array([_crashes(now) for now, _ in counted], float),
        np.array([now.usage_hours for now, _ in counted]),
        weights / weights.sum() if len(weights) else weights,
    )


def _crashes(counts: Counts) -> int:
    return sum(counts.events[measure] for measure in SCORE_MEASURES)
