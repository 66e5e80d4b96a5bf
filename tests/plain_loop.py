"""The sums of all tables by one plain loop over dicts: what streaming's sums must equal.

It is written from the rules and shares no code with streaming but the names that streaming/contract declares.
"""

import calendar
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from streaming import contract
from streaming.pings.kinds import REASONS

Sums = dict[str, dict[tuple[Any, ...], tuple[Any, ...]]]
MARK = b"\xef\xbb\xbf"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIVE_MINUTES_US, HOUR_US = 300_000_000, 3_600_000_000
VERSION = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4}){1,3}(?:(?:a|b|rc)[0-9]{1,3}|esr)?")
OS_VERSION = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:\.[0-9]+)?")
LINUX_VERSION = re.compile(r"[0-9]+(?:\.[0-9]+)?")
EXPERIMENT = re.compile(r"[A-Za-z0-9@{_][A-Za-z0-9 ._:@{}+/-]{0,99}")
# The measures whose events stand in main pings, with the keys that lead there.
COUNTED = [
    (measure.name, tuple(source.at.split("/")[1:]))
    for measure in contract.MEASURES
    for source in measure.sources
    if isinstance(source, contract.Count)
]
PASSED_OVER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", re.ASCII)
APPLICATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}", re.ASCII)
# What Glean's crash pings report since Firefox 150, and no main ping counts since then.
OF_GLEAN = {"gpu_crashes", "gmplugin_crashes"}


def texts(names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), str)


# What is read of a ping: names to what stands there. `None`: a whole number or null.
HISTOGRAM = {"values": {"0": int}}
EXPERIMENTS = "experiments"
READ: dict[str, Any] = {
    **texts("submission_timestamp normalized_app_name normalized_channel normalized_country_code type creationDate"),
    **texts("document_id"),
    **texts("os osversion arch displayVersion created"),
    "v": None,
    "durations": None,
    "metadata": {
        "document_namespace": str,
        "document_type": str,
        "uri": texts("app_name app_version app_update_channel app_build_id"),
        "geo": texts("country"),
    },
    "application": texts("name version displayVersion buildId channel architecture"),
    "environment": {
        "build": texts("applicationName version displayVersion buildId architecture"),
        "system": {"os": texts("name version")},
        "addons": {"activeExperiment": texts("id branch")},
        "experiments": EXPERIMENTS,
    },
    "payload": {
        "info": {"subsessionLength": None, "subsessionStartDate": str},
        "histograms": {keys[2]: HISTOGRAM for _, keys in COUNTED if keys[1] == "histograms"},
        "keyedHistograms": {
            keys[2]: {others[3]: HISTOGRAM for _, others in COUNTED if others[1:3] == keys[1:3]}
            for _, keys in COUNTED
            if keys[1] == "keyedHistograms"
        },
        "metadata": texts("StartupCrash ipc_channel_error"),
        "processType": str,
    },
}


class StandIn(NamedTuple):
    """What stands in for the envelope of pings that have none."""

    channel: str = ""
    country: str = ""
    submitted_at: datetime | None = None


