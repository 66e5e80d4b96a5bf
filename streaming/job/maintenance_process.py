"""Upkeep beside a job, in a process of its own: it must neither hold the job's interpreter nor take a core from it.

That process has a low priority and a session of its own, for priorities count within a session where Linux groups
processes by those, and Spark's have one of their own too. It ends when its standard input does, so that it does not
outlive the job.
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

NICENESS = 10  # a tenth of a core that is wanted: with more it shows in how soon a ping does, with 19 it starves
END_SECONDS = 10.0  # for what is at hand; to be killed then costs nothing but that work


@contextmanager
def tended(
    dataset: str, on_trouble: Callable[[str], None], every_seconds: float = maintenance.ROUND_SECONDS
) -> Iterator[None]:
    """Tends a dataset meanwhile. on_trouble: told, from another thread, what fails and will be tried again."""
    tending = _Tending(dataset, on_trouble, every_seconds)
    tending.start()
    try:
        yield
    finally:
        tending.end()


class _Tending:
    """The process, and another one whenever it has died."""

    def __init__(self, dataset: str, on_trouble: Callable[[str], None], every_seconds: float) -> None:
        self._arguments, self._on_trouble = (dataset, str(every_seconds)), on_trouble
        self._every_seconds = every_seconds
        self._is_over, self._starting = threading.Event(), threading.Lock()
        self._process: ChildProcess | None = None
        self._keeping = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> None:
        """Begins."""
        self._keeping.start()

    def _keep(self) -> None:
        while not self._is_over.is_set():
            try:
                process = self._start()
            except OSError as error:
                trouble = f"maintenance did not start ({error})"
            else:
                trouble = f"maintenance ended with exit code {process.wait()}" if process else ""
            if not self._is_over.is_set():
                self._tell(f"{trouble} and will be tried again")
                self._is_over.wait(self._every_seconds)

    def _start(self) -> ChildProcess | None:
        paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        with self._starting:
            if self._is_over.is_set():
                return None
            self._process = ChildProcess(
                [sys.executable, "-P", "-m", __name__, *self._arguments],
                on_line=self._tell,
                has_input=True,
                environment=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            )
        return self._process

    def _tell(self, notice: str) -> None:
        with suppress(OSError, ValueError):  # nobody reads what the job says any more
            self._on_trouble(notice)

    def end(self) -> None:
        """Ends it after what is at hand."""
        with self._starting:
            self._is_over.set()
        if self._process is not None:
            self._process.close_input()
            self._keeping.join(END_SECONDS)
            self._process.kill()
        self._keeping.join()


def main() -> None:
    """Tends the dataset of the first argument, every so many seconds of the second, until standard input ends."""
    dataset, every_seconds = sys.argv[1:]
    _step_back()
    stop = threading.Event()
    threading.Thread(target=_await_end, args=(stop,), daemon=True).start()
    maintenance.follow(dataset, stop=stop, every_seconds=float(every_seconds), on_trouble=_tell)


def _step_back() -> None:
    """Gives way to the job, and leaves signals for it to hear."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    for _ in range(20):  # only one process of a machine may in a tenth of a second
        try:
            Path("/proc/self/autogroup").write_text(str(NICENESS))
        except BlockingIOError:
            time.sleep(random.uniform(0.05, 0.3))
        except OSError:  # where Linux does not group processes by session, or it is not Linux
            return
        else:
            return


def _await_end(stop: threading.Event) -> None:
    os.read(0, 1)
    stop.set()
    time.sleep(END_SECONDS)
    os._exit(1)


def _tell(notice: str) -> None:
    with suppress(BrokenPipeError):  # the job is gone
        print(notice, flush=True)


if __name__ == "__main__":
    main()
