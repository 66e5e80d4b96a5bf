"""Collects the status of a dataset, and of the job that fills it, at one moment."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from missioncontrol_nb.dashboard.server.settings import Settings
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.receiver.report import ReceiverReport, ask_receiver
from missioncontrol_nb.watching.report import WatchReport, report_of
from missioncontrol_nb.watching.state import DEFAULT_FOLDER
from streaming import contract
from streaming.dataset.opening import last_write, no_dataset
from streaming.errors import MissionControlError
from streaming.job.progress import CheckpointProgress, progress_of
from streaming.sources.kafka.outages import BrokersUnavailable
from streaming.sources.kafka.topic import Topic
from streaming.storage.locations import dataset_url, is_remote, normal_url, table_url
from streaming.storage.store_errors import reason_of

if TYPE_CHECKING:
    import pandas as pd
    from deltalake import DeltaTable

STALE_AFTER_SECONDS = Settings.stale_after_seconds  # as on the dashboard's pages
SMALL_FILE_BYTES = 1 << 20
# Maintenance of a table is due when it would remove more files than this. Maintenance beside a job leaves fewer.
SPARE_FILES = 200


@dataclass(frozen=True)
class TableState:
    """The state of a table.

    last_write: the newest commit, by any writer; spare_files: files that maintenance would compact into others.
    """

    name: str
    rows: int
    files: int
    small_files: int
    bytes: int
    last_write: datetime
    spare_files: int

    @property
    def is_maintenance_due(self) -> bool:
        """Whether the table has too many spare files."""
        return self.spare_files > SPARE_FILES


@dataclass(frozen=True)
class Lag:
    """The input that a job has not counted yet.

    by_partition: messages of a topic; files: number of files; both None: not known; unknown: the reason.
    """

    source: str
    by_partition: Mapping[int, int] | None = None
    files: int | None = None
    unknown: str = ""

    @property
    def total(self) -> int | None:
        """The number of messages or files, None where it is not known."""
        return self.files if self.by_partition is None else sum(self.by_partition.values())


@dataclass(frozen=True)
class Pings:
    """Pings that were submitted in a period. rejected, passed_over: counts by reason, largest first."""

    since: datetime
    until: datetime
    accepted: int
    rejected: Mapping[str, int]
    passed_over: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All pings: accepted, rejected and passed over."""
        return self.accepted + sum(self.rejected.values()) + sum(self.passed_over.values())

    @property
    def per_second(self) -> float:
        """All pings per second of the period."""
        return self.total / max((self.until - self.since).total_seconds(), 1.0)


@dataclass(frozen=True)
class Status:
    """The status of a dataset at a moment, from data that was collected then or earlier.

    at: the moment; looked_up: when the data was collected; newest: the pings of the newest 5 to 10 minutes that have
    any; lag, is_job_running: None where no checkpoint is known; products: labels of Firefox, and of those with pings or
    declared to it; watch: None where none has run; receivers: those that were named.
    """

    dataset: str
    at: datetime
    looked_up: datetime
    stale_after_seconds: float
    data_up_to: datetime | None
    is_job_running: bool | None
    lag: Lag | None
    newest: Pings | None
    last_hour: Pings
    last_day: Pings
    tables: tuple[TableState, ...]
    products: tuple[str, ...] = ()
    watch: WatchReport | None = None
    receivers: tuple[ReceiverReport, ...] = ()

    @property
    def age_seconds(self) -> float | None:
        """The age of the newest submission, None where there is none."""
        return None if self.data_up_to is None else max((self.at - self.data_up_to).total_seconds(), 0.0)

    @property
    def is_stale(self) -> bool:
        """Whether no newer ping has arrived for too long, or none has ever arrived."""
        return self.age_seconds is None or self.age_seconds > self.stale_after_seconds

    @property
    def last_write(self) -> datetime | None:
        """The newest commit to any table."""
        return max((table.last_write for table in self.tables), default=None)

    @property
    def is_maintenance_due(self) -> bool:
        """Whether any table has too many spare files."""
        return any(table.is_maintenance_due for table in self.tables)


