"""Which forms of text from strangers enter the dataset, and as what."""

import json
from datetime import UTC, datetime

import pytest

from streaming import contract
from streaming.pings import validation
from streaming.pings.decode import decode_document
from streaming.pings.document import kind_of
from streaming.pings.envelope import Envelope

PRODUCTS = contract.PACKAGED_PRODUCTS

BUILD = {
    "application": "Firefox",
    "channel": "release",
    "version": "56.0",
    "display_version": "",
    "other_display_version": "",
    "build_id": "20170926190823",
    "architecture": "x86-64",
}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2017-10-02T14:00:00Z", "2017-10-02T14:00:00"),
        ("2017-10-02T14:00:00", "2017-10-02T14:00:00"),
        ("2017-10-02T14:00:00.0-04:00", "2017-10-02T18:00:00"),
        ("2017-10-02T14:00:00.123456+02:00", "2017-10-02T12:00:00.123456"),
        ("2017-10-02T14:00:00.123456789Z", "2017-10-02T14:00:00.123456"),
        ("2017-10-02T14:00:00z", "2017-10-02T14:00:00"),
        ("2017-10-02t14:00:00.5z", "2017-10-02T14:00:00.5"),
        ("2017-10-02 14:00:00,25-00:00", "2017-10-02T14:00:00.25"),
        ("20171002T140000z", "2017-10-02T14:00:00"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00"),
        ("2016-12-31T23:59:60.999999999z", "2017-01-01T00:00:00.999999"),
        ("2016-12-31T23:59:60", "2017-01-01T00:00:00"),
        ("20161231T235960Z", "2017-01-01T00:00:00"),
        ("1990-12-31T15:59:60-08:00", "1991-01-01T00:00:00"),
        ("2015-07-01T08:59:60+09:00", "2015-07-01T00:00:00"),
        ("2017-10-02", "2017-10-02T00:00:00"),
        ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59"),
    ],
)
def test_time_is_utc_unless_it_says_otherwise(text: str, moment: str) -> None:
    since = datetime.fromisoformat(moment).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    assert validation.microseconds(text) == round(since.total_seconds() * 1e6)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "noon",
            "2017-13-01",
            "2017-02-30",
            "1506952800",
            "\ud800",
            "2017-10-02T25:00",
            "2017-10-02T14:00:00Zz",
            "z",
        ),
        *("2017-10-02T14:00:60Z", "2016-12-31T23:59:61Z", "2016-12-31T23:59:60+01:00", "2016-12-31T23:60:00Z", "60"),
        *("9999-12-31T23:59:60Z", "0001-01-01T00:00:60+23:59", "2016-12-31T23:59:60\n", " 2016-12-31T23:59:60Z"),
    ],
)
def test_text_that_is_no_time_has_no_microseconds(text: str) -> None:
    assert validation.microseconds(text) is None


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000_000),
        ("9999-12-31T23:59:59.999999-23:59", 253_402_387_139_999_999),
    ],
)
def test_time_at_the_ends_of_the_calendar_is_exact(text: str, microseconds: int) -> None:
    assert validation.microseconds(text) == microseconds


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("2000-12-31T23:59:59.999999", False),
        ("2001-01-01", True),
        ("2100-12-31T23:59:59.999999", True),
        ("2101-01-01", False),
    ],
)
def test_submission_is_in_this_century(text: str, is_one: bool) -> None:
    moment_us = validation.microseconds(text)
    assert moment_us is not None
    assert validation.is_submission_time(moment_us) == is_one


