"""A topic as the job uses it: its settings, and the plan of its micro-batches."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from pyspark.sql.datasource import DataSource

from streaming.aggregation.receipt import HOUR_MS, RECEIVED, BatchEnd, received_since
from streaming.errors import MissionControlError
from streaming.pings import validation
from streaming.sources.base import DENSITY, BatchInput, Density, write_json
from streaming.sources.kafka import data_source
from streaming.sources.kafka.data_source import PingTopic, PingTopicReader, unread_counts
from streaming.sources.kafka.offsets import as_json, brokers_note, by_partition, offsets_before, utc_now_ms
from streaming.sources.kafka.outages import call_brokers_with_retry
from streaming.sources.kafka.topic import SCHEME, Topic

# Kafka has no time before 1970, and small negative numbers have a special meaning.
FIRST_MESSAGES, LAST_MESSAGES = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
OnDataLoss = Literal["fail", "count"]


@dataclass(frozen=True)
class TopicSettings:
    """How a topic is read.

    starting_offsets: where a new checkpoint begins: "earliest", "latest", or a moment in UTC. config: additional
    settings of librdkafka. on_data_loss: what happens when unread messages are gone: "fail" ends the job, "count"
    continues and counts them as rejected.
    """

    starting_offsets: str | datetime = "earliest"
    config: Mapping[str, str] = field(default_factory=dict)
    on_data_loss: OnDataLoss = "fail"

    def __post_init__(self) -> None:
        begin = self.starting_offsets
        if isinstance(begin, datetime):
            if not FIRST_MESSAGES <= (begin if begin.tzinfo else begin.replace(tzinfo=UTC)) < LAST_MESSAGES:
                raise MissionControlError(
                    f"expected --starting-offsets between {FIRST_MESSAGES.year} and {LAST_MESSAGES.year}; "
                    f"got {begin.isoformat()!r}"
                )
        elif begin not in ("earliest", "latest"):
            raise MissionControlError(f"expected starting_offsets as earliest, latest or a datetime; got {begin!r}")
        if self.on_data_loss not in ("fail", "count"):
            raise MissionControlError(f"expected on_data_loss as 'fail' or 'count'; got {self.on_data_loss!r}")


def read_starting_offsets(text: str) -> str | datetime:
    """The value of a text: "earliest", "latest", or a moment in a form that pings use, UTC where it has no offset.

    Raises MissionControlError for other texts.
    """
    if text in ("earliest", "latest"):
        return text
    moment = validation.moment(text)
    if moment is None:
        raise MissionControlError(
            f"expected --starting-offsets as earliest, latest or a time such as 2017-10-02T14:05:00; got {text!r}"
        )
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@dataclass
class TopicSource:
    """A topic to count. cluster, topic_id: read from the cluster by `check`."""

    topic: Topic
    settings: TopicSettings
    max_batch_bytes: int
    cluster: str = ""
    topic_id: str = ""
    ends: Mapping[str, Any] | None = None  # where reading stops, as Spark offsets; None: where the topic ends then
    data_source: ClassVar[type[DataSource]] = PingTopic

    @classmethod
    def of(cls, url: str, settings: TopicSettings, max_batch_bytes: int) -> "TopicSource":
        """The source of a URL."""
        return cls(Topic.of(url, settings.config), settings, max_batch_bytes)

    @property
    def identity(self) -> str:
        """The cluster's id and the topic's name, because brokers may move."""
        return f"{SCHEME}{self.cluster}/{self.topic.name}"

    def check(self, stop: threading.Event, notify: Callable[[str], None]) -> None:
        """Raises MissionControlError where there is no such topic, or no broker answers for half a minute."""
        self.cluster, self.topic_id = call_brokers_with_retry(
            self._ids, self.topic.brokers, stop, notify, tolerates_refusal=False
        )

    def _ids(self) -> tuple[str, str]:
        return self.topic.cluster_id(), self.topic.describe_or_suggest()[0]

    def outage_notice(self) -> str | None:
        """A message that no broker answers; None where one does."""
        unavailable = self.topic.unavailability()
        if unavailable is None:
            return None
        why = f" ({unavailable})" if unavailable.is_refusal else ""
        return f"no broker answers at {self.topic.brokers}{why}: waiting"

    def plan(self, checkpoint: Path) -> "TopicPlan":
        """The plan in a checkpoint's folder; a new plan begins where the settings define."""
        return TopicPlan(self, checkpoint)


