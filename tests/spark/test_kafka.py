"""Pings from a real Kafka: each message counts once, whatever the topic and its broker go through."""

import random
import shutil
import signal
import uuid
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import NewPartitions
from pyspark.sql import SparkSession

from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.simulator import Fleet
from missioncontrol_nb.simulator.live import TopicSink, write_live
from streaming.aggregation.counter import Counter as PingCounter
from streaming.aggregation.receipt import RECEIVED
from streaming.errors import MissionControlError
from streaming.job.aggregate import aggregate
from streaming.job.settings import AggregateSettings, Summary
from streaming.pings.kinds import REASONS
from streaming.settings_file import read_config
from streaming.sources.kafka import data_source, outages
from streaming.sources.kafka import topic as topic_module
from streaming.sources.kafka.consumer import Range
from streaming.sources.kafka.data_source import PingTopicReader, RangesPartition, assign_to_tasks, count_ranges
from streaming.sources.kafka.source import TopicSettings, read_starting_offsets
from streaming.sources.kafka.topic import Topic
from tests.patience import PATIENCE_SECONDS
from tests.plain_loop import plain_sums
from tests.services.kafka import PASSWORD, RECEIVED_MS, USER, Broker
from tests.services.receiver import ReceiverProcess, path_of
from tests.spark.engines import SPARK_IN_LONG_TESTS, engine
from tests.spark.jobs import start
from tests.spark.small_pings import crash_ping, dataset_sums, main_ping, some_pings, total_pings

PINGS = [crash_ping(minute, country=country) for minute in range(20) for country in ("DE", "FR")] + [main_ping(3)]


@pytest.fixture(scope="module", params=SPARK_IN_LONG_TESTS)
def spark(request: pytest.FixtureRequest) -> SparkSession | None:
    return engine(request)


@pytest.fixture
def topic(broker: Broker) -> str:
    """A new topic of four partitions."""
    name = f"pings-{uuid.uuid4().hex[:8]}"
    broker.create(name, 4)
    return name


@pytest.fixture
def count(broker, spark, topic, tmp_path):
    """Counts what is new in the topic into a dataset; whatever is told goes to `count.told`."""

    def run(**settings: object) -> Summary:
        folder = settings.pop("dataset", tmp_path / "dataset")
        spoken = AggregateSettings(**settings)
        url = f"kafka://{broker.address}/{topic}"
        return aggregate(url, str(folder), settings=spoken, spark=spark, on_notice=run.told.append)

    run.told = []
    return run


def loop_sums(documents: Iterable[bytes | None]) -> dict:
    return plain_sums((document or b"", RECEIVED_MS * 1000) for document in documents)


def test_every_message_counts_once_from_run_to_run(broker, topic, count, tmp_path):
    documents = [*PINGS, None, b"", b"{", crash_ping()[:-5], b"\xef\xbb\xbf" + crash_ping()]
    broker.send(topic, documents)
    summary = count()
    assert (summary.pings, summary.rejected) == (len(documents), {"empty": 2, "not_json": 2})
    assert count().pings == 0
    more = some_pings(random.Random(1), 30)
    broker.send(topic, more)
    assert count().pings == 30
    assert dataset_sums(tmp_path / "dataset") == loop_sums([*documents, *more])


def test_pings_that_a_killed_receiver_sent_count_once_each(broker, topic, count):
    receiver = ReceiverProcess(f"kafka://{broker.address}/{topic}").start()
    ids = [str(uuid.uuid4()) for _ in range(20)]
    try:
        assert [receiver.post(path_of(each)) for each in ids[:10]] == [200] * 10
        receiver.kill()
        assert (count(dedupe=True).accepted, count(dedupe=True).pings) == (10, 0)
        receiver.start()
        assert [receiver.post(path_of(each)) for each in [*ids[10:], ids[0]]] == [200] * 11  # one was sent twice
    finally:
        receiver.stop()
    summary = count(dedupe=True)
    assert (summary.accepted, summary.rejected) == (10, {"duplicate": 1})


