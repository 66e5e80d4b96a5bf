"""The record for documents of all kinds: envelope, sections of each kind, fields of measures and dimensions."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import fields

from streaming import contract
from streaming.pings.envelope import Enveloped
from streaming.pings.kinds import KINDS, kind_named
from streaming.pings.kinds.kind import MAX_EVENTS, Events, Kind
from streaming.pings.record import Field, Record, Text, attribute_at, keys_of, merged

_COUNT: Field = (int, 0)
_TEXT: Field = (Text, "")
_TRUTH: Field = (bool, False)


def _declared_fields() -> dict[tuple[str, ...], Field]:
    """The fields that kinds, measures and dimensions name by JSON pointers, by the keys that lead to them."""
    named = {keys_of(at): field for kind in KINDS for at, field in kind.at.items()}
    for measure in contract.MEASURES:
        for source in measure.sources:
            if isinstance(source, contract.Count):
                named[keys_of(source.at)] = _COUNT
            else:
                for at, values in (*source.where.items(), *source.unless.items()):
                    named[keys_of(at)] = _TRUTH if isinstance(values[0], bool) else _TEXT
    for dimension in contract.DIMENSIONS:
        named |= dict.fromkeys(map(keys_of, dimension.at.values()), _TEXT)
    return named


Document: Any = merged("Document", [Enveloped, *(kind.sections for kind in KINDS)], _declared_fields())
NOTHING = Document()
"""An empty document: its values are the ones that a document has where it lacks a field."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", re.ASCII)
_FIELDS = {each.encode_name: each for each in fields(Document)}


def attribute_of(pointer: str) -> str:
    """The dotted attribute of a Document for the value at a JSON pointer."""
    return attribute_at(Document, pointer)


def _sink_names() -> dict[str, str]:
    """The names of metrics that are read, by the names that a payload sink writes in their place."""
    (metrics,) = [each for each in fields(Document) if each.encode_name == "metrics"]
    names = [each.encode_name for of_type in fields(metrics.type) for each in fields(of_type.type)]
    flat = {name.replace(".", "_"): name for name in names}
    return flat | {re.sub("(?<=[a-z])(?=[0-9])", "_", name): said for name, said in flat.items()}


SINK_NAMES = _sink_names()
SINK_PREFIXES = tuple({f'"{name.partition("_")[0]}_'.encode() for name in SINK_NAMES})
"""With what the names begin, in a document: clients' own names have a dot there."""

EventReader = Callable[[Any], Events | str]


def event_reader(kind: Kind) -> EventReader:
    """A function that finds the events of measures in documents of a kind, or the reason why these add nothing."""
    required = [(getattr(NOTHING, name), attrgetter(name), why) for name, why in kind.required.items()]
    find_event = _find_event(kind)
    counted = [
        (place, attribute_of(source.at))
        for place, measure in enumerate(contract.MEASURES)
        for source in measure.sources
        if isinstance(source, contract.Count) and source.kind == kind.id
    ]
    places = [place for place, _ in counted]
    values = _tuple_getter([attribute for _, attribute in counted])
    # Most pings have no histogram that is counted. One comparison of the objects that hold them detects this.
    containers = _tuple_getter(list({".".join(attribute.split(".")[:2]) for _, attribute in counted}))
    empty = containers(NOTHING)

    def read(document: Any) -> Events | str:
        for nothing, get, why in required:
            if get(document) is nothing:
                return why
        events = find_event(document) if find_event else ()
        if containers(document) != empty:
            found = values(document)
            if any(found):
                events += tuple([pair for pair in zip(places, found, strict=True) if pair[1]])
                for _, count in events:
                    if not 0 <= count <= MAX_EVENTS:
                        return "count_negative" if any(count < 0 for _, count in events) else "count_absurd"
        return events

    return read