class TopicPlan:
    """Which offsets are in which micro-batch: Spark's offset files, and where the first micro-batch begins."""

    def __init__(self, source: TopicSource, checkpoint: Path) -> None:
        self._source, self._folder, self._path = source, checkpoint, checkpoint / "topic.json"
        if not self._path.is_file():
            write_json(self._path, {"topic_id": source.topic_id, **self._first_offsets()})
        write_json(brokers_note(checkpoint), source.topic.url)

    def __len__(self) -> int:
        planned = (self._folder / "spark" / "offsets").glob("[0-9]*")
        return max((int(path.name) for path in planned), default=-1) + 1

    def has_pings(self) -> bool:
        """Always true: a topic without messages gives no micro-batch."""
        return True

    def options(self) -> dict[str, str]:
        """The options of PingTopic."""
        topic = self._source.topic
        return {
            "brokers": topic.brokers,
            "topic": topic.name,
            "config": json.dumps(dict(topic.config)),
            "begins": str(self._path),
            "density": str(self._folder / DENSITY),
            "max_bytes": str(self._source.max_batch_bytes),
            "on_data_loss": self._source.settings.on_data_loss,
            **({"ends": json.dumps(self._source.ends)} if self._source.ends is not None else {}),
        }

    def unread_bytes(self, committed: int) -> int:
        """The number of messages in no micro-batch yet, times the mean size of some; an estimate."""
        return PingTopicReader(self.options()).unread_bytes(offsets_before(self._folder, len(self)))

    def read(self, number: int, document_bytes: int) -> BatchInput:
        """The bytes of the documents."""
        return BatchInput(document_bytes, None)

    def newest_bytes(self) -> int:
        """The most bytes that a micro-batch may read, limited by the rows that the previous one made."""
        return Density(self._folder / DENSITY).batch_bytes(self._source.max_batch_bytes)

    def note_rows(self, number: int, document_bytes: int, rows: int) -> None:
        """Notes how many rows the documents of a micro-batch made."""
        Density(self._folder / DENSITY).note(rows, document_bytes)

    def has_few_rows(self, number: int, cores: int) -> bool:
        """Whether it has at most FEW_MESSAGES messages."""
        start, end = offsets_before(self._folder, number), offsets_before(self._folder, number + 1)
        return (
            sum(unread_counts(start if start["topic"] == end["topic"] else {}, end).values())
            <= data_source.FEW_MESSAGES
        )

    def hour_before(self, number: int, begins: Path) -> dict[str, str] | None:
        """The options of PingTopic for what was received in the hour before a micro-batch; None where nothing was.

        begins: a file that is written. Raises MissionControlError where no broker answers.
        """
        start = offsets_before(self._folder, number)
        found = call_brokers_with_retry(lambda: self._hour_before(start), self._source.topic.brokers)
        if found is None:
            return None
        first, end = found
        write_json(begins, {"topic_id": start["topic"], "start": first.offsets, RECEIVED: first.received_ms})
        ends = {"topic": start["topic"], RECEIVED: end.received_ms, **end.offsets}
        ends_there = {"begins": str(begins), "ends": json.dumps(ends), "on_data_loss": "count"}
        return {name: value for name, value in self.options().items() if name != "density"} | ends_there

    def _hour_before(self, start: Mapping[str, Any]) -> tuple[BatchEnd, BatchEnd] | None:
        from confluent_kafka.admin import OffsetSpec

        topic, ends = self._source.topic, by_partition(start)
        topic_id, count = topic.describe()
        firsts = as_json(topic.offsets(range(count), OffsetSpec.earliest()))
        if topic_id != start["topic"] or not unread_counts(firsts, ends):
            return None
        newest_ms = min(topic.newest_ms(ends), utc_now_ms())
        if RECEIVED in start:
            since_ms = end_ms = start[RECEIVED]
        else:  # the micro-batch does not begin at a time of receipt
            last = as_json(topic.offsets(range(count), OffsetSpec.latest()))
            since_ms, end_ms = received_since(ends, last, newest_ms, partial(topic.offsets_at, ends)), newest_ms
        first_ms = max(since_ms - HOUR_MS, 0)
        found = topic.offsets_at(ends, first_ms)
        return BatchEnd(first_ms, {partition: min(found[partition], end) for partition, end in ends.items()}), BatchEnd(
            end_ms, ends
        )

    def _first_offsets(self) -> dict[str, Any]:
        """The offsets as `start` and, unless they are the earliest, the time before which none later was received."""
        from confluent_kafka.admin import OffsetSpec

        at, topic = self._source.settings.starting_offsets, self._source.topic
        partitions = range(topic.describe()[1])
        if at == "earliest":
            return {"start": as_json(topic.offsets(partitions, OffsetSpec.earliest()))}
        ends = as_json(topic.offsets(partitions, OffsetSpec.latest()))
        newest_ms = min(topic.newest_ms(ends), utc_now_ms())
        if not isinstance(at, datetime):
            return {"start": ends, RECEIVED: newest_ms}
        at_ms = round(at.timestamp() * 1000)
        found = topic.offsets_at(ends, at_ms)
        start = {partition: min(found[partition], end) for partition, end in ends.items()}
        return {"start": start, RECEIVED: min(at_ms, newest_ms)}