@dataclass
class Collector:
    """Collects the status of a dataset repeatedly, and keeps its tables open between calls.

    checkpoint: None is `_checkpoint` in a local dataset; watch_state: None is `_watch` in one.
    receivers: HOST:PORT of the counts of each receiver to be asked.
    """

    dataset: str
    checkpoint: str | None = None
    kafka_config: Mapping[str, str] = field(default_factory=dict)
    stale_after_seconds: float = STALE_AFTER_SECONDS
    watch_state: str | None = None
    receivers: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.dataset = dataset_url(self.dataset)
        self._opened = Dataset(self.dataset)
        self._topics: dict[str, Topic] = {}
        self._counted: tuple[int, set[str]] = (-1, set())  # number of finished micro-batches, and their files
        self._check_config()

    def collect(self, at: datetime | None = None) -> Status:
        """The current status. Raises MissionControlError where the dataset cannot be read."""
        self._opened.refresh()
        if not self._opened.tables():
            raise no_dataset(self.dataset)
        at = at or datetime.now(UTC)
        data_up_to = self._opened.data_up_to()
        progress = self._progress()
        newest = None
        if data_up_to is not None:
            newest = self._pings(_window_of(data_up_to) - contract.WINDOW, data_up_to)
        return Status(
            self.dataset,
            at,
            at,
            self.stale_after_seconds,
            data_up_to,
            progress.is_running() if progress else None,
            self._lag(progress) if progress else None,
            newest,
            self._pings(at - timedelta(hours=1), at),
            self._pings(at - timedelta(days=1), at),
            tuple(_table_state(self.dataset, table, handle, at) for table, handle in self._handles()),
            self._products(),
            self._watch(),
            tuple(map(ask_receiver, self.receivers)),
        )

    def _products(self) -> tuple[str, ...]:
        there = self._opened.applications()

        def is_shown(product: contract.Product) -> bool:
            is_packaged = product in contract.PRODUCTS and product != contract.FIREFOX
            return not is_packaged or not there.isdisjoint(product.applications)

        return tuple(product.label for product in self._opened.products if is_shown(product))

    def _check_config(self) -> None:
        """Raises MissionControlError where settings for Kafka's client have no effect."""
        progress = self._progress()
        can_have_none = self.checkpoint is None and is_remote(self.dataset)
        if self.kafka_config and (can_have_none or (progress is not None and not progress.is_topic)):
            raise MissionControlError(
                "--kafka-config has no effect without the checkpoint of a job that reads a topic: leave it out, or "
                f"name the checkpoint; got {self.checkpoint or 'none'}"
            )

    def _progress(self) -> CheckpointProgress | None:
        """The job's progress. Raises MissionControlError if the named checkpoint is missing or of another dataset."""
        if self.checkpoint is None:
            return None if is_remote(self.dataset) else progress_of(Path(self.dataset, "_checkpoint"))
        progress = progress_of(Path(normal_url(self.checkpoint)))
        if progress is None:
            raise MissionControlError(f"there is no checkpoint in {self.checkpoint!r}")
        if progress.dataset != self.dataset:
            raise MissionControlError(
                f"expected the checkpoint of a job that fills {self.dataset!r}; got {self.checkpoint!r}, which is of "
                f"{progress.dataset!r}"
            )
        return progress

    def _watch(self) -> WatchReport | None:
        """The watch's state. Raises MissionControlError if the named one is missing."""
        if self.watch_state is None and is_remote(self.dataset):
            return None
        folder = Path(self.watch_state or Path(self.dataset, DEFAULT_FOLDER))
        report = report_of(folder)
        if report is None and self.watch_state is not None:
            raise MissionControlError(f"there is no state of a watch in {self.watch_state!r}")
        return report

    def _handles(self) -> "list[tuple[contract.Table, DeltaTable]]":
        handles = [(table, self._opened.handle(table)) for table in contract.TABLES]
        return [(table, handle) for table, handle in handles if handle is not None]

    def _pings(self, since: datetime, until: datetime) -> Pings:
        """Pings of the windows that start in a period; the first window is included as a whole."""
        first = _window_of(since)
        accepted = self._opened.load(first, until, measures=(), by="application", every=None)
        rejected = self._opened.load_rejected(first, until)
        passed_over = self._opened.load_passed_over(first, until)
        return Pings(first, until, int(accepted["count"].sum()), _by_reason(rejected), _by_reason(passed_over))

    def _lag(self, progress: CheckpointProgress) -> Lag:
        if progress.is_topic:
            return self._topic_lag(progress)
        if is_remote(progress.source):
            return Lag(progress.source, unknown="the files of an object store are not listed for this")
        from streaming.sources.files.listing import list_files

        if progress.finished != self._counted[0]:
            self._counted = (progress.finished, progress.counted_files())
        waiting = sum(not file.is_among(self._counted[1]) for file in list_files(progress.source))
        return Lag(progress.source, files=waiting)

    def _topic_lag(self, progress: CheckpointProgress) -> Lag:
        url = progress.topic_url
        if url is None:
            return Lag(progress.source, unknown="the job has not run since it notes where its brokers are")
        topic = self._topics.setdefault(url, Topic.of(url, self.kafka_config))
        try:
            topic_id, end_offsets = topic.end_offsets()
            first_offsets = topic.beginning_offsets([*end_offsets])
        except BrokersUnavailable as unavailable:
            return Lag(url, unknown=f"no broker answers at {topic.brokers}: {unavailable}")
        except MissionControlError as error:
            return Lag(url, unknown=str(error))
        read = progress.offsets()
        if read["topic"] != topic_id:
            read = {}  # the topic was recreated: all its messages are unread
        return Lag(url, by_partition=unread_messages(read, first_offsets, end_offsets))


