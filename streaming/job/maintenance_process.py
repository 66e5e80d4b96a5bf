"""Maintenance beside a job, in a separate process: it must neither block the job's interpreter nor take a core from it.

The process has a low priority and a session of its own: where Linux groups processes by session, priorities count only
within a session, and Spark's processes have a session of their own too. The process ends when its standard input ends,
so that it does not outlive the job.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from streaming.child_process import SupervisedProcess, run_beside
from streaming.dataset import maintenance

MAINTENANCE_STOP_TIMEOUT_SECONDS = 10.0  # to finish the current work; a kill after that loses only this work


@contextmanager
def maintained(
    dataset: str, on_failure: Callable[[str], None], every_seconds: float = maintenance.ROUND_SECONDS
) -> Iterator[None]:
    """Maintains a dataset in a context. on_failure: called, from another thread, with failures that will be retried."""
    process = SupervisedProcess("maintenance", __name__, (dataset, str(every_seconds)), on_failure, every_seconds)
    process.start()
    try:
        yield
    finally:
        process.stop(MAINTENANCE_STOP_TIMEOUT_SECONDS)


def main() -> None:
    """Maintains the dataset of the first argument, every so many seconds as the second, until standard input ends."""
    dataset, every_seconds = sys.argv[1:]
    stop = threading.Event()
    run_beside(stop, MAINTENANCE_STOP_TIMEOUT_SECONDS)
    maintenance.follow(dataset, stop=stop, every_seconds=float(every_seconds), on_failure=_print_notice)


def _print_notice(notice: str) -> None:
    with suppress(BrokenPipeError):  # the job has ended
        print(notice, flush=True)


if __name__ == "__main__":
    main()
