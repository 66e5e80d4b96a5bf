"""Typed records of JSON objects: written by hand, merged, and extended by fields at JSON pointers.

One record serves all kinds of ping: a document's kind is often at its end, and finding the kind first would mean
reading each document twice.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from keyword import iskeyword
from typing import Annotated, Any, cast

import msgspec
from msgspec import NODEFAULT, Meta, Struct, field
from msgspec.structs import FieldInfo, fields

MAX_TEXT = 200
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Field = tuple[Any, Any]
"""The type and the default of the value at a key."""


class Record(Struct, gc=False, frozen=True):
    """A JSON object; only the declared fields are read, and each has a default."""


def keys_of(pointer: str) -> tuple[str, ...]:
    """The keys along a JSON pointer (RFC 6901), which must lead through objects only."""
    empty, *keys = pointer.split("/")
    if empty or not keys:
        raise ValueError(f"a JSON pointer begins with /, {pointer!r} does not")
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in keys)


def merged(name: str, records: Iterable[type[Record]], more: Mapping[tuple[str, ...], Field]) -> type[Record]:
    """A record that reads the fields of several records, and more: further fields by the keys that lead to them.

    A record that needs no change is returned as it is. Raises TypeError where two declare the same key differently.
    """
    records = list(dict.fromkeys(records))
    if len(records) == 1 and not more:
        return records[0]
    keys: dict[str, _Key] = {}
    for record in records:
        for each in fields(record):
            keys.setdefault(each.encode_name, _Key(each.name)).add(each)
    for number, ((key, *rest), said) in enumerate(more.items()):
        attribute = key if key.isidentifier() and not iskeyword(key) and key[0] != "_" else f"key_{number}"
        keys.setdefault(key, _Key(attribute)).more[tuple(rest)] = said
    named = [(each.attribute, *each.field(f"{name}.{key}", key)) for key, each in keys.items()]
    made: Any = msgspec.defstruct(name, named, bases=(Record,), gc=False, frozen=True)
    return cast("type[Record]", made)


@dataclass
class _Key:
    """What several records, and the rest of pointers, declare for a key."""

    attribute: str
    plain: list[Field] = dataclass_field(default_factory=list)
    objects: list[type[Record]] = dataclass_field(default_factory=list)
    more: dict[tuple[str, ...], Field] = dataclass_field(default_factory=dict)

    def add(self, declared: FieldInfo) -> None:
        if declared.name != self.attribute:
            raise TypeError(f"{declared.encode_name!r} is called {self.attribute!r} and {declared.name!r}")
        if isinstance(declared.type, type) and issubclass(declared.type, Record):
            self.objects.append(declared.type)
        else:
            default = declared.default_factory() if declared.default is NODEFAULT else declared.default
            self.plain.append((declared.type, default))

    def field(self, name: str, key: str) -> Field:
        """The key's type, and the msgspec field with its default."""
        below = {keys: said for keys, said in self.more.items() if keys}
        plain = [*self.plain, *(said for keys, said in self.more.items() if not keys)]
        if (plain and (self.objects or below)) or any(each != plain[0] for each in plain):
            raise TypeError(f"{name} is read in two ways")
        if plain:
            type_, default = plain[0]
        else:
            type_ = merged(name, self.objects, below)
            default = type_()
        return type_, field(name=key, default=default)


def attribute_at(record: type[Record], pointer: str) -> str:
    """The dotted attribute of a record for the value at a JSON pointer."""
    names = []
    type_: Any = record
    for key in keys_of(pointer):
        (found,) = [each for each in fields(type_) if each.encode_name == key]
        names.append(found.name)
        type_ = found.type
    return ".".join(names)
