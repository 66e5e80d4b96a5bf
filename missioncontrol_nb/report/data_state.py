"""How good a report's data are: how fresh, what was rejected, unknown versions, delays against usual."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from missioncontrol_nb.incidents import Incident
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.releases.calendar import Calendar
from streaming import contract
from streaming.pings.validation import is_version

if TYPE_CHECKING:
    import pandas as pd

DAY, USUAL = timedelta(days=1), timedelta(days=14)
MOST_NAMED = 5


@dataclass(frozen=True)
class Rejected:
    """Rejected pings of the last 24 hours, of all products. usual: their share of all pings in the 14 days before."""

    pings: int
    share: float
    usual: float | None
    reasons: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Unlisted:
    """Pings of the last 24 hours from versions that the release calendar lacks on their channel; versions: the most."""

    pings: int
    share: float
    versions: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True)
class Delay:
    """The median time from use to its report on a channel and system, in hours: of the last day, and of 14 before."""

    channel: str
    os_name: str
    median_hours: float
    usual_hours: float | None


@dataclass(frozen=True)
class Quality:
    """The state of the data that a report was made from. incidents: data incidents of the last seven days."""

    data_up_to: datetime | None
    rejected: Rejected
    unlisted: Unlisted | None
    delays: tuple[Delay, ...]
    incidents: tuple[Incident, ...]


def read_quality(
    dataset: Dataset,
    product: contract.Product,
    channels: tuple[str, ...],
    calendar: Calendar,
    incidents: tuple[Incident, ...],
    at: datetime,
) -> Quality:
    """The state of the data at a moment. incidents: all of the dataset."""
    shown = tuple(each for each in incidents if each.until > at - timedelta(days=7) and each.since < at)
    return Quality(
        dataset.data_up_to(),
        _rejected(dataset, at),
        _unlisted(dataset, product, channels, calendar, at) if product.calendar is not None else None,
        _delays(dataset, product, channels, at),
        shown,
    )


def _rejected(dataset: Dataset, at: datetime) -> Rejected:
    reasons = dataset.load_rejected(at - DAY, at).groupby("reason")["count"].sum().sort_values(ascending=False)
    count = int(reasons.sum())
    before = int(dataset.load_rejected(at - USUAL - DAY, at - DAY)["count"].sum())
    accepted, accepted_before = _pings(dataset, at - DAY, at), _pings(dataset, at - USUAL - DAY, at - DAY)
    usual = before / (before + accepted_before) if before + accepted_before else None
    share = count / (count + accepted) if count + accepted else 0.0
    return Rejected(count, share, usual, tuple((str(key), int(value)) for key, value in reasons[:MOST_NAMED].items()))


def _pings(dataset: Dataset, since: datetime, until: datetime) -> int:
    return int(dataset.load(since, until, measures=(), by="application", every=None)["count"].sum())


def _unlisted(
    dataset: Dataset, product: contract.Product, channels: tuple[str, ...], calendar: Calendar, at: datetime
) -> Unlisted:
    rows = dataset.load(
        at - DAY, at, measures=(), by=("channel", "display_version"), every=None,
        channel=list(channels), application=list(product.applications),
    )  # fmt: skip
    lacks = [
        not is_version(version) or not calendar.has(version, channel)
        for channel, version in zip(rows["channel"], rows["display_version"], strict=True)
    ]
    unknown = rows[np.array(lacks, bool)].sort_values(["count", "display_version"], ascending=[False, True])
    most = unknown.head(MOST_NAMED)
    columns = (most["channel"].map(str), most["display_version"].map(str), most["count"].map(int))
    named = tuple(zip(*columns, strict=True))
    total, count = int(rows["count"].sum()), int(unknown["count"].sum())
    return Unlisted(count, count / total if total else 0.0, named)


def _delays(dataset: Dataset, product: contract.Product, channels: tuple[str, ...], at: datetime) -> tuple[Delay, ...]:
    by_time = [
        dataset.load_delays(since, until, channel=list(channels), application=list(product.applications))
        for since, until in ((at - DAY, at), (at - USUAL - DAY, at - DAY))
    ]
    now, usual = ({key: _median(rows) for key, rows in each.groupby(["channel", "os_name"])} for each in by_time)
    order = {name: number for number, name in enumerate(product.os_names)}
    found = sorted(now, key=lambda key: (channels.index(key[0]), order.get(key[1], len(order))))
    return tuple(
        Delay(channel, os_name, median, usual.get((channel, os_name)))
        for channel, os_name in found
        if (median := now[channel, os_name]) is not None
    )


def _median(delays: "pd.DataFrame") -> float | None:
    """The median of delays by bucket, linear within its bucket; None without hours, or in the open bucket."""
    by_edge = delays.groupby("delay_hours")["usage_hours"].sum().sort_index()
    edges, hours = by_edge.index.to_numpy(float), by_edge.to_numpy(float).cumsum()
    if not len(hours) or hours[-1] <= 0:
        return None
    place = int(np.searchsorted(hours, hours[-1] / 2))
    if not np.isfinite(edges[place]):
        return None
    known = sorted(each for each in contract.DELAY_BUCKET_EDGES_HOURS if each < edges[place])
    low = known[-1] if known else 0.0
    before = hours[place - 1] if place else 0.0
    return float(low + (edges[place] - low) * (hours[-1] / 2 - before) / (hours[place] - before))
