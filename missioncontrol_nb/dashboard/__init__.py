"""The dashboard: published by `missioncontrol dashboard`, or embedded in a notebook by `dashboard.show(dataset)`."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipywidgets import Box

__all__ = ["show"]


def show(dataset: str | Path | None = None, releases: str | Path | None = None) -> "Box":
    """The dashboard of a dataset as a widget, kept up to date while it is looked at.

    dataset: folder or `s3://` URL; releases: a release calendar, None is that in the
    dataset, else the snapshot. Without a dataset, both come
    from the environment, where `missioncontrol dashboard` put them. Raises MissionControlError where one that is named
    here cannot be opened.
    """
    from missioncontrol_nb import arguments
    from missioncontrol_nb.dashboard.app import start
    from missioncontrol_nb.dashboard.server.settings import Settings
    from missioncontrol_nb.releases.sources import calendar_beside

    if dataset is None:
        return start(Settings.from_environment()).widget
    calendar = calendar_beside(dataset) if releases is None else arguments.place("releases", releases)
    return start(Settings(arguments.place("dataset", dataset), calendar), must_exist=True).widget