@pytest.mark.parametrize(
    "text",
    [
        "56.0",
        "56.0.1",
        "56.0b3",
        "58.0a1",
        "52.4.0esr",
        "38.0.5rc1",
        "3.6.3.1",
        "100.0",
        "60.0b10",
        "2.0.9",
        "5.0a2",
        "1000.0",
        "1000.0.1",
        "1234.0b5",
        "115.10.0esr",
        "56.1000",
    ],
)
def test_version_of_any_release_is_one(text: str) -> None:
    assert validation.is_version(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "56", "56.", ".0", "56.0 ", " 56.0", "56.0\n", "56.0b", "56.0-b3", "56.0c1", "1.2.3.4.5", "56.0esr1"),
        *("10000.0", "56.10000", "56.0b1000", "56.0<b>", "<b>", "٥٦.٠", "56,0", "baddisplayversion", "56.0b3esr"),
    ],
)
def test_text_of_another_form_is_no_version(text: str) -> None:
    assert not validation.is_version(text)


@pytest.mark.parametrize(
    ("build_id", "built", "expires"),
    [
        ("20170926190823", "2017-09-26T19:08:23", "2018-03-26T19:08:23"),
        ("20170831000000", "2017-08-31T00:00:00", "2018-02-28T00:00:00"),
        ("20150831000000", "2015-08-31T00:00:00", "2016-02-29T00:00:00"),
        ("20160229120000", "2016-02-29T12:00:00", "2016-08-29T12:00:00"),
        ("20170630235959", "2017-06-30T23:59:59", "2017-12-30T23:59:59"),
        ("20170701000000", "2017-07-01T00:00:00", "2018-01-01T00:00:00"),
    ],
)
def test_build_lives_for_six_calendar_months(build_id: str, built: str, expires: str) -> None:
    build = validation.build(PRODUCTS, **BUILD | {"build_id": build_id})
    assert build.invalid == ()
    assert (build.built_us, build.expires_us) == (validation.microseconds(built), validation.microseconds(expires))


@pytest.mark.parametrize(
    "build_id",
    [
        *("", "2017092619", "2017092619082", "201709261908233", "20170230000000", "20171301000000", "20170926250000"),
        *("20170926190860", "00000101000000", "99990801000000", "2017092619082x", "2017092619082٣", " 0170926190823"),
    ],
)
def test_text_that_is_no_moment_of_14_digits_is_no_build_id(build_id: str) -> None:
    assert validation.build(PRODUCTS, **BUILD | {"build_id": build_id}).invalid == ("build_id",)


@pytest.mark.parametrize(
    ("changes", "display_version", "invalid"),
    [
        ({}, "56.0", ()),
        ({"display_version": "56.0b3"}, "56.0b3", ()),
        ({"other_display_version": "56.0b4"}, "56.0", ()),
        ({"display_version": "56.0b3", "other_display_version": "56.0b4"}, "56.0b3", ()),
        ({"display_version": "bad"}, "bad", ("display_version",)),
        ({"other_display_version": "bad"}, "56.0", ("display_version",)),
        ({"version": ""}, "", ("version",)),
        ({"version": "bad", "display_version": "56.0b3"}, "56.0b3", ("version",)),
    ],
)
def test_display_version_is_else_the_version(
    changes: dict[str, str], display_version: str, invalid: tuple[str, ...]
) -> None:
    build = validation.build(PRODUCTS, **BUILD | changes)
    assert (build.display_version, build.invalid) == (display_version, invalid)


@pytest.mark.parametrize(
    ("dimension", "known", "unknown"),
    [
        ("application", tuple(PRODUCTS.by_application), ("", "firefox", "SeaMonkey", "<b>")),
        ("channel", contract.FIREFOX.channel_names, ("", "Other", "default", "Release", "<b>")),
        ("architecture", contract.ARCHITECTURES, ("", "z80", "X86", "<b>")),
    ],
)
def test_only_what_is_declared_is_known(dimension: str, known: tuple[str, ...], unknown: tuple[str, ...]) -> None:
    assert all(validation.build(PRODUCTS, **BUILD | {dimension: text}).invalid == () for text in known)
    assert all(validation.build(PRODUCTS, **BUILD | {dimension: text}).invalid == (dimension,) for text in unknown)


