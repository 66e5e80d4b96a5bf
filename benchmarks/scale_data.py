"""Data as many as Firefox's, drawn fast: rows of the fine table by the window, the coarse ones that they sum up to.

Versions, builds and how much they are used are the simulated fleet's; countries, versions of systems and a tail of own
builds are many, a few of them common and most of them rare.
"""

import json
import os
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction
from tqdm import tqdm

from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.simulator import Fleet
from missioncontrol_nb.simulator.era import OCTOBER_2017
from missioncontrol_nb.simulator.fleet import Array, window_of
from missioncontrol_nb.simulator.population import ARCHITECTURES
from missioncontrol_nb.simulator.sessions import MEAN_LENGTH_HOURS, WINDOW_SECONDS, WINDOWS_A_DAY
from streaming import contract
from streaming.dataset.compaction import ROW_GROUP_ROWS
from streaming.dataset.compaction_plan import MAX_SUMMED_ROWS
from streaming.dataset.writer import open_writers
from streaming.storage.locations import table_url

UNTIL = datetime(2017, 10, 16, tzinfo=UTC)
OWN_BUILDS, OWN_SHARE = 4, 0.004  # made by others from the source of each build, and the share of each in its use
OS_VERSIONS = {"Windows_NT": 12, "Darwin": 60, "Linux": 600, "Android": 14}
DRAWS_A_ROW = 60  # pings drawn to find combinations
LABELS = ("os_version", "architecture", "country")
Columns = dict[str, Array]