def unread_messages(
    read: Mapping[str, Any], first_offsets: Mapping[int, int], end_offsets: Mapping[int, int]
) -> dict[int, int]:
    """The number of messages in each partition that the topic still has and that are not counted.

    read: by partition, as text, the offset after the counted messages; a partition that was added since is absent.
    first_offsets, end_offsets: by partition, the offset of the first message that is still kept, and the offset after
    the last.
    """
    return {
        partition: max(end - max(read.get(str(partition), 0), first_offsets[partition]), 0)
        for partition, end in end_offsets.items()
    }


def _window_of(moment: datetime) -> datetime:
    return moment - (moment - datetime(1970, 1, 1, tzinfo=UTC)) % contract.WINDOW


def _by_reason(uncounted: "pd.DataFrame") -> dict[str, int]:
    counts: Counter[str] = Counter()
    for reason, count in zip(uncounted["reason"], uncounted["count"], strict=True):
        counts[reason] += int(count)
    return dict(counts.most_common())


def _table_state(dataset: str, table: contract.Table, handle: "DeltaTable", at: datetime) -> TableState:
    from streaming.dataset.compaction import TableMaintainer
    from streaming.dataset.compaction_plan import due_spans

    url = table_url(dataset, table)
    try:
        files, written = TableMaintainer(dataset, table).files_of(handle), last_write(handle, url)
    except MissionControlError:
        raise
    except Exception as error:  # deltalake raises exceptions of any kind
        raise MissionControlError(f"{url} cannot be read: {reason_of(error)}") from error
    return TableState(
        table.name,
        sum(file.rows for file in files),
        len(files),
        sum(file.bytes < SMALL_FILE_BYTES for file in files),
        sum(file.bytes for file in files),
        written,
        sum(span.files - 1 for span in due_spans(files, at, table.step)),
    )
