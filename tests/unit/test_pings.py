"""What each kind of ping counts as, and for which reason a document does not count."""

import gzip
import json
import time
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streaming import contract
from streaming.errors import MissionControlError
from streaming.pings.classify import Classifier, Ping, Rejected, decode
from streaming.pings.envelope import Envelope
from streaming.pings.kinds import REASONS
from tests.plain_loop import COUNTED

RECEIVED_US = 1_506_956_400_000_000  # 2017-10-02T15:00:00Z
SUBMITTED_US = 1_506_952_800_000_000  # 2017-10-02T14:00:00Z
ABSENT = object()

BUILD = {"buildId": "20170926190823", "version": "56.0", "architecture": "x86-64"}
ENVELOPED = {
    "submission_timestamp": "2017-10-02T14:00:00Z",
    "normalized_channel": "release",
    "normalized_app_name": "Firefox",
    "normalized_country_code": "DE",
}
WINDOWS = {"system": {"os": {"name": "Windows_NT", "version": "10.0"}}}
CRASH = ENVELOPED | {
    "type": "crash",
    "application": {"name": "Firefox", "channel": "release", **BUILD},
    "environment": WINDOWS,
    "payload": {"processType": "main", "metadata": {}},
}
MAIN = CRASH | {
    "type": "main",
    "payload": {"info": {"subsessionLength": 3600, "subsessionStartDate": "2017-10-02T10:00:00.0-02:00"}},
}
CORE = ENVELOPED | {
    "normalized_app_name": "Fennec",
    **{"v": 10, "os": "Android", "osversion": "23", "arch": "armeabi-v7a", "durations": 7200},
    "metadata": {
        "uri": {
            "app_name": "Fennec",
            "app_version": "56.0",
            "app_build_id": "20170926190823",
            "app_update_channel": "beta",
        }
    },
}
KINDS = {"crash": CRASH, "main": MAIN, "core": CORE}
GLEAN_MAIN = {"crash.process_type": "main", "crash.app_display_version": "153.0", "crash.app_channel": "beta"}
GLEAN_CRASH = {
    "submission_timestamp": "2017-10-02T14:00:00Z",
    "metadata": {"document_namespace": "firefox-crashreporter", "document_type": "crash"},
    "ping_info": {},
    "client_info": {
        **{"app_build": "20170926190823", "app_display_version": "1.0.0", "app_channel": "esr"},
        **{"os": "Linux", "os_version": "6.18", "architecture": "x86_64"},
    },
    "metrics": {"string": GLEAN_MAIN},
}


def changed(ping: dict[str, Any], **changes: Any) -> bytes:
    """The ping with other values at paths such as payload__info__subsessionLength, or without them (ABSENT)."""
    ping = json.loads(json.dumps(ping))
    for path, value in changes.items():
        *parents, name = path.split("__")
        below = ping
        for parent in parents:
            below = below.setdefault(parent, {})
        below[name] = value
        if value is ABSENT:
            del below[name]
    return json.dumps(ping).encode()


def read(document: bytes, envelope: Envelope = Envelope()) -> Ping | Rejected:  # noqa: B008 (it is frozen)
    return decode(document, envelope, RECEIVED_US)


def accepted(document: bytes, envelope: Envelope = Envelope()) -> Ping:  # noqa: B008
    ping = read(document, envelope)
    assert isinstance(ping, Ping), ping
    return ping


def rejected(document: bytes, envelope: Envelope = Envelope()) -> Rejected:  # noqa: B008
    ping = read(document, envelope)
    assert isinstance(ping, Rejected), ping
    return ping


def dimension(ping: Ping, name: str) -> str:
    return ping.dimensions[contract.DIMENSION_NAMES.index(name)]


def events(ping: Ping) -> dict[str, int]:
    """What the ping adds to each measure that is not 0."""
    return {contract.MEASURE_NAMES[place]: count for place, count in ping.counts.events if count}


# The public samples: what they count as was read off the files.

NOVEMBER_2015 = Envelope("beta", "DE", datetime(2015, 11, 5, 2, 0, tzinfo=UTC))
MAY_2018 = Envelope("nightly", "CA", datetime(2018, 5, 10, tzinfo=UTC))
MAC_45 = ("Firefox", "beta", "45.0", "45.0b6", "20151103030248", "Darwin", "14.5.0", "x86-64", "DE")
MAC_60 = ("Firefox", "nightly", "60.0a1", "60.0a1", "20180209220324", "Darwin", "17.4.0", "x86-64", "CA")
WINDOWS_61 = ("Firefox", "nightly", "61.0a1", "61.0a1", "20180409100035", "Windows_NT", "6.1", "x86", "CA")
ACCEPTED_SAMPLES = {
    # 10 h 39 min 36 s of use; the client says that they began at midnight, but the ping was created hours later
    "main.4.sample.pass.json": (
        NOVEMBER_2015,
        MAC_45,
        10.66,
        "2015-11-05T01:25:43.312Z",
        {},
        (("test_id123", "brunch"),),
    ),
    "main.4.gc_sample.pass.json": (
        *(MAY_2018, MAC_60, 44742 / 3600, "2018-03-08T16:25:44.333Z", {}, (("searchCohort", "nov17-2"),)),
    ),
    "crash.4.sample.pass.json": (MAY_2018, WINDOWS_61, 0, None, {"content_shutdown_crashes": 1}, ()),
    "crash.4.stackTraces.pass.json": (MAY_2018, WINDOWS_61, 0, None, {"content_shutdown_crashes": 1}, ()),
}
SAMPLES_WITH_NOTHING_TO_COUNT = {
    "main.4.headless.pass.json": ("nothing_to_count", "main"),
    "main.4.hdd_type_null.pass.json": ("nothing_to_count", "main"),
    "main.4.services.pass.json": ("nothing_to_count", "main"),
    "core.10.fennec.pass.json": ("uri_missing", "core"),
    "core.10.enhancedSearch.pass.json": ("uri_missing", "core"),
}
REJECTED_SAMPLES = {
    "main.4.displayversion.fail.json": ("display_version", "main"),
    "main.4.histogram.fail.json": ("histogram", "main"),
    "main.4.empty.fail.json": ("document_type", "unknown"),
    "core.9.displayversion.fail.json": ("display_version", "core"),
}


