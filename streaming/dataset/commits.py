"""Commits to Delta tables: retries, clocks, and what deltalake is told with each."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streaming import contract
from streaming.dataset.opening import said_up_to
from streaming.errors import MissionControlError
from streaming.storage.locations import is_remote

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties

LOG_MINUTES = 10  # how long commits are kept one by one; each commit lists those that are
LONGEST_COMMIT_SECONDS = LOG_MINUTES * 60 / 4
_CLOCKS = (getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC), time.CLOCK_REALTIME)


def after_commit(url: str) -> "PostCommitHookProperties | None":
    """What deltalake does after a commit: of a local table it leaves the log's old commits where they are.

    It would delete them before the checkpoint that replaces them is durable.
    """
    from deltalake import PostCommitHookProperties

    return None if is_remote(url) else PostCommitHookProperties(cleanup_expired_logs=False)


class HaltedError(MissionControlError):
    """A commit may be one that nobody will ever see."""


@contextmanager
def in_time() -> Iterator[None]:
    """Raises HaltedError where a commit took so long that it may be one that nobody will ever see.

    A commit is a file of a name that must not be taken. While a process is halted between looking for the name and
    writing the file, others may take that name and forget it again with the log's old commits. One clock goes on while
    a machine sleeps, the other is set right after a virtual one was halted.
    """
    began = [time.clock_gettime(clock) for clock in _CLOCKS]
    yield
    took = max(time.clock_gettime(clock) - moment for clock, moment in zip(_CLOCKS, began, strict=True))
    if took > LONGEST_COMMIT_SECONDS:
        raise HaltedError(f"a commit took {took:.0f} s")


def properties_of(table: contract.Table) -> dict[str, str]:
    """What Delta is told of a table. Statistics of other columns than the time help nobody, and cost each commit."""
    return {"delta.dataSkippingStatsColumns": table.time_column}


def said_again(delta: "DeltaTable") -> "CommitProperties | None":
    """The properties of a commit that adds no pings: the newest submission once more, where the table says one."""
    from deltalake import CommitProperties

    said = said_up_to(delta)
    return CommitProperties(custom_metadata={contract.DATA_UP_TO: said}) if said else None
