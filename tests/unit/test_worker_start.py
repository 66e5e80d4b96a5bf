"""How often Spark is asked again for a stream whose Python did not start in time."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from streaming.job import spark_engine
from streaming.job.spark_engine import WORKER_STARTS, SparkEngine, WorkerStartError


class Streams:
    """Streams of Spark, each of which goes as the script says: "slow", "batch, slow", "stop, slow" or "done"."""

    def __init__(self, *script: str) -> None:
        self.script, self.notices, self._stop = list(script), 0, threading.Event()

    def _notify(self, _: str) -> None:
        self.notices += 1

    def __call__(self, *_: object) -> Any:
        step = self.script.pop(0)

        def run() -> bool:
            if "stop" in step:
                self._stop.set()
            if "slow" in step:
                raise WorkerStartError
            return True

        return SimpleNamespace(run=run, batches=int("batch" in step))

    def run(self, monkeypatch: pytest.MonkeyPatch) -> bool:
        monkeypatch.setattr(spark_engine, "_SparkStream", self)
        job: Any = SimpleNamespace(notify=self._notify, stop=self._stop)
        engine: Any = SparkEngine(None)  # type: ignore[arg-type]
        return engine.stream(job, None)  # type: ignore[no-any-return]


def test_stream_is_started_again_six_times_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams(*["slow"] * 10)
    with pytest.raises(WorkerStartError):
        streams.run(monkeypatch)
    assert (len(streams.script), streams.notices) == (10 - WORKER_STARTS, WORKER_STARTS - 1)


def test_micro_batch_between_makes_the_count_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that follows its source for months may be slow more often than six times."""
    streams = Streams(*["slow", "slow", "batch, slow"] * 5, "done")
    assert streams.run(monkeypatch)
    assert (streams.script, streams.notices) == ([], 15)


def test_stop_is_no_failure_and_nothing_was_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams("slow", "stop, slow", "done")
    assert not streams.run(monkeypatch)
    assert streams.script == ["done"]
