"""What --dedupe costs: pings a second and memory of the counting itself, with and without, at 20,000 pings a second.

Both count the pings of a simulated fleet in one process, a second's worth at a time, as Spark's tasks do: with --dedupe
each id is looked up among those of the last hour (72 million, 24 bytes each, in files) and noted. Reading from Kafka is
the same for both and left out; so is Spark's shuffle of the rows by their id. Seconds are the processor's. Prints a
ratio.
"""

import argparse
import platform
import re
import resource
import shutil
import tempfile
import time
import uuid
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from threading import Event

import numpy as np
import pyarrow as pa

from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.simulator import Fleet
from missioncontrol_nb.simulator.live import write_live
from missioncontrol_nb.simulator.sampling import Batch
from streaming.aggregation import deduplication
from streaming.aggregation.counter import Counter, Delivery
from streaming.aggregation.receipt import HOUR_MS

PINGS_A_SECOND = 20_000
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


def main() -> None:
    """Prints medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3, help="of the stream that are counted")
    parser.add_argument("--ids", type=int, default=HOUR_IDS, help="noted before")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="missioncontrol-dedupe-"))
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