@pytest.mark.parametrize("name", ACCEPTED_SAMPLES)
def test_valid_sample_counts_as_its_file_says(shared_data: Path, name: str) -> None:
    envelope, dimensions, usage_hours, used_at, counted, experiments = ACCEPTED_SAMPLES[name]
    ping = accepted((shared_data / "pings" / "accept" / name).read_bytes(), envelope)
    assert ping.dimensions == dimensions
    assert ping.counts.usage_seconds / 3600 == usage_hours
    assert ping.counts.used_until_us == (used_at and datetime.fromisoformat(used_at).timestamp() * 1e6)
    assert events(ping) == counted
    assert ping.experiments == experiments


@pytest.mark.parametrize("name", SAMPLES_WITH_NOTHING_TO_COUNT)
def test_valid_sample_without_a_count_says_why(shared_data: Path, name: str) -> None:
    ping = rejected((shared_data / "pings" / "accept" / name).read_bytes(), NOVEMBER_2015)
    assert (ping.reason, ping.document_type) == SAMPLES_WITH_NOTHING_TO_COUNT[name]


@pytest.mark.parametrize("name", REJECTED_SAMPLES)
def test_invalid_sample_is_rejected_for_its_fault(shared_data: Path, name: str) -> None:
    ping = rejected((shared_data / "pings" / "reject" / name).read_bytes(), NOVEMBER_2015)
    assert (ping.reason, ping.document_type) == REJECTED_SAMPLES[name]


def test_no_sample_is_left_out(shared_data: Path) -> None:
    there = {path.name for path in (shared_data / "pings").glob("*/*.json")}
    assert there == {*ACCEPTED_SAMPLES, *SAMPLES_WITH_NOTHING_TO_COUNT, *REJECTED_SAMPLES}


@pytest.mark.parametrize("name", ["core.10.fennec.pass.json", "core.10.enhancedSearch.pass.json"])
def test_core_sample_counts_within_its_envelope(shared_data: Path, name: str) -> None:
    sample = json.loads((shared_data / "pings" / "accept" / name).read_bytes())
    uri = CORE["metadata"]["uri"] | {"app_build_id": "20170301120000"}
    ping = accepted(changed(sample, metadata={"uri": uri}, submission_timestamp="2017-03-16T08:00:00Z"))
    shown = {"core.10.fennec.pass.json": "2.0.9", "core.10.enhancedSearch.pass.json": "59.0b3"}[name]
    system = ("Android", "23", "armeabi-v7a", "??")
    assert ping.dimensions == ("Fennec", "beta", "56.0", shown, "20170301120000", *system)
    assert (ping.counts.usage_seconds, ping.experiments) == (11, ())


# Crash pings.


@pytest.mark.parametrize(
    ("payload", "counted"),
    [
        ({"processType": "main"}, {"main_crashes": 1}),
        ({}, {"main_crashes": 1}),
        ({"processType": "main", "metadata": {"StartupCrash": "1"}}, {"main_crashes": 1, "startup_crashes": 1}),
        ({"metadata": {"StartupCrash": "1"}}, {"main_crashes": 1, "startup_crashes": 1}),
        ({"metadata": {"StartupCrash": "0"}}, {"main_crashes": 1}),
        ({"metadata": {"StartupCrash": "true"}}, {"main_crashes": 1}),
        ({"metadata": {"ipc_channel_error": "ShutDownKill"}}, {"main_crashes": 1}),
        ({"processType": "content"}, {"content_crashes": 1}),
        ({"processType": "content", "metadata": {"StartupCrash": "1"}}, {"content_crashes": 1}),
        ({"processType": "content", "metadata": {"ipc_channel_error": "x"}}, {"content_crashes": 1}),
        (
            {"processType": "content", "metadata": {"ipc_channel_error": "ShutDownKill"}},
            {"content_shutdown_crashes": 1},
        ),
    ],
)
def test_crash_counts_by_its_process_and_metadata(payload: dict[str, Any], counted: dict[str, int]) -> None:
    ping = accepted(changed(CRASH, payload=payload))
    assert events(ping) == counted
    assert (ping.counts.usage_seconds, ping.counts.used_until_us) == (0, None)


@pytest.mark.parametrize("process", ["gpu", "plugin", "gmplugin", "extension", "socket", "Main"])
def test_crash_of_another_process_does_not_count(process: str) -> None:
    assert rejected(changed(CRASH, payload__processType=process)).reason == "process_type"


def test_crash_ping_with_histograms_counts_none_of_them() -> None:
    keyed = {"SUBPROCESS_CRASHES_WITH_DUMP": {"gpu": {"values": {"0": 5}}}}
    assert events(accepted(changed(CRASH, payload__keyedHistograms=keyed))) == {"main_crashes": 1}


# Main pings.


