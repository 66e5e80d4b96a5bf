"""The grouped dataset: its tables, dimensions, measures, types, units and known forms; what both ends agree on.

pyarrow is imported only when a schema is asked for, so that names and units cost nothing to read.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pyarrow as pa

WINDOW = timedelta(minutes=5)

CHANNELS = ("release", "beta", "aurora", "nightly", "esr")
APPLICATIONS = ("Firefox", "Fennec")
OPERATING_SYSTEMS = ("Windows_NT", "Darwin", "Linux", "Android")
DOCUMENT_TYPES = ("main", "crash", "core")
UNKNOWN_COUNTRY = "??"


@dataclass(frozen=True)
class Measure:
    """A count that a ping can add to, and where in the ping it stands.

    source: the kind of ping it comes from. histogram: the count histogram whose `values["0"]` it is;
    key: within a keyed histogram. Measures without a histogram are told apart by the rule of their ping.
    """

    name: str
    label: str
    source: Literal["crash", "main"]
    histogram: str | None = None
    key: str | None = None


_SUBPROCESS = "SUBPROCESS_CRASHES_WITH_DUMP"

MEASURES = (
    Measure("main_crashes", "Main crashes", "crash"),
    Measure("startup_crashes", "Startup crashes", "crash"),
    Measure("content_crashes", "Content crashes", "crash"),
    Measure("content_shutdown_crashes", "Content shutdown crashes", "crash"),
    Measure("gpu_crashes", "GPU crashes", "main", _SUBPROCESS, "gpu"),
    Measure("plugin_crashes", "Plugin crashes", "main", _SUBPROCESS, "plugin"),
    Measure("gmplugin_crashes", "GMPlugin crashes", "main", _SUBPROCESS, "gmplugin"),
    Measure("browser_shim_usage_blocked", "Browser shim usage blocked", "main", "BROWSER_SHIM_USAGE_BLOCKED"),
    Measure("permissions_sql_corrupted", "Permissions SQL corrupted", "main", "PERMISSIONS_SQL_CORRUPTED"),
    Measure(
        "defective_permissions_sql_removed",
        "Defective permissions SQL removed",
        "main",
        "DEFECTIVE_PERMISSIONS_SQL_REMOVED",
    ),
    Measure("slow_script_notice_count", "Slow script notices", "main", "SLOW_SCRIPT_NOTICE_COUNT"),
    Measure("slow_script_page_count", "Slow script pages", "main", "SLOW_SCRIPT_PAGE_COUNT"),
)
MEASURE_NAMES = tuple(measure.name for measure in MEASURES)

DIMENSIONS = (
    "application",
    "channel",
    "version",
    "display_version",
    "build_id",
    "os_name",
    "os_version",
    "architecture",
    "country",
)
EXPERIMENT_DIMENSIONS = (
    "application",
    "channel",
    "version",
    "os_name",
    "country",
    "experiment_id",
    "experiment_branch",
)
WINDOW_COLUMNS = ("submission_date", "window_start", "window_end")
COUNTS = ("usage_hours", "count", *MEASURE_NAMES)

# Upper edges, in hours, of the delay buckets of `reporting_delays`; a row carries the edge, the last one is open.
DELAY_BUCKET_EDGES_HOURS = (0.25, 0.5, 1.0, 2.0, 3.0, 6.0, 12.0, 24.0, 48.0, 72.0, 168.0, float("inf"))


@dataclass(frozen=True)
class Table:
    """One Delta table of the dataset: keys tell its rows apart, sums add up. Several rows may share a key."""

    name: str
    keys: tuple[str, ...]
    sums: tuple[str, ...]


ERROR_AGGREGATES = Table("error_aggregates", (*WINDOW_COLUMNS, *DIMENSIONS), COUNTS)
EXPERIMENT_ERROR_AGGREGATES = Table("experiment_error_aggregates", (*WINDOW_COLUMNS, *EXPERIMENT_DIMENSIONS), COUNTS)
# submission_hour: start of the hour of submission; delay_hours: upper edge of the bucket the delay falls in.
REPORTING_DELAYS = Table(
    "reporting_delays",
    ("submission_date", "application", "channel", "os_name", "submission_hour", "delay_hours"),
    ("usage_hours",),
)
REJECTED_PINGS = Table("rejected_pings", (*WINDOW_COLUMNS, "document_type", "reason"), ("count",))
TABLES = (ERROR_AGGREGATES, EXPERIMENT_ERROR_AGGREGATES, REPORTING_DELAYS, REJECTED_PINGS)

# A commit to `error_aggregates` carries the newest submission it has seen, an ISO 8601 UTC time, under this key
# of its metadata: the "data up to" of the pages.
DATA_UP_TO = "missioncontrol.data_up_to"


def arrow_type(column: str) -> "pa.DataType":
    """The Arrow type of a column, the same in whichever table it stands."""
    import pyarrow as pa

    if column == "submission_date":
        return pa.date32()
    if column in ("window_start", "window_end", "submission_hour"):
        return pa.timestamp("us", tz="UTC")
    if column in ("usage_hours", "delay_hours"):
        return pa.float64()
    if column == "count" or column in MEASURE_NAMES:
        return pa.int64()
    return pa.string()


@cache
def schema(table: Table) -> "pa.Schema":
    """The Arrow schema of a table of the dataset."""
    import pyarrow as pa

    return pa.schema([(column, arrow_type(column)) for column in (*table.keys, *table.sums)])


PARTIAL_KEYS = ("table", *dict.fromkeys(key for table in TABLES for key in table.keys))


@cache
def partial_schema() -> "pa.Schema":
    """The schema of partial sums: the rows of all tables in one, `table` naming the one a row belongs to.

    Keys and sums that a row's table lacks are null. `newest_submission` is the latest submission behind a row; it
    is the greatest that counts, and it goes into no table (see DATA_UP_TO).
    """
    import pyarrow as pa

    fields = [
        *((key, pa.string() if key == "table" else arrow_type(key)) for key in PARTIAL_KEYS),
        *((column, arrow_type(column)) for column in COUNTS),
        ("newest_submission", pa.timestamp("us", tz="UTC")),
    ]
    return pa.schema(fields)
