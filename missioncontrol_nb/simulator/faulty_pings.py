"""The broken pings of the simulated fleet: their faults, how frequent these are, and how to break a valid ping."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from missioncontrol_nb.simulator.era import Era

Document = dict[str, Any]
BASELINE, CRASH = "glean/baseline", "glean/crash"


@dataclass(frozen=True)
class Fault:
    """A fault of a ping; reason: its name in the dataset; document_type: as there; share: of main and core pings.

    break_it: makes the bytes of a broken ping from a valid document of its type, which it may change.
    """

    reason: str
    document_type: str
    share: float
    break_it: Callable[[Document], bytes]


def _encoded(document: Document) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _cut_short(document: Document) -> bytes:
    encoded = _encoded(document)
    return encoded[: len(encoded) * 2 // 3]


def _from_another_channel(document: Document) -> bytes:
    document["application"]["channel"] = document["environment"]["settings"]["update"]["channel"] = "default"
    document["normalized_channel"] = "Other"
    return _encoded(document)


def _of_another_application(document: Document) -> bytes:
    document["application"]["name"] = document["environment"]["build"]["applicationName"] = "SeaMonkey"
    document["normalized_app_name"] = "Other"
    return _encoded(document)


def _from_another_system(document: Document) -> bytes:
    document["environment"]["system"]["os"]["name"] = "FreeBSD"
    document["normalized_os"] = "Other"
    return _encoded(document)


def _of_an_old_build(document: Document) -> bytes:
    build_id = document["environment"]["build"]["buildId"]
    old = f"{int(build_id[:4]) - 1}{build_id[4:6]}01{build_id[8:]}"
    document["environment"]["build"]["buildId"] = document["application"]["buildId"] = old
    return _encoded(document)


def _with_negative_length(document: Document) -> bytes:
    document["payload"]["info"]["subsessionLength"] = -3600
    return _encoded(document)


def _with_length_as_text(document: Document) -> bytes:
    document["payload"]["info"]["subsessionLength"] = str(document["payload"]["info"]["subsessionLength"])
    return _encoded(document)


def _with_negative_count(document: Document) -> bytes:
    histogram = {"range": [1, 2], "bucket_count": 3, "histogram_type": 4, "values": {"0": -1}, "sum": 0}
    document["payload"]["histograms"]["SLOW_SCRIPT_NOTICE_COUNT"] = histogram
    return _encoded(document)


def _of_another_process(document: Document) -> bytes:
    document["payload"]["processType"] = "gmplugin"
    return _encoded(document)


def _without_length(document: Document) -> bytes:
    del document["durations"]
    return _encoded(document)


def _glean_of_another_channel(document: Document) -> bytes:
    document["client_info"]["app_channel"] = "default"  # As builds of distributions say
    document["normalized_channel"] = "Other"
    return _encoded(document)


def _glean_from_another_system(document: Document) -> bytes:
    document["client_info"]["os"] = "FreeBSD"
    document["normalized_os"] = "Other"
    return _encoded(document)


def _glean_of_an_old_build(document: Document) -> bytes:
    client = document["client_info"]
    client["app_build"] = f"{int(client['app_build'][:4]) - 1}{client['app_build'][4:6]}01{client['app_build'][8:]}"
    return _encoded(document)


def _with_ticks(ticks: Any) -> Callable[[Document], bytes]:
    def break_it(document: Document) -> bytes:
        document["metrics"]["counter"] = {"browser.engagement.active_ticks": ticks}
        return _encoded(document)

    return break_it


def _without_annotations(document: Document) -> bytes:
    """What the crash reporter sends of a crash of which it was told nothing."""
    document["metrics"] = {"string": {"crash.process_type": document["metrics"]["string"]["crash.process_type"]}}
    return _encoded(document)


def _with_text(name: str, text: str) -> Callable[[Document], bytes]:
    def break_it(document: Document) -> bytes:
        document["metrics"]["string"][f"crash.{name}"] = text
        return _encoded(document)

    return break_it


FAULTS = (
    Fault("channel", "main", 0.0012, _from_another_channel),
    Fault("build_too_old", "main", 0.0006, _of_an_old_build),
    Fault("process_type", "crash", 0.0004, _of_another_process),
    Fault("not_json", "main", 0.0003, _cut_short),
    Fault("other_product", "main", 0.0003, _of_another_application),
    Fault("os_name", "main", 0.0002, _from_another_system),
    Fault("usage_negative", "main", 0.0002, _with_negative_length),
    Fault("wrong_type", "main", 0.0001, _with_length_as_text),
    Fault("count_negative", "main", 0.0001, _with_negative_count),
    Fault("usage_missing", "core", 0.0002, _without_length),
)


GLEAN_FAULTS = (
    Fault("channel", BASELINE, 0.0024, _glean_of_another_channel),
    Fault("build_too_old", BASELINE, 0.0012, _glean_of_an_old_build),
    Fault("not_json", BASELINE, 0.0004, _cut_short),
    Fault("os_name", BASELINE, 0.0004, _glean_from_another_system),
    Fault("count_negative", BASELINE, 0.0001, _with_ticks(-1)),
    Fault("wrong_type", BASELINE, 0.0001, _with_ticks("12")),
    Fault("version", CRASH, 0.0001, _without_annotations),
    Fault("background_task", CRASH, 0.0002, _with_text("background_task_name", "backgroundupdate")),
    Fault("process_type", CRASH, 0.0001, _with_text("process_type", "ipdlunittest")),
    Fault("too_long", CRASH, 0.0001, _with_text("event_id", "x" * 300)),
)


def faults_of(era: Era) -> tuple[Fault, ...]:
    """The faults in an era's pings; clients that send Glean pings send no crash and core pings without them."""
    if not era.is_glean:
        return FAULTS
    return (*(fault for fault in FAULTS if fault.document_type == "main"), *GLEAN_FAULTS)
