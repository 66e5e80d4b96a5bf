"""A source of files, as the job uses it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from pyspark.sql.datasource import DataSource

from streaming.sources.base import DENSITY, BatchInput, Density
from streaming.sources.files.batch_log import FileLog
from streaming.sources.files.data_source import PingFiles
from streaming.sources.files.listing import check_source, list_files
from streaming.sources.files.splits import have_few_rows
from streaming.storage.local_files import FileInfo, IgnoredFiles
from streaming.storage.locations import is_remote
from streaming.storage.retry import NO_RETRIES, START_TIMEOUT_SECONDS, OutageNotices, RetryPolicy


@dataclass
class FileSource:
    """A file, folder, glob or URL; url: as from normal_url; retry_policy, outage_notices: set by `check` and `plan`."""

    url: str
    max_batch_bytes: int
    retry_policy: RetryPolicy = NO_RETRIES
    outage_notices: OutageNotices | None = None
    data_source: ClassVar[type[DataSource]] = PingFiles

    @property
    def identity(self) -> str:
        """The URL."""
        return self.url

    def check(self, stop: threading.Event, notify: Callable[[str], None]) -> None:
        """Raises MissionControlError where there is no such source, or its name is not that of a ping file.

        Waits up to half a minute for an object store that does not answer.
        """
        self.retry_policy = RetryPolicy.reporting_to(notify, stop)
        check_source(self.url, replace(self.retry_policy, timeout_seconds=START_TIMEOUT_SECONDS))

    def outage_notice(self) -> str | None:
        """A message that an object store does not answer; None where it answers."""
        return self.outage_notices.read() if self.outage_notices else None

    def plan(self, checkpoint: Path) -> "FilePlan":
        """The plan in a checkpoint's folder."""
        folder = checkpoint / "scratch" / "waiting"
        folder.mkdir(parents=True, exist_ok=True)
        self.outage_notices = OutageNotices(folder) if is_remote(self.url) else None
        return FilePlan(self.url, checkpoint / "files.log", folder, self.max_batch_bytes, self.retry_policy)


class FilePlan:
    """Which files are in which micro-batch: the files in the log, and those present now."""

    def __init__(self, source: str, log: Path, outage_notices: Path, max_bytes: int, retry_policy: RetryPolicy) -> None:
        self._source, self._path, self._outage_notices, self._max_bytes = source, log, outage_notices, max_bytes
        self._retry_policy = retry_policy
        self._log = FileLog(log)
        self._newest = (0, 0)  # the number of micro-batches, and the bytes of the last one
        self.ignored_files = IgnoredFiles()

    def __len__(self) -> int:
        return len(self._log)

    def has_pings(self) -> bool:
        """Whether there is or was a file to read."""
        return bool(len(self._log) or self._list())

    def list_ignored(self) -> IgnoredFiles:
        """The files that are ignored now."""
        self._list()
        return self.ignored_files

    def _list(self) -> list[FileInfo]:
        self.ignored_files = IgnoredFiles()
        return list_files(self._source, self._retry_policy, self.ignored_files)

    def options(self) -> dict[str, str]:
        """The options of PingFiles."""
        paths = {
            "log": str(self._path),
            "outage_notices": str(self._outage_notices),
            "density": str(self._path.with_name(DENSITY)),
        }
        return {"source": self._source, "max_bytes": str(self._max_bytes), **paths}

    def unread_bytes(self, committed: int) -> int:
        """The total size of the files that are not in the micro-batches before that number."""
        unfinished = self._log.files(min(committed, len(self._log)), len(self._log))
        new = [file for file in self._list() if not file.is_among(self._log.seen)]
        return sum(max(file.size, 0) for file in [*unfinished, *new])

    def read(self, number: int, document_bytes: int) -> BatchInput:
        """The size and the number of a micro-batch's files."""
        self._log.refresh()
        files = self._log.files(number, number + 1)
        return BatchInput(sum(max(file.size, 0) for file in files), len(files))

    def newest_bytes(self) -> int:
        """The size of the newest micro-batch's files."""
        self._log.refresh()
        count = len(self._log)
        if self._newest[0] != count:
            files = self._log.files(count - 1, count)
            self._newest = count, sum(max(file.size, 0) for file in files)
        return self._newest[1]

    def note_rows(self, number: int, document_bytes: int, rows: int) -> None:
        """Notes how many rows the files of a micro-batch made."""
        Density(self._path.with_name(DENSITY)).note(rows, self.read(number, document_bytes).bytes)

    def has_few_rows(self, number: int, cores: int) -> bool:
        """Whether its files have few bytes when unpacked, or the previous ones made few rows."""
        self._log.refresh()
        return have_few_rows(self._log.files(number, number + 1), cores, Density(self._path.with_name(DENSITY)))
