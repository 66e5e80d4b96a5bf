"""What a micro-batch costs that sums to many grouped rows, up to a million: where the time goes, what the driver holds.

Partial sums are drawn, not counted from pings: each grouped row comes twice, from two tasks, as if two tasks had met
its keys. Each size runs on a cluster of its own, so that the memory is that size's; "Python" and "Java" are the two
processes of the driver.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import psutil
from pyspark.sql.datasource import DataSourceReader, InputPartition
from pyspark.sql.types import StructType

from streaming import contract
from streaming.sources.spark_source import PartialSums

if TYPE_CHECKING:
    import pyarrow as pa

ROOT = Path(__file__).parent.parent
SIZES = (10_000, 100_000, 1_000_000)
WAYS = ("workers", "driver")
STEPS = ("sum", "sum and move", "sort", "commit")
Seconds = tuple[float, float]
TASKS = 4
ROWS_AT_ONCE = 10_000


def draw(first: int, last: int) -> "pa.RecordBatch":
    """Partial sums with the keys of these numbers, all of them different."""
    import numpy as np
    import pyarrow as pa

    number = np.arange(first, last)
    count = len(number)
    minutes = (number % 12) * 5
    start = np.datetime64("2017-10-02T14:00", "us") + minutes.astype("timedelta64[m]")

    def text(values: Sequence[str], place: "np.ndarray") -> "pa.Array":
        return pa.DictionaryArray.from_arrays(place % len(values), pa.array(values)).cast(pa.string())

    known = {
        "table": pa.array([contract.ERROR_AGGREGATES.name] * count),
        "submission_date": pa.array(start.astype("datetime64[D]")),
        "window_start": pa.array(start, pa.timestamp("us", tz="UTC")),
        "window_end": pa.array(start + np.timedelta64(5, "m"), pa.timestamp("us", tz="UTC")),
        "application": text(["Firefox"], number),
        "channel": text(contract.FIREFOX.channel_names, number // 12),
        "version": text([f"{major}.0" for major in range(50, 60)], number // 60),
        "display_version": text([f"{major}.0" for major in range(50, 60)], number // 60),
        "build_id": text([f"201709{day:02}{hour:02}0000" for day in range(1, 21) for hour in range(24)], number // 600),
        "os_name": text(contract.FIREFOX.os_names, number // 600),
        "os_version": text([f"10.{minor}" for minor in range(20)], number // 2400),
        "architecture": text(["x86", "x86-64"], number // 48_000),
        "country": text(sorted(contract.COUNTRIES), number // 600),
        "usage_hours": pa.array(number % 100 / 3600),
        "newest_submission": pa.array(start, pa.timestamp("us", tz="UTC")),
        "bytes": pa.array(number % 50_000),
    }
    counts = {column: pa.array(number % 3) for column in contract.COUNTS if column != "usage_hours"}
    columns = known | counts
    schema = contract.partial_schema()
    none = pa.nulls(count)
    return pa.RecordBatch.from_arrays(
        [columns.get(field.name, none).cast(field.type) for field in schema], schema=schema
    )


class DrawnRows(PartialSums):
    """Partial sums that no ping is behind. Options: rows."""

    @classmethod
    def name(cls) -> str:
        return "drawn_rows"

    def reader(self, schema: StructType) -> "DrawnRowsReader":
        return DrawnRowsReader(int(self.options["rows"]))


class DrawnRowsReader(DataSourceReader):
    def __init__(self, rows: int) -> None:
        self._rows = rows

    def partitions(self) -> Sequence[InputPartition]:
        return [InputPartition(task) for task in range(TASKS)]

    def read(self, partition: InputPartition) -> Iterator["pa.RecordBatch"]:
        half = TASKS // 2
        share = -(-self._rows // half)
        begin = partition.value % half * share
        for first in range(begin, min(begin + share, self._rows), ROWS_AT_ONCE):
            yield draw(first, min(first + ROWS_AT_ONCE, begin + share, self._rows))


class Memory:
    """The most that processes held, MB, looked at ten times a second."""

    def __init__(self, *pids: int) -> None:
        self._processes = [psutil.Process(pid) for pid in pids]
        self.most = [0.0 for _ in pids]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._end.wait(0.1):
            held = [process.memory_info().rss / 1e6 for process in self._processes]
            self.most = [max(pair) for pair in zip(self.most, held, strict=True)]

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


class Clock:
    """Seconds by the wall, and of processors in this process and all that it started, since the last look."""

    def __init__(self) -> None:
        self._spent: dict[int, float] = {}
        self._last = self._now()

    def look(self) -> Seconds:
        """Both since the last look."""
        before, self._last = self._last, self._now()
        return self._last[0] - before[0], self._last[1] - before[1]

    def _now(self) -> Seconds:
        here = psutil.Process()
        for process in (here, *here.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                self._spent[process.pid] = times.user + times.system
        return time.perf_counter(), sum(self._spent.values())


def run(rows: int, master: str, rounds: int, config: dict[str, str]) -> dict[str, dict[str, list[float]]]:
    """By who writes the files: of each step medians of some rounds, and what the driver's Python and Java held, MB.

    master: as Spark means it; "cluster": a standalone one of this machine, a master and two workers of one core.
    """
    from streaming.aggregation.partial_sums import rows_of
    from streaming.aggregation.spill import files_of
    from streaming.dataset.worker_writes import spill_rows
    from streaming.dataset.writer import TableWriter
    from streaming.job.results import sum_partials
    from streaming.spark.cluster import await_executors
    from streaming.spark.session import spark_session
    from tests.services.cluster import Cluster

    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if master == "cluster":
            master = stack.enter_context(Cluster(Path(folder) / "cluster")).url
        spark = stack.enter_context(spark_session(master, Path(folder) / "spark", config=config))
        await_executors(spark, threading.Event(), print)
        spark.dataSource.register(DrawnRows)
        dataset = f"{folder}/dataset"
        writer = TableWriter(dataset, contract.ERROR_AGGREGATES)

        def micro_batch(rows: int, way: str) -> list[Seconds]:
            partials = spark.read.format("drawn_rows").option("rows", str(rows)).load()
            clock = Clock()
            sum_partials(partials).write.format("noop").mode("overwrite").save()
            steps = [clock.look()]
            if way == "workers":
                _, files = files_of(spill_rows(sum_partials(partials), dataset, 0).toArrow())
                steps += [clock.look(), clock.look()]
                content = files[writer.table.name]
            else:
                sums = sum_partials(partials).toArrow()
                steps.append(clock.look())
                content = rows_of(writer.table, sums)
                steps.append(clock.look())
            writer.append(content, 0, str(uuid.uuid4()))
            return [*steps, clock.look()]

        taken = {}
        for way in WAYS:  # workers first: what Java once held it keeps
            micro_batch(SIZES[0], way)  # Spark warms up
            with Memory(os.getpid(), spark.sparkContext._gateway.proc.pid) as memory:
                steps = zip(*(micro_batch(rows, way) for _ in range(rounds)), strict=True)
                medians = [[median(each) for each in zip(*step, strict=True)] for step in steps]
            taken[way] = {**dict(zip(STEPS, medians, strict=True)), "memory": memory.most}
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, help="this size only, in this process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--master", default="cluster", help="as Spark means it; cluster: one of this machine")
    parser.add_argument("--config", action="append", default=[], metavar="NAME=VALUE", help="a setting of Spark's")
    given = parser.parse_args()
    if given.rows:
        config = dict(each.split("=", 1) for each in given.config)
        print(json.dumps(run(given.rows, given.master, given.rounds, config)))
        return
    print(f"{'rows':>10}  written by {''.join(f'{name:>18}' for name in STEPS)}   driver's Python / Java at most")
    for rows in SIZES:
        command = [sys.executable, __file__, "--rows", rows, "--rounds", given.rounds, "--master", given.master]
        command += [part for each in given.config for part in ("--config", each)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
        if done.returncode:
            print(f"{rows:>10,} failed: {done.stderr.strip().splitlines()[-1][:300]}")
            continue
        for way, said in json.loads(done.stdout.splitlines()[-1]).items():
            steps = "".join(f"{f'{said[name][0]:.2f} s ({said[name][1]:.2f})':>18}" for name in STEPS)
            python, java = said["memory"]
            print(f"{rows:>10,}  {way:<11}{steps}   {python:,.0f} / {java:,.0f} MB", flush=True)
    print(
        "Seconds by the wall and, in brackets, of all processors. The second step adds up anew, and brings the rows to"
    )
    print("the driver or sorts and writes them in tasks; what it takes beyond the first is the price of that.")


if __name__ == "__main__":
    main()
