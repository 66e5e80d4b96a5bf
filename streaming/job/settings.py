"""The settings of a job, and its reports on micro-batches, on progress and on the whole run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from streaming import contract
from streaming.aggregation.once import CountedBefore
from streaming.pings.envelope import Envelope
from streaming.sources.kafka.source import TopicSettings
from streaming.storage.local_files import IgnoredFiles

WriteFrom = Literal["driver", "workers"]


@dataclass(frozen=True)
class AggregateSettings:
    """How to run a job.

    trigger_seconds: how often to look for new pings when following. checkpoint: a local folder; None: `_checkpoint` in
    the dataset. recount: a new checkpoint may count a source that the dataset already holds. max_batch_bytes: how much
    a micro-batch reads at most; None: the source's default. topic: settings for a source that is a topic. maintains:
    when following, maintain the dataset beside the stream. dedupe: pings that are delivered twice within an hour count
    once. once_days: how many days back the same crash is looked for, so that it counts once; 0: not at all.
    counted_before: crashes that count on days that a backfill does not count anew. products: to be counted and stored
    in the dataset, besides those that it and the package know.

    master: Spark's; None: Spark is not used unless another of its settings is given, and processes of this machine
    count. spark_config: Spark's own settings; environment: the archive that a cluster's executors run in; java_home:
    the Java that Spark runs in. write_from: which processes write the tables' files, "workers" where the driver would
    be busy with so many rows and all machines see the dataset. The driver always commits the files.
    """

    master: str | None = None
    checkpoint: str | None = None
    envelope: Envelope = field(default_factory=Envelope)
    follow: bool = False
    trigger_seconds: float = 1.0
    max_batch_bytes: int | None = None
    recount: bool = False
    topic: TopicSettings = field(default_factory=TopicSettings)
    maintains: bool = True
    dedupe: bool = False
    once_days: int = 60
    counted_before: CountedBefore | None = None
    java_home: Path | None = None
    spark_config: Mapping[str, str] = field(default_factory=dict)
    environment: str | None = None
    write_from: WriteFrom = "driver"
    products: tuple[contract.Product, ...] = ()

    @property
    def uses_spark(self) -> bool:
        """Whether Spark counts."""
        return bool(self.master or self.spark_config or self.environment or self.java_home)


@dataclass(frozen=True)
class Batch:
    """A micro-batch that was appended.

    files: None where pings do not come in files; rejected, passed_over: by reason; bad_files: reasons by file; bytes:
    of documents; commit_seconds: how many of `seconds` the appends to all tables took.
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
    passed_over: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """Bytes read so far and bytes to read in total, of files or of messages; the pings counted so far."""

    done_bytes: int
    total_bytes: int
    pings: int


@dataclass(frozen=True)
class Summary:
    """What a run read.

    rejected, passed_over: bad pings, and good ones that do not count, by reason. seconds: of the whole run;
    start_seconds: until it could read; bytes: of documents, unpacked. finished: False where a run that does not follow
    was stopped before it had read everything. ignored_files: files that were ignored because of their type or their
    name.
    """

    pings: int
    accepted: int
    rejected: dict[str, int]
    bytes: int
    seconds: float
    start_seconds: float
    batches: int
    finished: bool = True
    passed_over: dict[str, int] = field(default_factory=dict)
    ignored_files: IgnoredFiles = field(default_factory=IgnoredFiles)