@pytest.mark.parametrize("kind", ["main", "core"])
@pytest.mark.parametrize(
    ("seconds", "counted"), [(0, 0), (1, 1), (89_999, 89_999), (90_000, 90_000), (90_001, 90_000), (10**30, 90_000)]
)
def test_use_is_clamped_to_25_hours(kind: str, seconds: int, counted: int) -> None:
    path = {"main": "payload__info__subsessionLength", "core": "durations"}[kind]
    assert accepted(changed(KINDS[kind], **{path: seconds})).counts.usage_seconds == counted


@pytest.mark.parametrize("kind", ["main", "core"])
@pytest.mark.parametrize(
    ("seconds", "reason"),
    [(ABSENT, "usage_missing"), (None, "usage_missing"), (-1, "usage_negative"), (-(10**30), "usage_negative")],
)
def test_use_that_is_missing_or_negative_rejects_the_ping(kind: str, seconds: Any, reason: str) -> None:
    path = {"main": "payload__info__subsessionLength", "core": "durations"}[kind]
    assert rejected(changed(KINDS[kind], **{path: seconds})).reason == reason


@pytest.mark.parametrize(("measure", "keys"), COUNTED)
def test_main_ping_counts_the_first_bucket_of_the_measures_histogram(measure: str, keys: tuple[str, ...]) -> None:
    histogram: dict[str, Any] = {"values": {"0": 7, "1": 100}, "sum": 9}
    _, section, name, *key, _, _ = keys
    held = {key[0]: histogram, "x": histogram} if key else histogram
    document = changed(MAIN, **{f"payload__{section}": {name: held, **({} if key else {"X": histogram})}})
    assert events(accepted(document)) == {measure: 7}


def test_subprocess_histogram_without_a_key_counts_nothing() -> None:
    histograms = {"SUBPROCESS_CRASHES_WITH_DUMP": {"values": {"0": 7}}}
    assert events(accepted(changed(MAIN, payload__histograms=histograms))) == {}


def test_histograms_of_other_processes_count_nothing() -> None:
    processes = {"content": {"histograms": {"SLOW_SCRIPT_PAGE_COUNT": {"values": {"0": 7}}}}}
    assert events(accepted(changed(MAIN, payload__processes=processes))) == {}


@pytest.mark.parametrize(
    ("count", "expected"),
    [(-1, "count_negative"), (0, {}), (90_000, {"slow_script_page_count": 90_000}), (90_001, "count_absurd")],
)
def test_count_must_lie_between_none_and_one_a_second_of_25_hours(count: int, expected: str | dict[str, int]) -> None:
    document = changed(MAIN, payload__histograms__SLOW_SCRIPT_PAGE_COUNT={"values": {"0": count}})
    if isinstance(expected, str):
        assert rejected(document).reason == expected
    else:
        assert events(accepted(document)) == expected


def test_time_of_use_is_the_end_of_the_subsession_in_its_time_zone() -> None:
    assert accepted(changed(MAIN)).counts.used_until_us == SUBMITTED_US - 3600 * 1_000_000


def test_time_of_use_counts_the_length_beyond_25_hours() -> None:
    ping = accepted(changed(MAIN, payload__info__subsessionLength=100_000))
    assert ping.counts.used_until_us == SUBMITTED_US - 7200 * 1_000_000 + 100_000 * 1_000_000


# Core pings.


def test_core_ping_takes_its_dimensions_from_the_uri() -> None:
    ping = accepted(changed(CORE, normalized_app_name=ABSENT, normalized_channel=ABSENT))
    build = ("Fennec", "beta", "56.0", "56.0", "20170926190823")
    assert ping.dimensions == (*build, "Android", "23", "armeabi-v7a", "DE")
    assert (ping.document_type, ping.counts.used_until_us) == ("core", None)


def test_core_ping_with_an_environment_counts_none_of_it() -> None:
    environment = WINDOWS | {"experiments": {"a": {"branch": "b"}}, "build": {"version": "1.0"}}
    application = {"name": "Firefox", "version": "2.0", "displayVersion": "2.0b1"}
    assert read(changed(CORE, environment=environment, application=application)) == read(changed(CORE))


@pytest.mark.parametrize("name", ["v", "os", "osversion", "arch"])
def test_bare_document_that_lacks_a_core_pings_field_is_none(name: str) -> None:
    assert rejected(changed(CORE, **{name: ABSENT})).reason == "document_type"


def test_main_ping_never_takes_version_or_build_from_the_uri() -> None:
    uri = CORE["metadata"]["uri"]
    assert rejected(changed(MAIN, metadata__uri=uri, application__version=ABSENT)).reason == "version"
    assert rejected(changed(MAIN, metadata__uri=uri, application__buildId=ABSENT)).reason == "build_id"


