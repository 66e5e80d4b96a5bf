"""Months of the simulated fleet written directly into a dataset, as if its pings had been aggregated."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from missioncontrol_nb.simulator.builds import Build
from missioncontrol_nb.simulator.era import OCTOBER_2017, Era
from missioncontrol_nb.simulator.faulty_pings import faults_of
from missioncontrol_nb.simulator.fleet import (
    CRASH_DISPERSION,
    EVENT_DISPERSION,
    PING_DISPERSION,
    Array,
    Expected,
    Fleet,
    window_of,
)
from missioncontrol_nb.simulator.glean_pings import sends_legacy_crash_pings
from missioncontrol_nb.simulator.sessions import (
    ACTIVE_SHARE,
    BASELINES_A_SESSION,
    LENGTH_SHAPE,
    MEAN_LENGTH_HOURS,
    WINDOW_SECONDS,
    WINDOWS_A_DAY,
)
from streaming import contract
from streaming.aggregation.partial_sums import by_keys
from streaming.dataset.writer import open_writers
from streaming.errors import MissionControlError
from streaming.storage.locations import is_remote, normal_url, table_url

if TYPE_CHECKING:
    import pyarrow as pa

DAYS_AT_A_TIME = 5
DELAY_DISPERSION = 60.0
MAIN, GLEAN_CRASH = "telemetry/main", "glean/crash"
BASELINES, ACTIVE_SECONDS = contract.count_of_pings("glean/baseline"), contract.ACTIVE_SECONDS
ACTIVE_SECONDS_A_BASELINE = ACTIVE_SHARE * MEAN_LENGTH_HOURS * 3600 / BASELINES_A_SESSION
Columns = dict[str, Any]


@dataclass(frozen=True)
class Written:
    """The result of writing a history; pings: those that count; rejected: all others, by reason; until: its end."""

    rows: int
    pings: int
    rejected: dict[str, int]
    since: datetime
    until: datetime


def write_history(
    fleet: Fleet,
    dataset: str,
    until: datetime,
    days: int = 60,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Written:
    """Writes the days up to a moment into the tables of a dataset; existing rows stay, and counts add up.

    The history begins at midnight, UTC, `days` days before, and ends within the window of `until`, of which it has the
    part before `until`. on_progress: called with the days done and all days. Raises MissionControlError where the
    dataset cannot be written.
    """
    spans = _spans(until, days)
    with ThreadPoolExecutor(2) as workers:
        parts = workers.map(lambda span: _draw(fleet, span, until), spans)
        return _write(dataset, parts, spans, until, on_progress)


@contextmanager
def new_dataset(dataset: str) -> Iterator[None]:
    """A context that writes a new dataset; if it fails, the tables of a local dataset are removed.

    Raises MissionControlError where a dataset exists already, because two histories would add up.
    """
    from missioncontrol_nb.loading.dataset import Dataset

    if (is_remote(dataset) or Path(normal_url(dataset)).exists()) and Dataset(dataset).tables():
        raise MissionControlError(
            f"{dataset} holds a dataset already, and counts add up: name a folder that is not there yet, or remove it"
        )
    places = [] if is_remote(dataset) else [Path(table_url(dataset, table)) for table in contract.TABLES]
    taken = next((place for place in places if place.exists()), None)
    if taken:  # Only files that this writing made may be removed if it fails
        raise MissionControlError(f"expected a folder without {taken.name}; {str(taken)!r} is there, and is no table")
    try:
        yield
    except BaseException:
        for place in places:
            shutil.rmtree(place, ignore_errors=True)
        raise


def _spans(until: datetime, days: int) -> list[tuple[int, int]]:
    """(first window, last window exclusive) of spans of DAYS_AT_A_TIME days."""
    last = window_of(until) + 1
    midnight = (until.astimezone(UTC) - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
    step = DAYS_AT_A_TIME * WINDOWS_A_DAY
    return [(start, min(start + step, last)) for start in range(window_of(midnight), last, step)]


def _write(
    dataset: str,
    parts: Iterator[dict[contract.Table, "pa.Table"]],
    spans: Sequence[tuple[int, int]],
    until: datetime,
    on_progress: Callable[[int, int], None],
) -> Written:
    import pyarrow.compute as pc

    app = f"simulate-{uuid4()}"
    writers = {writer.table: writer for writer in open_writers(dataset)}
    rows = pings = 0
    rejected: dict[str, int] = {}
    for batch, (span, part) in enumerate(zip(spans, parts, strict=True)):
        up_to = min(datetime.fromtimestamp(span[1] * WINDOW_SECONDS, UTC), until)
        for table, rows_of_table in part.items():
            data_up_to = up_to if table is contract.ERROR_AGGREGATES else None
            writers[table].append(rows_of_table, batch, app, data_up_to)
            rows += rows_of_table.num_rows
        pings += pc.sum(part[contract.ERROR_AGGREGATES]["count"]).as_py() or 0
        by_reason = part[contract.REJECTED_PINGS].group_by("reason").aggregate([("count", "sum")])
        for row in by_reason.to_pylist():
            rejected[row["reason"]] = rejected.get(row["reason"], 0) + row["count_sum"]
        on_progress((span[1] - spans[0][0]) // WINDOWS_A_DAY, (spans[-1][1] - spans[0][0]) // WINDOWS_A_DAY)
    since = datetime.fromtimestamp(spans[0][0] * WINDOW_SECONDS, UTC)
    return Written(rows, pings, rejected, since, until)


def _draw(fleet: Fleet, span: tuple[int, int], until: datetime) -> dict[contract.Table, "pa.Table"]:
    """The rows of the windows of a span by table."""
    first, last = span
    rng = fleet.generator("history", first - fleet.weeks * 7 * WINDOWS_A_DAY)
    expected = fleet.expect(first, last - first)
    elapsed = np.clip((until.timestamp() - expected.starts) / WINDOW_SECONDS, 0, 1)
    rows = _error_rows(rng, expected, elapsed)
    fine = _error_table(expected, rows)
    return {
        contract.ERROR_AGGREGATES: fine,
        contract.COARSE_AGGREGATES: by_keys(contract.COARSE_AGGREGATES, fine),
        contract.EXPERIMENT_ERROR_AGGREGATES: _experiment_table(rng, expected, rows),
        contract.REPORTING_DELAYS: _delay_table(rng, expected, rows),
        contract.REJECTED_PINGS: _rejected_table(rng, expected, elapsed),
    }


def _error_rows(rng: np.random.Generator, expected: Expected, elapsed: Array) -> Columns:
    """The columns of error_aggregates, plus `build`, the number of each row's build."""
    build, window, pieces = _pieces(expected)
    parts = elapsed[window] / pieces
    reported = expected.reported_hours[build, window] * parts
    pings = _overdispersed(rng, reported / MEAN_LENGTH_HOURS, PING_DISPERSION)
    seconds = np.round(rng.gamma(LENGTH_SHAPE * pings) * (MEAN_LENGTH_HOURS / LENGTH_SHAPE * 3600))
    rows: Columns = {"build": build, "window": window, "usage_hours": seconds / 3600}
    used = expected.used_hours[build, window] * parts
    rows |= dict.fromkeys(contract.MEASURE_NAMES, np.zeros(len(pings), np.int64))
    for measure in expected.fleet.era.crash_pings:
        is_ping = _is_by_crash_ping(expected, measure)[build]
        is_counted = is_ping | (MAIN in contract.measure(measure).kinds)
        hours = np.where(is_ping, used, rows["usage_hours"]) * is_counted
        rows[measure] = _events(rng, hours * expected.rates(measure)[build, window], CRASH_DISPERSION)
    rows["startup_crashes"] = rng.binomial(rows["main_crashes"], expected.startup_share[build, window])
    for measure in expected.fleet.era.ping_measures:
        rows[measure] = _events(rng, rows["usage_hours"] * expected.rates(measure)[build, window], EVENT_DISPERSION)
    rows |= _baselines(rng, expected, used)
    rows |= _ping_counts(pings, expected, rows)
    rows = {name: values[rows["count"] > 0] for name, values in rows.items()}
    return rows | _people(rng, expected, rows) | _time(expected, rows["window"])


