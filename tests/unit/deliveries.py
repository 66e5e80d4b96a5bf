"""Deliveries of pings through a topic, and which of them count by the definition of a duplicate."""

import json
import sys
from itertools import accumulate
from typing import Any, NamedTuple

from streaming import contract

HOUR_MS = 3_600_000
BEGAN_MS = 1_506_945_600_000  # 2 October 2017, 12:00 UTC
COUNTRIES = sorted(contract.COUNTRIES)


def ping(kind: str, submitted: str, **changes: Any) -> bytes:
    """A ping of a build of 26 September 2017."""
    fields = {
        "type": kind,
        "submission_timestamp": submitted,
        "normalized_channel": "release",
        "normalized_country_code": "DE",
        "application": {"name": "Firefox", "version": "56.0", "buildId": "20170926190823", "architecture": "x86-64"},
        "environment": {"system": {"os": {"name": "Darwin", "version": "16.7"}}},
        "payload": {},
    }
    return json.dumps(fields | changes).encode()


class Message(NamedTuple):
    """A delivery, told from others by its country. timestamp_ms: as its topic has it."""

    timestamp_ms: int
    kind: str
    name: str
    country: str

    @property
    def document(self) -> bytes:
        used = {"subsessionLength": 3600, "subsessionStartDate": "2017-10-02T13:00:00Z"}
        return ping(
            self.kind, "2017-10-02T14:00:00Z", document_id=self.name, normalized_country_code=self.country,
            payload={"info": used},
        )  # fmt: skip


class Log:
    """A topic as a broker answers for it: partitions of messages."""

    def __init__(self, partitions: list[list[Message]]) -> None:
        self.partitions = partitions

    @property
    def ends(self) -> dict[str, int]:
        return {str(partition): len(messages) for partition, messages in enumerate(self.partitions)}

    @property
    def newest_ms(self) -> int:
        return max((message.timestamp_ms for messages in self.partitions for message in messages), default=0)

    def offsets_at(self, received_ms: int) -> dict[str, int]:
        """By partition, the first message whose own timestamp is that or later, as Kafka finds it."""
        found = {}
        for partition, messages in enumerate(self.partitions):
            matching = (n for n, message in enumerate(messages) if message.timestamp_ms >= received_ms)
            found[str(partition)] = next(matching, sys.maxsize)
        return found


class Counted(NamedTuple):
    """Countries of the deliveries that count; duplicates by kind."""

    countries: list[str]
    duplicates: dict[str, int]


def by_definition(log: Log, begin: dict[str, int] | None = None) -> Counted:
    """Each delivery compared with all before it; from some offsets on."""
    received = []
    for partition, messages in enumerate(log.partitions):
        times = accumulate((message.timestamp_ms for message in messages), max)
        received += [(time, partition, offset, messages[offset]) for offset, time in enumerate(times)]
    received.sort(key=lambda each: each[:3])
    counts: list[str] = []
    duplicates: dict[str, int] = {}
    for number, (time, partition, offset, message) in enumerate(received):
        if begin and offset < begin[str(partition)]:
            continue
        if message.name and any(
            (other.kind, other.name) == (message.kind, message.name) and earlier >= time - HOUR_MS
            for earlier, _, _, other in received[:number]
        ):
            duplicates[message.kind] = duplicates.get(message.kind, 0) + 1
        else:
            counts.append(message.country)
    return Counted(sorted(counts), duplicates)
