"""Pings with crashes by subprocess, which the fine table sums, and those sums."""

from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from streaming import contract
from streaming.storage.locations import table_url
from tests.spark.small_pings import main_ping

FINE, COARSE = contract.ERROR_AGGREGATES, contract.COARSE_AGGREGATES


def a_ping(minute: int, **crashes: int) -> bytes:
    """A main ping of an hour's use with crashes of subprocesses by their keys, in an experiment."""
    keyed = {"SUBPROCESS_CRASHES_WITH_DUMP": {key: {"values": {"0": number}} for key, number in crashes.items()}}
    start = f"2017-10-02T{13 + minute // 60:02}:{minute % 60:02}:00Z"
    payload = {"info": {"subsessionLength": 3600, "subsessionStartDate": start}, "keyedHistograms": keyed}
    system = {"os": {"name": "Windows_NT", "version": "10.0"}}
    return main_ping(minute, payload=payload, environment={"system": system, "experiments": {"a": "b"}})


def sums(folder: Path, *columns: str, table: contract.Table = FINE) -> tuple[int | None, ...]:
    """Sums over all rows of a table; None where no row counted it."""
    asked = ", ".join(f'sum("{column}")' for column in columns)
    delta = DeltaTable(table_url(str(folder), table))
    rows = QueryBuilder().register("data", delta).execute(f"SELECT {asked} FROM data").read_all()
    return tuple(pa.table(rows).to_pylist()[0].values())
