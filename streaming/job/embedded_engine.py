"""Streams a job by processes of this machine: without Spark, which takes longer to start than most files to count."""

import os
from contextlib import suppress
from functools import partial
from pathlib import Path

from streaming.aggregation.deduplication import remove_seen_ids
from streaming.aggregation.seen_ids import FIRST_NUMBER
from streaming.embedded.stream import Duplicates, EmbeddedStream, Reading
from streaming.embedded.workers import Workers
from streaming.job.hour_before import record_hour_before
from streaming.job.job import Job, Watcher
from streaming.sources.files.splits import SMALL_BATCH_BYTES
from streaming.sources.kafka.source import TopicPlan
from streaming.storage.locations import is_remote

_CGROUP = Path("/sys/fs/cgroup/cpu.max")


class EmbeddedEngine:
    """Streams by as many worker processes as there are cores. cores: None: those that this process may use."""

    def __init__(self, cores: int | None = None) -> None:
        self._cores = cores or usable_cores()

    def stream(self, job: Job, watcher: Watcher) -> bool:
        """Appends micro-batches until there is nothing left to read or a stop is requested; True for the former."""
        is_local = not isinstance(job.plan, TopicPlan) and not is_remote(job.source.identity)
        with (
            Workers(self._cores, job.checkpoint.scratch / "workers.log", job.checkpoint.lock) as workers,
            Workers(1, job.checkpoint.scratch / "planner.log", job.checkpoint.lock) as planning,
        ):
            planner = None if is_local else planning

            def look(share: float) -> None:
                watcher.look(lambda: share)

            if not job.settings.dedupe:
                remove_seen_ids(job.checkpoint.folder)
            elif isinstance(job.plan, TopicPlan):

                def note(options: dict[str, str], records: Path, seen_ids: Path) -> str:
                    reading = self._reading(job, options, records, seen_ids, first_number=0, is_local=False)
                    EmbeddedStream(reading, 0, workers, planning, look, job.stop).run(lambda *_: None)
                    return ""

                record_hour_before(job.plan, job.checkpoint, job.stop, job.notify, note)
            job.checkpoint.drop_unfinished_start()
            reading = self._reading(
                job,
                job.plan.options(),
                job.checkpoint.spark,
                job.seen_ids,
                first_number=FIRST_NUMBER,
                is_local=is_local,
            )
            stream = EmbeddedStream(reading, job.checkpoint.finished, workers, planner, look, job.stop)
            return stream.run(watcher.append)

    def _reading(
        self, job: Job, options: dict[str, str], records: Path, seen_ids: Path, *, first_number: int, is_local: bool
    ) -> Reading:
        settings = job.settings
        return Reading(
            job.source.data_source,
            {**job.reading_options(self._cores), **options},
            records,
            settings.trigger_seconds if settings.follow and first_number else None,
            partial(_is_quick, job) if is_local else lambda: False,
            job.checkpoint.scratch,
            job.dataset,
            Duplicates(seen_ids, first_number, job.late_us) if settings.dedupe else None,
        )


def _is_quick(job: Job) -> bool:
    return job.plan.newest_bytes() <= SMALL_BATCH_BYTES


def usable_cores() -> int:
    """How many cores this process may use, by its affinity and the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = _CGROUP.read_text().split()
        cores = min(cores, max(1, -(-int(quota) // int(period))))
    return cores
