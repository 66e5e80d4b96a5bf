"""The sums that releases are judged by, read once, and cut off at any moment: what was known then.

All times are hours since 1970, UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.arguments import Values
from missioncontrol_nb.delay_law import DelayLaw
from missioncontrol_nb.incidents.incident import Incident
from missioncontrol_nb.judgement.adopters import Adopters
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.loading.legacy_parquet import load_older
from missioncontrol_nb.loading.query import select
from missioncontrol_nb.releases.calendar import Calendar
from streaming import contract

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]
HOUR_SECONDS = 3600
WINDOW_HOURS = contract.WINDOW.total_seconds() / HOUR_SECONDS
FINE_BEFORE = timedelta(hours=30)  # sums by 5 minutes are loaded for releases that are younger than this
DELAYS_OF = 14 * 24.0
KEYS = ("application", "channel", "os_name", "display_version", "build_id")
BUILDS_OF = ("a",)  # on channels with versions of these stages, which last for weeks, each build is a release


class Name(NamedTuple):
    """What a release is called on its channel: a display version, and a build where builds are releases, else ""."""

    display_version: str
    build_id: str


@dataclass(frozen=True)
class Sums:
    """Sums of windows up to any moment. ends: of the windows, ascending; totals: by column, one more than windows."""

    ends: Array
    totals: Mapping[str, Array]
    builds: tuple[str, ...] = ()

    def up_to(self, column: str, moments: npt.ArrayLike) -> Array:
        """The sum of all windows that ended by each moment."""
        place = np.searchsorted(self.ends, np.asarray(moments, float) + 1e-6, side="right")
        return np.asarray(self.totals[column][place])

    def between(self, column: str, edges: npt.ArrayLike) -> Array:
        """The sums of the windows that end between each edge and the next."""
        return np.diff(self.up_to(column, edges))

    def table(self, columns: Sequence[str], edges: npt.ArrayLike) -> Array:
        """As `between`, of several columns: (intervals, columns)."""
        place = np.searchsorted(self.ends, np.asarray(edges, float) + 1e-6, side="right")
        return np.diff(np.stack([self.totals[column][place] for column in columns], axis=1), axis=0)


@dataclass(frozen=True)
class Segment:
    """A channel on a system. releases: their sums by name. delays: hours by submission hour (its end) and bucket.

    incidents: those that concern it, see `judgement.incidents`. adopters: who uses its releases; None where that is not
    known.
    """

    application: str
    channel: str
    os_name: str
    releases: Mapping[Name, Sums]
    delay_ends: Array
    delay_totals: Array
    incidents: tuple[Incident, ...] = ()
    adopters: Adopters | None = None

    @cached_property
    def all(self) -> Sums:
        """The sums of all releases."""
        ends = np.unique(np.concatenate([each.ends for each in self.releases.values()]))
        columns = next(iter(self.releases.values())).totals
        totals = {
            column: np.concatenate([[0.0], sum(each.up_to(column, ends) for each in self.releases.values())])
            for column in columns
        }
        return Sums(ends, totals)

    def delay_law(self, until: float) -> DelayLaw:
        """The law of the delays of the two weeks before a moment."""
        place = np.searchsorted(self.delay_ends, [until - DELAYS_OF + 1e-6, until + 1e-6], side="right")
        return DelayLaw.of_buckets(self.delay_totals[place[1]] - self.delay_totals[place[0]]).smoothed()


@dataclass(frozen=True)
class Observations:
    """All segments of a product, and its release calendar.

    step: the length, in hours, of windows that begin at `fine_since` or later; of those before it is an hour. begins,
    newest: the ends of the first and the last window.
    """

    product: contract.Product
    calendar: Calendar
    segments: tuple[Segment, ...]
    measures: tuple[str, ...]
    step: float
    fine_since: float
    newest: float
    begins: float = -np.inf

    def channel(self, name: str) -> tuple[Segment, ...]:
        """The segments of a channel."""
        return tuple(segment for segment in self.segments if segment.channel == name)

    @cached_property
    def _ends(self) -> Array:
        return np.unique(np.concatenate([np.zeros(0), *(segment.all.ends for segment in self.segments)]))

    def newest_at(self, moment: float) -> float:
        """The end of the last window that has data and had ended by a moment; minus infinity before the first."""
        place = int(np.searchsorted(self._ends, moment + 1e-6, side="right"))
        return float(self._ends[place - 1]) if place else -np.inf


def are_builds(product: contract.Product, channel: str) -> bool:
    """Whether each build is a release on a channel, because its versions last for weeks."""
    return not set(BUILDS_OF).isdisjoint(product.channel(channel).stages)


def hours_of(moment: datetime) -> float:
    """A moment as hours since 1970."""
    return moment.timestamp() / HOUR_SECONDS


def moment_of(hours: float) -> datetime:
    """Hours since 1970 as a moment, to the second."""
    return datetime.fromtimestamp(round(hours * HOUR_SECONDS), UTC)


def read_observations(
    dataset: Dataset,
    product: contract.Product,
    calendar: Calendar,
    *,
    since: datetime,
    until: datetime,
    channel: str | None = None,
    os_name: str | None = None,
    official: bool = True,
) -> Observations:
    """Reads what judging from `since` to `until` needs: sums by hour, and by 5 minutes where they are recent."""
    filters: dict[str, Values] = {"application": product.applications}
    if channel is not None:
        filters["channel"] = (channel,)
    if os_name is not None:
        filters["os_name"] = (os_name,)
    fine_since = (since - FINE_BEFORE).replace(minute=0, second=0, microsecond=0)
    counting = calendar if official and product.calendar is not None else None
    frames = [
        dataset.load_counted(select(start, end, filters, by=KEYS, every=every), counting, is_shared=False)
        for start, end, every in ((None, fine_since, "1h"), (fine_since, until, "5min"))
    ]
    of_channels = {name: values for name, values in filters.items() if name != "os_name"}
    delays = dataset.load_delays(None, until, **of_channels)
    step = dataset.window().total_seconds() / HOUR_SECONDS
    return _observations(product, calendar, frames, hours_of(fine_since), step, delays, hours_of(until))


def read_older_observations(
    source: str, product: contract.Product, calendar: Calendar, until: datetime | None, official: bool
) -> Observations:
    """The observations in files of the older layout, which have no display versions and no delays."""
    import pandas as pd

    by = ("application", "channel", "os_name", "version", "build_id")
    selection = select(None, until, {"application": product.applications}, by=by, every="5min")
    frame = load_older(source, selection, calendar if official else None).rename(columns={"version": "display_version"})
    delays = pd.DataFrame({name: [] for name in ("channel", "os_name", "application", "delay_hours", "usage_hours")})
    delays["submission_hour"] = pd.to_datetime([], utc=True)
    end = hours_of(until) if until else np.inf
    return _observations(product, calendar, [frame[:0], frame], -np.inf, WINDOW_HOURS, delays, end)


def _observations(
    product: contract.Product,
    calendar: Calendar,
    frames: "Sequence[pd.DataFrame]",
    fine_since: float,
    step: float,
    delays: "pd.DataFrame",
    until: float,
) -> Observations:
    """frames: sums by hour, and from `fine_since` on by the dataset's windows, of `step` hours."""
    parts = [_Rows.of(frame, length) for frame, length in zip(frames, (1.0, step), strict=True)]
    rows = _Rows.joined(parts, until)
    measures = tuple(name for name in product.measures if name in rows.sums)
    segments = _segments(rows, product, delays, until)
    newest = float(rows.ends.max(initial=-np.inf))
    begins = float(rows.ends.min(initial=np.inf))
    return Observations(product, calendar, segments, measures, step, fine_since, newest, begins)


