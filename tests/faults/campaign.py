"""Campaigns of faults: pings stream through Kafka into a dataset, and something is killed again and again.

It is of one kind, or of all that a campaign names, in any order. Whatever was killed is simply started again. In the
end every sum of every table must be the plain loop's.
"""

import itertools
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from streaming import contract
from streaming.dataset import compaction, compaction_plan
from streaming.spark.session import _FEW_ROWS_SETTINGS
from tests.faults.job import MAINTAINING, POINTS
from tests.patience import PATIENCE_SECONDS, wait_until
from tests.plain_loop import plain_sums
from tests.services import kafka, s3
from tests.services.cluster import JAVA_OPTIONS, Cluster, lives
from tests.services.kafka import RECEIVED_MS, Broker
from tests.services.s3 import KEYS, S3Server
from tests.spark.small_pings import (
    Sums,
    counted_sums,
    crash_ping,
    crash_report,
    dataset_sums,
    main_ping,
    some_pings,
    write_pings,
)

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
SENT_AT_ONCE, SEND_EVERY_SECONDS = 20, 0.3
UNTIL_WARM_SECONDS = 8.0  # Spark's start and some micro-batches: a kill comes somewhere in it
WARM_SECONDS = 2.0  # some micro-batches of a job that has counted something
MAINTENANCE_SECONDS = 180.0  # it starts and works at a tenth of a core where others want that
WORKERS = 2
AGAIN = "event_found"  # why a crash is reported for the second time
BUCKET = "faults"
DEDUPING = "driver, dedupe"
CRASHES = "driver, crashes"
FILES = "driver, files"
DRIVER_AND_MAINTENANCE = "driver, upkeep"
_COMMAND = [sys.executable, "-c", "from missioncontrol_nb.cli import main; main()"]
_HERE = ["--master", "local[2]"]  # Spark; without it, processes of this machine count
_ON_A_CLUSTER = {"spark.executor.extraJavaOptions": JAVA_OPTIONS, **_FEW_ROWS_SETTINGS}


@dataclass(frozen=True)
class Outcome:
    """What became of the pings of a campaign. lost, doubled: pings, over all tables; is_exact: every sum is right."""

    faults: Mapping[str, int]
    pings: int
    lost: int
    doubled: int
    is_exact: bool
    seconds: float
    seed: int