def plain_sums(documents: Iterable[tuple[bytes, int]], stand_in: StandIn = StandIn()) -> Sums:  # noqa: B008 (immutable)
    """The sums of documents, each with the time of its file in microseconds since 1970; usage in whole seconds.

    Of each table the sums by its keys. A file without any document counts as the document b"".
    """
    tables: dict[str, dict[tuple[Any, ...], list[int]]] = {table.name: {} for table in contract.TABLES}

    def add(table: contract.Table, key: tuple[Any, ...], values: list[int]) -> None:
        sums = tables[table.name].setdefault(key, [0] * len(values))
        sums[:] = [a + b for a, b in zip(sums, values, strict=True)]

    for document, received_us in documents:
        ping = read(document, received_us, stand_in)
        start = window_of(ping["submitted_us"], FIVE_MINUTES_US)
        window = (start.date(), start, start + timedelta(minutes=5))
        if "reason" in ping:
            add(contract.REJECTED_PINGS, (*window, ping["kind"], ping["reason"]), [1])
            continue
        values = [ping["seconds"], 1, *(ping["events"].get(name, 0) for name in contract.MEASURE_NAMES)]
        values += [name == f"{ping['kind']}_pings" for name in contract.PING_COUNTS]
        values += [0]  # of these kinds of ping, none reports how long users were active
        add(contract.ERROR_AGGREGATES, (*window, *(ping[name] for name in contract.DIMENSION_NAMES)), values)
        of_build = ("application", "channel", "version", "display_version", "build_id", "os_name")
        add(contract.COARSE_AGGREGATES, (*window, *(ping[name] for name in of_build)), values)
        of_experiments = tuple(ping[name] for name in ("application", "channel", "version", "os_name", "country"))
        for experiment in ping["experiments"].items():
            add(contract.EXPERIMENT_ERROR_AGGREGATES, (*window, *of_experiments, *experiment), values)
        if ping["used_us"] is not None:
            hour = window_of(ping["submitted_us"], HOUR_US)
            key = (hour.date(), ping["application"], ping["channel"], ping["os_name"], hour)
            for edge, seconds in seconds_by_delay(ping["submitted_us"] - ping["used_us"], ping["seconds"]).items():
                add(contract.REPORTING_DELAYS, (*key, edge), [seconds])
    return {name: {key: tuple(sums) for key, sums in table.items()} for name, table in tables.items()}


