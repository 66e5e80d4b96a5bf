"""A stream at a steady load, for benchmarks to watch: a broker, a sender, the job, and someone who keeps loading.

Each part is a process of its own, started by `Stream`. The job has half of the cores, and all that would be on other
machines, the sender, the broker and the reader, the other half. Time of a ping is the machine's clock just before
produce().
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from tqdm import tqdm

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from missioncontrol_nb.releases.sources import load_calendar  # noqa: E402
from missioncontrol_nb.simulator import Fleet, weeks_until  # noqa: E402
from missioncontrol_nb.simulator.batches import batches  # noqa: E402
from missioncontrol_nb.simulator.history import write_history  # noqa: E402
from streaming import contract  # noqa: E402
from tests.services.kafka import Broker  # noqa: E402

PARTITIONS = 4
HISTORY_DAYS = 60
TOPIC = "pings"
TEMPLATES = 4000  # pings that are sent again and again, each time with a new time
SEND_EVERY_SECONDS = 0.05
PROBE_EVERY_SECONDS = 0.25
PROBE_VERSION = "99.0"  # no other ping's: it finds a probe in the dataset
PROBE_BUILT = timedelta(days=150)  # before now: each probe has a build id of its own, a second later
KEPT_BYTES = 3 << 29  # of each partition: more than a job is behind while it warms up
RATED_BATCHES = 3
SAMPLE_SECONDS = 5.0
WARM_UP_SECONDS = 120.0  # Java compiles, caches fill, what was late meanwhile is caught up: not watched
_STAMP = re.compile(rb'"submission_timestamp": ?"([^"]*)"')
_STAMP_FORM = "%Y-%m-%dT%H:%M:%S.%fZ"


# The parts. Each prints a JSON line for each thing it has to say.


def templates(count: int) -> list[tuple[bytes, bytes]]:
    """Pings of a simulated fleet as it is now, main pings of tens of kB among them: before and after their time."""
    now = datetime.now(UTC)
    fleet = Fleet(load_calendar(), weeks_until(now))
    found: list[tuple[bytes, bytes]] = []
    for batch in batches(fleet, now - timedelta(minutes=30), timedelta(seconds=60)):
        for document in batch.documents:
            stamp = _STAMP.search(document)
            if stamp:
                found.append((document[: stamp.start(1)], document[stamp.end(1) :]))
        if len(found) >= count:
            return found[:count]
    raise AssertionError("batches end")


def probe(number: int, first_build: datetime, now: str) -> bytes:
    """A crash of a build that no other ping comes from."""
    build = first_build + timedelta(seconds=number)
    return json.dumps(
        {
            "type": "crash",
            "submission_timestamp": now,
            "normalized_channel": "release",
            "normalized_app_name": "Firefox",
            "normalized_country_code": "DE",
            "application": {
                "buildId": f"{build:%Y%m%d%H%M%S}",
                "version": PROBE_VERSION,
                "architecture": "x86-64",
                "name": "Firefox",
            },
            "environment": {"system": {"os": {"name": "Windows_NT", "version": "10.0"}}},
            "payload": {"processType": "main", "metadata": {}},
        }
    ).encode()


def send(brokers: str, topic: str, rate: float) -> None:
    """Sends so many pings a second until its standard input ends; says of each probe its build and when it was sent."""
    from confluent_kafka import Producer

    producer = Producer(
        {"bootstrap.servers": brokers, "linger.ms": 5, "message.max.bytes": 16 << 20, "log_level": 0,
         "queue.buffering.max.kbytes": 512 << 10}
    )  # fmt: skip
    pings = templates(TEMPLATES)
    first_build = (datetime.now(UTC) - PROBE_BUILT).replace(microsecond=0)
    is_over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), is_over.set()), daemon=True).start()
    began, sent, probes, size, behind = time.time(), 0, 0, 0, 0.0
    while not is_over.wait(max(began + (sent / rate if rate else 0) - time.time(), 0)):
        now = time.time()
        stamp = datetime.fromtimestamp(now, UTC).strftime(_STAMP_FORM).encode()
        due = max(round(rate * SEND_EVERY_SECONDS), 1)
        if now - began >= probes * PROBE_EVERY_SECONDS:
            document = probe(probes, first_build, stamp.decode())
            print(json.dumps({"build": document[document.index(b"buildId") + 11 :][:14].decode(), "at": now}))
            producer.produce(topic, document)
            probes, size = probes + 1, size + len(document)
        for number in range(sent, sent + due):
            before, after = pings[number % len(pings)]
            while True:
                try:
                    producer.produce(topic, before + stamp + after)
                    break
                except BufferError:
                    producer.poll(0.01)
            size += len(before) + len(stamp) + len(after)
        producer.poll(0)
        sent += due
        behind = max(behind, time.time() - began - sent / rate)
    producer.flush(60)
    print(json.dumps({"pings": sent + probes, "bytes": size, "seconds": time.time() - began, "behind": behind}))


def run_job(url: str, dataset: str, master: str | None, trigger: float, batch_bytes: int | None) -> None:
    """The job, following, with its upkeep, until its standard input ends; says when each micro-batch was committed."""
    from streaming.job.aggregate import aggregate
    from streaming.job.settings import AggregateSettings, Batch

    stop = threading.Event()

    def say(**what: object) -> None:
        print(json.dumps(what), flush=True)

    def on_batch(batch: Batch) -> None:
        say(at=time.time(), batch=batch.number, pings=batch.pings, bytes=batch.bytes, seconds=batch.seconds,
            commit_seconds=batch.commit_seconds)  # fmt: skip

    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    settings = AggregateSettings(master=master, follow=True, trigger_seconds=trigger, max_batch_bytes=batch_bytes)
    aggregate(
        url, dataset, settings=settings, stop=stop, on_batch=on_batch,
        on_start=lambda seconds: say(start_seconds=seconds), on_notice=lambda notice: say(notice=notice),
    )  # fmt: skip


# The stream.


class Part:
    """A process that says JSON lines and ends when its standard input does."""

    def __init__(self, *arguments: object, name: str, cores: Collection[int] | None = None) -> None:
        """cores: those that it has; None: as this process."""
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, __file__, *map(str, arguments)], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True,  # priorities count within one
            preexec_fn=lambda: os.sched_setaffinity(0, cores or os.sched_getaffinity(0)),
        )  # fmt: skip
        self.said: list[dict[str, Any]] = []
        self._arrived = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with self._arrived:
                self.said.append(json.loads(line))
                self._arrived.notify_all()

    def await_said(self, key: str, seconds: float) -> dict[str, Any]:
        """The first thing it says that has a key."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: any(key in said for said in self.said), seconds):
                raise SystemExit(f"{self.name} has not said {key} in {seconds:.0f} s")
        return next(said for said in self.said if key in said)

    def check(self) -> None:
        """Raises SystemExit where it has ended."""
        if self._process.poll() is not None:
            raise SystemExit(f"{self.name} ended with {self._process.returncode}")

    def end(self, seconds: float = 120) -> None:
        """Tells it to end, and waits until it has."""
        assert self._process.stdin
        if self._process.poll() is None:
            self._process.stdin.close()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join()


