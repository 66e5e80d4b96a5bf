"""The release calendar: versions and their order, official builds, and the sources of calendars."""

from missioncontrol_nb.releases.calendar import Calendar, Release, require_writable
from missioncontrol_nb.releases.product_details import derive
from missioncontrol_nb.releases.sources import calendar_beside, load_calendar, snapshot_to_refresh, user_snapshot
from missioncontrol_nb.releases.versions import major_of, version_key

__all__ = [
    "Calendar",
    "Release",
    "calendar_beside",
    "derive",
    "load_calendar",
    "major_of",
    "require_writable",
    "snapshot_to_refresh",
    "user_snapshot",
    "version_key",
]
