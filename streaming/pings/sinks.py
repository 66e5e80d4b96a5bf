"""Files of the ingestion pipeline's sinks: the client's document, in the envelope that a sink's line describes.

| sink | a line holds |
|-|-|
| raw | the attributes of a message, and `payload`, its bytes in base64, which may be gzip |
| decoded | the same with the nested `metadata` of the envelope |
| beam | `attributeMap` and `payload` |
| payload | the document and its envelope, with names such as `crash_process_type` for `crash.process_type` |

The line's envelope applies, never what the client's document says in its place.
"""

import binascii
import re
import zlib
from base64 import b64decode
from typing import Any

import msgspec

from streaming.pings.text import without_marks

BAD_PAYLOAD = ValueError("the payload of a sink's line cannot be unpacked")
_PAYLOAD = re.compile(rb'"payload"\s*:\s*"')  # a text; the sections of clients' documents are objects
_OF_CLIENTS = frozenset({"type", "application", "environment", "client_info", "v"})  # no message has them
_GZIP = b"\x1f\x8b"
_ENVELOPE = ("submission_timestamp", "document_id", "normalized_app_name", "normalized_channel")
_COUNTRY = "normalized_country_code"
_URI = ("app_name", "app_version", "app_update_channel", "app_build_id")
_LEGACY_PATH = re.compile(r"/submit/(?P<namespace>telemetry)/(?P<id>[^/]+)/(?P<type>[^/]+)/(?P<uri>.+?)/?(?:\?.*)?")
_PATH = re.compile(r"/submit/(?P<namespace>[^/]+)/(?P<type>[^/]+)/[^/]+/(?P<id>[^/?]+)/?(?:\?.*)?")


def unwrapped(line: bytes, most_bytes: int) -> bytes | Exception | None:
    """The document in a line of a raw, decoded or beam sink; None for any other line.

    BAD_PAYLOAD for a payload that cannot be unpacked, or that is larger than most_bytes.
    """
    said = _object(line) if _PAYLOAD.search(line) else {}
    if not isinstance(said.get("payload"), str) or not _OF_CLIENTS.isdisjoint(said):
        return None
    names = [name for name in ("metadata", "attributeMap", "attributes") if isinstance(said.get(name), dict)]
    # Beside an envelope, a map of attributes can only be the client's.
    envelope = _envelope(said if not names or names[0] == "metadata" else said[names[0]])
    if envelope is None:
        return None
    try:
        document = _inflated(b64decode(said["payload"], validate=True), most_bytes).strip()
    except (binascii.Error, ValueError, zlib.error):
        return BAD_PAYLOAD
    document = without_marks(document)
    if not document.startswith(b"{") or not document.endswith(b"}"):
        return document
    is_empty = not document[1:-1].strip()
    return (
        document[:-1] + (b"" if is_empty else b",") + msgspec.json.encode(envelope)[1:]
    )  # the last of equal keys wins


def _object(line: bytes) -> dict[str, Any]:
    """The JSON object in a line; an empty one where there is none."""
    try:
        said = msgspec.json.decode(without_marks(line))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _inflated(content: bytes, most_bytes: int) -> bytes:
    """Content that may be gzip, unpacked. Raises ValueError where it is not whole or too large."""
    if not content.startswith(_GZIP):
        return content
    inflate = zlib.decompressobj(wbits=31)
    unpacked = inflate.decompress(content, most_bytes + 1)
    if not inflate.eof or len(unpacked) > most_bytes:
        raise ValueError("gzip that is cut short, or too large")
    return unpacked


def _envelope(attributes: dict[str, Any]) -> dict[str, Any] | None:
    """The envelope that a message's attributes describe; None where they do not say what the message is."""
    texts = {name: value for name, value in attributes.items() if isinstance(value, str)}
    envelope: dict[str, Any] = {name: texts.get(name, "") for name in (*_ENVELOPE, _COUNTRY)}
    metadata = attributes.get("metadata")
    if isinstance(metadata, dict) and metadata.get("document_type"):
        return envelope | {"metadata": metadata}
    if "document_type" not in texts:
        texts = _from_path(texts.get("uri", "")) | texts
    if "document_type" not in texts:
        return None
    metadata = {name: texts.get(name, "") for name in ("document_namespace", "document_type")}
    metadata["uri"] = {name: texts.get(name, "") for name in _URI}
    metadata["geo"] = {"country": texts.get("geo_country", "")}
    return envelope | {"document_id": texts.get("document_id", ""), "metadata": metadata}


def _from_path(path: str) -> dict[str, str]:
    """The attributes that are in the path to which a ping was posted."""
    found = _LEGACY_PATH.fullmatch(path) or _PATH.fullmatch(path)
    if found is None:
        return {}
    said = {"document_namespace": found["namespace"], "document_type": found["type"], "document_id": found["id"]}
    return said | dict(zip(_URI, str(found.groupdict().get("uri", "")).split("/"), strict=False))


def with_dotted_names(line: bytes, names: dict[str, str]) -> bytes | None:
    """A line of a payload sink with the names of metrics that clients send; None for any other line.

    names: for names in such lines, those in clients' documents.
    """
    said = _object(line) if b'"client_info"' in line else {}
    is_changed = False
    for of_type in (said.get("metrics") or {}).values() if isinstance(said.get("metrics"), dict) else ():
        for name in [name for name in of_type if name in names] if isinstance(of_type, dict) else ():
            of_type[names[name]] = of_type.pop(name)
            is_changed = True
    ping_info = said.get("ping_info")
    if isinstance(ping_info, dict) and isinstance(ping_info.get("experiments"), list):
        pairs = [each for each in ping_info["experiments"] if isinstance(each, dict)]
        ping_info["experiments"] = {str(each.get("key", "")): each.get("value") for each in pairs}
        is_changed = True
    return msgspec.json.encode(said) if is_changed else None