@dataclass(frozen=True)
class _Rows:
    """Rows of sums by segment and release. keys: by column, the number of each row's text, and the texts."""

    keys: Mapping[str, tuple[npt.NDArray[np.int64], Sequence[str]]]
    ends: Array
    sums: Mapping[str, Array]

    @classmethod
    def of(cls, frame: "pd.DataFrame", length: float) -> "_Rows":
        keys = {name: _numbered(frame[name]) for name in KEYS}
        starts = frame["window_start"].dt.tz_localize(None).to_numpy("datetime64[s]").astype(np.int64) / HOUR_SECONDS
        names = [name for name in contract.COUNTS if name in frame.columns]
        sums = {name: np.nan_to_num(frame[name].to_numpy(float)) for name in names}
        return cls(keys, starts + length, sums)

    @classmethod
    def joined(cls, parts: Sequence["_Rows"], until: float) -> "_Rows":
        """The rows of all parts that ended by a moment."""
        ends = np.concatenate([part.ends for part in parts])
        kept = ends <= until + 1e-6
        names = [name for name in parts[0].sums if all(name in part.sums for part in parts)]
        keys = {}
        for name in KEYS:
            texts = list(dict.fromkeys(text for part in parts for text in part.keys[name][1]))
            place = {text: number for number, text in enumerate(texts)}
            numbers = [np.array([place[text] for text in part.keys[name][1]], np.int64) for part in parts]
            codes = [of_part[part.keys[name][0]] for of_part, part in zip(numbers, parts, strict=True)]
            keys[name] = np.concatenate(codes)[kept], texts
        return cls(
            keys,
            ends[kept],
            {name: np.concatenate([part.sums[name] for part in parts])[kept] for name in names},
        )

    def is_of(self, column: str, text: str) -> npt.NDArray[np.bool_]:
        """Which rows have a text in a column."""
        codes, texts = self.keys[column]
        return np.asarray(codes == (texts.index(text) if text in texts else -1))


