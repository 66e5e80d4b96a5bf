"""Measures: what is counted, and where it is in pings. To declare one, add an entry to MEASURES.

Raises MissionControlError at import where an entry is wrong.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

from streaming.contract.declared_pings import DECLARED, DeclaredMeasure
from streaming.errors import MissionControlError

MAIN, CRASH = "telemetry/main", "telemetry/crash"
GLEAN_CRASH, GLEAN_BASELINE = "glean/crash", "glean/baseline"
REPLACING = (GLEAN_CRASH,)
"""Kinds of ping that report what others also report. Where a product's clients send one of them (see
`Platform.since`), the measures that it reports are counted from it alone."""
ACTIVE_SECONDS, ACTIVE_HOURS = "active_seconds", "active_hours"
"""The column with the time in which users were active, from `glean/baseline`: whole seconds in the tables (a new sum is
a whole number, so that older versions can add it up), hours in what is loaded."""


@dataclass(frozen=True)
class Count:
    """A whole number in pings of a kind: how many events such a ping reports.

    at: JSON pointer (RFC 6901). A ping without a value there reports none.
    """

    kind: str
    at: str


@dataclass(frozen=True)
class Event:
    """Pings of a kind, each of which is one event if its texts match.

    where, unless: for the JSON pointer of each value, the values that it must be among (where) or must not be among
    (unless): texts, where "" stands for a text that the ping lacks, or truth values, where False stands for that.
    """

    kind: str
    where: Mapping[str, tuple[str | bool, ...]] = field(hash=False)
    unless: Mapping[str, tuple[str | bool, ...]] = field(default_factory=dict, hash=False)


def count_histogram(name: str, key: str | None = None) -> Count:
    """A count histogram of main pings, or one key of a keyed one: the events are in its only bucket."""
    section = f"histograms/{name}" if key is None else f"keyedHistograms/{name}/{key}"
    return Count(MAIN, f"/payload/{section}/values/0")


@dataclass(frozen=True)
class Removed:
    """The end of a measure in an application. since: the first version without it; why: a sentence for readers."""

    since: str
    why: str


def count_of_pings(kind: str) -> str:
    """The column of the dataset with the number of pings of a kind: `crash_pings` for `telemetry/crash`.

    It names the type alone, because the application tells namespaces apart; but `glean_crash_pings`, because an
    application may send both.
    """
    namespace, document_type = kind.split("/")
    return re.sub("[^a-z0-9]+", "_", kind if namespace == "glean" else document_type) + "_pings"


@dataclass(frozen=True)
class Measure:
    """A count that a ping can add to.

    sources: where it is found, in one kind of ping or in several. not_on: applications whose clients do not have it,
    each with the reason as a sentence for readers. removed: applications whose clients no longer have it. in_score,
    on_cards: whether it counts in the score, and is on the cards, of products that name no measures of their own.
    """

    name: str
    label: str
    sources: tuple[Count | Event, ...]
    not_on: Mapping[str, str] = field(default_factory=dict, hash=False)
    removed: Mapping[str, Removed] = field(default_factory=dict, hash=False)
    in_score: bool = False
    on_cards: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of ping that report it, each once."""
        return tuple(dict.fromkeys(source.kind for source in self.sources))


_PROCESS, _STARTUP, _ENDED_BY = (
    "/payload/processType",
    "/payload/metadata/StartupCrash",
    "/payload/metadata/ipc_channel_error",
)
_MAIN_PROCESS, _SHUTDOWN = ("main", ""), ("ShutDownKill",)
_SUBPROCESS_CRASHES = "SUBPROCESS_CRASHES_WITH_DUMP"
_GLEAN = "/metrics/string/crash."
_GLEAN_ENDED_BY = f"{_GLEAN}ipc_channel_error"
_GLEAN_STARTUP = "/metrics/boolean/crash.startup"


def _glean_crash(
    process: str, where: Mapping[str, tuple[str | bool, ...]] = MappingProxyType({}), **more: Any
) -> Event:
    """Crashes of a process in Glean pings; where, more: further conditions. Those of background tasks are no user's."""
    of_users = {f"{_GLEAN}process_type": (process,), f"{_GLEAN}background_task_name": ("",)}
    return Event(GLEAN_CRASH, of_users | dict(where), **more)


def _declared(measure: DeclaredMeasure) -> Measure:
    return Measure(measure.name, measure.label, (Count(measure.ping.kind, f"/metrics/counter/{measure.counter}"),))


# Fennec was Firefox for Android until 2020; its successor is another application, with content processes.
_NO_CONTENT_PROCESSES = {"Fennec": "Firefox for Android runs no content processes."}

