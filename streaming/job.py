"""The job: a source, summed, appended. Each micro-batch lands in the dataset exactly once, whenever it is killed."""

import json
import re
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from streaming import contract, files, kafka, spill
from streaming.added import check_seen, spill_rows
from streaming.applies import check_settings
from streaming.checkpoint import Checkpoint, check_against, open_checkpoint, source_app
from streaming.cluster import SHARES_OF_SUMS, await_executors, is_cluster
from streaming.dedupe import FIRST_NUMBER, FOLDER, drop_duplicates, forget
from streaming.errors import MissionControlError
from streaming.files import FilePlan, FileSource
from streaming.hour_before import note_hour_before
from streaming.kafka import TopicPlan, TopicSettings, TopicSource
from streaming.listing import PassedOver
from streaming.partials import envelope_options
from streaming.patience import Patience
from streaming.pings import Envelope
from streaming.places import check_apart, dataset_url, is_remote, normal_url, plain_folder, source_url
from streaming.position import position_of
from streaming.session import MemoryWatch, SparkEndedError, spark_session
from streaming.source import Plan, Source
from streaming.spill import files_of, room_of, with_rows
from streaming.sums import add_up, rows_of
from streaming.table import TableWriter, check_credentials, open_writers, pass_on_settings, sync_tables
from streaming.topic import is_topic
from streaming.upkeep import tended

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake.transaction import AddAction
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

_POLL_SECONDS = 0.1
_STOP_SECONDS = 1.0  # a service manager ends Spark and this job at once, and either may hear of it first
WriteFrom = Literal["driver", "workers"]


@dataclass(frozen=True)
class AggregateSettings:
    """How to run. trigger_seconds: how often to look for new files when following.

    checkpoint: a local folder; None: `_checkpoint` in the dataset. recount: a new checkpoint may count a source that
    the dataset holds already. max_batch_bytes: how much a micro-batch reads at most; None: what suits the source.
    topic: of a source that is one. maintains: when following, tends the dataset beside the stream.
    dedupe: pings of a topic that are delivered twice within an hour count once. spark_config: Spark's own settings;
    environment: the archive that a cluster's executors run in; write_from: who writes the tables' files, "workers"
    where so many rows would keep the driver busy and all machines see the dataset. The driver commits them.
    """

    master: str = "local[*]"
    checkpoint: str | None = None
    envelope: Envelope = field(default_factory=Envelope)
    follow: bool = False
    trigger_seconds: float = 1.0
    max_batch_bytes: int | None = None
    recount: bool = False
    topic: TopicSettings = field(default_factory=TopicSettings)
    maintains: bool = True
    dedupe: bool = False
    java_home: Path | None = None
    spark_config: Mapping[str, str] = field(default_factory=dict)
    environment: str | None = None
    write_from: WriteFrom = "driver"


@dataclass(frozen=True)
class Batch:
    """A micro-batch that was appended.

    files: None where pings do not come in files; rejected: by reason; bad_files: reasons by file; bytes: of documents;
    commit_seconds: how many of its seconds the appends to all tables took.
    """

    number: int
    files: int | None
    pings: int
    rejected: dict[str, int]
    bad_files: dict[str, dict[str, int]]
    bytes: int
    seconds: float
    commit_seconds: float
    data_up_to: datetime | None


@dataclass(frozen=True)
class Progress:
    """Bytes read and to be read, of files or of messages; the pings counted so far."""

    done_bytes: int
    total_bytes: int
    pings: int


@dataclass(frozen=True)
class Summary:
    """What a run read. seconds: all of it; start_seconds: until Spark was up; bytes: of documents, unpacked.

    finished: False where a run that does not follow was stopped before it had read all that was there.
    passed_over: files that were not read because of what they are or what they are called.
    """

    pings: int
    accepted: int
    rejected: dict[str, int]
    bytes: int
    seconds: float
    start_seconds: float
    batches: int
    finished: bool = True
    passed_over: PassedOver = field(default_factory=PassedOver)


