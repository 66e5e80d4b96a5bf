"""A real Kafka of one node, from Maven Central's jars: for the tests, and for a person with `make kafka`.

python -m tests.services.kafka [--port 9092] [--topic pings] [--partitions 4] [--folder FOLDER]
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from tests.patience import PATIENCE_SECONDS
from tests.services import foreground
from tests.services.ports import free_port

ROOT = Path(__file__).parents[2]
POM = Path(__file__).with_name("pom.xml")
JARS = ROOT / ".cache" / "kafka"
RECEIVED_MS = 1_506_953_400_000  # 2 October 2017, 14:10 UTC: when all messages of the tests were received

_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{secure}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{secure}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
log.dirs={folder}/log
num.partitions=4
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
log.retention.ms=-1
log.retention.check.interval.ms=500
log.initial.task.delay.ms=500
"""

_SECURE_PROPERTIES = """
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=\\
  org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
ssl.keystore.location={keystore}
ssl.keystore.password={password}
"""
USER, PASSWORD = "counter", "a-password"


def missing() -> str | None:
    """What must be installed before Kafka can be started here, in one line; None when nothing is."""
    wanted = {"java": "openjdk-17-jre-headless", "mvn": "maven"}
    absent = [package for tool, package in wanted.items() if not shutil.which(tool)]
    return f"Kafka needs Java and Maven; on Debian: apt-get install {' '.join(absent)}" if absent else None


def jars() -> Path:
    """The folder of Kafka's jars, fetched from Maven Central the first time."""
    return fetch_jars(POM, JARS)


def fetch_jars(pom: Path, folder: Path) -> Path:
    """The folder, with what a pom depends on; fetched from Maven Central the first time."""
    complete = folder / ".complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        quietly = ["mvn", "-B", "-q", "-Dstyle.color=never"]
        copy = ["-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
        subprocess.run([*quietly, *copy], check=True, stdin=subprocess.DEVNULL)
        complete.touch()
    return folder


class Broker:
    """A broker on a free port of this machine that can be killed and started again with all it holds.

    is_secure: it also listens at `secure_address`, by TLS and for USER alone.
    """

    def __init__(self, folder: Path, port: int = 0, *, is_secure: bool = False) -> None:
        self.folder = folder
        self.port, self._controller = port or free_port(), free_port()
        self.secure_address = f"127.0.0.1:{free_port()}" if is_secure else ""
        self._process: subprocess.Popen[bytes] | None = None
        self._properties = folder / "server.properties"
        folder.mkdir(parents=True, exist_ok=True)
        secure = f",SASL_SSL://{self.secure_address}" if is_secure else ""
        text = _PROPERTIES.format(port=self.port, controller=self._controller, folder=folder, secure=secure)
        if is_secure:
            text += _SECURE_PROPERTIES.format(user=USER, password=PASSWORD, keystore=self._make_certificate())
        self._properties.write_text(text)
        if not (folder / "log").exists():
            cluster = urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")
            self._java(
                "-Xmx256m", "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", self._properties
            )

    @property
    def certificate(self) -> Path:
        """What clients of `secure_address` trust."""
        return self.folder / "certificate.pem"

    def _make_certificate(self) -> Path:
        """The keystore of a new key."""
        keystore = self.folder / "keystore.p12"
        given = ["-keystore", keystore, "-storepass", PASSWORD, "-alias", "broker"]
        made = ["-genkeypair", "-keyalg", "EC", "-dname", "CN=broker", "-ext", "SAN=IP:127.0.0.1", "-validity", "30"]
        for command in (made, ["-exportcert", "-rfc", "-file", self.certificate]):
            subprocess.run(["keytool", *command, *given], check=True, capture_output=True)
        return keystore

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command("-Xmx512m", "kafka.Kafka", self._properties), stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"Kafka did not start: see {self.folder / 'broker.log'}")

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Ends it at once, as a crash does."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ends it in order."""
        if self._process and self.is_running:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def create(self, topic: str, partitions: int = 4, **config: str) -> None:
        """Makes a topic."""
        from confluent_kafka.admin import NewTopic

        settings = {name.replace("_", "."): value for name, value in config.items()}
        admin = self.admin()
        admin.create_topics([NewTopic(topic, partitions, 1, config=settings)])[topic].result()

    def delete(self, topic: str) -> None:
        """Deletes a topic."""
        admin = self.admin()
        admin.delete_topics([topic])[topic].result()

    def send(self, topic: str, documents: Iterable[bytes | None], partition: int = -1, **config: object) -> None:
        """Sends messages, received at RECEIVED_MS, and waits until they are there; a partition of -1 is any."""
        from confluent_kafka import Producer

        ours = {"bootstrap.servers": self.address, "message.max.bytes": 16 << 20, "linger.ms": 5, "log_level": 0}
        producer = Producer(ours | config)
        for document in documents:
            producer.produce(topic, value=document, partition=partition, timestamp=RECEIVED_MS)
            producer.poll(0)
        assert producer.flush(60) == 0

    def held(self, topic: str) -> list[bytes]:
        """The messages of a topic, partition by partition."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "reader", "log_level": 0})
        found: list[bytes] = []
        for partition in consumer.list_topics(topic, timeout=60).topics[topic].partitions:
            place = TopicPartition(topic, partition, 0)
            _, end = consumer.get_watermark_offsets(place, timeout=60)
            consumer.assign([place])
            read = 0
            while read < end:
                message = consumer.poll(60)
                assert message is not None
                assert message.error() is None, message.error()
                found.append(message.value() or b"")
                read = message.offset() + 1
        consumer.close()
        return found

    def admin(self):
        """An admin client."""
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": self.address, "log_level": 0})

    def _answers(self) -> bool:
        from confluent_kafka import KafkaException

        try:
            return bool(self.admin().list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def _command(self, memory: str, *arguments: object) -> list[str]:
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return ["java", memory, quiet, "-cp", f"{jars()}/*", *map(str, arguments)]

    def _java(self, memory: str, *arguments: object) -> None:
        subprocess.run(self._command(memory, *arguments), check=True, capture_output=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def main() -> int:
    """Runs a broker with one topic until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument("--topic", default="pings")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="where messages are kept; default: a new one, removed at the end")
    given = parser.parse_args()
    if said := missing():
        sys.exit(said)

    def describe(broker: Broker) -> str:
        if given.topic not in broker.admin().list_topics(timeout=5).topics:
            broker.create(given.topic, given.partitions)
        return f"kafka://{broker.address}/{given.topic}"

    foreground.run(lambda folder: Broker(folder, given.port), given.folder, describe, given.port)
    return 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
