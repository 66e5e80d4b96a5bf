"""The crash ping (schema crash.4): one crash of a main or content process. Main pings count other crashes."""

import msgspec

from streaming.pings.envelope import Envelope
from streaming.pings.kinds import environment_section
from streaming.pings.kinds.environment_section import Described, enrolments
from streaming.pings.kinds.kind import Counts, Events, Kind, Sender
from streaming.pings.record import Record


class Payload(Record, frozen=True):
    """`payload`: only the fields that measures name are read."""


class CrashPing(Described, frozen=True):
    """The fields that are read of a crash ping."""

    payload: Payload = Payload()


def describe(document: CrashPing, envelope: Envelope) -> Sender:
    """Like any ping with an environment, except that Fennec reports Linux instead of Android."""
    sender = environment_section.describe(document, envelope)
    if sender.os_name == "Linux" and sender.application == "Fennec":
        return msgspec.structs.replace(sender, os_name="Android")
    return sender


def count(_document: CrashPing, events: Events) -> Counts | str:
    """The crash, as an event of one or more measures."""
    return Counts(events=events) if events else "process_type"


KIND = Kind(
    "telemetry",
    "crash",
    CrashPing,
    describe,
    count,
    enrolments,
    required={"payload": "nothing_to_count"},
)
