"""The declaration of a kind of ping: the fields that are read, how it describes its sender, what it counts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from msgspec import Struct

from streaming.contract import Reason
from streaming.pings.envelope import Envelope
from streaming.pings.record import Field, Record

MAX_USAGE_SECONDS = 25 * 3600
FAR_FUTURE_US = 2**52  # in the year 2112: later than each time of submission that is valid
MAX_EVENTS = MAX_USAGE_SECONDS  # of one measure in one ping: more than one a second is impossible
Events = tuple[tuple[int, int], ...]
"""(place of a measure in contract.MEASURES, how many events) pairs."""
Enrolments = tuple[tuple[str, str], ...]
"""(experiment's id, branch) pairs."""


class Counts(Struct, gc=False, frozen=True):
    """What a ping adds: seconds of usage, events by measure, and when the usage ended, in microseconds since 1970.

    used_until_us: None where the ping does not say when its client was used. active_seconds: how long the user was
    active.
    """

    usage_seconds: int = 0
    events: Events = ()
    used_until_us: int | None = None
    active_seconds: int = 0


NO_COUNTS = Counts()


class Sender(Struct, gc=False, frozen=True):
    """What a ping reports about its program and system; "" for values that it lacks.

    other_display_version is not in the dataset, but a ping is invalid if it is not a version.
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
    """A kind of ping, identified by its namespace and type together.

    namespaces: the namespaces of its documents, where several send this kind, such as `org-mozilla-*`; then `namespace`
    is what declarations call them together. sections: the fields that are read of documents of this kind, a record of
    their top-level keys. at: further fields, by JSON pointer. describe: gives what a document reports about its sender.
    count: gives what it adds, from the events of declared measures in it, or the reason to reject it. enrolments: its
    experiments; None where one has no known form. required: sections without which a document is rejected, with the
    reason. reasons: reasons that only this kind has. bare_keys: top-level keys by which a document without a type is
    recognised as this kind. explain: a further check of rejected documents, for a reason that would be too expensive to
    look for in every ping. crash: gives the event and the dump of the crash that a document reports, "" for one that it
    does not say; () where it says neither. Documents with the same event, or the same dump, report one crash.
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
    namespaces: tuple[str, ...] = ()
    crash: Callable[[Any], tuple[str, str] | tuple[()]] | None = None
    at: Mapping[str, Field] = field(default_factory=dict)

    def is_of(self, namespace: str, document_type: str) -> bool:
        """Whether documents of a namespace and type are of this kind."""
        names = self.namespaces or (self.namespace,)
        return document_type == self.document_type and any(fnmatchcase(namespace, name) for name in names)

    @cached_property
    def id(self) -> str:
        """Namespace and type, as measures and products name the kind."""
        return f"{self.namespace}/{self.document_type}"

    @cached_property
    def name(self) -> str:
        """The kind's name in the dataset: the type alone for pings that Firefox has always sent (`telemetry`)."""
        return self.document_type if self.namespace == "telemetry" else self.id


def usage_seconds(seconds: int | None) -> int | str:
    """Seconds of usage, capped at 25 hours, or the reason to reject them."""
    if seconds is None:
        return "usage_missing"
    if seconds < 0:
        return "usage_negative"
    return seconds if seconds < MAX_USAGE_SECONDS else MAX_USAGE_SECONDS
