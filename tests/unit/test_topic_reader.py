"""What the reader of a topic plans while its brokers are away."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from pyspark.sql.streaming.datasource import ReadMaxBytes

from streaming.aggregation.receipt import RECEIVED
from streaming.errors import MissionControlError
from streaming.sources.kafka import data_source
from streaming.sources.kafka.data_source import PingTopicReader
from streaming.sources.kafka.outages import BrokersUnavailable

START = {"topic": "id", "0": 0, RECEIVED: 0}
MESSAGE_BYTES = 100
TWO_MESSAGES = ReadMaxBytes(2 * MESSAGE_BYTES)


class FakeTopic:
    """Four messages, received a second apart from 1970 on, whose brokers do not answer a number of requests."""

    brokers = "fake:9092"

    def __init__(self) -> None:
        self.unanswered = 0

    def end_offsets(self) -> tuple[str, dict[int, int]]:
        self._answer()
        return "id", {0: 4}

    def newest_ms(self, _: Iterable[str]) -> int:
        self._answer()
        return 4_000

    def offsets_at(self, _: Iterable[str], received_ms: int) -> dict[str, int]:
        self._answer()
        return {"0": min(4, max(0, -(-received_ms // 1_000) - 1))}

    def _answer(self) -> None:
        if self.unanswered:
            self.unanswered -= 1
            raise BrokersUnavailable("away")


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> FakeTopic:
    topic = FakeTopic()
    monkeypatch.setattr(data_source, "Topic", lambda *_: topic)
    monkeypatch.setattr(data_source, "mean_bytes", lambda *_: MESSAGE_BYTES)
    monkeypatch.setattr("streaming.sources.kafka.outages.BROKER_TIMEOUT_SECONDS", 0.0)
    return topic


@pytest.fixture
def reader(topic: FakeTopic, tmp_path: Path) -> PingTopicReader:
    begins = tmp_path / "begins.json"
    begins.write_text(json.dumps(START))
    options = {"brokers": topic.brokers, "topic": "pings", "config": "{}", "begins": str(begins), "cores": "2"}
    return PingTopicReader({**options, "max_bytes": "1000000", "on_data_loss": "fail", "by_delivery": "true"})


def test_end_is_not_reported_while_messages_before_a_fixed_end_are_unread(
    topic: FakeTopic, reader: PingTopicReader
) -> None:
    reader.prepareForTriggerAvailableNow()
    topic.unanswered = 2
    found = reader.latestOffset(START, TWO_MESSAGES)
    assert (found["0"], topic.unanswered) == (1, 0)


def test_job_that_follows_is_told_at_once_that_there_is_nothing_new(topic: FakeTopic, reader: PingTopicReader) -> None:
    topic.unanswered = 1
    assert reader.latestOffset(START, TWO_MESSAGES) == START
    assert reader.latestOffset(START, TWO_MESSAGES)["0"] == 1


def test_waiting_for_brokers_ends_with_the_job(
    topic: FakeTopic, reader: PingTopicReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader.prepareForTriggerAvailableNow()
    topic.unanswered = 100
    parents = iter([os.getppid(), os.getppid()])
    monkeypatch.setattr(os, "getppid", lambda: next(parents, 1 << 30))
    with pytest.raises(MissionControlError, match="the job has ended while"):
        reader.latestOffset(START, TWO_MESSAGES)
    assert topic.unanswered == 99
