"""Delivers messages, each target in a thread of its own: one that hangs delays neither the others nor the looks."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from missioncontrol_nb.watching.outbox import next_message, note_delivered, note_failed, up_of
from missioncontrol_nb.watching.quiet import QuietHours
from missioncontrol_nb.watching.state import Message, Store, UnwrittenError
from missioncontrol_nb.watching.targets import About, DeliveryError, Target
from missioncontrol_nb.watching.wording import title_of
from streaming.errors import printable

_IDLE_SECONDS = 1.0  # between looks at the queue, where nothing wakes the thread sooner
_PAUSE_SECONDS = 5.0  # after a fault, such as a disk that is full
_END_SECONDS = 5.0  # for attempts that are under way when the watch ends; they are repeated later

OnLine = Callable[[str], None]


class Courier:
    """Delivers a target's messages, one after the other and oldest first.

    at_once: whether the first attempt is made although the watch's own time for it has not come, and its failure said,
    as by a watch that looks once. on_line, on_failure: called with what was delivered, and with the first of several
    failures. failures: attempts that failed.
    """

    def __init__(
        self,
        target: Target,
        store: Store,
        about: About,
        quiet: QuietHours | None,
        on_line: OnLine,
        on_failure: OnLine,
        *,
        at_once: bool = False,
    ) -> None:
        self.target, self._store, self._about, self._quiet = target, store, about, quiet
        self._on_line, self._on_failure, self.at_once = on_line, on_failure, at_once
        self.failures = 0
        self._stop = threading.Event()
        self._refreshed = -float("inf")
        self._is_failing = bool(store.state.targets[target.name].failure) and not at_once
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def end(self) -> None:
        """Tells the thread to end after the attempt that is under way."""
        self._stop.set()
        self._store.wake()

    def join(self, seconds: float) -> None:
        """Waits for the thread's end, no longer than that."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:  # once at least: a watch that looks once may end at once
            try:
                if not self.step() and not self._stop.is_set():
                    self._store.wait(_IDLE_SECONDS)
            except Exception as error:  # a fault must not end the thread: nobody would be told any more
                self.failures += 1
                self._say_failure(str(error) if isinstance(error, UnwrittenError) else self._undelivered(_fault(error)))
                self._stop.wait(_PAUSE_SECONDS)
            if self._stop.is_set():
                return

    def step(self) -> bool:
        """Makes one attempt if one is due; returns whether it made one. Raises UnwrittenError."""
        message = self._next()
        if message is not None:
            self._attempt(message)
            return True
        self._refresh()
        return False

    def _next(self) -> Message | None:
        name, now = self.target.name, datetime.now(UTC)
        if not self._store.state.targets[name].queue:
            return None
        with self._store.changed() as state:
            return next_message(state, name, now, is_quiet=self.is_quiet(now), at_once=self.at_once)

    def is_quiet(self, moment: datetime) -> bool:
        """Whether a moment is in quiet hours that concern the target."""
        return self.target.is_ever_quiet and self._quiet is not None and self._quiet.cover(moment)

    def _attempt(self, message: Message) -> None:
        try:
            self.target.send(message, self._about)
        except DeliveryError as failure:
            reason, retry_after = str(failure), failure.retry_after
        except Exception as error:  # a fault must not end the thread; the message stays in the outbox
            reason, retry_after = _fault(error), None
        else:
            self._note_delivered(message)
            return
        with self._store.changed() as state:
            note_failed(state, self.target.name, datetime.now(UTC), reason, retry_after)
        self.at_once = False
        self.failures += 1
        self._say_failure(self._undelivered(reason))

    def _note_delivered(self, message: Message) -> None:
        """Notes a delivery, again and again until that is on disk: else the message would be sent twice."""
        while True:
            try:
                with self._store.changed() as state:
                    note_delivered(state, self.target.name, message, datetime.now(UTC))
                break
            except UnwrittenError as error:
                self._say_failure(str(error))
                if self._stop.wait(_PAUSE_SECONDS):
                    return
        self._is_failing, self._refreshed = False, time.monotonic()
        self._on_line(f"delivered to {self._name}: {printable(title_of(message))}")

    def _refresh(self) -> None:
        """Repeats what is up to a target that wants it, now and then."""
        every = self.target.refresh_seconds
        if every is None or time.monotonic() - self._refreshed < every:
            return
        self._refreshed = time.monotonic()
        state, name = self._store.state, self.target.name
        up = up_of(state, name, datetime.now(UTC))
        try:
            self.target.refresh(up, is_stale=state.targets[name].told_stale, about=self._about)
        except DeliveryError as failure:
            self._say_failure(self._undelivered(str(failure)))
            return
        self._is_failing = False
        if up:
            with self._store.changed() as state:
                state.targets[name].told_at = datetime.now(UTC)

    def _say_failure(self, sentence: str) -> None:
        if not self._is_failing:
            self._on_failure(f"{sentence}; it will be tried again")
        self._is_failing = True

    def _undelivered(self, reason: str) -> str:
        return f"not delivered to {self._name}: {reason}"

    @property
    def _name(self) -> str:
        return printable(self.target.name)


def _fault(error: Exception) -> str:
    return f"a fault of Mission Control ({type(error).__name__})"


@contextmanager
def delivering(couriers: Sequence[Courier]) -> Iterator[None]:
    """Runs couriers in a context; at its end attempts under way have a few seconds."""
    for courier in couriers:
        courier.start()
    try:
        yield
    finally:
        for courier in couriers:
            courier.end()
        give_up = time.monotonic() + _END_SECONDS
        for courier in couriers:
            courier.join(max(give_up - time.monotonic(), 0.0))
