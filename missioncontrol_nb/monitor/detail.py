"""The windows of one measure by line; a line is a version or a build."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import numpy as np

from missioncontrol_nb import arguments
from missioncontrol_nb.arguments import Time, Values
from missioncontrol_nb.loading.query import EVERY, select
from missioncontrol_nb.monitor.segment import Segment
from missioncontrol_nb.monitor.summaries import Line, Version
from missioncontrol_nb.monitor.time_units import HOUR, hour_of
from missioncontrol_nb.releases.versions import version_key
from missioncontrol_nb.statistics import PER_HOURS, rate_interval
from streaming import contract
from streaming.errors import MissionControlError

if TYPE_CHECKING:
    import pandas as pd

MOST_LINES = 6
LINES = ("version", "build", *contract.FINE_DIMENSIONS)  # What each line of a detail stands for
_FIRST = datetime.min.replace(tzinfo=UTC)
COLUMNS = (
    *("line", "window_start", "age_hours", "events", "usage_hours"),
    *("rate", "lower", "upper", "arrived", "complete"),
)


@dataclass(frozen=True)
class DetailRequest:
    """The options of a detail of one measure.

    since, until: an interval, UTC, in any form that `load` takes; by default it ends now and begins `length` before.
    every: `5min`, `1h`, `1d`. time: `since_release` shows each line from its own release on, for the length of the
    interval. line: what each line stands for: `version`, `build`, or one of contract.FINE_DIMENSIONS, such as
    `country`, for its values with the most usage among the pings of the newest version. cut: the percentage of a
    line's complete windows, those with the highest rates, that are left out. skip_hours: windows that begin at a
    smaller age of their line are left out.
    """

    length: timedelta = timedelta(days=7)
    since: Time = None
    until: Time = None
    every: str = "1h"
    time: Literal["latest", "since_release"] = "latest"
    line: str = "version"
    cut: float = 0
    skip_hours: float = 0

    def __post_init__(self) -> None:
        arguments.choice("every", self.every, EVERY)
        arguments.choice("time", self.time, ("latest", "since_release"))
        arguments.choice("line", self.line, LINES)
        length = arguments.instance("length", self.length, timedelta, "a timedelta above 0")
        if not length > timedelta(0):
            raise MissionControlError(f"length takes a timedelta above 0, not {self.length!r}")
        if isinstance(self.cut, bool) or not isinstance(self.cut, (int, float)) or not 0 <= self.cut < 100:
            raise MissionControlError(
                f"cut is a percentage of 0 or more and below 100, not {arguments.brief(self.cut)}"
            )
        skip = self.skip_hours
        if isinstance(skip, bool) or not isinstance(skip, (int, float)) or not 0 <= skip < math.inf:
            raise MissionControlError(f"skip_hours is a number of hours of 0 or more, not {arguments.brief(skip)}")
        since, until = self.interval
        if since and until and until <= since:
            raise MissionControlError(f"until ({until}) should lie after since ({since})")

    @property
    def interval(self) -> tuple[datetime | None, datetime | None]:
        """since and until in UTC."""
        return arguments.as_utc("since", self.since), arguments.as_utc("until", self.until)


@dataclass(frozen=True)
class Read:
    """The data that was read for a request; see Detail."""

    lines: tuple[Line, ...]
    windows: "pd.DataFrame"
    since: datetime
    until: datetime
    every: timedelta
    left_out: int


def read_detail(place: Segment, measure: str, request: DetailRequest) -> Read:
    """The lines and windows of a segment for a request."""
    every = EVERY[request.every]
    since, until = _interval(request, place.now, every)
    reported = {each.version for each in place.versions if place.why_never_reported(measure, each) is None}
    if request.line == "build":
        lines = _build_lines(place, reported)
    elif request.line == "version":
        lines = _version_lines(place, reported)
    else:
        lines = _dimension_lines(place, request.line) if place.newest.version in reported else ()
    sums = _load(place, measure, request, lines, since, until) if lines else _no_sums()
    lines = tuple(line for line in lines if line.name in set(sums["line"]))
    windows = _rated(place, sums, lines, every)
    if request.skip_hours:
        windows = windows[windows["age_hours"] >= request.skip_hours].reset_index(drop=True)
    windows, left_out = _cut(windows, request.cut)
    return Read(lines, windows, since, until, every, left_out)


def _interval(request: DetailRequest, now: datetime, every: timedelta) -> tuple[datetime, datetime]:
    """The interval, from the start of a window to the end of one.

    Raises MissionControlError where it begins after now and has no end, so that no data for it can have arrived.
    """
    since, until = request.interval
    until = until or now
    since = since or _before(until, request.length)
    first = hour_of(since).replace(hour=0) if every > HOUR else hour_of(since)
    if first > until:
        raise MissionControlError(f"until ({until}) should lie after since ({since})")
    return first, until


def _before(moment: datetime, length: timedelta) -> datetime:
    """The moment `length` earlier, or the earliest possible datetime where that would be before the year 1."""
    return moment - length if length < moment - _FIRST else _FIRST


def _version_lines(place: Segment, reported: set[str]) -> tuple[Line, ...]:
    return tuple(
        Line(each.version, each.version, rank, each.released, each.not_listed_on)
        for rank, each in enumerate(place.versions)
        if each.version in reported
    )


def _build_lines(place: Segment, reported: set[str]) -> tuple[Line, ...]:
    """The newest builds of the newest versions that report the measure, by version and build id."""
    versions = {version.version: version for version in place.versions if version.version in reported}
    builds = place.sums.dataset.versions(
        application=place.product.platform(place.os_name).application,
        channel=place.channel,
        os_name=place.os_name,
        display_version=list(versions),
    )
    rows = [
        (str(build.display_version), str(build.build_id), build.first_window.to_pydatetime())
        for build in builds.itertuples()
        if place.sums.official is None
        or place.sums.official.is_official(build.display_version, place.channel, build.build_id)
    ]
    once: dict[str, tuple[str, str, datetime]] = {}  # Pings of one build can report different versions
    for row in sorted(rows, key=lambda row: (version_key(row[0]), row[1]), reverse=True):
        once.setdefault(row[1], row)
    return tuple(
        _build_line(versions[version], build_id, rank, first)
        for rank, (version, build_id, first) in enumerate(list(once.values())[:MOST_LINES])
    )


def _dimension_lines(place: Segment, dimension: str) -> tuple[Line, ...]:
    """The values of a dimension with the most usage since release among the pings of the newest version."""
    filters = _filters(place) | {"display_version": place.newest.version}
    selection = select(place.newest.released, None, filters, by=[dimension], measures=[])
    usage = place.sums.dataset.load_counted(selection, place.sums.official)
    most = usage.sort_values(["usage_hours", dimension], ascending=[False, True])[dimension].head(MOST_LINES)
    return tuple(Line(value, value, rank, place.newest.released) for rank, value in enumerate(map(str, most)))


def _filters(place: Segment) -> dict[str, Values]:
    application = place.product.platform(place.os_name).application
    return {"application": application, "channel": place.channel, "os_name": place.os_name}


def _build_line(version: Version, build_id: str, rank: int, first: datetime) -> Line:
    label = f"{version.version}, {_build_time(build_id)}"
    return Line(build_id, label, rank, max(hour_of(first), version.released), version.not_listed_on)


def _build_time(build_id: str) -> str:
    """The time at which a build was made: "26 Sep 19:08"."""
    try:
        built = datetime.strptime(build_id, "%Y%m%d%H%M%S")
    except ValueError:  # The product's build ids contain no time, or the build is unverified
        return build_id
    if len(build_id) != 14:  # strptime accepts fewer digits
        return build_id
    return f"{built.day} {built:%b %H:%M}"


def _load(
    place: Segment, measure: str, request: DetailRequest, lines: tuple[Line, ...], since: datetime, until: datetime
) -> "pd.DataFrame":
    """Sums by `line` and `window_start`: for all lines in the interval, or for each line from its own release on."""
    import pandas as pd

    if request.time == "latest":
        return _load_lines(place, measure, request, lines, since, until)
    every = EVERY[request.every]
    length = min(until - since, -(-place.age // every) * every)
    parts = [
        _load_lines(place, measure, request, (line,), line.released, min(line.released + length, place.now))
        for line in lines
        if line.released < place.now
    ]
    return pd.concat(parts, ignore_index=True) if parts else _load_lines(place, measure, request, (), since, until)


def _no_sums() -> "pd.DataFrame":
    """The result of `_load` for a measure that no version reports: no rows, instead of windows with zeros."""
    import pandas as pd

    moments = pd.DatetimeIndex([], tz="UTC").as_unit("us")
    columns = {"line": pd.Series(dtype=object), "window_start": moments}
    return pd.DataFrame(columns | {"events": pd.Series(dtype=int), "usage_hours": pd.Series(dtype=float)})


def _load_lines(
    place: Segment, measure: str, request: DetailRequest, lines: tuple[Line, ...], since: datetime, until: datetime
) -> "pd.DataFrame":
    name = {"version": "display_version", "build": "build_id"}.get(request.line, request.line)
    filters = _filters(place) | {name: [line.name for line in lines]}
    if name in contract.FINE_DIMENSIONS:
        filters["display_version"] = place.newest.version
    selection = select(since, until, filters, by=[name], measures=[measure], every=request.every)
    sums = place.sums.dataset.load_counted(selection, place.sums.official)
    sums = sums[sums[measure].notna()].astype({measure: int})  # Other rows are from before the measure was declared
    return sums.rename(columns={name: "line", measure: "events"})[["line", "window_start", "events", "usage_hours"]]


def _rated(place: Segment, sums: "pd.DataFrame", lines: tuple[Line, ...], every: timedelta) -> "pd.DataFrame":
    """The columns of Detail.windows, by line and time."""
    order = {line.name: number for number, line in enumerate(lines)}
    windows = sums.sort_values(["line", "window_start"], key=lambda c: c.map(order) if c.name == "line" else c)
    released = windows["line"].map({line.name: line.released for line in lines})
    lower, upper = rate_interval(windows["events"], windows["usage_hours"])
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = PER_HOURS * windows["events"].to_numpy() / windows["usage_hours"].to_numpy()
    starts = windows["window_start"]
    arrived = place.arrivals.shares(place.channel, place.os_name, starts, every, place.now)
    return windows.assign(
        age_hours=(starts - released) / HOUR if len(windows) else np.zeros(0),
        rate=np.where(np.isfinite(rate), rate, np.nan),
        lower=lower,
        upper=upper,
        arrived=arrived,
        complete=place.arrivals.are_complete(arrived, starts + every, place.now),
    )[list(COLUMNS)].reset_index(drop=True)


def _cut(windows: "pd.DataFrame", percent: float) -> tuple["pd.DataFrame", int]:
    """Removes the highest rates, a percentage of each line's complete windows; windows and usage stay.

    Rates equal to the highest kept rate are kept, so a line never loses all of its rates.
    """
    if not percent or windows.empty:
        return windows, 0
    rates = windows["rate"].where(windows["complete"])
    highest = rates.groupby(windows["line"]).transform(_highest_kept, percent)
    is_out = rates > highest
    return windows.assign(**{name: windows[name].mask(is_out) for name in ("rate", "lower", "upper")}), int(
        is_out.sum()
    )


def _highest_kept(rates: "pd.Series", percent: float) -> float:
    known = np.sort(rates.dropna().to_numpy())
    return float(known[-1 - int(len(known) * percent / 100)]) if len(known) else np.nan
