"""The watch: looks at a dataset once or every so often, and has what changed delivered."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from missioncontrol_nb import formatting
from missioncontrol_nb.watching import looking
from missioncontrol_nb.watching.changes import Look, apply_failure, apply_look, keep_only
from missioncontrol_nb.watching.delivery import Courier, delivering
from missioncontrol_nb.watching.outbox import add_targets, due_at, is_waiting, next_message, note_delivered
from missioncontrol_nb.watching.quiet import QuietHours
from missioncontrol_nb.watching.state import (
    DEFAULT_FOLDER,
    Message,
    State,
    Store,
    UnwrittenError,
    open_store,
    state_of,
)
from missioncontrol_nb.watching.targets import About, DeliveryError, Target
from missioncontrol_nb.watching.wording import as_text, title_of
from streaming.errors import MissionControlError, printable
from streaming.storage.locations import is_remote

PATIENCE_SECONDS = 30.0  # how long a watch that looks once tries to deliver
ATTEMPTS = 2  # to deliver, of a watch that looks once; the next run makes more
RETRY_SECONDS = 60.0  # after a look that failed
OnLine = Callable[[str], None]


@dataclass(frozen=True)
class WatchSettings:
    """What to watch. dataset: as `dataset_url` gives it; folder: of the state; every_seconds: None is one look.

    at: one look as of then. Other fields as options of `missioncontrol watch`.
    """

    dataset: str
    folder: Path
    product: str
    stale_after_seconds: float
    channel: str | None = None
    os_name: str | None = None
    measures: tuple[str, ...] = ()
    releases: str | None = None
    all_builds: bool = False
    tells_looks_bad: bool = False
    at: datetime | None = None
    every_seconds: float | None = None
    quiet: QuietHours | None = None
    dashboard: str | None = None

    @property
    def about(self) -> About:
        """What all messages have in common."""
        return About(self.dataset, self.product, self.dashboard, self.tells_looks_bad)


def state_folder(dataset: str, named: str | None) -> Path:
    """The folder of a watch's state. Raises MissionControlError where a dataset in a store needs one to be named."""
    if named is not None:
        return Path(named).absolute()
    if is_remote(dataset):
        raise MissionControlError(
            f"expected --watch-state with a dataset in a store, {dataset!r}: a local folder in which the watch keeps "
            "what it has told"
        )
    return Path(dataset, DEFAULT_FOLDER)


def watch(
    settings: WatchSettings,
    targets: Sequence[Target],
    stop: threading.Event,
    on_line: OnLine,
    on_failure: OnLine,
) -> bool:
    """Watches a dataset until stop is set, or once; returns whether all that was to be told is delivered.

    Nothing is delivered before the outcome of the first look is in the state: what waits says what was true before.

    on_line: called with what was found and delivered; on_failure: with failures, which are tried again. Both may be
    called from another thread. Raises MissionControlError where the state cannot be used; where it looks once, also
    where it cannot look.
    """
    with open_store(settings.folder, settings.dataset, settings.product) as store:
        names, is_once = [target.name for target in targets], settings.every_seconds is None
        with store.changed() as state:
            dropped = _keep_only(state, names, settings)
        for name in dropped:
            on_failure(f"{printable(name)} is no longer a target: what waited for it is dropped")
        looks = _Looks(settings, store, names, stop, on_line, on_failure)

        def couriers() -> list[Courier]:
            return [
                Courier(target, store, settings.about, settings.quiet, on_line, on_failure, at_once=is_once)
                for target in targets
            ]

        if settings.every_seconds is None:
            return _once(looks, store, couriers, stop, on_failure)
        looked = looks.until_stopped(settings.every_seconds)
        for _ in looked:  # the first look
            with delivering(couriers()):
                deque(looked, maxlen=0)  # all others
        return True


def preview(
    settings: WatchSettings, targets: Sequence[Target], stop: threading.Event
) -> list[tuple[str, Sequence[str]]]:
    """What would be sent after one look, whenever that is, and to which targets; nothing is written, nothing is sent.

    Without targets: what one would be told that was told all before.
    """
    state = state_of(settings.folder, settings.dataset, settings.product)
    names = [target.name for target in targets]
    _keep_only(state, names, settings)
    now = datetime.now(UTC)
    told = apply_look(state, looking.look(_request(settings, state, now), stop), now, as_of=settings.at)
    if not names:
        return [(as_text(message), []) for message in told]
    add_targets(state, names, now)
    texts: dict[str, list[str]] = {}
    for name in names:
        state.targets[name].not_before = None
        while message := next_message(state, name, now, is_quiet=False, at_once=True):
            texts.setdefault(as_text(message), []).append(name)
            note_delivered(state, name, message, now)
    return list(texts.items())


def send_test(settings: WatchSettings, targets: Sequence[Target], on_line: OnLine, on_failure: OnLine) -> bool:
    """Sends one message to each target that is marked as a test; returns whether all took it."""
    is_whole = True
    for target in targets:
        message = Message(f"test-{time.time_ns():x}", "test", "test", datetime.now(UTC))
        try:
            target.send(message, settings.about)
        except DeliveryError as failure:
            on_failure(f"not delivered to {printable(target.name)}: {failure}")
            is_whole = False
        else:
            on_line(f"delivered to {printable(target.name)}: {title_of(message)}")
    return is_whole


