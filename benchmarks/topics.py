"""Ingestion from Kafka: `benchmarks/ingest.py --kafka`. Beside it, in the same run, what is left of it at the least.

A real broker holds the topic, in the folder for temporary files. It has the cores that a run does not have, where there
are any, and shares them otherwise. "Batch" counts what is there and ends; "streaming" follows, begins at the oldest
message and catches up. Rates are steady ones: all micro-batches but the first, all messages but the first.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median

import psutil
from ingest import machine, measure, write_files
from tqdm import tqdm

THIS = Path(__file__).resolve()
ROOT = THIS.parent.parent
sys.path.insert(0, str(ROOT))

from tests.services.kafka import Broker  # noqa: E402

TOPIC, PARTITIONS = "pings", 4
GIGABYTES, FEWEST_GIGABYTES = 12.0, 6.0  # micro-batches are of the job's own size: soon of what it reads in 10 s
PARALLEL = ("spark_connector_batch", "spark_connector_streaming", "duckdb")  # of the peers
CPU = ("workers", "java", "driver")
GOAL_OF_CONSUMER, GOAL_OF_CONNECTOR, GOAL_OF_SCALING = 0.8, 4.0, 0.8

# The runs: each in a process of its own, printing its figures as JSON.


def run_loop(folder: Path, _brokers: str, _cores: int) -> dict[str, float]:
    """Decodes documents that are in memory into typed records, one core."""
    import msgspec

    from streaming.pings.document import Document

    decode = msgspec.json.Decoder(Document).decode
    documents = [line for path in first_copy(folder) for line in path.read_bytes().splitlines()]
    began = time.perf_counter()
    for document in documents:
        try:
            decode(document)
        except msgspec.MsgspecError:
            continue
    seconds = time.perf_counter() - began
    return {"bytes": sum(map(len, documents)), "pings": len(documents), "seconds": seconds}


def run_consumer(_folder: Path, brokers: str, _cores: int) -> dict[str, float]:
    """One process that consumes, tuned as the product is, and decodes into typed records; counts nothing."""
    import msgspec
    from confluent_kafka import TopicPartition

    from streaming.pings.document import Document
    from streaming.sources.kafka.consumer import poll_messages
    from streaming.sources.kafka.topic import Topic

    topic = Topic(brokers, TOPIC)
    _, ends = topic.end_offsets()
    total = sum(ends.values())
    consumer = topic.consumer()
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in ends])
    decode = msgspec.json.Decoder(Document).decode
    size = pings = 0
    began = used = 0.0
    while pings < total:
        for message in poll_messages(consumer, 1.0):
            if message.error() is not None:
                continue
            document = message.value() or b""
            began, used = began or time.perf_counter(), used or time.process_time()
            size += len(document)
            pings += 1
            try:
                decode(document)
            except msgspec.MsgspecError:
                continue
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    return {"bytes": size, "pings": pings, "seconds": seconds, "workers": cpu}


def run_batch(_folder: Path, brokers: str, _: int) -> dict[str, float]:
    """The job, that ends when it has counted what is there."""
    return _run_job(brokers, None, follows=False)


def run_streaming(_folder: Path, brokers: str, _: int) -> dict[str, float]:
    """The job, that follows the topic from its oldest message."""
    return _run_job(brokers, None, follows=True)


def run_streaming_by_spark(_folder: Path, brokers: str, cores: int) -> dict[str, float]:
    """The job, that follows the topic from its oldest message, with Spark."""
    return _run_job(brokers, f"local[{cores}]", follows=True)


def _run_job(brokers: str, master: str | None, *, follows: bool) -> dict[str, float]:
    from streaming.job.aggregate import aggregate
    from streaming.job.settings import AggregateSettings, Batch
    from streaming.sources.kafka.topic import Topic

    total = sum(Topic(brokers, TOPIC).end_offsets()[1].values())
    done: list[tuple[float, Batch, dict[str, float]]] = []
    stop, used = threading.Event(), Used()

    def note(batch: Batch) -> None:
        done.append((time.perf_counter(), batch, used.until_now()))
        if sum(batch.pings for _, batch, _ in done) >= total:
            stop.set()

    settings = AggregateSettings(master=master, follow=follows)
    with tempfile.TemporaryDirectory() as dataset:
        aggregate(f"kafka://{brokers}/{TOPIC}", dataset, settings=settings, on_batch=note, stop=stop)
    later = [batch for _, batch, _ in done[1:]]
    (began, _, before), (ended, _, after) = done[0], done[-1]
    return {
        "bytes": sum(batch.bytes for batch in later),
        "pings": sum(batch.pings for batch in later),
        "seconds": ended - began,
        **{name: seconds - before[name] for name, seconds in after.items()},
    }


class Used:
    """CPU seconds of this process (driver), of Spark's Java and of Python processes that read (workers)."""

    def __init__(self) -> None:
        self._seen: dict[psutil.Process, tuple[str, float]] = {}  # also of those that have ended

    def until_now(self) -> dict[str, float]:
        """By who used them."""
        this = psutil.Process()
        for process in (this, *this.children(recursive=True)):
            with suppress(psutil.Error):  # it has just ended
                if "streaming.job.maintenance_process" not in process.cmdline():
                    times, name = process.cpu_times(), "java" if process.name() == "java" else "workers"
                    self._seen[process] = ("driver" if process == this else name, times.user + times.system)
        used = dict.fromkeys(CPU, 0.0)
        for name, seconds in self._seen.values():
            used[name] += seconds
        return used