def _tuple_getter(attributes: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that gives the values of attributes."""
    if len(attributes) > 1:
        return attrgetter(*attributes)
    if not attributes:
        return lambda _document: ()
    get = attrgetter(*attributes)
    return lambda document: (get(document),)


def _find_event(kind: Kind) -> Callable[[Any], Events] | None:
    """A function that gives the measures of which a document is an event; None where none is declared."""
    declared = [
        (place, source)
        for place, measure in enumerate(contract.MEASURES)
        for source in measure.sources
        if isinstance(source, contract.Event) and source.kind == kind.id
    ]
    pointers = list(dict.fromkeys(at for _, source in declared for at in (*source.where, *source.unless)))
    if not declared:
        return None

    @lru_cache(4096)
    def events_of(*values: str | bool) -> Events:
        said = dict(zip(pointers, values, strict=True))
        return tuple((place, 1) for place, source in declared if _is_event(source, said))

    if not pointers:
        return lambda _document: events_of()
    values_of = _tuple_getter([*map(attribute_of, pointers)])
    return lambda document: events_of(*values_of(document))


def _is_event(source: contract.Event, said: dict[str, str | bool]) -> bool:
    is_among = all(said[at] in values for at, values in source.where.items())
    return is_among and not any(said[at] in values for at, values in source.unless.items())


def kind_of(document: Any) -> Kind | None:
    """The kind that a document names; None where this kind is not counted.

    A document without a namespace is of one of the oldest kinds, those in `telemetry`. A document without a type is
    recognised by its top-level keys.
    """
    metadata = document.metadata
    said = metadata.document_type or document.type
    if said:
        return kind_named(metadata.document_namespace or "telemetry", said)
    return _kind_by_keys(lambda key: getattr(document, _FIELDS[key].name) != _FIELDS[key].default)


def why_unknown(document: Any) -> str:
    """Why a document is of no kind that is counted, as a key of REASONS."""
    metadata = document.metadata
    said = metadata.document_type or document.type
    if said:
        is_name = _NAME.fullmatch(said) and _NAME.fullmatch(metadata.document_namespace or "telemetry")
        return "not_counted" if is_name else "document_type"
    return "glean_without_envelope" if is_glean(document) else "document_type"


def is_glean(document: Any) -> bool:
    """Whether a document has the sections of Glean documents."""
    return document.client_info is not NOTHING.client_info and document.ping_info is not NOTHING.ping_info


def _kind_by_keys(has: Callable[[str], bool]) -> Kind | None:
    return next((kind for kind in KINDS if kind.bare_keys and all(map(has, kind.bare_keys))), None)


# Documents that could not be decoded: only what identifies their kind and time is read, whatever the types of the
# values.


class LenientMetadata(Record, frozen=True):
    """`metadata`, of which only the kind is read."""

    document_namespace: Raw = Raw()
    document_type: Raw = Raw()


_GLEAN_KEYS = ("ping_info", "client_info")
_LENIENT_KEYS = ("metadata", "type", "submission_timestamp", "creationDate", "created", *_GLEAN_KEYS)
_Lenient = msgspec.defstruct(
    "LenientDocument",
    [
        (_FIELDS[key].name, Raw, msgspec.field(name=key, default=Raw()))
        for key in dict.fromkeys((*_LENIENT_KEYS, *(key for kind in KINDS for key in kind.bare_keys)))
    ],
    gc=False,
    frozen=True,
)
_LENIENT_DECODER = msgspec.json.Decoder(_Lenient)


def read_leniently(document: bytes) -> Any:
    """A Document with the kind and time of a JSON object that cannot be decoded into one, and nothing else of it.

    Values other than text count as missing. For keys that identify a kind, a value of any type is enough.
    """
    lenient: Any = _LENIENT_DECODER.decode(document)
    namespace, type_ = _said_by_metadata(lenient.metadata)
    type_ = type_ or _text(lenient.type)
    if not type_ and (kind := _kind_by_keys(lambda key: _stands(getattr(lenient, _FIELDS[key].name), key))):
        namespace, type_ = kind.namespace, kind.document_type
    said = {name: _text(getattr(lenient, name)) for name in ("submission_timestamp", "creationDate", "created")}
    # new objects, which tell sections that are there from missing ones
    glean = {name: type(getattr(NOTHING, name))() for name in _GLEAN_KEYS if getattr(lenient, name)}
    return msgspec.structs.replace(NOTHING, type=type_, metadata=_metadata(namespace), **said, **glean)


def _metadata(namespace: str) -> Any:
    return msgspec.structs.replace(NOTHING.metadata, document_namespace=namespace)


def _said_by_metadata(metadata: Raw) -> tuple[str, str]:
    try:
        said = msgspec.json.decode(metadata, type=LenientMetadata)
    except msgspec.MsgspecError:
        return "", ""
    return _text(said.document_namespace), _text(said.document_type)


def _text(value: Raw) -> str:
    """The text in a JSON value; "" where it is not text, or missing."""
    try:
        return msgspec.json.decode(value, type=str) if value else ""
    except msgspec.MsgspecError:
        return ""


def _stands(value: Raw, key: str) -> bool:
    """Whether a key has a value, of any type."""
    if not value:
        return False
    try:
        return bool(msgspec.json.decode(value, type=_FIELDS[key].type) != _FIELDS[key].default)
    except msgspec.MsgspecError:
        return True
