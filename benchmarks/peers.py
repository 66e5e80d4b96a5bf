"""Rivals of the job on Kafka: each counts the same pings, as far as it can, in a process of its own.

python benchmarks/peers.py --run NAME --brokers HOST:PORT --topic TOPIC --folder FOLDER --cores N

Prints the bytes and pings that were counted and the seconds that they took, as JSON. Spark and DuckDB count what
benchmarks/pruned.py says; Quix Streams and Bytewax, which run Python, count with the product's own Counter and so do
all that the job does but its commits. The rivals are no dependencies of the product: they live in an environment of
their own, .cache/peers, with the versions that benchmarks/peers.txt names.
"""

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ROOT = Path(__file__).resolve().parent.parent
JARS = ROOT / ".cache" / "spark-kafka"
ENVIRONMENT = ROOT / ".cache" / "peers"
VERSIONS, POM = (Path(__file__).with_name(name) for name in ("peers.txt", "peers.xml"))
MICRO_BATCHES = 3
QUIET_SECONDS = 60  # after which Quix Streams gives up
BYTEWAX_BATCH = 50  # messages


@dataclass(frozen=True)
class TopicPlace:
    """Where the pings are: a topic, and the same once more as lines of the *.jsonl files in a folder."""

    brokers: str
    topic: str
    folder: Path


# What the rivals need.