RUNS: dict[str, Callable[[Path, str, int], dict[str, float]]] = {
    "loop": run_loop,
    "consumer": run_consumer,
    "batch": run_batch,
    "streaming": run_streaming,
    "streaming_by_spark": run_streaming_by_spark,
}
NAMES = {
    "loop": "decode, from memory",
    "consumer": "consume and decode",
    "batch": "aggregate, batch",
    "streaming": "aggregate, streaming",
    "streaming_by_spark": "the same by Spark",
}


# The benchmark.


def first_copy(folder: Path) -> list[Path]:
    """The files that were written once: the others are links to them."""
    by_inode = {path.stat().st_ino: path for path in sorted(folder.glob("*.jsonl"), reverse=True)}
    return sorted(by_inode.values())


def fill(broker: Broker, folder: Path, *, is_mixed: bool = False) -> tuple[int, int]:
    """Sends the lines of all files, a message each; how many pings and bytes they are.

    is_mixed: as many bytes, with a crash ping after each main ping, and no others.
    """
    broker.create(TOPIC, PARTITIONS)
    documents = [line for path in first_copy(folder) for line in path.read_bytes().splitlines()]
    copies = len(list(folder.glob("*.jsonl"))) // len(first_copy(folder))
    if is_mixed:
        total, documents = sum(map(len, documents)) * copies, in_pairs(documents)
        copies = round(total / sum(map(len, documents)))
    for _ in range(copies):
        broker.send(TOPIC, documents)
    return len(documents) * copies, sum(map(len, documents)) * copies


def in_pairs(documents: list[bytes]) -> list[bytes]:
    """Each main ping and a crash ping after it; of these there are fewer, so each comes more than once."""
    from streaming.pings.classify import decode
    from streaming.pings.envelope import Envelope

    kinds = [decode(document, Envelope(), 0).document_type for document in documents]
    main, crash = (
        [each for each, of in zip(documents, kinds, strict=True) if of == kind] for kind in ("main", "crash")
    )
    return [document for pair in zip(main, itertools.cycle(crash), strict=False) for document in pair]


def place_broker(broker: Broker, cores: int) -> None:
    """Gives a broker the cores that a run with so many does not have, or all where none are left."""
    every = sorted(os.sched_getaffinity(0))
    chosen = every[cores:] or every
    for thread in Path("/proc", str(broker.pid), "task").iterdir():
        os.sched_setaffinity(int(thread.name), chosen)


