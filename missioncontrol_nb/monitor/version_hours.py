"""The hours of one version on one channel and system, as arrays in the order of time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Seconds = npt.NDArray[np.int64]
Key = tuple[str, str, str]
"""Channel, system, display version."""
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class VersionHours:
    """The hours in which a version has pings.

    starts: of the hours, in seconds since 1970, ascending. sums: one value per hour, by column; NaN where none of the
    hour's rows counted it.
    """

    starts: Seconds
    sums: Mapping[str, Floats]

    def of(self, column: str) -> Floats:
        """The sums of a column; NaN in all hours for a column that the dataset did not have."""
        found = self.sums.get(column)
        return np.full(len(self.starts), np.nan) if found is None else found

    def between(self, since: datetime, until: datetime) -> "VersionHours":
        """The hours that start in [since, until)."""
        first, last = np.searchsorted(self.starts, [since.timestamp(), until.timestamp()])
        return VersionHours(self.starts[first:last], {name: each[first:last] for name, each in self.sums.items()})


def joined(parts: Sequence[VersionHours]) -> VersionHours:
    """The hours of consecutive parts, such as the days of a version."""
    if len(parts) == 1:
        return parts[0]
    names = dict.fromkeys(name for part in parts for name in part.sums)
    starts = np.concatenate([part.starts for part in parts]) if parts else np.zeros(0, np.int64)
    return VersionHours(starts, {name: np.concatenate([part.of(name) for part in parts]) for name in names})


def added_up(parts: Iterable[VersionHours], column: str) -> tuple[Seconds, Floats]:
    """The hours of several systems, ascending, and the sum of a column in each."""
    parts = list(parts)
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0)
    starts, place = np.unique(np.concatenate([part.starts for part in parts]), return_inverse=True)
    sums = np.bincount(place, np.concatenate([part.of(column) for part in parts]), len(starts))
    return starts, sums.astype(np.float64)


def split_by_day(rows: "pd.DataFrame", columns: Sequence[str]) -> dict[date, dict[Key, VersionHours]]:
    """Sums by `channel`, `os_name`, `display_version` and `window_start`, sorted by these, by day and version."""
    keys = [rows[name].to_numpy(object) for name in ("channel", "os_name", "display_version")]
    starts = seconds_of(rows["window_start"])
    values = {name: rows[name].to_numpy(np.float64) for name in columns}
    days: dict[date, dict[Key, VersionHours]] = {}
    if not len(starts):
        return days
    differs: Any = np.diff(starts // DAY_SECONDS) != 0
    for key in keys:
        differs |= key[1:] != key[:-1]
    ends = [*(np.flatnonzero(differs) + 1), len(starts)]
    for first, last in zip([0, *ends], ends, strict=False):
        day = datetime.fromtimestamp(int(starts[first]), UTC).date()
        part = VersionHours(starts[first:last], {name: each[first:last] for name, each in values.items()})
        channel, os_name, version = (str(key[first]) for key in keys)
        days.setdefault(day, {})[channel, os_name, version] = part
    return days


def seconds_of(moments: "pd.Series") -> Seconds:
    """Times as whole seconds since 1970."""
    return moments.dt.tz_localize(None).to_numpy("datetime64[s]").astype(np.int64)
