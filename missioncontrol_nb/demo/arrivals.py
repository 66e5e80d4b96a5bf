"""What a receiver has written, ping by ping, in words for a person."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Arrivals:
    """The pings in a receiver's folder, each told once. number: so many were told."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: set[str] = set()
        self._crashes: set[str] = set()
        self.number = 0

    def new(self) -> Iterator[str]:
        """A line for each ping that has come since the last call."""
        for path in sorted(self._folder.glob("pings-*.jsonl")):
            if path.name not in self._read:
                self._read.add(path.name)
                for line in path.read_bytes().splitlines():
                    self.number += 1
                    yield self._describe(json.loads(line))

    def _describe(self, ping: dict[str, Any]) -> str:
        kind = f"{ping['metadata']['document_type']} ping"
        if "payload" in ping:
            info = _part(ping, "payload", "info")
            return f"{kind} ({info.get('reason', '')}): {info.get('subsessionLength', 0)} s of use"
        reason = _part(ping, "ping_info").get("reason", "")
        texts = _part(ping, "metrics", "string")
        if "crash.process_type" not in texts:
            return f"{kind} ({reason})"
        event = texts.get("crash.event_id", "")
        again = ", the same crash again" if event in self._crashes else ""
        self._crashes.add(event)
        return f"{kind} ({reason}): the {texts['crash.process_type']} process{again}"


def _part(ping: dict[str, Any], *names: str) -> dict[str, Any]:
    """A part of a document; empty where it is not there."""
    for name in names:
        ping = ping.get(name) or {}
    return ping