def compare(gigabytes: float, repeats: int, *, is_mixed: bool = False) -> None:
    """Measures and prints. is_mixed: of as many crash pings as main pings, without peers."""
    import peers

    if gigabytes < FEWEST_GIGABYTES:
        raise SystemExit(f"expected --gigabytes of {FEWEST_GIGABYTES:g} or more with --kafka; got {gigabytes:g}")
    every = len(os.sched_getaffinity(0))
    both = sorted({1, min(2, every)})
    jobs = ("batch", "streaming", "streaming_by_spark")
    keys = [("consumer", 1), *((run, number) for number in both for run in jobs)]
    if not is_mixed:
        peers.prepare()
        keys = [("loop", 1), *keys]
        keys += [(run, number) for run in peers.PEERS for number in both if number == 1 or run in PARALLEL]
    figures: dict[tuple[str, int], list[dict[str, float]]] = {key: [] for key in keys}
    with tempfile.TemporaryDirectory(prefix="missioncontrol-topics-") as name, Broker(Path(name, "kafka")) as broker:
        folder = Path(name, "pings")
        folder.mkdir()
        write_files(folder, gigabytes)
        pings, size = fill(broker, folder, is_mixed=is_mixed)
        print(f"{machine()}\n{pings:,} pings, {size / 1e9:.2f} GB, {size / pings / 1e3:.1f} kB a ping, "
              f"in a topic of {PARTITIONS} partitions\n")  # fmt: skip
        shown = tqdm([key for _ in range(repeats) for key in keys], leave=False, disable=None)
        for run, number in shown:
            shown.set_description(run)
            place_broker(broker, number)
            script = THIS if run in RUNS else THIS.with_name("peers.py")
            done = measure(script, run, number, folder=folder, brokers=broker.address, topic=TOPIC)
            figures[run, number].append(done)
    report(figures, every)


def report(figures: dict[tuple[str, int], list[dict[str, float]]], every: int) -> None:
    """The table: medians, beside the consumer on one core, and what became of the goals."""

    def rate(run: str, cores: int = 1) -> float:
        return median(each["bytes"] / each["seconds"] for each in figures[run, cores]) / 1e6

    print(f"{'':22}{'':8}{'MB/s':>8}{'pings/s':>10}{'of consumer':>13}  spread of MB/s")
    for (run, cores), runs in figures.items():
        rates = [each["bytes"] / each["seconds"] / 1e6 for each in runs]
        pings = median(each["pings"] / each["seconds"] for each in runs)
        share = rate(run, cores) / rate("consumer")
        print(
            f"{NAMES.get(run, run.replace('_', ' ')):<22}{cores:>2} core{'s' if cores > 1 else ' '} "
            f"{rate(run, cores):>8,.0f}{pings:>10,.0f}{share:>13.2f}  {min(rates):,.0f} to {max(rates):,.0f}"
        )
    streaming = rate("streaming")
    peers = {key: rate(*key) for key in figures if key[0] not in RUNS}
    goals = [(streaming / rate("consumer"), GOAL_OF_CONSUMER, "of consume and decode, streaming on one core")]
    if peers:
        times = streaming / rate("spark_connector_streaming")
        goals.append((times, GOAL_OF_CONNECTOR, "times Spark's connector, both streaming"))
    for cores in sorted({cores for _, cores in peers}):
        value, fastest = max((value, run) for (run, of), value in peers.items() if of == cores)
        goals.append((rate("streaming", cores) / value, 1.0, f"times the fastest peer on {cores}, {fastest}"))
    if ("streaming", 2) in figures:
        goals.append((rate("streaming", 2) / streaming / 2, GOAL_OF_SCALING, "efficiency from one core to two"))
    print(f"\n{'CPU seconds a gigabyte':<28}{'Python that reads':>17}{'Java':>8}{'driver':>8}")
    for key in (("consumer", 1), ("streaming", 1), ("batch", 1)):
        runs = figures[key]
        used = [median(each.get(name, 0.0) / each["bytes"] * 1e9 for each in runs) for name in CPU]
        print(f"{NAMES[key[0]]:<28}{used[0]:>17.2f}{used[1]:>8.2f}{used[2]:>8.2f}")
    print()
    for value, goal, what in goals:
        print(f"{value:.2f} {what}: {'meets' if value >= goal else 'misses'} the goal of {goal:g}")
    if every < 4:
        print(
            f"This machine has {every} cores: with one the broker has {every - 1} of its own, with two it shares them"
        )


def main() -> None:
    """Does one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", choices=RUNS, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic")
    parser.add_argument("--cores", type=int, required=True)
    given = parser.parse_args()
    print(json.dumps(RUNS[given.run](given.folder, given.brokers, given.cores)))


if __name__ == "__main__":
    main()
