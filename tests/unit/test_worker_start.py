"""How often Spark is asked again for a stream whose Python did not start in time."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from streaming.job.run import WORKER_STARTS, Run, WorkerStartError


class Stream:
    """What `Run.run` uses of a run; its stream goes as `script` says: "slow", "batch, slow", "stop, slow" or "done"."""

    def __init__(self, *script: str) -> None:
        self.script, self.notices = list(script), 0
        self._settings, self._plan = SimpleNamespace(follow=False), SimpleNamespace(unread_bytes=lambda _: 0)
        self._stop, self._committed, self._batches, self._done_bytes, self._pings = threading.Event(), 0, 0, 0, 0
        self._has_read_all = False

    def _await_first_ping(self) -> bool:
        return True

    def _on_notice(self, _: str) -> None:
        self.notices += 1

    def _stream(self, *_: Any) -> None:
        step = self.script.pop(0)
        self._batches += "batch" in step
        self._has_read_all = True  # as for each query that is no longer active
        if "stop" in step:
            self._stop.set()
        if "slow" in step:
            raise WorkerStartError

    def run(self) -> None:
        Run.run(self, None, lambda _: None)  # type: ignore[arg-type]


def test_stream_is_started_again_six_times_at_most() -> None:
    stream = Stream(*["slow"] * 10)
    with pytest.raises(WorkerStartError):
        stream.run()
    assert (len(stream.script), stream.notices) == (10 - WORKER_STARTS, WORKER_STARTS - 1)


def test_micro_batch_between_makes_the_count_begin_anew() -> None:
    """A job that follows its source for months may be slow more often than six times."""
    stream = Stream(*["slow", "slow", "batch, slow"] * 5, "done")
    stream.run()
    assert (stream.script, stream.notices, stream._has_read_all) == ([], 15, True)


def test_stop_is_no_failure_and_nothing_was_read_to_its_end() -> None:
    stream = Stream("slow", "stop, slow", "done")
    stream.run()
    assert (stream.script, stream._has_read_all) == (["done"], False)
