"""Reads who uses each release: hours and events by system version, architecture and country.

All times are hours since 1970, UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.arguments import Values
from missioncontrol_nb.judgement.adopters import Adopters
from missioncontrol_nb.judgement.observations import HOUR_SECONDS, Name, Observations, Segment, are_builds, moment_of
from missioncontrol_nb.loading.cells import RELEASE_COLUMNS
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.loading.query import select

if TYPE_CHECKING:
    import pyarrow as pa

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Counts = npt.NDArray[np.float32]
PAST = timedelta(days=60)  # of which users are read; older releases count as used by usual ones
LEAST_SHARE = 0.003  # of a segment's hours; values with less are one value together


def with_adopters(
    observations: Observations, dataset: Dataset, channel: str | None = None, os_name: str | None = None
) -> Observations:
    """The observations with the users of each segment, where the dataset tells them and they are not too many to read.

    By day, and by hour since `fine_since`. channel, os_name: only these.
    """
    if not np.isfinite(observations.newest):
        return observations
    product, since, until = observations.product, *map(moment_of, (observations.fine_since, observations.newest))
    filters: dict[str, Values] = {"application": product.applications}
    filters |= {name: (value,) for name, value in (("channel", channel), ("os_name", os_name)) if value is not None}
    spans = ((min(since, until) - PAST, min(since, until), "1d"), (since, max(since, until), "1h"))
    selections = [select(begin, end, filters, every=every) for begin, end, every in spans]
    dimensions, tables = dataset.load_cells(selections, observations.measures)
    if not dimensions:
        return observations
    parts = [CellRows.of(tables.pop(0), dimensions, observations.measures, length) for length in (24.0, 1.0)]
    rows = CellRows.joined(parts, observations.fine_since, observations.newest)
    segments = tuple(
        replace(segment, adopters=rows.adopters(segment, are_builds(product, segment.channel)))
        for segment in observations.segments
    )
    return replace(observations, segments=segments)


@dataclass(frozen=True)
class CellRows:
    """Sums by release, window and cell. keys: texts, as their numbers and the texts; values: numbers by dimension."""

    keys: Mapping[str, tuple[Codes, Sequence[str]]]
    dimensions: tuple[str, ...]
    begins: Array
    ends: Array
    hours: Array
    events: Counts

    @classmethod
    def of(cls, rows: "pa.Table", dimensions: Sequence[str], measures: Sequence[str], length: float) -> "CellRows":
        """The rows of a table whose windows are so many hours long."""
        import pyarrow as pa

        keys = {}
        for name in (*RELEASE_COLUMNS, *dimensions):
            column = rows[name].combine_chunks().dictionary_encode()
            column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            keys[name] = column.indices.to_numpy(zero_copy_only=False).astype(np.int64), column.dictionary.to_pylist()
        begins = rows["window_start"].cast(pa.int64()).to_numpy() / (1e6 * HOUR_SECONDS)
        events = np.zeros((len(rows), len(measures)), np.float32)
        for place, name in enumerate(measures):
            events[:, place] = np.nan_to_num(rows[name].to_numpy().astype(float))
        hours = np.nan_to_num(rows["usage_hours"].to_numpy().astype(float))
        return cls(keys, tuple(dimensions), begins, begins + length, hours, events)

    @classmethod
    def joined(cls, parts: Sequence["CellRows"], fine_since: float, newest: float) -> "CellRows":
        """The rows of days, the last of which ends at a moment, and of hours that ended by another."""
        keys = {}
        for name in parts[0].keys:
            texts = sorted({text for part in parts for text in part.keys[name][1]})
            place = {text: number for number, text in enumerate(texts)}
            numbers = [np.array([place[text] for text in part.keys[name][1]], np.int64) for part in parts]
            codes = [of_part[part.keys[name][0]] for of_part, part in zip(numbers, parts, strict=True)]
            keys[name] = np.concatenate(codes), texts
        days, hours = parts
        ends = np.concatenate([np.minimum(days.ends, fine_since), hours.ends])
        begins, used, events = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("begins", "hours", "events")
        )
        return cls(keys, days.dimensions, begins, np.minimum(ends, newest), used, events)

    def adopters(self, segment: Segment, by_build: bool) -> Adopters | None:
        """The users of a segment's releases; None where there are none. by_build: whether each build is a release."""
        rows = np.flatnonzero(self._is_in(segment))
        release = np.full(len(self.keys["display_version"][1]) * len(self.keys["build_id"][1]), -1)
        builds = self.keys["build_id"][1]
        pair = self.keys["display_version"][0][rows] * len(builds) + self.keys["build_id"][0][rows]
        names = list(segment.releases)
        numbers = {name: number for number, name in enumerate(names)}
        for each in np.unique(pair):  # builds that the segment does not have are not official
            version, build = self.keys["display_version"][1][each // len(builds)], builds[each % len(builds)]
            number = numbers.get(Name(version, build if by_build else ""), -1)
            if number >= 0 and build in segment.releases[names[number]].builds:
                release[each] = number
        number = release[pair]
        order = np.lexsort((self.ends[rows], number))[int((number < 0).sum()) :]
        rows, number = rows[order], number[order]
        if not len(rows):
            return None
        values = [self._values(name, rows) for name in self.dimensions]
        sizes = [int(each.max()) + 1 for each in values]
        cells, cell = np.unique(np.ravel_multi_index(values, sizes), return_inverse=True)
        sums = self.begins[rows], self.ends[rows], self.hours[rows], self.events[rows]
        return Adopters(names, np.stack(np.unravel_index(cells, sizes), axis=1), number, cell, *sums)

    def _is_in(self, segment: Segment) -> npt.NDArray[np.bool_]:
        inside = np.ones(len(self.ends), bool)
        for name in ("application", "channel", "os_name"):
            codes, texts = self.keys[name]
            inside &= codes == next((place for place, text in enumerate(texts) if text == getattr(segment, name)), -1)
        return inside

    def _values(self, name: str, rows: Codes) -> Codes:
        """The numbers of a dimension's values in some rows; the rare ones have one together, 0."""
        codes = self.keys[name][0][rows]
        hours = np.bincount(codes, self.hours[rows], len(self.keys[name][1]))
        often = hours >= LEAST_SHARE * max(float(hours.sum()), 1e-12)
        return np.asarray(np.where(often, np.cumsum(often), 0)[codes])
