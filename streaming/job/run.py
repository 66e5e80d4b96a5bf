"""The run of a job: one micro-batch after another until it is done or a stop is requested."""

import time
from collections import Counter as Tally
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from streaming import contract
from streaming.aggregation.once import SEEN_CRASHES_FOLDER, count_once
from streaming.aggregation.partial_sums import rows_of
from streaming.aggregation.seen_ids import FIRST_NUMBER
from streaming.aggregation.spill import files_of, with_rows
from streaming.dataset.worker_writes import check_visible
from streaming.dataset.writer import TableWriter, sync_tables
from streaming.errors import MissionControlError
from streaming.job.checkpoint import source_app
from streaming.job.job import Engine, Job
from streaming.job.results import count_accepted, count_bad_files, newest_submission, row_count, tally_rejects
from streaming.job.settings import Batch, Progress, Summary
from streaming.sources.base import Source
from streaming.sources.files import listing
from streaming.sources.files.source import FilePlan, FileSource
from streaming.storage.local_files import IgnoredFiles
from streaming.storage.locations import is_remote

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake.transaction import AddAction


def require_pings(source: Source, follow: bool, on_notice: Callable[[str], None]) -> None:
    """Raises MissionControlError where a source holds no ping files.

    A source that is followed may still get some, so their absence is only reported.
    """
    why = listing.why_nothing(source.url, source.retry_policy) if isinstance(source, FileSource) else None
    if why is not None and follow:
        on_notice(f"{why}: waiting for one")
    elif why is not None:
        raise MissionControlError(why)


