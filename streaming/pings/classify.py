"""Classifies documents: the ping that a document counts as, or the reason why it does not count.

Documents are those of the telemetry pipeline, with or without the ingestion envelope. Where the envelope or a value in
it is missing, the first fallback that is present is used:

| value | in the envelope | fallbacks |
|-|-|-|
| kind | `metadata.document_namespace`, else `telemetry`; `metadata.document_type` | `type`; see `Kind.bare_keys` |
| submission | `submission_timestamp` | `Envelope.submitted_at`; `creationDate`; `created`; the time of receipt |
| country | `normalized_country_code`, `metadata.geo.country` | `Envelope.country`; else `??` |
| application, channel | `normalized_app_name`, `normalized_channel` | what the kind of ping reports about its sender |

A `normalized_*` value of "Other" counts as missing. Documents in lines of the ingestion pipeline's sinks are read as if
they stood in the line's envelope, see `sinks`. Values in sections that a ping's kind does not have do not count. The
time of receipt is not compared with the submission, because a file can have any time, and a topic may be filled from an
archive. A rejected document counts at the time in the envelope or `Envelope.submitted_at`, otherwise at the time of
receipt: times from its client are not used.

Values that are not read are only checked for JSON syntax; their text need not be UTF-8 and may hold half a surrogate
pair. A byte order mark before a document is ignored. A whole number has neither fraction nor exponent, as defined in
the draft of JSON Schema that the schemas name (04): 3600.0 is not a whole number.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

from streaming import contract
from streaming.errors import unknown_name
from streaming.pings import validation
from streaming.pings.decode import decode_document, document_in, kind_in_text, textual_fault
from streaming.pings.document import attribute_of, event_reader, kind_of, read_leniently, why_unknown
from streaming.pings.envelope import OTHER, Envelope
from streaming.pings.kinds import KINDS, REASONS
from streaming.pings.kinds.kind import Counts, Enrolments, Events, Kind, Sender
from streaming.pings.text import as_decodable

_PRECEDENCE = {reason: rank for rank, reason in enumerate(REASONS)}
_UNKNOWN = "unknown"
_APPLICATION = re.compile("[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}", re.ASCII)  # a name that a product may have
_NONE: frozenset[str] = frozenset()


class Ping(Struct, gc=False, frozen=True):
    """A ping that counts. dimensions: in the order of contract.DIMENSIONS; experiments: (id, branch) pairs.

    document_type: the name of its kind. submitted_us: microseconds since 1970. document_id: the id in the envelope; ""
    where there is none. crash: the event and the dump of the crash that it reports, "" for one that it does not say; ()
    where it says neither.
    """

    document_type: str
    submitted_us: int
    dimensions: tuple[str, ...]
    experiments: Enrolments
    counts: Counts
    document_id: str = ""
    crash: tuple[str, str] | tuple[()] = ()


class Rejected(Struct, gc=False, frozen=True):
    """A document that does not count and why (a key of REASONS).

    submitted_us: microseconds since 1970, from the envelope or Envelope.submitted_at; None where neither has it. The
    client's own `creationDate` or `created` is not used here, so that untrusted input cannot choose the window, and
    with it the partition, of a rejected document.
    """

    reason: str
    document_type: str = _UNKNOWN
    submitted_us: int | None = None


@dataclass(frozen=True, slots=True)
class _Client:
    """A build on a system. dimensions: those of contract.DIMENSIONS before the country.

    invalid: the dimensions that have no known form. built_us, expires_us: those of the build. replacing: the kinds of
    ping that replace others for it.
    """

    dimensions: tuple[str, ...]
    build: validation.Build
    invalid: tuple[str, ...]
    built_us: int
    expires_us: int
    replacing: frozenset[str]


class Classifier:
    """Classifies documents. envelope: used where a document has none; products: the products that are counted.

    Raises MissionControlError where the envelope's channel belongs to none of the products.
    """

    def __init__(self, envelope: Envelope, products: contract.Products = contract.PACKAGED_PRODUCTS) -> None:
        check_channel(envelope, products)
        self._envelope, self._products = envelope, products
        self._readers = {kind.id: _KindReader(kind) for kind in KINDS}
        self._build = lru_cache(8192)(partial(validation.build, products))
        self._system = lru_cache(8192)(partial(validation.system, products))
        self._client = lru_cache(8192)(self._new_client)

    def _new_client(self, sender: Sender) -> _Client:
        """What a ping reports about its sender, as dimensions."""
        *program, os_name, os_version = astuple(sender)
        build = self._build(*program)
        system = self._system(build.application, os_name, os_version)
        dimensions = (
            build.application,
            build.channel,
            build.version,
            build.display_version,
            build.build_id,
            system.os_name,
            system.os_version,
            build.architecture,
        )
        invalid = build.invalid + system.invalid
        product = self._products.by_application.get(build.application)
        replacing = _NONE
        if product is not None and system.os_name in product.os_names:
            replacing = product.platform(system.os_name).replacing(build.version)
        return _Client(dimensions, build, invalid, build.built_us, build.expires_us, replacing)

    def classify(self, record: Any, document: bytes, received_at_us: int) -> Ping | Rejected:
        """Classifies a document, given the record or error that decode_document returned for it.

        received_at_us: microseconds since 1970, the submission of a ping that carries no time of its own.
        """
        if isinstance(record, Exception):
            return self._unreadable(document, received_at_us, record)
        envelope = self._envelope
        kind = kind_of(record)
        submitted_us = self._submitted_us(record, received_at_us)
        if kind is None:
            return Rejected(why_unknown(record), submitted_us=self._rejected_us(record, submitted_us))
        reader = self._readers[kind.id]
        client = self._client(kind.describe(record, envelope))
        events = reader.events(record)
        if client.replacing or reader.is_replacing:
            events = reader.in_force(events, client.replacing)
        counts = events if isinstance(events, str) else kind.count(record, events)
        experiments = kind.enrolments(record)
        read_more = reader.more_dimensions
        more: tuple[Any, ...] = read_more(record) if read_more else ()
        if (
            submitted_us is None
            or isinstance(counts, str)
            or experiments is None
            or client.invalid
            or not client.built_us <= submitted_us <= client.expires_us
            or (more and None in more)
        ):
            reasons = set(_reasons(_document(document), kind, submitted_us, counts, client, experiments))
            reasons |= reader.invalid_dimensions(record)
            reason = min(reasons, key=_PRECEDENCE.__getitem__)
            return Rejected(reason, kind.name, self._rejected_us(record, submitted_us))
        country = record.normalized_country_code
        if not country or country == OTHER:
            country = record.metadata.geo.country or envelope.country or ""
        dimensions = (*client.dimensions, validation.country(country), *more)
        crash = kind.crash(record) if kind.crash else ()
        return Ping(kind.name, submitted_us, dimensions, experiments, counts, record.document_id, crash)

    def _submitted_us(self, record: Any, received_at_us: int) -> int | None:
        """The submission or its fallback, in microseconds since 1970; None when it is not a time of this century."""
        submitted_us: int | None = received_at_us
        if record.submission_timestamp:
            submitted_us = validation.microseconds(record.submission_timestamp)
        elif self._envelope.submitted_us is not None:
            submitted_us = self._envelope.submitted_us
        elif record.creationDate or record.created:
            submitted_us = validation.microseconds(record.creationDate or record.created)
        return submitted_us if submitted_us is not None and validation.is_submission_time(submitted_us) else None

    def _rejected_us(self, record: Any, submitted_us: int | None) -> int | None:
        """The submission of a rejected document; None where only its client reports one."""
        return submitted_us if record.submission_timestamp or self._envelope.submitted_us is not None else None

    def _unreadable(self, document: bytes, received_at_us: int, error: Exception) -> Rejected:
        """Why a document could not be decoded and, where they can be found, its kind and submission."""
        document = _document(document)
        reason = textual_fault(document, error)
        if reason == "not_an_object":
            return Rejected(reason, submitted_us=self._envelope.submitted_us)
        if reason is not None:
            kind = kind_in_text(document)
            return Rejected(reason, kind.name if kind else _UNKNOWN, self._envelope.submitted_us)
        record = read_leniently(as_decodable(document))
        kind = kind_of(record)
        submitted_us = self._rejected_us(record, self._submitted_us(record, received_at_us))
        if kind is None:
            return Rejected(why_unknown(record), submitted_us=submitted_us)
        return Rejected("too_long" if "of length <=" in str(error) else "wrong_type", kind.name, submitted_us)


@lru_cache(64)
def classifier_of(envelope: Envelope, products: contract.Products = contract.PACKAGED_PRODUCTS) -> Classifier:
    """A classifier, cached so that its caches of builds and systems also serve the next task."""
    return Classifier(envelope, products)


def check_channel(envelope: Envelope, products: contract.Products) -> None:
    """Raises MissionControlError where an envelope's channel belongs to no product."""
    if envelope.channel is not None and envelope.channel not in products.channel_names:
        raise unknown_name("channel", envelope.channel, products.channel_names)


