"""What a kind of ping declares: what is read of it, how it describes its sender, what it counts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec import Struct

from streaming.contract import Reason
from streaming.pings.envelope import Envelope
from streaming.pings.record import Record

MAX_USAGE_SECONDS = 25 * 3600
MAX_EVENTS = MAX_USAGE_SECONDS  # of one measure in one ping: more than one a second cannot be
Events = tuple[tuple[int, int], ...]
"""(place of a measure in contract.MEASURES, how many events) pairs."""
Enrolments = tuple[tuple[str, str], ...]
"""(experiment's id, branch) pairs."""


class Counts(Struct, gc=False, frozen=True):
    """What a ping adds: seconds of use, events by measure, the moment of use in microseconds since 1970."""

    usage_seconds: int = 0
    events: Events = ()
    used_at_us: int | None = None


NO_COUNTS = Counts()


class Sender(NamedTuple):
    """What a ping says of the program that it is about, and of its system; "" is what it does not say.

    other_display_version does not enter the dataset, but one that is not a version makes a ping invalid.
    """

    application: str
    channel: str
    version: str
    display_version: str
    other_display_version: str
    build_id: str
    architecture: str
    os_name: str
    os_version: str


def _no_enrolments(_document: Any) -> Enrolments:
    return ()


@dataclass(frozen=True)
class Kind:
    """A kind of ping, told by its namespace and type together.

    sections: the fields of a document that are read of this kind, a record of the keys at its top. describe: what it
    says of its sender. count: what it adds, given the events of declared measures in it, or the reason against it.
    enrolments: its experiments; None where one is not of a known form. required: sections without which a document is
    rejected, with the reason. reasons: those that only this kind has. bare_keys: keys at the top of a document that
    names no type by which it is known to be of this kind. explain: a further look at a document that is rejected, for
    a reason that reading it would cost too much to find in every ping.
    """

    namespace: str
    document_type: str
    sections: type[Record]
    describe: Callable[[Any, Envelope], Sender]
    count: Callable[[Any, Events], Counts | str]
    enrolments: Callable[[Any], Enrolments | None] = _no_enrolments
    required: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()
    bare_keys: tuple[str, ...] = ()
    explain: Callable[[bytes], str | None] | None = None

    @property
    def id(self) -> str:
        """Namespace and type, as measures and products name it."""
        return f"{self.namespace}/{self.document_type}"

    @property
    def name(self) -> str:
        """What the dataset calls it: the type alone of the pings that Firefox sends since it has sent any."""
        return self.document_type if self.namespace == "telemetry" else self.id


def usage_seconds(seconds: int | None) -> int | str:
    """Seconds of use, cut to 25 hours, or the reason against them."""
    if seconds is None:
        return "usage_missing"
    if seconds < 0:
        return "usage_negative"
    return min(seconds, MAX_USAGE_SECONDS)
