"""Small pings and files of them to feed the job, and the sums of a dataset to compare with those of a plain loop."""

import json
import os
import random
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from streaming import contract
from streaming.aggregation.counter import Counter
from streaming.aggregation.partial_sums import add_up, rows_of
from streaming.storage.locations import table_url
from streaming.storage.s3 import storage_options
from tests import real_pings
from tests.plain_loop import plain_sums

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


def crash_report(number: int, minute: int, *, reason: str = "crash", **texts: str) -> bytes:
    """A Glean ping that reports the main crash of a number, submitted some minutes into 20 November 2026.

    Each reason gives another document.
    """
    said = {"event_id": f"event {number}", "minidump_sha256_hash": f"{number:064x}"} | texts
    document = real_pings.crash(**said)
    document["ping_info"]["reason"] = reason
    if number % 3:
        document["ping_info"]["experiments"] = {"one": {"branch": "a"}, "two": {"branch": "b"}}
    document["document_id"] = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{number} {reason}"))
    moment = datetime(2026, 11, 20, tzinfo=UTC) + timedelta(minutes=minute)
    return json.dumps(document | {"submission_timestamp": moment.isoformat()}).encode()


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


def counted_sums(documents: Iterable[bytes]) -> Sums:
    """The sums of pings that all count, as streaming counts them without looking for duplicates, like table_sums."""
    counter = Counter()
    for document in documents:
        assert counter.add(document, 0) is None
    partials = add_up(pa.Table.from_batches([counter.partial_sums()]))
    sums: Sums = {}
    for table in contract.TABLES:
        rows = [list(row.values()) for row in rows_of(table, partials).to_pylist()]
        cut, hours = len(table.keys), table.sums.index("usage_hours") if "usage_hours" in table.sums else None
        for row in rows if hours is not None else ():
            row[cut + hours] = round(row[cut + hours] * 3600)
        sums[table.name] = {tuple(row[:cut]): tuple(row[cut:]) for row in rows}
    return sums


def write_pings(folder: Path, name: str, documents: list[bytes], modified_s: int | None = None) -> None:
    """modified_s: the time of the file, seconds since 1970, by which pings that say no time are counted; None: now."""
    unfinished = folder / f".{name}"
    unfinished.write_bytes(b"".join(document + b"\n" for document in documents))
    if modified_s is not None:
        os.utime(unfinished, (modified_s, modified_s))
    unfinished.rename(folder / name)


def some_pings(random_: random.Random, count: int) -> list[bytes]:
    experiments = {"environment": {"system": {"os": {"name": "Darwin", "version": "16.7"}}, "experiments": {"a": "b"}}}
    kinds = [
        lambda minute: crash_ping(minute),
        lambda minute: crash_ping(minute, payload={"processType": "content"}, country="FR"),
        lambda minute: main_ping(minute, hours=random_.randrange(1, 5)),
        lambda minute: main_ping(minute, **experiments),
        lambda minute: crash_ping(minute)[:-5],
    ]
    return [random_.choice(kinds)(random_.randrange(60)) for _ in range(count)]


def sums_by_plain_loop(folder: Path) -> Sums:
    """The sums of a folder's files of lines."""
    files = [(path, path.stat().st_mtime_ns // 1000) for path in folder.iterdir()]
    return plain_sums((line, received_us) for path, received_us in files for line in path.read_bytes().splitlines())


def total_pings(dataset: Path | str) -> int:
    sums = dataset_sums(dataset)
    accepted = sum(row[contract.COUNTS.index("count")] for row in sums[contract.ERROR_AGGREGATES.name].values())
    return accepted + sum(row[0] for row in sums[contract.REJECTED_PINGS.name].values())
