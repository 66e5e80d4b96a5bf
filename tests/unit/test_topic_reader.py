"""What the reader of a topic plans while its brokers are away."""

import json
import os
from pathlib import Path

import pytest
from pyspark.sql.streaming.datasource import ReadMaxBytes

from streaming.errors import MissionControlError
from streaming.sources.kafka import data_source
from streaming.sources.kafka.data_source import PingTopicReader
from streaming.sources.kafka.outages import BrokersUnavailable

START = {"topic": "id", "0": 0}
PLENTY = ReadMaxBytes(1_000_000)


class FakeTopic:
    """A topic of one partition with three messages, whose brokers do not answer a number of requests."""

    brokers = "fake:9092"

    def __init__(self) -> None:
        self.unanswered = 0

    def end_offsets(self) -> tuple[str, dict[int, int]]:
        self.answer()
        return "id", {0: 3}

    def answer(self) -> None:
        if self.unanswered:
            self.unanswered -= 1
            raise BrokersUnavailable("away")

    def mean_bytes(self, *_: object) -> float:
        """The mean size of its messages, in bytes."""
        self.answer()
        return 100.0


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> FakeTopic:
    topic = FakeTopic()
    monkeypatch.setattr(data_source, "Topic", lambda *_: topic)
    monkeypatch.setattr(data_source, "mean_bytes", topic.mean_bytes)
    monkeypatch.setattr("streaming.sources.kafka.outages.BROKER_TIMEOUT_SECONDS", 0.0)
    return topic


@pytest.fixture
def reader(topic: FakeTopic, tmp_path: Path) -> PingTopicReader:
    begins = tmp_path / "begins.json"
    begins.write_text(json.dumps(START))
    options = {"brokers": topic.brokers, "topic": "pings", "config": "{}", "begins": str(begins), "cores": "2"}
    return PingTopicReader({**options, "max_bytes": "1000000", "on_data_loss": "fail"})


def test_end_is_not_reported_while_messages_before_a_fixed_end_are_unread(
    topic: FakeTopic, reader: PingTopicReader
) -> None:
    reader.prepareForTriggerAvailableNow()
    topic.unanswered = 2
    assert reader.latestOffset(START, PLENTY) == {"topic": "id", "0": 3}
    assert topic.unanswered == 0


def test_job_that_follows_is_told_at_once_that_there_is_nothing_new(topic: FakeTopic, reader: PingTopicReader) -> None:
    topic.unanswered = 1
    assert reader.latestOffset(START, PLENTY) == START
    assert reader.latestOffset(START, PLENTY) == {"topic": "id", "0": 3}


def test_waiting_for_brokers_ends_with_the_job(
    topic: FakeTopic, reader: PingTopicReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader.prepareForTriggerAvailableNow()
    topic.unanswered = 100
    parents = iter([os.getppid(), os.getppid()])
    monkeypatch.setattr(os, "getppid", lambda: next(parents, 1 << 30))
    with pytest.raises(MissionControlError, match="the job has ended while"):
        reader.latestOffset(START, PLENTY)
    assert topic.unanswered == 99