def aggregate(
    source: str | Source,
    dataset: str,
    *,
    settings: AggregateSettings | None = None,
    on_start: Callable[[float], None] = lambda seconds: None,
    on_batch: Callable[[Batch], None] = lambda batch: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_commit: Callable[[str, int], None] = lambda table, batch: None,
    on_notice: Callable[[str], None] = lambda notice: None,
    stop: threading.Event | None = None,
    spark: "SparkSession | None" = None,
) -> Summary:
    """Sum the pings of a source into a dataset: those that are there, or with settings.follow until stop is set.

    source: a file, folder, glob or URL as `list_files` takes it, or `kafka://HOST:PORT[,...]/TOPIC`.
    on_start: told the seconds until Spark was up; on_batch: told what is done, from another thread; on_progress: the
    same more often, but when following, which has no end; on_commit: told each table and batch as it is appended;
    on_notice: told in a sentence what is waited for; spark: a session to use instead of one of its own.
    Safe to repeat: what the checkpoint knows is not read again.
    Raises MissionControlError for what the caller can fix.
    """
    began = time.monotonic()
    settings, stop = settings or AggregateSettings(), stop or threading.Event()
    if isinstance(source, str):
        check_settings(settings, source, is_topic(source))
    pings = open_source(source, settings) if isinstance(source, str) else source
    dataset = dataset_url(dataset)
    check_credentials(dataset)
    pings.check(stop, on_notice)
    folder = checkpoint_folder(dataset, settings)
    is_first_run = position_of(folder) is None
    if is_first_run:
        check_apart(pings.identity, folder)
    if is_first_run and not settings.follow:  # before anything is made
        require_pings(pings, settings.follow, on_notice)
    with open_checkpoint(folder, pings.identity, dataset) as checkpoint:
        apps = (checkpoint.app, source_app(pings.identity))
        relied = dict.fromkeys(apps, checkpoint.finished - 1)
        writers = open_writers(dataset, Patience.saying(on_notice, stop), (checkpoint.app,), relied)
        plan = pings.plan(checkpoint.folder)
        check_against(checkpoint, plan, writers, pings.identity, settings.recount)
        run = _Run(pings, dataset, settings, checkpoint, plan, writers, on_batch, on_commit, on_notice, stop)
        if not is_first_run or settings.follow:
            run.require_pings(at_start=True)
        start_seconds = 0.0
        with (
            _ends_with_spark(stop),
            _session(spark, settings, checkpoint) as session,
            _upkeep(dataset, settings, on_notice),
        ):
            await_executors(session, stop, on_notice)
            start_seconds = time.monotonic() - began
            on_start(start_seconds)
            run.run(session, on_progress)
        run.require_pings(at_start=False)
    return run.summary(time.monotonic() - began, start_seconds)


def require_pings(source: Source, follow: bool, on_notice: Callable[[str], None]) -> None:
    """Raises MissionControlError where a source holds no files of pings; one that is followed may yet get some."""
    why = files.why_nothing(source.url, source.patience) if isinstance(source, FileSource) else None
    if why is not None and follow:
        on_notice(f"{why}: waiting for one")
    elif why is not None:
        raise MissionControlError(why)


def open_source(source: str, settings: AggregateSettings) -> Source:
    """The source of a URL or path. Raises MissionControlError where it is none."""
    if is_topic(source):
        most = kafka.MAX_DEDUPING_BATCH_BYTES if settings.dedupe else kafka.MAX_BATCH_BYTES
        return TopicSource.of(source, settings.topic, settings.max_batch_bytes or most)
    return FileSource(source_url(source), settings.max_batch_bytes or files.MAX_BATCH_BYTES)


def _session(
    given: "SparkSession | None", settings: AggregateSettings, checkpoint: Checkpoint
) -> AbstractContextManager["SparkSession"]:
    if given is not None:
        return nullcontext(given)
    return spark_session(
        settings.master,
        checkpoint.scratch,
        config=settings.spark_config,
        environment=settings.environment,
        java_home=settings.java_home,
        held=checkpoint.lock,
    )


@contextmanager
def _ends_with_spark(stop: threading.Event) -> Iterator[None]:
    """Bears the end of Spark's Java where whoever ended it wants this job to end too."""
    try:
        yield
    except SparkEndedError:
        if not stop.wait(_STOP_SECONDS):
            raise


def _upkeep(
    dataset: str, settings: AggregateSettings, on_notice: Callable[[str], None]
) -> AbstractContextManager[None]:
    """Tends the dataset beside a job that follows."""
    return tended(dataset, on_notice) if settings.follow and settings.maintains else nullcontext()


def sum_partials(partials: "DataFrame") -> "DataFrame":
    """Partial sums added up by Spark, as sums.add_up does here: one row for each table and combination of keys."""
    from pyspark.sql import functions

    sums = [functions.sum(column).alias(column) for column in (*contract.COUNTS, "bytes")]
    newest = functions.max("newest_submission").alias("newest_submission")
    return partials.groupBy(*contract.PARTIAL_KEYS, "file").agg(*sums, newest)