# Dimensions.


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"environment__build": {"version": "55.0.1"}}, "version", "55.0.1"),
        ({"environment__build": {"buildId": "20170810000000"}}, "build_id", "20170810000000"),
        ({"environment__build": {"architecture": "x86"}}, "architecture", "x86"),
        ({"environment__build": {}}, "version", "56.0"),
        ({"application__displayVersion": "56.0b3"}, "display_version", "56.0b3"),
        ({"environment__build": {"displayVersion": "56.0b4"}}, "display_version", "56.0"),
        ({"environment__build": {"version": "55.0.1"}}, "display_version", "55.0.1"),
        ({"application__version": "52.4.0esr"}, "display_version", "52.4.0esr"),
        ({"normalized_channel": ABSENT, "application__channel": "esr"}, "channel", "esr"),
        ({"application__channel": "esr"}, "channel", "release"),
        ({"normalized_app_name": ABSENT, "application__name": "Fennec"}, "application", "Fennec"),
        ({"application__name": "Fennec"}, "application", "Firefox"),
        (
            {
                "normalized_app_name": ABSENT,
                "application__name": ABSENT,
                "environment__build": {"applicationName": "Fennec"},
            },
            "application",
            "Fennec",
        ),
        ({"normalized_country_code": ABSENT}, "country", "??"),
        ({"normalized_country_code": ABSENT, "metadata": {"geo": {"country": "FR"}}}, "country", "FR"),
        ({"metadata": {"geo": {"country": "FR"}}}, "country", "DE"),
        ({"normalized_country_code": "<b>"}, "country", "??"),
        ({"normalized_country_code": "de"}, "country", "??"),
    ],
)
def test_dimension_comes_from_the_first_place_that_says_it(changes: dict[str, Any], name: str, value: str) -> None:
    for kind in ("crash", "main"):
        assert dimension(accepted(changed(KINDS[kind], **changes)), name) == value


@pytest.mark.parametrize(
    ("kind", "application", "system", "counted"),
    [
        ("crash", "Fennec", "Linux", "Android"),
        ("crash", "Fennec", "Android", "Android"),
        ("crash", "Firefox", "Linux", "Linux"),
        ("main", "Fennec", "Linux", "Linux"),
    ],
)
def test_linux_means_android_in_fennecs_crashes_only(kind: str, application: str, system: str, counted: str) -> None:
    document = changed(KINDS[kind], normalized_app_name=application, environment__system__os__name=system)
    assert dimension(accepted(document), "os_name") == counted


# What stands in for the envelope.


@pytest.mark.parametrize(
    ("changes", "submitted_at", "submitted"),
    [
        ({}, None, "2017-10-02T14:00:00+00:00"),
        ({}, "2017-11-01T00:00:00", "2017-10-02T14:00:00+00:00"),
        ({"submission_timestamp": ABSENT}, "2017-11-01T00:00:00", "2017-11-01T00:00:00+00:00"),
        ({"submission_timestamp": ABSENT}, "2017-11-01T00:00:00+01:00", "2017-10-31T23:00:00+00:00"),
        ({"submission_timestamp": ABSENT}, None, "2017-10-02T15:00:00+00:00"),
        ({"submission_timestamp": ABSENT, "creationDate": "2017-10-03"}, None, "2017-10-03T00:00:00+00:00"),
        ({"submission_timestamp": ABSENT, "created": "2017-10-04"}, None, "2017-10-04T00:00:00+00:00"),
    ],
)
def test_submission_comes_from_the_first_place_that_says_it(
    changes: dict[str, Any], submitted_at: str | None, submitted: str
) -> None:
    envelope = Envelope(submitted_at=submitted_at and datetime.fromisoformat(submitted_at))
    ping = accepted(changed(CORE, **changes), envelope)
    assert datetime.fromtimestamp(ping.submitted_us / 1e6, UTC).isoformat() == submitted


def test_envelope_speaks_where_the_ping_is_silent_and_only_there() -> None:
    envelope = Envelope("beta", "FR")
    bare = accepted(changed(CRASH, normalized_channel=ABSENT, normalized_country_code=ABSENT), envelope)
    assert (dimension(bare, "channel"), dimension(bare, "country")) == ("beta", "FR")
    enveloped = accepted(changed(CRASH), envelope)
    assert (dimension(enveloped, "channel"), dimension(enveloped, "country")) == ("release", "DE")


@pytest.mark.parametrize(
    ("stand_ins", "said"),
    [({"channel": "relaese"}, "'relaese'; did you mean release"), ({"country": "Germany"}, "got 'Germany'")],
)
def test_envelope_refuses_what_is_no_channel_or_country(stand_ins: dict[str, Any], said: str) -> None:
    with pytest.raises(MissionControlError, match=said):
        Classifier(Envelope(**stand_ins))


@pytest.mark.parametrize(
    ("type_", "document_type", "counted"),
    [("main", "crash", "crash"), ("", "crash", "crash"), ("crash", "", "crash"), (5, "crash", "wrong_type")],
)
def test_envelope_names_the_kind_before_the_document_does(type_: Any, document_type: str, counted: str) -> None:
    ping = read(changed(CRASH, type=type_, metadata={"document_type": document_type}))
    assert ping.document_type == "crash"
    assert counted == (ping.reason if isinstance(ping, Rejected) else ping.document_type)


# Experiments.


@pytest.mark.parametrize(
    ("environment", "enrolled"),
    [
        ({}, []),
        ({"experiments": None}, []),
        ({"experiments": {}}, []),
        ({"experiments": {"a": {"branch": "x"}, "b": {"branch": "y", "type": "z"}}}, [("a", "x"), ("b", "y")]),
        ({"experiments": {"a": "x"}}, [("a", "x")]),
        ({"experiments": {"a": {}, "b": {"branch": "y"}}}, [("b", "y")]),
        ({"addons": {"activeExperiment": {"id": "old", "branch": "x"}}}, [("old", "x")]),
        ({"addons": {"activeExperiment": {}}}, []),
        ({"addons": {"activeExperiment": {"id": "old"}}}, []),
        (
            {"experiments": {"a": {"branch": "x"}}, "addons": {"activeExperiment": {"id": "old", "branch": "y"}}},
            [("a", "x"), ("old", "y")],
        ),
        (
            {"experiments": {"a": {"branch": "x"}}, "addons": {"activeExperiment": {"id": "a", "branch": "y"}}},
            [("a", "x")],
        ),
        ({"experiments": {"{e9}@m": {"branch": "A b"}}}, [("{e9}@m", "A b")]),
        ({"experiments": {f"e{n}": "x" for n in range(100)}}, sorted((f"e{n}", "x") for n in range(100))),
    ],
)
def test_ping_counts_once_for_each_experiment_it_is_enrolled_in(
    environment: dict[str, Any], enrolled: list[tuple[str, str]]
) -> None:
    assert sorted(accepted(changed(MAIN, environment=WINDOWS | environment)).experiments) == enrolled


