"""What it costs to count what comes twice once: `dedupe` (default) or `once`. Without Spark; prints ratios.

What --dedupe costs: pings a second and memory of the counting itself, with and without, at 20,000 pings a second.

Both count the pings of a simulated fleet in one process, a second's worth at a time, as Spark's tasks do: with --dedupe
each id is looked up among those of the last hour (72 million, 24 bytes each, in files) and noted. Reading from Kafka is
the same for both and left out; so is Spark's shuffle of the rows by their id. Seconds are the processor's.

What it costs to count a crash once (--once-days): pings a second of telemetry and of Glean crash pings, with and
without, by turns in one run; then a micro-batch of crash pings among those of 60 days, noted at so many a day, from
files that are in memory and from files that are not.
"""

import argparse
import os
import platform
import re
import resource
import shutil
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from statistics import median
from threading import Event

import numpy as np
import pyarrow as pa

from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.simulator import Bad, Fleet
from missioncontrol_nb.simulator.batches import batches
from missioncontrol_nb.simulator.live import write_live
from missioncontrol_nb.simulator.sampling import Batch
from missioncontrol_nb.simulator.today import TODAY, calendar_of_today
from streaming.aggregation import deduplication, seen_ids
from streaming.aggregation.counter import Counter, Delivery
from streaming.aggregation.once import DAY_US, count_once
from streaming.aggregation.partial_sums import add_up
from streaming.aggregation.receipt import HOUR_MS

PINGS_A_SECOND = 20_000
ONCE_DAYS = 60
HOUR_SECONDS = HOUR_MS // 1000
BUCKETS = 1 << deduplication.BUCKET_BITS
HOUR_IDS = PINGS_A_SECOND * HOUR_SECONDS
SUBMITTED = 1_507_042_800  # seconds since 1970: when the first ping is


def write_hour(folder: Path, ids: int) -> int:
    """Notes of an hour, in files as merging leaves them; their bytes."""
    random_ = np.random.default_rng(1)
    slices = HOUR_SECONDS // deduplication.SLICE_SECONDS
    each = ids // BUCKETS // slices
    for bucket in range(BUCKETS):
        place = folder / str(bucket)
        place.mkdir(parents=True)
        for number in range(slices):
            halves = random_.integers(0, 2**64, (3, each), np.uint64, endpoint=False)
            halves[0] = (halves[0] >> np.uint64(4)) | np.uint64(bucket << 60)
            order = np.argsort(halves[0])
            slice_ = SUBMITTED // deduplication.SLICE_SECONDS - slices + number
            halves[2] = slice_ * deduplication.SLICE_SECONDS * 1_000_000  # when they were received
            np.save(place / f"{slice_}-{number}-{number}.npy", halves[:, order])
    return sum(path.stat().st_size for path in folder.rglob("*.npy"))


class Kept:
    """Takes pings as a sink does, and keeps them."""

    def __init__(self) -> None:
        self.documents: list[bytes] = []

    def write(self, batch: Batch, _: Event) -> bool:
        """Keeps a batch."""
        self.documents += batch.documents
        return True


def pings(seconds: int) -> list[list[bytes]]:
    """Pings by the second; those of all seconds but the first are the first's with new ids."""
    kept = Kept()
    write_live(
        Fleet(load_calendar()), kept, datetime(2017, 10, 3, 15, tzinfo=UTC), at_most=PINGS_A_SECOND, is_paced=False
    )
    named = re.compile(rb'"document_id": ?"[^"]*"')
    return [
        [
            named.sub(b'"document_id":"%s"' % str(uuid.uuid4()).encode(), ping)
            for ping in kept.documents[:PINGS_A_SECOND]
        ]
        for _ in range(seconds)
    ]


def plainly(documents: list[bytes]) -> int:
    """Counts without looking for duplicates; the rows."""
    counter = Counter()
    for document in documents:
        counter.add(document, 0)
    return len(counter.partial_sums())


def once(documents: list[bytes], number: int, folder: Path) -> int:
    """Counts each id once; the rows."""
    counter = Counter(by_delivery=True)
    for delivery, document in enumerate(documents):
        counter.add(document, SUBMITTED * 1_000_000, Delivery(delivery, SUBMITTED * 1_000_000))
    kept = deduplication.duplicate_dropper(number, folder)(iter([counter.partial_sums()]))
    return len(pa.Table.from_batches(kept))


def of_crashes(count: int) -> list[bytes]:
    """Glean pings of the simulated fleet of today, each of another main crash."""
    start = datetime(2026, 7, 25, 12, tzinfo=UTC)
    fleet = Fleet(calendar_of_today(), bad=[Bad("153.0", start, "main_crashes", 300.0)], era=TODAY)
    documents = next(batches(fleet, start, timedelta(minutes=5))).documents
    samples = [each for each in documents if b'"crash.event_id"' in each and b'"153.0"' in each]
    names = re.compile(rb'("(?:document_id|crash.event_id|crash.minidump_sha256_hash)": ?")[^"]*')
    return [
        names.sub(lambda found: found[1] + uuid.uuid4().hex.encode(), samples[number % len(samples)])
        for number in range(count)
    ]


def summed(documents: list[bytes], *, is_once: bool) -> pa.Table:
    """What tasks pass to the driver of some pings."""
    counter = Counter(once=is_once)
    counter.add_all(documents, [0] * len(documents), Delivery)
    return add_up(pa.Table.from_batches([counter.partial_sums()]))


