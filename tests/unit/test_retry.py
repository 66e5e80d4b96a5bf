"""How long what fails is tried again: where others commit first as long as patience lasts, else a few times."""

import pytest

from streaming.errors import MissionControlError
from streaming.storage import retry
from streaming.storage.retry import RetryPolicy
from streaming.storage.store_errors import MAX_ATTEMPTS, call_with_retry

CONFLICTS = [
    "Failed to commit transaction: Commit failed: a concurrent transactions added new data.",
    "Failed to commit transaction: Metadata changed since last commit.",
]


class Attempts:
    """Fails so many times with an error, and then gives how many attempts there were."""

    def __init__(self, failures: int, error: str) -> None:
        self.left, self.error, self.made = failures, error, 0

    def __call__(self, _again: bool) -> int:
        self.made += 1
        if self.made <= self.left:
            raise OSError(self.error)
        return self.made


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, none of which is made."""
    made: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", made.append)
    return made


@pytest.mark.parametrize("error", CONFLICTS)
def test_commit_that_others_come_before_is_tried_for_as_long_as_patience_lasts(error: str, pauses: list[float]) -> None:
    attempts = Attempts(60, error)
    assert call_with_retry(attempts, "data", RetryPolicy()) == 61
    assert max(pauses) < 1, "it may succeed at any time"


def test_commit_that_others_always_come_before_ends_with_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str | None] = []
    monkeypatch.setattr(retry, "OUTAGE_NOTICE_SECONDS", 0.1)
    with pytest.raises(MissionControlError, match=r"cannot write to 'data': .*concurrent transactions"):
        call_with_retry(Attempts(10**6, CONFLICTS[0]), "data", RetryPolicy(told.append, timeout_seconds=0.5))
    assert told == ["data: other writers commit again and again while this one tries to; trying again", None]


def test_what_need_not_pass_is_tried_a_few_times(pauses: list[float]) -> None:
    attempts = Attempts(10**6, "something else")
    with pytest.raises(MissionControlError, match="cannot write to 'data': something else"):
        call_with_retry(attempts, "data", RetryPolicy())
    assert attempts.made == MAX_ATTEMPTS