MEASURES = (
    Measure(
        "main_crashes",
        "Main crashes",
        (Event(CRASH, {_PROCESS: _MAIN_PROCESS}), _glean_crash("main")),
        in_score=True,
        on_cards=True,
    ),
    Measure(
        "startup_crashes",
        "Startup crashes",
        (
            Event(CRASH, {_PROCESS: _MAIN_PROCESS, _STARTUP: ("1",)}),
            _glean_crash("main", {_GLEAN_STARTUP: (True,)}),
        ),
    ),
    Measure(
        "content_crashes",
        "Content crashes",
        (
            Event(CRASH, {_PROCESS: ("content",)}, unless={_ENDED_BY: _SHUTDOWN}),
            _glean_crash("content", unless={_GLEAN_ENDED_BY: _SHUTDOWN}),
        ),
        not_on=_NO_CONTENT_PROCESSES,
        in_score=True,
        on_cards=True,
    ),
    Measure(
        "content_shutdown_crashes",
        "Content shutdown crashes",
        (
            Event(CRASH, {_PROCESS: ("content",), _ENDED_BY: _SHUTDOWN}),
            _glean_crash("content", {_GLEAN_ENDED_BY: _SHUTDOWN}),
        ),
        not_on=_NO_CONTENT_PROCESSES,
    ),
    Measure("gpu_crashes", "GPU crashes", (count_histogram(_SUBPROCESS_CRASHES, "gpu"), _glean_crash("gpu"))),
    Measure("plugin_crashes", "Plugin crashes", (count_histogram(_SUBPROCESS_CRASHES, "plugin"),)),
    Measure(
        "gmplugin_crashes",
        "GMPlugin crashes",
        (count_histogram(_SUBPROCESS_CRASHES, "gmplugin"), _glean_crash("gmplugin")),
    ),
    Measure("rdd_crashes", "RDD crashes", (_glean_crash("rdd"),)),
    Measure("socket_crashes", "Socket crashes", (_glean_crash("socket"),)),
    Measure("utility_crashes", "Utility crashes", (_glean_crash("utility"),)),
    Measure("vr_crashes", "VR crashes", (_glean_crash("vr"),)),
    Measure("forkserver_crashes", "Fork server crashes", (_glean_crash("forkserver"),)),
    Measure(
        "browser_shim_usage_blocked", "Browser shim usage blocked", (count_histogram("BROWSER_SHIM_USAGE_BLOCKED"),)
    ),
    Measure("permissions_sql_corrupted", "Permissions SQL corrupted", (count_histogram("PERMISSIONS_SQL_CORRUPTED"),)),
    Measure(
        "defective_permissions_sql_removed",
        "Defective permissions SQL removed",
        (count_histogram("DEFECTIVE_PERMISSIONS_SQL_REMOVED"),),
    ),
    Measure("slow_script_notice_count", "Slow script notices", (count_histogram("SLOW_SCRIPT_NOTICE_COUNT"),)),
    Measure("slow_script_page_count", "Slow script pages", (count_histogram("SLOW_SCRIPT_PAGE_COUNT"),)),
    *map(_declared, DECLARED.measures),
)
MEASURE_NAMES = tuple(measure.name for measure in MEASURES)


def _check(measure: Measure) -> None:
    """Raises MissionControlError where a declaration could not be counted as it stands."""

    def refuse(what: str) -> NoReturn:
        raise MissionControlError(f"measure {measure.name!r} in {__name__}: {what}")

    if not re.fullmatch("[a-z][a-z0-9_]{0,62}", measure.name):
        refuse("expected a name of small letters, digits and _, for it is a column's name")
    if MEASURE_NAMES.count(measure.name) > 1:
        refuse("is declared twice")
    if not isinstance(measure.sources, tuple) or not measure.sources:
        refuse(f"expected a tuple of sources, such as (Count(...),); got {measure.sources!r}")
    for source in measure.sources:
        for pointer in (source.at,) if isinstance(source, Count) else (*source.where, *source.unless):
            if not pointer.startswith("/"):
                refuse(f"expected a JSON pointer, which begins with /; got {pointer!r}")
    for application, removed in measure.removed.items():
        if not re.match("[0-9]", removed.since):
            refuse(f"expected the version since which {application} lacks it, such as '136'; got {removed.since!r}")


for _each in MEASURES:
    _check(_each)
_REPORTING_KINDS = (*(kind for measure in MEASURES for kind in measure.kinds), GLEAN_BASELINE)
# How many pings of each kind that reports a measure or active hours: what none of a version's pings reports is unknown,
# not 0.
PING_COUNTS = tuple(dict.fromkeys(map(count_of_pings, _REPORTING_KINDS)))


def measure(name: str) -> Measure:
    """A measure by its name, which must be declared."""
    return next(each for each in MEASURES if each.name == name)
