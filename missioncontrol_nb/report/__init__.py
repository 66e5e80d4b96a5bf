"""A report of releases at a moment: read as data, drawn by a notebook's cells, published whole."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from missioncontrol_nb.report.parameters import Parameters, parameters_of
    from missioncontrol_nb.report.reading import Report, read_report
    from missioncontrol_nb.report.sections import (
        adoption,
        alarms,
        cards,
        changes,
        charts,
        experiments,
        headlines,
        made,
        quality,
    )

_SECTIONS = ("adoption", "alarms", "cards", "changes", "charts", "experiments", "headlines", "made", "quality")
_HOMES = {
    "Parameters": "parameters",
    "parameters_of": "parameters",
    "Report": "reading",
    "read_report": "reading",
    **dict.fromkeys(_SECTIONS, "sections"),
}
__all__ = [
    "Parameters",
    "Report",
    "adoption",
    "alarms",
    "cards",
    "changes",
    "charts",
    "experiments",
    "headlines",
    "made",
    "parameters_of",
    "quality",
    "read_report",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"missioncontrol_nb.report.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'missioncontrol_nb.report' has no attribute {name!r}")
