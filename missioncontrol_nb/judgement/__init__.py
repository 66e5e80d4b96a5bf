"""Judges releases: whether a rate is what healthy releases show, and if not, since when and where."""

from missioncontrol_nb.judgement.judging import judge, judged, replay, replayed

__all__ = ["judge", "judged", "replay", "replayed"]