class Process:
    """A command that can be killed and started again; what it says is kept."""

    def __init__(self, *arguments: object) -> None:
        self.said: list[str] = []
        self._arrived = threading.Condition()
        self._process = subprocess.Popen(
            [*map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as output:
            for line in output:
                with self._arrived:
                    self.said.append(line)
                    self._arrived.notify_all()
        with self._arrived:
            self._arrived.notify_all()

    def await_line(self, words: str, since: int = 0) -> None:
        """Until it says some words, beginning with a line of that number."""
        with self._arrived:
            has_come = self._arrived.wait_for(
                lambda: any(words in line for line in self.said[since:]) or self._process.poll() is not None,
                PATIENCE_SECONDS,
            )
            if not has_come or not any(words in line for line in self.said[since:]):
                raise AssertionError(f"{words!r} did not come; it said: {''.join(self.said)}")

    def lives_for(self, seconds: float) -> bool:
        """Whether it has not ended by itself after so many seconds."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def started(self) -> list[psutil.Process]:
        """What it has started and still runs."""
        try:
            return psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """Ends it as a crash does."""
        self._process.kill()
        self.await_end()

    def kill_java(self) -> None:
        """Ends the Java that it started as a crash does, and so itself; itself alone where there is none yet."""
        javas = [child for child in self.started() if child.name() == "java"]
        if not javas:
            self.kill()
        for java in javas:
            java.kill()
        self.await_end()

    def await_end(self) -> int:
        """Its exit code, once it has ended."""
        code = self._process.wait(PATIENCE_SECONDS)
        self._reader.join()
        return code


class World:
    """A broker, a sender, a dataset and a job that is started whenever it does not run.

    dedupes: pings have ids, some are delivered twice, and the job is told to count them once. crashes: crashes are sent
    too, each twice, by two documents. files: pings come in files instead of through the broker. tends: the job's own
    upkeep looks for work all the time. cluster: where it runs, instead of in Spark's own process; server: where its
    dataset is, instead of in a folder; points: where a job that is to kill itself does so, one after another.
    """

    def __init__(
        self,
        folder: Path,
        broker: Broker,
        random_: random.Random,
        *,
        dedupes: bool = False,
        crashes: bool = False,
        files: bool = False,
        maintains: bool = False,
        cluster: Cluster | None = None,
        server: S3Server | None = None,
    ) -> None:
        self.broker, self.random, self.cluster, self.server = broker, random_, cluster, server
        self.dedupes, self.maintains = dedupes, maintains
        self._sends_crashes, self._crashes = crashes, itertools.count()
        self._to_report: list[int] = []  # crashes that were reported once
        self._pings = folder / "pings" if files else None
        self.points = itertools.cycle(POINTS)
        self.checkpoint, self._spark_config = folder / "checkpoint", folder / "spark.conf"
        self._spark_config.write_text("".join(f"{name} = {value}\n" for name, value in _ON_A_CLUSTER.items()))
        self.topic = f"pings-{uuid.uuid4().hex[:8]}"
        self.url = f"kafka://{broker.address}/{self.topic}"
        if self._pings:
            self._pings.mkdir()
            self.url = str(self._pings)
        else:
            broker.create(self.topic, PARTITIONS)
        self.dataset = f"s3://{BUCKET}/dataset" if server else str(folder / "dataset")
        self.sent: list[bytes] = []  # each once
        self.job: Process | None = None
        self._left: list[psutil.Process] = []
        self._may_send = threading.Event()
        self._may_send.set()

    def start_job(self, *, by_spark: bool | None = None) -> Process:
        """Starts the job. by_spark: None: either Spark counts or processes of this machine, by chance."""
        command = [sys.executable, "-m", "tests.faults.job", MAINTAINING] if self.maintains else _COMMAND
        self.job = Process(*command, *self.aggregate(by_spark=by_spark))
        return self.job

    def aggregate(self, *, by_spark: bool | None = None) -> list[str]:
        """What the job is told."""
        if by_spark is None:
            by_spark = self.random.random() < 0.5
        where = _HERE if by_spark else []
        if self.cluster:
            where = ["--master", self.cluster.url, "--spark-config", str(self._spark_config)]
        report = [] if self.maintains else ["--no-maintain"]
        return [*self._aggregate(), *where, "--follow", "--trigger", "0", *report]

    def _aggregate(self) -> list[str]:
        dedupe = ["--dedupe"] if self.dedupes else []
        return ["aggregate", self.url, "--dataset", self.dataset, "--checkpoint", str(self.checkpoint), *dedupe]

    @property
    def is_job_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.job is not None and self.job.lives_for(0)

    def running_job(self) -> Process:
        """The job, started if need be, once it has counted something."""
        job = self.job if self.job and self.is_job_running else self.start_job()
        job.await_line("batch ")
        return job

    def end_job(self, end: Callable[[Process], None] = Process.kill) -> None:
        """Kills the job, if there is one; what it had started ends by itself, a moment later."""
        if self.job:
            self._left += self.job.started()
            end(self.job)

    @property
    def maintainer(self) -> compaction.TableMaintainer:
        """The first table that is tended."""
        return compaction.TableMaintainer(self.dataset, contract.ERROR_AGGREGATES)

    def is_tended_since(self, version: int) -> bool:
        """Whether a commit after that one summed rows of a table up."""
        delta = self.maintainer.open()
        later = delta.version() - version
        commits = delta.history(later) if later else []
        return any(commit.get("operationParameters", {}).get("mode") == "Overwrite" for commit in commits)

    def is_maintenance_due(self) -> bool:
        """Whether rows of a table should be summed up."""
        return bool(compaction_plan.due_spans(self.maintainer.files(), datetime.now(UTC), self.maintainer.table.step))

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Sends nothing meanwhile."""
        self._may_send.clear()
        try:
            yield
        finally:
            self._may_send.set()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Sends pings all the while, through whatever happens to the broker."""
        stop, failures = threading.Event(), []

        def send() -> None:
            try:
                while not stop.wait(SEND_EVERY_SECONDS):
                    self._may_send.wait()
                    documents, again = self._next_pings()
                    self._send(documents + again)
                    self.sent += documents
            except Exception as error:
                failures.append(error)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield
        finally:
            stop.set()
            sender.join()
        if failures:
            raise failures[0]

    def _send(self, documents: list[bytes]) -> None:
        if self._pings:
            write_pings(self._pings, f"{uuid.uuid4()}.jsonl", documents)
        else:
            self.broker.send(self.topic, documents, **{"enable.idempotence": True})

    def held(self) -> list[bytes]:
        """All pings that have arrived, also those that arrived twice."""
        if self._pings:
            return [line for path in self._pings.iterdir() for line in path.read_bytes().splitlines()]
        return self.broker.held(self.topic)

    def _crash_reports(self) -> list[bytes]:
        """Crashes, and earlier ones for the second time."""
        again, self._to_report = self._to_report, [next(self._crashes) for _ in range(SENT_AT_ONCE // 2)]
        first = [crash_report(number, self.random.randrange(600)) for number in self._to_report]
        return [*first, *(crash_report(number, self.random.randrange(600, 9000), reason=AGAIN) for number in again)]

    def _next_pings(self) -> tuple[list[bytes], list[bytes]]:
        """Pings to send, and those of before to send again."""
        crashes = self._crash_reports() if self._sends_crashes else []
        if not self.dedupes:
            return [*some_pings(self.random, SENT_AT_ONCE), *crashes], []
        makers = (crash_ping, main_ping)
        new = [
            self.random.choice(makers)(
                self.random.randrange(60), document_id=str(uuid.UUID(int=self.random.getrandbits(128)))
            )
            for _ in range(SENT_AT_ONCE)
        ] + crashes
        return new, self.random.sample([*self.sent[-1000:], *new], SENT_AT_ONCE // 4)

    def count_the_rest(self) -> None:
        """Ends the job, and counts what it had not."""
        self.end_job()
        wait_until(lambda: not any(map(lives, self._left)), "the end of what killed jobs had started")
        self.job = Process(*_COMMAND, *self._aggregate(), *_HERE)
        if self.job.await_end():
            raise AssertionError("".join(self.job.said))


# What is done to a world, once each.


def kill_driver(world: World) -> None:
    """At any moment, from before Spark is up to the midst of a micro-batch."""
    if world.job and world.is_job_running:
        job, seconds = world.job, WARM_SECONDS
    else:
        job, seconds = world.start_job(), UNTIL_WARM_SECONDS
    if not job.lives_for(world.random.uniform(0, seconds)):
        raise AssertionError("".join(job.said))
    world.end_job()


def kill_tending_driver(world: World) -> None:
    """After upkeep has summed up something beside it, its own or a killed job's, and while that goes on.

    On a busy machine summing up takes longer than the time between two of the job's commits, each of which makes it
    begin again; so nothing is sent meanwhile.
    """
    job, before = world.running_job(), world.maintainer.open().version()

    def is_maintained() -> bool:
        return world.is_tended_since(before) or not job.lives_for(0.5)

    wait_until(lambda: is_maintained() or world.is_maintenance_due(), "files to sum up", seconds=MAINTENANCE_SECONDS)
    with world.silence():
        wait_until(is_maintained, "upkeep", seconds=MAINTENANCE_SECONDS)
    if not job.lives_for(world.random.uniform(0, 2)):
        raise AssertionError("".join(job.said))
    world.end_job()


def kill_java(world: World) -> None:
    """In the midst of micro-batches, Spark's own notes among them; without it the job ends."""
    if not (world.job and any(child.name() == "java" for child in world.job.started())):
        world.end_job()
        world.start_job(by_spark=True)
    job = world.running_job()
    job.lives_for(world.random.uniform(0, WARM_SECONDS))
    world.end_job(Process.kill_java)


def kill_at_point(world: World) -> None:
    """At the next of the steps of a micro-batch."""
    world.end_job()
    world.job = job = Process(sys.executable, "-m", "tests.faults.job", next(world.points), *world.aggregate())
    if job.await_end() != -signal.SIGKILL:
        raise AssertionError("".join(job.said))


def kill_service(world: World, service: Broker | S3Server) -> None:
    """While the job uses it; it is away for up to two seconds."""
    job = world.running_job()
    job.lives_for(world.random.uniform(0, 1))
    heard = len(job.said)
    service.kill()
    job.lives_for(world.random.uniform(0, 2))
    service.start()
    job.await_line("batch ", heard)


def kill_broker(world: World) -> None:
    """What is read from."""
    kill_service(world, world.broker)


def kill_server(world: World) -> None:
    """What is written to."""
    assert world.server
    kill_service(world, world.server)


def kill_maintenance(world: World) -> None:
    """While it sums files up, beside the job."""
    world.running_job()
    report = Process(*_COMMAND, "maintain", "--dataset", world.dataset, "--follow", "--every", "1")
    report.lives_for(world.random.uniform(0.5, 4))
    report.kill()


def kill_worker(world: World) -> None:
    """A machine of a cluster, with its executor; the job may outlive it or not."""
    assert world.cluster
    job, number = world.running_job(), world.random.randrange(WORKERS)
    job.lives_for(world.random.uniform(0, 2))
    heard = len(job.said)
    world.cluster.kill_worker(number)
    if job.lives_for(world.random.uniform(0, 2)):
        job.await_line("batch ", heard)
    world.cluster.start_worker(number)


KINDS: dict[str, Callable[[World], None]] = {
    "driver": kill_driver,
    DEDUPING: kill_driver,
    CRASHES: kill_driver,
    FILES: kill_driver,
    DRIVER_AND_MAINTENANCE: kill_tending_driver,
    "Java": kill_java,
    "broker": kill_broker,
    "worker": kill_worker,
    "maintenance": kill_maintenance,
    "S3 server": kill_server,
    "forced points": kill_at_point,
}
FULL_TIMES = {
    "driver": 50,
    DEDUPING: 10,
    CRASHES: 20,
    FILES: 20,
    DRIVER_AND_MAINTENANCE: 10,
    "Java": 20,
    "broker": 5,
    "worker": 5,
    "maintenance": 10,
    "S3 server": 5,
    "forced points": len(POINTS),
}


def share_of(kind: str, share: float) -> int:
    """How many times a share of a campaign is; of the forced points it is always all."""
    return FULL_TIMES[kind] if kind == "forced points" else max(round(FULL_TIMES[kind] * share), 1)


def run_campaign(
    faults: Mapping[str, int],
    folder: Path,
    broker: Broker,
    seed: int | None = None,
    say: Callable[[int], None] = lambda done: None,
) -> Outcome:
    """Does each kind of fault so many times, in any order. folder: an empty one; say: told the faults done."""
    seed = random.randrange(2**32) if seed is None else seed
    random_ = random.Random(seed)
    order = [kind for kind, times in faults.items() for _ in range(times)]
    random_.shuffle(order)
    began = time.monotonic()
    with places(faults, folder) as (cluster, server):
        world = World(
            folder,
            broker,
            random_,
            dedupes=DEDUPING in faults or FILES in faults,
            crashes=CRASHES in faults or FILES in faults,
            files=FILES in faults,
            maintains=DRIVER_AND_MAINTENANCE in faults,
            cluster=cluster,
            server=server,
        )
        try:
            with world.sending():
                for number, kind in enumerate(order):
                    KINDS[kind](world)
                    say(number + 1)
            world.count_the_rest()
        finally:
            world.end_job()
        return judge(faults, world, time.monotonic() - began, seed)


@contextmanager
def places(kinds: Collection[str], folder: Path) -> Iterator[tuple[Cluster | None, S3Server | None]]:
    """What a campaign needs besides a broker."""
    cluster = server = None
    with ExitStack() as running:
        if "worker" in kinds:
            cluster = running.enter_context(Cluster(folder / "cluster", WORKERS))
        if "S3 server" in kinds:
            server = running.enter_context(S3Server(folder / "s3"))
            running.enter_context(known(server))
            server.create(BUCKET)
        yield cluster, server


@contextmanager
def known(server: S3Server) -> Iterator[None]:
    """What this process and those it starts know of S3."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", server.endpoint)
        environment.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
        environment.setenv("AWS_SECRET_ACCESS_KEY", KEYS[1])
        yield


def missing(kinds: Collection[str]) -> str | None:
    """What must be installed before there can be such a campaign, in one line; None when nothing is."""
    return kafka.missing() or (s3.missing() if "S3 server" in kinds else None)


def judge(faults: Mapping[str, int], world: World, seconds: float, seed: int) -> Outcome:
    """Compares the dataset with the plain loop's sums of what the topic holds.

    A broker that was killed may hold a batch of messages twice, which the sender sent again for want of an answer:
    brokers forget senders whose newest message is more than a day old, and these messages are of 2017.
    """
    held = world.held()
    assert not Counter(world.sent) - Counter(held), "pings were lost before the job could read them"
    counted = list(dict.fromkeys(held)) if world.dedupes else held
    counted = [document for document in counted if AGAIN.encode() not in document]
    expected = _expected_sums(counted)
    found = dataset_sums(world.dataset)
    dropped = _take_dropped(found)
    lost = doubled = 0
    for table in contract.TABLES:
        if "count" in table.sums:
            place = table.sums.index("count")
            for key in expected[table.name].keys() | found[table.name].keys():
                wanted, came = (sums[table.name].get(key, [0] * len(table.sums))[place] for sums in (expected, found))
                lost, doubled = lost + max(wanted - came, 0), doubled + max(came - wanted, 0)
    is_exact = found == expected and dropped == len(held) - len(counted)
    return Outcome(faults, len(world.sent), lost, doubled, is_exact, seconds, seed)


def _expected_sums(documents: Sequence[bytes]) -> Sums:
    """The plain loop's sums; it does not know Glean's pings, none of which is in a row with others."""
    glean = [document for document in documents if b'"ping_info"' in document]
    others = [(document, RECEIVED_MS * 1000) for document in documents if b'"ping_info"' not in document]
    sums = plain_sums(others)
    return {name: sums[name] | rows for name, rows in counted_sums(glean).items()} if glean else sums


def _take_dropped(found: Sums) -> int:
    """How many pings did not count because the same ping or crash had come before; takes them out of the sums."""
    rejected = found[contract.REJECTED_PINGS.name]
    return sum(rejected.pop(key)[0] for key in list(rejected) if key[-1] in ("duplicate", "same_crash"))
