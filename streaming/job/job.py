"""What a job reads, how, and where it keeps what it has read: all that an engine needs to stream it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from streaming import contract
from streaming.aggregation import spill
from streaming.aggregation.deduplication import SEEN_IDS_FOLDER
from streaming.aggregation.seen_ids import LATE_US
from streaming.job.checkpoint import Checkpoint
from streaming.job.settings import AggregateSettings
from streaming.sources.base import Plan, Source
from streaming.sources.kafka.source import TopicPlan
from streaming.sources.spark_source import reading_options

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Job:
    """A source, the dataset that its sums go to, and the checkpoint. notify: called with a sentence for users."""

    source: Source
    dataset: str
    settings: AggregateSettings
    products: contract.Products
    checkpoint: Checkpoint
    plan: Plan
    notify: Callable[[str], None]
    stop: threading.Event

    def reading_options(self, cores: int) -> dict[str, str]:
        """The options of the data source that do not depend on what was read before. cores: how many tasks run."""
        return {
            **reading_options(self.settings.envelope, self.products),
            "by_delivery": str(self.settings.dedupe).lower(),
            "once": str(self.settings.once_days > 0).lower(),
            "batch_rows": str(spill.BATCH_ROWS),
            "cores": str(cores),
        }

    @property
    def seen_ids(self) -> Path:
        """The folder of the ids by which duplicates are found."""
        return self.checkpoint.folder / SEEN_IDS_FOLDER

    @property
    def late_us(self) -> int:
        """How much later than its pings were received a part of the source may be read, in microseconds."""
        return 0 if isinstance(self.plan, TopicPlan) else LATE_US


class Watcher(Protocol):
    """What an engine reports to while it streams."""

    def begin(self, number: int) -> None:
        """Makes the record of a planned micro-batch durable. Called before anything is noted for it."""

    def append(self, sums: "pa.Table", number: int, began: float) -> None:
        """Appends a micro-batch to all tables. sums: of contract.partial_schema(); began: by the monotonic clock."""

    def look(self, share: Callable[[], float]) -> None:
        """Called several times a second. share: gives the finished share of the running micro-batch."""


class Engine(Protocol):
    """What reads a source from micro-batch to micro-batch."""

    def stream(self, job: Job, watcher: Watcher) -> bool:
        """Appends micro-batches until there is nothing left to read or a stop is requested; True for the former."""
