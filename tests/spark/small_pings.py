"""Small pings to feed the job, and the sums of a dataset to compare."""

import json
from pathlib import Path
from typing import Any

from deltalake import DeltaTable, QueryBuilder

from streaming import contract
from streaming.storage.locations import table_url
from streaming.storage.s3 import storage_options

Sums = dict[str, dict[tuple[Any, ...], tuple[Any, ...]]]


def crash_ping(minute: int = 0, *, country: str = "DE", **changes: Any) -> bytes:
    """A crash of release 56.0 on Windows, submitted on 2 October 2017 at 14:00 and some minutes."""
    ping = {
        "type": "crash",
        "submission_timestamp": f"2017-10-02T{14 + minute // 60:02}:{minute % 60:02}:00Z",
        "normalized_channel": "release",
        "normalized_app_name": "Firefox",
        "normalized_country_code": country,
        "application": {"buildId": "20170926190823", "version": "56.0", "architecture": "x86-64", "name": "Firefox"},
        "environment": {"system": {"os": {"name": "Windows_NT", "version": "10.0"}}},
        "payload": {"processType": "main", "metadata": {}},
    }
    return json.dumps(ping | changes).encode()


def main_ping(minute: int = 0, *, hours: int = 1, **changes: Any) -> bytes:
    """A main ping like crash_ping, of so many hours of use that ended when it was submitted."""
    started = f"2017-10-02T{14 + minute // 60 - hours:02}:{minute % 60:02}:00Z"
    payload = {"info": {"subsessionLength": hours * 3600, "subsessionStartDate": started}}
    return crash_ping(minute, **({"type": "main", "payload": payload} | changes))


def table_sums(dataset: Path | str, table: contract.Table) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The sums of a table by its keys, added up by DataFusion; usage in whole seconds."""
    url = table_url(str(dataset), table)
    delta = DeltaTable(url, storage_options=storage_options(url))
    columns = ", ".join(
        f"cast(round(sum({column}) * 3600) as bigint)" if column == "usage_hours" else f"sum({column})"
        for column in table.sums
    )
    keys = ", ".join(table.keys)
    query = f"select {keys}, {columns} from rows group by {keys}"
    rows = QueryBuilder().register("rows", delta).execute(query).read_all()
    columns_of = [rows[index].to_pylist() for index in range(rows.num_columns)]
    cut = len(table.keys)
    return {row[:cut]: row[cut:] for row in zip(*columns_of, strict=True)}


def dataset_sums(dataset: Path | str) -> Sums:
    return {table.name: table_sums(dataset, table) for table in contract.TABLES}
