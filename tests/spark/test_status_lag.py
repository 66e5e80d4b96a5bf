"""How far behind a real job is, as `missioncontrol status` says: of a real topic by partition, and of files."""

import json
import uuid
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from missioncontrol_nb.status import Collector, wording
from streaming.job.aggregate import aggregate
from streaming.job.checkpoint import open_checkpoint
from streaming.job.progress import progress_of
from streaming.sources.kafka import topic as topic_module
from tests.services.kafka import PASSWORD, USER, Broker
from tests.spark.small_pings import crash_ping, write_pings


def test_lag_of_a_topic_is_what_each_partition_holds_beyond_the_finished_micro_batches(
    spark: SparkSession, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, dataset = f"pings-{uuid.uuid4().hex[:8]}", tmp_path / "dataset"
    broker.create(topic, 3)
    url = f"kafka://{broker.address}/{topic}"
    broker.send(topic, [crash_ping()] * 4, partition=0)
    aggregate(url, str(dataset), spark=spark)
    collector = Collector(str(dataset))

    def behind() -> dict[int, int]:
        lag = collector.collect().lag
        assert lag is not None
        assert (lag.source, lag.unknown) == (url, "")
        return dict(lag.by_partition or {})

    assert behind() == {0: 0, 1: 0, 2: 0}
    broker.send(topic, [crash_ping()] * 5, partition=2)
    broker.send(topic, [crash_ping()] * 2, partition=0)
    assert behind() == {0: 2, 1: 0, 2: 5}
    aggregate(url, str(dataset), spark=spark)
    assert behind() == {0: 0, 1: 0, 2: 0}
    broker.send(topic, [crash_ping()], partition=1)
    assert behind() == {0: 0, 1: 1, 2: 0}

    config = {
        "security.protocol": "SASL_SSL", "ssl.ca.location": str(broker.certificate),
        "sasl.mechanism": "PLAIN", "sasl.username": USER, "sasl.password": PASSWORD,
    }  # fmt: skip
    note = dataset / "_checkpoint" / "brokers.json"
    note.write_text(json.dumps(f"kafka://{broker.secure_address}/{topic}"))
    lag = Collector(str(dataset), kafka_config=config).collect().lag
    assert lag is not None
    assert lag.by_partition == {0: 0, 1: 1, 2: 0}

    broker.delete(topic)
    note.write_text(json.dumps(url))
    lag = Collector(str(dataset)).collect().lag
    assert lag is not None
    assert wording.lag(lag) == f"not known: no such topic: '{url}'"
    monkeypatch.setattr(topic_module, "REQUEST_TIMEOUT_SECONDS", 0.5)
    note.write_text(json.dumps("kafka://127.0.0.1:1/pings"))
    lag = Collector(str(dataset)).collect().lag
    assert lag is not None
    assert wording.lag(lag).startswith("not known: no broker answers at 127.0.0.1:1: ")


def test_files_that_are_not_counted_yet_are_counted_up(spark: SparkSession, tmp_path: Path) -> None:
    pings, dataset = tmp_path / "pings", tmp_path / "dataset"
    pings.mkdir()
    for name in "ab":
        write_pings(pings, f"{name}.jsonl", [crash_ping()])
    aggregate(str(pings), str(dataset), spark=spark)
    collector = Collector(str(dataset))
    status = collector.collect()
    assert status.lag is not None
    assert (status.lag.files, status.lag.by_partition, status.is_job_running) == (0, None, False)
    write_pings(pings, "c.jsonl", [crash_ping()])
    (pings / ".d.jsonl").write_bytes(b"not yet")
    with open_checkpoint(dataset / "_checkpoint", str(pings), str(dataset)):
        status = collector.collect()
    assert status.is_job_running
    assert status.lag is not None
    assert wording.lag(status.lag) == f"1 file of {pings} not counted yet"
    progress = progress_of(dataset / "_checkpoint")
    assert progress is not None
    assert progress.counted_files() == {str(pings / "a.jsonl"), str(pings / "b.jsonl")}
