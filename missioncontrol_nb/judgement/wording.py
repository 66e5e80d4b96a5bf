"""Judgements as text: the series that are up first, each in one sentence."""

from collections.abc import Sequence

from missioncontrol_nb.judgement.events import Event
from missioncontrol_nb.judgement.series import Series
from streaming import contract

STATES = ("bad", "looks bad", "too early", "fine")


def as_text(found: Sequence[Series]) -> str:
    """What is bad or looks bad, a line each, and how many series are in each state."""
    if not found:
        return "There is nothing to judge: no release has pings yet."
    up = sorted(
        (series for series in found if series.state in STATES[:2]),
        key=lambda series: (STATES.index(series.state), -(series.evidence or 0)),
    )
    counts = [(state, sum(series.state == state for series in found)) for state in STATES]
    summary = ", ".join(f"{number} {state}" for state, number in counts if number)
    reasons = dict.fromkeys(series.why for series in found if series.why)
    lines = [*map(_line, up), f"{len(found)} series as of {found[0].at}: {summary}"]
    return "\n".join([*lines, *(f"too early: {why}" for why in reasons)])


def _line(series: Series) -> str:
    where = f"{series.channel} {series.os_name} {series.display_version}"
    label = contract.measure(series.measure).label
    ratio = (
        ""
        if series.rate_ratio is None
        else f"{series.rate_ratio:.2f} times the expected rate ({series.lower:.2f} to {series.upper:.2f}), "
    )
    since = f", since {series.since}" if series.since else ""
    return f"{series.state}: {label}, {where}: {ratio}evidence {series.evidence:.3g}{since}"


def event_as_text(event: Event) -> str:
    """An event in one line."""
    version = event.display_version or "all versions"
    label = contract.measure(event.measure).label
    ratio = "" if event.rate_ratio is None else f", {event.rate_ratio:.2f} times the expected rate"
    since = f" since {event.since}" if event.since else ""
    return f"{event.detected_at} {event.event}: {label}, {event.channel} {event.os_name} {version}{ratio}{since}"