def _keep_only(state: State, names: Sequence[str], settings: WatchSettings) -> list[str]:
    return keep_only(
        state,
        names,
        measures=settings.measures,
        channel=settings.channel,
        os_name=settings.os_name,
        tells_looks_bad=settings.tells_looks_bad,
    )


class _Looks:
    """The looks of a watch, one after the other. names: of its targets."""

    def __init__(
        self,
        settings: WatchSettings,
        store: Store,
        names: Sequence[str],
        stop: threading.Event,
        on_line: OnLine,
        on_failure: OnLine,
    ) -> None:
        self._settings, self._store, self._names, self._stop = settings, store, names, stop
        self._on_line, self._on_failure = on_line, on_failure
        self._said = self._failure = ""

    def until_stopped(self, every_seconds: float) -> Iterator[None]:
        """Looks every so many seconds; yields after each look whose outcome is in the state."""
        while not self._stop.is_set():
            began, is_noted = time.monotonic(), True
            try:
                failure = self.once()
            except UnwrittenError as error:
                failure, is_noted = error, False
            if failure and str(failure) != self._failure:
                self._on_failure(f"{failure}; it will be tried again")
            self._failure = str(failure or "")
            if is_noted and not self._stop.is_set():
                yield
            wait = min(every_seconds, RETRY_SECONDS) if failure else every_seconds
            self._stop.wait(max(wait - (time.monotonic() - began), 0.0))

    def once(self) -> MissionControlError | None:
        """Looks once; returns why that failed, which is noted in the state. Raises UnwrittenError."""
        try:
            found = looking.look(_request(self._settings, self._store.state, datetime.now(UTC)), self._stop)
        except looking.LookStoppedError:
            return None
        except MissionControlError as error:
            if self._settings.at is not None:  # says nothing about now
                raise
            with self._store.changed() as state:
                told = apply_failure(state, datetime.now(UTC), self._settings.stale_after_seconds)
                add_targets(state, self._names, datetime.now(UTC))
            self._say(None, told)
            return error
        with self._store.changed() as state:
            told = apply_look(state, found, datetime.now(UTC), as_of=self._settings.at)
            add_targets(state, self._names, datetime.now(UTC))
        self._say(found, told)
        return None

    def _say(self, found: Look | None, told: Sequence[Message]) -> None:
        quiet = self._settings.quiet
        when = "to tell after the quiet hours" if quiet and quiet.cover(datetime.now(UTC)) else "to tell"
        for message in told:
            self._on_line(f"{when}: {printable(title_of(message))}")
        if found is None:
            return
        up_to = "no ping yet" if found.data_up_to is None else f"data up to {found.data_up_to:%Y-%m-%d %H:%M:%S} UTC"
        number = len(self._store.state.alarms)
        state = "stale, not judged" if found.is_stale else f"{number} {'alarm' if number == 1 else 'alarms'} up"
        if state != self._said or told:
            self._on_line(f"looked, {up_to}: {state}")
        self._said = state


def _request(settings: WatchSettings, state: State, now: datetime) -> looking.Request:
    return looking.Request(
        settings.dataset,
        settings.product,
        now,
        settings.stale_after_seconds,
        settings.at,
        settings.channel,
        settings.os_name,
        settings.measures,
        settings.releases,
        settings.all_builds,
        settings.tells_looks_bad,
        [alarm.record for alarm in state.alarms.values() if alarm.record is not None],
    )


def _once(
    looks: _Looks,
    store: Store,
    couriers: Callable[[], Sequence[Courier]],
    stop: threading.Event,
    on_failure: OnLine,
) -> bool:
    """Looks once and delivers; raises why the look failed after that."""
    failure = looks.once()
    if stop.is_set():
        return False
    running = couriers()
    with delivering(running):
        is_whole = _await_delivery(store, running, stop, on_failure)
    if failure:
        raise failure
    return is_whole


def _await_delivery(store: Store, couriers: Sequence[Courier], stop: threading.Event, on_failure: OnLine) -> bool:
    """Waits until nothing waits for delivery but what is held back; returns whether that was reached.

    Gives up where no attempt is due soon, and says where none was made.
    """
    give_up = datetime.now(UTC) + timedelta(seconds=PATIENCE_SECONDS)
    while not stop.is_set():
        now, state = datetime.now(UTC), store.state
        waiting = [each for each in couriers if is_waiting(state, each.target.name, now, is_quiet=each.is_quiet(now))]
        if not waiting:
            return True
        due = {each: due_at(state.targets[each.target.name], at_once=each.at_once) for each in waiting}
        if now > give_up or not any(each.failures < ATTEMPTS and due[each] < give_up for each in waiting):
            for name, at in ((each.target.name, due[each]) for each in waiting if not each.failures):
                reason = state.targets[name].failure or "no answer yet"
                again = f"not before {formatting.moment(at)}" if at > now else "it will be tried again"
                on_failure(f"not delivered to {printable(name)}: {reason}; {again}")
            return False
        store.wait(0.2)
    return False
