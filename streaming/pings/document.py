"""The record that documents of all kinds are decoded into: the envelope, each kind's sections, what measures name."""

from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import fields

from streaming import contract
from streaming.pings.envelope import Enveloped
from streaming.pings.kinds import KIND_OF, KINDS
from streaming.pings.kinds.kind import MAX_EVENTS, Events, Kind
from streaming.pings.record import Field, Record, Text, attribute_at, keys_of, merged

_COUNT: Field = (int, 0)
_TEXT: Field = (Text, "")


def _declared_fields() -> dict[tuple[str, ...], Field]:
    """What measures and dimensions name, by the keys that lead to it."""
    named: dict[tuple[str, ...], Field] = {}
    for measure in contract.MEASURES:
        for source in measure.sources:
            if isinstance(source, contract.Count):
                named[keys_of(source.at)] = _COUNT
            else:
                named |= dict.fromkeys(map(keys_of, (*source.where, *source.unless)), _TEXT)
    for dimension in contract.DIMENSIONS:
        named |= dict.fromkeys(map(keys_of, dimension.at.values()), _TEXT)
    return named


Document: Any = merged("Document", [Enveloped, *(kind.sections for kind in KINDS)], _declared_fields())
NOTHING = Document()
"""A document that says nothing: what stands in it, stands in documents that lack it."""
_FIELDS = {each.encode_name: each for each in fields(Document)}


def attribute_of(pointer: str) -> str:
    """The dotted attribute of a Document that holds what stands at the end of a JSON pointer."""
    return attribute_at(Document, pointer)


EventReader = Callable[[Any], Events | str]


def event_reader(kind: Kind) -> EventReader:
    """What finds the events of measures in documents of a kind: them, or the reason against their numbers."""
    counts = _count_readers(kind)
    find_event = _find_event(kind)

    def read(document: Any) -> Events | str:
        events = find_event(document) if find_event else ()
        for container, empty, values, places in counts:
            if container(document) != empty:
                found = values(document)
                if any(found):
                    events += tuple([pair for pair in zip(places, found, strict=True) if pair[1]])
        for _, count in events:
            if not 0 <= count <= MAX_EVENTS:
                return "count_negative" if any(count < 0 for _, count in events) else "count_absurd"
        return events

    return read


_CountReader = tuple[Callable[[Any], Any], Any, Callable[[Any], tuple[int, ...]], tuple[int, ...]]


def _count_readers(kind: Kind) -> list[_CountReader]:
    """For each object that holds counts: how to get at it, what it is without any, how to read them, their places.

    Of most pings no histogram is counted, which one comparison of all of them tells.
    """
    by_container: dict[str, list[tuple[str, int]]] = {}
    for place, measure in enumerate(contract.MEASURES):
        for source in measure.sources:
            if isinstance(source, contract.Count) and source.kind == kind.id:
                attribute = attribute_of(source.at)
                container = ".".join(attribute.split(".")[: min(2, attribute.count("."))])
                by_container.setdefault(container, []).append((attribute, place))
    readers: list[_CountReader] = []
    for container, named in by_container.items():
        get = attrgetter(container) if container else _itself
        attributes, places = zip(*named, strict=True)
        readers.append((get, get(NOTHING), _tuple_getter(*attributes), places))
    return readers


def _itself(document: Any) -> Any:
    return document


def _tuple_getter(*attributes: str) -> Callable[[Any], tuple[Any, ...]]:
    if len(attributes) > 1:
        return attrgetter(*attributes)
    get = attrgetter(*attributes)
    return lambda document: (get(document),)


def _find_event(kind: Kind) -> Callable[[Any], Events] | None:
    """What says of which measures a document of a kind is an event; None where none is declared."""
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
    def events_of(*texts: str) -> Events:
        said = dict(zip(pointers, texts, strict=True))
        return tuple((place, 1) for place, source in declared if _is_event(source, said))

    if not pointers:
        return lambda _document: events_of()
    texts_of = _tuple_getter(*map(attribute_of, pointers))
    return lambda document: events_of(*texts_of(document))


def _is_event(source: contract.Event, said: dict[str, str]) -> bool:
    is_among = all(said[at] in texts for at, texts in source.where.items())
    return is_among and not any(said[at] in texts for at, texts in source.unless.items())


def kind_of(document: Any) -> Kind | None:
    """The kind that a document says it is of; None where that is none that is counted.

    Without a namespace it is one of the oldest, `telemetry`; without a type the keys at its top tell.
    """
    metadata = document.metadata
    said = metadata.document_type or document.type
    if said:
        return KIND_OF.get((metadata.document_namespace or "telemetry", said))
    return _kind_by_keys(lambda key: getattr(document, _FIELDS[key].name) != _FIELDS[key].default)


def _kind_by_keys(has: Callable[[str], bool]) -> Kind | None:
    return next((kind for kind in KINDS if kind.bare_keys and all(map(has, kind.bare_keys))), None)


# Documents that could not be decoded: what tells their kind and time is looked at, whatever the types of the values.


class LenientMetadata(Record, frozen=True):
    """`metadata`, of which nothing but the kind is looked at."""

    document_namespace: Raw = Raw()
    document_type: Raw = Raw()


_LENIENT_KEYS = ("metadata", "type", "submission_timestamp", "creationDate", "created")
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
    """A Document of the same kind and time as a JSON object that cannot be decoded into one; nothing else of it.

    Text where text stood, else nothing; of keys that tell a kind it is enough that something stands there.
    """
    lenient: Any = _LENIENT_DECODER.decode(document)
    namespace, type_ = _said_by_metadata(lenient.metadata)
    type_ = type_ or _text(lenient.type)
    if not type_ and (kind := _kind_by_keys(lambda key: _stands(getattr(lenient, _FIELDS[key].name), key))):
        namespace, type_ = kind.namespace, kind.document_type
    said = {name: _text(getattr(lenient, name)) for name in ("submission_timestamp", "creationDate", "created")}
    return msgspec.structs.replace(NOTHING, type=type_, metadata=_metadata(namespace), **said)


def _metadata(namespace: str) -> Any:
    return msgspec.structs.replace(NOTHING.metadata, document_namespace=namespace)


def _said_by_metadata(metadata: Raw) -> tuple[str, str]:
    try:
        said = msgspec.json.decode(metadata, type=LenientMetadata)
    except msgspec.MsgspecError:
        return "", ""
    return _text(said.document_namespace), _text(said.document_type)


def _text(value: Raw) -> str:
    """The text that JSON holds; nothing where it holds something else, or there is none."""
    try:
        return msgspec.json.decode(value, type=str) if value else ""
    except msgspec.MsgspecError:
        return ""


def _stands(value: Raw, key: str) -> bool:
    """Whether something stands at a key, of whichever type."""
    if not value:
        return False
    try:
        return bool(msgspec.json.decode(value, type=_FIELDS[key].type) != _FIELDS[key].default)
    except msgspec.MsgspecError:
        return True
