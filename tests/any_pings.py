"""Strategies for pings of every kind, good and bad, and for the bytes that come in their place."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from streaming import contract
from tests.plain_loop import COUNTED

BUILT = datetime(2017, 9, 26, 19, 8, 23, tzinfo=UTC)
EXPERIMENTS = ["a", "pref-flip-1", "{e9a3}@mozilla", "x" * 100]
BAD_EXPERIMENTS = ["<b>", "", "x" * 101, "é", "a'b"]
ABSENT = "absent"
TYPES: list[Any] = [None, True, 5, 1.5, -3, 10**30, "text", "", [], [1], {}, {"a": 1}]
PATHS = [
    *("submission_timestamp", "normalized_channel", "normalized_country_code", "metadata", "type", "creationDate"),
    *("metadata.document_type", "metadata.geo", "metadata.geo.country", "metadata.uri", "metadata.uri.app_name"),
    *("metadata.uri.app_version", "metadata.uri.app_build_id", "application", "application.name", "payload"),
    *("application.displayVersion", "environment", "environment.build", "environment.build.version", "payload.info"),
    *("environment.system.os", "environment.experiments", "environment.experiments.a", "environment.addons"),
    *("environment.addons.activeExperiment", "environment.addons.activeExperiment.id", "payload.info.subsessionLength"),
    *("payload.info.subsessionStartDate", "payload.histograms", "payload.histograms.SLOW_SCRIPT_PAGE_COUNT.values"),
    *("payload.histograms.OTHER", "payload.keyedHistograms.SUBPROCESS_CRASHES_WITH_DUMP", "payload.metadata"),
    *("payload.keyedHistograms.SUBPROCESS_CRASHES_WITH_DUMP.gpu", "payload.metadata.StartupCrash", "payload.unread"),
    *(
        "payload.processType",
        "document_id",
        "v",
        "os",
        "osversion",
        "arch",
        "displayVersion",
        "durations",
        "created",
        "unread",
    ),
]


def mostly(good: list[Any], bad: list[Any]) -> st.SearchStrategy[Any]:
    """One of the good values, of a dozen times one of the bad ones."""
    return st.integers(0, 11).flatmap(lambda number: st.sampled_from(bad if number == 11 else good))


VERSIONS = mostly(
    ["56.0", "56.0.1", "52.4.0esr", "57.0a1", "1000.0"], ["", "56", "10000.0", "<b>", "56.0 ", "1.2.3.4.5", "٥٦.٠"]
)
DISPLAY_VERSIONS = mostly(["", "56.0b3", "56.0", "1234.0b5"], ["baddisplayversion", "56.0b"])
BUILD_IDS = mostly(["20170926190823"], ["", "2017092619", "20170230000000", "20170101000000", "20180926190823"])
ARCHITECTURES = mostly(["x86", "x86-64", "armeabi-v7a"], ["", "z80"])
SYSTEMS = mostly(["Windows_NT", "Darwin", "Linux", "Android"], ["", "BeOS", "linux"])
SYSTEM_VERSIONS = mostly(["10.0", "10.2.42-hello", "6.1.7601.1", "23"], ["", "x", "1." + "9" * 20])
APPLICATIONS = mostly(["Firefox", "Fennec"], ["", "SeaMonkey"])
CHANNELS = mostly([*contract.FIREFOX.channel_names], ["", "Other", "default"])
COUNTRIES = mostly(["DE", "FR", "??"], ["", "XX", "<i>", "de"])
PROCESSES = mostly(["main", "content", ""], ["gpu", "plugin"])
SECONDS = mostly([0, 1, 3600, 86_400, 90_000, 90_001, 10**25], [None, -1])
EVENTS = mostly([0, 1, 7, 90_000], [-1, 90_001, -(10**20)])
TIMES = mostly(
    [
        *("2017-10-02T14:00:00Z", "2017-10-02T14:04:59.999999Z", "2017-10-02T14:05:00+00:00", "2017-10-03T01:30+02:00"),
        *("2017-10-01T23:59:59.999Z", "2017-09-26T19:08:23Z", "2018-03-26T19:08:23Z", "2017-12-31"),
        *("2017-10-02T14:00:00z", "2017-10-02t14:00:00.123456789z", "2017-10-02 14:00:00,5-00:00", "20171002T140000Z"),
        *("2017-12-31T23:59:60Z", "2017-12-31t23:59:60.5z", "2017-12-31T15:59:60-08:00", "2017-10-31T23:59:60"),
    ],
    [
        "2017-09-26T19:08:22.999999Z",
        "2018-03-26T19:08:23.000001Z",
        "yesterday",
        "1999-12-31",
        "2101-01-01",
        "9999-12-31",
        *("2017-10-02T14:01:60Z", "2017-12-31T23:59:60+01:00", "2017-12-31T23:59:61Z", " 2017-10-02", "14Zz"),
    ],
)
HISTOGRAM = st.fixed_dictionaries({"values": st.fixed_dictionaries({}, optional={"0": EVENTS, "1": st.just(0)})})


def objects(required: dict[str, Any] | None = None, **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required or {}, optional=optional)


ENROLMENTS = st.dictionaries(
    mostly(EXPERIMENTS, BAD_EXPERIMENTS),
    mostly([{"branch": "on"}, {"branch": "off", "type": "x"}, "on", {}], [{"branch": "<"}, "é"]),
    max_size=3,
) | st.just({f"e{number}": "on" for number in range(101)})
ENVIRONMENT = objects(
    {"system": objects({"os": objects({"name": SYSTEMS, "version": SYSTEM_VERSIONS})})},
    build=objects(version=VERSIONS, buildId=BUILD_IDS, architecture=ARCHITECTURES, displayVersion=DISPLAY_VERSIONS),
    experiments=ENROLMENTS,
    addons=objects(
        activeExperiment=objects(id=mostly(EXPERIMENTS, BAD_EXPERIMENTS), branch=st.sampled_from(["on", "off", ""]))
    ),
)
APPLICATION = objects(
    {"name": APPLICATIONS, "version": VERSIONS, "buildId": BUILD_IDS, "architecture": ARCHITECTURES},
    channel=CHANNELS,
    displayVersion=DISPLAY_VERSIONS,
)
METADATA = objects(
    document_type=st.sampled_from(["main", "crash", "core", ""]),
    document_namespace=mostly(["telemetry"], ["", "my-product"]),
    geo=objects(country=COUNTRIES),
    uri=objects(app_name=APPLICATIONS, app_version=VERSIONS, app_update_channel=CHANNELS, app_build_id=BUILD_IDS),
)
URI = objects({"app_name": APPLICATIONS, "app_version": VERSIONS, "app_build_id": BUILD_IDS})
PLAIN_NAMES = [keys[2] for _, keys in COUNTED if keys[1] == "histograms"]
MAIN_PAYLOAD = objects(
    {"info": objects({"subsessionLength": SECONDS}, subsessionStartDate=TIMES)},
    histograms=objects(**dict.fromkeys(PLAIN_NAMES, HISTOGRAM), OTHER=HISTOGRAM | st.just({"values": {"foo": 1}})),
    keyedHistograms=objects(
        SUBPROCESS_CRASHES_WITH_DUMP=objects(gpu=HISTOGRAM, plugin=HISTOGRAM, gmplugin=HISTOGRAM, content=HISTOGRAM)
    ),
)
CRASH_PAYLOAD = objects(
    processType=PROCESSES,
    metadata=objects(
        StartupCrash=st.sampled_from(["1", "0", "true"]), ipc_channel_error=st.sampled_from(["ShutDownKill", "x"])
    ),
)
ENVELOPE = {
    "submission_timestamp": TIMES,
    "normalized_channel": CHANNELS,
    "normalized_app_name": APPLICATIONS,
    "normalized_country_code": COUNTRIES,
}
OUTER = {**ENVELOPE, "creationDate": TIMES, "unread": st.sampled_from(["ä", [[[]]], 1.5, None, "type"])}
MAIN = objects(
    {"type": st.just("main"), "application": APPLICATION, "environment": ENVIRONMENT, "payload": MAIN_PAYLOAD},
    metadata=METADATA,
    **OUTER,
)
CRASH = objects(
    {"type": st.just("crash"), "application": APPLICATION, "environment": ENVIRONMENT, "payload": CRASH_PAYLOAD},
    metadata=METADATA,
    **OUTER,
)
CORE = objects(
    {
        "v": st.sampled_from([9, 10]),
        "os": mostly(["Android"], ["Linux", ""]),
        "osversion": SYSTEM_VERSIONS,
        "arch": ARCHITECTURES,
        "durations": SECONDS,
        "metadata": objects({"uri": URI | st.just({})}, geo=objects(country=COUNTRIES)),
    },
    displayVersion=DISPLAY_VERSIONS,
    created=TIMES,
    environment=ENVIRONMENT,
    **ENVELOPE,
)
OTHER = objects({"type": st.sampled_from(["", "event", "<b>"])}, payload=MAIN_PAYLOAD, **ENVELOPE)


def sound(kind: str, second: int, seconds: int, events: int, country: str) -> dict[str, Any]:
    """A ping without any fault, submitted some seconds after its build."""
    submitted = BUILT + timedelta(seconds=second)
    started = submitted - timedelta(seconds=seconds + events)
    build = {"version": "56.0", "buildId": "20170926190823", "architecture": "x86-64"}
    ping: dict[str, Any] = {"submission_timestamp": submitted.isoformat(), "normalized_country_code": country}
    ping["normalized_channel"] = "release"
    if kind == "core":
        uri = {"app_name": "Fennec", "app_version": "56.0", "app_build_id": "20170926190823"}
        core = {"v": 10, "os": "Android", "osversion": "23", "arch": "armeabi-v7a", "durations": seconds}
        return ping | core | {"metadata": {"uri": uri}}
    system = {"os": {"name": "Linux", "version": "4.13.0"}}
    ping |= {"type": kind, "application": {"name": "Firefox", **build}}
    ping["environment"] = {"system": system, "experiments": {"a": {"branch": "on"}} if events else {}}
    if kind == "crash":
        return ping | {"payload": {"processType": "content" if events else "main"}}
    histograms = {"SLOW_SCRIPT_PAGE_COUNT": {"values": {"0": events}}}
    info = {"subsessionLength": seconds, "subsessionStartDate": started.isoformat()}
    return ping | {"payload": {"info": info, "histograms": histograms}}


SOUND = st.builds(
    sound,
    st.sampled_from(["main", "crash", "core"]),
    st.integers(0, 15_000_000),
    st.integers(0, 100_000),
    st.integers(0, 90_000),
    st.sampled_from(["DE", "FR", "XX"]),
)


def changed(ping: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The ping with another value at a path, or without it; as it is where there is no such path."""
    copy = json.loads(json.dumps(ping))
    *parents, name = path.split(".")
    below = copy
    for parent in parents:
        below = below.get(parent) if isinstance(below, dict) else None
    if isinstance(below, dict):
        below[name] = value
        if value is ABSENT:
            del below[name]
    return copy


