"""What a ping is and what it counts as: one rule a kind of ping; bytes in, a ping or a reason out.

The documents are those of the telemetry pipeline (schemas main.4, crash.4, core.10), within the ingestion envelope or
bare. Where the envelope is missing or silent, this stands in for it, the first that is there:

| what | in the envelope | stands in for it |
|-|-|-|
| kind | `metadata.document_type` | `type`; a document with `v`, `arch`, `os` and `osversion` is a core ping |
| submission | `submission_timestamp` | `Envelope.submitted_at`; `creationDate`; `created`; the time of receipt |
| channel | `normalized_channel` | `Envelope.channel`; `application.channel`; `metadata.uri.app_update_channel` |
| country | `normalized_country_code`, `metadata.geo.country` | `Envelope.country`; else `??` |
| application | `normalized_app_name` | `application.name`; `environment.build.applicationName`; `app_name` of the uri |

Version and build id of a core ping stand in `metadata.uri` alone. Without it the ping is rejected: nothing can stand in
for a build id. Those of main and crash pings never come from there. What a core ping says in `application`,
`environment` or `payload`, which its schema does not know, does not count. Receipt is not compared with submission, for
a file's time may be any, and a topic may be filled from an archive. A document that is rejected counts at the time in
the envelope or `Envelope.submitted_at`, else at that of receipt: what its client says is not used.

What is not read is not checked beyond having the form of JSON; its text need not be UTF-8 and may hold half a surrogate
pair. A byte order mark before a document is ignored. A whole number has neither fraction nor exponent, as the draft
of JSON Schema that the schemas name (04) says: 3600.0 is none.

Histograms are those of the parent process (`payload.histograms`, `payload.keyedHistograms`); those under
`payload.processes` are not read.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from streaming import contract, forms
from streaming.errors import MissionControlError, unknown_name
from streaming.records import (
    KEYED_PLACES,
    NO_EVENTS,
    NO_HISTOGRAMS,
    NO_KEYED_HISTOGRAMS,
    NO_PAYLOAD,
    NO_URI,
    PLAIN_PLACES,
    Document,
    Environment,
    Glimpse,
    HistogramsBySchema,
    Payload,
)
from streaming.text import as_decodable

MAX_PING_BYTES = 8 * 1024 * 1024
MAX_USAGE_SECONDS = 25 * 3600
MAX_EVENTS = MAX_USAGE_SECONDS  # of one measure in one ping: more than one a second cannot be
MAX_EXPERIMENTS = 100


class Counts(Struct, gc=False, frozen=True):
    """What a ping adds: seconds of use, events by place of their measure in contract.MEASURES, the moment of use."""

    usage_seconds: int = 0
    events: tuple[tuple[int, int], ...] = ()
    used_at_us: int | None = None


NO_COUNTS = Counts()


class Ping(Struct, gc=False, frozen=True):
    """A ping that counts. dimensions: in the order of contract.DIMENSIONS; experiments: (id, branch) pairs.

    submitted_us: microseconds since 1970. document_id: the envelope's; "" where it has none.
    """

    document_type: str
    submitted_us: int
    dimensions: tuple[str, ...]
    experiments: tuple[tuple[str, str], ...]
    counts: Counts
    document_id: str = ""


class Rejected(Struct, gc=False, frozen=True):
    """A document that does not count and why (a key of contract.REASONS).

    submitted_us: microseconds since 1970, of the envelope or of Envelope.submitted_at; None where neither tells it: the
    client's own `creationDate` or `created` does not count here, so that a stranger cannot choose the window, and with
    it the partition, of a document that is rejected.
    """

    reason: str
    document_type: str = "unknown"
    submitted_us: int | None = None


@dataclass(frozen=True)
class Envelope:
    """What stands in for the envelope of documents that have none: see the head of this module.

    Raises MissionControlError on a channel or a country that is not a known one.
    """

    channel: str | None = None
    country: str | None = None
    submitted_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.channel is not None and self.channel not in contract.CHANNELS:
            raise unknown_name("channel", self.channel, contract.CHANNELS)
        if self.country not in (None, contract.UNKNOWN_COUNTRY, *contract.COUNTRIES):
            raise MissionControlError(
                f"expected a country as ISO 3166-1 alpha-2 code, such as DE; got {self.country!r}"
            )
        if self.submitted_us is not None and not forms.is_submission_time(self.submitted_us):
            years = forms.SUBMISSION_YEARS
            raise MissionControlError(
                f"expected --submitted-at between {years[0]} and {years[-1]}; got {str(self.submitted_at)!r}"
            )

    @cached_property
    def submitted_us(self) -> int | None:
        """submitted_at in microseconds since 1970, UTC unless it says otherwise."""
        return None if self.submitted_at is None else forms.microseconds(self.submitted_at.isoformat())


# The rules: a document in; out what it adds, or the first reason by contract.REASONS why it adds nothing.

Rule = Callable[[Document], Counts | str]
_PLACE = {name: place for place, name in enumerate(contract.MEASURE_NAMES)}
_PLAIN_PLACES = tuple(PLAIN_PLACES.values())
_KEYED_PLACES = tuple(tuple(places.values()) for places in KEYED_PLACES.values())


def _main_rule(document: Document) -> Counts | str:
    """A main ping: its length of use, and events from its count histograms."""
    payload = document.payload
    if payload is NO_PAYLOAD:
        return "nothing_to_count"
    events: tuple[tuple[int, int], ...] = ()
    if payload.histograms != NO_HISTOGRAMS or payload.keyedHistograms != NO_KEYED_HISTOGRAMS:
        events = _histogram_events(payload)
        for _, count in events:
            if not 0 <= count <= MAX_EVENTS:
                return "count_negative" if any(count < 0 for _, count in events) else "count_absurd"
    seconds = _usage_seconds(payload.info.subsessionLength)
    if isinstance(seconds, str):
        return seconds
    used_at_us = None
    if payload.info.subsessionStartDate:
        started_us = forms.microseconds(payload.info.subsessionStartDate)
        if started_us is None:
            return "use_time"
        used_at_us = started_us + (payload.info.subsessionLength or 0) * 1_000_000
    return Counts(seconds, events, used_at_us)


def _usage_seconds(seconds: int | None) -> int | str:
    """Seconds of use, cut to 25 hours, or the reason against them."""
    if seconds is None:
        return "usage_missing"
    if seconds < 0:
        return "usage_negative"
    return min(seconds, MAX_USAGE_SECONDS)


def _histogram_events(payload: Payload) -> tuple[tuple[int, int], ...]:
    """The place and the count of each measure whose histogram a main ping holds."""
    found = [
        (place, histogram.values.first)
        for place, histogram in zip(_PLAIN_PLACES, astuple(payload.histograms), strict=True)
        if histogram is not NO_EVENTS
    ]
    for places, keyed in zip(_KEYED_PLACES, astuple(payload.keyedHistograms), strict=True):
        for place, histogram in zip(places, astuple(keyed), strict=True):
            if histogram is not NO_EVENTS:
                found.append((place, histogram.values.first))
    return tuple(found)


_MAIN_CRASH = Counts(events=((_PLACE["main_crashes"], 1),))
_STARTUP_CRASH = Counts(events=((_PLACE["main_crashes"], 1), (_PLACE["startup_crashes"], 1)))
_CONTENT_CRASH = Counts(events=((_PLACE["content_crashes"], 1),))
_CONTENT_SHUTDOWN_CRASH = Counts(events=((_PLACE["content_shutdown_crashes"], 1),))


def _crash_rule(document: Document) -> Counts | str:
    """A crash ping: one crash of the main or of a content process. Main pings already count those of the others."""
    payload = document.payload
    if payload is NO_PAYLOAD:
        return "nothing_to_count"
    if payload.processType in ("main", ""):
        return _STARTUP_CRASH if payload.metadata.StartupCrash == "1" else _MAIN_CRASH
    if payload.processType == "content":
        return _CONTENT_SHUTDOWN_CRASH if payload.metadata.ipc_channel_error == "ShutDownKill" else _CONTENT_CRASH
    return "process_type"


def _core_rule(document: Document) -> Counts | str:
    """A core ping: its length of use. It does not say when that was, so it tells nothing about reporting delays."""
    if document.metadata.uri == NO_URI:
        return "uri_missing"
    seconds = _usage_seconds(document.durations)
    return seconds if isinstance(seconds, str) else Counts(seconds)


RULES: dict[str, Rule] = {"main": _main_rule, "crash": _crash_rule, "core": _core_rule}


# Reading.

_DECODER = msgspec.json.Decoder(Document)
_JSON_DECODER = msgspec.json.Decoder(msgspec.Raw)
_GLIMPSE_DECODER = msgspec.json.Decoder(Glimpse)
_HISTOGRAMS_DECODER = msgspec.json.Decoder(HistogramsBySchema)
_TOO_LARGE = ValueError("larger than a ping")
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_TYPE_IN_TEXT = re.compile(rb'"(?:document_type|type)"\s*:\s*"(main|crash|core)"')
_PRECEDENCE = {reason: rank for rank, reason in enumerate(contract.REASONS)}


def decode(document: bytes, envelope: Envelope, received_at_us: int) -> Ping | Rejected:
    """The ping that a document is, or why it is none. Pure; raises nothing, whatever the bytes.

    received_at_us: microseconds since 1970, the submission of a ping that carries no time of its own.
    """
    return judge(parse(document), document, envelope, received_at_us)


def parse(document: bytes) -> Document | Exception:
    """The first half of decode: the record of a document, or why there is none."""
    if len(document) > MAX_PING_BYTES:
        return _TOO_LARGE
    try:
        return _DECODER.decode(document)
    except msgspec.ValidationError as error:
        return error.with_traceback(None)  # which would hold what its callers hold
    except msgspec.DecodeError as error:
        decodable = as_decodable(document)
        return error.with_traceback(None) if decodable == document else _parse_again(decodable)
    except _UNREADABLE as error:
        return error.with_traceback(None)


def _parse_again(document: bytes) -> Document | Exception:
    """The record of a document of which as_decodable had to change something, or why there is none."""
    try:
        return _DECODER.decode(document)
    except _UNREADABLE as error:
        return error.with_traceback(None)


def judge(record: Document | Exception, document: bytes, envelope: Envelope, received_at_us: int) -> Ping | Rejected:
    """The second half of decode: what a document counts as whose record parse gave."""
    if isinstance(record, Exception):
        return _unreadable(document, envelope, received_at_us, record)
    document_type = _document_type(record)
    submitted_us = _submitted_us(record, envelope, received_at_us)
    rule = RULES.get(document_type)
    if rule is None:
        return Rejected("document_type", submitted_us=_rejected_us(record, envelope, submitted_us))

    counts = rule(record)
    if rule is _core_rule:
        build = _core_build(record, envelope)
        system = forms.system(document_type, build.application, record.os, record.osversion)
        experiments: tuple[tuple[str, str], ...] | None = ()
    else:
        build = _build(record, envelope)
        os = record.environment.system.os
        system = forms.system(document_type, build.application, os.name, os.version)
        experiments = _experiments(record.environment)
    if (
        submitted_us is None
        or isinstance(counts, str)
        or experiments is None
        or build.faults
        or system.faults
        or not build.built_us <= submitted_us <= build.expires_us
    ):
        faults = set(_faults(document, document_type, submitted_us, counts, build, system, experiments))
        reason = min(faults, key=_PRECEDENCE.__getitem__)
        return Rejected(reason, document_type, _rejected_us(record, envelope, submitted_us))
    country = record.normalized_country_code or record.metadata.geo.country or envelope.country or ""
    dimensions = (
        build.application,
        build.channel,
        build.version,
        build.display_version,
        build.build_id,
        system.os_name,
        system.os_version,
        build.architecture,
        forms.country(country),
    )
    return Ping(document_type, submitted_us, dimensions, experiments, counts, record.document_id)


def _document_type(record: Document) -> str:
    """What the document says it is, a stranger's word; "" when it does not say."""
    said = record.metadata.document_type or record.type
    if not said and record.v is not None and record.arch and record.os and record.osversion:
        return "core"
    return said


