"""One record for several kinds of document: what each reads, and what declarations add."""

from typing import Any

import msgspec
import pytest

from streaming.pings.record import Record, Text, attribute_at, keys_of, merged


class Inner(Record, frozen=True):
    a: int = 0


class One(Record, frozen=True):
    inner: Inner = Inner()
    said: Text = ""


class OtherInner(Record, frozen=True):
    b: int = 0


class Other(Record, frozen=True):
    inner: OtherInner = OtherInner()
    more: int | None = None


def decoded(record: type[Record], text: str) -> Any:
    return msgspec.json.decode(text, type=record)


def test_record_that_needs_no_change_stays_as_it_is() -> None:
    assert merged("x", [One, One], {}) is One


def test_merged_record_reads_what_each_of_its_records_reads() -> None:
    both = merged("both", [One, Other], {})
    document = decoded(both, '{"inner": {"a": 1, "b": 2}, "said": "x", "more": 3}')
    assert (document.inner.a, document.inner.b, document.said, document.more) == (1, 2, "x", 3)
    nothing = decoded(both, "{}")
    assert (nothing.inner.a, nothing.inner.b, nothing.said, nothing.more) == (0, 0, "", None)
    assert nothing.inner is both().inner, "what is missing is the default itself"


def test_pointer_adds_a_field_whatever_its_keys_are() -> None:
    more = {keys_of(at): (int, 0) for at in ("/inner/0", "/inner/a.b~1c", "/new/class/_x", "/1")}
    record = merged("record", [One], more)
    document = decoded(record, '{"inner": {"a": 9, "0": 1, "a.b/c": 2}, "new": {"class": {"_x": 3}}, "1": 4}')
    found = []
    for at in ("/inner/a", "/inner/0", "/inner/a.b~1c", "/new/class/_x", "/1"):
        value = document
        for name in attribute_at(record, at).split("."):
            value = getattr(value, name)
        found.append(value)
    assert found == [9, 1, 2, 3, 4]


def test_same_field_may_be_declared_twice_but_not_in_two_ways() -> None:
    assert merged("x", [One], {("said",): (Text, "")})().said == ""
    for more in ({("said",): (int, 0)}, {("said", "deeper"): (int, 0)}, {("inner",): (int, 0)}):
        with pytest.raises(TypeError, match="is read in two ways"):
            merged("x", [One], more)


@pytest.mark.parametrize("pointer", ["", "a/b", "a"])
def test_pointer_begins_with_a_slash(pointer: str) -> None:
    with pytest.raises(ValueError, match="begins with /"):
        keys_of(pointer)
