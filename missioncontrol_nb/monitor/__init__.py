"""Summaries of a dataset's sums for pages: channels, platforms and measures, version against version.

Two versions are compared at the same age: the previous version's sums start at its release and cover the same length
of time as the newest version has been out. Sums are by submission, so at that age both versions had the same share of
their usage not yet reported. The summaries make no judgement: they report only whether a change's interval excludes
zero. Whether a rate is acceptable is what `missioncontrol_nb.judgement` says.
"""

from missioncontrol_nb.monitor.detail import LINES, DetailRequest
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
)

__all__ = [
    "LINES",
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
]