def _submitted_us(record: Document, envelope: Envelope, received_at_us: int) -> int | None:
    """The submission, or what stands in for it, in microseconds since 1970; None when it is no time of this century."""
    submitted_us: int | None = received_at_us
    if record.submission_timestamp:
        submitted_us = forms.microseconds(record.submission_timestamp)
    elif envelope.submitted_us is not None:
        submitted_us = envelope.submitted_us
    elif record.creationDate or record.created:
        submitted_us = forms.microseconds(record.creationDate or record.created)
    return submitted_us if submitted_us is not None and forms.is_submission_time(submitted_us) else None


def _rejected_us(record: Document, envelope: Envelope, submitted_us: int | None) -> int | None:
    """The submission of a rejected document; None where only its client tells it."""
    return submitted_us if record.submission_timestamp or envelope.submitted_us is not None else None


def _build(record: Document, envelope: Envelope) -> forms.Build:
    build, application, uri = record.environment.build, record.application, record.metadata.uri
    return forms.build(
        record.normalized_app_name or application.name or build.applicationName or uri.app_name,
        record.normalized_channel or envelope.channel or application.channel or uri.app_update_channel,
        build.version or application.version,
        application.displayVersion,
        build.displayVersion,
        build.buildId or application.buildId,
        build.architecture or application.architecture,
    )