def _is_by_crash_ping(expected: Expected, measure: str) -> Array:
    """By build: whether a measure is counted in its crash pings; otherwise in main pings, if it is.

    The crashes of a build that sends legacy crash pings, of main and content processes, are counted in these alone.
    """
    if measure in OCTOBER_2017.crash_pings:
        return np.ones(len(expected.builds), bool)
    if GLEAN_CRASH not in contract.measure(measure).kinds:
        return np.zeros(len(expected.builds), bool)
    return ~_sends_legacy(expected)


def _sends_legacy(expected: Expected) -> Array:
    """By build: whether it sends legacy crash pings."""
    era = expected.fleet.era
    return np.array([not era.is_glean or sends_legacy_crash_pings(build) for build in expected.builds])


def _baselines(rng: np.random.Generator, expected: Expected, used: Array) -> Columns:
    """The number of baseline pings and their seconds of activity."""
    pings = np.zeros(len(used), np.int64)
    if expected.fleet.era.is_glean:
        pings = _overdispersed(rng, used / MEAN_LENGTH_HOURS * BASELINES_A_SESSION, PING_DISPERSION)
    return {BASELINES: pings, ACTIVE_SECONDS: np.round(pings * ACTIVE_SECONDS_A_BASELINE).astype(np.int64)}


