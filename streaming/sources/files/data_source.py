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

from streaming.aggregation.spill import batch_rows, room_of, spilled
from streaming.errors import MissionControlError
from streaming.sources.base import Density
from streaming.sources.files.batch_log import FileLog
from streaming.sources.files.listing import list_files
from streaming.sources.files.reader import count_pieces
from streaming.sources.files.splits import Piece, have_few_rows, share_out, take
from streaming.sources.spark_source import PartialSums, counter_of
from streaming.spark.python_start import spare_pandas
from streaming.storage import object_store
from streaming.storage.listing import Listed
from streaming.storage.retry import PATIENCE_SECONDS, QUIET_SECONDS, Notes, Patience, waiting_for

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class PiecesPartition(InputPartition):
    """The parts of files that one task reads."""

    pieces: list[Piece]
    room: int


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
        self._frozen: list[Listed] | None = None
        self._away_since: float | None = None

    @cached_property
    def _log(self) -> FileLog:
        return FileLog(Path(self._options["log"]))

    @property
    def _notes(self) -> Notes:
        return Notes(Path(self._options["notes"]))

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
        self._frozen = list_files(self._options["source"], Patience(self._notes.tell))

    def latestOffset(self, start: dict[str, int], limit: ReadLimit) -> dict[str, int]:  # noqa: N802
        """The offset one micro-batch after start: from the log, else of new files; start if there are none."""
        batch = start["batch"]
        if batch == len(self._log):
            files = self._files_now() if self._frozen is None else self._frozen
            room = self._density.room(limit.max_bytes) if isinstance(limit, ReadMaxBytes) else None
            new = take(files, self._log.seen, room)
            if not new:
                return start
            self._log.append(new)
        return {"batch": batch + 1}

    def _files_now(self) -> list[Listed]:
        """The files that are present; none while an object store is unavailable, so that Spark can be stopped then."""
        try:
            files = list_files(self._options["source"])
        except MissionControlError as error:
            self._away_since = self._away_since or time.monotonic()
            waited = time.monotonic() - self._away_since
            if not object_store.is_passing(error) or waited > PATIENCE_SECONDS:
                raise
            if waited > QUIET_SECONDS:
                self._notes.tell(waiting_for(self._options["source"], error.__cause__ or error))
            return []
        if self._away_since:
            self._notes.tell(None)
        self._away_since = None
        return files

    def partitions(self, start: dict[str, int], end: dict[str, int]) -> Sequence[InputPartition]:
        """A partition for each task."""
        files, cores = self._log.files(start["batch"], end["batch"]), int(self._options["cores"])
        shares = share_out(files, cores)
        # Spark sums many rows, on disk where necessary.
        room = room_of(batch_rows(self._options), len(shares) if have_few_rows(files, cores, self._density) else 2)
        return [PiecesPartition(pieces, room) for pieces in shares]

    def read(self, partition: InputPartition) -> Iterator["pa.RecordBatch"]:
        """The partial sums of a partition."""
        spare_pandas()
        assert isinstance(partition, PiecesPartition)
        counted = count_pieces(partition.pieces, counter_of(self._options), Patience(self._notes.tell))
        yield from spilled(counted, self._options.get("spill_to"), partition.room)

    def commit(self, end: dict[str, int]) -> None:
        """Does nothing: the log keeps all files, because a path is counted only once."""
