"""A job that kills itself at a point of its first micro-batch: python -m tests.faults.job POINT aggregate ...

Where POINT is `tending`, one that lives, and whose own upkeep looks ten times a second whether there is work.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from missioncontrol_nb import cli
from streaming import contract
from streaming.job import aggregate as aggregate_module
from streaming.job.aggregate import aggregate, checkpoint_folder
from streaming.job.settings import AggregateSettings, Batch, Summary

# After a table's commit of a micro-batch; after all of them, before Spark's checkpoint knows; after it does.
POINTS = (*(table.name for table in contract.TABLES), "before the checkpoint", "after the checkpoint")
MAINTAINING, MAINTENANCE_EVERY_SECONDS = "tending", 0.1


def die() -> None:
    """As a crash does."""
    os.kill(os.getpid(), signal.SIGKILL)


def dying_at(point: str) -> Callable[..., Summary]:
    """An `aggregate` that does not get beyond a point."""

    def aggregate_until(source: str, dataset: str, settings: AggregateSettings, **hooks: object) -> Summary:
        notes = checkpoint_folder(dataset, settings) / "spark" / "commits"

        def on_commit(table: str, _: int) -> None:
            if table == point:
                die()

        def on_batch(batch: Batch) -> None:
            if point == "before the checkpoint":
                die()
            if point == "after the checkpoint":
                threading.Thread(target=die_when, args=(notes / str(batch.number),), daemon=True).start()

        return aggregate(source, dataset, settings=settings, **hooks | {"on_commit": on_commit, "on_batch": on_batch})

    return aggregate_until


def die_when(path: Path) -> None:
    """As soon as there is a file."""
    while not path.exists():
        pass
    die()


def main() -> None:
    """Runs the command, which ends at the point."""
    point = sys.argv.pop(1)
    if point == MAINTAINING:
        aggregate_module.maintained = partial(aggregate_module.maintained, every_seconds=MAINTENANCE_EVERY_SECONDS)
    else:
        aggregate_module.aggregate = dying_at(point)
    cli.main()


if __name__ == "__main__":
    main()
