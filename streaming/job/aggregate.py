"""The aggregate job: reads a source, sums its pings, appends the sums to a dataset."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from streaming import contract
from streaming.dataset.opening import has_log
from streaming.dataset.stored_products import TABLE
from streaming.dataset.writer import open_writers
from streaming.errors import MissionControlError
from streaming.job.checkpoint import check_consistent, open_checkpoint, source_app
from streaming.job.embedded_engine import EmbeddedEngine
from streaming.job.job import Engine, Job
from streaming.job.maintenance_process import maintained
from streaming.job.option_checks import check_settings
from streaming.job.progress import progress_of
from streaming.job.run import Run, require_pings
from streaming.job.settings import AggregateSettings, Batch, Progress, Summary
from streaming.job.spark_engine import STOP_GRACE_SECONDS, SparkEngine
from streaming.pings.classify import check_channel
from streaming.sources.base import Source
from streaming.sources.files import splits
from streaming.sources.files.source import FileSource
from streaming.sources.kafka import data_source
from streaming.sources.kafka.source import TopicSource
from streaming.sources.kafka.topic import is_topic
from streaming.spark.cluster import await_executors
from streaming.spark.java_exit import SparkEndedError
from streaming.spark.session import spark_session
from streaming.storage.locations import check_apart, dataset_url, is_remote, normal_url, source_url, table_url
from streaming.storage.retry import RetryPolicy
from streaming.storage.s3 import check_credentials

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


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
    """Sum the pings of a source into a dataset: those that exist now, or with settings.follow until stop is set.

    source: a file, folder, glob or URL as `list_files` takes it, or `kafka://HOST:PORT[,...]/TOPIC`.
    on_start: called with the seconds until it can read; on_batch: called with each finished micro-batch, from another
    thread; on_progress: called more often with the progress, except while following, which has no end; on_commit:
    called with each table and batch as it is appended; on_notice: called with a sentence on what the job waits for;
    spark: a session to use instead of a new one.
    Safe to repeat: pings that the checkpoint knows are not read again.
    Raises MissionControlError for errors that the caller can fix.
    """
    began = time.monotonic()
    settings, stop = settings or AggregateSettings(), stop or threading.Event()
    if isinstance(source, str):
        check_settings(settings, source, is_topic(source))
    pings = open_source(source, settings) if isinstance(source, str) else source
    dataset = dataset_url(dataset)
    check_credentials(dataset)
    pings.check(stop, on_notice)
    retry_policy = RetryPolicy.reporting_to(on_notice, stop)
    _check_channel_early(dataset, settings)
    folder = checkpoint_folder(dataset, settings)
    is_first_run = progress_of(folder) is None
    if is_first_run:
        check_apart(pings.identity, folder)
    if is_first_run and not settings.follow:  # before anything is created
        require_pings(pings, settings.follow, on_notice)
    with open_checkpoint(folder, pings.identity, dataset) as checkpoint:
        apps = (checkpoint.app, source_app(pings.identity))
        done_batches = dict.fromkeys(apps, checkpoint.finished - 1)
        writers = open_writers(dataset, retry_policy, (checkpoint.app,), done_batches)
        plan = pings.plan(checkpoint.folder)
        check_consistent(checkpoint, plan, writers, pings.identity, settings.recount)
        products = writers[0].declare_products(settings.products)
        check_channel(settings.envelope, products)
        job = Job(pings, dataset, settings, products, checkpoint, plan, on_notice, stop)
        run = Run(job, writers, on_batch, on_commit, on_progress)
        if not is_first_run or settings.follow:
            run.require_pings(at_start=True)
        start_seconds = 0.0
        with _engine(spark, job) as engine, _maintenance(dataset, settings, on_notice):
            start_seconds = time.monotonic() - began
            on_start(start_seconds)
            run.run(engine)
        run.require_pings(at_start=False)
    return run.summary(time.monotonic() - began, start_seconds)


def _check_channel_early(dataset: str, settings: AggregateSettings) -> None:
    """Raises MissionControlError, before anything is created, for a channel that no product of a new dataset has."""
    if not is_remote(dataset) and not has_log(table_url(dataset, TABLE)):
        check_channel(settings.envelope, contract.with_declared((), settings.products))


def open_source(source: str, settings: AggregateSettings) -> Source:
    """The source at a URL or path. Raises MissionControlError where the URL or path is not valid."""
    if is_topic(source):
        most = data_source.MAX_DEDUPING_BATCH_BYTES if settings.dedupe else data_source.MAX_BATCH_BYTES
        return TopicSource.of(source, settings.topic, settings.max_batch_bytes or most)
    most = splits.MAX_DEDUPING_BATCH_BYTES if settings.dedupe else splits.MAX_BATCH_BYTES
    return FileSource(source_url(source), settings.max_batch_bytes or most)


@contextmanager
def _engine(spark: "SparkSession | None", job: Job) -> Iterator[Engine]:
    """What streams the job: processes of this machine, or Spark where a session or a master is given."""
    settings, checkpoint = job.settings, job.checkpoint
    if spark is None and not settings.uses_spark:
        yield EmbeddedEngine()
        return
    session = (
        nullcontext(spark)
        if spark is not None
        else spark_session(
            settings.master or "local[*]",
            checkpoint.scratch,
            config=settings.spark_config,
            environment=settings.environment,
            java_home=settings.java_home,
            inherited_file=checkpoint.lock,
        )
    )
    try:
        with session as started:
            await_executors(started, job.stop, job.notify)
            yield SparkEngine(started)
    except SparkEndedError:  # expected where a stop was requested before it, or is up to STOP_GRACE_SECONDS later
        if not job.stop.wait(STOP_GRACE_SECONDS):
            raise


def _maintenance(
    dataset: str, settings: AggregateSettings, on_notice: Callable[[str], None]
) -> AbstractContextManager[None]:
    """Maintains the dataset beside a job that follows its source, unless settings.maintains is False."""
    return maintained(dataset, on_notice) if settings.follow and settings.maintains else nullcontext()


def checkpoint_folder(dataset: str, settings: AggregateSettings) -> Path:
    """The checkpoint folder of a dataset's job. Raises MissionControlError where a local one must be named."""
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
