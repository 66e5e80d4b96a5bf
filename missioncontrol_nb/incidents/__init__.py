"""Data incidents: hours in which a dataset's numbers are known to be wrong, written down by people as annotations."""

from missioncontrol_nb.incidents.annotating import (
    annotate,
    annotations,
    incidents_of,
    read_incidents,
    remove_annotation,
)
from missioncontrol_nb.incidents.incident import Incident

__all__ = ["Incident", "annotate", "annotations", "incidents_of", "read_incidents", "remove_annotation"]
