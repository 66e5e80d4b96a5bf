"""What a running receiver says of itself to `missioncontrol status`: it is asked at the address of its counts."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from streaming.errors import printable

ANSWER_SECONDS = 3.0
_MAX_BYTES = 1 << 20
_open = build_opener(ProxyHandler({})).open  # directly, whatever proxies the environment names


@dataclass(frozen=True)
class ReceiverReport:
    """A receiver's totals since its start. failure: why it does not answer; empty where it does.

    passed_over, refused, not_kept: pings by reason; problem: why pings cannot be kept now; last_kept: None before the
    first.
    """

    address: str
    failure: str = ""
    kept: int = 0
    passed_over: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    not_kept: dict[str, int] = field(default_factory=dict)
    problem: str = ""
    started: datetime | None = None
    last_kept: datetime | None = None

    @property
    def is_well(self) -> bool:
        """Whether it answers and can keep pings."""
        return not self.failure and not self.problem


def ask_receiver(address: str) -> ReceiverReport:
    """The report of the receiver whose counts are at HOST:PORT; waits up to ANSWER_SECONDS."""
    try:
        with _open(f"http://{address}/counts", timeout=ANSWER_SECONDS) as answer:
            said: Any = json.loads(answer.read(_MAX_BYTES))
        return ReceiverReport(
            address,
            kept=int(said["kept"]),
            passed_over=_counts(said["passed_over"]),
            refused=_counts(said["refused"]),
            not_kept=_counts(said["not_kept"]),
            problem=printable(str(said["problem"])),
            started=datetime.fromtimestamp(said["started"], UTC),
            last_kept=datetime.fromtimestamp(said["last_kept"], UTC) if said["last_kept"] else None,
        )  # fmt: skip
    except URLError as error:
        return ReceiverReport(address, failure=printable(str(error.reason)))
    except (OSError, HTTPException) as error:
        return ReceiverReport(address, failure=printable(str(error) or type(error).__name__))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return ReceiverReport(address, failure="what answers there is no receiver of this version")


def _counts(said: dict[str, Any]) -> dict[str, int]:
    return {str(reason): int(count) for reason, count in said.items()}
