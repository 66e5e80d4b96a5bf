"""What all targets have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from missioncontrol_nb.watching.state import Finding, Message
from missioncontrol_nb.watching.wording import as_text


@dataclass(frozen=True)
class About:
    """What all messages of a watch have in common. dashboard: the URL of its pages, None where there are none."""

    dataset: str
    product: str
    dashboard: str | None = None
    tells_looks_bad: bool = False

    def page(self, findings: Sequence[Finding]) -> str | None:
        """The URL of the page that shows the first of some findings."""
        if self.dashboard is None:
            return None
        return self.dashboard + (findings[0].search if findings else "")


class DeliveryError(Exception):
    """A target did not take a message. Its text holds no secret. retry_after: seconds that the target asked to wait."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Target(ABC):
    """A target. name: as it was given, without secrets.

    is_ever_quiet: whether quiet hours concern it; refresh_seconds: how often `refresh` is wanted, None: never.
    """

    is_ever_quiet = True
    refresh_seconds: float | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def check(self) -> None:
        """Raises MissionControlError where its secrets cannot be read or have the wrong form."""

    @abstractmethod
    def send(self, message: Message, about: About) -> None:
        """Sends a message. Raises DeliveryError where the target did not take it, or may not have."""

    def refresh(self, up: Sequence[Finding], *, is_stale: bool, about: About) -> None:
        """Says again what is up, to targets that forget what is not repeated. Raises DeliveryError."""
        return


def payload(message: Message, about: About) -> Mapping[str, Any]:
    """A message as a JSON object; its events as `missioncontrol replay --json` prints them."""
    return {
        "id": message.id,
        "kind": message.kind,
        "cause": message.cause,
        "dataset": about.dataset,
        "product": about.product,
        "text": as_text(message),
        "url": about.page(message.findings),
        "events": [finding.event for finding in message.findings],
    }
