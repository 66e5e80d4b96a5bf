"""A stream whose micro-batches are counted by processes of this machine; its records are those that Spark keeps."""

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streaming import contract
from streaming.aggregation.partial_sums import add_up
from streaming.aggregation.spill import batch_rows, rows_per_task
from streaming.embedded import planner, tasks
from streaming.embedded.planner import Planner, Stopped
from streaming.embedded.stream_log import StreamLog
from streaming.embedded.workers import Workers

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql.datasource import DataSource

IDLE_SECONDS = 0.05  # at least, between two looks for more where there was nothing
LOOK_SECONDS = 1.0
Append = Callable[["pa.Table", int, float], None]


@dataclass(frozen=True)
class Duplicates:
    """How duplicates are found. first_number: what micro-batch 0 notes its ids under; seen_ids, late_us: see Job."""

    seen_ids: Path
    first_number: int
    late_us: int


@dataclass(frozen=True)
class Reading:
    """What is read. data_source: counts parts of the source; records: the folder of the stream's records.

    follow_seconds: how often to look for more; None: the stream ends where the source ends now. is_quick: whether
    parts are counted in less time than a process takes to start. scratch: a folder for files of this run. spill_to: the
    dataset where tasks may write rows. begin: called with the number of a micro-batch that is planned, before its
    parts are counted.
    """

    data_source: "type[DataSource]"
    options: dict[str, str]
    records: Path
    follow_seconds: float | None
    is_quick: Callable[[Sequence[Any]], bool]
    scratch: Path
    spill_to: str | None
    duplicates: Duplicates | None
    begin: Callable[[int], None]


class EmbeddedStream:
    """Reads a source from one micro-batch to the next.

    first: the number of the first micro-batch that is not done; look: called several times a second with the finished
    share of the running micro-batch.
    """

    def __init__(
        self,
        reading: Reading,
        first: int,
        workers: Workers,
        planning: Workers | None,
        look: Callable[[float], None],
        stop: threading.Event,
    ) -> None:
        self._reading, self._workers, self._look, self._stop = reading, workers, look, stop
        self._log, self._number, self._share = StreamLog(reading.records), first, 0.0
        options = dict(reading.options)
        if reading.spill_to is not None and reading.duplicates is None:  # rows by delivery are not rows of a table
            options["spill_to"] = reading.spill_to
        self._source = (reading.data_source, options)
        self._plan = Planner(reading.data_source, options, planning, stop, lambda: look(self._share))

    def run(self, append: Append) -> bool:
        """Appends each micro-batch, and then records that it is done; True where there is nothing left to read.

        append: called with the sums of a micro-batch, its number and when it began, again where it was killed before.
        """
        try:
            return self._run(append)
        except Stopped:
            return False

    def _run(self, append: Append) -> bool:
        follow_seconds = self._reading.follow_seconds
        start = self._log.end_of(self._number - 1) if self._number else self._plan(planner.FIRST)
        if follow_seconds is None:
            self._plan(planner.FIX_END)
        while not self._stop.is_set():
            began = time.monotonic()
            end = self._end_after(start)
            if end is None:
                if follow_seconds is None:
                    return True
            else:
                self._share = 0.0
                self._reading.begin(self._number)
                sums = self._sums(self._plan(planner.PARTS, start, end))
                append(sums, self._number, began)
                self._log.finish(self._number)
                start, self._number = end, self._number + 1
            if follow_seconds is not None:
                self._wait_until(began + (follow_seconds if end else max(follow_seconds, IDLE_SECONDS)))
        return False

    def _wait_until(self, moment: float) -> None:
        """Waits until a moment of the monotonic clock or a stop, and looks at least every second."""
        self._look(0.0)
        while (left := moment - time.monotonic()) > 0 and not self._stop.wait(min(left, LOOK_SECONDS)):
            self._look(0.0)

    def _end_after(self, start: Any) -> Any:
        """The offset at which the next micro-batch ends; None where there is nothing to read."""
        planned = self._log.end_of(self._number)
        if planned is not None:
            return planned
        end = self._plan(planner.NEXT, start)
        if end == start:
            return None
        self._log.plan(self._number, end)
        return end

    def _sums(self, parts: Sequence[Any]) -> "pa.Table":
        """The sums of a micro-batch, of which no two rows share a key."""
        import pyarrow as pa

        most = rows_per_task(batch_rows(self._reading.options), len(parts))
        for part in parts:
            part.max_rows = most
        is_quick, duplicates = self._reading.is_quick(parts), self._reading.duplicates
        if duplicates is None:
            found = self._map(tasks.count, [(*self._source, part) for part in parts], is_quick=is_quick)
        else:
            folder = self._reading.scratch / "buckets"
            folder.mkdir()
            self._map(
                tasks.count_into_buckets,
                [(*self._source, part, number, folder) for number, part in enumerate(parts)],
                is_quick=is_quick,
            )
            dropping = tasks.Dropping(
                folder, duplicates.first_number + self._number, duplicates.seen_ids, self._reading.spill_to,
                rows_per_task(batch_rows(self._reading.options), tasks.BUCKETS), duplicates.late_us,
            )  # fmt: skip
            found = self._map(
                tasks.drop_duplicates, [(bucket, dropping) for bucket in range(tasks.BUCKETS)], is_quick=is_quick
            )
            shutil.rmtree(folder)
        schema = contract.partial_schema()
        return add_up(pa.Table.from_batches([batch for batches in found for batch in batches], schema))

    def _map(self, function: Callable[..., Any], given: Sequence[tuple[Any, ...]], *, is_quick: bool) -> list[Any]:
        """The results of tasks. Raises Stopped where a stop is requested meanwhile."""
        if is_quick:
            return [function(*each) for each in given]
        results = []
        for result in self._workers.map(function, given, self._stop, lambda: self._look(self._share)):
            results.append(result)
            if function is not tasks.drop_duplicates:
                self._share = len(results) / len(given)
        if self._stop.is_set():
            raise Stopped
        return results