def _ping_counts(pings: Array, expected: Expected, rows: Columns) -> Columns:
    """The number of pings, of all kinds and of each kind that reports measures. pings: those that report usage."""
    crash_pings, baselines = _crash_pings(expected, rows), rows[BASELINES]
    counts: Columns = {name: np.zeros_like(pings) for name in contract.PING_COUNTS}
    is_legacy = _sends_legacy(expected)[rows["build"]]
    is_android = np.array([build.os_name == "Android" for build in expected.builds])[rows["build"]]
    counts[contract.count_of_pings(GLEAN_CRASH)] = np.where(is_legacy, 0, crash_pings)
    counts[contract.count_of_pings("telemetry/crash")] = np.where(is_legacy, crash_pings, 0)
    counts[contract.count_of_pings(MAIN)] = np.where(is_android, 0, pings)
    return counts | {BASELINES: baselines, "count": pings + crash_pings + baselines}


def _crash_pings(expected: Expected, rows: Columns) -> Array:
    return np.add.reduce(
        [
            rows[measure] * _is_by_crash_ping(expected, measure)[rows["build"]]
            for measure in expected.fleet.era.crash_pings
        ]
    )


def _pieces(expected: Expected) -> tuple[Array, Array, Array]:
    """Build and window of each row to draw, and how many rows the build's pings of the window are split into."""
    build, window = np.nonzero((expected.reported_hours > 0) | (expected.used_hours > 0))
    pieces = expected.rows[build, window]
    return np.repeat(build, pieces), np.repeat(window, pieces), np.repeat(pieces, pieces)


def _overdispersed(rng: np.random.Generator, means: Array, shape: float) -> Array:
    """Counts that vary more than a Poisson distribution: negative binomial with the given means."""
    return rng.poisson(means * rng.gamma(shape, 1 / shape, len(means)))


def _events(rng: np.random.Generator, means: Array, shape: float) -> Array:
    """Counts of events, drawn only where the mean is above 0."""
    events = np.zeros(len(means), np.int64)
    can_be = np.flatnonzero(means > 0)
    events[can_be] = _overdispersed(rng, means[can_be], shape)
    return events


_STEPS = {"country": 0.8191725134, "os_version": 0.6710436067, "architecture": 0.5497004779}


def _labels(era: Era) -> dict[str, list[str]]:
    """The values of each dimension of users."""
    systems = list(era.os_versions)
    return {
        name: list(dict.fromkeys(value for os_name in systems for value in era.shares(name, os_name)))
        for name in ("country", "os_version", "architecture")
    }


