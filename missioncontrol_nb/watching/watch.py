"""The watch: looks at a dataset once or every so often, and has what changed delivered."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from missioncontrol_nb.watching import looking
from missioncontrol_nb.watching.changes import Look, apply_look, apply_staleness, keep_only
from missioncontrol_nb.watching.delivery import Courier, delivering
from missioncontrol_nb.watching.outbox import add_target
from missioncontrol_nb.watching.quiet import QuietHours
from missioncontrol_nb.watching.state import DEFAULT_FOLDER, Message, State, Store, open_store, read_state
from missioncontrol_nb.watching.targets import About, DeliveryError, Target
from missioncontrol_nb.watching.wording import title_of
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
            f"expected --state with a dataset in a store, {dataset!r}: a local folder in which the watch keeps what it "
            "has told"
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

    on_line: called with what was found and delivered; on_failure: with failures, which are tried again. Both may be
    called from another thread. Raises MissionControlError where the state cannot be used; where it looks once, also
    where it cannot look.
    """
    with open_store(settings.folder, settings.dataset, settings.product) as store:
        _adopt(store, settings, targets, on_failure)
        is_once = settings.every_seconds is None
        couriers = [
            Courier(target, store, settings.about, settings.quiet, on_line, on_failure, at_once=is_once)
            for target in targets
        ]
        with delivering(couriers):
            looks = _Looks(settings, store, stop, on_line, on_failure)
            if settings.every_seconds is None:
                looks.once()
                return _await_delivery(store, settings, couriers, stop)
            looks.until_stopped(settings.every_seconds)
        return True


def preview(settings: WatchSettings, stop: threading.Event) -> list[Message]:
    """What one look would tell a target that was told all before; nothing is written and nothing is sent."""
    state = read_state(settings.folder) or State(settings.dataset, settings.product)
    _keep_only(state, (), settings)
    now = datetime.now(UTC)
    return apply_look(state, looking.look(_request(settings, state, now), stop), now, as_of=settings.at)


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


def _adopt(store: Store, settings: WatchSettings, targets: Sequence[Target], on_failure: OnLine) -> None:
    """Fits the state to the targets and filters that were named."""
    with store.changed() as state:
        names = [target.name for target in targets]
        dropped = _keep_only(state, names, settings)
        for name in names:
            add_target(state, name, datetime.now(UTC))
    for name in dropped:
        on_failure(f"{printable(name)} is no longer a target: what waited for it is dropped")


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
    """The looks of a watch, one after the other."""

    def __init__(
        self, settings: WatchSettings, store: Store, stop: threading.Event, on_line: OnLine, on_failure: OnLine
    ) -> None:
        self._settings, self._store, self._stop = settings, store, stop
        self._on_line, self._on_failure = on_line, on_failure
        self._said = self._failure = ""

    def until_stopped(self, every_seconds: float) -> None:
        """Looks every so many seconds."""
        while not self._stop.is_set():
            began, wait = time.monotonic(), every_seconds
            try:
                self.once()
                self._failure = ""
            except MissionControlError as error:
                self._fail(str(error))
                wait = min(every_seconds, RETRY_SECONDS)
            except OSError as error:
                self._fail(f"the watch's state cannot be written: {error.strerror}")
            self._stop.wait(max(wait - (time.monotonic() - began), 0.0))

    def once(self) -> None:
        """Looks once. Raises MissionControlError where that fails, and OSError where the state cannot be written."""
        now = datetime.now(UTC)
        try:
            found = looking.look(_request(self._settings, self._store.state, now), self._stop)
        except looking.LookStoppedError:
            return
        with self._store.changed() as state:
            told = apply_look(state, found, datetime.now(UTC), as_of=self._settings.at, is_quiet=self._is_quiet(now))
        self._say(found, told)

    def _fail(self, reason: str) -> None:
        """Says why a look failed, once; where looks fail for long, data are stale."""
        if reason != self._failure:
            self._on_failure(f"{reason}; it will be tried again")
        self._failure = reason
        now, known = datetime.now(UTC), self._store.state.data_up_to
        is_stale = known is not None and now - known > timedelta(seconds=self._settings.stale_after_seconds)
        if is_stale and not self._store.state.is_stale:
            try:
                with self._store.changed() as state:
                    apply_staleness(state, is_stale=True, now=now, is_quiet=self._is_quiet(now))
            except OSError:  # said above; the next look tries again
                return

    def _is_quiet(self, now: datetime) -> bool:
        return self._settings.quiet is not None and self._settings.quiet.cover(now)

    def _say(self, found: Look, told: Sequence[Message]) -> None:
        up_to = "no ping yet" if found.data_up_to is None else f"data up to {found.data_up_to:%Y-%m-%d %H:%M:%S} UTC"
        number = len(self._store.state.alarms)
        state = "stale, not judged" if found.is_stale else f"{number} {'alarm' if number == 1 else 'alarms'} up"
        for message in told:
            self._on_line(f"to tell: {printable(title_of(message))}")
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


def _await_delivery(store: Store, settings: WatchSettings, couriers: Sequence[Courier], stop: threading.Event) -> bool:
    """Waits until nothing waits for delivery but what quiet hours hold back; returns whether that was reached."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not stop.is_set():
        is_quiet = settings.quiet is not None and settings.quiet.cover(datetime.now(UTC))
        waiting = [
            courier
            for courier in couriers
            if store.state.targets[courier.target.name].queue and not (is_quiet and courier.target.is_ever_quiet)
        ]
        if not waiting:
            return True
        if time.monotonic() > give_up or all(courier.failures >= ATTEMPTS for courier in waiting):
            return False
        store.wait(0.2)
    return False