@pytest.mark.parametrize(
    "experiments",
    [
        {"<b>": {"branch": "x"}},
        {"a": {"branch": "<script>"}},
        {"": {"branch": "x"}},
        {"a": "x" * 101},
        {"a" * 101: "x"},
        {"a": "'"},
        {"a": "é"},
        {f"e{number}": "x" for number in range(101)},
    ],
)
def test_experiment_of_no_known_form_rejects_the_ping(experiments: dict[str, Any]) -> None:
    assert rejected(changed(MAIN, environment=WINDOWS | {"experiments": experiments})).reason == "experiment"


# The age of the build.


@pytest.mark.parametrize(
    ("submitted", "reason"),
    [
        ("2017-09-26T19:08:22.999999Z", "build_in_future"),
        ("2017-09-26T19:08:23Z", None),
        ("2018-03-26T19:08:23Z", None),
        ("2018-03-26T19:08:23.000001Z", "build_too_old"),
    ],
)
def test_build_counts_from_its_first_moment_to_six_months(submitted: str, reason: str | None) -> None:
    ping = read(changed(CRASH, submission_timestamp=submitted))
    assert reason == (ping.reason if isinstance(ping, Rejected) else None)


# Reasons.

MARK = b"\xef\xbb\xbf"
CRASH_TEXT = json.dumps(CRASH).encode()


def with_whole_numbers(number: bytes) -> list[tuple[bytes, str]]:
    """A document for each place where a whole number is read, with that number there, and its kind."""
    histogram = {"values": {"0": 12345}}
    keyed = {"SUBPROCESS_CRASHES_WITH_DUMP": {"gpu": histogram}}
    return [
        (changed(MAIN, payload__info__subsessionLength=12345).replace(b"12345", number), "main"),
        (changed(MAIN, payload__histograms={"SLOW_SCRIPT_PAGE_COUNT": histogram}).replace(b"12345", number), "main"),
        (changed(MAIN, payload__keyedHistograms=keyed).replace(b"12345", number), "main"),
        (changed(CORE, durations=12345).replace(b"12345", number), "core"),
        (changed(CORE, v=12345).replace(b"12345", number), "core"),
    ]


