"""Commits to Delta tables: their time limit, and the properties and options that deltalake gets with them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streaming import contract
from streaming.dataset.opening import recorded_data_up_to
from streaming.errors import MissionControlError
from streaming.storage.locations import is_remote

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties

LOG_MINUTES = 10  # how long the log keeps single commits; each commit lists all of them
MAX_COMMIT_SECONDS = LOG_MINUTES * 60 / 4
_CLOCKS = (getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC), time.CLOCK_REALTIME)


def after_commit(url: str) -> "PostCommitHookProperties | None":
    """What deltalake does after a commit: in a local table, it does not delete old commits of the log.

    By default it deletes them before the checkpoint that replaces them is durable.
    """
    from deltalake import PostCommitHookProperties

    return None if is_remote(url) else PostCommitHookProperties(cleanup_expired_logs=False)


class SlowCommitError(MissionControlError):
    """A commit took so long that readers may never see it."""


@contextmanager
def commit_time_limit() -> Iterator[None]:
    """Raises HaltedError where a commit took so long that readers may never see it.

    A commit is a file whose name must still be free. While a process is halted between checking the name and writing
    the file, other writers may use that name and delete their file again with the log's old commits. Two clocks are
    read: one continues while a machine sleeps, the other is corrected after a virtual machine was halted.
    """
    began = [time.clock_gettime(clock) for clock in _CLOCKS]
    yield
    took = max(time.clock_gettime(clock) - moment for clock, moment in zip(_CLOCKS, began, strict=True))
    if took > MAX_COMMIT_SECONDS:
        raise SlowCommitError(f"a commit took {took:.0f} s")


def properties_of(table: contract.Table) -> dict[str, str]:
    """A table's Delta properties. Statistics of columns other than the time help no reader and slow each commit."""
    return {"delta.dataSkippingStatsColumns": table.time_column}


def repeat_data_up_to(delta: "DeltaTable") -> "CommitProperties | None":
    """The properties of a commit that adds no pings: they repeat the newest submission, if the table records one."""
    from deltalake import CommitProperties

    data_up_to = recorded_data_up_to(delta)
    return CommitProperties(custom_metadata={contract.DATA_UP_TO: data_up_to}) if data_up_to else None
