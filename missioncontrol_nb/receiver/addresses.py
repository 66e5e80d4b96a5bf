"""Reads the paths that clients post to: what a ping says about itself before its body is read."""

import re
from typing import NamedTuple
from urllib.parse import unquote

MAX_TARGET_BYTES = 2048
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_MAX_PART_CHARACTERS = 200
_LEGACY, _LEGACY_PARTS, _PARTS = "telemetry", 7, 4
_PREFIX = "/submit/"


class Address(NamedTuple):
    """What a path says. uri: application, version, channel and build id; None for pings outside `telemetry`."""

    namespace: str
    document_type: str
    version: str
    document_id: str
    uri: tuple[str, str, str, str] | None = None


def is_for_pings(path: str) -> bool:
    """Whether a path, without its query, is one that pings are posted to, well-formed or not."""
    return path.startswith(_PREFIX)


def read_address(path: str, query: str) -> Address | None:
    """The address of `/submit/...`, without its query; None where it has neither of the two forms.

    `/submit/telemetry/ID/TYPE/APPLICATION/VERSION/CHANNEL/BUILD`, with the version of the document in the query (v=4),
    and `/submit/NAMESPACE/TYPE/VERSION/ID`. %XX is decoded part by part, so that an encoded slash does not make a part.
    """
    parts = path.removeprefix(_PREFIX).split("/")
    if "%" in path:
        try:
            parts = [unquote(part, errors="strict") for part in parts]
        except UnicodeDecodeError:
            return None
    if parts[0] == _LEGACY:
        if len(parts) != _LEGACY_PARTS:
            return None
        namespace, document_id, document_type, *uri = parts
        version = _version_in(query)
    else:
        if len(parts) != _PARTS:
            return None
        namespace, document_type, version, document_id = parts
        uri = []
    document_id = document_id.lower()
    is_sound = _UUID.fullmatch(document_id) and all(map(_NAME.fullmatch, (namespace, document_type, version)))
    if not is_sound or not all(len(part) <= _MAX_PART_CHARACTERS and (not part or part.isprintable()) for part in uri):
        return None
    return Address(namespace, document_type, version, document_id, tuple(uri) if uri else None)  # type: ignore[arg-type]


def _version_in(query: str) -> str:
    """The version of a document in `telemetry`: 4 unless the query says another one."""
    return next((pair[2:] for pair in query.split("&") if pair.startswith("v=")), "4")