def checkpoint_folder(dataset: str, settings: AggregateSettings) -> Path:
    """Where the checkpoint of a dataset's job is. Raises MissionControlError where that must be said."""
    if settings.checkpoint is None:
        if is_remote(dataset):
            raise MissionControlError(
                f"the dataset {dataset!r} is not on this machine, and a checkpoint must be: name a local folder with "
                "--checkpoint"
            )
        return Path(dataset) / "_checkpoint"
    if is_remote(settings.checkpoint):
        raise MissionControlError(f"expected a local folder as --checkpoint; got {settings.checkpoint!r}")
    return Path(normal_url(settings.checkpoint))


class _Run:
    """One run of the stream: what it is told to do, and what it has done."""

    def __init__(
        self,
        source: Source,
        dataset: str,
        settings: AggregateSettings,
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
        self._dataset, self._on_notice = dataset, on_notice
        self._trouble: str | None = None
        self._committing = threading.Lock()
        self._error: Exception | None = None
        self._is_ended = self._has_read_all = False
        self._done_bytes = self._shown_bytes = self._bytes = self._accepted = self._batches = 0
        self._rejected: Tally[str] = Tally()

    def run(self, spark: "SparkSession", on_progress: Callable[[Progress], None]) -> None:
        """Reads, sums and appends until there is no more, or until told to stop."""
        if not self._await_first_ping():
            self._has_read_all = not self._stop.is_set()
            return
        total = 0 if self._settings.follow else self._plan.unread_bytes(self._committed)
        if self._settings.follow and isinstance(self._plan, FilePlan) and self._plan.look():
            self._on_notice(f"passed over: {self._plan.passed_over}")
        self._prepare_notes(spark)
        if self._stop.is_set():
            return
        query = self._start(spark)
        memory = MemoryWatch(spark)
        try:
            while not self._stop.wait(_POLL_SECONDS) and query.isActive:
                self._tell_trouble()
                memory.look()
                if not self._settings.follow:  # which has no end to be near to, and asking Spark is not free
                    on_progress(self._progress(spark, total))
            self._has_read_all = not query.isActive
        finally:
            self._end(query, is_gone=memory.has_ended)
        on_progress(Progress(self._done_bytes, max(total, self._done_bytes), self._pings))

    def _prepare_notes(self, spark: "SparkSession") -> None:
        """Has the ids noted that the first micro-batch needs; without --dedupe, removes notes, for they grow stale."""
        if not self._settings.dedupe:
            forget(self._checkpoint.folder)
            return
        assert isinstance(self._plan, TopicPlan)
        pass_on_settings(spark.sparkContext.environment)
        options = self._reading_options(spark)
        failure = note_hour_before(spark, self._plan, self._checkpoint, options, self._stop, self._on_notice)
        if failure:
            _raise(failure)

    def _reading_options(self, spark: "SparkSession") -> dict[str, str]:
        return {
            **envelope_options(self._settings.envelope),
            "by_delivery": str(self._settings.dedupe).lower(),
            "cores": str(spark.sparkContext.defaultParallelism),
        }

    def require_pings(self, at_start: bool) -> None:
        """Calls the function, at the start only for a checkpoint that knows no file: another may have one to end."""
        if self._stop.is_set():
            return
        if not (len(self._plan) if at_start else self._batches or self._settings.follow):
            require_pings(self._source, self._settings.follow, self._on_notice)

    def _passed_over(self) -> PassedOver:
        """The ignored files that are known; an object store is not listed again for them."""
        if not isinstance(self._plan, FilePlan):
            return PassedOver()
        looks_again = self._settings.follow and not is_remote(self._source.identity)
        return self._plan.look() if looks_again else self._plan.passed_over

    def _tell_trouble(self) -> None:
        trouble = self._source.trouble()
        if trouble != self._trouble:
            self._on_notice(trouble or "going on")
        self._trouble = trouble

    def _await_first_ping(self) -> bool:
        """Whether there is or was anything to read."""
        while not self._stop.is_set():
            if self._plan.has_pings():
                return True
            if not self._settings.follow or self._stop.wait(self._settings.trigger_seconds):
                break
        return False

    @property
    def _committed(self) -> int:
        """How many micro-batches the dataset holds for certain."""
        numbers = [writer.transaction(self._checkpoint.app) for writer in self._writers]
        return max((number for number in numbers if number is not None), default=0)

    def summary(self, seconds: float, start_seconds: float) -> Summary:
        """What was read."""
        rejected = dict(self._rejected.most_common())
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
            self._passed_over(),
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
        if spill_to is not None and not self._settings.dedupe:  # rows of deliveries are not those of a table
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
        """Sums a micro-batch and appends it to each table, once however often it comes."""
        began = time.monotonic()
        if self._settings.dedupe:
            spark, notes = partials.sparkSession, self._checkpoint.folder / FOLDER
            room = room_of(spill.BATCH_ROWS, int(spark.conf.get(SHARES_OF_SUMS) or 1))
            partials = drop_duplicates(partials, FIRST_NUMBER + number, notes, self._spill_before_shuffle(spark), room)
        sums, written = self._sum(partials, number)
        data_up_to = _newest(sums)
        with self._committing:
            if self._is_ended:
                raise RuntimeError("ended before a micro-batch was committed")
            try:
                summed_at = time.monotonic()
                self._checkpoint.sync(number)
                for writer in self._writers:
                    rows = rows_of(writer.table, sums) if written is None else written[writer.table.name]
                    # Messages of an aborted transaction sum to nothing, and yet the micro-batch must be known as done.
                    if len(rows) or (not len(sums) and writer.table is contract.ERROR_AGGREGATES):
                        newest = data_up_to if writer.table is contract.ERROR_AGGREGATES else None
                        writer.append(rows, number, self._checkpoint.app, newest, (source_app(self._source.identity),))
                        self._on_commit(writer.table.name, number)
                sync_tables(self._writers)
                now = time.monotonic()
                self._take_note(sums, _row_count(sums, written), number, now - began, now - summed_at, data_up_to)
            except Exception as error:
                self._error = error
                raise

    def _sum(self, partials: "DataFrame", number: int) -> "tuple[pa.Table, dict[str, list[AddAction]] | None]":
        """A micro-batch's sums, and the files that hold them where workers write.

        On one machine those whose rows are not too many to hold are added up here: of a small micro-batch Spark's
        shuffle and second job would take longer than all the rest, and even of a large one they take longer than this.
        """
        spark, is_shared = partials.sparkSession, self._settings.write_from == "workers"
        context = spark.sparkContext
        is_on_one_machine = not is_cluster(context.master or "")
        if is_on_one_machine and not is_shared and self._plan.has_few_rows(number, context.defaultParallelism):
            passed = add_up(partials.toArrow())
        else:
            summed, spill_to = sum_partials(partials), self._spill_to(spark)
            if spill_to is not None:
                tasks = int(spark.conf.get(SHARES_OF_SUMS) or 1)
                summed = spill_rows(summed, spill_to, 0 if is_shared else room_of(spill.BATCH_ROWS, tasks))
            passed = summed.toArrow()
        sums, files = files_of(passed)
        if not is_shared and not any(files.values()):
            return sums, None
        check_seen(self._dataset, files)
        return sums, with_rows(sums, files, self._dataset)

    def _spill_to(self, spark: "SparkSession") -> str | None:
        """The dataset, where tasks can write to it: on one machine, in an object store, or as the settings say."""
        is_seen = is_remote(self._dataset) or not is_cluster(spark.sparkContext.master or "")
        return self._dataset if is_seen or self._settings.write_from == "workers" else None

    def _spill_before_shuffle(self, spark: "SparkSession") -> str | None:
        """As _spill_to, for tasks whose rows Spark shuffles: not on a cluster.

        There such a task runs again where its output was lost with a machine, and would write other files, of which
        some would be committed beside the first ones or instead of them.
        """
        return None if is_cluster(spark.sparkContext.master or "") else self._spill_to(spark)

    def _take_note(
        self,
        sums: "pa.Table",
        rows: int,
        number: int,
        seconds: float,
        commit_seconds: float,
        data_up_to: datetime | None,
    ) -> None:
        import pyarrow.compute as pc

        rejects = _tally(sums, contract.REJECTED_PINGS.name)
        accepted = _accepted(sums)
        size = pc.sum(sums["bytes"]).as_py() or 0
        read = self._plan.read(number, size)
        self._plan.note_rows(number, size, rows)
        self._accepted += accepted
        self._rejected.update(rejects)
        self._bytes += size
        self._batches += 1
        self._done_bytes += read.bytes
        rejected = dict(rejects.most_common())
        bad_files = _bad_files(sums)
        pings = accepted + rejects.total()
        self._on_batch(Batch(number, read.files, pings, rejected, bad_files, size, seconds, commit_seconds, data_up_to))

    def _progress(self, spark: "SparkSession", total: int) -> Progress:
        """What whole micro-batches and the finished tasks of the one that runs have read; the latter about."""
        tracker = spark.sparkContext.statusTracker()
        stages = [tracker.getStageInfo(stage) for stage in sorted(tracker.getActiveStageIds())]
        shares = [stage.numCompletedTasks / stage.numTasks for stage in stages if stage]
        running = min(self._plan.newest_bytes(), max(total - self._done_bytes, 0))
        self._shown_bytes = max(self._shown_bytes, self._done_bytes + round(running * (shares or [0])[0]))
        return Progress(self._shown_bytes, total, self._pings)

    def _end(self, query: "StreamingQuery", *, is_gone: bool) -> None:
        """Ends the stream between two commits, and raises what ended it before. is_gone: the Java that it ran in."""
        with self._committing:
            self._is_ended = True
            if is_gone:
                return
            failure = str(query.exception() or "") if not query.isActive else ""  # Spark must live to tell
        query.stop()  # waits for a micro-batch that has not begun to commit, and will not
        if self._error is not None:
            raise self._error
        if failure:
            _raise(failure)


def _raise(failure: str) -> NoReturn:
    """Raises what ended a stream."""
    raise _failure_of(failure)


def _failure_of(said: str) -> Exception:
    """What ended a stream, of what Spark says of it."""
    own = re.search(r"MissionControlError: (.*)", said)
    if own:
        return MissionControlError(own[1])
    if "spark.driver.maxResultSize" in said:
        return MissionControlError(
            "a micro-batch has more rows than the driver can hold. Let workers write them: --write-from workers, with "
            "a dataset that all machines see. Or give the driver more memory, by a line such as spark.driver.memory = "
            "4g in a file that --spark-config names. Or read less at a time: --batch-megabytes. A backfill has "
            "more memory only, or --master 'local[*]'"
        )
    if "Python worker exited unexpectedly" in said:
        return MissionControlError(
            "a Python worker of Spark ended unexpectedly: was it killed, or was there too little memory?"
        )
    if "Python worker failed to connect back" in said:
        return MissionControlError(
            "a Python worker of Spark did not start within 10 s: the machine is too busy. Start the job again"
        )
    return RuntimeError(said)


def _row_count(sums: "pa.Table", written: "dict[str, list[AddAction]] | None") -> int:
    """How many rows a micro-batch adds, about."""
    if written is None:
        return len(sums)
    return sum(json.loads(file.stats or "{}").get("numRecords", 0) for files in written.values() for file in files)


def _newest(sums: "pa.Table") -> datetime | None:
    """The newest submission of the pings that count; not later than now, whatever a client's clock says."""
    import pyarrow.compute as pc

    counted = sums.filter(pc.equal(sums["table"], contract.ERROR_AGGREGATES.name))
    newest = pc.max(counted["newest_submission"]).as_py()
    return None if newest is None else min(newest.astimezone(UTC), datetime.now(UTC))


def _accepted(sums: "pa.Table") -> int:
    """The pings that count."""
    import pyarrow.compute as pc

    return pc.sum(sums.filter(pc.equal(sums["table"], contract.ERROR_AGGREGATES.name))["count"]).as_py() or 0


def _tally(sums: "pa.Table", name: str) -> Tally[str]:
    """Counts by reason of the rows of one kind."""
    import pyarrow.compute as pc

    rows = sums.filter(pc.equal(sums["table"], name))
    tally: Tally[str] = Tally()
    for reason, count in zip(rows["reason"].to_pylist(), rows["count"].to_pylist(), strict=True):
        tally[reason] += count
    return tally


def _bad_files(sums: "pa.Table") -> dict[str, dict[str, int]]:
    import pyarrow.compute as pc

    rows = sums.filter(pc.equal(sums["table"], contract.FILE_REJECTS)).select(["file", "reason", "count"])
    files: dict[str, dict[str, int]] = {}
    for row in rows.sort_by([("file", "ascending"), ("reason", "ascending")]).to_pylist():
        files.setdefault(row["file"], {})[row["reason"]] = row["count"]
    return files
