"""The run of a job: one micro-batch after another until it is done or a stop is requested."""

import re
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn

from streaming import contract
from streaming.aggregation import spill
from streaming.aggregation.deduplication import SEEN_IDS_FOLDER, drop_duplicates, remove_seen_ids
from streaming.aggregation.once import SEEN_CRASHES_FOLDER, count_once
from streaming.aggregation.partial_sums import add_up, rows_of
from streaming.aggregation.seen_ids import FIRST_NUMBER, LATE_US
from streaming.aggregation.spill import files_of, rows_per_task, with_rows
from streaming.dataset.worker_writes import check_visible, spill_rows
from streaming.dataset.writer import TableWriter, sync_tables
from streaming.errors import MissionControlError
from streaming.job.checkpoint import Checkpoint, source_app
from streaming.job.hour_before import record_hour_before
from streaming.job.results import (
    count_accepted,
    count_bad_files,
    newest_submission,
    row_count,
    sum_partials,
    tally_rejects,
)
from streaming.job.settings import AggregateSettings, Batch, Progress, Summary
from streaming.sources.base import Plan, Source
from streaming.sources.files import listing
from streaming.sources.files.source import FilePlan, FileSource
from streaming.sources.kafka.source import TopicPlan
from streaming.sources.spark_source import reading_options
from streaming.spark.cluster import SHUFFLE_PARTITIONS, is_cluster
from streaming.spark.java_exit import MemoryWatch
from streaming.storage.local_files import IgnoredFiles
from streaming.storage.locations import is_remote, plain_folder
from streaming.storage.s3 import pass_on_settings

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake.transaction import AddAction
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

_POLL_SECONDS = 0.1
WORKER_STARTS = 6  # Spark waits 10 s for each
STOP_GRACE_SECONDS = 1.0  # a service manager ends Spark and this job together, and either may get its signal first


def require_pings(source: Source, follow: bool, on_notice: Callable[[str], None]) -> None:
    """Raises MissionControlError where a source holds no ping files.

    A source that is followed may still get some, so their absence is only reported.
    """
    why = listing.why_nothing(source.url, source.retry_policy) if isinstance(source, FileSource) else None
    if why is not None and follow:
        on_notice(f"{why}: waiting for one")
    elif why is not None:
        raise MissionControlError(why)


class WorkerStartError(MissionControlError):
    """A Python process of Spark took longer to start than the 10 s that Spark waits, a limit without a setting."""


