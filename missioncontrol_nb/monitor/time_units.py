"""The time units of this package: hours and days."""

from datetime import datetime, timedelta

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def hour_of(moment: datetime) -> datetime:
    """The start of the hour that contains a moment."""
    return moment.replace(minute=0, second=0, microsecond=0)
