"""A Kafka topic of pings: a ping is kept when the brokers have acknowledged it."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from missioncontrol_nb.receiver.sinks import MAX_QUEUED_BYTES, CannotKeepError
from streaming.errors import MissionControlError
from streaming.sources.kafka.topic import Topic

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Producer

ANSWER_SECONDS = 20.0  # clients wait up to 90 s
_POLL_SECONDS = 0.005
_CHECK_SECONDS = 2.0
_DEFAULTS = {"linger.ms": 20}  # larger requests to brokers: a seventh more pings in a CPU second than with 5
_SETTINGS = {
    "enable.idempotence": True,
    "acks": "all",
    "message.timeout.ms": int(ANSWER_SECONDS * 1000),
    "queue.buffering.max.kbytes": MAX_QUEUED_BYTES >> 10,
    "queue.buffering.max.messages": 50_000,
}


class TopicSink:
    """A topic.

    Raises MissionControlError where there is none, no broker answers for half a minute, or a setting has no effect.
    """

    recovered = 0

    def __init__(self, url: str, config: Mapping[str, str]) -> None:
        for name in _SETTINGS:
            if name in config:
                raise MissionControlError(
                    f"{name} in --kafka-config would have no effect: durable answers need the value that Mission "
                    "Control sets. Remove that line"
                )
        self._topic = Topic.of(url, config)
        self._topic.require()
        self._settings = {**_DEFAULTS, **config, **_SETTINGS}
        self._producer: Producer = self._topic.producer(self._settings)
        self._retired: list[Producer] = []  # those that send nothing any more, and have not said so of all messages
        self._waiting = 0
        self._is_closed = False
        self._problem = ""
        self._pump: asyncio.Task[None] | None = None

    async def keep(self, document_id: str, document: bytes) -> None:
        """Returns when all brokers that are in step have a document. Raises CannotKeepError where they have not."""
        from confluent_kafka import KafkaException

        if self._is_closed:
            raise CannotKeepError(503, "closing")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        noted = partial(self._note, future)
        try:
            self._producer.produce(self._topic.name, document[:-1], document_id.encode(), on_delivery=noted)
        except BufferError as error:
            self._producer.poll(0)
            raise CannotKeepError(503, "queue_full") from error
        except KafkaException as error:
            raise CannotKeepError(503, error.args[0].name()) from error
        self._waiting += 1
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._poll())
        await future

    async def check(self) -> str:
        """Why pings cannot be kept; "" where they can. Asks the brokers where they have not taken the last ping."""
        if self._problem and not self._is_closed:
            await asyncio.get_running_loop().run_in_executor(None, self._ask)
        return self._problem

    async def close(self) -> None:
        """Waits until what was sent is acknowledged or given up."""
        self._is_closed = True
        if self._pump is not None:
            await self._pump

    async def _poll(self) -> None:
        while self._waiting:
            for producer in (self._producer, *self._retired):
                producer.poll(0)
            await asyncio.sleep(_POLL_SECONDS)
        self._retired.clear()

    def _note(self, future: "asyncio.Future[None]", error: "KafkaError | None", _message: Any) -> None:
        self._waiting -= 1
        self._problem = "" if error is None else error.str()
        if error is not None and error.fatal() and not self._retired:
            self._retired.append(self._producer)
            self._producer = self._topic.producer(self._settings)
        if future.done():  # its client is gone
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(CannotKeepError(503, error.name()))

    def _ask(self) -> None:
        from confluent_kafka import KafkaException

        try:
            self._producer.list_topics(self._topic.name, timeout=_CHECK_SECONDS)
        except KafkaException as error:
            self._problem = error.args[0].str()
        else:
            self._problem = ""
