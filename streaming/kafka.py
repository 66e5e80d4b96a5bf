"""Pings in a Kafka topic, as a data source of Spark whose tasks read and count.

A message counts once, and a replay is safe: which offsets a micro-batch reads stands in Spark's checkpoint before the
micro-batch begins, where the first one begins in ours (`topic.json`), and a topic's messages never change. What can
change is what a topic still has: messages that fell off its retention, or a topic made anew under the same name, are
told or counted as `TopicSettings.on_data_loss` says.
"""

import configparser
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeVar

from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.streaming.datasource import ReadLimit, ReadMaxBytes, SupportsTriggerAvailableNow
from pyspark.sql.types import StructType

from streaming import contract
from streaming.counting import Counter
from streaming.errors import MissionControlError
from streaming.pings import Envelope
from streaming.source import Read, envelope_of

if TYPE_CHECKING:
    import pyarrow as pa
    from confluent_kafka import Consumer, KafkaError, Message, Producer
    from confluent_kafka.admin import AdminClient

SCHEME = "kafka://"
MAX_BATCH_BYTES = 1 << 30
OnDataLoss = Literal["fail", "count"]
_Result = TypeVar("_Result")
SMALL_BATCH_BYTES = 4 << 20  # below, one task is faster than several
FLUSH_ROWS = 50_000
TAKEN_AT_ONCE = 50  # messages: a consumer holds as many beside its queue, whatever their size
SAMPLED_MESSAGES = 200  # to learn how large messages are
SAMPLE_SECONDS = 30.0  # how long a sample is trusted
ANSWER_SECONDS = 10.0
PATIENCE_SECONDS = 30.0  # a job that does not follow gives up a broker that is away for so long
LARGEST_MESSAGE = 16 << 20
# Of librdkafka's defaults the first costs a factor of fifteen.
TUNED = {
    "fetch.queue.backoff.ms": 2,
    "queued.max.messages.kbytes": 65536,
    "fetch.message.max.bytes": LARGEST_MESSAGE,
    "fetch.max.bytes": 64 << 20,
    "reconnect.backoff.max.ms": 1000,
    "topic.metadata.refresh.interval.ms": 10_000,
}


@dataclass(frozen=True)
class TopicSettings:
    """How a topic is read.

    starting_offsets: where a new checkpoint begins: "earliest", "latest", or a moment in UTC. config: what librdkafka
    takes besides. on_data_loss: when messages that were not read yet are gone, "fail" ends the job, "count" goes on
    and counts them as rejected.
    """

    starting_offsets: str | datetime = "earliest"
    config: Mapping[str, str] = field(default_factory=dict)
    on_data_loss: OnDataLoss = "fail"


def is_topic(source: str) -> bool:
    """Whether a source is a topic of Kafka's."""
    return source.startswith(SCHEME)


