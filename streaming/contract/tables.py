"""The tables of the grouped dataset: their keys, sums, types and units, derived from dimensions and measures.

pyarrow is imported only when a schema is requested, so that reading names and units stays cheap.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from streaming.contract.dimensions import COARSE, DELAYS, DIMENSIONS, ERROR, EXPERIMENTS
from streaming.contract.measures import ACTIVE_HOURS, ACTIVE_SECONDS, MEASURE_NAMES, PING_COUNTS

if TYPE_CHECKING:
    import pyarrow as pa

WINDOW = timedelta(minutes=5)
WINDOW_COLUMNS = ("submission_date", "window_start", "window_end")
COUNTS = ("usage_hours", "count", *MEASURE_NAMES, *PING_COUNTS, ACTIVE_SECONDS)

# Upper edges, in hours, of the delay buckets of `reporting_delays`. A row holds the edge of its bucket; the last bucket
# has no upper limit.
DELAY_BUCKET_EDGES_HOURS = (0.25, 0.5, 1.0, 2.0, 3.0, 6.0, 12.0, 24.0, 48.0, 72.0, 168.0, float("inf"))


def _dimensions_of(table: str) -> tuple[str, ...]:
    return tuple(dimension.name for dimension in DIMENSIONS if table in dimension.tables)


DIMENSION_NAMES = _dimensions_of(ERROR)
_SINCE_EVER = sum(not dimension.at for dimension in DIMENSIONS)
if len(DIMENSION_NAMES) < len(DIMENSIONS) or any(dimension.at for dimension in DIMENSIONS[:_SINCE_EVER]):
    raise ValueError(f"each dimension is one of {ERROR}, and those that say where they stand come last")
# Dimensions that an existing table may lack: they are null in its older rows, which readers treat as `missing`.
ADDED_DIMENSIONS = tuple(dimension.name for dimension in DIMENSIONS if dimension.at)
EXPERIMENT_NAMES = ("experiment_id", "experiment_branch")
EXPERIMENT_DIMENSIONS = (*_dimensions_of(EXPERIMENTS), *EXPERIMENT_NAMES)
# The dimensions that only the fine table has, of people and their systems: a version's pings can be compared by them.
FINE_DIMENSIONS = tuple(name for name in DIMENSION_NAMES if name not in _dimensions_of(COARSE))
# The dimensions for overviews: builds and operating systems, whose number does not grow with the number of users.
COARSE_DIMENSIONS = _dimensions_of(COARSE)


@dataclass(frozen=True)
class Table:
    """One Delta table of the dataset: rows are grouped by keys, sums add up. Several rows may share a key.

    of: the table whose rows it sums by fewer keys; None for a table into which pings are counted.
    """

    name: str
    keys: tuple[str, ...]
    sums: tuple[str, ...]
    of: "Table | None" = None

    @property
    def time_column(self) -> str:
        """The column with the start of a row's window or hour."""
        return "window_start" if "window_start" in self.keys else "submission_hour"

    @property
    def step(self) -> timedelta:
        """The length of a row's window or hour."""
        return WINDOW if "window_start" in self.keys else timedelta(hours=1)


ERROR_AGGREGATES = Table(ERROR, (*WINDOW_COLUMNS, *DIMENSION_NAMES), COUNTS)
COARSE_AGGREGATES = Table(COARSE, (*WINDOW_COLUMNS, *COARSE_DIMENSIONS), COUNTS, ERROR_AGGREGATES)
EXPERIMENT_ERROR_AGGREGATES = Table(EXPERIMENTS, (*WINDOW_COLUMNS, *EXPERIMENT_DIMENSIONS), COUNTS)
# submission_hour: start of the hour of submission; delay_hours: upper edge of the bucket of the delay.
REPORTING_DELAYS = Table(
    DELAYS, ("submission_date", *_dimensions_of(DELAYS), "submission_hour", "delay_hours"), ("usage_hours",)
)
REJECTED_PINGS = Table("rejected_pings", (*WINDOW_COLUMNS, "document_type", "reason"), ("count",))
TABLES = (ERROR_AGGREGATES, COARSE_AGGREGATES, EXPERIMENT_ERROR_AGGREGATES, REPORTING_DELAYS, REJECTED_PINGS)
COUNTED_TABLES = tuple(table for table in TABLES if table.of is None)

# The key in the metadata of a commit to `error_aggregates` for the newest submission that the commit has seen, an ISO
# 8601 UTC time: the "data up to" of the pages.
DATA_UP_TO = "missioncontrol.data_up_to"


def arrow_type(column: str) -> "pa.DataType":
    """The Arrow type of a column; the same in every table."""
    import pyarrow as pa

    if column == "submission_date":
        return pa.date32()
    if column in ("window_start", "window_end", "submission_hour"):
        return pa.timestamp("us", tz="UTC")
    if column in ("usage_hours", "delay_hours", ACTIVE_HOURS):
        return pa.float64()
    if column in COUNTS:
        return pa.int64()
    return pa.string()


@cache
def schema(table: Table) -> "pa.Schema":
    """The Arrow schema of a table of the dataset."""
    import pyarrow as pa

    return pa.schema([(column, arrow_type(column)) for column in (*table.keys, *table.sums)])


# Further values of `table` in partial sums, which are not tables of the dataset: see partial_schema.
FILE_REJECTS = "file_rejects"
WRITTEN_FILES = "written_files"
CRASHES = "crashes"
PARTIAL_KEYS = ("table", *dict.fromkeys(key for table in COUNTED_TABLES for key in table.keys))


# Additional columns of partial sums where pings may be dropped: the hash of the document's kind and id, a number that
# identifies one delivery of the document, the time of receipt of this delivery (microseconds since 1970, see
# `receipt`), the kind of ping, and hashes of the event and the dump of the crash that it reports. A row then belongs to
# one delivery; all are null for documents without an id that report no such crash.
DELIVERY_COLUMNS = ("document", "delivery", "received", "kind", "crash_event", "crash_dump")


@cache
def partial_schema(*, by_delivery: bool = False) -> "pa.Schema":
    """The schema of partial sums: the rows of all counted tables in one; `table` names the table of a row.

    Keys and sums that a row's table lacks are null. Three columns belong to no table. `newest_submission` is the latest
    submission behind a row; for delays, the latest behind the totals they come from (only the greatest is used, see
    DATA_UP_TO). `bytes` is the size of the documents behind a row, each counted once. `file` names the file in rows of
    FILE_REJECTS, which count rejects by file and reason for the log; in rows of WRITTEN_FILES it describes a file that
    a task wrote, in the form that `spill` reads; in rows of CRASHES it holds rows by delivery, in the form of
    `crash_rows`. by_delivery: adds DELIVERY_COLUMNS.
    """
    import pyarrow as pa

    fields = [
        *((key, pa.string() if key == "table" else arrow_type(key)) for key in PARTIAL_KEYS),
        ("file", pa.string()),
        *((column, arrow_type(column)) for column in COUNTS),
        ("newest_submission", pa.timestamp("us", tz="UTC")),
        ("bytes", pa.int64()),
    ]
    if by_delivery:
        types = (pa.binary(), pa.int64(), pa.int64(), pa.string(), pa.binary(), pa.binary())
        fields += zip(DELIVERY_COLUMNS, types, strict=True)
    return pa.schema(fields)
