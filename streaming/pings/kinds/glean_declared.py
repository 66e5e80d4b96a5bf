"""Glean pings of one's own products, as `contract.DECLARED` lists them: counters, and how long the program was used."""

from functools import lru_cache
from operator import attrgetter
from typing import Any

from msgspec.structs import replace

from streaming import contract
from streaming.pings.envelope import Envelope
from streaming.pings.kinds import glean_document
from streaming.pings.kinds.glean_document import GleanDocument, Timespan, enrolments, usage_of
from streaming.pings.kinds.kind import Counts, Events, Kind, Sender
from streaming.pings.record import Text, attribute_at

UNKNOWN_OS_VERSION = "0"  # glean-sdk's Python client says "Unknown" on Linux


def describe(document: GleanDocument, envelope: Envelope) -> Sender:
    """The program that sends a ping, and its system, whose version it need not know."""
    sender = glean_document.describe(document, envelope)
    return replace(sender, os_version=UNKNOWN_OS_VERSION) if sender.os_version == "Unknown" else sender


@lru_cache
def _length_reader(record: type[Any], pointer: str) -> Any:
    """A function that reads the value and the unit of a timespan, from documents of a type."""
    return attrgetter(*(attribute_at(record, f"{pointer}/{name}") for name in ("value", "time_unit")))


def kind_of(ping: contract.DeclaredPing) -> Kind:
    """The kind of a declared ping."""
    pointer = f"/metrics/timespan/{ping.usage}"

    def count(document: GleanDocument, events: Events) -> Counts | str:
        """The length of use, and the events of counters."""
        length = Timespan(*_length_reader(type(document), pointer)(document)) if ping.usage else Timespan()
        return usage_of(document, length, events)

    fields = {f"{pointer}/value": (int | None, None), f"{pointer}/time_unit": (Text, "")}
    return Kind(ping.namespace, ping.name, GleanDocument, describe, count, enrolments, at=fields if ping.usage else {})


KINDS = tuple(map(kind_of, contract.DECLARED.pings))
