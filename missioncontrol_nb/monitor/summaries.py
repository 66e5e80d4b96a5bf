"""The records of a dataset that pages show: channels, platforms, measures, the detail of one measure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from streaming import contract

if TYPE_CHECKING:
    import pandas as pd

State = Literal["measured", "too_little_usage", "not_reported"]


@dataclass(frozen=True)
class Rate:
    """Events per 1000 usage hours with their 95 % interval; NaN without usage."""

    value: float
    lower: float
    upper: float
    events: int = 0
    usage_hours: float = 0.0


@dataclass(frozen=True)
class Change:
    """A rate divided by another, minus one, with its 95 % interval: 0.38 is 38 % more. NaN where it is unknown."""

    value: float
    lower: float
    upper: float

    @property
    def excludes_none(self) -> bool:
        """Whether the interval excludes zero, which is no change."""
        return self.lower > 0 or self.upper < 0


@dataclass(frozen=True)
class Version:
    """A display version and its release time on its channel: the hour of its first pings on that day, UTC.

    not_listed_on: the newest day of the release calendar, if the calendar lacks the version. The version then counts
    from the first hour in which it had 1 % of its channel's usage.
    """

    version: str
    released: datetime
    not_listed_on: date | None = None


@dataclass(frozen=True)
class Spark:
    """Rates by step of age, None without usage; incomplete: how many of the newest's last steps are incomplete."""

    newest: tuple[float | None, ...]
    previous: tuple[float | None, ...]
    incomplete: int


@dataclass(frozen=True)
class MeasureSummary:
    """One measure on one channel and platform: the newest version against the previous one at the same age.

    why: why it is not reported, a sentence; "" in any other state. Versions that could not report it have no rates.
    older: the rates of the versions before the previous one, by display version, at the same age.
    """

    measure: str
    state: State
    newest: Rate | None = None
    previous: Rate | None = None
    last_24h: Rate | None = None
    change: Change | None = None
    spark: Spark | None = None
    older: Mapping[str, Rate] = field(default_factory=dict)
    why: str = ""


OLDER = "older"
"""The name that switches the lines of a detail after the third on and off together."""

Completeness = tuple[tuple[datetime, float], ...]
"""The newest hours and the share of their usage that has arrived, oldest first; empty where it is unknown."""


@dataclass(frozen=True)
class PlatformSummary:
    """One platform of a channel; adoption: the newest version's share of the usage hours of the last 24 h."""

    os_name: str
    state: State
    measures: Mapping[str, MeasureSummary]
    adoption: float | None
    completeness: Completeness


@dataclass(frozen=True)
class ChannelSummary:
    """One channel: its newest and previous version and all platforms.

    Without a previous version there is no comparison. score: events of the product's score per 1000 usage hours, with
    platforms weighted by the previous version's usage.
    """

    channel: str
    newest: Version
    previous: Version | None
    platforms: tuple[PlatformSummary, ...] = ()
    score: Rate | None = None
    score_previous: Rate | None = None
    score_last_24h: Rate | None = None
    score_change: Change | None = None
    product: contract.Product = contract.FIREFOX


@dataclass(frozen=True)
class Received:
    """The pings of the last 24 hours, of all products: those that count, bad ones, and good ones that do not count."""

    accepted: int
    rejected: int
    passed_over: int


@dataclass(frozen=True)
class Overview:
    """All channels that have a release with pings.

    now: the moment up to which data has arrived. products: all products that have pings in the dataset. received: None
    where no ping has come.
    """

    channels: tuple[ChannelSummary, ...]
    data_up_to: datetime | None
    now: datetime
    product: contract.Product = contract.FIREFOX
    products: tuple[contract.Product, ...] = ()
    received: Received | None = None


@dataclass(frozen=True)
class NoRelease:
    """The result instead of a table or detail if no released version of the channel has pings on the platform."""

    channel: str
    os_name: str
    data_up_to: datetime | None
    product: contract.Product = contract.FIREFOX


@dataclass(frozen=True)
class ChannelTable:
    """All measures of one channel and platform; older: the versions before the previous one, highest first."""

    channel: str
    os_name: str
    newest: Version
    previous: Version | None
    older: tuple[Version, ...]
    rows: tuple[MeasureSummary, ...]
    adoption: float | None
    completeness: Completeness
    data_up_to: datetime | None
    now: datetime
    product: contract.Product = contract.FIREFOX


@dataclass(frozen=True)
class Line:
    """One line of the detail's chart.

    name: a display version, a build id or a value of a dimension. rank: 0 is the newest of the channel, even if it is
    not shown, so that a line looks the same in every interval. label: the shown name, "56.0" or "56.0, 26 Sep 19:08"
    for a build.
    not_listed_on: that of its Version.
    """

    name: str
    label: str
    rank: int
    released: datetime
    not_listed_on: date | None = None


@dataclass(frozen=True)
class Detail:
    """One measure over time, line by line.

    windows: one row per line and window that has a ping, ordered by line and time. Columns: `line` (name of the
    line), `window_start` (datetime64[us, UTC]), `age_hours` (from the line's release to the window's start),
    `events`, `usage_hours`, `rate`, `lower`, `upper` (per 1000 usage hours, NaN without usage), `arrived` (share of
    the usage of that time that has arrived, NaN where unknown), `complete` (bool). lines: highest version first.
    since, until: the shown interval, UTC; for time "since_release" only its length matters. every: length of a window.
    left_out: the number of windows whose rate was cut. row: the measure since release. line: what a line stands for,
    see DetailRequest.
    """

    channel: str
    os_name: str
    newest: Version
    previous: Version | None
    row: MeasureSummary
    lines: tuple[Line, ...]
    windows: "pd.DataFrame"
    since: datetime
    until: datetime
    every: timedelta
    left_out: int
    adoption: float | None
    completeness: Completeness
    data_up_to: datetime | None
    now: datetime
    product: contract.Product = contract.FIREFOX
    line: str = "version"
