"""Plans micro-batches by a source's reader: in this process, or in one of its own that a stop need not wait for."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from streaming.embedded.workers import Workers

if TYPE_CHECKING:
    from pyspark.sql.datasource import DataSource

FIRST, FIX_END, NEXT, PARTS = "first", "fix_end", "next", "parts"
_readers: dict[str, Any] = {}  # of a worker process, which plans for one job


def reader_of(data_source: "type[DataSource]", options: dict[str, str]) -> Any:
    """The source's reader, which remembers what it has planned."""
    return data_source(options).streamReader(None)  # type: ignore[arg-type]


def plan(reader: Any, step: str, *offsets: Any) -> Any:
    """Does a step of planning.

    FIRST gives the offset before the first ping; FIX_END ends the source where it ends now; NEXT gives the offset one
    micro-batch after an offset, which is the same where there is nothing; PARTS gives the parts between two offsets.
    """
    if step == NEXT:
        return reader.latestOffset(*offsets, reader.getDefaultReadLimit())
    steps: dict[str, Callable[..., Any]] = {
        FIRST: reader.initialOffset,
        FIX_END: reader.prepareForTriggerAvailableNow,
        PARTS: reader.partitions,
    }
    return steps[step](*offsets)


def plan_in_worker(data_source: "type[DataSource]", options: dict[str, str], step: str, *offsets: Any) -> Any:
    """As plan, by a reader that this process keeps for the options."""
    key = repr(sorted(options.items()))
    if key not in _readers:
        _readers[key] = reader_of(data_source, options)
    return plan(_readers[key], step, *offsets)


class Stopped(Exception):  # noqa: N818 (no error)
    """A stop was requested."""


class Planner:
    """Plans by `plan`. process: a worker that plans; None: this process does."""

    def __init__(
        self,
        data_source: "type[DataSource]",
        options: dict[str, str],
        process: Workers | None,
        stop: threading.Event,
        look: Callable[[], None],
    ) -> None:
        self._source, self._process, self._stop, self._look = (data_source, options), process, stop, look
        self._reader = None if process else reader_of(data_source, options)

    def __call__(self, step: str, *offsets: Any) -> Any:
        """Does a step. Raises Stopped where a stop is requested meanwhile."""
        if self._process is None:
            return plan(self._reader, step, *offsets)
        for result in self._process.map(plan_in_worker, [(*self._source, step, *offsets)], self._stop, self._look):
            return result
        raise Stopped