def test_large_micro_batches_are_added_up_to_the_same_sums(broker, topic, count, tmp_path, monkeypatch):
    documents = [*PINGS, None, *some_pings(random.Random(2), 40)]
    broker.send(topic, documents)
    monkeypatch.setattr(data_source, "FEW_MESSAGES", 10)
    assert count().pings == len(documents)
    assert dataset_sums(tmp_path / "dataset") == loop_sums(documents)


def test_micro_batches_are_large_only_where_they_are_soon_done():
    gigabyte = 1 << 30
    assert data_source.batch_byte_limit(4 * gigabyte, 0) == gigabyte
    assert data_source.batch_byte_limit(4 * gigabyte, 2e6) == gigabyte
    assert data_source.batch_byte_limit(4 * gigabyte, 200e6) == 2e9
    assert data_source.batch_byte_limit(4 * gigabyte, 800e6) == 4 * gigabyte
    assert data_source.batch_byte_limit(4000, 800e6) == 4000


def test_many_small_micro_batches_give_the_same_sums(broker, topic, count, tmp_path):
    broker.send(topic, PINGS)
    summary = count(max_batch_bytes=4000)
    assert summary.batches > 3
    assert summary.pings == len(PINGS)
    assert dataset_sums(tmp_path / "dataset") == loop_sums(PINGS)


def test_message_of_ten_megabytes_is_read_and_rejected(broker, topic, count):
    broker.send(topic, [crash_ping(note="x" * 10_000_000), crash_ping()])
    summary = count()
    assert (summary.accepted, summary.rejected) == (1, {"too_large": 1})


def test_messages_of_aborted_transactions_do_not_count(broker, topic, count):
    settings = {"bootstrap.servers": broker.address, "transactional.id": topic, "log_level": 0}
    producer = Producer(settings)
    producer.init_transactions()
    for ends_well in (True, False, True, False):
        producer.begin_transaction()
        for partition in range(4):
            producer.produce(topic, value=crash_ping(), partition=partition)
        producer.flush()
        (producer.commit_transaction if ends_well else producer.abort_transaction)()
    assert count().pings == 8
    assert count().pings == 0
    producer.begin_transaction()
    producer.produce(topic, value=crash_ping(), partition=0)
    producer.flush()
    assert count().pings == 0, "the transaction is open yet"
    producer.commit_transaction()
    assert count().pings == 1


def test_micro_batches_of_nothing_but_aborted_messages_are_known_as_done(broker, topic, count, tmp_path):
    producer = Producer({"bootstrap.servers": broker.address, "transactional.id": topic, "log_level": 0})
    producer.init_transactions()
    for _ in range(3):
        producer.begin_transaction()
        producer.produce(topic, value=crash_ping(), partition=0)
        producer.flush()
        producer.abort_transaction()
        assert count().pings == 0
    broker.send(topic, [crash_ping()])
    assert count().pings == 1
    assert total_pings(tmp_path / "dataset") == 1


def test_new_partitions_are_read_from_their_first_message(broker, topic, count, tmp_path):
    broker.send(topic, PINGS)
    count()
    admin = broker.admin()
    admin.create_partitions([NewPartitions(topic, 6)])[topic].result()
    for partition in range(6):
        broker.send(topic, [crash_ping(partition)], partition)
    assert count().pings == 6
    assert total_pings(tmp_path / "dataset") == len(PINGS) + 6


def test_starting_offsets(broker, topic, count, tmp_path):
    producer = Producer({"bootstrap.servers": broker.address})
    for hour in range(3):
        for partition in range(4):
            producer.produce(topic, crash_ping(), partition=partition, timestamp=RECEIVED_MS + hour * 3_600_000)
    producer.flush()
    assert count(dataset=tmp_path / "earliest").pings == 12
    assert count(topic=TopicSettings("latest"), dataset=tmp_path / "latest").pings == 0
    later = datetime.fromtimestamp(RECEIVED_MS / 1000 + 1, UTC)
    assert count(topic=TopicSettings(later), dataset=tmp_path / "later").pings == 8
    never = datetime.fromtimestamp(RECEIVED_MS / 1000 + 9e6, UTC)
    assert count(topic=TopicSettings(never), dataset=tmp_path / "never").pings == 0
    broker.send(topic, [crash_ping()])
    assert count(topic=TopicSettings("latest"), dataset=tmp_path / "latest").pings == 1


