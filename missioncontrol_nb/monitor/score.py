"""A channel's score: the events of its product's score measures per 1000 usage hours, over all its systems."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from missioncontrol_nb.monitor.hourly_sums import Counts
from missioncontrol_nb.monitor.segment import Period, Segment
from missioncontrol_nb.monitor.summaries import Change, ChannelSummary, Rate, Version
from missioncontrol_nb.statistics import standardised_change, standardised_rate


@dataclass(frozen=True)
class _Strata:
    """Events, usage hours and weights of the systems that count, each as an array."""

    events: np.ndarray
    usage_hours: np.ndarray
    weights: np.ndarray

    def rate(self) -> Rate:
        value, lower, upper = standardised_rate(self.events, self.usage_hours, self.weights)
        return Rate(value, lower, upper, int(self.events.sum()), float(self.usage_hours.sum()))


def with_score(summary: ChannelSummary, places: Sequence[Segment]) -> ChannelSummary:
    """The summary with its score, with systems weighted by the previous version's usage at the same age.

    Both versions have the same weights, so that a version that reaches Windows first is not rated better or worse for
    it. Systems are left out where either version has no usage, or could not report a measure that the other one could,
    or has usage in which a measure was not counted yet.
    Without a previous version there is no score.
    """
    newest, previous = summary.newest, summary.previous
    if previous is None:
        return summary
    used = [place for place in places if _is_used(place, newest) and _is_used(place, previous)]
    used = [place for place in used if _is_counted(place, newest, previous)]
    if not used:
        return summary
    now, before = _strata(used, newest, previous), _strata(used, previous, previous)
    value, lower, upper = standardised_change(
        now.events, now.usage_hours, before.events, before.usage_hours, now.weights
    )
    change = Change(value, lower, upper) if np.isfinite(lower) else None
    used_last_day = [place for place in used if _is_used(place, newest, "last_24h")]
    return replace(
        summary,
        score=now.rate(),
        score_previous=before.rate(),
        score_last_24h=_strata(used_last_day, newest, previous, "last_24h").rate() if used_last_day else None,
        score_change=change,
    )


def _is_counted(place: Segment, newest: Version, previous: Version) -> bool:
    """Whether both versions report the same measures of the score, and counted each one in all of their usage."""
    reported = _reported(place, newest)
    if not reported or reported != _reported(place, previous):
        return False
    both = place.counts(newest), place.counts(previous)
    return all(counts.hours_of(name) == counts.usage_hours for name in reported for counts in both)


def _reported(place: Segment, version: Version) -> list[str]:
    return [name for name in place.product.score if place.why_not_reported(name, version) is None]


def _is_used(place: Segment, version: Version, period: Period = "since_release") -> bool:
    return place.counts(version, period).usage_hours > 0


def _strata(
    places: Sequence[Segment], version: Version, previous: Version, period: Period = "since_release"
) -> _Strata:
    """A version's sums on some systems, on each of which both versions have usage."""
    counts = [place.counts(version, period) for place in places]
    weights = np.array([place.counts(previous).usage_hours for place in places])
    return _Strata(
        np.array([_crashes(each, places[0].product.score) for each in counts], float),
        np.array([each.usage_hours for each in counts]),
        weights / weights.sum(),
    )


def _crashes(counts: Counts, measures: Sequence[str]) -> int:
    return sum(counts.events.get(measure, 0) for measure in measures)
