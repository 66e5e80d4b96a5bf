"""A Kafka topic: its URL, its clients and their settings, and requests to its brokers."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from streaming.errors import MissionControlError
from streaming.sources.kafka.outages import BrokersUnavailable, call_brokers_with_retry

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Producer
    from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo

SCHEME = "kafka://"
REQUEST_TIMEOUT_SECONDS = 10.0
EVENT_POLL_SECONDS = 0.2  # how often to check whether brokers refuse the connection, while waiting for an answer
MAX_MESSAGE_BYTES = 16 << 20
MAX_NAMED_TOPICS = 8
# librdkafka's default of the first setting is fifteen times slower.
TUNED_SETTINGS = {
    "fetch.queue.backoff.ms": 2,
    "queued.max.messages.kbytes": 32768,
    "fetch.message.max.bytes": 1 << 20,  # larger messages are read too; larger fetches do not stay in processor caches
    "fetch.max.bytes": 64 << 20,
    "reconnect.backoff.max.ms": 1000,
    "topic.metadata.refresh.interval.ms": 10_000,
}
# A value of --kafka-config for one of these would have no effect.
_RESERVED_SETTINGS = {
    **dict.fromkeys(("bootstrap.servers", "metadata.broker.list"), "the URL of the topic names the brokers"),
    **dict.fromkeys(
        ("group.id", "enable.auto.commit", "enable.auto.offset.store", "enable.partition.eof", "isolation.level"),
        "exact counts need the value that Mission Control sets",
    ),
    "auto.offset.reset": "--starting-offsets says where a new checkpoint begins",
}
_PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_BROKER = re.compile(rf"[^:\s][^\s]*:({_PORT})")
_Client = TypeVar("_Client")


class NoSuchTopicError(MissionControlError):
    """There is no topic of that name; a cluster that has just started may briefly report this of an existing one."""


def is_topic(source: str) -> bool:
    """Whether a source is a Kafka topic."""
    return source[: len(SCHEME)].lower() == SCHEME


@dataclass(frozen=True)
class Topic:
    """A topic and how its brokers are reached."""

    brokers: str
    name: str
    config: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, url: str, config: Mapping[str, str]) -> "Topic":
        """The topic of `kafka://HOST:PORT[,...]/TOPIC`.

        Raises MissionControlError for an invalid URL, and for a setting that would have no effect.
        """
        brokers, _, name = url[len(SCHEME) if is_topic(url) else 0 :].partition("/")
        hosts = brokers.split(",")
        if not name or "/" in name or not all(map(_BROKER.fullmatch, hosts)):
            raise MissionControlError(f"expected kafka://HOST:PORT[,HOST:PORT...]/TOPIC; got {url!r}")
        for setting in config:
            if setting in _RESERVED_SETTINGS:
                raise MissionControlError(
                    f"{setting} in --kafka-config would have no effect: {_RESERVED_SETTINGS[setting]}. Remove that line"
                )
        return cls(brokers, name, config)

    @property
    def url(self) -> str:
        """The URL by which the topic was named."""
        return f"{SCHEME}{self.brokers}/{self.name}"

    @cached_property
    def _admin(self) -> "AdminClient":
        from confluent_kafka.admin import AdminClient

        return self._client(AdminClient, {**self.config, "error_cb": self._on_client_error})

    @cached_property
    def _connection_errors(self) -> "_ConnectionErrors":
        return _ConnectionErrors()

    def _on_client_error(self, error: "KafkaError") -> None:
        from confluent_kafka import KafkaError

        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._connection_errors.is_down = True
        elif error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            self._connection_errors.refusal = error.str()
        elif error.code() in (KafkaError._RESOLVE, KafkaError._TRANSPORT):
            self._connection_errors.failure = error.str()

    def unavailability(self) -> BrokersUnavailable | None:
        """The reason, if the connection to all brokers was lost and none has answered since; else None."""
        self._admin.poll(0)
        if self._connection_errors.is_down:
            try:
                self.cluster_id(timeout=1.0)
            except BrokersUnavailable as unavailable:
                return unavailable
            self._connection_errors.is_down = False
        return None

    def consumer(self) -> "Consumer":
        """A consumer that belongs to no group and commits nothing."""
        from confluent_kafka import Consumer

        needed = {
            "group.id": "missioncontrol",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
        }
        return self._client(Consumer, {**TUNED_SETTINGS, **self.config, **needed})

    def producer(self, needed: Mapping[str, Any] = MappingProxyType({})) -> "Producer":
        """A producer that sends each message once and accepts messages of 10 MB. needed: wins over the config."""
        from confluent_kafka import Producer

        ours = {"message.max.bytes": MAX_MESSAGE_BYTES, "enable.idempotence": True, "linger.ms": 5}
        return self._client(Producer, {**ours, "message.timeout.ms": 0, **self.config, **needed})

    def require(self) -> None:
        """Raises MissionControlError where there is no such topic, or no broker answers for half a minute."""
        call_brokers_with_retry(self.describe_or_suggest, self.brokers, tolerates_refusal=False)

    def describe_or_suggest(self) -> tuple[str, int]:
        """The same as `describe`, but where there is no such topic, the error names topics that exist."""
        try:
            return self.describe()
        except NoSuchTopicError as error:
            raise NoSuchTopicError(f"{error}{self._suggestions()}") from error

    def _suggestions(self) -> str:
        """Names of existing topics for an error, the most similar ones first; "" where brokers do not list them."""
        from confluent_kafka import KafkaException

        try:
            listed = self._admin.list_topics(timeout=REQUEST_TIMEOUT_SECONDS).topics
        except KafkaException:
            return ""
        names = sorted(name for name in listed if not name.startswith("__"))
        closest = get_close_matches(self.name, names, MAX_NAMED_TOPICS, cutoff=0)
        more = f" and {len(names) - len(closest):,} more" if len(names) > len(closest) else ""
        return f"; the brokers have {', '.join(closest)}{more}" if closest else "; the brokers have none"

    def _client(self, kind: Callable[[dict[str, Any]], _Client], settings: Mapping[str, Any]) -> _Client:
        """A Kafka client without log output. Raises MissionControlError where it rejects a setting."""
        from confluent_kafka import KafkaException

        quiet = {"error_cb": lambda error: None, "log_level": 0}
        try:
            return kind({**quiet, **settings, "bootstrap.servers": self.brokers})
        except KafkaException as error:
            raise MissionControlError(f"Kafka's client does not take --kafka-config: {error.args[0].str()}") from error
        except (TypeError, ValueError) as error:  # a setting that takes a function, such as error_cb
            raise MissionControlError(f"Kafka's client does not take --kafka-config: {error}") from error

    def cluster_id(self, timeout: float = REQUEST_TIMEOUT_SECONDS) -> str:
        """The cluster's id. Raises BrokersUnavailable where no broker answers within `timeout` seconds."""
        return self._result_of(self._admin.describe_cluster(request_timeout=timeout)).cluster_id

    def describe(self) -> tuple[str, int]:
        """The topic's id, which changes when it is recreated, and the number of its partitions.

        Raises BrokersUnavailable where no broker answers, NoSuchTopicError where there is no such topic.
        """
        from confluent_kafka import TopicCollection

        described = self._admin.describe_topics(TopicCollection([self.name]), request_timeout=REQUEST_TIMEOUT_SECONDS)
        found = self._result_of(described[self.name])
        return str(found.topic_id), len(found.partitions)

    def end_offsets(self) -> tuple[str, dict[int, int]]:
        """The topic's id, and the offset after the last message of each partition. Raises BrokersUnavailable."""
        from confluent_kafka.admin import OffsetSpec

        topic_id, count = self.describe()
        return topic_id, self.offsets(range(count), OffsetSpec.latest())

    def beginning_offsets(self, partitions: Sequence[int]) -> dict[int, int]:
        """The offset of the first message that each partition still has. Raises BrokersUnavailable."""
        from confluent_kafka.admin import OffsetSpec

        return self.offsets(partitions, OffsetSpec.earliest())

    def offsets(self, partitions: Sequence[int], at: Any) -> dict[int, int]:
        """The offset of each partition at an OffsetSpec; -1 where no message is that new. Raises BrokersUnavailable."""
        return {partition: found.offset for partition, found in self._list_offsets(partitions, at).items()}

    def offsets_at(self, partitions: Iterable[str], received_ms: int) -> dict[str, int]:
        """By partition, the offset of the first message with a timestamp at or after received_ms.

        received_ms: milliseconds since 1970. Raises BrokersUnavailable. A partition without such a message
        has a number above all offsets.
        """
        from confluent_kafka.admin import OffsetSpec

        found = self.offsets([int(partition) for partition in partitions], OffsetSpec.for_timestamp(received_ms))
        return {str(partition): offset if offset >= 0 else sys.maxsize for partition, offset in found.items()}

    def newest_ms(self, partitions: Iterable[str]) -> int:
        """The greatest timestamp in some partitions, milliseconds since 1970; 0 where there is none.

        Raises BrokersUnavailable.
        """
        from confluent_kafka.admin import OffsetSpec

        found = self._list_offsets([int(partition) for partition in partitions], OffsetSpec.max_timestamp())
        return max((each.timestamp for each in found.values() if each.offset >= 0), default=0)

    def _list_offsets(self, partitions: Sequence[int], at: Any) -> "dict[int, ListOffsetsResultInfo]":
        from confluent_kafka import IsolationLevel, TopicPartition

        if not partitions:
            return {}
        wanted = {TopicPartition(self.name, partition): at for partition in partitions}
        asked = self._admin.list_offsets(
            wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=REQUEST_TIMEOUT_SECONDS
        )
        return {topic_partition.partition: self._result_of(answer) for topic_partition, answer in asked.items()}

    def _result_of(self, future: Any) -> Any:
        """The answer of a broker.

        Raises BrokersUnavailable where there is none, NoSuchTopicError where there is no such topic. A broker
        that stops or starts can give any error, so only permanent errors raise MissionControlError.
        """
        from confluent_kafka import KafkaError, KafkaException

        try:
            while not future.done() and self._connection_errors.refusal is None:
                wait([future], timeout=EVENT_POLL_SECONDS)
                self._admin.poll(0)
            answer = future.result(timeout=0)
        except TimeoutError as error:
            raise self._unavailable_error("no answer") from error
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
                raise NoSuchTopicError(f"no such topic: {self.url!r}") from error
            if is_final(reason):
                raise MissionControlError(f"cannot read {self.url!r}: {reason.str()}") from error
            raise self._unavailable_error(reason.str()) from error
        self._connection_errors.refusal = self._connection_errors.failure = None
        return answer

    def _unavailable_error(self, reason: str) -> BrokersUnavailable:
        refusal, self._connection_errors.refusal = self._connection_errors.refusal, None
        return BrokersUnavailable(refusal or self._connection_errors.failure or reason, is_refusal=refusal is not None)


@dataclass
class _ConnectionErrors:
    """What a client has reported about its connections since the last answer."""

    is_down: bool = False
    refusal: str | None = None
    failure: str | None = None


def is_final(error: "KafkaError") -> bool:
    """Whether a retry would give the same error."""
    from confluent_kafka import KafkaError

    return error.code() in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.TOPIC_EXCEPTION, KafkaError._INVALID_ARG,
    )  # fmt: skip


_consumers: dict[str, "Consumer"] = {}


def open_consumer(topic: Topic) -> "Consumer":
    """The consumer of this process: Spark reuses Python workers between tasks, so the connection is reused too."""
    key = json.dumps([topic.brokers, dict(topic.config)])
    if key not in _consumers:
        _consumers[key] = topic.consumer()
    return _consumers[key]
