"""What a page should say, without the product: a plain loop over pings, a history's rows as DataFusion reads them."""

import gzip
import json
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path

import pandas as pd
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from streaming import contract
from tests.plain_loop import StandIn, read

KEYS = ["channel", "os_name", "display_version", "build_id", "window_start"]
SUMS = ["seconds", *contract.MEASURE_NAMES, *contract.PING_COUNTS]
WINDOW_US = 300_000_000
BUILT_AT_MOST = timedelta(days=14)
DATASET_BEGAN_LATER = timedelta(hours=36)


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl.gz"))


@cache
def pings_of(file: Path) -> pd.DataFrame:
    """The pings of a file that count: KEYS, SUMS and `submitted`, a row a ping."""
    pings = [read(line, 0, StandIn()) for line in gzip.decompress(file.read_bytes()).splitlines()]
    rows = [
        {name: ping[name] for name in ("channel", "os_name", "display_version", "build_id", "seconds")}
        | {"window_start": ping["submitted_us"] // WINDOW_US * WINDOW_US, "submitted": ping["submitted_us"]}
        | {name: ping["events"].get(name, 0) for name in contract.MEASURE_NAMES}
        | {name: int(name == f"{ping['kind']}_pings") for name in contract.PING_COUNTS}
        for ping in pings
        if "reason" not in ping
    ]
    return as_times(pd.DataFrame(rows, columns=[*KEYS, *SUMS, "submitted"]))


def as_times(rows: pd.DataFrame) -> pd.DataFrame:
    times = {name: pd.to_datetime(rows[name], unit="us", utc=True) for name in ("window_start", "submitted")}
    return rows.assign(**times)


def pings_in(folder: Path) -> pd.DataFrame:
    """The pings of all files of a folder, as pings_of."""
    return pd.concat(map(pings_of, files_of(folder)), ignore_index=True)


def history_of(dataset: Path, channel: str, version: str) -> pd.DataFrame:
    """The rows that `simulate` wrote of a display version: KEYS and SUMS."""
    last = max(number for number, commit in commits(dataset) if '"simulate-' in commit)
    delta = DeltaTable(str(dataset / "error_aggregates"), version=last)
    query = f"""
        select {", ".join(KEYS)}, usage_hours * 3600 as seconds, {", ".join(SUMS[1:])}
        from counts where channel = '{channel}' and display_version = '{version}'"""
    return pa.table(QueryBuilder().register("counts", delta).execute(query).read_all()).to_pandas()


def commits(dataset: Path) -> list[tuple[int, str]]:
    log = dataset / "error_aggregates" / "_delta_log"
    return [(int(file.stem), file.read_text()) for file in sorted(log.glob("*.json"))]


def release_day(calendar: Path, channel: str, version: str) -> date:
    """The day a version went out, from the calendar's file."""
    releases = json.loads(calendar.read_text())["releases"]
    [day] = [day for listed, on, day in releases if (listed, on) == (version, channel)]
    return date.fromisoformat(day)


def of_version(rows: pd.DataFrame, calendar: Path, channel: str, version: str) -> pd.DataFrame:
    """The rows of a version's official builds since it went out: from the first hour of its day that has any."""
    day = release_day(calendar, channel, version)
    rows = rows[(rows["channel"] == channel) & (rows["display_version"] == version)]
    built = pd.to_datetime(rows["build_id"].str[:8], format="%Y%m%d").dt.date
    rows = rows[(built >= day - BUILT_AT_MOST) & (built <= day)]
    midnight = pd.Timestamp(datetime.combine(day, datetime.min.time()), tz="UTC")
    first = rows["window_start"][rows["window_start"] >= midnight].min().floor("h")
    return rows[rows["window_start"] >= (midnight if first - midnight > DATASET_BEGAN_LATER else first)]


def sums_of(rows: pd.DataFrame) -> dict[str, int]:
    """The sums by name; seconds of use are whole."""
    return {name: round(total) for name, total in rows[SUMS].sum().items()}
