"""Pings of real clients, and the forms in which the ingestion pipeline writes them to files."""

import gzip
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

_OF_ENVELOPE = ("metadata", "submission_timestamp", "document_id", "sample_id")


def legacy_pings(shared_data: Path) -> list[bytes]:
    """28 legacy pings of Firefox and Thunderbird of November 2026, a line each. shared_data: the test fixture's."""
    return (shared_data / "real" / "legacy.enveloped.jsonl").read_bytes().splitlines()


def glean_pings(shared_data: Path) -> list[bytes]:
    """24 crash and baseline pings of the same clients and of a program with glean-sdk; a main crash is in it twice."""
    return (shared_data / "glean" / "real.enveloped.jsonl").read_bytes().splitlines()


def glean(namespace: str, document_type: str, **metrics: dict[str, Any]) -> dict[str, Any]:
    """A Glean document without reporting anything but metrics, by type, such as string={"crash.process_type": "main"}.

    It is from a build of 153.0b3 of 2026-11-17, which was submitted on 2026-11-29.
    """
    return {
        "submission_timestamp": "2026-11-29T04:21:07Z",
        "normalized_channel": "beta",
        "normalized_country_code": "DE",
        "metadata": {"document_namespace": namespace, "document_type": document_type, "document_version": "1"},
        "ping_info": {"seq": 1, "start_time": "2026-11-29T04:13+00:00", "end_time": "2026-11-29T04:21:06.978+00:00"},
        "client_info": {
            **{"app_build": "20261117185949", "app_display_version": "153.0b3", "app_channel": "beta"},
            **{"os": "Windows", "os_version": "10.0", "architecture": "x86_64"},
        },
        "metrics": metrics,
    }


def crash(namespace: str = "firefox-crashreporter", version: str = "153.0", **texts: str) -> dict[str, Any]:
    """A crash ping of a main process of 153.0b3; texts: further texts, without `crash.` in their names."""
    said = {
        "process_type": "main",
        "app_display_version": version,
        "app_channel": "beta",
        "app_build": "20261117185949",
    }
    document = glean(namespace, "crash", string={f"crash.{name}": text for name, text in (said | texts).items()})
    if namespace == "firefox-crashreporter":
        document["client_info"]["app_display_version"] = "1.0.0"
        del document["client_info"]["app_channel"], document["normalized_channel"]
    return document


def android(
    document_type: str, namespace: str = "org-mozilla-firefox-beta", **metrics: dict[str, Any]
) -> dict[str, Any]:
    """A Glean document of Firefox for Android."""
    document = glean(namespace, document_type, **metrics)
    document["client_info"] |= {
        "os": "Android",
        "os_version": "14",
        "architecture": "arm64-v8a",
        "app_build": "2016153",
    }
    return document


def split(line: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The envelope and the client's document."""
    both = json.loads(line)
    names = {name for name in both if name in _OF_ENVELOPE or name.startswith("normalized_")}
    return {name: both[name] for name in names}, {name: both[name] for name in both if name not in names}


def attributes(envelope: dict[str, Any]) -> dict[str, str]:
    """A message's attributes, of decoded messages."""
    metadata = envelope["metadata"]
    said = {name: str(value) for name, value in envelope.items() if name != "metadata"}
    said |= {name: metadata[name] for name in ("document_namespace", "document_type", "document_version")}
    return said | metadata.get("uri", {}) | {f"geo_{name}": text for name, text in metadata.get("geo", {}).items()}


def as_raw(line: bytes) -> bytes:
    """A line of a raw sink."""
    envelope, document = split(line)
    return json.dumps(attributes(envelope) | {"payload": packed(document)}).encode()


def as_decoded(line: bytes) -> bytes:
    """A line of a decoded sink."""
    envelope, document = split(line)
    return json.dumps(envelope | {"payload": packed(document)}).encode()


def as_posted(line: bytes) -> bytes:
    """A line of a raw sink of messages that were not decoded: what they are is in the path they were posted to.

    The country and the normalized channel are found later.
    """
    envelope, document = split(line)
    said, id_ = attributes(envelope), envelope["document_id"]
    path = f"/submit/{said['document_namespace']}/{said['document_type']}/{said['document_version']}/{id_}"
    if said["document_namespace"] == "telemetry":
        of_program = "/".join(said[f"app_{name}"] for name in ("name", "version", "update_channel", "build_id"))
        path = f"/submit/telemetry/{id_}/{said['document_type']}/{of_program}?v=4"
    message = {"uri": path, "submission_timestamp": envelope["submission_timestamp"], "payload": packed(document)}
    return json.dumps(message).encode()


def as_beam(line: bytes) -> bytes:
    """A line of a beam sink."""
    envelope, document = split(line)
    return json.dumps({"attributeMap": attributes(envelope), "payload": packed(document)}).encode()


def as_payload(line: bytes) -> bytes:
    """A line of a payload sink."""
    document = json.loads(line)
    metrics = document.get("metrics", {})
    for of_type in metrics:
        metrics[of_type] = {name.replace(".", "_"): value for name, value in metrics[of_type].items()}
    experiments = document.get("ping_info", {}).get("experiments")
    if experiments:
        document["ping_info"]["experiments"] = [{"key": name, "value": each} for name, each in experiments.items()]
    return json.dumps(document).encode()


def packed(document: dict[str, Any]) -> str:
    """A document as gzip in base64."""
    return b64encode(gzip.compress(json.dumps(document).encode(), mtime=0)).decode()
