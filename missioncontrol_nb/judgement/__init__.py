"""Judges releases: whether a rate is what healthy releases show, and if not, since when and where."""

from missioncontrol_nb.judgement.changes import Changes, changes_since
from missioncontrol_nb.judgement.events import Event, OpenAlarm
from missioncontrol_nb.judgement.judging import judge, judged, replay, replayed

__all__ = ["Changes", "Event", "OpenAlarm", "changes_since", "judge", "judged", "replay", "replayed"]
