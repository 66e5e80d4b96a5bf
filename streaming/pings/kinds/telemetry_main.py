"""The main ping (schema main.4): how long a session was used, and counts from its histograms.

Histograms are those of the parent process; histograms under `payload.processes` are read only where a measure names
them.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, field

from streaming.contract import Reason
from streaming.pings import validation
from streaming.pings.kinds.environment_section import Described, describe, enrolments
from streaming.pings.kinds.kind import FAR_FUTURE_US, Counts, Events, Kind, usage_seconds
from streaming.pings.record import Record, Text
from streaming.pings.text import as_decodable

# ruff: noqa: N815 (the schema's names)


class Info(Record, frozen=True):
    """`payload.info`; the length of usage is in seconds."""

    subsessionLength: int | None = None
    subsessionStartDate: Text = ""


class Payload(Record, frozen=True):
    """`payload`."""

    info: Info = Info()


class MainPing(Described, frozen=True):
    """The fields that are read of a main ping."""

    payload: Payload = Payload()


def count(document: MainPing, events: Events) -> Counts | str:
    """The length of usage, the time of its end, and the events of measures.

    The ping is created when the usage ends. Without that time, the end is found from the start, which clients of today
    cut to the hour.
    """
    info = document.payload.info
    seconds = usage_seconds(info.subsessionLength)
    if isinstance(seconds, str):
        return seconds
    said = document.creationDate or info.subsessionStartDate
    used_until_us = None
    if said:
        used_until_us = validation.microseconds(said)
        if used_until_us is None:
            return "use_time"
        if not document.creationDate:
            used_until_us += (info.subsessionLength or 0) * 1_000_000
        if used_until_us > FAR_FUTURE_US:  # lengths have no limit
            used_until_us = FAR_FUTURE_US
    return Counts(seconds, events, used_until_us)


Bucket = Annotated[int, Meta(ge=0)]  # a string key in JSON; a string type with a pattern would take four times as long


class AnyHistogram(Record, frozen=True):
    """Any histogram: events by bucket."""

    values: dict[Bucket, int] = field(default_factory=dict)


class AllHistograms(Record, frozen=True):
    """All histograms of a main ping."""

    histograms: dict[str, AnyHistogram] = field(default_factory=dict)
    keyedHistograms: dict[str, dict[str, AnyHistogram]] = field(default_factory=dict)


class PingOfHistograms(Record, frozen=True):
    """A main ping, of which only the histograms are read."""

    payload: AllHistograms = AllHistograms()


_HISTOGRAMS_DECODER = msgspec.json.Decoder(PingOfHistograms)


def explain(document: bytes) -> str | None:
    """`histogram` where a histogram violates the schema, even one that is not counted.

    It is called only for pings that are rejected anyway, to name the root fault: reading all histograms of every ping
    would take several times as long.
    """
    try:
        _HISTOGRAMS_DECODER.decode(as_decodable(document).decode(errors="replace"))  # the names need not be UTF-8
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "histogram"
    return None


KIND = Kind(
    "telemetry",
    "main",
    MainPing,
    describe,
    count,
    enrolments,
    required={"payload": "nothing_to_count"},
    reasons=(Reason("histogram", "A histogram's values are not counts by bucket.", before="count_negative"),),
    explain=explain,
)