def test_messages_that_fell_off_retention_end_the_job_or_are_counted(broker, topic, count):
    broker.send(topic, [crash_ping()] * 10, partition=0)
    count()
    broker.send(topic, [crash_ping()] * 5, partition=0)
    admin = broker.admin()
    gone = TopicPartition(topic, 0, 13)
    admin.delete_records([gone])[gone].result()
    with pytest.raises(MissionControlError, match=r"3 messages of partition 0 .* fell off .*--on-data-loss count"):
        count()
    summary = count(topic=TopicSettings(on_data_loss="count"))
    assert (summary.accepted, summary.rejected) == (2, {"messages_lost": 3})
    assert count().pings == 0


def test_messages_lost_since_they_were_planned_end_the_job_or_are_counted(broker, topic, monkeypatch):
    monkeypatch.setattr(outages, "BROKER_TIMEOUT_SECONDS", 1.0)
    broker.send(topic, [crash_ping()] * 10, partition=0)
    admin = broker.admin()
    gone = TopicPartition(topic, 0, 4)
    admin.delete_records([gone])[gone].result()
    asked = Topic(broker.address, topic)
    with pytest.raises(MissionControlError, match=r"4 messages of partition 0 .* fell off .*--on-data-loss count"):
        list(count_ranges(asked, [Range(0, 0, 10)], PingCounter(), tolerates_loss=False))
    for planned, counts in (
        (Range(0, 0, 10), {None: 6, "messages_lost": 4}),
        (Range(0, 2, 4), {"messages_lost": 2}),
        (Range(0, 8, 12), {None: 2, "messages_lost": 2}),  # a broker may lose its newest
    ):
        found: Counter[str | None] = Counter()
        for batch in count_ranges(asked, [planned], PingCounter(), tolerates_loss=True):
            for row in batch.to_pylist():
                if row["table"] in ("error_aggregates", "rejected_pings"):
                    found[row["reason"]] += row["count"]
        assert found == counts


def test_topic_made_anew_ends_the_job_or_is_read_from_its_first_message(broker, topic, count):
    near = f"{topic[:-1]}-"
    broker.create(near, 1)
    broker.send(topic, [crash_ping()] * 10)
    count()
    broker.delete(topic)
    with pytest.raises(MissionControlError, match=f"no such topic: .*; the brokers have {near}(,|$)"):
        count()
    broker.create(topic, 2)
    broker.send(topic, [crash_ping()] * 4)
    with pytest.raises(MissionControlError, match="deleted and made anew"):
        count()
    summary = count(topic=TopicSettings(on_data_loss="count"))
    assert (summary.accepted, summary.rejected) == (4, {"messages_lost": 1})
    assert count().pings == 0


def planner(broker: Broker, topic: str, **options: str) -> PingTopicReader:
    """What Spark asks which messages a micro-batch reads."""
    return PingTopicReader(
        {
            "brokers": broker.address, "topic": topic, "config": "{}", "begins": "", "max_bytes": "1000000",
            "cores": "2", "on_data_loss": "fail", **options,
        }
    )  # fmt: skip