class Sample(NamedTuple):
    """Resident memory at a moment, MB: of the job's Python, of its Java, of its Python workers and of its upkeep."""

    at: float
    driver: float
    java: float
    workers: float
    upkeep: float


@dataclass
class Watched:
    """What was seen of a stream: seconds from produce() until load() showed it by the time of sending, and so on."""

    began: float
    freshness: list[tuple[float, float]] = field(default_factory=list)  # (sent at, seconds)
    loads: list[float] = field(default_factory=list)  # seconds each
    cpu: dict[str, float] = field(default_factory=dict)  # by part, of a core
    samples: list[Sample] = field(default_factory=list)
    batches: list[dict[str, Any]] = field(default_factory=list)
    sent: dict[str, Any] = field(default_factory=dict)
    counted: int = 0
    unseen: int = 0  # probes
    files: int = 0


class Stream:
    """A broker, and a job that follows its topic into a dataset with its upkeep on."""

    def __init__(
        self, folder: Path, topics: Path, cores: Collection[int], trigger: float = 1.0, *, by_spark: bool = False
    ) -> None:
        """cores: the job's; by_spark: whether Spark counts, or processes of this machine."""
        self._cores, self._trigger, self._by_spark = cores, trigger, by_spark
        self.dataset = str(folder / "dataset")
        self.broker = Broker(topics / "kafka")

    def __enter__(self) -> "Stream":
        self.broker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.broker.stop()

    def watch(self, rate: float, minutes: float, look_every: float, say: Any = lambda watched: None) -> Watched:
        """A job at so many pings a second for so long, once it has warmed up; into a dataset of two months."""
        now = datetime.now(UTC)
        write_history(Fleet(load_calendar(), weeks_until(now)), self.dataset, now, HISTORY_DAYS)
        self.broker.create(
            TOPIC, PARTITIONS, retention_bytes=str(KEPT_BYTES), segment_bytes=str(KEPT_BYTES // 4),
            segment_ms="600000", file_delete_delay_ms="1000",
        )  # fmt: skip
        job = self._job(TOPIC, self.dataset)
        try:
            job.await_said("start_seconds", 120)
            sender = Part("--part", "send", "--brokers", self.broker.address, "--rate", rate, name="the sender")
            try:
                job.await_said("batch", 120)
                return self._watch(job, sender, minutes, look_every, say)
            finally:
                sender.end()
        finally:
            job.end()

    def rated(self, gigabytes: float) -> float:
        """Pings a second of the job when it catches up with a topic that was filled before."""
        topic, total = "rated", self._fill("rated", gigabytes)
        job = self._job(topic, f"{self.dataset}-rated", "--batch-bytes", round(gigabytes * 1e9 / RATED_BATCHES))
        try:
            give_up = time.monotonic() + 600
            while sum(said.get("pings", 0) for said in job.said) < total:
                job.check()
                if time.monotonic() > give_up:
                    raise SystemExit("the job does not catch up")
                time.sleep(0.2)
        finally:
            job.end()
        batches = [said for said in job.said if "batch" in said]
        admin = self.broker.admin()
        admin.delete_topics([topic])[topic].result()
        steady = sum(batch["pings"] for batch in batches[1:])
        return steady / (batches[-1]["at"] - batches[0]["at"])

    def _fill(self, topic: str, gigabytes: float) -> int:
        self.broker.create(topic, PARTITIONS)
        pings = templates(TEMPLATES)
        stamp = datetime.now(UTC).strftime(_STAMP_FORM).encode()
        documents = [before + stamp + after for before, after in pings]
        copies = max(round(gigabytes * 1e9 / sum(map(len, documents))), 1)
        for _ in range(copies):
            self.broker.send(topic, documents)
        return len(documents) * copies

    def _job(self, topic: str, dataset: str, *more: object) -> Part:
        url = f"kafka://{self.broker.address}/{topic}"
        engine = ["--master", f"local[{len(self._cores)}]"] if self._by_spark else []
        return Part("--part", "job", "--url", url, "--dataset", dataset, *engine,
                    "--trigger", self._trigger, *more, name="the job", cores=self._cores)  # fmt: skip

    def _watch(self, job: Part, sender: Part, minutes: float, look_every: float, say: Any) -> Watched:
        from missioncontrol_nb import Dataset, load

        watched = Watched(began=time.time() + WARM_UP_SECONDS)
        end, seen, sample_at = watched.began + minutes * 60, {}, watched.began
        parts = {"job": job.pid, "sender": sender.pid, "broker": self.broker.pid, "reader": None}
        taken: dict[str, float] = {}
        dataset, looked_at = Dataset(self.dataset), -1
        today = datetime.now(UTC).date().isoformat()

        def look() -> None:
            began = time.time()
            rows = load(self.dataset, today, version=PROBE_VERSION, by="build_id", every=None, measures=[])
            now = time.time()
            watched.loads.append(now - began)
            for build in rows["build_id"]:
                seen.setdefault(build, now)

        while time.time() < end:
            job.check()
            sender.check()
            dataset.refresh()
            table = dataset.handle(contract.COARSE_AGGREGATES)  # the one of the tables that load() takes here
            if table is not None and table.version() != looked_at:
                looked_at = table.version()
                look()
            if time.time() >= sample_at:
                taken = taken or {name: cpu_of(pid) for name, pid in parts.items()}
                watched.samples.append(memory_of(job.pid))
                say(watched)
                sample_at = time.time() + SAMPLE_SECONDS
            time.sleep(look_every)
        seconds = time.time() - watched.began
        watched.cpu = {name: (cpu_of(pid) - taken[name]) / seconds for name, pid in parts.items()}
        sender.end()
        watched.sent = sender.said[-1]
        self._await_all(job, watched)
        look()
        watched.batches = [said for said in job.said if said.get("at", 0) >= watched.began]
        for said in sender.said:
            if "build" in said and said["at"] >= watched.began:
                if said["build"] in seen:
                    watched.freshness.append((said["at"], seen[said["build"]] - said["at"]))
                else:
                    watched.unseen += 1
        watched.files = len(list(Path(self.dataset, "error_aggregates").rglob("*.parquet")))
        return watched

    def _await_all(self, job: Part, watched: Watched) -> None:
        """Until all that was sent is counted, or nothing comes any more."""
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            watched.counted = sum(said.get("pings", 0) for said in job.said)
            if watched.counted >= watched.sent["pings"]:
                return
            time.sleep(0.1)


def memory_of(pid: int) -> Sample:
    """The resident memory of a job's processes."""
    sizes = dict.fromkeys(Sample._fields[1:], 0.0)
    for process in _family(pid):
        with suppress(psutil.NoSuchProcess):
            sizes[_part_of(process, pid)] += process.memory_info().rss / 1e6
    return Sample(time.time(), **sizes)


def _part_of(process: psutil.Process, driver: int) -> str:
    if process.pid == driver:
        return "driver"
    if process.name() == "java":
        return "java"
    return "upkeep" if "streaming.job.maintenance_process" in process.cmdline() else "workers"


def cpu_of(pid: int | None) -> float:
    """The seconds of CPU that a process has taken, and those that it started; None: this one alone."""
    if pid is None:
        return time.process_time()
    seconds = 0.0
    for process in _family(pid):
        with suppress(psutil.NoSuchProcess):
            seconds += sum(process.cpu_times()[:4])  # without what is waited for
    return seconds


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


@contextmanager
def stream(topics: Path | None, trigger: float = 1.0, *, by_spark: bool = False) -> Iterator[Stream]:
    """A stream in folders that go with it. topics: where the broker's shall be; the dataset's is a usual one."""
    every = sorted(os.sched_getaffinity(0))
    half = max(len(every) // 2, 1)
    os.sched_setaffinity(0, every[half:] or every)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="missioncontrol-stream-") as folder,
            tempfile.TemporaryDirectory(prefix="missioncontrol-topics-", dir=topics) as place,
            Stream(Path(folder), Path(place), every[:half], trigger, by_spark=by_spark) as made,
        ):
            yield made
    finally:
        os.sched_setaffinity(0, every)


