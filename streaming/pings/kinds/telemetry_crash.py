"""The crash ping (schema crash.4): one crash of the main or of a content process. Main pings count the others."""

from streaming.contract import Reason
from streaming.pings.envelope import Envelope
from streaming.pings.kinds import environment
from streaming.pings.kinds.environment import Described, enrolments
from streaming.pings.kinds.kind import Counts, Events, Kind, Sender
from streaming.pings.record import Record


class Payload(Record, frozen=True):
    """`payload`: what is read of it is what measures name."""


class CrashPing(Described, frozen=True):
    """What is read of a crash ping."""

    payload: Payload = Payload()


def describe(document: CrashPing, envelope: Envelope) -> Sender:
    """As of any ping with an environment; but Fennec says Linux where it means Android."""
    sender = environment.describe(document, envelope)
    if sender.os_name == "Linux" and sender.application == "Fennec":
        return sender._replace(os_name="Android")
    return sender


def count(_document: CrashPing, events: Events) -> Counts | str:
    """The crash, of whichever measures it is an event."""
    return Counts(events=events) if events else "process_type"


KIND = Kind(
    "telemetry",
    "crash",
    CrashPing,
    describe,
    count,
    enrolments,
    required={"payload": "nothing_to_count"},
    reasons=(
        Reason(
            "process_type",
            "The crash is neither of the main nor of a content process; main pings count the others.",
            before="usage_missing",
        ),
    ),
)
