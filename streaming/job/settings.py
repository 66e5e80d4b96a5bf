"""What a job is told, and what it says of its micro-batches and of itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from streaming import contract
from streaming.pings.envelope import Envelope
from streaming.sources.kafka.source import TopicSettings
from streaming.storage.listing import PassedOver

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
    products: to be counted and kept in the dataset, besides those that it and the package know.
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
    products: tuple[contract.Product, ...] = ()


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
