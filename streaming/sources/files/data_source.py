"""Spark's data source for files of pings."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql.datasource import DataSourceStreamReader, InputPartition
from pyspark.sql.streaming.datasource import ReadLimit, ReadMaxBytes, SupportsTriggerAvailableNow
from pyspark.sql.types import StructType

from streaming.aggregation.spill import batch_rows, rows_per_task, spilled
from streaming.errors import MissionControlError
from streaming.sources.base import Density
from streaming.sources.files.batch_log import FileLog
from streaming.sources.files.listing import list_files
from streaming.sources.files.reader import count_splits
from streaming.sources.files.splits import FileSplit, assign_to_tasks, have_few_rows, select_batch
from streaming.sources.spark_source import PartialSums, counter_of
from streaming.spark.python_start import skip_pandas_import
from streaming.storage import object_store
from streaming.storage.local_files import FileInfo
from streaming.storage.retry import (
    OUTAGE_NOTICE_SECONDS,
    RETRY_TIMEOUT_SECONDS,
    OutageNotices,
    RetryPolicy,
    outage_message,
)

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class FileSplitsPartition(InputPartition):
    """The parts of files that one task reads."""

    splits: list[FileSplit]
    max_rows: int


class PingFiles(PartialSums):
    """Partial sums of the pings in files. Options: those of FilePlan, cores, channel, country, submitted_at."""

    @classmethod
    def name(cls) -> str:
        """The name for spark.readStream.format."""
        return "missioncontrol_ping_files"

    def streamReader(self, schema: StructType) -> "PingFilesReader":  # noqa: N802 (Spark's name)
        """The reader of a stream."""
        return PingFilesReader(dict(self.options))


class PingFilesReader(DataSourceStreamReader, SupportsTriggerAvailableNow):
    """Offset n stands for all files in the first n lines of the log. A micro-batch is always one line."""

    def __init__(self, options: dict[str, str]) -> None:
        self._options = {name.lower(): value for name, value in options.items()}
        self._fixed_files: list[FileInfo] | None = None
        self._unavailable_since: float | None = None

    @cached_property
    def _log(self) -> FileLog:
        return FileLog(Path(self._options["log"]))

    @property
    def _outage_notices(self) -> OutageNotices:
        return OutageNotices(Path(self._options["outage_notices"]))

    @property
    def _density(self) -> Density:
        return Density.of(self._options)

    def initialOffset(self) -> dict[str, int]:  # noqa: N802
        """The offset before the first file."""
        return {"batch": 0}

    def getDefaultReadLimit(self) -> ReadLimit:  # noqa: N802
        """The number of bytes that a micro-batch may have."""
        return ReadMaxBytes(int(self._options["max_bytes"]))

    def prepareForTriggerAvailableNow(self) -> None:  # noqa: N802
        """Lists the files once: from now on, only files that are present now are read."""
        self._fixed_files = list_files(self._options["source"], RetryPolicy(self._outage_notices.write))

    def latestOffset(self, start: dict[str, int], limit: ReadLimit) -> dict[str, int]:  # noqa: N802
        """The offset one micro-batch after start: from the log, else of new files; start if there are none."""
        batch = start["batch"]
        if batch == len(self._log):
            files = self._files_now() if self._fixed_files is None else self._fixed_files
            max_bytes = self._density.batch_bytes(limit.max_bytes) if isinstance(limit, ReadMaxBytes) else None
            new = select_batch(files, self._log.seen, max_bytes)
            if not new:
                return start
            self._log.append(new)
        return {"batch": batch + 1}

    def _files_now(self) -> list[FileInfo]:
        """The files that are present; none while an object store is unavailable, so that Spark can be stopped then."""
        try:
            files = list_files(self._options["source"])
        except MissionControlError as error:
            self._unavailable_since = self._unavailable_since or time.monotonic()
            waited = time.monotonic() - self._unavailable_since
            if not object_store.may_be_transient(error) or waited > RETRY_TIMEOUT_SECONDS:
                raise
            if waited > OUTAGE_NOTICE_SECONDS:
                self._outage_notices.write(outage_message(self._options["source"], error.__cause__ or error))
            return []
        if self._unavailable_since:
            self._outage_notices.write(None)
        self._unavailable_since = None
        return files

    def partitions(self, start: dict[str, int], end: dict[str, int]) -> Sequence[InputPartition]:
        """A partition for each task."""
        files, cores = self._log.files(start["batch"], end["batch"]), int(self._options["cores"])
        splits_of_tasks = assign_to_tasks(files, cores)
        # Spark sums many rows, on disk where necessary.
        max_rows = rows_per_task(
            batch_rows(self._options), len(splits_of_tasks) if have_few_rows(files, cores, self._density) else 2
        )
        return [FileSplitsPartition(splits, max_rows) for splits in splits_of_tasks]

    def read(self, partition: InputPartition) -> Iterator["pa.RecordBatch"]:
        """The partial sums of a partition."""
        skip_pandas_import()
        assert isinstance(partition, FileSplitsPartition)
        counted = count_splits(partition.splits, counter_of(self._options), RetryPolicy(self._outage_notices.write))
        yield from spilled(counted, self._options.get("spill_to"), partition.max_rows)

    def commit(self, end: dict[str, int]) -> None:
        """Does nothing: the log keeps all files, because a path is counted only once."""
