"""Writes small files in MaxMind's format, of countries by address, as `--places` reads them."""

import struct
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any


class _Short(int):
    """A number of 16 bits in the file; others have 32."""


class _Long(int):
    """A number of 64 bits in the file."""


def write_places(path: Path, countries: Mapping[str, str], kind: str = "Test-Country") -> Path:
    """A file of the country's code by network. IPv4 networks are below ::/96, as in MaxMind's own files."""
    nodes: list[list[Any]] = [[None, None]]
    for network, code in countries.items():
        parsed = ip_network(network)
        offset = 96 if parsed.version == 4 else 0
        bits, length = int(parsed.network_address), parsed.prefixlen + offset
        at = 0
        for position in range(length):
            bit = bits >> (127 - position) & 1
            if position == length - 1:
                nodes[at][bit] = code
            else:
                if not isinstance(nodes[at][bit], int):
                    nodes.append([None, None])
                    nodes[at][bit] = len(nodes) - 1
                at = nodes[at][bit]
    data, offsets = b"", {}
    for code in sorted(set(countries.values())):
        offsets[code] = len(data)
        data += _encode({"country": {"iso_code": code}})

    def record(value: Any) -> bytes:
        number = value if isinstance(value, int) else len(nodes)
        return (len(nodes) + 16 + offsets[value] if isinstance(value, str) else number).to_bytes(3, "big")

    tree = b"".join(record(value) for node in nodes for value in node)
    about = {
        "node_count": len(nodes),
        "record_size": _Short(24),
        "ip_version": _Short(6),
        "database_type": kind,
        "languages": [],
        "binary_format_major_version": _Short(2),
        "binary_format_minor_version": _Short(0),
        "build_epoch": _Long(1),
        "description": {},
    }
    path.write_bytes(tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + _encode(about))
    return path


def _encode(value: Any) -> bytes:
    if isinstance(value, str):
        return _head(2, len(value)) + value.encode()
    if isinstance(value, dict):
        return _head(7, len(value)) + b"".join(_encode(key) + _encode(each) for key, each in value.items())
    if isinstance(value, list):
        return bytes((0, 4)) + b"".join(map(_encode, value))
    if isinstance(value, _Short):
        return _head(5, 2) + struct.pack(">H", value)
    if isinstance(value, _Long):
        return bytes((8, 2)) + struct.pack(">Q", value)
    return _head(6, 4) + struct.pack(">I", value)


def _head(kind: int, size: int) -> bytes:
    assert size < 29
    return bytes((kind << 5 | size,))
