"""Lines of the ingestion pipeline's sinks count as the documents in them."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from streaming.pings.classify import Ping, Rejected, decode
from streaming.pings.envelope import Envelope
from tests.real_pings import (
    as_beam,
    as_decoded,
    as_payload,
    as_posted,
    as_raw,
    crash,
    glean,
    glean_pings,
    legacy_pings,
    packed,
    split,
)

EXPERIMENTS = glean("firefox-desktop", "baseline", counter={"browser.engagement.active_ticks": 3})
EXPERIMENTS["ping_info"]["experiments"] = {"one": {"branch": "a"}}
NO_METRICS = crash(event_id="x")


@pytest.fixture(scope="module")
def lines(shared_data: Path) -> list[bytes]:
    return [*legacy_pings(shared_data), *glean_pings(shared_data)]


def read(line: bytes) -> Ping | Rejected:
    return decode(line, Envelope(), 0)


@pytest.mark.parametrize("form", [as_raw, as_decoded, as_beam])
def test_line_counts_as_the_document_in_it(form: Any, lines: list[bytes]) -> None:
    for line in (*lines, json.dumps(EXPERIMENTS).encode()):
        assert read(form(line)) == read(line)


def test_message_that_was_not_decoded_is_known_by_its_path(lines: list[bytes]) -> None:
    """Its channel is the document's own."""
    for line in lines:
        assert read(as_posted(line)) == read(line)


def test_names_of_a_payload_sink_are_those_of_clients(shared_data: Path) -> None:
    for line in (*glean_pings(shared_data), json.dumps(EXPERIMENTS).encode()):
        assert read(as_payload(line)) == read(line)
    assert isinstance(read(as_payload(json.dumps(EXPERIMENTS).encode())), Ping)


def test_other_name_of_the_hash_is_read() -> None:
    document = json.dumps(crash(minidump_sha256_hash="e3b0")).encode()
    for name in (b"crash_minidump_sha256_hash", b"crash_minidump_sha_256_hash"):
        line = as_payload(document).replace(b"crash_minidump_sha256_hash", name)
        ping = read(line)
        assert isinstance(ping, Ping)
        assert ping.crash == ("", "e3b0")


def test_client_cannot_speak_for_the_pipeline() -> None:
    document = crash() | {
        "document_id": "mine",
        "metadata": {"document_namespace": "telemetry", "document_type": "main"},
    }
    document["submission_timestamp"] = "2026-12-24T00:00:00Z"
    message = {
        "attributeMap": {
            **{"document_namespace": "firefox-crashreporter", "document_type": "crash", "document_id": "a"},
            "submission_timestamp": "2026-11-29T04:21:07Z",
        },
        "payload": base64.b64encode(gzip.compress(json.dumps(document).encode())).decode(),
    }
    ping = read(json.dumps(message).encode())
    assert isinstance(ping, Ping)
    assert (ping.document_type, ping.document_id, ping.submitted_us) == ("glean/crash", "a", 1795926067000000)


def test_client_cannot_bring_attributes_of_its_own_into_an_envelope() -> None:
    envelope, document = split(json.dumps(crash()).encode())
    inner = document | {"submission_timestamp": "2026-12-24T00:00:00Z"}
    posted = {"attributeMap": {"document_type": "main", "submission_timestamp": "2026-12-24"}, "payload": packed(inner)}
    ping = read(json.dumps(posted | envelope).encode())
    assert ping == read(json.dumps(crash()).encode())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"{}", "version"),
        (b"[]", "not_an_object"),
        (b"{", "not_json"),
        (gzip.compress(b"{}", mtime=0)[:-3], "sink_payload"),
        (gzip.compress(b" " * (8 * 1024 * 1024 + 1), mtime=0), "sink_payload"),
        (b"\x1f\x8bx", "sink_payload"),
        (b"{\xff", "not_json"),
    ],
)
def test_payload_that_is_no_document_says_why(content: bytes, reason: str) -> None:
    attributes = {"document_namespace": "telemetry", "document_type": "crash", "submission_timestamp": "2026-11-29"}
    line = {"attributeMap": attributes, "payload": base64.b64encode(content).decode()}
    ping = read(json.dumps(line).encode())
    assert isinstance(ping, Rejected)
    assert ping.reason == reason


@pytest.mark.parametrize(
    "document", [{"payload": "x"}, {"payload": "e30=", "attributeMap": {}}, {"type": "main", "payload": "x"}]
)
def test_document_with_a_text_for_its_payload_is_no_sinks_line(document: dict[str, Any]) -> None:
    ping = read(json.dumps(document).encode())
    assert isinstance(ping, Rejected)
    assert ping.reason in ("document_type", "wrong_type")
