"""Upkeep beside a job, in a process of its own: it must neither hold the job's interpreter nor take a core from it.

That process has a low priority, and ends when its standard input does, so that it never outlives the job.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from streaming import maintain

NICENESS = 19  # the lowest priority: with less, a round of upkeep shows in how soon a ping does
END_SECONDS = 10.0  # for what is at hand; to be killed then costs nothing but that work


@contextmanager
def tended(
    dataset: str, on_trouble: Callable[[str], None], every_seconds: float = maintain.ROUND_SECONDS
) -> Iterator[None]:
    """Tends a dataset meanwhile. on_trouble: told, from another thread, what fails and will be tried again."""
    tending = _Tending(dataset, on_trouble, every_seconds)
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
        self._process = self._start()
        self._listening = threading.Thread(target=self._listen)
        self._listening.start()

    def _start(self) -> "subprocess.Popen[str]":
        paths = [str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.Popen(
            [sys.executable, "-m", __name__, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            process_group=0,  # Ctrl-C is the job's to hear
        )

    def _listen(self) -> None:
        while True:
            with self._process as process:
                assert process.stdout
                for line in process.stdout:
                    self._on_trouble(line.rstrip())
            if self._is_over.is_set():
                return
            self._on_trouble(f"maintenance ended with exit code {process.returncode} and will be started again")
            self._is_over.wait(self._every_seconds)
            with self._starting:
                if self._is_over.is_set():
                    return
                self._process = self._start()

    def end(self) -> None:
        """Ends it after what is at hand."""
        with self._starting:
            self._is_over.set()
        assert self._process.stdin
        self._process.stdin.close()
        self._listening.join(END_SECONDS)
        self._process.kill()
        self._listening.join()


def main() -> None:
    """Tends the dataset of the first argument, every so many seconds of the second, until standard input ends."""
    dataset, every_seconds = sys.argv[1:]
    os.nice(NICENESS)
    stop = threading.Event()
    threading.Thread(target=_await_end, args=(stop,), daemon=True).start()
    maintain.follow(
        dataset, stop=stop, every_seconds=float(every_seconds), on_trouble=lambda notice: print(notice, flush=True)
    )


def _await_end(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


if __name__ == "__main__":
    main()