DOCUMENTS = {  # a document for each reason, and the kind it is counted as
    "empty": [(b"", "unknown"), (b" \r\n\t", "unknown"), (MARK, "unknown"), (MARK + b" \r\n" + MARK, "unknown")],
    "too_large": [(changed(CRASH, unread="x" * 8 * 1024 * 1024), "crash"), (b"x" * (8 * 1024 * 1024 + 1), "unknown")],
    "not_json": [
        (CRASH_TEXT[:-1], "crash"),
        (CRASH_TEXT[:40], "unknown"),
        (CRASH_TEXT + b"}", "crash"),
        (b"\xff\xfe", "unknown"),
        (b"no text", "unknown"),
        (CRASH_TEXT.replace(b'"main"', b'"\xff"'), "crash"),
        (CRASH_TEXT.replace(b'"main"', b'"\\ud800"'), "crash"),
        (CRASH_TEXT.replace(b'"main"', b'"main \\udc00"'), "crash"),
        (changed(CRASH, environment__experiments={"\ud800": "on"}), "crash"),
        (CRASH_TEXT.replace(b'"main"', b"NaN"), "crash"),
        (CRASH_TEXT.replace(b"}}", b'}, "unread": -Infinity}'), "crash"),
        *((CRASH_TEXT.decode().encode(encoding), "unknown") for encoding in ("utf-16", "utf-16-le", "utf-32")),
        (b"[1", "unknown"),
    ],
    "too_deep": [
        (b"[" * 100_000 + b"]" * 100_000, "unknown"),
        (b'{"type": "crash", "payload": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "crash"),
        (b'{"type": "crash", "unread": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "crash"),
    ],
    "not_an_object": [(b"[]", "unknown"), (b"5", "unknown"), (b"null", "unknown"), (b'"type"', "unknown")],
    "document_type": [
        (b"{}", "unknown"),
        (changed(CRASH, type="<b>"), "unknown"),
        (changed(CRASH, metadata__document_namespace="<b>"), "unknown"),
    ],
    "not_counted": [
        (changed(CRASH, type="event"), "unknown"),
        (changed(CRASH, type="first-shutdown"), "unknown"),
        (changed(CRASH, type="event", payload=[1]), "unknown"),
        (changed(CRASH, metadata__document_namespace="my-product"), "unknown"),
    ],
    "glean_without_envelope": [
        (json.dumps({"ping_info": {}, "client_info": {}}).encode(), "unknown"),
        (json.dumps({"ping_info": {}, "client_info": {"os": 5}}).encode(), "unknown"),
    ],
    "sink_payload": [
        (json.dumps({"payload": payload, "attributeMap": {"document_type": "main"}}).encode(), "main")
        for payload in ("no base64", b64encode(gzip.compress(b"{}")[:-9]).decode())
    ],
    "wrong_type": [
        (changed(CRASH, payload=7), "crash"),
        (changed(CRASH, payload__processType=None), "crash"),
        (changed(CRASH, environment__system__os=[]), "crash"),
        *((document, kind) for number in (b"60.0", b"6e1", b"60.5") for document, kind in with_whole_numbers(number)),
        (changed(MAIN, payload__info__subsessionLength="3600"), "main"),
        (changed(MAIN, payload__info__subsessionLength=True), "main"),
        *((document, kind) for number in (b"9" * 5000, b"1e999") for document, kind in with_whole_numbers(number)),
        (changed(MAIN, environment__experiments=["a"]), "main"),
        (changed(CORE, os=5), "core"),
    ],
    "too_long": [
        (changed(CRASH, normalized_country_code="x" * 201), "crash"),
        (changed(MAIN, environment__experiments={"x" * 201: "y"}), "main"),
    ],
    "submission_time": [
        (changed(CRASH, submission_timestamp="yesterday"), "crash"),
        (changed(CRASH, submission_timestamp="2000-12-31T23:59:59Z"), "crash"),
        (changed(CRASH, submission_timestamp="2101-01-01T00:00:00Z"), "crash"),
    ],
    "version": [
        (changed(CRASH, application__version=ABSENT), "crash"),
        (changed(CRASH, application__version="<img>"), "crash"),
        (changed(CORE, metadata__uri__app_version=ABSENT), "core"),
    ],
    "display_version": [
        (changed(CRASH, application__displayVersion="<img>"), "crash"),
        (changed(CRASH, environment__build={"displayVersion": "bad"}), "crash"),
        (changed(CORE, displayVersion="bad"), "core"),
    ],
    "build_id": [
        (changed(CRASH, application__buildId=ABSENT), "crash"),
        (changed(CRASH, application__buildId="2017092619"), "crash"),
        (changed(CRASH, application__buildId="20171301000000"), "crash"),
    ],
    "histogram": [
        (changed(MAIN, payload__info=ABSENT, payload__histograms={"OTHER": {"values": {"foo": 1}}}), "main"),
        (changed(MAIN, payload__info=ABSENT, payload__histograms={"OTHER": {"values": {"-1": 1}}}), "main"),
        (changed(MAIN, payload__info=ABSENT, payload__histograms={"OTHER": {"values": {"007": 1}}}), "main"),
        (changed(MAIN, payload__info=ABSENT, payload__keyedHistograms={"OTHER": {"key": 5}}), "main"),
    ],
    "count_negative": [
        (changed(MAIN, payload__histograms={"SLOW_SCRIPT_PAGE_COUNT": {"values": {"0": -1}}}), "main"),
        (
            changed(MAIN, payload__keyedHistograms={"SUBPROCESS_CRASHES_WITH_DUMP": {"gpu": {"values": {"0": -1}}}}),
            "main",
        ),
    ],
    "count_absurd": [
        (changed(MAIN, payload__histograms={"SLOW_SCRIPT_PAGE_COUNT": {"values": {"0": 10**30}}}), "main"),
    ],
    "experiment": [(changed(CRASH, environment__experiments={"a": "<b>"}), "crash")],
    "nothing_to_count": [(changed(CRASH, payload=ABSENT), "crash"), (changed(MAIN, payload=ABSENT), "main")],
    "process_type": [
        (changed(CRASH, payload__processType="<b>"), "crash"),
        (changed(GLEAN_CRASH, metrics__string=GLEAN_MAIN | {"crash.process_type": "extension"}), "glean/crash"),
    ],
    "usage_missing": [(changed(MAIN, payload={}), "main"), (changed(CORE, durations=None), "core")],
    "usage_negative": [(changed(MAIN, payload__info__subsessionLength=-5), "main")],
    "use_time": [(changed(MAIN, payload__info__subsessionStartDate="noon"), "main")],
    "uri_missing": [(changed(CORE, metadata={}), "core"), (changed(CORE, metadata={"uri": {}}), "core")],
    "other_product": [
        (changed(CRASH, normalized_app_name="SeaMonkey"), "crash"),
        (changed(MAIN, normalized_app_name="Other", application__name="SeaMonkey"), "main"),
    ],
    "background_task": [
        (changed(GLEAN_CRASH, metrics__string={"crash.background_task_name": "x", **GLEAN_MAIN}), "glean/crash")
    ],
    "other_source": [
        (changed(CRASH, application__version="150.0"), "crash"),
        (changed(GLEAN_CRASH, metrics__string=GLEAN_MAIN | {"crash.app_display_version": "149.0"}), "glean/crash"),
    ],
    "application": [
        (changed(CRASH, normalized_app_name="<b>"), "crash"),
        (changed(CRASH, normalized_app_name=ABSENT, application__name=ABSENT), "crash"),
    ],
    "channel": [
        (changed(CRASH, normalized_channel="Other", application__channel=ABSENT), "crash"),
        (changed(CRASH, normalized_channel="<b>"), "crash"),
        (changed(CRASH, normalized_channel=ABSENT, application__channel="default"), "crash"),
        (changed(CRASH, normalized_channel=ABSENT, application__channel=ABSENT), "crash"),
    ],
    "os_name": [
        (changed(CRASH, environment=ABSENT), "crash"),
        (changed(CRASH, environment__system__os__name="<b>"), "crash"),
        (changed(CORE, os="Linux"), "core"),
        (changed(MAIN, environment=ABSENT, os="Android", osversion="23"), "main"),
    ],
    "os_version": [
        (changed(CRASH, environment__system__os__version=ABSENT), "crash"),
        (changed(CRASH, environment__system__os__version="<b>10"), "crash"),
    ],
    "architecture": [
        (changed(CRASH, application__architecture=ABSENT), "crash"),
        (changed(CORE, arch="<b>"), "core"),
    ],
    "build_in_future": [(changed(CRASH, submission_timestamp="2017-09-01T00:00:00Z"), "crash")],
    "build_too_old": [(changed(CRASH, submission_timestamp="2018-09-01T00:00:00Z"), "crash")],
}


@pytest.mark.parametrize(
    ("reason", "document", "document_type"),
    [
        pytest.param(reason, *case, id=f"{reason}-{number}")
        for reason, cases in DOCUMENTS.items()
        for number, case in enumerate(cases)
    ],
)
def test_document_that_does_not_count_says_why(reason: str, document: bytes, document_type: str) -> None:
    ping = rejected(document)
    assert (ping.reason, ping.document_type) == (reason, document_type)


def test_every_reason_of_a_document_has_a_document() -> None:
    of_sources = {"file_vanished", "file_unreadable", "file_corrupt", "messages_lost", "duplicate", "same_crash"}
    assert set(DOCUMENTS) == set(REASONS) - of_sources


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"[NaN]", "not_json"),  # before not_an_object
        (CRASH_TEXT.replace(b'"main"', b'7, "a": "\xff"'), "not_json"),  # before wrong_type
        (changed(CRASH, type="event", application=5), "not_counted"),  # before wrong_type
        (changed(CRASH, submission_timestamp="x", normalized_channel="x"), "submission_time"),
        (changed(CRASH, application={"name": "x"}, payload=ABSENT), "version"),
        (
            changed(
                MAIN,
                payload__info__subsessionLength=-1,
                payload__histograms={
                    "BROWSER_SHIM_USAGE_BLOCKED": {"values": {"0": 90_001}},
                    "SLOW_SCRIPT_PAGE_COUNT": {"values": {"0": -1}},
                },
            ),
            "count_negative",
        ),
        (changed(CRASH, payload__processType="gpu", environment__experiments={"<": "x"}), "experiment"),
        (changed(CORE, durations=-1, metadata={}, arch="x"), "uri_missing"),
        (changed(CORE, metadata={}, displayVersion="x"), "display_version"),
        (changed(CRASH, normalized_app_name="x", application__architecture="x"), "other_product"),
    ],
)
def test_ping_with_several_faults_is_rejected_for_the_first_in_the_contract(document: bytes, reason: str) -> None:
    assert rejected(document).reason == reason