class Run:
    """One run of the stream: its inputs, and what it has done so far."""

    def __init__(
        self,
        source: Source,
        dataset: str,
        settings: AggregateSettings,
        products: contract.Products,
        checkpoint: Checkpoint,
        plan: Plan,
        writers: list[TableWriter],
        on_batch: Callable[[Batch], None],
        on_commit: Callable[[str, int], None],
        on_notice: Callable[[str], None],
        stop: threading.Event,
    ) -> None:
        self._source, self._settings, self._checkpoint, self._plan = source, settings, checkpoint, plan
        self._writers, self._on_batch, self._on_commit, self._stop = writers, on_batch, on_commit, stop
        self._dataset, self._products, self._on_notice = dataset, products, on_notice
        self._outage_notice: str | None = None
        self._committing = threading.Lock()
        self._error: Exception | None = None
        self._is_ended = self._has_read_all = False
        self._done_bytes = self._shown_bytes = self._bytes = self._accepted = self._batches = 0
        self._rejected: Tally[str] = Tally()

    def run(self, spark: "SparkSession", on_progress: Callable[[Progress], None]) -> None:
        """Reads, sums and appends until there is nothing left to read, or until a stop is requested."""
        if not self._await_first_ping():
            self._has_read_all = not self._stop.is_set()
            return
        total = 0 if self._settings.follow else self._plan.unread_bytes(self._committed)
        if self._settings.follow and isinstance(self._plan, FilePlan) and self._plan.list_ignored():
            self._on_notice(f"passed over: {self._plan.ignored_files}")
        tries_left, batches = WORKER_STARTS, self._batches
        while True:
            try:
                self._stream(spark, total, on_progress)
                break
            except WorkerStartError:
                self._has_read_all = False
                if self._stop.is_set():
                    break
                if self._batches > batches:
                    tries_left, batches = WORKER_STARTS, self._batches
                tries_left -= 1
                if not tries_left:
                    raise
                self._on_notice("this machine is so busy that Spark's Python did not start within 10 s: trying again")
        on_progress(Progress(self._done_bytes, max(total, self._done_bytes), self._pings))

    def _stream(self, spark: "SparkSession", total: int, on_progress: Callable[[Progress], None]) -> None:
        """Runs Spark's stream from the next micro-batch on. total: how many bytes `run` reads in all, for progress."""
        self._prepare_seen_ids(spark)
        if self._stop.is_set():
            return
        self._is_ended = False
        query = self._start(spark)
        memory = MemoryWatch(spark)
        try:
            while not self._stop.wait(_POLL_SECONDS) and query.isActive:
                self._report_outage()
                memory.check()
                if not self._settings.follow:  # following has no end to approach, and asking Spark costs time
                    on_progress(self._progress(spark, total))
            self._has_read_all = not query.isActive
        finally:
            self._end(query, java_has_ended=memory.has_ended)

    def _prepare_seen_ids(self, spark: "SparkSession") -> None:
        """Notes the ids that the first micro-batch needs; without --dedupe, removes the ids, which become outdated."""
        if not self._settings.dedupe:
            remove_seen_ids(self._checkpoint.folder)
            return
        if not isinstance(self._plan, TopicPlan):
            return
        pass_on_settings(spark.sparkContext.environment)
        options = self._reading_options(spark)
        failure = record_hour_before(spark, self._plan, self._checkpoint, options, self._stop, self._on_notice)
        if failure:
            _raise(failure)

    def _reading_options(self, spark: "SparkSession") -> dict[str, str]:
        return {
            **reading_options(self._settings.envelope, self._products),
            "by_delivery": str(self._settings.dedupe).lower(),
            "once": str(self._settings.once_days > 0).lower(),
            "cores": str(spark.sparkContext.defaultParallelism),
        }

    def require_pings(self, at_start: bool) -> None:
        """Calls the function of this name: at the end, only where nothing was read and the source is not followed.

        At the start, only for a checkpoint that knows no file: another may have a micro-batch to finish.
        """
        if self._stop.is_set():
            return
        if not (len(self._plan) if at_start else self._batches or self._settings.follow):
            require_pings(self._source, self._settings.follow, self._on_notice)

    def _ignored_files(self) -> IgnoredFiles:
        """The known ignored files; an object store is not listed again to find them."""
        if not isinstance(self._plan, FilePlan):
            return IgnoredFiles()
        looks_again = self._settings.follow and not is_remote(self._source.identity)
        return self._plan.list_ignored() if looks_again else self._plan.ignored_files

    def _report_outage(self) -> None:
        notice = self._source.outage_notice()
        if notice != self._outage_notice:
            self._on_notice(notice or "going on")
        self._outage_notice = notice

    def _await_first_ping(self) -> bool:
        """Whether there is or was anything to read; when following, waits until there is."""
        while not self._stop.is_set():
            if self._plan.has_pings():
                return True
            if not self._settings.follow or self._stop.wait(self._settings.trigger_seconds):
                break
        return False

    @property
    def _committed(self) -> int:
        """How many micro-batches the dataset certainly holds."""
        numbers = [writer.transaction(self._checkpoint.app) for writer in self._writers]
        return max((number for number in numbers if number is not None), default=0)

    def summary(self, seconds: float, start_seconds: float) -> Summary:
        """A summary of what was read."""
        rejected, passed_over = contract.split_passed_over(dict(self._rejected.most_common()))
        finished = self._settings.follow or self._has_read_all
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

    def _start(self, spark: "SparkSession") -> "StreamingQuery":
        self._checkpoint.drop_unfinished_start()
        data_source = self._source.data_source
        pass_on_settings(spark.sparkContext.environment)
        spark.dataSource.register(data_source)
        options = {**self._plan.options(), **self._reading_options(spark)}
        options["batch_rows"] = str(spill.BATCH_ROWS)
        spill_to = self._spill_before_shuffle(spark)
        if spill_to is not None and not self._settings.dedupe:  # rows by delivery are not rows of a table
            options["spill_to"] = spill_to
        partials = spark.readStream.format(data_source.name()).options(**options).load()
        stream = partials.writeStream.foreachBatch(self._append)
        stream = stream.option(
            "checkpointLocation", str(plain_folder(self._checkpoint.folder) / self._checkpoint.spark.name)
        )
        if self._settings.follow:
            return stream.trigger(processingTime=f"{round(self._settings.trigger_seconds * 1000)} milliseconds").start()
        return stream.trigger(availableNow=True).start()

    def _append(self, partials: "DataFrame", number: int) -> None:
        """Sums a micro-batch and appends it to each table exactly once, however often the micro-batch is repeated."""
        began = time.monotonic()
        if self._settings.dedupe:
            spark, seen_ids = partials.sparkSession, self._checkpoint.folder / SEEN_IDS_FOLDER
            max_rows = rows_per_task(spill.BATCH_ROWS, int(spark.conf.get(SHUFFLE_PARTITIONS) or 1))
            late_us = 0 if isinstance(self._plan, TopicPlan) else LATE_US
            partials = drop_duplicates(
                partials, FIRST_NUMBER + number, seen_ids, self._spill_before_shuffle(spark), max_rows, late_us
            )
        sums, written, crash_rows = self._sum(partials, number)
        data_up_to = newest_submission(sums)
        with self._committing:
            if self._is_ended:
                raise RuntimeError("ended before a micro-batch was committed")
            try:
                summed_at = time.monotonic()
                self._checkpoint.sync(number)
                for writer in self._writers:
                    rows = rows_of(writer.table, sums) if written is None else written[writer.table.name]
                    # Messages of an aborted transaction have no sums, but the micro-batch must be recorded as done.
                    if len(rows) or (not len(sums) and writer.table is contract.ERROR_AGGREGATES):
                        newest = data_up_to if writer.table is contract.ERROR_AGGREGATES else None
                        writer.append(rows, number, self._checkpoint.app, newest, (source_app(self._source.identity),))
                        self._on_commit(writer.table.name, number)
                sync_tables(self._writers)
                now = time.monotonic()
                rows = row_count(sums, written) + crash_rows
                self._record_batch(sums, rows, number, now - began, now - summed_at, data_up_to)
            except Exception as error:
                self._error = error
                raise

    def _sum(self, partials: "DataFrame", number: int) -> "tuple[pa.Table, dict[str, list[AddAction]] | None, int]":
        """The sums of a micro-batch, the files that hold them where workers write, and how many rows crash pings had.

        On one machine, rows that are few enough to hold in memory are added up in this process. For a small
        micro-batch, Spark's shuffle and second job would take longer than everything else; even for a large one they
        take longer than adding up here.
        """
        spark, is_shared = partials.sparkSession, self._settings.write_from == "workers"
        context = spark.sparkContext
        is_on_one_machine = not is_cluster(context.master or "")
        if is_on_one_machine and not is_shared and self._plan.has_few_rows(number, context.defaultParallelism):
            passed = add_up(partials.toArrow())
        else:
            summed, spill_to = sum_partials(partials), self._spill_to(spark)
            if spill_to is not None:
                tasks = int(spark.conf.get(SHUFFLE_PARTITIONS) or 1)
                summed = spill_rows(summed, spill_to, 0 if is_shared else rows_per_task(spill.BATCH_ROWS, tasks))
            passed = summed.toArrow()
        passed, crash_rows = self._count_crashes_once(passed, number)
        sums, files = files_of(passed)
        if not is_shared and not any(files.values()):
            return sums, None, crash_rows
        check_visible(self._dataset, files)
        return sums, with_rows(sums, files, self._dataset), crash_rows

    def _count_crashes_once(self, sums: "pa.Table", number: int) -> "tuple[pa.Table, int]":
        """The sums with crash pings, each crash once, and how many rows of crash pings there were."""
        folder, days = self._checkpoint.folder / SEEN_CRASHES_FOLDER, self._settings.once_days
        counted_before = self._settings.counted_before
        return count_once(sums, FIRST_NUMBER + number, folder, days, counted_before, self._dataset)

    def _spill_to(self, spark: "SparkSession") -> str | None:
        """The dataset where tasks can write to it: on one machine, in an object store or by the settings; else None."""
        is_seen = is_remote(self._dataset) or not is_cluster(spark.sparkContext.master or "")
        return self._dataset if is_seen or self._settings.write_from == "workers" else None

    def _spill_before_shuffle(self, spark: "SparkSession") -> str | None:
        """As _spill_to, for tasks whose rows Spark shuffles; None on a cluster.

        On a cluster, such a task runs again where its output was lost with a machine. It would then write other files,
        some of which would be committed beside the first ones or instead of them.
        """
        return None if is_cluster(spark.sparkContext.master or "") else self._spill_to(spark)

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
        read = self._plan.read(number, size)
        self._plan.note_rows(number, size, rows)
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

    def _progress(self, spark: "SparkSession", total: int) -> Progress:
        """What finished micro-batches, and about what the finished tasks of the running one, have read."""
        tracker = spark.sparkContext.statusTracker()
        stages = [tracker.getStageInfo(stage) for stage in sorted(tracker.getActiveStageIds())]
        shares = [stage.numCompletedTasks / stage.numTasks for stage in stages if stage]
        running = min(self._plan.newest_bytes(), max(total - self._done_bytes, 0))
        self._shown_bytes = max(self._shown_bytes, self._done_bytes + round(running * (shares or [0])[0]))
        return Progress(self._shown_bytes, total, self._pings)

    def _end(self, query: "StreamingQuery", *, java_has_ended: bool) -> None:
        """Ends the stream between two commits, and raises the error that ended it before.

        java_has_ended: whether the Java process that it ran in has ended.
        """
        with self._committing:
            self._is_ended = True
            if java_has_ended:
                return
            failure = str(query.exception() or "") if not query.isActive else ""  # needs a running Spark
        query.stop()  # waits for a micro-batch that has not begun to commit, and no longer can
        if self._error is not None:
            raise self._error
        if failure:
            _raise(failure)


def _raise(failure: str) -> NoReturn:
    """Raises the error that ended a stream."""
    raise _error_of(failure)


def _error_of(message: str) -> Exception:
    """The error that ended a stream, from Spark's message about it."""
    raised = re.search(r"MissionControlError: (.*)", message)
    if raised:
        return MissionControlError(raised[1])
    if "spark.driver.maxResultSize" in message:
        return MissionControlError(
            "a micro-batch has more rows than the driver can hold. Let workers write them: --write-from workers, with "
            "a dataset that all machines see. Or give the driver more memory, by a line such as spark.driver.memory = "
            "4g in a file that --spark-config names. Or read less at a time: --batch-megabytes. A backfill has "
            "more memory only, or --master 'local[*]'"
        )
    if "Python worker exited unexpectedly" in message:
        return MissionControlError(
            "a Python worker of Spark ended unexpectedly: was it killed, or was there too little memory?"
        )
    if "Python worker failed to connect back" in message:
        return WorkerStartError(
            f"Spark's Python did not start within 10 s, {WORKER_STARTS} times: the machine is too busy. Start the job "
            "again when it is less busy"
        )
    return RuntimeError(message)
