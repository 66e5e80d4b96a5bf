"""Streams a job by processes of this machine: without Spark, which takes longer to start than most files to count."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from streaming.aggregation.deduplication import remove_seen_ids, write_token
from streaming.aggregation.seen_ids import FIRST_NUMBER
from streaming.embedded.stream import Duplicates, EmbeddedStream, Reading
from streaming.embedded.workers import Workers
from streaming.job.hour_before import record_hour_before
from streaming.job.job import Job, Watcher
from streaming.sources.files.splits import SMALL_BATCH_BYTES, unpacked_bytes
from streaming.sources.kafka.source import TopicPlan
from streaming.storage.locations import is_remote

QUICK_FILES = 100
_CGROUP = Path("/sys/fs/cgroup/cpu.max")


class EmbeddedEngine:
    """Streams by as many worker processes as there are cores. cores: None: those that this process may use."""

    def __init__(self, cores: int | None = None) -> None:
        self._cores = cores or usable_cores()

    def stream(self, job: Job, watcher: Watcher) -> bool:
        """Appends micro-batches until there is nothing left to read or a stop is requested; True for the former."""
        with (
            Workers(self._cores, job.checkpoint.scratch / "workers.log", job.checkpoint.lock) as workers,
            Workers(1, job.checkpoint.scratch / "planner.log", job.checkpoint.lock) as planner,
        ):
            self._prepare_seen_ids(job, watcher, workers, planner)
            job.checkpoint.drop_unfinished_start()
            settings, is_local = (
                job.settings,
                not isinstance(job.plan, TopicPlan) and not is_remote(job.source.identity),
            )
            reading = Reading(
                job.source.data_source,
                {**self._options(job), **job.plan.options()},
                job.checkpoint.spark,
                follow_seconds=settings.trigger_seconds if settings.follow else None,
                is_quick=_are_quick if is_local else lambda parts: False,
                scratch=job.checkpoint.scratch,
                spill_to=job.dataset,
                duplicates=Duplicates(job.seen_ids, FIRST_NUMBER, job.late_us) if settings.dedupe else None,
                begin=watcher.begin,
            )
            first, look = job.checkpoint.finished, _looking(watcher)
            stream = EmbeddedStream(reading, first, workers, None if is_local else planner, look, job.stop)
            return stream.run(watcher.append)

    def _options(self, job: Job) -> dict[str, str]:
        options = job.reading_options(self._cores)
        return options | {"batch_rows": "0"} if job.settings.write_from == "workers" else options

    def _prepare_seen_ids(self, job: Job, watcher: Watcher, workers: Workers, planner: Workers) -> None:
        """Notes the ids that the first micro-batch needs; without --dedupe, removes the ids, which become outdated."""
        if not job.settings.dedupe:
            remove_seen_ids(job.checkpoint.folder)
        elif not isinstance(job.plan, TopicPlan):
            write_token(job.seen_ids)
        else:

            def note(options: dict[str, str], records: Path, seen_ids: Path) -> str:
                reading = Reading(
                    job.source.data_source,
                    {**self._options(job), **options},
                    records,
                    follow_seconds=None,
                    is_quick=lambda parts: False,
                    scratch=job.checkpoint.scratch,
                    spill_to=None,
                    duplicates=Duplicates(seen_ids, 0, job.late_us),
                    begin=lambda number: None,
                )
                stream = EmbeddedStream(reading, 0, workers, planner, _looking(watcher), job.stop)
                stream.run(lambda sums, number, began: None)
                return ""

            record_hour_before(job.plan, job.checkpoint, job.stop, job.notify, note)


def _looking(watcher: Watcher) -> Callable[[float], None]:
    return lambda share: watcher.look(lambda: share)


def _are_quick(parts: Sequence[Any]) -> bool:
    """Whether parts of local files are counted in less time than a process takes to start."""
    splits = [split for part in parts for split in part.splits]
    return len(splits) <= QUICK_FILES and unpacked_bytes(splits) <= SMALL_BATCH_BYTES


def usable_cores() -> int:
    """How many cores this process may use, by its affinity and the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = _CGROUP.read_text().split()
        cores = min(cores, max(1, -(-int(quota) // int(period))))
    return cores
