"""The public API for data scientists: load the grouped dataset, compute rates, draw charts and monitor releases."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from missioncontrol_nb import dashboard, monitor, releases
    from missioncontrol_nb.aggregator import Aggregator
    from missioncontrol_nb.charts import rate_chart
    from missioncontrol_nb.incidents import annotate, annotations, remove_annotation
    from missioncontrol_nb.judgement import judge, replay
    from missioncontrol_nb.loading.dataset import Dataset, load
    from missioncontrol_nb.releases.sources import load_calendar
    from missioncontrol_nb.slice_search import slices
    from missioncontrol_nb.statistics import rates
    from streaming.errors import MissionControlError

__all__ = [
    "Aggregator",
    "Dataset",
    "MissionControlError",
    "annotate",
    "annotations",
    "dashboard",
    "judge",
    "load",
    "load_calendar",
    "monitor",
    "rate_chart",
    "rates",
    "releases",
    "remove_annotation",
    "replay",
    "slices",
]

# Modules are imported on first use. pyspark is never imported.
_MODULES = ("dashboard", "monitor", "releases")
_HOMES = {
    "Aggregator": "missioncontrol_nb.aggregator",
    "Dataset": "missioncontrol_nb.loading.dataset",
    "MissionControlError": "streaming.errors",
    "annotate": "missioncontrol_nb.incidents",
    "annotations": "missioncontrol_nb.incidents",
    "judge": "missioncontrol_nb.judgement",
    "load": "missioncontrol_nb.loading.dataset",
    "load_calendar": "missioncontrol_nb.releases.sources",
    "rate_chart": "missioncontrol_nb.charts",
    "rates": "missioncontrol_nb.statistics",
    "remove_annotation": "missioncontrol_nb.incidents",
    "replay": "missioncontrol_nb.judgement",
    "slices": "missioncontrol_nb.slice_search",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"missioncontrol_nb.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'missioncontrol_nb' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
