"""The Glean baseline ping: on desktops how long a user was active, on phones and tablets how long the program was used.

A desktop's usage hours are those of its main pings.
"""

from msgspec import field

from streaming.pings.kinds.glean_document import (
    DESKTOP_NAMESPACES,
    MOBILE_PREFIX,
    GleanDocument,
    Timespan,
    describe,
    enrolments,
    usage_of,
)
from streaming.pings.kinds.kind import MAX_USAGE_SECONDS, Counts, Events, Kind
from streaming.pings.record import Record

TICK_SECONDS = 5  # the user was active at some time in them


class BaselineCounters(Record, frozen=True):
    """`metrics.counter`."""

    active_ticks: int = field(name="browser.engagement.active_ticks", default=0)


class BaselineTimespans(Record, frozen=True):
    """`metrics.timespan`."""

    duration: Timespan = field(name="glean.baseline.duration", default=Timespan())


class BaselineMetrics(Record, frozen=True):
    """`metrics`."""

    counter: BaselineCounters = BaselineCounters()
    timespan: BaselineTimespans = BaselineTimespans()


class BaselinePing(GleanDocument, frozen=True):
    """The fields that are read of a baseline ping."""

    metrics: BaselineMetrics = BaselineMetrics()


def count(document: BaselinePing, events: Events) -> Counts | str:
    """The time in which the user was active, and on phones the length of usage with its end.

    A ping without a length of usage, such as one that says that usage began, adds none.
    """
    ticks = document.metrics.counter.active_ticks
    if ticks < 0:
        return "count_negative"
    active = min(ticks * TICK_SECONDS, MAX_USAGE_SECONDS)
    is_of_phone = document.metadata.document_namespace.startswith(MOBILE_PREFIX)
    return usage_of(document, document.metrics.timespan.duration if is_of_phone else Timespan(), events, active)


KIND = Kind(
    "glean",
    "baseline",
    BaselinePing,
    describe,
    count,
    enrolments,
    namespaces=(*DESKTOP_NAMESPACES, f"{MOBILE_PREFIX}*"),
)
