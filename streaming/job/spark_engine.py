"""Streams a job by Spark: on this machine or on a cluster."""

import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from streaming.aggregation import spill
from streaming.aggregation.deduplication import drop_duplicates, remove_seen_ids
from streaming.aggregation.partial_sums import add_up
from streaming.aggregation.seen_ids import FIRST_NUMBER
from streaming.aggregation.spill import rows_per_task
from streaming.dataset.worker_writes import spill_rows
from streaming.errors import MissionControlError
from streaming.job.hour_before import record_hour_before
from streaming.job.job import Job, Watcher
from streaming.job.results import sum_partials
from streaming.sources.kafka.data_source import PingTopic
from streaming.sources.kafka.source import TopicPlan
from streaming.spark.cluster import SHUFFLE_PARTITIONS, is_cluster
from streaming.spark.java_exit import MemoryWatch
from streaming.storage.locations import is_remote, plain_folder
from streaming.storage.s3 import pass_on_settings

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

_POLL_SECONDS = 0.1
WORKER_STARTS = 6  # Spark waits 10 s for each
STOP_GRACE_SECONDS = 1.0  # a service manager ends Spark and this job together, and either may get its signal first


class WorkerStartError(MissionControlError):
    """A Python process of Spark took longer to start than the 10 s that Spark waits, a limit without a setting."""


class SparkEngine:
    """Streams by a Spark session."""

    def __init__(self, spark: "SparkSession") -> None:
        self._spark = spark

    def stream(self, job: Job, watcher: Watcher) -> bool:
        """Appends micro-batches until there is nothing left to read or a stop is requested; True for the former.

        Starts Spark's stream again where its Python did not start in time, WORKER_STARTS times between micro-batches.
        """
        tries_left = WORKER_STARTS
        while True:
            stream = _SparkStream(self._spark, job, watcher)
            try:
                return stream.run()
            except WorkerStartError:
                if job.stop.is_set():
                    return False
                tries_left = (WORKER_STARTS if stream.batches else tries_left) - 1
                if not tries_left:
                    raise
                job.notify("this machine is so busy that Spark's Python did not start within 10 s: trying again")