def _document(line: bytes) -> bytes:
    """The client's document in a line of a sink's file; any other document as it is."""
    found = document_in(line)
    return found if isinstance(found, bytes) else line


class _KindReader:
    """The declarations for a kind of ping, prepared for reading documents.

    is_replacing: whether it is one of contract.REPLACING.
    """

    def __init__(self, kind: Kind) -> None:
        self.events, self._id = event_reader(kind), kind.id
        self.is_replacing = kind.id in contract.REPLACING
        self._is_event = any(
            isinstance(source, contract.Event) and source.kind == kind.id
            for measure in contract.MEASURES
            for source in measure.sources
        )
        self._dimensions = [_DimensionReader(each, kind) for each in contract.DIMENSIONS if each.at]
        self.more_dimensions: Callable[[Any], tuple[str | None, ...]] | None = None
        if self._dimensions:
            self.more_dimensions = self._read_dimensions

    def _read_dimensions(self, document: Any) -> tuple[str | None, ...]:
        return tuple([each.read(document) for each in self._dimensions])

    def in_force(self, events: Events | str, replacing: frozenset[str]) -> Events | str:
        """The events that are counted from this kind, where other kinds replace it, or it may replace others."""
        if self.is_replacing:
            return events if self._id in replacing else "other_source"
        if isinstance(events, str) or not events:
            return events
        kept = tuple([each for each in events if replacing.isdisjoint(contract.MEASURES[each[0]].kinds)])
        return "other_source" if self._is_event and not kept else kept

    def invalid_dimensions(self, document: Any) -> set[str]:
        """The dimensions declared with JSON pointers whose value in a document has no known form."""
        return {each.name for each in self._dimensions if each.read(document) is None}