def seconds_by_delay(delay_us: int, seconds: int) -> dict[float, int]:
    """Seconds of use by the edge of their bucket; the last second ended delay_us before the submission."""
    found, so_far = {}, 0
    for edge in contract.DELAY_BUCKET_EDGES_HOURS:
        within = seconds if edge == float("inf") else max(0, min(seconds, int(edge * HOUR_US - delay_us) // 1_000_000))
        if within > so_far:
            found[edge], so_far = within - so_far, within
    return found


def window_of(moment_us: int, length_us: int) -> datetime:
    return EPOCH + timedelta(microseconds=moment_us // length_us * length_us)


def read(document: bytes, received_us: int, stand_in: StandIn) -> dict[str, Any]:
    """What a ping adds and where; or with a `reason`, that it does not count."""
    ping = parse(document)
    if isinstance(ping, str):
        seen = re.search(rb'"(?:document_type|type)"\s*:\s*"(main|crash|core)"', document)
        namespace = re.search(rb'"document_namespace"\s*:\s*"([A-Za-z0-9_-]{1,100})"', document)
        is_known = seen and ping != "not_an_object" and (not namespace or namespace[1] == b"telemetry")
        kind = seen[1].decode() if seen and is_known else "unknown"
        submitted_us = received_us if stand_in.submitted_at is None else microseconds(stand_in.submitted_at)
        return {"reason": ping, "kind": kind, "submitted_us": submitted_us}
    kind = kind_of(ping)
    submitted_us = submission(ping, received_us, stand_in)
    is_told = text_at(ping, "submission_timestamp") or stand_in.submitted_at is not None  # by others than the client
    rejected = {"kind": kind, "submitted_us": submitted_us if is_told and submitted_us is not None else received_us}
    if kind == "unknown":
        return rejected | {"reason": why_unknown(ping)}
    reason = fault_of_types(ping, READ)
    if reason:
        return rejected | {"reason": reason}
    counted: dict[str, Any] = {"kind": kind, "submitted_us": submitted_us}
    faults = {
        *count(ping, kind, counted),
        *describe_build(ping, kind, stand_in, counted),
        *describe_system(ping, kind, counted),
        *([] if submitted_us is not None else ["submission_time"]),
    }
    is_desktop = counted["os_name"] in ("Windows_NT", "Darwin", "Linux")
    if is_desktop and VERSION.fullmatch(counted["version"]) and int(counted["version"].split(".")[0]) >= 150:
        faults |= set_aside(counted, kind, faults)
    if submitted_us is not None and "build_id" not in faults:
        faults |= faults_of_age(counted["build_id"], submitted_us)
    if faults and kind == "main" and not has_sound_histograms(ping):
        faults.add("histogram")
    country = known(at(ping, "normalized_country_code")) or at(ping, "metadata", "geo", "country") or stand_in.country
    counted["country"] = country if country in contract.COUNTRIES else "??"
    return rejected | {"reason": min(faults, key=list(REASONS).index)} if faults else counted


class Object(dict[str, Any]):
    """A JSON object; `every`: its members in their order, those too whose name comes again later. The last counts."""

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        self.every = members


def parse(document: bytes) -> dict[str, Any] | str:
    """A document's object, or why it has none. Bytes that are not UTF-8 become lone surrogates."""
    if len(document) > 8 * 1024 * 1024:
        return "too_large"
    while (shorter := document.lstrip(b" \t\r\n")).startswith(MARK):
        document = shorter[len(MARK) :]
    if not document.strip():
        return "empty"

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    def whole(digits: str) -> int | float:
        return int(digits) if len(digits) <= 4300 else float("inf")

    text = document.decode(errors="surrogateescape")
    try:
        ping = json.loads(text, parse_constant=refuse, parse_int=whole, object_pairs_hook=Object)
        if isinstance(ping, dict) and not fault_of_types(ping, READ):
            return ping
        # Elsewhere than in what is read of a ping, text may be no UTF-8 and have halves of surrogate pairs.
        json.dumps(json.loads(text, parse_int=whole, object_pairs_hook=list), ensure_ascii=False).encode()
    except RecursionError:
        return "too_deep"
    except ValueError:
        return "not_json"
    return ping if isinstance(ping, dict) else "not_an_object"


def fault_of_types(value: Any, shape: Any) -> str | None:
    """The first value that is not of the type that READ says, or longer than a name can be."""
    if shape is str and isinstance(value, str):
        if re.search("[\ud800-\udfff]", value):
            return "not_json"
        return "too_long" if len(value) > 200 else None
    if shape in (int, None) and (type(value) is int or value is shape):
        return None
    if shape is EXPERIMENTS and value is None:
        return None
    if isinstance(shape, dict | str) and isinstance(value, Object):
        below = (
            experiment_parts(value) if shape is EXPERIMENTS else [(v, shape[n]) for n, v in value.every if n in shape]
        )
        return next(filter(None, (fault_of_types(*part) for part in below)), None)
    return "wrong_type"


def experiment_parts(branches: Object) -> list[tuple[Any, Any]]:
    """The ids and the branches, each with its shape: text, or an object that holds it."""
    parts: list[tuple[Any, Any]] = []
    for name, branch in branches.every:
        parts += [(name, str), (branch, str if isinstance(branch, str) else {"branch": str})]
    return parts


def at(ping: Any, *path: str) -> Any:
    """What stands at a path; "" where nothing does."""
    for name in path:
        ping = ping.get(name, "") if isinstance(ping, dict) else ""
    return ping


def text_at(ping: Any, *path: str) -> str:
    return value if isinstance(value := at(ping, *path), str) else ""


def kind_of(ping: dict[str, Any]) -> str:
    said = text_at(ping, "metadata", "document_type") or text_at(ping, "type")
    if not said and ping.get("v") is not None and all(at(ping, name) != "" for name in ("os", "osversion", "arch")):
        return "core"
    namespace = text_at(ping, "metadata", "document_namespace") or "telemetry"
    return said if namespace == "telemetry" and said in ("main", "crash", "core") else "unknown"


def why_unknown(ping: dict[str, Any]) -> str:
    said = text_at(ping, "metadata", "document_type") or text_at(ping, "type")
    namespace = text_at(ping, "metadata", "document_namespace") or "telemetry"
    is_named = PASSED_OVER_NAME.fullmatch(said) and PASSED_OVER_NAME.fullmatch(namespace)
    return "not_counted" if is_named else "document_type"


def known(said: str) -> str:
    """What the pipeline made of a value; "Other" is not known."""
    return "" if said == "Other" else said


def microseconds(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


def time_of(text: str) -> int | None:
    """Microseconds since 1970. A second 60 is the one after it, and there is none but at the end of a month (UTC)."""
    start, leap, end = text.replace("z", "Z").partition(":60")
    try:
        moment_us = microseconds(datetime.fromisoformat(start + (":59" if leap else "") + end))
    except ValueError:
        return None
    if not leap:
        return moment_us
    after = EPOCH + timedelta(microseconds=moment_us + 1_000_000)
    return moment_us + 1_000_000 if f"{after:%d %X}" == "01 00:00:00" else None


def submission(ping: dict[str, Any], received_us: int, stand_in: StandIn) -> int | None:
    """Microseconds since 1970; None when it is not in this century."""
    said = text_at(ping, "submission_timestamp")
    own = text_at(ping, "creationDate") or text_at(ping, "created")
    if said:
        moment_us = time_of(said)
    elif stand_in.submitted_at is not None:
        moment_us = microseconds(stand_in.submitted_at)
    else:
        moment_us = time_of(own) if own else received_us
    first, last = (microseconds(datetime(year, 1, 1)) for year in (2001, 2101))
    return moment_us if moment_us is not None and first <= moment_us < last else None


def count(ping: dict[str, Any], kind: str, counted: dict[str, Any]) -> set[str]:
    """Seconds of use, events, experiments and the time of use; what is wrong with them."""
    counted |= {"seconds": 0, "events": {}, "experiments": {}, "used_us": None}
    if kind != "core" and "payload" not in ping:
        return {"nothing_to_count", *enrol(ping, counted)}
    if kind == "crash":
        return count_crash(ping, counted) | enrol(ping, counted)
    faults = set()
    seconds = (ping if kind == "core" else at(ping, "payload", "info") or {}).get(
        "durations" if kind == "core" else "subsessionLength"
    )
    if seconds is None or seconds < 0:
        faults.add("usage_missing" if seconds is None else "usage_negative")
    counted["seconds"] = min(seconds or 0, 90_000)
    if kind == "core":
        uri = at(ping, "metadata", "uri") or {}
        return faults | (set() if any(uri.get(name) for name in READ["metadata"]["uri"]) else {"uri_missing"})
    for name, keys in COUNTED:
        events = at(ping, *keys) or 0
        counted["events"][name] = events
        faults |= {"count_negative"} if events < 0 else {"count_absurd"} if events > 90_000 else set()
    created = at(ping, "creationDate")
    said = created or at(ping, "payload", "info", "subsessionStartDate")
    if said:
        said_us = time_of(said)
        faults |= {"use_time"} if said_us is None else set()
        counted["used_us"] = (said_us or 0) + (0 if created else (seconds or 0) * 1_000_000)
    return faults | enrol(ping, counted)


def count_crash(ping: dict[str, Any], counted: dict[str, Any]) -> set[str]:
    process = at(ping, "payload", "processType") or "main"
    if process == "main":
        counted["events"]["main_crashes"] = 1
        counted["events"]["startup_crashes"] = int(at(ping, "payload", "metadata", "StartupCrash") == "1")
    elif process == "content":
        killed = at(ping, "payload", "metadata", "ipc_channel_error") == "ShutDownKill"
        counted["events"]["content_shutdown_crashes" if killed else "content_crashes"] = 1
    else:
        return {"process_type"}
    return set()


def set_aside(counted: dict[str, Any], kind: str, faults: set[str]) -> set[str]:
    """Leaves out what Glean's crash pings report since Firefox 150; the fault of a ping of which nothing is left."""
    if kind == "crash":
        return set() if "process_type" in faults else {"other_source"}
    counted["events"] = {name: number for name, number in counted["events"].items() if name not in OF_GLEAN}
    return set()


def enrol(ping: dict[str, Any], counted: dict[str, Any]) -> set[str]:
    branches = {}
    if at(ping, "environment", "addons", "activeExperiment", "id"):
        active = ping["environment"]["addons"]["activeExperiment"]
        branches[active["id"]] = active.get("branch")
    for name, enrolment in (at(ping, "environment", "experiments") or {}).items():
        branches[name] = enrolment if isinstance(enrolment, str) else enrolment.get("branch")
    counted["experiments"] = {name: branch for name, branch in branches.items() if branch}
    every = [text for pair in counted["experiments"].items() for text in pair]
    return set() if len(every) <= 200 and all(map(EXPERIMENT.fullmatch, every)) else {"experiment"}


def describe_build(ping: dict[str, Any], kind: str, stand_in: StandIn, counted: dict[str, Any]) -> set[str]:
    """The dimensions of the program; those that are not of a known form."""
    uri, build, application = at(ping, "metadata", "uri"), at(ping, "environment", "build"), at(ping, "application")
    other_display_version = ""
    if kind == "core":
        build, application = "", ""
        version, build_id, architecture = at(uri, "app_version"), at(uri, "app_build_id"), at(ping, "arch")
        display_version = at(ping, "displayVersion")
    else:
        version, build_id, architecture = (
            at(build, name) or at(application, name) for name in ("version", "buildId", "architecture")
        )
        display_version, other_display_version = at(application, "displayVersion"), at(build, "displayVersion")
    names = (known(at(ping, "normalized_app_name")), at(application, "name"), at(build, "applicationName"))
    channels = (known(at(ping, "normalized_channel")), stand_in.channel, at(application, "channel"))
    counted |= {
        "application": next(filter(None, names), at(uri, "app_name")),
        "channel": next(filter(None, channels), at(uri, "app_update_channel")),
        "version": version,
        "display_version": display_version or version,
        "build_id": build_id,
        "architecture": architecture,
    }
    shown = filter(None, [display_version, other_display_version])
    is_of_form = {
        "application": counted["application"] in contract.FIREFOX.applications,
        "channel": counted["channel"] in contract.FIREFOX.channel_names,
        "version": VERSION.fullmatch(version),
        "display_version": all(map(VERSION.fullmatch, shown)),
        "build_id": time_of_build(build_id),
        "architecture": architecture in contract.ARCHITECTURES,
    }
    faults = {name for name, is_known in is_of_form.items() if not is_known}
    if "application" in faults and APPLICATION.fullmatch(counted["application"]):
        faults = faults - {"application"} | {"other_product"}
    return faults


def describe_system(ping: dict[str, Any], kind: str, counted: dict[str, Any]) -> set[str]:
    """The dimensions of the operating system, after describe_build; those that are not of a known form."""
    system = at(ping, "environment", "system", "os")
    name, version = at(system, "name"), at(system, "version")
    if kind == "core":
        name, version = at(ping, "os"), at(ping, "osversion")
    if kind == "crash" and counted["application"] == "Fennec" and name == "Linux":
        name = "Android"
    number = (LINUX_VERSION if name == "Linux" else OS_VERSION).match(version)
    counted |= {"os_name": name, "os_version": number[0] if number else ""}
    faults = set() if name in (["Android"] if kind == "core" else contract.FIREFOX.os_names) else {"os_name"}
    return faults | (set() if 0 < len(counted["os_version"]) <= 17 else {"os_version"})


def time_of_build(build_id: str) -> datetime | None:
    if not re.fullmatch("[0-9]{14}", build_id):
        return None
    year, *others = (int(build_id[start:end]) for start, end in ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14)))
    try:
        built = datetime(year, *others, tzinfo=UTC)
        six_months_on(built)
    except ValueError:
        return None
    return built


def six_months_on(moment: datetime) -> datetime:
    year, month = (moment.year, moment.month + 6) if moment.month <= 6 else (moment.year + 1, moment.month - 6)
    return moment.replace(year=year, month=month, day=min(moment.day, calendar.monthrange(year, month)[1]))


def faults_of_age(build_id: str, submitted_us: int) -> set[str]:
    built = time_of_build(build_id)
    assert built
    if submitted_us < microseconds(built):
        return {"build_in_future"}
    return {"build_too_old"} if submitted_us > microseconds(six_months_on(built)) else set()


def has_sound_histograms(ping: dict[str, Any]) -> bool:
    """Whether all histograms of a main ping are counts by bucket, also those that are not counted."""
    keyed = (at(ping, "payload", "keyedHistograms") or {}).values()
    if not all(isinstance(by_key, dict) for by_key in keyed):
        return False
    every = [*(at(ping, "payload", "histograms") or {}).values()]
    every += [histogram for by_key in keyed for histogram in by_key.values()]
    return all(isinstance(histogram, dict) and is_count_by_bucket(histogram.get("values", {})) for histogram in every)


def is_count_by_bucket(values: Any) -> bool:
    return isinstance(values, dict) and all(
        re.fullmatch("-?0|[1-9][0-9]*", b) and type(n) is int for b, n in values.items()
    )
