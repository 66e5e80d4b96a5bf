"""Sums of a dataset turned into what a page says: channels, platforms and measures, version against version.

Two versions are compared at the same age: the previous one's sums from its release on, as long as the newest is out
now. Sums are by submission, so both had as much of their usage still in the post at that age. No judgement is made
here: whether a change is acceptable is not said, only whether its interval excludes none.
"""

from missioncontrol_nb.monitor.detail import DetailRequest
from missioncontrol_nb.monitor.monitor import Monitor
from missioncontrol_nb.monitor.summaries import (
    OLDER,
    Change,
    ChannelSummary,
    ChannelTable,
    Completeness,
    Detail,
    Line,
    MeasureSummary,
    NoRelease,
    Overview,
    PlatformSummary,
    Rate,
    Spark,
    Version,
    largest_change,
    size_of_change,
)

__all__ = [
    "OLDER",
    "Change",
    "ChannelSummary",
    "ChannelTable",
    "Completeness",
    "Detail",
    "DetailRequest",
    "Line",
    "MeasureSummary",
    "Monitor",
    "NoRelease",
    "Overview",
    "PlatformSummary",
    "Rate",
    "Spark",
    "Version",
    "largest_change",
    "size_of_change",
]