def read_config(path: str | Path) -> dict[str, str]:
    """The settings in a file of `name = value` lines, as Kafka's own tools take it; `#` begins a comment.

    Raises MissionControlError where it cannot be read.
    """
    parser = configparser.ConfigParser(
        delimiters=("=",), comment_prefixes=("#", "!"), interpolation=None, default_section="", strict=False
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string("[all]\n" + Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise MissionControlError(f"cannot read --kafka-config {str(path)!r}: {error.strerror}") from error
    except (configparser.Error, UnicodeDecodeError) as error:
        raise MissionControlError(
            f"expected lines of name = value in {str(path)!r}, such as security.protocol = SSL; {error}"
        ) from error
    return dict(parser["all"])


def read_starting_offsets(text: str) -> str | datetime:
    """ "earliest", "latest", or a moment, UTC. Raises MissionControlError for anything else."""
    if text in ("earliest", "latest"):
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MissionControlError(
            f"expected --starting-offsets as earliest, latest or a time such as 2017-10-02T14:05:00; got {text!r}"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# A topic, as its brokers see it.


class Away(Exception):  # noqa: N818 (a state that passes)
    """No broker answers."""


@dataclass(frozen=True)
class Topic:
    """A topic and how its brokers are reached."""

    brokers: str
    name: str
    config: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, url: str, config: Mapping[str, str]) -> "Topic":
        """The topic of `kafka://HOST:PORT[,...]/TOPIC`. Raises MissionControlError for a URL that is none."""
        brokers, _, name = url.removeprefix(SCHEME).partition("/")
        hosts = brokers.split(",")
        if not name or "/" in name or not all(host.rpartition(":")[2].isdigit() and host[0] != ":" for host in hosts):
            raise MissionControlError(f"expected kafka://HOST:PORT[,HOST:PORT...]/TOPIC; got {url!r}")
        return cls(brokers, name, config)

    @property
    def url(self) -> str:
        """How the topic was named."""
        return f"{SCHEME}{self.brokers}/{self.name}"

    @cached_property
    def _admin(self) -> "AdminClient":
        from confluent_kafka.admin import AdminClient

        settings = self._settings() | {"error_cb": self._hear}
        return AdminClient(settings)

    @cached_property
    def _is_down(self) -> threading.Event:
        return threading.Event()

    def _hear(self, error: "KafkaError") -> None:
        from confluent_kafka import KafkaError

        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._is_down.set()

    def is_away(self) -> bool:
        """Whether the connection to all brokers was lost and none has answered since."""
        self._admin.poll(0)
        if self._is_down.is_set():
            try:
                self.cluster_id(timeout=1.0)
            except Away:
                return True
            self._is_down.clear()
        return False

    def consumer(self) -> "Consumer":
        """A consumer that belongs to no group and commits nothing."""
        from confluent_kafka import Consumer

        return Consumer(
            {
                **TUNED,
                **self._settings(),
                "group.id": "missioncontrol",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
            }
        )

    def producer(self) -> "Producer":
        """A producer that sends each message once and takes those of 10 MB."""
        from confluent_kafka import Producer

        ours = {"message.max.bytes": LARGEST_MESSAGE, "enable.idempotence": True, "linger.ms": 5}
        return Producer({**ours, "message.timeout.ms": 0, **self._settings()})

    def require(self) -> None:
        """Raises MissionControlError where there is no such topic, or no broker answers for half a minute."""
        _patiently(self.describe, self)

    def _settings(self) -> dict[str, Any]:
        from confluent_kafka import KafkaException

        settings = {"bootstrap.servers": self.brokers, **self.config, "error_cb": lambda error: None, "log_level": 0}
        try:
            _check_settings(settings)
        except KafkaException as error:
            raise MissionControlError(f"Kafka's client does not take --kafka-config: {error.args[0].str()}") from error
        return settings

    def cluster_id(self, timeout: float = ANSWER_SECONDS) -> str:
        """What the brokers call their cluster. Raises Away where none answers in so many seconds."""
        return _answer(self._admin.describe_cluster(request_timeout=timeout)).cluster_id

    def describe(self) -> tuple[str, int]:
        """The topic's id, another one when it is made anew, and the number of its partitions.

        Raises Away where no broker answers, MissionControlError where there is no such topic.
        """
        from confluent_kafka import TopicCollection

        described = self._admin.describe_topics(TopicCollection([self.name]), request_timeout=ANSWER_SECONDS)
        found = _answer(described[self.name], self)
        return str(found.topic_id), len(found.partitions)

    def ends(self) -> dict[str, Any]:
        """The offset after the last message of each partition, as Spark keeps it, with the topic's id. Raises Away."""
        from confluent_kafka.admin import OffsetSpec

        topic_id, count = self.describe()
        return {"topic": topic_id, **_as_json(self.offsets(range(count), OffsetSpec.latest()))}

    def offsets(self, partitions: Sequence[int], at: Any) -> dict[int, int]:
        """The offset of each partition at an OffsetSpec; the end where no message is that new. Raises Away."""
        from confluent_kafka import IsolationLevel, TopicPartition

        if not partitions:
            return {}
        wanted = {TopicPartition(self.name, partition): at for partition in partitions}
        asked = self._admin.list_offsets(
            wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=ANSWER_SECONDS
        )
        return {place.partition: _answer(answer, self).offset for place, answer in asked.items()}


def _check_settings(settings: Mapping[str, Any]) -> None:
    from confluent_kafka.admin import AdminClient

    AdminClient(dict(settings))


def _answer(future: Any, topic: Topic | None = None) -> Any:
    """What a broker answers. Raises Away where none does, MissionControlError where there is no such topic."""
    from confluent_kafka import KafkaError, KafkaException

    try:
        return future.result(timeout=2 * ANSWER_SECONDS)
    except TimeoutError as error:
        raise Away("no answer") from error
    except KafkaException as error:
        reason: KafkaError = error.args[0]
        if topic and reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise MissionControlError(f"no such topic: {topic.url!r}") from error
        if reason.retriable() or reason.code() in (
            KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError.REQUEST_TIMED_OUT,
            KafkaError.LEADER_NOT_AVAILABLE, KafkaError.BROKER_NOT_AVAILABLE, KafkaError._RESOLVE,
        ):  # fmt: skip
            raise Away(reason.str()) from error
        raise MissionControlError(f"cannot read {topic.url if topic else 'the cluster'!r}: {reason.str()}") from error


# What the job sees.


@dataclass
class TopicSource:
    """A topic to count; what it is told of the cluster, it knows once checked."""

    topic: Topic
    settings: TopicSettings
    max_batch_bytes: int
    cluster: str = ""
    topic_id: str = ""
    data_source: ClassVar[type[DataSource]]

    @classmethod
    def of(cls, url: str, settings: TopicSettings, max_batch_bytes: int) -> "TopicSource":
        """The source of a URL."""
        return cls(Topic.of(url, settings.config), settings, max_batch_bytes)

    @property
    def identity(self) -> str:
        """The cluster's id and the topic's name: brokers may move."""
        return f"{SCHEME}{self.cluster}/{self.topic.name}"

    def check(self, stop: threading.Event, say: Callable[[str], None]) -> None:
        """Raises MissionControlError where there is no such topic, or no broker answers for half a minute."""
        give_up, said = time.monotonic() + PATIENCE_SECONDS, False
        while True:
            try:
                self.cluster, self.topic_id = self.topic.cluster_id(), self.topic.describe()[0]
            except Away as away:
                if not said:
                    say(f"no broker answers at {self.topic.brokers} yet: waiting")
                    said = True
                if time.monotonic() > give_up or stop.is_set():
                    raise MissionControlError(f"no broker answers at {self.topic.brokers}: {away}") from away
                stop.wait(0.5)
            else:
                return

    def trouble(self) -> str | None:
        """That no broker answers, where that is so."""
        return f"no broker answers at {self.topic.brokers}: waiting" if self.topic.is_away() else None

    def plan(self, checkpoint: Path) -> "TopicPlan":
        """The plan in a checkpoint's folder; a new one is made to begin where the settings say."""
        return TopicPlan(self, checkpoint)


class TopicPlan:
    """Which offsets are in which micro-batch: Spark's own notes, and where the first one begins."""

    def __init__(self, source: TopicSource, checkpoint: Path) -> None:
        self._source, self._path, self._spark = source, checkpoint / "topic.json", checkpoint / "spark" / "offsets"
        if not self._path.is_file():
            _write_whole(self._path, {"topic_id": source.topic_id, "start": self._first_offsets()})

    def __len__(self) -> int:
        return max((int(path.name) for path in self._spark.glob("[0-9]*")), default=-1) + 1

    def has_pings(self) -> bool:
        """Always: a topic without messages gives no micro-batch."""
        return True

    def options(self) -> dict[str, str]:
        """What PingTopic takes."""
        topic = self._source.topic
        return {
            "brokers": topic.brokers,
            "topic": topic.name,
            "config": json.dumps(dict(topic.config)),
            "begins": str(self._path),
            "max_bytes": str(self._source.max_batch_bytes),
            "on_data_loss": self._source.settings.on_data_loss,
        }

    def unread_bytes(self, committed: int) -> int:
        """The messages that are in no micro-batch yet, times the mean size of some; about, as all of it is."""
        return PingTopicReader(self.options()).unread_bytes(self._offsets_before(len(self)))

    def read(self, number: int, document_bytes: int) -> Read:
        """The bytes of the documents."""
        return Read(document_bytes, None)

    def _offsets_before(self, number: int) -> dict[str, Any]:
        path = self._spark / str(number - 1)
        if number and path.is_file():
            return json.loads(path.read_text().splitlines()[-1])
        return _first(self._path)

    def _first_offsets(self) -> dict[str, int]:
        from confluent_kafka.admin import OffsetSpec

        at, topic = self._source.settings.starting_offsets, self._source.topic
        partitions = range(topic.describe()[1])
        ends = topic.offsets(partitions, OffsetSpec.latest())
        if isinstance(at, datetime):
            found = topic.offsets(partitions, OffsetSpec.for_timestamp(round(at.timestamp() * 1000)))
            return {str(place): offset if offset >= 0 else ends[place] for place, offset in found.items()}
        return _as_json(ends if at == "latest" else topic.offsets(partitions, OffsetSpec.earliest()))


def _first(path: Path) -> dict[str, Any]:
    begins = json.loads(path.read_text())
    return {"topic": begins["topic_id"], **begins["start"]}


def _as_json(offsets: Mapping[int, int]) -> dict[str, int]:
    return {str(partition): offset for partition, offset in sorted(offsets.items())}


def _write_whole(path: Path, content: object) -> None:
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


# What Spark sees.


class Range(NamedTuple):
    """Messages of a partition from start to before end. lost: how many before start are gone for good."""

    partition: int
    start: int
    end: int
    lost: int = 0


@dataclass
class RangesPartition(InputPartition):
    """What one task reads."""

    ranges: list[Range]


class PingTopic(DataSource):
    """Partial sums of the pings in a topic. Options: TopicPlan's, cores, channel, country, submitted_at."""

    @classmethod
    def name(cls) -> str:
        """What spark.readStream.format takes."""
        return "missioncontrol_ping_topic"

    def schema(self) -> StructType:
        """contract.partial_schema(), as Spark spells it."""
        return from_arrow_schema(contract.partial_schema(), prefer_timestamp_ntz=False)

    def streamReader(self, schema: StructType) -> "PingTopicReader":  # noqa: N802 (Spark's name)
        """The reader of a stream."""
        return PingTopicReader(dict(self.options))


class PingTopicReader(DataSourceStreamReader, SupportsTriggerAvailableNow):
    """Offset: the topic's id and, by partition, the message to read next."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = {name.lower(): value for name, value in options.items()}
        config = json.loads(self._options["config"])
        self._topic = Topic(self._options["brokers"], self._options["topic"], config)
        self._frozen: dict[str, Any] | None = None
        self._mean_bytes, self._sampled_at = 0.0, -SAMPLE_SECONDS

    def initialOffset(self) -> dict[str, Any]:  # noqa: N802
        """Where the checkpoint begins."""
        return _first(Path(self._options["begins"]))

    def getDefaultReadLimit(self) -> ReadLimit:  # noqa: N802
        """As many bytes as a micro-batch may have."""
        return ReadMaxBytes(int(self._options["max_bytes"]))

    def prepareForTriggerAvailableNow(self) -> None:  # noqa: N802
        """From now on, what is there now is all there is."""
        self._frozen = _patiently(self._topic.ends, self._topic)

    def latestOffset(self, start: dict[str, Any], limit: ReadLimit) -> dict[str, Any]:  # noqa: N802
        """One micro-batch on from start, as large as the limit; start when there is nothing, or no broker answers."""
        try:
            ends = self._frozen or self._ends()
            unread = self._unread(start, ends)
            total = sum(unread.values())
            if not total:
                return start
            share = 1.0
            if isinstance(limit, ReadMaxBytes):
                share = min(1.0, limit.max_bytes / (self._mean(start, unread) * total))
        except Away:
            return start
        begin = self._begin(start, ends)
        after = {place: begin.get(place, 0) + math.ceil(count * share) for place, count in unread.items()}
        return {"topic": ends["topic"], **begin, **after}

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> Sequence[InputPartition]:
        """A partition for each task. Raises MissionControlError where messages are gone and that is not to be borne."""
        ranges = _patiently(lambda: self._ranges(start, end), self._topic)
        messages = sum(each.end - each.start for each in ranges)
        cores = int(self._options["cores"])
        tasks = cores if messages * self._mean_bytes > SMALL_BATCH_BYTES or not self._mean_bytes else 1
        return [RangesPartition(share) for share in share_out(ranges, tasks)]

    def read(self, partition: InputPartition) -> Iterator["pa.RecordBatch"]:
        """The partial sums of a partition."""
        assert isinstance(partition, RangesPartition)
        yield from count_ranges(self._topic, partition.ranges, envelope_of(self._options))

    def commit(self, end: dict[str, Any]) -> None:
        """Nothing: Spark's checkpoint keeps the offsets."""

    def unread_bytes(self, start: dict[str, Any]) -> int:
        """About how much there is to read from there on. Raises MissionControlError where no broker answers."""

        def ask() -> int:
            unread = self._unread(start, self._ends())
            total = sum(unread.values())
            return round(self._mean(start, unread) * total) if total else 0

        return _patiently(ask, self._topic)

    def _ends(self) -> dict[str, Any]:
        try:
            return self._topic.ends()
        except MissionControlError as error:
            if self._bears_loss:
                raise Away(str(error)) from error  # it may be made anew
            raise

    @property
    def _bears_loss(self) -> bool:
        return self._options["on_data_loss"] == "count"

    def _begin(self, start: dict[str, Any], ends: dict[str, Any]) -> dict[str, int]:
        """Where to go on: of a topic made anew, and of a partition that is new, at its first message."""
        if start["topic"] == ends["topic"]:
            return {place: offset for place, offset in start.items() if place != "topic"}
        if not self._bears_loss:
            raise MissionControlError(
                f"the topic {self._topic.url!r} was deleted and made anew since the checkpoint was written: what of "
                "the old one was not read is lost. To go on with the new one and count the loss: --on-data-loss count"
            )
        return {}

    def _unread(self, start: dict[str, Any], ends: dict[str, Any]) -> dict[str, int]:
        """Messages by partition."""
        begin = self._begin(start, ends)
        counts = {place: end - begin.get(place, 0) for place, end in ends.items() if place != "topic"}
        return {place: count for place, count in counts.items() if count > 0}

    def _ranges(self, start: dict[str, Any], end: dict[str, Any]) -> list[Range]:
        from confluent_kafka.admin import OffsetSpec

        begin = self._begin(start, end)
        wanted = {int(place): offset for place, offset in end.items() if place != "topic"}
        firsts = self._topic.offsets(list(wanted), OffsetSpec.earliest())
        ranges = []
        for partition, stop in sorted(wanted.items()):
            first = begin.get(str(partition), 0)
            lost = min(max(firsts[partition] - first, 0), stop - first)
            if lost > 0 and str(partition) in begin and not self._bears_loss:
                raise MissionControlError(
                    f"{lost:,} messages of partition {partition} of {self._topic.url!r} fell off the topic's retention "
                    "before they were read. To go on without them and count the loss: --on-data-loss count"
                )
            if stop > first:
                ranges.append(Range(partition, first + lost, stop, lost if str(partition) in begin else 0))
        if start["topic"] != end["topic"]:
            ranges.append(Range(-1, 0, 0, lost=1))  # nobody can say how many
        return ranges

    def _mean(self, start: dict[str, Any], unread: Mapping[str, int]) -> float:
        """The mean size of some of the next messages, bytes."""
        if time.monotonic() - self._sampled_at > SAMPLE_SECONDS:
            begin = self._begin(start, self._ends())
            places = [Range(int(place), begin.get(place, 0), 0) for place in unread]
            self._mean_bytes = _sample(self._topic, places) or self._mean_bytes or 4096.0
            self._sampled_at = time.monotonic()
        return self._mean_bytes


def _patiently(ask: Callable[[], _Result], topic: Topic) -> _Result:
    """What brokers answer, which are waited for a while. Raises MissionControlError where none does."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return ask()
        except Away as away:
            if time.monotonic() > give_up:
                raise MissionControlError(f"no broker answers at {topic.brokers}: {away}") from away
        time.sleep(0.5)


def share_out(ranges: Sequence[Range], tasks: int) -> list[list[Range]]:
    """The ranges, cut where need be, for as many tasks with as many messages each; the same at each call."""
    quota = max(1, -(-sum(each.end - each.start for each in ranges) // tasks))
    shares: list[list[Range]] = [[]]
    room = quota
    for partition, start, end, lost in ranges:
        first = start
        while first < end or lost:
            if not room:
                shares.append([])
                room = quota
            stop = min(end, first + room)
            shares[-1].append(Range(partition, first, stop, lost))
            room -= stop - first
            first, lost = stop, 0
    return shares


# Reading, in the task.


def count_ranges(topic: Topic, ranges: Sequence[Range], envelope: Envelope) -> Iterator["pa.RecordBatch"]:
    """Reads, decodes and sums; batches of contract.partial_schema(). A message without a value is rejected as empty."""
    counter = Counter(envelope)
    for each in ranges:
        if each.lost:
            counter.reject("messages_lost", time.time_ns() // 1000, pings=each.lost)
    for message in read_messages(topic, [each for each in ranges if each.end > each.start]):
        document, received_us = message.value(), message.timestamp()[1] * 1000
        if document is None:
            counter.reject("empty", received_us)
        else:
            counter.add(document, received_us)
        if len(counter) > FLUSH_ROWS:
            yield counter.partial_sums()
    if len(counter):
        yield counter.partial_sums()


def read_messages(topic: Topic, ranges: Sequence[Range]) -> Iterator["Message"]:
    """The messages of ranges, one after another within a partition. A broker that is away is waited for.

    Raises MissionControlError where messages of a range are gone.
    """
    from confluent_kafka import KafkaError, TopicPartition

    ends = {each.partition: each.end for each in ranges}
    consumer = _consumer(topic)
    consumer.assign([TopicPartition(topic.name, each.partition, each.start) for each in ranges])
    try:
        while ends:
            for message in _take(consumer, 1.0):
                partition, error, offset = message.partition(), message.error(), message.offset()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise MissionControlError(f"cannot read partition {partition} of {topic.url!r}: {error.str()}")
                if partition not in ends or offset is None:
                    continue
                if error is None and offset < ends[partition]:
                    yield message
                if offset >= ends[partition] - (error is None):
                    del ends[partition]
                    consumer.incremental_unassign([TopicPartition(topic.name, partition)])
    finally:
        consumer.unassign()


def _sample(topic: Topic, places: Sequence[Range]) -> float:
    """The mean size of some messages from the places on, bytes; 0 where none comes."""
    from confluent_kafka import TopicPartition

    consumer = _consumer(topic)
    consumer.assign([TopicPartition(topic.name, each.partition, each.start) for each in places])
    sizes: list[int] = []
    give_up = time.monotonic() + 2.0
    while len(sizes) < SAMPLED_MESSAGES and time.monotonic() < give_up:
        messages = _take(consumer, 0.2)
        sizes += [len(message.value() or b"") for message in messages if message.error() is None]
        if not messages and sizes:
            break
    consumer.unassign()
    return sum(sizes) / len(sizes) if sizes else 0.0


def _take(consumer: "Consumer", seconds: float) -> "list[Message]":
    """Some messages, as soon as there is one. `consume` alone would wait until there are as many as it may take."""
    first = consumer.poll(seconds)
    return [] if first is None else [first, *consumer.consume(TAKEN_AT_ONCE - 1, timeout=0)]


_consumers: dict[str, "Consumer"] = {}


def _consumer(topic: Topic) -> "Consumer":
    """The consumer of this process: Spark's Python workers live on from task to task, and so does the connection."""
    key = json.dumps([topic.brokers, dict(topic.config)])
    if key not in _consumers:
        _consumers[key] = topic.consumer()
    return _consumers[key]


TopicSource.data_source = PingTopic
