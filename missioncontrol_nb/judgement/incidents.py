"""Leaves out the hours of data incidents: in what is judged, in what it is compared with, and in what use is like.

All times are hours since 1970, UTC. An incident that begins or ends within an hour takes all of that hour with it,
because older sums are kept by the hour.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.incidents.incident import Incident
from missioncontrol_nb.judgement.observations import Observations, Segment, hours_of

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def with_incidents(observations: Observations, incidents: Sequence[Incident]) -> Observations:
    """The observations, each segment with the incidents that concern it.

    The delays that are reported in an incident of all measures are left out at once: they cannot be trusted.
    """
    product = observations.product.name
    segments = []
    for segment in observations.segments:
        own = tuple(each for each in incidents if each.concerns(product, segment.channel, segment.os_name))
        segments.append(_without_delays(replace(segment, incidents=own)) if own else segment)
    return replace(observations, segments=tuple(segments))


def _without_delays(segment: Segment) -> Segment:
    reported = np.diff(segment.delay_totals, axis=0)
    reported[_touched_by_all(segment.incidents, segment.delay_ends - 1, segment.delay_ends)] = 0.0
    nothing = np.zeros((1, segment.delay_totals.shape[1]))
    return replace(segment, delay_totals=np.concatenate([nothing, np.cumsum(reported, axis=0)]))


def distrusted_hours(incidents: Sequence[Incident], edges: Array) -> Mask:
    """Which intervals an incident of all measures touches: their usage cannot be trusted either."""
    return _touched_by_all(incidents, edges[:-1], edges[1:])


def covered(incidents: Sequence[Incident], measures: Sequence[str], edges: Array) -> Mask:
    """Which intervals an incident touches: (intervals, measures)."""
    mask = np.zeros((len(edges) - 1, len(measures)), bool)
    for incident in incidents:
        concerned = np.array([incident.concerns(measure=name) for name in measures], bool)
        mask |= _touched(incident, edges[:-1], edges[1:])[:, None] & concerned
    return mask


def left_out(
    incidents: Sequence[Incident], measures: Sequence[str], edges: Array, sums: Callable[[Array], Array]
) -> Array:
    """Sums between each edge and the next without the hours of incidents: (intervals, measures).

    sums: returns the sums of everything between any edges. Long intervals lose only the hours of an incident.
    """
    if not incidents:
        return sums(edges)
    bounds = np.array([_whole_hours(incident) for incident in incidents]).ravel()
    finer = np.sort(np.concatenate([edges, bounds[(bounds > edges[0]) & (bounds < edges[-1])]]))
    parts = np.where(covered(incidents, measures, finer), 0.0, sums(finer))
    whole = np.zeros((len(edges) - 1, len(measures)))
    np.add.at(whole, np.clip(np.searchsorted(edges, finer[:-1], side="right") - 1, 0, len(whole) - 1), parts)
    return whole


def hours_outside(incidents: Sequence[Incident], measure: str, since: float, until: float) -> list[tuple[float, float]]:
    """The parts of [since, until) that no incident of a measure touches, in order."""
    spans = sorted(_whole_hours(each) for each in incidents if each.concerns(measure=measure))
    outside, begin = [], since
    for start, end in [*spans, (until, until)]:
        if min(start, until) > begin:
            outside.append((begin, min(start, until)))
        begin = max(begin, end)
    return outside


def _touched_by_all(incidents: Sequence[Incident], starts: Array, ends: Array) -> Mask:
    mask = np.zeros(len(starts), bool)
    for incident in incidents:
        if incident.measure is None:
            mask |= _touched(incident, starts, ends)
    return mask


def _touched(incident: Incident, starts: Array, ends: Array) -> Mask:
    since, until = _whole_hours(incident)
    return (starts < until - 1e-6) & (ends > since + 1e-6)


def _whole_hours(incident: Incident) -> tuple[float, float]:
    return float(np.floor(hours_of(incident.since))), float(np.ceil(hours_of(incident.until)))