class _DimensionReader:
    """Reads a dimension that is declared with JSON pointers from documents of a kind."""

    def __init__(self, dimension: contract.Dimension, kind: Kind) -> None:
        self.name, self._missing = dimension.name, dimension.missing
        self._is_valid = dimension.is_valid or bool
        self._is_rejected = bool(dimension.reason)
        at = dimension.at.get(kind.id)
        self._get = attrgetter(attribute_of(at)) if at else None

    def read(self, document: Any) -> str | None:
        """The value; None where it is invalid and the ping is rejected for that."""
        text = self._get(document) if self._get else ""
        if not text:
            return self._missing
        if self._is_valid(text):
            return str(text)
        return None if self._is_rejected else self._missing


def _reasons(
    document: bytes,
    kind: Kind,
    submitted_us: int | None,
    counts: Counts | str,
    client: _Client,
    experiments: Enrolments | None,
) -> Iterator[str]:
    """All faults of a ping, as keys of REASONS."""
    if isinstance(counts, str):
        yield counts
    if experiments is None:
        yield "experiment"
    if kind.explain and (explained := kind.explain(document)):
        yield explained
    for name in client.invalid:
        is_other = name == "application" and _APPLICATION.fullmatch(client.build.application)
        yield "other_product" if is_other else name
    yield from ["submission_time"] if submitted_us is None else client.build.faults_of_age(submitted_us)


def decode(document: bytes, envelope: Envelope, received_at_us: int) -> Ping | Rejected:
    """The ping in a document, or why it is rejected. Pure; raises nothing, whatever the bytes.

    received_at_us: microseconds since 1970, the submission of a ping that carries no time of its own.
    """
    return classifier_of(envelope).classify(decode_document(document), document, received_at_us)