def test_ping_of_8_mib_counts_and_one_byte_more_does_not() -> None:
    room = 8 * 1024 * 1024 - len(changed(CRASH, unread=""))
    assert accepted(changed(CRASH, unread="x" * room)).document_type == "crash"
    assert rejected(changed(CRASH, unread="x" * (room + 1))).reason == "too_large"


def test_name_of_200_characters_is_not_too_long() -> None:
    assert dimension(accepted(changed(CRASH, normalized_country_code="\U0001f600" * 200)), "country") == "??"
    assert rejected(changed(CRASH, normalized_country_code="\U0001f600" * 201)).reason == "too_long"


def test_what_is_not_read_need_only_have_the_form_of_json() -> None:
    unread = b'}, "unread": ["\xff", ' + b"9" * 5000 + b', 1e999, "\\ud83d\\ude00", "\\u0000", "\xc2\x85", -0.0]}'
    assert read(CRASH_TEXT[:-2] + unread) == read(CRASH_TEXT)


HALVES = [
    *(
        rb"\ud83d",
        rb"\udc00",
        rb"\uD83D and on",
        rb"and \uDE00 on",
        rb"\ud83d\ud83d",
        rb"\udc00\ud83d\n",
        rb"\ud83d\\ude00",
    ),
    *(rb"\ud83d\ude00\ude00", rb"\ud83d\ud83d\ude00", rb"\\\ud83d", rb"\\ud83d\ude00", rb"\\\ud83d\n\\ude00"),
]


@pytest.mark.parametrize("half", HALVES)
def test_half_a_surrogate_pair_harms_only_where_it_is_read(half: bytes) -> None:
    for unread in (b'"%s"' % half, b'{"%s": ["%s"]}' % (half, half)):
        assert read(CRASH_TEXT[:-2] + b'}, "unread": ' + unread + b"}") == read(CRASH_TEXT)
    assert read(CRASH_TEXT[:-2] + b'}, "%s": 1}' % half) == read(CRASH_TEXT)
    assert rejected(CRASH_TEXT.replace(b'"main"', b'"%s"' % half)).reason == "not_json"


@pytest.mark.parametrize("sound", [rb"\\ud83d", rb"\\\\udc00", rb"\ud83d\ude00", rb"\\\ud83d\ude00"])
def test_escaped_backslash_and_whole_surrogate_pair_are_plain_text(sound: bytes) -> None:
    half = CRASH_TEXT[:-2] + rb'}, "unread": "\ud800"}'  # the document is looked at a second time
    assert rejected(half.replace(b'"main"', b'"%s"' % sound)).reason == "process_type"


def test_ping_with_half_a_surrogate_pair_is_rejected_for_what_is_wrong_with_it() -> None:
    names = {"cut \ud83d": {"values": {"0": 1}}}
    ping = changed(MAIN, payload__histograms=names, payload__keyedHistograms={"x": names}, normalized_channel="x")
    assert rejected(ping).reason == "channel"
    assert rejected(ping.replace(rb"\ud83d", b"\xff")).reason == "channel"
    assert rejected(MARK + ping).reason == "channel"