def test_broker_that_goes_away_while_a_micro_batch_is_planned_is_waited_for(broker, topic, monkeypatch):
    monkeypatch.setattr(outages, "BROKER_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(topic_module, "REQUEST_TIMEOUT_SECONDS", 1.0)
    broker.send(topic, [crash_ping()] * 3, partition=0)
    topic_id = Topic(broker.address, topic).describe()[0]
    start, end = {"topic": topic_id, "0": 0}, {"topic": topic_id, "0": 3}
    broker.kill()
    tasks: list[RangesPartition] = []
    planning = Thread(target=lambda: tasks.extend(planner(broker, topic).partitions(start, end)), daemon=True)
    planning.start()
    planning.join(timeout=3)
    assert planning.is_alive()
    broker.start()
    planning.join(timeout=PATIENCE_SECONDS)
    assert sum(each.end - each.start for task in tasks for each in task.ranges) == 3


def test_end_of_a_run_waits_for_a_broker_that_is_away_between_two_micro_batches(broker, topic, monkeypatch):
    monkeypatch.setattr(outages, "BROKER_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(topic_module, "REQUEST_TIMEOUT_SECONDS", 1.0)
    broker.send(topic, [crash_ping()] * 3, partition=0)
    reader = planner(broker, topic, by_delivery="true", max_bytes="1")
    reader.prepareForTriggerAvailableNow()
    start = {"topic": Topic(broker.address, topic).describe()[0], "0": 1, RECEIVED: 0}
    broker.kill()
    ends: list[dict[str, object]] = []
    asking = Thread(target=lambda: ends.append(reader.latestOffset(start, reader.getDefaultReadLimit())), daemon=True)
    asking.start()
    asking.join(timeout=3)
    assert asking.is_alive()
    broker.start()
    asking.join(timeout=PATIENCE_SECONDS)
    assert [end["0"] for end in ends] == [2]


def test_messages_that_were_planned_are_not_read_from_a_topic_made_anew(broker, topic):
    """Planned in a run that was killed before it read them: the new topic has other messages at these offsets."""
    topic_id = Topic(broker.address, topic).describe()[0]
    planned = planner(broker, topic)
    broker.delete(topic)
    broker.create(topic, 4)
    broker.send(topic, [crash_ping()] * 9, partition=0)
    start, end = {"topic": topic_id, "0": 3}, {"topic": topic_id, "0": 7}
    with pytest.raises(MissionControlError, match="deleted and made anew"):
        planned.partitions(start, end)
    planned._options["on_data_loss"] = "count"
    (task,) = planned.partitions(start, end)
    assert task.ranges == [Range(-1, 0, 0, lost=4)]


def test_checkpoint_of_another_topic_or_a_lost_one_is_refused(broker, topic, count, spark, tmp_path):
    broker.send(topic, [crash_ping()])
    count()
    broker.create(f"{topic}-other", 1)
    dataset = tmp_path / "dataset"
    with pytest.raises(MissionControlError, match="belongs to the source"):
        aggregate(f"kafka://{broker.address}/{topic}-other", str(dataset), spark=spark)
    (dataset / "_checkpoint").rename(tmp_path / "lost")
    with pytest.raises(MissionControlError, match=r"holds pings from .* already"):
        count()
    shutil.rmtree(dataset / "_checkpoint")
    (tmp_path / "lost").rename(dataset / "_checkpoint")
    assert count().pings == 0


def test_loss_of_sparks_own_notes_is_refused(broker, topic, count, tmp_path):
    for _ in range(2):
        broker.send(topic, [crash_ping()])
        count()
    (tmp_path / "dataset" / "_checkpoint" / "spark").rename(tmp_path / "spark")
    with pytest.raises(MissionControlError, match="knows 0 micro-batches and the dataset 2"):
        count()


@pytest.mark.parametrize(
    "url", ["kafka://", "kafka://host/pings", "kafka://:9092/pings", "kafka://host:9092/", "kafka://host:9092/a/b"]
)
def test_url_that_is_no_topics_is_explained(url, tmp_path):
    with pytest.raises(MissionControlError, match="expected kafka://HOST:PORT"):
        aggregate(url, str(tmp_path / "dataset"))


def test_broker_that_never_answers_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(outages, "BROKER_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(topic_module, "REQUEST_TIMEOUT_SECONDS", 1.0)
    told: list[str] = []
    with pytest.raises(MissionControlError, match=r"no broker answers at 127\.0\.0\.1:1: .*Connection refused"):
        aggregate("kafka://127.0.0.1:1/pings", str(tmp_path / "dataset"), on_notice=told.append)
    assert told == ["no broker answers at 127.0.0.1:1 yet: waiting"]
    assert not (tmp_path / "dataset").exists()


def test_simulated_pings_go_through_kafka(broker, topic, count):
    sink = TopicSink(f"kafka://{broker.address}/{topic}")
    begin = datetime(2017, 10, 3, 15, tzinfo=UTC)
    sent = write_live(Fleet(load_calendar()), sink, begin, at_most=500, is_paced=False)
    summary = count()
    assert (summary.pings, summary.bytes) == (sent.pings, sent.bytes)
    assert summary.rejected | summary.passed_over == sent.broken


def test_follow_ends_cleanly_when_told(broker, topic, tmp_path):
    broker.send(topic, [crash_ping(), b"nonsense"])
    job = start(f"kafka://{broker.address}/{topic}", tmp_path / "dataset", "--follow", "--trigger", "0.1")
    assert job.stdout
    assert "batch 0: 2 pings (1 rejected)" in job.stdout.readline()
    job.send_signal(signal.SIGINT)
    output, errors = job.communicate(timeout=PATIENCE_SECONDS)
    assert job.returncode == 0
    assert "Traceback" not in errors
    assert "2 pings: 1 accepted, 1 rejected" in output


# ---------- without a broker ----------
def test_shares_hold_every_message_once_and_are_of_one_size():
    ranges = [Range(0, 0, 100), Range(1, 50, 53), Range(2, 7, 7, lost=4), Range(3, 0, 1)]
    for tasks in (1, 2, 3, 7, 200):
        shares = assign_to_tasks(ranges, tasks)
        assert len(shares) <= tasks
        for partition, start_, end, _ in ranges:
            read = [offset for share in shares for each in share if each.partition == partition
                    for offset in range(each.start, each.end)]  # fmt: skip
            assert read == list(range(start_, end))
        assert sum(each.lost for share in shares for each in share) == 4
        sizes = [sum(each.end - each.start for each in share) for share in shares]
        assert max(sizes) <= -(-104 // tasks)


def test_config_file_is_read_as_kafkas_tools_read_it(tmp_path: Path):
    path = tmp_path / "client.properties"
    path.write_text("# of the team\nsecurity.protocol=SASL_SSL\nsasl.password = a=b%c\n\n")
    assert read_config(path, "--kafka-config") == {"security.protocol": "SASL_SSL", "sasl.password": "a=b%c"}
    path.write_text("no value\n")
    with pytest.raises(MissionControlError, match="expected lines of name = value"):
        read_config(path, "--kafka-config")
    with pytest.raises(MissionControlError, match="cannot read --kafka-config"):
        read_config(tmp_path / "none", "--kafka-config")


def test_broker_that_asks_who_we_are_is_read_through_tls(broker, topic, count, spark, tmp_path):
    broker.send(topic, PINGS)
    url, dataset = f"kafka://{broker.secure_address}/{topic}", str(tmp_path / "dataset")
    config = {
        "security.protocol": "SASL_SSL", "ssl.ca.location": str(broker.certificate),
        "sasl.mechanism": "PLAIN", "sasl.username": USER, "sasl.password": PASSWORD,
    }  # fmt: skip

    def settings(**changes: str) -> AggregateSettings:
        return AggregateSettings(topic=TopicSettings(config=config | changes))

    for changes in ({"sasl.password": "guessed"}, {"ssl.ca.location": "/etc/ssl/certs/ca-certificates.crt"}):
        with pytest.raises(MissionControlError, match=r"refuse the connection: .*--kafka-config"):
            aggregate(url, dataset, settings=settings(**changes), spark=spark)
    assert aggregate(url, dataset, settings=settings(), spark=spark).pings == len(PINGS)
    assert dataset_sums(Path(dataset)) == loop_sums(PINGS)


def test_unknown_setting_is_named(tmp_path: Path):
    settings = AggregateSettings(topic=TopicSettings(config={"no.such.setting": "1"}))
    with pytest.raises(MissionControlError, match=r"does not take --kafka-config: .*no\.such\.setting"):
        aggregate("kafka://127.0.0.1:1/pings", str(tmp_path / "dataset"), settings=settings)


def test_starting_offsets_are_words_or_a_moment():
    assert read_starting_offsets("latest") == "latest"
    assert read_starting_offsets("2017-10-02T14:05") == datetime(2017, 10, 2, 14, 5, tzinfo=UTC)
    with pytest.raises(MissionControlError, match="expected --starting-offsets as earliest, latest or a time"):
        read_starting_offsets("yesterday")


def test_lost_messages_have_a_reason_that_is_explained():
    assert "messages_lost" in REASONS
