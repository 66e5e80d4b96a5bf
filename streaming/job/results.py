"""The sums and figures of a micro-batch, computed from the rows that its tasks made."""

import json
from collections import Counter as Tally
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from streaming import contract

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake.transaction import AddAction
    from pyspark.sql import DataFrame


def sum_partials(partials: "DataFrame") -> "DataFrame":
    """Partial sums added up by Spark, as partial_sums.add_up does here: one row per table and combination of keys."""
    from pyspark.sql import functions

    sums = [functions.sum(column).alias(column) for column in (*contract.COUNTS, "bytes")]
    newest = functions.max("newest_submission").alias("newest_submission")
    return partials.groupBy(*contract.PARTIAL_KEYS, "file").agg(*sums, newest)


def row_count(sums: "pa.Table", written: "dict[str, list[AddAction]] | None") -> int:
    """About how many rows a micro-batch adds."""
    if written is None:
        return len(sums)
    return sum(json.loads(file.stats or "{}").get("numRecords", 0) for files in written.values() for file in files)


def newest_submission(sums: "pa.Table") -> datetime | None:
    """The newest submission of the accepted pings; never later than now, whatever a client's clock shows."""
    import pyarrow.compute as pc

    counted = sums.filter(pc.equal(sums["table"], contract.ERROR_AGGREGATES.name))
    newest = pc.max(counted["newest_submission"]).as_py()
    return None if newest is None else min(newest.astimezone(UTC), datetime.now(UTC))


def count_accepted(sums: "pa.Table") -> int:
    """The number of accepted pings."""
    import pyarrow.compute as pc

    return pc.sum(sums.filter(pc.equal(sums["table"], contract.ERROR_AGGREGATES.name))["count"]).as_py() or 0


def tally_rejects(sums: "pa.Table", name: str) -> Tally[str]:
    """The counts by reason in the rows of the named table."""
    import pyarrow.compute as pc

    rows = sums.filter(pc.equal(sums["table"], name))
    tally: Tally[str] = Tally()
    for reason, count in zip(rows["reason"].to_pylist(), rows["count"].to_pylist(), strict=True):
        tally[reason] += count
    return tally


def count_bad_files(sums: "pa.Table") -> dict[str, dict[str, int]]:
    """The rejects of each file that could not be read completely, by reason."""
    import pyarrow.compute as pc

    rows = sums.filter(pc.equal(sums["table"], contract.FILE_REJECTS)).select(["file", "reason", "count"])
    files: dict[str, dict[str, int]] = {}
    for row in rows.sort_by([("file", "ascending"), ("reason", "ascending")]).to_pylist():
        files.setdefault(row["file"], {})[row["reason"]] = row["count"]
    return files