class Population:
    """All combinations of dimensions, in their order, and how many pings of each a window may have.

    rows_a_window: of the fine table, on average over its days; days: of the coarse table, until UNTIL.
    """

    def __init__(self, rows_a_window: int, days: int, fine_days: int) -> None:
        self.rng = np.random.default_rng(20171016)
        self.first = window_of(UNTIL) - days * WINDOWS_A_DAY
        expected = Fleet(load_calendar()).expect(self.first, days * WINDOWS_A_DAY)
        builds, shares, places = [], [], []
        for place, build in enumerate(expected.builds):
            for own in range(OWN_BUILDS + 1):
                build_id = str(int(build.build_id) + own)
                builds.append(replace(build, build_id=build_id))
                shares.append(OWN_SHARE if own else 1 - OWN_BUILDS * OWN_SHARE)
                places.append(place)
        order = sorted(range(len(builds)), key=lambda place: self._coarse_key(builds[place]))
        self.builds = [builds[place] for place in order]
        self.hours = expected.reported_hours[np.array(places)[order]] * np.array(shares)[order, None]
        self.hours = self.hours.astype(np.float32)
        self._draw_combinations(rows_a_window * DRAWS_A_ROW, fine_days)
        self._calibrate(rows_a_window, fine_days)

    @staticmethod
    def _coarse_key(build: Any) -> tuple[str, ...]:
        return tuple(getattr(build, name) for name in contract.COARSE_DIMENSIONS)

    def _draw_combinations(self, draws: int, fine_days: int) -> None:
        use = self.hours[:, -fine_days * WINDOWS_A_DAY :].sum(axis=1, dtype=float)
        build = np.repeat(np.arange(len(use)), self.rng.poisson(use / use.sum() * draws))
        os_names = np.array([each.os_name for each in self.builds])
        self.labels = {
            "os_version": sorted({name for os_name in OS_VERSIONS for name in _os_versions(os_name)}),
            "architecture": sorted({name for shares in ARCHITECTURES.values() for name in shares}),
            "country": sorted((*contract.COUNTRIES, contract.UNKNOWN_COUNTRY)),
        }
        codes = {name: np.zeros(len(build), np.int64) for name in LABELS}
        for os_name in contract.FIREFOX.os_names:
            of_os = np.flatnonzero(os_names[build] == os_name)
            countries = self.rng.permutation(sorted(contract.COUNTRIES)).tolist()
            for name, shares in (
                ("os_version", _skewed(_os_versions(os_name), 1.3)),
                ("architecture", ARCHITECTURES[os_name]),
                ("country", _skewed(["US", "DE", *(each for each in countries if each not in ("US", "DE"))], 1.0)),
            ):
                places = np.array([self.labels[name].index(label) for label in shares])
                chances = np.array(list(shares.values()))
                codes[name][of_os] = self.rng.choice(places, len(of_os), p=chances / chances.sum())
        combined = build
        for name in LABELS:
            combined = combined * len(self.labels[name]) + codes[name]
        combined, times = np.unique(combined, return_counts=True)
        self.codes: Columns = {}
        for name in reversed(LABELS):
            combined, self.codes[name] = np.divmod(combined, len(self.labels[name]))
        self.build = combined
        drawn = np.bincount(self.build, times, len(use))
        self.share = (times / drawn[self.build]).astype(np.float32)

    def _calibrate(self, rows_a_window: int, fine_days: int) -> None:
        windows = self.hours.shape[1] - 1 - np.arange(0, fine_days * WINDOWS_A_DAY, 151)
        self.scale, lowest, highest = 1.0, 1e-6, 1e6
        for _ in range(30):
            self.scale = float(np.sqrt(lowest * highest))
            rows = np.mean([(1 - np.exp(-self.expect(window))).sum() for window in windows])
            lowest, highest = (self.scale, highest) if rows < rows_a_window else (lowest, self.scale)

    def expect(self, window: int) -> Array:
        """Pings of each combination in a window, counted from the first."""
        return self.share * (self.hours[:, window] * np.float32(self.scale / MEAN_LENGTH_HOURS))[self.build]

    def draw(self, window: int, part: float = 1.0) -> Columns:
        """The rows of a window, or of a part of its pings: places of combinations, and sums; use in seconds."""
        pings = self.rng.poisson(self.expect(window) * part)
        place = np.flatnonzero(pings)
        counts = pings[place]
        return {"place": place, "window": np.full(len(place), window), **self._sums(counts)}

    def _sums(self, counts: Array) -> Columns:
        seconds = np.round(self.rng.standard_gamma(2.0 * counts) * (MEAN_LENGTH_HOURS * 1800))
        ends = np.cumsum(seconds)
        sums = {"seconds": seconds, "count": counts}
        for name in contract.MEASURE_NAMES:
            events = self.rng.poisson(ends[-1] / 3600 * OCTOBER_2017.usual_rate(name) / 1000) if len(ends) else 0
            at = np.searchsorted(ends, self.rng.random(events) * ends[-1], side="right") if events else []
            sums[name] = np.bincount(np.minimum(at, len(ends) - 1), minlength=len(ends)) if events else counts * 0
        return sums

    def coarse_of(self, rows: Columns) -> Columns:
        """Rows of the fine table, of neighbouring windows, summed by build; by window and build."""
        first = rows["window"].min()
        key = (rows["window"] - first) * len(self.builds) + self.build[rows["place"]]
        size = (rows["window"].max() - first + 1) * len(self.builds)
        counts = np.bincount(key, rows["count"], size)
        there = np.flatnonzero(counts)
        sums = {name: np.bincount(key, rows[name], size)[there] for name in ("seconds", *contract.MEASURE_NAMES)}
        window, build = np.divmod(there, len(self.builds))
        return {"build": build, "window": window + first, "count": counts[there], **sums}

    def draw_coarse(self, window: int) -> Columns:
        """Rows of the coarse table alone."""
        pings = self.rng.poisson(self.hours[:, window] * (self.scale / MEAN_LENGTH_HOURS))
        build = np.flatnonzero(pings)
        seconds = np.round(self.rng.standard_gamma(2.0 * pings[build]) * (MEAN_LENGTH_HOURS * 1800))
        sums = {
            name: self.rng.poisson(seconds * (OCTOBER_2017.usual_rate(name) / 3_600_000))
            for name in contract.MEASURE_NAMES
        }
        return {
            "build": build,
            "window": np.full(len(build), window),
            "seconds": seconds,
            "count": pings[build],
            **sums,
        }

    def table_of(self, table: contract.Table, rows: Columns) -> pa.Table:
        """Rows, as they are drawn, in the form of a table; labels stay dictionaries."""
        is_coarse = table is contract.COARSE_AGGREGATES
        build = rows["build"] if is_coarse else self.build[rows["place"]]
        starts = (rows["window"] + self.first) * (WINDOW_SECONDS * 1_000_000)
        moment = contract.arrow_type("window_start")
        columns: dict[str, Any] = {
            "submission_date": pa.array((starts // 86_400_000_000).astype(np.int32), pa.date32()),
            "window_start": pa.array(starts, pa.int64()).cast(moment),
            "window_end": pa.array(starts + WINDOW_SECONDS * 1_000_000, pa.int64()).cast(moment),
            "usage_hours": rows["seconds"] / 3600,
        }
        for name in contract.COARSE_DIMENSIONS:
            columns[name] = _labelled([getattr(each, name) for each in self.builds], build)
        for name in () if is_coarse else LABELS:
            columns[name] = _labelled(self.labels[name], self.codes[name][rows["place"]])
        columns |= {name: rows[name].astype(np.int64) for name in ("count", *contract.MEASURE_NAMES)}
        none = np.zeros_like(columns["count"])
        for name in contract.PING_COUNTS:
            columns[name] = none if name.startswith("glean") else columns["count"]
        columns[contract.ACTIVE_SECONDS] = none
        return pa.table({name: columns[name] for name in contract.schema(table).names})


def _os_versions(os_name: str) -> list[str]:
    number = OS_VERSIONS[os_name]
    if os_name == "Windows_NT":
        return ["10.0", "6.1", "6.3", "6.2", "6.0", *(f"10.0.{place}" for place in range(number - 5))]
    if os_name == "Android":
        return [str(26 - place) for place in range(number)]
    return [f"{17 - place % 9 if os_name == 'Darwin' else 4}.{place // 9}.{place % 9}" for place in range(number)]


def _skewed(labels: list[str], power: float) -> dict[str, float]:
    return {label: (place + 1.0) ** -power for place, label in enumerate(labels)}


def _labelled(labels: list[str], places: Array) -> pa.DictionaryArray:
    """Labels that may repeat, as a dictionary without repetition."""
    distinct, of_label = np.unique(labels, return_inverse=True)
    return pa.DictionaryArray.from_arrays(of_label.astype(np.int32)[places], pa.array(distinct.tolist(), pa.string()))


def joined(parts: list[Columns]) -> Columns:
    """Rows, one after another."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def in_file_order(rows: Columns) -> Columns:
    """Rows by combination and then by window, as streaming.aggregation.partial_sums.file_order has them."""
    place = rows["place"] if "place" in rows else rows["build"]
    order = np.argsort(place.astype(np.int32), kind="stable")
    return {name: values[order] for name, values in rows.items()}


def windows_a_file(rows_a_window: int) -> int:
    """How many windows of a closed day a file has, see streaming.dataset.compaction_plan."""
    if rows_a_window * WINDOWS_A_DAY <= MAX_SUMMED_ROWS:
        return WINDOWS_A_DAY
    portions = -(-rows_a_window * 12 // MAX_SUMMED_ROWS)
    return max(12 // portions, 1)


def write_file(dataset: str, table: contract.Table, rows: pa.Table, compression: str = "zstd") -> AddAction:
    """Writes a file of one day as deltalake does; what a commit says of it."""
    day = rows["submission_date"][0].as_py()
    path = f"submission_date={day}/part-{uuid.uuid4()}.{compression}.parquet"
    target = Path(table_url(dataset, table), path)
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        rows.drop_columns("submission_date"), target, compression=compression, store_schema=False,
        write_page_index=True, max_rows_per_page=20_000, row_group_size=ROW_GROUP_ROWS,
    )  # fmt: skip
    starts = rows["window_start"].cast(pa.int64()).to_numpy()
    first, last = (
        datetime.fromtimestamp(moment / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        for moment in (starts.min(), starts.max())
    )
    stats = {
        "numRecords": len(rows),
        "minValues": {"window_start": first},
        "maxValues": {"window_start": last},
        "nullCount": {"window_start": 0},
    }
    return AddAction(
        path=path,
        size=target.stat().st_size,
        partition_values={"submission_date": str(day)},
        modification_time=time.time_ns() // 1_000_000,
        data_change=True,
        stats=json.dumps(stats),
    )


def later(rows: pa.Table, days: int) -> pa.Table:
    """The same rows, days later."""
    moved = days * 86_400_000_000
    for name in ("window_start", "window_end"):
        moments = pc.add(rows[name].cast(pa.int64()), moved).cast(rows.schema.field(name).type)
        rows = rows.set_column(rows.schema.get_field_index(name), name, moments)
    dates = pc.add(rows["submission_date"].cast(pa.int32()), pa.scalar(days, pa.int32())).cast(pa.date32())
    return rows.set_column(0, "submission_date", dates)


def write_day(dataset: str, rows: pa.Table, day: int) -> AddAction:
    """Writes rows of the fine table as those of so many days later."""
    return write_file(dataset, contract.ERROR_AGGREGATES, later(rows, day))


def write_fine_days(
    population: Population, dataset: str, days: int, rows_a_window: int
) -> Iterator[dict[contract.Table, list[AddAction]]]:
    """Writes the last days of both tables; what to commit. One day is drawn, an hour at a time, and all are like it."""
    fine, step = contract.ERROR_AGGREGATES, windows_a_file(rows_a_window)
    start = population.hours.shape[1] - days * WINDOWS_A_DAY
    coarse: list[Columns] = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for first in range(start, start + WINDOWS_A_DAY, step):
            drawn = joined([population.draw(window) for window in range(first, first + step)])
            coarse.append(population.coarse_of(drawn))
            rows = population.table_of(fine, in_file_order(drawn))
            write = partial(write_day, dataset, rows)
            yield {fine: list(threads.map(write, range(days)))}
    summed = population.table_of(contract.COARSE_AGGREGATES, in_file_order(joined(coarse)))
    files = [write_file(dataset, contract.COARSE_AGGREGATES, later(summed, day)) for day in range(days)]
    yield {contract.COARSE_AGGREGATES: files}


def write_coarse_day(population: Population, dataset: str, day: int) -> AddAction:
    """Writes a day of the coarse table alone."""
    windows = range(day * WINDOWS_A_DAY, (day + 1) * WINDOWS_A_DAY)
    rows = in_file_order(joined([population.draw_coarse(window) for window in windows]))
    return write_file(dataset, contract.COARSE_AGGREGATES, population.table_of(contract.COARSE_AGGREGATES, rows))


def write_dataset(dataset: str, rows_a_window: int, days: int, fine_days: int) -> Population:
    """Writes both tables; the population that they are of."""
    population = Population(rows_a_window, days, fine_days)
    writers = {writer.table: writer for writer in open_writers(dataset)}
    files: dict[contract.Table, list[AddAction]] = {table: [] for table in writers}
    older = tqdm(range(days - fine_days), desc="coarse days", leave=False, disable=None)
    files[contract.COARSE_AGGREGATES] = [write_coarse_day(population, dataset, day) for day in older]
    parts = write_fine_days(population, dataset, fine_days, rows_a_window)
    total = WINDOWS_A_DAY // windows_a_file(rows_a_window) + 1
    for part in tqdm(parts, total=total, desc="fine files of each day", leave=False, disable=None):
        for table, added in part.items():
            files[table] += added
    for table in (contract.ERROR_AGGREGATES, contract.COARSE_AGGREGATES):
        writers[table].append(files[table], 0, "scale", UNTIL if table is contract.ERROR_AGGREGATES else None)
    return population


def write_streamed_hour(population: Population, dataset: str, commits: int) -> int:
    """Writes the last hour as so many commits leave it, both tables; the rows of the fine one."""
    writers = {writer.table: writer for writer in open_writers(dataset)}
    last, a_window = population.hours.shape[1], commits // 12
    files: dict[contract.Table, list[AddAction]] = {}
    number = 0
    for commit in tqdm(range(a_window * 12), desc="an hour of commits", leave=False, disable=None):
        drawn = population.draw(last - 12 + commit // a_window, 1 / a_window)
        number += len(drawn["place"])
        summed = population.coarse_of(drawn)
        for table, rows in ((contract.ERROR_AGGREGATES, drawn), (contract.COARSE_AGGREGATES, summed)):
            added = write_file(dataset, table, population.table_of(table, rows), "snappy")
            files.setdefault(table, []).append(added)
    for table, added_files in files.items():
        writers[table].append(added_files, 0, "scale", UNTIL if table is contract.ERROR_AGGREGATES else None)
    return number