def _core_build(record: Document, envelope: Envelope) -> forms.Build:
    uri = record.metadata.uri
    return forms.build(
        record.normalized_app_name or uri.app_name,
        record.normalized_channel or envelope.channel or uri.app_update_channel,
        uri.app_version,
        record.displayVersion,
        "",
        uri.app_build_id,
        record.arch,
    )


def _experiments(environment: Environment) -> tuple[tuple[str, str], ...] | None:
    """The experiments a client is enrolled in, (id, branch) each; None when one of them is not of a known form.

    The experiment of older clients counts too, unless it is among the others. Without a branch there is no enrolment.
    """
    active = environment.addons.activeExperiment
    if environment.experiments is None and not active.id:
        return ()
    branches = {active.id: active.branch} if active.id else {}
    for name, enrolment in (environment.experiments or {}).items():
        branches[name] = enrolment if isinstance(enrolment, str) else enrolment.branch
    enrolments = tuple([(name, branch) for name, branch in branches.items() if branch])
    if not enrolments:
        return ()
    if len(enrolments) > MAX_EXPERIMENTS:
        return None
    known = all(forms.is_experiment(name) and forms.is_experiment(branch) for name, branch in enrolments)
    return enrolments if known else None


def _faults(
    document: bytes,
    document_type: str,
    submitted_us: int | None,
    counts: Counts | str,
    build: forms.Build,
    system: forms.System,
    experiments: tuple[tuple[str, str], ...] | None,
) -> Iterator[str]:
    """All that is wrong with a ping, as keys of contract.REASONS."""
    if isinstance(counts, str):
        yield counts
    if experiments is None:
        yield "experiment"
    if document_type == "main" and not _has_sound_histograms(document):
        yield "histogram"
    yield from build.faults
    yield from system.faults
    if submitted_us is None:
        yield "submission_time"
    elif build.built_us > submitted_us:
        yield "build_in_future"
    elif build.expires_us < submitted_us:
        yield "build_too_old"