def add_options(parser: argparse.ArgumentParser, minutes: float, look_every: float) -> None:
    """The options of a benchmark that watches a stream."""
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--rate", type=float, help="pings a second; default: half of what the job can take")
    parser.add_argument("--trigger", type=float, default=1.0, help="of the job, seconds")
    parser.add_argument("--rated-gigabytes", type=float, default=6.0, help="to catch up with, to see what it can take")
    parser.add_argument("--look-every", type=float, default=look_every, help="for a commit, which is loaded; seconds")
    parser.add_argument("--spark", action="store_true", help="let Spark count")
    parser.add_argument("--topics", type=Path, help="the folder for the broker's messages, such as /dev/shm")


def watch(given: argparse.Namespace) -> Watched:
    """What was seen of the stream that the options ask for; says its load."""
    with stream(given.topics, given.trigger, by_spark=given.spark) as made:
        rate = given.rate
        if rate is None:
            rated = made.rated(given.rated_gigabytes)
            print(f"the job counts {rated:,.0f} pings/s when it catches up: half of that is sent", flush=True)
            rate = rated / 2
        with tqdm(total=round(given.minutes * 60), unit="s", desc="streaming", leave=False, disable=None) as bar:

            def show(seen: Watched) -> None:
                bar.update(min(round(seen.samples[-1].at - seen.began), bar.total) - bar.n)

            return made.watch(rate, given.minutes, given.look_every, show)


def main() -> None:
    """Runs a part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("send", "job"), required=True)
    parser.add_argument("--brokers")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--url")
    parser.add_argument("--dataset")
    parser.add_argument("--master")
    parser.add_argument("--trigger", type=float)
    parser.add_argument("--batch-bytes", type=int)
    given = parser.parse_args()
    if given.part == "send":
        send(given.brokers, TOPIC, given.rate)
    else:
        run_job(given.url, given.dataset, given.master, given.trigger, given.batch_bytes)


if __name__ == "__main__":
    main()
