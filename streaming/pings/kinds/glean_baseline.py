"""The Glean baseline ping: on desktops how long a user was active, on phones and tablets how long the program was used.

A desktop's usage hours are those of its main pings.
"""

from msgspec import field

from streaming.pings import validation
from streaming.pings.envelope import Envelope
from streaming.pings.kinds.environment_section import checked
from streaming.pings.kinds.glean_document import (
    DESKTOP_NAMESPACES,
    MOBILE_PREFIX,
    GleanDocument,
    application_of,
    architecture_of,
    branches_of,
    channel_of,
    normalized_channel,
    os_name_of,
    version_of,
)
from streaming.pings.kinds.kind import (
    FAR_FUTURE_US,
    MAX_USAGE_SECONDS,
    Counts,
    Enrolments,
    Events,
    Kind,
    Sender,
    usage_seconds,
)
from streaming.pings.record import Record, Text

TICK_SECONDS = 5  # the user was active at some time in them
_SECOND = 1_000_000_000
_NANOSECONDS = {
    "nanosecond": 1,
    "microsecond": 1_000,
    "millisecond": 1_000_000,
    "second": _SECOND,
    "minute": 60 * _SECOND,
    "hour": 3600 * _SECOND,
    "day": 86_400 * _SECOND,
}


class Timespan(Record, frozen=True):
    """A length of time."""

    value: int | None = None
    time_unit: Text = ""


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


def describe(document: BaselinePing, envelope: Envelope) -> Sender:
    """The program that sends the ping, and the system."""
    client = document.client_info
    return Sender(
        application_of(document.metadata.document_namespace),
        channel_of(normalized_channel(document) or envelope.channel or client.app_channel),
        version_of(client.app_display_version),
        client.app_display_version,
        "",
        client.app_build,
        architecture_of(client.architecture, client.os),
        os_name_of(client.os),
        client.os_version,
    )


def count(document: BaselinePing, events: Events) -> Counts | str:
    """The time in which the user was active, and on phones the length of usage with its end.

    A ping without a length of usage, such as one that says that usage began, adds none.
    """
    ticks = document.metrics.counter.active_ticks
    if ticks < 0:
        return "count_negative"
    active = min(ticks * TICK_SECONDS, MAX_USAGE_SECONDS)
    duration = document.metrics.timespan.duration
    if duration.value is None or not document.metadata.document_namespace.startswith(MOBILE_PREFIX):
        return Counts(events=events, active_seconds=active)
    unit = _NANOSECONDS.get(duration.time_unit)
    seconds = "wrong_type" if unit is None else usage_seconds(duration.value * unit // _SECOND)
    if isinstance(seconds, str):
        return seconds
    used_until_us = None
    if document.ping_info.end_time:
        used_until_us = validation.microseconds(document.ping_info.end_time)
        if used_until_us is None:
            return "use_time"
        used_until_us = min(used_until_us, FAR_FUTURE_US)
    return Counts(seconds, events, used_until_us, active)


def enrolments(document: BaselinePing) -> Enrolments | None:
    """The experiments in `ping_info`; None where one has no known form."""
    return () if document.ping_info.experiments is None else checked(branches_of(document))


KIND = Kind(
    "glean",
    "baseline",
    BaselinePing,
    describe,
    count,
    enrolments,
    namespaces=(*DESKTOP_NAMESPACES, f"{MOBILE_PREFIX}*"),
)
