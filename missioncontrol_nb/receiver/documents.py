"""Makes the document that is kept: the client's, without what identifies a client, with the envelope of this server."""

import re
from collections.abc import Mapping
from typing import Any
from zlib import crc32

import msgspec
from msgspec import Raw

from missioncontrol_nb.receiver.addresses import Address
from missioncontrol_nb.receiver.bodies import BadBody
from streaming.pings.text import as_decodable

# Headers that are kept, by their name in `metadata.header`.
KEPT_HEADERS = {
    "date": "date",
    "dnt": "dnt",
    "user-agent": "user_agent",
    "x-debug-id": "x_debug_id",
    "x-source-tags": "x_source_tags",
    "x-telemetry-agent": "x_telemetry_agent",
    "x-pingsender-version": "x_pingsender_version",
}
# What the server writes, and what identifies a client: neither is taken from a document.
_DROPPED = frozenset(
    ("submission_timestamp", "document_id", "metadata", "sample_id", "clientId", "client_id", "profileGroupId")
)
_IDENTIFIERS = {"client_info": ("client_id", "session_id"), "metrics": ("uuid",)}  # by section of a Glean ping
_CHANNELS = ("release", "esr", "beta", "aurora", "nightly")
# By how a name begins, the longer ones first; Mozilla's pipeline calls all others "Other".
_APPLICATIONS = ("Zerda_cn", "Zerda", "Focus-TV", "Focus", "Klar", "FirefoxReality_oculusvr",
    "FirefoxReality_googlevr", "FirefoxReality_wavevr", "FirefoxForFireTV", "FirefoxConnect", "Fennec", "Scryer",
    "WebXR", "Lockbox", "Firefox",
)  # fmt: skip
_SYSTEMS = {"Windows": "Windows", "WINNT": "Windows", "Darwin": "Mac", "iOS": "iOS", "Android": "Android"}
_UNIX = ("Linux", "BSD", "SunOS", "Solaris")
_OS_VERSION = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,2}", re.ASCII)

_SECTIONS = dict[str, Raw]
_OBJECT = msgspec.json.Decoder(_SECTIONS)
_TEXT = msgspec.json.Decoder(str)
_ENCODE = msgspec.json.Encoder().encode


class _System(msgspec.Struct, gc=False, frozen=True):
    name: Any = ""
    version: Any = ""


class _Systems(msgspec.Struct, gc=False, frozen=True):
    os: _System = _System()


class _Environment(msgspec.Struct, gc=False, frozen=True):
    system: _Systems = _Systems()


_ENVIRONMENT = msgspec.json.Decoder(_Environment)


def document_of(address: Address, body: bytes, received: str, headers: Mapping[str, str], country: str | None) -> bytes:
    """A ping as one line of JSON, with its newline: the envelope, then what the client said.

    address: from the path; received: the time of this server, ISO 8601, UTC; headers: those to keep, by their name in
    the envelope; country: None leaves it out. Raises BadBody where the body is not a JSON object.
    """
    said = _sections_of(body)
    client_id = _text_in(said, "clientId") or _text_in(said, "client_id")
    glean = _without_identifiers(said)
    client_id = client_id or glean.get("client_id", "")
    metadata: dict[str, Any] = {
        "document_namespace": address.namespace,
        "document_type": address.document_type,
        "document_version": address.version,
        "header": headers,
    }
    envelope: dict[str, Any] = {
        "submission_timestamp": received,
        "document_id": address.document_id,
        "metadata": metadata,
    }
    if address.uri is not None:
        names = ("app_name", "app_version", "app_update_channel", "app_build_id")
        metadata["uri"] = dict(zip(names, address.uri, strict=True))
        channel, system = address.uri[2], _legacy_system(said)
        _add(envelope, "normalized_app_name", normalized_application(address.uri[0]))
    else:
        channel, system = glean.get("app_channel", ""), (glean.get("os", ""), glean.get("os_version", ""))
    _add(envelope, "normalized_channel", normalized_channel(channel))
    _add(envelope, "normalized_os", normalized_os(system[0]))
    _add(envelope, "normalized_os_version", (_OS_VERSION.match(system[1]) or ("",))[0])
    if client_id:
        envelope["sample_id"] = crc32(client_id.encode(errors="replace")) % 100
    if country is not None:
        metadata["geo"] = {"country": country}
        envelope["normalized_country_code"] = country
    envelope.update(said)
    # Newlines are only between values: a text with one is no JSON.
    return _ENCODE(envelope).replace(b"\n", b" ") + b"\n"


def normalized_channel(name: str) -> str:
    """The channel that a name means; "" where it means none of Firefox's, so that a product's own channels count."""
    if name in _CHANNELS:
        return name
    return "nightly" if name.startswith("nightly-cck-") else "beta" if name.startswith("beta") else ""


def normalized_application(name: str) -> str:
    """The application that a name means; "" where it is none of Mozilla's list: `metadata.uri` has it as it came."""
    return next((known for known in _APPLICATIONS if name.startswith(known)), "")


def normalized_os(name: str) -> str:
    """The operating system that a name means: Windows, Mac, Linux, Android, iOS or Other; "" for no name."""
    if not name:
        return ""
    known = next((known for start, known in _SYSTEMS.items() if name.startswith(start)), None)
    return known or ("Linux" if any(word in name for word in _UNIX) else "Other")


def is_document(line: bytes) -> bool:
    """Whether a line is a whole document as `document_of` makes them."""
    try:
        _OBJECT.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _sections_of(body: bytes) -> _SECTIONS:
    """The values of a JSON object by key, unread; of equal keys the last."""
    try:
        return _OBJECT.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:  # a mark before the document, or half a surrogate pair in text: the job takes both
        return _OBJECT.decode(as_decodable(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadBody(400, "not_json") from error


def _without_identifiers(said: _SECTIONS) -> dict[str, str]:
    """Removes what a client must not say, and what identifies it; returns texts of Glean's `client_info`."""
    for key in [key for key in said if key in _DROPPED or key.startswith("normalized_")]:
        del said[key]
    found: dict[str, str] = {}
    for name, keys in _IDENTIFIERS.items():
        if name not in said:
            continue
        try:
            section = _OBJECT.decode(said[name])
        except (msgspec.MsgspecError, UnicodeDecodeError):  # no object: it holds no such key, and is rejected later
            continue
        if name == "client_info":
            found = {key: _text_in(section, key) for key in ("client_id", "app_channel", "os", "os_version")}
        for key in keys:
            section.pop(key, None)
        said[name] = Raw(_ENCODE(section))
    return found


def _legacy_system(said: _SECTIONS) -> tuple[str, str]:
    """The name and version of the system in a ping of `telemetry`."""
    if "environment" in said:
        try:
            os = _ENVIRONMENT.decode(said["environment"]).system.os
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return "", ""
        return _as_text(os.name), _as_text(os.version)
    return _text_in(said, "os"), _text_in(said, "osversion")


def _text_in(section: _SECTIONS, key: str) -> str:
    value = section.get(key)
    if value is None:
        return ""
    try:
        return _TEXT.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _add(envelope: dict[str, Any], name: str, text: str) -> None:
    if text:
        envelope[name] = text