def compare_once(documents: list[bytes], folder: Path, rounds: int) -> tuple[float, float]:
    """Median CPU seconds of counting pings without and with once, by turns."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(2 * rounds):
        is_once = bool(number % 2)
        began = time.process_time()
        sums = summed(documents, is_once=is_once)
        if is_once:
            count_once(sums, seen_ids.FIRST_NUMBER + number, folder, ONCE_DAYS)
        seconds[is_once].append(time.process_time() - began)
    return median(seconds[0][1:]), median(seconds[1][1:])


def write_days(folder: Path, crashes_a_day: int, until_us: int) -> int:
    """Notes of ONCE_DAYS days, as merging leaves them; their bytes."""
    random_ = np.random.default_rng(1)
    folder.mkdir()
    for day in range(until_us // DAY_US - ONCE_DAYS, until_us // DAY_US):
        rows = random_.integers(0, 2**64, (3, 2 * crashes_a_day), np.uint64, endpoint=False)
        rows[2] = day * DAY_US + rows[2] % DAY_US
        np.save(folder / f"{day}-{day}-{day}.npy", rows[:, np.argsort(rows[0])])
    return sum(path.stat().st_size for path in folder.glob("*.npy"))


def drop_from_memory(folder: Path) -> None:
    """Lets the system forget what it holds of files."""
    for path in folder.glob("*.npy"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def peak_mb() -> float:
    """The most memory of this process, mapped pages included."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def measure_once(folder: Path, crashes_a_day: int, rounds: int) -> None:
    """Prints what counting a crash once costs."""
    print(f"{'':<20} {'without':>12} {'with':>12} {'ratio':>7}   pings a second of CPU time")
    for name, documents in (("telemetry", pings(1)[0]), ("Glean crash", of_crashes(20_000))):
        without, with_ = compare_once(documents, folder / name, rounds)
        rates = [len(documents) / seconds for seconds in (without, with_)]
        print(f"{name:<20} {rates[0]:>12,.0f} {rates[1]:>12,.0f} {with_ / without:>7.3f}")
    noted = sum(path.stat().st_size for path in (folder / "Glean crash").glob("*.npy"))
    packed = sum(map(len, summed(documents, is_once=True)["file"].drop_null().to_pylist())) / len(documents)
    print(f"{packed:.0f} bytes a crash ping on the way to the driver; {noted / (rounds * len(documents)):.0f} noted")
    begins = re.search(rb'"submission_timestamp": ?"([^"]*)"', documents[0])
    assert begins
    until_us = round(datetime.fromisoformat(begins[1].decode()).timestamp() * 1e6)
    size = write_days(folder / "days", crashes_a_day, until_us)
    print(f"{ONCE_DAYS} days of {crashes_a_day:,} crash pings noted: {size / 1e9:.2f} GB")
    print(f"{'crash pings':<20} {'not in memory':>15} {'in memory':>12} {'CPU':>8} {'MB more':>9}")
    number = seen_ids.FIRST_NUMBER
    for count in (10, 1_000, 10_000):
        seconds, of_cpu, megabytes = [], [], []
        for each in range(1 + rounds):
            sums = summed(of_crashes(count), is_once=True)
            if not each:
                drop_from_memory(folder / "days")
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            began, cpu, before_mb = time.perf_counter(), time.process_time(), peak_mb()
            count_once(sums, number, folder / "days", ONCE_DAYS)
            seconds.append(time.perf_counter() - began)
            of_cpu.append(time.process_time() - cpu)
            megabytes.append(peak_mb() - before_mb)
            number += 1
        print(
            f"{count:<20,} {seconds[0]:>15.2f} {median(seconds[1:]):>12.3f} {median(of_cpu[1:]):>8.3f} "
            f"{max(megabytes):>9.0f}"
        )
    print("seconds of a micro-batch; at most so much more memory, mapped pages of one file of a day among it")


def main() -> None:
    """Prints medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["dedupe", "once"], default="dedupe")
    parser.add_argument("--seconds", type=int, default=3, help="of the stream that are counted")
    parser.add_argument("--ids", type=int, default=HOUR_IDS, help="noted before")
    parser.add_argument("--crashes-a-day", type=int, default=1_000_000, help="of once: noted before")
    parser.add_argument("--rounds", type=int, default=7, help="of once")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="missioncontrol-dedupe-"))
    if given.what == "once":
        try:
            print(f"{platform.machine()}, one process, Python {platform.python_version()}, numpy {version('numpy')}")
            measure_once(folder, given.crashes_a_day, given.rounds)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        noted = write_hour(folder / "documents", given.ids)
        batches = pings(given.seconds)
        without, with_ = [], []
        size = sum(map(len, batches[0])) / len(batches[0])
        before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        for number, documents in enumerate(batches, 1000):
            began = time.process_time()
            plainly(documents)
            without.append(time.process_time() - began)
            began = time.process_time()
            once(documents, number, folder / "documents")
            with_.append(time.process_time() - began)
        after_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(
        f"{platform.machine()}, one process, Python {platform.python_version()}, numpy {version('numpy')}; "
        f"{PINGS_A_SECOND:,} pings a second of {size / 1e3:.1f} kB, {given.ids:,} ids noted ({noted / 1e9:.2f} GB)"
    )
    print(f"{'':<18} {'s a second':>11} {'pings/s':>10}")
    for name, seconds in (("without", without), ("--dedupe", with_)):
        print(f"{name:<18} {median(seconds):>11.2f} {PINGS_A_SECOND / median(seconds):>10,.0f}")
    print(f"ratio {median(with_) / median(without):.2f}; the process grew by {after_mb - before_mb:.0f} MB at its most")


if __name__ == "__main__":
    main()