PINGS = SOUND | MAIN | CRASH | CORE | OTHER
VALUES = st.just(ABSENT) | st.sampled_from([*TYPES, "y" * 200, "y" * 201])
CHANGED = st.builds(changed, SOUND | MAIN | CRASH | CORE, st.sampled_from(PATHS), VALUES)
CHANGED_TWICE = st.builds(changed, CHANGED, st.sampled_from(PATHS), VALUES)


def text_of(ping: dict[str, Any], ascii_only: bool) -> bytes:
    return json.dumps(ping, ensure_ascii=ascii_only).encode()


SURROGATES = [  # escaped: pairs, halves of pairs, and what only looks like one behind escaped backslashes
    *(b'"\\uD83D\\uDE00\\uDE00"', b'"\\ud83d\\ud83d\\ude00"', b'"\\udc00\\ud83d"', b'"\\ud83d\\n on"'),
    *(b'"\\\\ud83d"', b'"\\\\\\ud83d"', b'"\\\\ud83d\\ude00"', b'"\\\\\\ud83d\\ude00"', b'"\\ud83d\\\\ude00"'),
]
WHOLE = st.builds(text_of, PINGS | CHANGED | CHANGED_TWICE, st.booleans())
CUT = st.builds(lambda document, share: document[: 1 + int(share * len(document))], WHOLE, st.floats(0, 1))
PUT = st.builds(  # some bytes in place of, or into, a text
    lambda document, old, new: document.replace(old, new),
    WHOLE,
    st.sampled_from([b'"56.0"', b'"release"', b'"DE"', b'"main"', b'"type"', b"3600", b'"a"', b'"unread"', b"}}"]),
    st.sampled_from(
        [
            *(b"NaN", b"-Infinity", b"1.0", b"1e400", b"9" * 4301, b"01", b"", b"null", b"tru", b"[" * 5000, b"{}"),
            *(b'"\xff"', b'"\\ud800"', b'"\\udc00"', b'"\\ud83d\\ude00"', b'"\x01"', b'"\\x"', b'"\xc3\xa4"'),
            *(b"3600.0", b"3.6e3", b"-0", b"-0.0", b'"ty\\u0070e"', b'"\\u0000"', b'"\xc2\x85"', b'"\xed\xa0\xbd"'),
            *SURROGATES,
        ]
    ),
)
REPEATED = st.builds(  # a member before all others, with the name of another
    lambda document, name, value: b"{" + f"{json.dumps(name)}: {json.dumps(value)}, ".encode() + document[1:],
    WHOLE,
    st.sampled_from([path for path in PATHS if "." not in path]),
    st.sampled_from(TYPES),
)
MARKED = st.builds(
    lambda marks, document: marks + document,
    st.sampled_from([b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf ", b"\xef\xbb\xbf \t\r"]),
    WHOLE | PUT,
)
NO_OBJECTS = st.sampled_from([b"[1]", b"5", b"null", b'"type"', b"[NaN]", b"[1", b"{", b"}", b"{}", b"\0", b"no text"])
DEEP = st.sampled_from([b"[" * 5000, b'{"type":"crash","a":' + b"[" * 5000 + b"]" * 5000 + b"}"])
ANY_BYTES = st.binary(min_size=1, max_size=40)


def is_one_line(document: bytes) -> bool:
    """Whether it is a document in a file of lines as well: it has no line end, no blanks around it and is not blank."""
    content = document.replace(b"\xef\xbb\xbf", b"").strip()
    return document == document.strip() and content != b"" and b"\n" not in document


SPOILT = CUT | PUT | PUT | REPEATED | MARKED
DOCUMENTS = (WHOLE | WHOLE | WHOLE | SPOILT | NO_OBJECTS | DEEP | ANY_BYTES).filter(is_one_line)
