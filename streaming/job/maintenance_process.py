"""Maintenance beside a job, in a separate process: it must neither block the job's interpreter nor take a core from it.

The process has a low priority and a session of its own: where Linux groups processes by session, priorities count only
within a session, and Spark's processes have a session of their own too. The process ends when its standard input ends,
so that it does not outlive the job.
"""

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from streaming.child_process import ChildProcess
from streaming.dataset import maintenance

NICENESS = 10  # a tenth of a busy core: a larger share delays pings visibly, niceness 19 starves maintenance
MAINTENANCE_STOP_TIMEOUT_SECONDS = 10.0  # to finish the current work; a kill after that loses only this work


@contextmanager
def maintained(
    dataset: str, on_failure: Callable[[str], None], every_seconds: float = maintenance.ROUND_SECONDS
) -> Iterator[None]:
    """Maintains a dataset in a context. on_trouble: called, from another thread, with failures that will be retried."""
    process = _MaintenanceProcess(dataset, on_failure, every_seconds)
    process.start()
    try:
        yield
    finally:
        process.stop()


class _MaintenanceProcess:
    """The maintenance process, which is started again whenever it has died."""

    def __init__(self, dataset: str, on_failure: Callable[[str], None], every_seconds: float) -> None:
        self._arguments, self._on_failure = (dataset, str(every_seconds)), on_failure
        self._every_seconds = every_seconds
        self._is_over, self._start_lock = threading.Event(), threading.Lock()
        self._process: ChildProcess | None = None
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)

    def start(self) -> None:
        """Starts the process, from a thread that keeps it running."""
        self._supervisor.start()

    def _supervise(self) -> None:
        while not self._is_over.is_set():
            try:
                process = self._start()
            except OSError as error:
                failure = f"maintenance did not start ({error})"
            else:
                failure = f"maintenance ended with exit code {process.wait()}" if process else ""
            if not self._is_over.is_set():
                self._notify(f"{failure} and will be tried again")
                self._is_over.wait(self._every_seconds)

    def _start(self) -> ChildProcess | None:
        paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        with self._start_lock:
            if self._is_over.is_set():
                return None
            self._process = ChildProcess(
                [sys.executable, "-P", "-m", __name__, *self._arguments],
                on_line=self._notify,
                has_input=True,
                environment=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            )
        return self._process

    def _notify(self, notice: str) -> None:
        with suppress(OSError, ValueError):  # nobody reads the job's output any more
            self._on_failure(notice)

    def stop(self) -> None:
        """Ends the process after its current work; kills it after MAINTENANCE_STOP_TIMEOUT_SECONDS."""
        with self._start_lock:
            self._is_over.set()
        if self._process is not None:
            self._process.close_input()
            self._supervisor.join(MAINTENANCE_STOP_TIMEOUT_SECONDS)
            self._process.kill()
        self._supervisor.join()


def main() -> None:
    """Maintains the dataset of the first argument, every so many seconds as the second, until standard input ends."""
    dataset, every_seconds = sys.argv[1:]
    _lower_priority()
    stop = threading.Event()
    threading.Thread(target=_exit_with_parent, args=(stop,), daemon=True).start()
    maintenance.follow(dataset, stop=stop, every_seconds=float(every_seconds), on_failure=_print_notice)


def _lower_priority() -> None:
    """Lowers the priority of this process, and ignores the signals that the job handles."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    for _ in range(20):  # Linux lets only one process of a machine write it in a tenth of a second
        try:
            Path("/proc/self/autogroup").write_text(str(NICENESS))
        except BlockingIOError:
            time.sleep(random.uniform(0.05, 0.3))
        except OSError:  # Linux does not group processes by session, or it is not Linux
            return
        else:
            return


def _exit_with_parent(stop: threading.Event) -> None:
    os.read(0, 1)
    stop.set()
    time.sleep(MAINTENANCE_STOP_TIMEOUT_SECONDS)
    os._exit(1)


def _print_notice(notice: str) -> None:
    with suppress(BrokenPipeError):  # the job has ended
        print(notice, flush=True)


if __name__ == "__main__":
    main()