def _numbered(column: "pd.Series[str]") -> tuple[npt.NDArray[np.int64], Sequence[str]]:
    """The number of each text of a column, and the texts."""
    codes, texts = column.factorize()
    return codes.astype(np.int64), [str(text) for text in texts]


def _segments(rows: _Rows, product: contract.Product, delays: "pd.DataFrame", until: float) -> tuple[Segment, ...]:
    found = []
    for channel in product.channel_names:
        for platform in product.platforms:
            chosen = (
                rows.is_of("channel", channel)
                & rows.is_of("os_name", platform.os_name)
                & rows.is_of("application", platform.application)
            )
            if chosen.any():
                releases = _releases(rows, np.flatnonzero(chosen), are_builds(product, channel))
                ends, totals = _delay_sums(_delays_of(delays, channel, platform), until)
                found.append(Segment(platform.application, channel, platform.os_name, releases, ends, totals))
    return tuple(found)


def _delays_of(delays: "pd.DataFrame", channel: str, platform: contract.Platform) -> "pd.DataFrame":
    """The delays of a segment; those of all systems of its channel where it has none, as core pings report none."""
    of_channel = delays[delays["channel"] == channel]
    own = (of_channel["os_name"] == platform.os_name) & (of_channel["application"] == platform.application)
    return of_channel[own] if own.any() else of_channel


def _releases(rows: _Rows, chosen: npt.NDArray[np.int64], by_build: bool) -> dict[Name, Sums]:
    (version, versions), (build, builds) = rows.keys["display_version"], rows.keys["build_id"]
    pair = version[chosen] * len(builds) + (build[chosen] if by_build else 0)
    order = np.argsort(pair, kind="stable")
    begins = np.flatnonzero(np.diff(pair[order], prepend=-1))
    found = {}
    for places in np.split(chosen[order], begins[1:]):
        name = Name(versions[version[places[0]]], builds[build[places[0]]] if by_build else "")
        found[name] = _sums_of(rows, places)
    return found


def _sums_of(rows: _Rows, places: npt.NDArray[np.int64]) -> Sums:
    ends, window = np.unique(rows.ends[places], return_inverse=True)
    totals = {
        name: np.concatenate([[0.0], np.cumsum(np.bincount(window, values[places], len(ends)))])
        for name, values in rows.sums.items()
    }
    codes, texts = rows.keys["build_id"]
    return Sums(ends, totals, tuple(sorted(texts[code] for code in np.unique(codes[places]))))


def _delay_sums(delays: "pd.DataFrame", until: float) -> tuple[Array, Array]:
    """The ends of submission hours, and the hours of use by bucket up to each, one row more."""
    edges = np.array(contract.DELAY_BUCKET_EDGES_HOURS)
    starts = delays["submission_hour"].dt.tz_localize(None).to_numpy("datetime64[s]").astype(np.int64) / HOUR_SECONDS
    known = np.isin(delays["delay_hours"].to_numpy(float), edges) & (starts + 1 <= until + 1e-6)
    ends, hour = np.unique(starts[known] + 1, return_inverse=True)
    bucket = np.searchsorted(edges, delays["delay_hours"].to_numpy(float)[known])
    table = np.zeros((len(ends) + 1, len(edges)))
    np.add.at(table, (hour + 1, bucket), delays["usage_hours"].to_numpy(float)[known])
    return ends, np.cumsum(table, axis=0)