@pytest.mark.parametrize(
    ("said", "cut"),
    [
        ("10.0", "10.0"),
        ("10.2.42-hello", "10.2.42"),
        ("10.2.42.7", "10.2.42"),
        ("17.3.1-beta", "17.3.1"),
        ("23", "23"),
        ("10.", "10"),
        ("7.x", "7"),
        ("6.1 <b>", "6.1"),
        ("12345.12345.12345", "12345.12345.12345"),
    ],
)
def test_version_of_a_system_is_cut_to_three_numbers(said: str, cut: str) -> None:
    system = validation.system(PRODUCTS, "Firefox", "Darwin", said)
    assert (system.os_version, system.invalid) == (cut, ())


@pytest.mark.parametrize(
    ("said", "cut"), [("6.18.0-41-amd64", "6.18"), ("6.18", "6.18"), ("4.13.0", "4.13"), ("6", "6"), ("6.", "6")]
)
def test_version_of_linux_is_cut_to_the_two_numbers_that_all_pings_say(said: str, cut: str) -> None:
    system = validation.system(PRODUCTS, "Firefox", "Linux", said)
    assert (system.os_version, system.invalid) == (cut, ())


@pytest.mark.parametrize("said", ["", "x", "-1", " 10", "<b>10", "١٠", ".1", "123456.12345.12345", "9" * 18])
def test_version_of_a_system_begins_with_a_number_of_no_absurd_length(said: str) -> None:
    assert validation.system(PRODUCTS, "Firefox", "Darwin", said).invalid == ("os_version",)


@pytest.mark.parametrize(
    ("document_type", "application", "said", "counted", "invalid"),
    [
        ("crash", "Fennec", "Linux", "Android", ()),
        ("crash", "Firefox", "Linux", "Linux", ()),
        ("main", "Fennec", "Linux", "Linux", ()),
        ("core", "Fennec", "Android", "Android", ()),
        ("core", "Fennec", "Linux", "", ("os_name",)),
        ("core", "Firefox", "Windows_NT", "", ("os_name",)),
        ("main", "Firefox", "BeOS", "BeOS", ("os_name",)),
        ("main", "Firefox", "linux", "linux", ("os_name",)),
        ("main", "Firefox", "", "", ("os_name",)),
    ],
)
def test_system_is_a_known_one(
    document_type: str, application: str, said: str, counted: str, invalid: tuple[str, ...]
) -> None:
    core = {"v": 10, "arch": "arm", "os": said, "osversion": "10.0", "metadata": {"uri": {"app_name": application}}}
    other = {"type": document_type, "environment": {"system": {"os": {"name": said, "version": "10.0"}}}}
    document = core if document_type == "core" else other | {"application": {"name": application}}
    record = decode_document(json.dumps(document).encode())
    kind = kind_of(record)
    assert kind is not None
    assert kind.name == document_type
    sender = kind.describe(record, Envelope())
    system = validation.system(PRODUCTS, application, sender.os_name, sender.os_version)
    assert (system.os_name, system.invalid) == (counted, invalid)


@pytest.mark.parametrize(
    ("said", "counted"),
    [("DE", "DE"), ("de", "??"), ("XX", "??"), ("", "??"), ("??", "??"), ("<b>", "??"), ("UK", "??")],
)
def test_country_is_an_iso_code_or_unknown(said: str, counted: str) -> None:
    assert validation.country(said) == counted


@pytest.mark.parametrize("text", ["a", "pref-flip-1", "{e9a3-1}@mozilla.org", "A b", "x" * 100, "_x", "a/b:c+d"])
def test_plain_name_is_an_experiments(text: str) -> None:
    assert validation.is_experiment(text)


@pytest.mark.parametrize(
    "text", ["", " a", "-a", "<b>", "a<", "a&b", 'a"', "a'", "a`", "a\n", "a\0", "é", "x" * 101, "=1+1", "a;b", "a,b"]
)
def test_markup_is_no_experiments_name(text: str) -> None:
    assert not validation.is_experiment(text)