class Run:
    """One run of a job: its inputs, and what it has done so far."""

    def __init__(
        self,
        job: Job,
        writers: list[TableWriter],
        on_batch: Callable[[Batch], None],
        on_commit: Callable[[str, int], None],
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._job, self._writers = job, writers
        self._on_batch, self._on_commit, self._on_progress = on_batch, on_commit, on_progress
        self._outage_notice: str | None = None
        self._has_read_all = False
        self._total_bytes = 0  # that this run is to read
        self._done_bytes = self._shown_bytes = self._bytes = self._accepted = self._batches = 0
        self._rejected: Tally[str] = Tally()

    def run(self, engine: Engine) -> None:
        """Reads, sums and appends until there is nothing left to read, or until a stop is requested."""
        job = self._job
        if not self._await_first_ping():
            self._has_read_all = not job.stop.is_set()
            return
        if not job.settings.follow:
            self._total_bytes = job.plan.unread_bytes(self._committed)
        elif isinstance(job.plan, FilePlan) and job.plan.list_ignored():
            job.notify(f"passed over: {job.plan.ignored_files}")
        self._has_read_all = engine.stream(job, self)
        self._on_progress(Progress(self._done_bytes, max(self._total_bytes, self._done_bytes), self._pings))

    def look(self, share: Callable[[], float]) -> None:
        """Reports an outage, and the progress. share: gives the finished share of the running micro-batch."""
        notice = self._job.source.outage_notice()
        if notice != self._outage_notice:
            self._job.notify(notice or "going on")
        self._outage_notice = notice
        if not self._job.settings.follow:  # following has no end to approach, and asking Spark costs time
            running = min(self._job.plan.newest_bytes(), max(self._total_bytes - self._done_bytes, 0))
            self._shown_bytes = max(self._shown_bytes, self._done_bytes + round(running * share()))
            self._on_progress(Progress(self._shown_bytes, self._total_bytes, self._pings))

    def require_pings(self, at_start: bool) -> None:
        """Calls the function of this name: at the end, only where nothing was read and the source is not followed.

        At the start, only for a checkpoint that knows no file: another may have a micro-batch to finish.
        """
        if self._job.stop.is_set():
            return
        if not (len(self._job.plan) if at_start else self._batches or self._job.settings.follow):
            require_pings(self._job.source, self._job.settings.follow, self._job.notify)

    def _ignored_files(self) -> IgnoredFiles:
        """The known ignored files; an object store is not listed again to find them."""
        if not isinstance(self._job.plan, FilePlan):
            return IgnoredFiles()
        looks_again = self._job.settings.follow and not is_remote(self._job.source.identity)
        return self._job.plan.list_ignored() if looks_again else self._job.plan.ignored_files

    def _await_first_ping(self) -> bool:
        """Whether there is or was anything to read; when following, waits until there is."""
        while not self._job.stop.is_set():
            if self._job.plan.has_pings():
                return True
            if not self._job.settings.follow or self._job.stop.wait(self._job.settings.trigger_seconds):
                break
        return False

    @property
    def _committed(self) -> int:
        """How many micro-batches the dataset certainly holds."""
        numbers = [writer.transaction(self._job.checkpoint.app) for writer in self._writers]
        return max((number for number in numbers if number is not None), default=0)

    def summary(self, seconds: float, start_seconds: float) -> Summary:
        """A summary of what was read."""
        rejected, passed_over = contract.split_passed_over(dict(self._rejected.most_common()))
        finished = self._job.settings.follow or self._has_read_all
        return Summary(
            self._pings,
            self._accepted,
            rejected,
            self._bytes,
            seconds,
            start_seconds,
            self._batches,
            finished,
            passed_over,
            self._ignored_files(),
        )

    @property
    def _pings(self) -> int:
        return self._accepted + self._rejected.total()

    def begin(self, number: int) -> None:
        """Makes the record of a planned micro-batch durable: notes and tables rely on what its number stands for."""
        self._job.checkpoint.sync(number)

    def append(self, sums: "pa.Table", number: int, began: float) -> None:
        """Appends a micro-batch to each table exactly once, however often the micro-batch is repeated.

        sums: of which no two rows share a key, but for crash pings, which are counted once here.
        """
        job, checkpoint = self._job, self._job.checkpoint
        sums, crash_rows = count_once(
            sums,
            FIRST_NUMBER + number,
            checkpoint.folder / SEEN_CRASHES_FOLDER,
            job.settings.once_days,
            job.settings.counted_before,
            job.dataset,
        )
        sums, written = self._written(sums)
        data_up_to = newest_submission(sums)
        summed_at = time.monotonic()
        for writer in self._writers:
            rows = rows_of(writer.table, sums) if written is None else written[writer.table.name]
            # Messages of an aborted transaction have no sums, but the micro-batch must be recorded as done.
            if len(rows) or (not len(sums) and writer.table is contract.ERROR_AGGREGATES):
                newest = data_up_to if writer.table is contract.ERROR_AGGREGATES else None
                writer.append(rows, number, checkpoint.app, newest, (source_app(job.source.identity),))
                self._on_commit(writer.table.name, number)
        sync_tables(self._writers)
        now = time.monotonic()
        rows = row_count(sums, written) + crash_rows
        self._record_batch(sums, rows, number, now - began, now - summed_at, data_up_to)

    def _written(self, sums: "pa.Table") -> "tuple[pa.Table, dict[str, list[AddAction]] | None]":
        """The sums without rows that name written files; and all files of the micro-batch where tasks wrote some."""
        sums, files = files_of(sums)
        if self._job.settings.write_from == "driver" and not any(files.values()):
            return sums, None
        check_visible(self._job.dataset, files)
        return sums, with_rows(sums, files, self._job.dataset)

    def _record_batch(
        self,
        sums: "pa.Table",
        rows: int,
        number: int,
        seconds: float,
        commit_seconds: float,
        data_up_to: datetime | None,
    ) -> None:
        import pyarrow.compute as pc

        rejects = tally_rejects(sums, contract.REJECTED_PINGS.name)
        accepted = count_accepted(sums)
        size = pc.sum(sums["bytes"]).as_py() or 0
        read = self._job.plan.read(number, size)
        self._job.plan.note_rows(number, size, rows)
        self._accepted += accepted
        self._rejected.update(rejects)
        self._bytes += size
        self._batches += 1
        self._done_bytes += read.bytes
        rejected, passed_over = contract.split_passed_over(dict(rejects.most_common()))
        bad_files = count_bad_files(sums)
        pings = accepted + rejects.total()
        self._on_batch(
            Batch(
                number, read.files, pings, rejected, bad_files, size, seconds, commit_seconds, data_up_to, passed_over
            )
        )