def prepare() -> Path:
    """Fetches what is not there yet: the jars of Spark's connector, and the environment, whose Python is returned."""
    from tests.services.kafka import fetch_jars

    python, complete = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".complete"
    wanted = VERSIONS.read_text()
    has_environment = complete.exists() and complete.read_text() == wanted
    if not has_environment or not (JARS / ".complete").exists():
        print("Fetching the rivals: a minute, once", file=sys.stderr)
    fetch_jars(POM, JARS)
    if not has_environment:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        uv = [Path(sysconfig.get_path("scripts")) / "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, ENVIRONMENT], check=True)
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", python, "-r", VERSIONS], check=True)
        # What the product depends on, found after what the rivals depend on.
        packages = Path(sysconfig.get_path("purelib", vars={"base": str(ENVIRONMENT)}))
        (packages / "product.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
        complete.write_text(wanted)
    return python


# What they have in common.


def sent(place: TopicPlace) -> int:
    """The messages of the topic."""
    from confluent_kafka.admin import OffsetSpec

    from streaming.sources.kafka.topic import Topic

    topic = Topic(place.brokers, place.topic)
    _, ends = topic.end_offsets()
    starts = topic.offsets(list(ends), OffsetSpec.earliest())
    return sum(ends.values()) - sum(starts.values())


def require_all(pings: float, expected: int) -> None:
    """Raises AssertionError where a rival has not counted each ping once."""
    assert pings == expected, f"{pings:,} pings were counted of {expected:,}"


class Steady:
    """Counts so many documents as the job does, and times it from the first on."""

    def __init__(self, expected: int) -> None:
        from streaming.aggregation.counter import Counter

        self.expected, self._counter = expected, Counter()
        self._bytes = self._pings = 0
        self._began = self._ended = 0.0

    def add(self, documents: list[bytes], received_ms: list[int]) -> None:
        """Counts documents: as many as come at once."""
        if not self._pings:
            self._began = time.perf_counter()
        self._counter.add_all(documents, [received * 1000 for received in received_ms])
        self._bytes += sum(map(len, documents))
        self._pings += len(documents)
        if self._pings == self.expected:
            self._ended = time.perf_counter()

    def figures(self) -> dict[str, float]:
        """The seconds from the first document to the last, and those of making partial sums."""
        from streaming import contract

        began = time.perf_counter()
        rows = self._counter.partial_sums().to_pylist()
        ended = time.perf_counter()
        once = (contract.ERROR_AGGREGATES.name, contract.REJECTED_PINGS.name)
        require_all(sum(row["count"] for row in rows if row["table"] in once), self.expected)
        return {"bytes": self._bytes, "pings": self._pings, "seconds": self._ended - self._began + ended - began}


# The rivals.


def spark_connector_batch(place: TopicPlace, cores: int) -> dict[str, float]:
    """Spark's own connector and from_json, then groupBy. Seconds are those of the second query of a session."""
    from benchmarks.pruned import count, spark_session

    with spark_session(cores, _connector()) as spark:
        for _ in range(2):
            began = time.perf_counter()
            sums = count(_texts(spark.read.format("kafka").options(**_options(place)).load()))
            seconds = time.perf_counter() - began
    require_all(sums["pings"], sent(place))
    return {**sums, "seconds": seconds}


def spark_connector_streaming(place: TopicPlace, cores: int) -> dict[str, float]:
    """The same in MICRO_BATCHES micro-batches. Figures are those of all but the first, from its end to the last's."""
    from benchmarks.pruned import count, spark_session

    expected, done = sent(place), list[tuple[float, dict[str, int]]]()

    def count_batch(messages: "DataFrame", _: int) -> None:
        sums = count(_texts(messages))
        done.append((time.perf_counter(), sums))

    # Spark rounds each partition's share down, and with nothing to spare would read the last few in one batch more.
    options = {**_options(place), "maxOffsetsPerTrigger": str(math.ceil(expected / MICRO_BATCHES * 1.02))}
    with tempfile.TemporaryDirectory() as checkpoint, spark_session(cores, _connector()) as spark:
        messages = spark.readStream.format("kafka").options(**options).load()
        writer = messages.writeStream.option("checkpointLocation", checkpoint).trigger(availableNow=True)
        writer.foreachBatch(count_batch).start().awaitTermination()
    require_all(sum(sums["pings"] for _, sums in done), expected)
    figures = {name: sum(sums[name] for _, sums in done[1:]) for name in ("bytes", "pings")}
    return {**figures, "seconds": done[-1][0] - done[0][0]}


def _connector() -> dict[str, str]:
    """Spark's settings with its connector."""
    return {"spark.jars": ",".join(map(str, sorted(JARS.glob("*.jar"))))}


def _options(place: TopicPlace) -> dict[str, str]:
    """All messages of the topic, in fetches as large as the job's."""
    from streaming.sources.kafka.topic import TUNED_SETTINGS

    return {
        "kafka.bootstrap.servers": place.brokers,
        "subscribe": place.topic,
        "startingOffsets": "earliest",
        "kafka.max.partition.fetch.bytes": str(TUNED_SETTINGS["fetch.message.max.bytes"]),
        "kafka.fetch.max.bytes": str(TUNED_SETTINGS["fetch.max.bytes"]),
    }


def _texts(messages: "DataFrame") -> "DataFrame":
    return messages.selectExpr("CAST(value AS STRING) AS value")


def quix(place: TopicPlace, _: int) -> dict[str, float]:
    """Quix Streams, one process, without state, commits every 5 s. Timed from the first message handled to the last."""
    from quixstreams import Application

    from streaming.sources.kafka.topic import TUNED_SETTINGS

    steady = Steady(sent(place))
    with tempfile.TemporaryDirectory() as state:
        application = Application(
            place.brokers,
            consumer_group=f"quix-{uuid4()}",
            auto_offset_reset="earliest",
            commit_interval=5.0,
            consumer_extra_config={**TUNED_SETTINGS, "log_level": 0},
            use_changelog_topics=False,
            auto_create_topics=False,
            state_dir=state,
            loglevel="WARNING",
        )
        pings = application.dataframe(application.topic(place.topic, value_deserializer="bytes"))
        pings.update(lambda document, _key, received_ms, _headers: steady.add([document], [received_ms]), metadata=True)
        application.run(count=steady.expected, timeout=QUIET_SECONDS, collect=False)
    return steady.figures()


def bytewax(place: TopicPlace, _: int) -> dict[str, float]:
    """Bytewax, one process, one worker, which counts a batch at a time. Timed from the first message to the last."""
    from bytewax import operators
    from bytewax.connectors.kafka import KafkaSource
    from bytewax.dataflow import Dataflow
    from bytewax.testing import TestingSink, cluster_main

    from streaming.sources.kafka.topic import TUNED_SETTINGS

    steady, nothing = Steady(sent(place)), list[Any]()

    def count(messages: list[Any]) -> list[Any]:
        steady.add([message.value for message in messages], [message.timestamp[1] for message in messages])
        return nothing

    flow = Dataflow("pings")
    source = KafkaSource(
        [place.brokers],
        [place.topic],
        tail=False,
        add_config={**TUNED_SETTINGS, "log_level": 0},
        batch_size=BYTEWAX_BATCH,
    )
    counted = operators.flat_map_batch("count", operators.input("topic", flow, source), count)
    operators.output("nothing", counted, TestingSink([]))
    cluster_main(flow, [], 0)
    return steady.figures()


def duckdb(place: TopicPlace, cores: int) -> dict[str, float]:
    """DuckDB on the files, without Kafka. Seconds are those of the second query; bytes are without ends of lines."""
    import duckdb

    from benchmarks.pruned import KEYS, SCHEMA, SLOW_SCRIPTS, USAGE_SECONDS

    struct = re.sub(r"(\w+): ", r'"\1" ', SCHEMA)
    for theirs, ours in (("struct<", "STRUCT("), ("map<", "MAP("), (">", ")"), ("string", "VARCHAR")):
        struct = struct.replace(theirs, ours)
    query = f"""
        SELECT time_bucket(INTERVAL 5 MINUTES, TRY_CAST(p.submission_timestamp AS TIMESTAMP)) AS window_start,
               {", ".join(KEYS)},
               count(*) AS pings, sum({USAGE_SECONDS}) AS seconds, sum({SLOW_SCRIPTS}['0']) AS slow
        FROM read_json($files, format = 'newline_delimited', records = false, ignore_errors = true,
                       columns = {{p: '{struct}'}})
        GROUP BY ALL
    """
    files = sorted(place.folder.glob("*.jsonl"))
    with duckdb.connect(config={"threads": cores, "preserve_insertion_order": False}) as database:
        for _ in range(2):
            began = time.perf_counter()
            rows = database.sql(query, params={"files": [str(file) for file in files]}).to_arrow_table()
            seconds = time.perf_counter() - began
    pings = sum(rows["pings"].to_pylist())
    require_all(pings, sent(place))
    return {"bytes": sum(file.stat().st_size for file in files) - pings, "pings": pings, "seconds": seconds}


OF_THE_PRODUCT: dict[str, Callable[[TopicPlace, int], dict[str, float]]] = {
    "spark_connector_batch": spark_connector_batch,
    "spark_connector_streaming": spark_connector_streaming,
}
OF_THEIR_OWN: dict[str, Callable[[TopicPlace, int], dict[str, float]]] = {
    "quix": quix,
    "bytewax": bytewax,
    "duckdb": duckdb,
}
PEERS = OF_THE_PRODUCT | OF_THEIR_OWN


def main() -> None:
    """Runs a rival, in the environment that it needs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", choices=PEERS, required=True)
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--cores", type=int, required=True)
    given = parser.parse_args()
    if Path(sys.prefix).resolve() != ENVIRONMENT:
        python = prepare()
        if given.run in OF_THEIR_OWN:
            os.execve(python, [str(python), *sys.argv], os.environ | {"PYTHONPATH": str(ROOT)})
    print(json.dumps(PEERS[given.run](TopicPlace(given.brokers, given.topic, given.folder), given.cores)))


if __name__ == "__main__":
    main()
