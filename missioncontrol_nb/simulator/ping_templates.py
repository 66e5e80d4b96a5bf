"""Single pings of the simulated fleet in the ingestion pipeline's output form: envelope and client document in one.

Almost all of a ping is the same in all pings and is written once, as a template. Only the counts, the sender and the
time differ. This makes thousands of pings per second cheap.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np

from missioncontrol_nb.simulator import ping_bodies
from missioncontrol_nb.simulator.builds import Build
from missioncontrol_nb.simulator.population import Experiment
from streaming import contract

PEOPLE = ("country", "os_version", "architecture")
RANDOM_BYTES = 64
TEMPLATES = 12  # Of main pings, for each platform
ABIS = {"Windows_NT": "msvc", "Darwin": "gcc3", "Linux": "gcc3", "Android": "gcc3"}
LOCALES = {
    "DE": "de",
    "FR": "fr",
    "RU": "ru",
    "BR": "pt-BR",
    "PL": "pl",
    "IT": "it",
    "CN": "zh-CN",
    "JP": "ja",
    "ES": "es-ES",
}
Template = bytes
Fields = Mapping[bytes, bytes]
_TEMPLATE_RNG_SEED = 20171003
_MARK = re.compile(rb'"@@(\w+)@@":0|"@@#(\w+)@@"|@@(\w+)@@')
_HISTOGRAM = b'"%s":{"range":[1,2],"bucket_count":3,"histogram_type":4,"values":{"0":%d,"1":0},"sum":%d}'
# The measures in histograms of main pings: the name of each, with the histogram's name and, for a keyed one, its key.
_COUNTED = [
    (measure.name, [key.encode() for key in source.at.split("/")[3:-2]])
    for measure in contract.MEASURES
    for source in measure.sources
    if isinstance(source, contract.Count)
    and source.at.startswith(("/payload/histograms/", "/payload/keyedHistograms/"))
]


def main_ping(os_name: str, number: int, fields: Fields) -> bytes:
    """A main ping of the platform; number: selects one of TEMPLATES."""
    return _main_template(os_name, number % TEMPLATES) % fields


def crash_ping(os_name: str, fields: Fields) -> bytes:
    """A crash ping of the platform."""
    return _crash_template(os_name) % fields


def core_ping(fields: Fields) -> bytes:
    """A core ping."""
    return _core_template() % fields


def histogram_fields(events: Mapping[str, int], of_processes: Mapping[str, int] = MappingProxyType({})) -> Fields:
    """The fields of a main ping with the counts of measures.

    of_processes: crashes by process that no measure counts in main pings.
    """
    plain = b""
    keyed: dict[bytes, list[bytes]] = {}
    if crashed := [_HISTOGRAM % (name.encode(), count, count) for name, count in of_processes.items() if count]:
        keyed[b"SUBPROCESS_CRASHES_WITH_DUMP"] = crashed
    for measure, names in _COUNTED:
        if count := events.get(measure, 0):
            histogram = _HISTOGRAM % (names[-1], count, count)
            if len(names) == 1:
                plain += histogram + b","
            else:
                keyed.setdefault(names[0], []).append(histogram)
    by_key = b"".join(b'"%s":{%s},' % (name, b",".join(histograms)) for name, histograms in keyed.items())
    return {b"histograms": plain, b"keyed_histograms": by_key}


def crash_fields(measure: str, is_at_startup: bool, moment: float) -> dict[bytes, bytes]:
    """The fields of a crash ping about its crash, which happened before the moment (seconds since 1970)."""
    metadata = b'"StartupCrash":"1",' if is_at_startup else b'"StartupCrash":"0",'
    if measure == "content_shutdown_crashes":
        metadata = b'"ipc_channel_error":"ShutDownKill",'
    return {
        b"process_type": b"main" if measure == "main_crashes" else b"content",
        b"crash_metadata": metadata,
        b"crash_hour": time_text(moment // 3600 * 3600, "milliseconds"),
        b"crash_seconds": b"%d" % moment,
    }


def common_fields(
    build: Build, user: Mapping[str, str], enrolment: tuple[Experiment, str] | None, moment: float, random: bytes
) -> dict[bytes, bytes]:
    """The fields of all kinds of pings about their build, user and moment (seconds since 1970).

    user: values of PEOPLE; enrolment: an experiment and the user's branch; random: RANDOM_BYTES bytes.
    """
    identity = random.hex()
    experiments, active = _experiment_fields(enrolment)
    created = time_text(moment, "milliseconds")
    return _build_fields(build) | {
        b"country": user["country"].encode(),
        b"os_version": user["os_version"].encode(),
        b"architecture": user["architecture"].encode(),
        b"abi": f"{user['architecture']}-{ABIS[build.os_name]}".encode(),
        b"locale": LOCALES.get(user["country"], "en-US").encode(),
        b"submitted": time_text(moment, "microseconds"),
        b"created": created,
        b"crash_date": created[:10],
        b"date": formatdate(moment, usegmt=True).encode(),
        b"document_id": as_uuid(identity),
        b"client_id": as_uuid(identity[32:]),
        b"session_id": as_uuid(identity[64:]),
        b"hash": identity[32:].encode(),
        b"sample_id": b"%d" % (random[16] % 100),
        b"reason": b"shutdown",
        b"timezone": b"0",
        b"session_number": b"%d" % (1 + random[17]),
        b"experiments": experiments,
        b"active_experiment": active,
    }


@lru_cache(1024)
def _build_fields(build: Build) -> dict[bytes, bytes]:
    names = ("application", "channel", "version", "display_version", "build_id")
    return {name.encode(): getattr(build, name).encode() for name in names}


def _experiment_fields(enrolment: tuple[Experiment, str] | None) -> tuple[bytes, bytes]:
    """Members of `environment.experiments`, and `environment.addons.activeExperiment`."""
    if enrolment is None:
        return b"", b"{}"
    experiment, branch = enrolment
    if experiment.is_old_kind:
        return b"", json.dumps({"id": experiment.id, "branch": branch}).encode()
    return json.dumps({experiment.id: {"branch": branch}})[1:-1].encode() + b",", b"{}"


def as_uuid(text: str) -> bytes:
    """32 hexadecimal digits in the form of a UUID."""
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}".encode()


def time_text(moment: float, precision: str) -> bytes:
    """A moment (seconds since 1970) in the format of pings, in `milliseconds` or `microseconds`."""
    return datetime.fromtimestamp(moment, UTC).replace(tzinfo=None).isoformat(timespec=precision).encode() + b"Z"


def _as_template(document: ping_bodies.Document) -> Template:
    """Bytes with `%(name)s` where the document has marks.

    "@@name@@" stands for text, "@@#name@@" for a JSON value. The member "@@name@@": 0, which is never the last one,
    stands for any number of members of the object, each followed by a comma.
    """
    text = json.dumps(document, separators=(",", ":")).encode().replace(b"%", b"%%")
    text = re.sub(rb'("@@\w+@@":0),', rb"\1", text)
    return _MARK.sub(lambda mark: b"%%(%s)s" % (mark[1] or mark[2] or mark[3]), text)


def _envelope(document_type: str, os_name: str) -> ping_bodies.Document:
    return {
        "submission_timestamp": "@@submitted@@",
        "document_id": "@@document_id@@",
        "metadata": {
            "document_namespace": "telemetry",
            "document_type": document_type,
            "document_version": "10" if document_type == "core" else "4",
            "geo": {"country": "@@country@@", "db_version": "2017-10-01T00:00:00Z"},
            "header": {"date": "@@date@@", "x_pingsender_version": "1.0"},
            "isp": {"db_version": "2017-10-01T00:00:00Z"},
            "uri": {
                "app_build_id": "@@build_id@@",
                "app_name": "@@application@@",
                "app_update_channel": "@@channel@@",
                "app_version": "@@version@@",
            },
            "user_agent": {"browser": "pingsender", "version": "1.0", "os": _NORMALIZED_OS[os_name]},
        },
        "normalized_app_name": "@@application@@",
        "normalized_channel": "@@channel@@",
        "normalized_country_code": "@@country@@",
        "normalized_os": _NORMALIZED_OS[os_name],
        "normalized_os_version": "@@os_version@@",
        "sample_id": "@@#sample_id@@",
    }


_NORMALIZED_OS = {"Windows_NT": "Windows", "Darwin": "Mac", "Linux": "Linux", "Android": "Android"}


def _client(document_type: str) -> ping_bodies.Document:
    return {
        "type": document_type,
        "id": "@@document_id@@",
        "creationDate": "@@created@@",
        "version": 4,
        "clientId": "@@client_id@@",
        "application": ping_bodies.application(),
    }


@cache
def _main_template(os_name: str, number: int) -> Template:
    rng = np.random.default_rng([_TEMPLATE_RNG_SEED, number, contract.FIREFOX.os_names.index(os_name)])
    size = int(20 + 75 * number / TEMPLATES)  # Histograms per process, for pings of 20 to 60 kB
    payload: ping_bodies.Document = {
        "ver": 4,
        "info": _info(),
        "histograms": {"@@histograms@@": 0, **ping_bodies.histograms(rng, size)},
        "keyedHistograms": {"@@keyed_histograms@@": 0, "SEARCH_COUNTS": {}},
        "processes": {
            "parent": {"scalars": {"browser.engagement.total_uri_count": int(rng.integers(1, 300))}},
            "content": {"histograms": ping_bodies.histograms(rng, size), "keyedHistograms": {}, "scalars": {}},
        },
        "simpleMeasurements": ping_bodies.simple_measurements(rng),
    }
    document = _envelope("main", os_name) | _client("main")
    return _as_template(document | {"environment": ping_bodies.environment(rng, os_name, True), "payload": payload})


def _info() -> ping_bodies.Document:
    return {
        "reason": "@@reason@@",
        "revision": "https://hg.mozilla.org/releases/mozilla-release/rev/c9a9d7a4aa1e",
        "timezoneOffset": "@@#timezone@@",
        "previousBuildId": None,
        "sessionId": "@@session_id@@",
        "subsessionId": "@@session_id@@",
        "previousSessionId": "@@client_id@@",
        "subsessionCounter": 1,
        "profileSubsessionCounter": "@@#session_number@@",
        "sessionStartDate": "@@started@@",
        "subsessionStartDate": "@@started@@",
        "sessionLength": "@@#length@@",
        "subsessionLength": "@@#length@@",
    }


@cache
def _crash_template(os_name: str) -> Template:
    rng = np.random.default_rng([_TEMPLATE_RNG_SEED, contract.FIREFOX.os_names.index(os_name)])
    environment = ping_bodies.environment(rng, os_name, False)
    if os_name == "Android":
        environment["system"]["os"]["name"] = "Linux"  # As Fennec reports
    payload = {
        "version": 1,
        "crashDate": "@@crash_date@@",
        "crashTime": "@@crash_hour@@",
        "crashId": "@@session_id@@",
        "sessionId": "@@client_id@@",
        "minidumpSha256Hash": "@@hash@@",
        "processType": "@@process_type@@",
        "hasCrashEnvironment": True,
        "metadata": {
            "@@crash_metadata@@": 0,
            "ProductName": "@@application@@",
            "ProductID": ping_bodies.FENNEC_ID if os_name == "Android" else ping_bodies.FIREFOX_ID,
            "Version": "@@version@@",
            "BuildID": "@@build_id@@",
            "ReleaseChannel": "@@channel@@",
            "CrashTime": "@@crash_seconds@@",
            "UptimeTS": "@@length@@.25",
        },
        "stackTraces": _stack_traces(rng),
    }
    return _as_template(
        _envelope("crash", os_name) | _client("crash") | {"environment": environment, "payload": payload}
    )


def _stack_traces(rng: np.random.Generator) -> ping_bodies.Document:
    frames = [
        {"ip": f"0x{rng.integers(2**40, 2**44):x}", "module_index": int(rng.integers(0, 3)), "trust": "cfi"}
        for _ in range(5)
    ]
    modules = [
        {
            "base_addr": "0x7ff9a0b00000",
            "end_addr": "0x7ff9a4b10000",
            "code_id": rng.bytes(6).hex().upper(),
            "debug_file": f"{name}.pdb",
            "debug_id": rng.bytes(16).hex().upper() + "1",
            "filename": name,
            "version": "@@version@@",
        }
        for name in ("xul", "mozglue", "firefox")
    ]
    crash_info = {"type": "EXCEPTION_ACCESS_VIOLATION_READ", "address": "0x0", "crashing_thread": 0}
    return {
        "status": "OK",
        "crash_info": crash_info,
        "main_module": 2,
        "modules": modules,
        "threads": [{"frames": frames}],
    }


@cache
def _core_template() -> Template:
    document: dict[str, Any] = {
        "v": 10,
        "clientId": "@@client_id@@",
        "seq": "@@#session_number@@",
        "locale": "@@locale@@",
        "os": "Android",
        "osversion": "@@os_version@@",
        "arch": "@@architecture@@",
        "device": "LGE-Nexus 5",
        "created": "@@crash_date@@",
        "tz": 0,
        "profileDate": 17240,
        "sessions": 1,
        "durations": "@@#length@@",
        "displayVersion": "@@display_version@@",
        "defaultSearch": "google-nocodes",
        "defaultBrowser": True,
        "experiments": ["activity-stream-opt-out", "bookmark-history-menu", "offline-cache"],
        "accessibilityServices": [],
    }
    return _as_template(_envelope("core", "Android") | document)
