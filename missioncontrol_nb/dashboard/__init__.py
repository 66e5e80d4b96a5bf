"""The dashboard: published by `missioncontrol dashboard`, or embedded in a notebook by `dashboard.show(dataset)`."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipywidgets import Box

__all__ = ["show"]


def show(dataset: str | Path | None = None, releases: str | Path | None = None) -> "Box":
    """The dashboard of a dataset as a widget, kept up to date while it has a visitor.

    dataset: folder or `s3://` URL; releases: a release calendar, None is the calendar in the dataset, or the snapshot
    if there is none. Without a dataset, both come from environment variables, which `missioncontrol dashboard` sets.
    Raises MissionControlError where a dataset or calendar named here cannot be opened.
    """
    from missioncontrol_nb import arguments
    from missioncontrol_nb.dashboard.app import start
    from missioncontrol_nb.dashboard.server.settings import Settings
    from missioncontrol_nb.releases.sources import calendar_beside

    if dataset is None:
        return start(Settings.from_environment()).widget
    calendar = calendar_beside(dataset) if releases is None else arguments.place("releases", releases)
    return start(Settings(arguments.place("dataset", dataset), calendar), must_exist=True).widget