def _people(rng: np.random.Generator, expected: Expected, rows: Columns) -> Columns:
    """os_version, architecture and country of each row, as indices into the labels."""
    era = expected.fleet.era
    os_names = np.array([build.os_name for build in expected.builds])[rows["build"]]
    columns: Columns = {}
    for name, labels in _labels(era).items():
        columns[name] = np.zeros(len(os_names), np.int64)
        for os_name in era.os_versions:
            of_os = np.flatnonzero(os_names == os_name)
            shares = era.shares(name, os_name)
            places = np.array([labels.index(label) for label in shares])
            columns[name][of_os] = places[_choices(rng, shares, len(of_os), _STEPS[name])]
    return columns


def _choices(rng: np.random.Generator, shares: Mapping[str, float], number: int, step: float) -> Array:
    """Indices drawn by their shares, evenly over neighbouring rows, which are of one window and build.

    step: 1 / g, 1 / g² or 1 / g³, where g is the root of g⁴ = g + 1, a relative of the plastic number; the three series
    are evenly distributed together.
    """
    edges = np.cumsum(list(shares.values()))
    series = (rng.random() + np.arange(number) * step + rng.random(number) * 0.2) % 1
    return np.searchsorted(edges[:-1] / edges[-1], series, side="right")


def _time(expected: Expected, window: Array) -> Columns:
    starts_us = expected.starts[window] * 1_000_000
    return {
        "window_start": starts_us,
        "window_end": starts_us + WINDOW_SECONDS * 1_000_000,
        "submission_date": (starts_us // 86_400_000_000).astype(np.int32),
    }


def _error_table(expected: Expected, rows: Columns) -> "pa.Table":
    columns = {name: rows[name] for name in (*contract.WINDOW_COLUMNS, *contract.COUNTS)}
    columns |= {name: _labelled(labels, rows[name]) for name, labels in _labels(expected.fleet.era).items()}
    return _as_table(contract.ERROR_AGGREGATES, columns | _of_builds(expected.builds, rows["build"]))


def _of_builds(builds: Sequence[Build], places: Array) -> Columns:
    names = ("application", "channel", "version", "display_version", "build_id", "os_name")
    return {name: _labelled([getattr(build, name) for build in builds], places) for name in names}


def _labelled(labels: Sequence[str], places: Array) -> "pa.Array":
    import pyarrow as pa

    return pa.array(labels, pa.string()).take(pa.array(places))


def _as_table(table: contract.Table, columns: Columns) -> "pa.Table":
    import pyarrow as pa

    schema = contract.schema(table)
    rows = len(columns["submission_date"])
    # The fleet's pings do not report dimensions that the simulator does not know.
    columns = {each.name: [each.missing] * rows for each in contract.DIMENSIONS if each.at} | columns
    return pa.table([pa.array(columns[field.name]).cast(field.type) for field in schema], schema=schema)


def _experiment_table(rng: np.random.Generator, expected: Expected, rows: Columns) -> "pa.Table":
    """The sums of the rows' pings that are enrolled in an experiment, by branch."""
    import pyarrow as pa

    tables = [contract.schema(contract.EXPERIMENT_ERROR_AGGREGATES).empty_table()]
    countries = _labels(expected.fleet.era)["country"]
    for experiment in expected.fleet.era.experiments:
        is_on = np.array([experiment.is_on(build) for build in expected.builds])[rows["build"]]
        is_on &= experiment.is_running(expected.starts, expected.fleet.released)[rows["window"]]
        among = {name: values[is_on] for name, values in rows.items()}
        for branch in experiment.branches:
            drawn = _enrolled(rng, expected, among, experiment.share / len(experiment.branches))
            number = len(drawn["count"])
            columns = {name: drawn[name] for name in (*contract.WINDOW_COLUMNS, *contract.COUNTS)}
            columns |= {"country": _labelled(countries, drawn["country"])}
            columns |= {"experiment_id": [experiment.id] * number, "experiment_branch": [branch] * number}
            columns |= _of_builds(expected.builds, drawn["build"])
            tables.append(_as_table(contract.EXPERIMENT_ERROR_AGGREGATES, columns))
    return pa.concat_tables(tables)


def _enrolled(rng: np.random.Generator, expected: Expected, rows: Columns, share: float) -> Columns:
    """The sums of a random share of each row's pings."""
    drawn = dict(rows)
    for measure in contract.MEASURE_NAMES:
        drawn[measure] = rng.binomial(rows[measure], share)
    drawn["startup_crashes"] = np.minimum(drawn["startup_crashes"], drawn["main_crashes"])
    pings = rng.binomial(rows["count"] - _crash_pings(expected, rows) - rows[BASELINES], share)
    if expected.fleet.era.is_glean:
        drawn[BASELINES] = rng.binomial(rows[BASELINES], share)
        drawn[ACTIVE_SECONDS] = np.round(drawn[BASELINES] * ACTIVE_SECONDS_A_BASELINE).astype(np.int64)
    is_there = pings + _crash_pings(expected, drawn) + drawn[BASELINES] > 0
    seconds = rng.gamma(LENGTH_SHAPE * pings) * (MEAN_LENGTH_HOURS / LENGTH_SHAPE * 3600)
    drawn["usage_hours"] = np.minimum(np.round(seconds) / 3600, rows["usage_hours"])
    drawn |= _ping_counts(pings, expected, drawn)
    return {name: values[is_there] for name, values in drawn.items()}


def _delay_table(rng: np.random.Generator, expected: Expected, rows: Columns) -> "pa.Table":
    """The rows' usage hours by delay; core pings do not report the time of use, so Android has none."""
    import pyarrow as pa

    tables = [contract.schema(contract.REPORTING_DELAYS).empty_table()]
    groups = [(build.application, build.channel, build.os_name) for build in expected.builds]
    hour = (expected.starts // 3600 - expected.starts[0] // 3600).astype(int)
    for group in sorted(set(groups)):
        if group[2] != "Android":
            is_of = np.array([other == group for other in groups])
            of_group = is_of[rows["build"]]
            hours = np.bincount(hour[rows["window"][of_group]], rows["usage_hours"][of_group], hour[-1] + 1)
            shares = expected.fleet.delay_shares(expected, is_of)
            tables.append(_delays_of(rng, group, int(expected.starts[0]), hours, _by_hour(shares, hour)))
    return pa.concat_tables(tables)


def _by_hour(shares: Array, hour: Array) -> Array:
    """Shares as (buckets, windows) converted to (buckets, hours); each hour is the mean of its windows."""
    return np.array([np.bincount(hour, of_bucket) for of_bucket in shares]) / np.bincount(hour)


def _delays_of(
    rng: np.random.Generator, group: tuple[str, str, str], start: int, hours: Array, shares: Array
) -> "pa.Table":
    drawn = shares * rng.gamma(DELAY_DISPERSION, 1 / DELAY_DISPERSION, shares.shape)
    by_bucket = drawn / drawn.sum(axis=0) * hours
    bucket, hour = np.nonzero(by_bucket > 0)
    hour_us = (start // 3600 + hour) * 3_600_000_000
    columns: Columns = {
        "submission_date": (hour_us // 86_400_000_000).astype(np.int32),
        "submission_hour": hour_us,
        "delay_hours": np.array(contract.DELAY_BUCKET_EDGES_HOURS)[bucket],
        "usage_hours": by_bucket[bucket, hour],
    }
    columns |= {
        name: [value] * len(hour) for name, value in zip(("application", "channel", "os_name"), group, strict=True)
    }
    return _as_table(contract.REPORTING_DELAYS, columns)


def _rejected_table(rng: np.random.Generator, expected: Expected, elapsed: Array) -> "pa.Table":
    pings = expected.reported_hours.sum(axis=0) * elapsed / MEAN_LENGTH_HOURS
    faults = faults_of(expected.fleet.era)
    counts = rng.poisson(np.outer([fault.share for fault in faults], pings))
    fault, window = np.nonzero(counts)
    columns: Columns = {
        "document_type": _labelled([fault.document_type for fault in faults], fault),
        "reason": _labelled([fault.reason for fault in faults], fault),
        "count": counts[fault, window],
    }
    return _as_table(contract.REJECTED_PINGS, columns | _time(expected, window))
