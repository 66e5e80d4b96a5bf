"""Answers requests: what is admitted, what is kept, with which status. Knows no HTTP server and no clock but UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import time
from typing import NamedTuple

from missioncontrol_nb.receiver.addresses import MAX_TARGET_BYTES, Address, is_for_pings, read_address
from missioncontrol_nb.receiver.bodies import MAX_PACKED_BYTES, BadBody, unpacked
from missioncontrol_nb.receiver.counts import Counts
from missioncontrol_nb.receiver.documents import KEPT_HEADERS, document_of
from missioncontrol_nb.receiver.places import Places, client_address
from missioncontrol_nb.receiver.sinks import CannotKeepError, Sink
from streaming.pings.kinds import kind_named

MAX_HEADER_BYTES = 1024  # of a header that is kept
_METHODS = ("POST", "PUT")


class Refusal(NamedTuple):
    """An answer given before the body is read. reason: as counted."""

    status: int
    reason: str


@dataclass
class Receiver:
    """What answers requests.

    places: None: no country is looked up. proxies: how many proxies of ours stand before this server.
    skips_automation: pings whose X-Source-Tags say `automation` are not kept.
    """

    sink: Sink
    places: Places | None = None
    proxies: int = 0
    skips_automation: bool = False
    counts: Counts = field(default_factory=Counts)

    def admit(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> Address | Refusal:
        """The address of a ping whose body is to be read, or why it is not. path, query: as sent, still encoded."""
        if len(path) + len(query) > MAX_TARGET_BYTES:
            return Refusal(414, "path_too_long")
        if not is_for_pings(path):
            return Refusal(404, "unknown_path")
        if method not in _METHODS:
            return Refusal(405, "method")
        address = read_address(path, query)
        if address is None:
            return Refusal(400, "path")
        for name in KEPT_HEADERS:
            if len(headers.get(name, "")) > MAX_HEADER_BYTES:
                return Refusal(431, "header_too_long")
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return Refusal(411, "no_length")
        if int(length) > MAX_PACKED_BYTES:
            return Refusal(413, "too_large_packed")
        return address

    async def keep(
        self, address: Address, headers: Mapping[str, str], forwarded: list[str], peer: str, body: bytes
    ) -> int:
        """Keeps a ping, and returns the status of the answer.

        forwarded: the values of X-Forwarded-For; peer: the address that has connected.
        """
        kind = kind_named(address.namespace, address.document_type)
        if kind is None:
            self.counts.passed_over["kind"] += 1
            return self.answered(200)
        if self.skips_automation and "automation" in headers.get("x-source-tags", ""):
            self.counts.passed_over["automation"] += 1
            return self.answered(200)
        received = time()
        stamp = datetime.fromtimestamp(received, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        kept = {saved: _as_text(headers[name]) for name, saved in KEPT_HEADERS.items() if name in headers}
        country = None
        if self.places is not None:
            country = self.places.country(client_address(peer, forwarded, self.proxies))
        try:
            plain = unpacked(body, headers.get("content-encoding", "").lower())
            document = document_of(address, plain, stamp, kept, country)
            await self.sink.keep(address.document_id, document)
        except BadBody as error:
            return self.refused(Refusal(error.status, error.reason))
        except CannotKeepError as error:
            self.counts.not_kept[error.reason] += 1
            return self.answered(error.status)
        self.counts.kept[kind.id] += 1
        self.counts.kept_bytes += len(document)
        self.counts.last_kept = received
        return self.answered(200)

    def refused(self, refusal: Refusal) -> int:
        """Counts a refusal; its status."""
        self.counts.refused[refusal.reason] += 1
        return self.answered(refusal.status)

    def answered(self, status: int) -> int:
        """Counts an answer; its status."""
        self.counts.answers[status] += 1
        return status


def _as_text(value: str) -> str:
    """The value of a header; bytes that are not UTF-8 come as halves of surrogate pairs, which JSON cannot hold."""
    return value if value.isascii() else value.encode(errors="replace").decode()