def _has_sound_histograms(document: bytes) -> bool:
    """Whether the histograms of a main ping are sound by schema, also those that are not counted.

    Asked of pings that are rejected anyway, to name what is wrong at its root: reading all histograms of every ping
    would take several times as long.
    """
    try:
        _HISTOGRAMS_DECODER.decode(as_decodable(document).decode(errors="replace"))  # the names need not be UTF-8
    except _UNREADABLE:
        return False
    return True


def _unreadable(document: bytes, envelope: Envelope, received_at_us: int, error: Exception) -> Rejected:
    """Why a document could not be decoded, and as far as it can be told, what it is and when it was submitted."""
    decodable = document if error is _TOO_LARGE else as_decodable(document)
    if error is _TOO_LARGE:
        reason: str | None = "too_large"
    else:
        reason = "too_deep" if isinstance(error, RecursionError) else _textual_fault(decodable)
    if reason is not None:
        return Rejected(reason, _type_in_text(document), envelope.submitted_us)
    if not decodable.lstrip().startswith(b"{"):
        return Rejected("not_an_object", submitted_us=envelope.submitted_us)
    record = _GLIMPSE_DECODER.decode(decodable).document()
    document_type = _document_type(record)
    submitted_us = _rejected_us(record, envelope, _submitted_us(record, envelope, received_at_us))
    if document_type not in RULES:
        return Rejected("document_type", submitted_us=submitted_us)
    return Rejected("too_long" if "of length <=" in str(error) else "wrong_type", document_type, submitted_us)


def _textual_fault(document: bytes) -> str | None:
    """Why a document is no JSON, a key of contract.REASONS; None when it is."""
    try:
        _JSON_DECODER.decode(document)
        document.decode()
    except RecursionError:
        return "too_deep"
    except _UNREADABLE:
        return "not_json" if document.strip() else "empty"
    return None


def _type_in_text(document: bytes) -> str:
    """The kind of ping that a document seems to be that is not JSON, by the first words that say so."""
    said = _TYPE_IN_TEXT.search(document)
    return said[1].decode() if said else "unknown"