class _SparkStream:
    """A stream of Spark, from its start to its end. batches: how many were appended."""

    def __init__(self, spark: "SparkSession", job: Job, watcher: Watcher) -> None:
        self._spark, self._job, self._watcher = spark, job, watcher
        self._committing = threading.Lock()
        self._error: Exception | None = None
        self._is_ended = False
        self.batches = 0

    def run(self) -> bool:
        """Streams from the next micro-batch on; whether there is nothing left to read."""
        self._prepare_seen_ids()
        if self._job.stop.is_set():
            return False
        query = self._start()
        memory = MemoryWatch(self._spark)
        try:
            while not self._job.stop.wait(_POLL_SECONDS) and query.isActive:
                memory.check()
                self._watcher.look(self._finished_share)
            has_read_all = not query.isActive
        finally:
            self._end(query, java_has_ended=memory.has_ended)
        return has_read_all

    def _prepare_seen_ids(self) -> None:
        """Notes the ids that the first micro-batch needs; without --dedupe, removes the ids, which become outdated."""
        job = self._job
        if not job.settings.dedupe:
            remove_seen_ids(job.checkpoint.folder)
        elif isinstance(job.plan, TopicPlan):
            pass_on_settings(self._spark.sparkContext.environment)
            failure = record_hour_before(job.plan, job.checkpoint, job.stop, job.notify, self._note_ids)
            if failure:
                _raise(failure)

    def _note_ids(self, options: dict[str, str], records: Path, seen_ids: Path) -> str:
        """Notes the ids of pings of a topic; the reason of a failure."""
        job, spark = self._job, self._spark

        def note(partials: "DataFrame", number: int) -> None:
            drop_duplicates(partials, number, seen_ids).write.format("noop").mode("overwrite").save()

        spark.dataSource.register(PingTopic)
        pings = spark.readStream.format(PingTopic.name()).options(**job.reading_options(self._cores), **options).load()
        stream = pings.writeStream.foreachBatch(note).trigger(availableNow=True)
        query = stream.option("checkpointLocation", str(records)).start()
        try:
            while not job.stop.wait(_POLL_SECONDS) and query.isActive:
                pass
            return str(query.exception() or "") if not query.isActive else ""
        finally:
            query.stop()

    @property
    def _cores(self) -> int:
        return self._spark.sparkContext.defaultParallelism

    @property
    def _is_on_one_machine(self) -> bool:
        return not is_cluster(self._spark.sparkContext.master or "")

    @property
    def _shuffle_tasks(self) -> int:
        return int(self._spark.conf.get(SHUFFLE_PARTITIONS) or 1)

    def _start(self) -> "StreamingQuery":
        job, spark = self._job, self._spark
        job.checkpoint.drop_unfinished_start()
        data_source = job.source.data_source
        pass_on_settings(spark.sparkContext.environment)
        spark.dataSource.register(data_source)
        options = {**job.plan.options(), **job.reading_options(self._cores)}
        spill_to = self._spill_before_shuffle()
        if spill_to is not None and not job.settings.dedupe:  # rows by delivery are not rows of a table
            options["spill_to"] = spill_to
        partials = spark.readStream.format(data_source.name()).options(**options).load()
        records = plain_folder(job.checkpoint.folder) / job.checkpoint.spark.name
        stream = partials.writeStream.foreachBatch(self._append).option("checkpointLocation", str(records))
        if job.settings.follow:
            return stream.trigger(processingTime=f"{round(job.settings.trigger_seconds * 1000)} milliseconds").start()
        return stream.trigger(availableNow=True).start()

    def _append(self, partials: "DataFrame", number: int) -> None:
        """Sums a micro-batch and appends it."""
        began, job = time.monotonic(), self._job
        self._begin(number)
        if job.settings.dedupe:
            max_rows = rows_per_task(spill.BATCH_ROWS, self._shuffle_tasks)
            partials = drop_duplicates(
                partials, FIRST_NUMBER + number, job.seen_ids, self._spill_before_shuffle(), max_rows, job.late_us
            )
        sums = self._sum(partials, number)
        with self._committing:
            if self._is_ended:
                raise RuntimeError("ended before a micro-batch was committed")
            try:
                self._watcher.append(sums, number, began)
                self.batches += 1
            except Exception as error:
                self._error = error
                raise

    def _begin(self, number: int) -> None:
        try:
            self._watcher.begin(number)
        except Exception as error:
            self._error = error
            raise

    def _sum(self, partials: "DataFrame", number: int) -> "pa.Table":
        """The sums of a micro-batch, with rows that name written files where tasks write.

        On one machine, rows that are few enough to hold in memory are added up in this process. For a small
        micro-batch, Spark's shuffle and second job would take longer than everything else; even for a large one they
        take longer than adding up here.
        """
        is_shared = self._job.settings.write_from == "workers"
        if self._is_on_one_machine and not is_shared and self._job.plan.has_few_rows(number, self._cores):
            return add_up(partials.toArrow())
        summed, spill_to = sum_partials(partials), self._spill_to()
        if spill_to is not None:
            most = 0 if is_shared else rows_per_task(spill.BATCH_ROWS, self._shuffle_tasks)
            summed = spill_rows(summed, spill_to, most)
        return summed.toArrow()

    def _spill_to(self) -> str | None:
        """The dataset where tasks can write to it: on one machine, in an object store or by the settings; else None."""
        dataset = self._job.dataset
        is_seen = is_remote(dataset) or self._is_on_one_machine or self._job.settings.write_from == "workers"
        return dataset if is_seen else None

    def _spill_before_shuffle(self) -> str | None:
        """As _spill_to, for tasks whose rows Spark shuffles; None on a cluster.

        On a cluster, such a task runs again where its output was lost with a machine. It would then write other files,
        some of which would be committed beside the first ones or instead of them.
        """
        return self._spill_to() if self._is_on_one_machine else None

    def _finished_share(self) -> float:
        """About which share of the tasks of the running micro-batch are finished."""
        tracker = self._spark.sparkContext.statusTracker()
        stages = [tracker.getStageInfo(stage) for stage in sorted(tracker.getActiveStageIds())]
        return next((stage.numCompletedTasks / stage.numTasks for stage in stages if stage), 0.0)

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
            "more memory only, or runs without --master"
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
