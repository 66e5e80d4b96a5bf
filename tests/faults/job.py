"""A job that kills itself at a point of its first micro-batch: python -m tests.faults.job SOURCE DATASET POINT."""

import os
import signal
import sys
import threading
from pathlib import Path

from streaming import contract
from streaming.job import AggregateSettings, Batch, aggregate

# After a table's commit of a micro-batch; after all of them, before Spark's checkpoint knows; after it does.
POINTS = (*(table.name for table in contract.TABLES), "before the checkpoint", "after the checkpoint")


def die() -> None:
    """As a crash does."""
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Counts until the point is reached."""
    source, dataset, point = sys.argv[1:]

    def on_commit(table: str, _: int) -> None:
        if table == point:
            die()

    def on_batch(batch: Batch) -> None:
        if point == "before the checkpoint":
            die()
        if point == "after the checkpoint":
            noted = Path(dataset, "_checkpoint", "spark", "commits", str(batch.number))
            threading.Thread(target=die_when, args=(noted,), daemon=True).start()

    settings = AggregateSettings(follow=True, trigger_seconds=0, master="local[2]")
    aggregate(source, dataset, settings=settings, on_commit=on_commit, on_batch=on_batch)


def die_when(path: Path) -> None:
    """As soon as there is a file."""
    while not path.exists():
        pass
    die()


if __name__ == "__main__":
    main()
