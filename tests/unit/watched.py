"""Findings and states of watches, as the tests of the watch draw them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from missioncontrol_nb.watching.changes import Look, Up
from missioncontrol_nb.watching.outbox import add_targets
from missioncontrol_nb.watching.state import Finding, State, Words

NOW = datetime(2017, 10, 2, 20, 0, tzinfo=UTC)
ABOUT = {"main_crashes": "main crashes", "content_crashes": "content crashes", "gpu_crashes": "GPU crashes"}


def at(hours: float) -> datetime:
    """So many hours after NOW."""
    return NOW + timedelta(hours=hours)


def finding(
    measure: str = "content_crashes",
    kind: str = "alarm",
    *,
    ratio: float | None = 2.0,
    version: str | None = "56.0",
    channel: str = "release",
    os_name: str = "Windows_NT",
    since: str | None = "2017-10-02T18:00:00Z",
    where: dict[str, str] | None = None,
) -> Finding:
    """An event about a measure of a version."""
    event: dict[str, Any] = {
        "event": kind,
        "detected_at": "2017-10-02T20:00:00Z",
        "application": "Firefox",
        "channel": channel,
        "os_name": os_name,
        "measure": measure,
        "display_version": version,
        "build_ids": ["20170926190823"],
        "rate_ratio": ratio,
        "lower": None if ratio is None else 0.9 * ratio,
        "upper": None if ratio is None else 1.1 * ratio,
        "evidence": 1000.0,
        "expected_rate": 4.0,
        "observed_rate": None if ratio is None else 4 * ratio,
        "slice": where or {},
        "since": since,
    }
    words = Words("Firefox", channel, {"Windows_NT": "Windows", "Darwin": "macOS"}[os_name], ABOUT[measure])
    key = "|".join(("Firefox", channel, os_name, measure, version or "*"))
    return Finding(key, event, words, f"?view=detail&measure={measure}")


def up(*findings: Finding) -> list[Up]:
    """Alarms that are up."""
    return [Up(each, {"event": each.event, "found": {}, "checked_at": "2017-10-02T20:00:00Z"}) for each in findings]


def look(events: list[Finding] | None = None, *still: Finding, stale: bool = False) -> Look:
    """A look with events, and what is up after it: the alarms and updates among these events, and others."""
    events = events or []
    now = [each for each in events if each.kind != "recovered"] + list(still)
    return Look(NOW, stale, events, [] if stale else up(*now))


def state_with(*targets: str) -> State:
    """A new watch's state with some targets."""
    state = State("data", "Firefox")
    add_targets(state, targets, NOW)
    return state
