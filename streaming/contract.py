"""The grouped dataset: its tables, dimensions, measures, types, units and known forms; what both ends agree on.

pyarrow is imported only when a schema is asked for, so that names and units cost nothing to read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
# The product that pages, scores and the release calendar are about: the application that it is on each system. Sums
# over these are sums of one product; any other application is another product, and no sum is ever made over two.
APPLICATION_ON = {"Windows_NT": "Firefox", "Darwin": "Firefox", "Linux": "Firefox", "Android": "Fennec"}
PRODUCT = tuple(dict.fromkeys(APPLICATION_ON.values()))
DOCUMENT_TYPES_OF = {"Firefox": ("main", "crash"), "Fennec": ("core", "crash")}  # what its applications send
ARCHITECTURES = (  # as clients spell them: desktop builds, then Android's
    *("x86", "x86-64", "arm", "aarch64", "ppc", "ppc64", "ppc64le", "s390", "s390x", "mips", "mips64", "sparc"),
    *("sparc64", "riscv64", "loongarch64"),
    *("armeabi", "armeabi-v7a", "arm64-v8a", "x86_64"),
)
UNKNOWN_COUNTRY = "??"
_COUNTRY_CODES = (  # ISO 3166-1 alpha-2
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ "
    "CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO "
    "FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE "
    "JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO "
    "MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW "
    "PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM "
    "TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW"
)
COUNTRIES = frozenset(_COUNTRY_CODES.split())

NOT_CARRIED = "No ping of this platform carries it."


@dataclass(frozen=True)
class Measure:
    """A count that a ping can add to, and where in the ping it stands.

    source: the kind of ping it comes from. histogram: the count histogram whose `values["0"]` it is;
    key: within a keyed histogram. Measures without a histogram are told apart by the rule of their ping.
    not_in: applications that cannot count it, and why, as a sentence for readers.
    """

    name: str
    label: str
    source: Literal["crash", "main"]
    histogram: str | None = None
    key: str | None = None
    not_in: Mapping[str, str] = field(default_factory=dict, hash=False)

    def why_not_on(self, os_name: str) -> str | None:
        """Why pings of the product from an operating system cannot hold the measure; None where they can."""
        application = APPLICATION_ON[os_name]
        if self.source not in DOCUMENT_TYPES_OF.get(application, DOCUMENT_TYPES):
            return NOT_CARRIED
        return self.not_in.get(application)


_SUBPROCESS = "SUBPROCESS_CRASHES_WITH_DUMP"
# Fennec was Firefox for Android until 2020; its successor is another application, with content processes.
_NO_CONTENT_PROCESSES = {"Fennec": "Firefox for Android runs no content processes."}

MEASURES = (
    Measure("main_crashes", "Main crashes", "crash"),
    Measure("startup_crashes", "Startup crashes", "crash"),
    Measure("content_crashes", "Content crashes", "crash", not_in=_NO_CONTENT_PROCESSES),
    Measure("content_shutdown_crashes", "Content shutdown crashes", "crash", not_in=_NO_CONTENT_PROCESSES),
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


def measure(name: str) -> Measure:
    """A measure by its name, which must be declared."""
    return next(each for each in MEASURES if each.name == name)


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
# What an overview asks for: builds and systems, whose number does not grow with that of people.
COARSE_DIMENSIONS = ("application", "channel", "version", "display_version", "build_id", "os_name")
WINDOW_COLUMNS = ("submission_date", "window_start", "window_end")
COUNTS = ("usage_hours", "count", *MEASURE_NAMES)

# Upper edges, in hours, of the delay buckets of `reporting_delays`; a row carries the edge, the last one is open.
DELAY_BUCKET_EDGES_HOURS = (0.25, 0.5, 1.0, 2.0, 3.0, 6.0, 12.0, 24.0, 48.0, 72.0, 168.0, float("inf"))

# Why a ping, or a file of them, is not counted. In order of precedence: a ping with several faults is counted under the
# first of them that stands here; of `wrong_type` and `too_long`, the one whose value comes first in the ping.
REASONS = {
    "file_vanished": "The file was gone when it was to be read.",
    "file_unreadable": "The file could not be opened or read.",
    "file_corrupt": (
        "The compressed file is cut short or damaged, or inflates to more than 5,000 times its size; what stood before "
        "was counted."
    ),
    "messages_lost": "The message was gone from its topic before it was read, or the topic was made anew.",
    "empty": "The document or file is empty.",
    "too_large": "The document is larger than a ping can be (8 MiB).",
    "not_json": "The document is not JSON: cut short, NaN; or text that is read is not UTF-8 or has a lone surrogate.",
    "too_deep": "The document is nested deeper than any ping.",
    "not_an_object": "The document is JSON but not an object.",
    "document_type": "The document is neither a main, nor a crash, nor a core ping.",
    "wrong_type": "A value that is read has another type than the ping's schema says (3600.0 is no whole number).",
    "too_long": "A name that is read is longer than 200 characters.",
    "submission_time": "The time of submission is no time, or not in this century.",
    "display_version": "A display version is not of a version's form.",
    "uri_missing": "A core ping without metadata.uri: its application, build and channel stand nowhere else.",
    "version": "The version is missing or not of a version's form.",
    "build_id": "The build id is missing or not of the form YYYYMMDDHHMMSS.",
    "histogram": "A histogram's values are not counts by bucket.",
    "count_negative": "A count is negative.",
    "count_absurd": "A count is above 90,000: more than one a second for the longest use that a ping can report.",
    "experiment": "An experiment's id or branch is not of a known form, or there are more than 100 of them.",
    "nothing_to_count": "The ping has no payload.",
    "process_type": "The crash is neither of the main nor of a content process; main pings count the others.",
    "usage_missing": "The ping does not say for how long it was used.",
    "usage_negative": "The length of use is negative.",
    "use_time": "The start of the use is not a time.",
    "application": "The application is missing or not one that is counted.",
    "channel": "The channel is missing or not a known one.",
    "os_name": "The operating system is missing, not a known one, or not Android for a core ping.",
    "os_version": "The operating system's version is missing or does not begin with a number.",
    "architecture": "The architecture is missing or not a known one.",
    "build_in_future": "The build is newer than the ping's submission.",
    "build_too_old": "The build is more than six months older than the ping's submission.",
    "duplicate": "The same ping was received up to an hour before; only where that is looked for (--dedupe).",
}


@dataclass(frozen=True)
class Table:
    """One Delta table of the dataset: keys tell its rows apart, sums add up. Several rows may share a key.

    of: the table whose rows it sums by fewer keys; None when pings are counted into it.
    """

    name: str
    keys: tuple[str, ...]
    sums: tuple[str, ...]
    of: "Table | None" = None

    @property
    def time_column(self) -> str:
        """The start of the window, or of the hour, that a row is of."""
        return "window_start" if "window_start" in self.keys else "submission_hour"

    @property
    def step(self) -> timedelta:
        """How long that is."""
        return WINDOW if "window_start" in self.keys else timedelta(hours=1)


ERROR_AGGREGATES = Table("error_aggregates", (*WINDOW_COLUMNS, *DIMENSIONS), COUNTS)
COARSE_AGGREGATES = Table("coarse_aggregates", (*WINDOW_COLUMNS, *COARSE_DIMENSIONS), COUNTS, ERROR_AGGREGATES)
EXPERIMENT_ERROR_AGGREGATES = Table("experiment_error_aggregates", (*WINDOW_COLUMNS, *EXPERIMENT_DIMENSIONS), COUNTS)
# submission_hour: start of the hour of submission; delay_hours: upper edge of the bucket the delay falls in.
REPORTING_DELAYS = Table(
    "reporting_delays",
    ("submission_date", "application", "channel", "os_name", "submission_hour", "delay_hours"),
    ("usage_hours",),
)
REJECTED_PINGS = Table("rejected_pings", (*WINDOW_COLUMNS, "document_type", "reason"), ("count",))
TABLES = (ERROR_AGGREGATES, COARSE_AGGREGATES, EXPERIMENT_ERROR_AGGREGATES, REPORTING_DELAYS, REJECTED_PINGS)
COUNTED_TABLES = tuple(table for table in TABLES if table.of is None)

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


# No tables of the dataset, see partial_schema.
FILE_REJECTS = "file_rejects"
WRITTEN_FILES = "written_files"
PARTIAL_KEYS = ("table", *dict.fromkeys(key for table in COUNTED_TABLES for key in table.keys))


# What partial sums say besides where duplicates are dropped: the hash of the document's kind and id, a number that
# tells one delivery of it from another, when that was received (microseconds since 1970, see `streaming.receipt`), the
# kind of ping. A row is then of one delivery; those without an id lack all four.
DELIVERY_COLUMNS = ("document", "delivery", "received", "kind")


@cache
def partial_schema(*, by_delivery: bool = False) -> "pa.Schema":
    """The schema of partial sums: the rows of all counted tables in one, `table` naming the one a row belongs to.

    Keys and sums that a row's table lacks are null. Three columns go into no table: `newest_submission` is the latest
    submission behind a row, of delays that behind their totals (the greatest counts, see DATA_UP_TO); `bytes` the size
    of the documents behind it, each counted once; `file` names the file in rows of FILE_REJECTS, which count rejects by
    file and reason for the log; in rows of WRITTEN_FILES it says which file a task wrote, as streaming.spill reads it.
    by_delivery: with DELIVERY_COLUMNS.
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
        types = (pa.binary(), pa.int64(), pa.int64(), pa.string())
        fields += zip(DELIVERY_COLUMNS, types, strict=True)
    return pa.schema(fields)
