"""What a receiver keeps pings in, and the errors for what cannot be kept."""

from typing import Protocol

MAX_QUEUED_BYTES = 64 << 20


class CannotKeepError(Exception):
    """A ping that is not kept, now: the client is to send it again. status: 503, or 507 where there is no room."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Sink(Protocol):
    """A destination of pings."""

    async def keep(self, document_id: str, document: bytes) -> None:
        """Returns when a document, one line, will outlive a power cut here. Raises CannotKeepError otherwise."""

    async def check(self) -> str:
        """Why pings cannot be kept at the moment, as a few words; "" where they can."""

    async def close(self) -> None:
        """Finishes what was begun; nothing is kept any more."""
