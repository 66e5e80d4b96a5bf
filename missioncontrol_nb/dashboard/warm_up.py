"""Prepares a process to draw: the first chart takes three times as long as the next."""

import logging
from datetime import UTC, datetime, timedelta
from functools import cache

import pandas as pd

from missioncontrol_nb.dashboard.judged import Judged
from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.dashboard.views import drawing
from missioncontrol_nb.monitor import Detail
from missioncontrol_nb.monitor.summaries import Change, Line, MeasureSummary, Rate, Version

log = logging.getLogger(__name__)


@cache
def warm_up() -> None:
    """Draws a chart of made-up numbers, once in a process; a process that is forked from it need not do it again."""
    try:
        drawing(_example(), Judged(), Query(view="detail"), narrow=False)
    except Exception:
        log.exception("a chart could not be drawn")


def _example() -> Detail:
    """Two versions over two days."""
    since, hours = datetime(2017, 10, 1, tzinfo=UTC), 48
    newest, previous = Version("56.0", since), Version("55.0.3", since - timedelta(days=30))
    lines = tuple(Line(each.version, each.version, rank, each.released) for rank, each in enumerate((newest, previous)))
    starts = pd.date_range(since, periods=hours, freq="h", unit="us")
    parts = [
        pd.DataFrame(
            {
                "line": line.name,
                "window_start": starts,
                "age_hours": (starts - line.released) / timedelta(hours=1),
                "events": 2,
                "usage_hours": 1000.0,
                "rate": 2.0 + line.rank,
                "lower": 1.5,
                "upper": 4.5,
                "arrived": 1.0,
                "complete": True,
            }
        )
        for line in lines
    ]
    rates = [Rate(2.0 + rank, 1.5, 4.5, 96, 48_000.0) for rank in range(2)]
    row = MeasureSummary("main_crashes", "measured", rates[0], rates[1], rates[0], Change(-0.3, -0.5, -0.1))
    until = since + timedelta(hours=hours)
    windows = pd.concat(parts, ignore_index=True)
    return Detail(
        channel="release",
        os_name="Windows_NT",
        newest=newest,
        previous=previous,
        row=row,
        lines=lines,
        windows=windows,
        since=since,
        until=until,
        every=timedelta(hours=1),
        left_out=0,
        adoption=0.3,
        completeness=(),
        data_up_to=until,
        now=until,
    )