def test_long_run_of_backslashes_before_half_a_surrogate_pair_is_read_once() -> None:
    began = time.perf_counter()
    document = (
        CRASH_TEXT[:-2] + b'}, "unread": ["' + b"\\" * 4_000_000 + rb' \ud800", "' + b"\\" * 2_000_001 + rb'ud800"]}'
    )
    assert read(document) == read(CRASH_TEXT)
    assert time.perf_counter() - began < 60  # reading the run anew from each backslash would take days


@pytest.mark.parametrize("before", [MARK, MARK + b" \r\n\t", MARK + MARK, b" \n" + MARK + b"\n" + MARK + b" "])
def test_byte_order_mark_before_a_document_is_passed_over(before: bytes) -> None:
    assert read(before + CRASH_TEXT) == read(CRASH_TEXT)
    assert rejected(before + changed(CRASH, payload=7)) == rejected(changed(CRASH, payload=7))
    assert rejected(before + b"[]").reason == "not_an_object"
    assert rejected(before + changed(MAIN, normalized_channel="x")).reason == "channel"


def test_byte_order_mark_after_a_document_is_no_json() -> None:
    assert rejected(CRASH_TEXT + MARK).reason == "not_json"


@pytest.mark.parametrize(("seconds", "usage"), [(b"-0", 0), (b"0", 0), (b"3600", 3600)])
def test_whole_number_may_be_a_negative_zero(seconds: bytes, usage: int) -> None:
    ping = accepted(changed(MAIN, payload__info__subsessionLength=12345).replace(b"12345", seconds))
    assert ping.counts.usage_seconds == usage


def test_escaped_name_is_the_name_it_stands_for() -> None:
    assert read(CRASH_TEXT.replace(b'"type"', rb'"ty\u0070e"')) == read(CRASH_TEXT)


def test_last_of_members_with_the_same_name_counts_and_all_are_checked() -> None:
    assert read(CRASH_TEXT.replace(b'"type"', b'"type": "main", "type"')) == read(CRASH_TEXT)
    assert rejected(CRASH_TEXT.replace(b'"type"', b'"type": 7, "type"')).reason == "wrong_type"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2017-10-02T14:00:00z", "2017-10-02T14:00:00Z"),
        ("2017-10-02t14:00:00.5-00:00", "2017-10-02T14:00:00.5Z"),
        ("2017-12-31T23:59:60z", "2018-01-01T00:00:00Z"),
    ],
)
def test_times_in_any_form_of_rfc_3339_count(text: str, moment: str) -> None:
    assert read(changed(CRASH, submission_timestamp=text)) == read(changed(CRASH, submission_timestamp=moment))
    bare = [changed(CRASH, submission_timestamp=ABSENT, creationDate=said) for said in (text, moment)]
    assert read(bare[0]) == read(bare[1])
    used = [changed(MAIN, payload__info__subsessionStartDate=said) for said in (text, moment)]
    assert accepted(used[0]) == accepted(used[1])


@pytest.mark.parametrize("kind", KINDS)
def test_markup_from_a_stranger_enters_no_dimension(kind: str) -> None:
    markup = "<script>alert(1)</script>"

    def places(below: dict[str, Any], path: str = "") -> Iterator[str]:
        for name, value in below.items():
            if isinstance(value, dict):
                yield from places(value, f"{path}{name}__")
            elif isinstance(value, str):
                yield path + name

    paths = list(places(KINDS[kind]))
    assert len(paths) >= 10
    for path in paths:
        ping = read(changed(KINDS[kind], **{path: markup}))
        said = [ping.document_type, *(ping.dimensions if isinstance(ping, Ping) else [ping.reason])]
        assert not any("<" in text for text in said)


@pytest.mark.parametrize("depth", range(900, 1010, 2))
def test_nesting_near_the_limit_raises_nothing(depth: int) -> None:
    for document in (
        b'{"type":"crash","payload":7,"metadata":' + b'{"a":' * depth + b"1" + b"}" * (depth + 1),
        b"[" * depth + b"]" * depth,
    ):
        assert rejected(document).reason in ("wrong_type", "not_an_object", "too_deep")


def test_rejected_ping_keeps_its_time_of_submission() -> None:
    assert rejected(changed(CRASH, payload=7)).submitted_us == SUBMITTED_US
    assert rejected(changed(CRASH, normalized_channel="x")).submitted_us == SUBMITTED_US
    assert rejected(b"no text").submitted_us is None
    assert rejected(changed(CRASH, submission_timestamp="x")).submitted_us is None


BARE = {"submission_timestamp": ABSENT, "creationDate": "1970-01-01T00:00:00Z", "created": "2031-01-01"}


@pytest.mark.parametrize(
    "document",
    [
        changed(CRASH, payload=7, **BARE | {"creationDate": "2031-01-01T00:00:00Z"}),
        changed(CRASH, type="other", **BARE | {"creationDate": "2031-01-01T00:00:00Z"}),
        changed(CRASH, normalized_channel="x", **BARE | {"creationDate": "2031-01-01T00:00:00Z"}),
        changed(CORE, durations=-1, **BARE | {"creationDate": ABSENT}),
        changed(CRASH, **BARE),
    ],
)
def test_client_does_not_choose_the_window_of_its_rejected_document(document: bytes) -> None:
    assert rejected(document).submitted_us is None
    told = Envelope(submitted_at=datetime(2017, 10, 3, tzinfo=UTC))
    ping = decode(document, told, SUBMITTED_US)
    assert ping.submitted_us == told.submitted_us
