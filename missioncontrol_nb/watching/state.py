"""What a watch keeps on disk: the alarms that are up, undelivered messages, and what each target was told.

All of it is one file, replaced as a whole. An alarm and the message about it therefore change in one step: a watch that
is killed has either both or none.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from streaming.errors import MissionControlError
from streaming.storage.durability import make_folder, write_file
from streaming.storage.locks import is_locked, take_lock

FILE = "watch.json"
DEFAULT_FOLDER = "_watch"  # in a local dataset
LOCK_SECONDS = 1.0  # who asks whether a watch runs holds the lock for a moment
_LOCK = "lock"
Kind = Literal["alarms", "stale", "fresh", "test"]


class UnwrittenError(MissionControlError):
    """The state cannot be written: nothing has changed."""


class Words(msgspec.Struct, frozen=True):
    """How people call what an event is about: "Firefox", "release", "Windows", "content crashes"."""

    product: str
    channel: str
    platform: str
    measure: str


class Finding(msgspec.Struct, frozen=True):
    """An event, or an alarm that is up.

    key: the same for all events of an alarm; event: as `missioncontrol replay --json` prints it; search: the query of
    its page's URL; change: what is different from what was told before, in words.
    """

    key: str
    event: dict[str, Any]
    words: Words
    search: str = ""
    change: str = ""

    @property
    def kind(self) -> str:
        """ "alarm", "update", "looks bad" or "recovered"."""
        return str(self.event["event"])

    @property
    def looks_bad(self) -> bool:
        """Whether it may be chance: no alarm, nor the end of one."""
        return self.kind == "looks bad"

    @property
    def ratio(self) -> float | None:
        """How many times the expected rate it is."""
        ratio: float | None = self.event["rate_ratio"]
        return ratio


class Alarm(msgspec.Struct):
    """An alarm that is up, with its current figures.

    record: what the judge needs to go on with it, None where it needs nothing; told_ratio: the ratio of rates that was
    told last; cause: an id that alarms of one cause share.
    """

    finding: Finding
    record: dict[str, Any] | None
    told_ratio: float | None
    cause: str


class Missed(msgspec.Struct):
    """What a target was not told one by one. since: from when on; over: alarms that were up and over meanwhile.

    examples: the first of these, in words; why: "quiet" for quiet hours, "away" where it could not be reached.
    """

    since: datetime
    why: Literal["quiet", "away"]
    messages: int = 0
    over: int = 0
    examples: list[str] = []


class Message(msgspec.Struct):
    """What is told at once.

    data_up_to, as_of: of messages about stale data, the newest submission, and what its age is counted from.
    """

    id: str
    kind: Kind
    cause: str
    created_at: datetime
    findings: list[Finding] = []
    data_up_to: datetime | None = None
    as_of: datetime | None = None
    missed: Missed | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it tells nothing."""
        return self.kind == "alarms" and not self.findings and not (self.missed and self.missed.over)


class TargetState(msgspec.Struct):
    """What a target was told is up, by the keys of alarms, and still has to be told: ids of messages, oldest first.

    told: "alarm" or "looks bad"; told_at: when it was last told, or told again, what is up; is_new: it waits for fresh
    data to be told that at all; is_held: quiet hours held back what waits; next_attempt: not before, by the watch's own
    choice; not_before: as the target asked; failing_since, failure: of the attempts since the last delivery, with the
    last reason.
    """

    told: dict[str, str] = {}
    told_stale: bool = False
    told_at: datetime | None = None
    is_new: bool = False
    queue: list[str] = []
    is_held: bool = False
    attempts: int = 0
    next_attempt: datetime | None = None
    not_before: datetime | None = None
    failing_since: datetime | None = None
    failure: str = ""


class State(msgspec.Struct):
    """All that a watch keeps.

    data_up_to: the newest submission at the last look that succeeded; last_look: when that was; failing_since: the
    first of the looks that have failed since.
    """

    dataset: str
    product: str
    alarms: dict[str, Alarm] = {}
    is_stale: bool = False
    data_up_to: datetime | None = None
    last_look: datetime | None = None
    failing_since: datetime | None = None
    messages: dict[str, Message] = {}
    targets: dict[str, TargetState] = {}

    def copy(self) -> "State":
        """The same once more, to change."""
        return msgspec.json.decode(msgspec.json.encode(self), type=State)

    def drop_delivered(self) -> None:
        """Removes messages that no target waits for."""
        waiting = {each for target in self.targets.values() for each in target.queue}
        self.messages = {key: message for key, message in self.messages.items() if key in waiting}


def read_state(folder: Path) -> State | None:
    """The state in a folder; None where there is none. Raises MissionControlError where it is damaged."""
    path = folder / FILE
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise MissionControlError(f"cannot read the watch's state {str(path)!r}: {error.strerror}") from error
    try:
        return msgspec.json.decode(content, type=State)
    except msgspec.MsgspecError as error:
        raise MissionControlError(
            f"the watch's state {str(path)!r} is damaged ({error}): restore it from a copy, or remove it; then all "
            "that is up is told anew"
        ) from error


def is_watched(folder: Path) -> bool:
    """Whether a watch holds the folder now."""
    return is_locked(folder / _LOCK)


def state_of(folder: Path, dataset: str, product: str) -> State:
    """The state in a folder, a new one where there is none.

    Raises MissionControlError where it is damaged, or of another dataset or product.
    """
    state = read_state(folder) or State(dataset, product)
    for what, wanted, got in (("dataset", dataset, state.dataset), ("product", product, state.product)):
        if wanted != got:
            raise MissionControlError(
                f"the state {str(folder)!r} belongs to the {what} {got!r}, not to {wanted!r}: name another folder "
                "with --state"
            )
    return state


class Store:
    """The state of a watch in memory and on disk, for several threads."""

    def __init__(self, folder: Path, state: State, lock: BinaryIO) -> None:
        self._path, self._state, self._lock = folder / FILE, state, lock
        self._changes = threading.Condition()

    @property
    def state(self) -> State:
        """The state as it is on disk; not to be changed."""
        return self._state

    @contextmanager
    def changed(self) -> Iterator[State]:
        """A copy of the state to change; at the end it is written durably, and only then the state.

        Where the context or the writing fails, nothing has changed. Raises UnwrittenError.
        """
        with self._changes:
            copy = self._state.copy()
            yield copy
            copy.drop_delivered()
            content = msgspec.json.encode(copy)
            if content != msgspec.json.encode(self._state) or not self._path.exists():
                try:
                    write_file(self._path, content)
                except OSError as error:
                    raise UnwrittenError(f"the watch's state cannot be written: {error.strerror}") from error
                self._state = copy
                self._changes.notify_all()  # only then: threads that look and change nothing would wake each other

    def wait(self, seconds: float) -> None:
        """Waits for a change by another thread, no longer than that."""
        with self._changes:
            self._changes.wait(seconds)

    def wake(self) -> None:
        """Ends all waits."""
        with self._changes:
            self._changes.notify_all()


@contextmanager
def open_store(folder: Path, dataset: str, product: str) -> Iterator[Store]:
    """The store in a folder, which is made where it is missing; no other watch can open it meanwhile.

    Raises MissionControlError where another one has, where the state is of another dataset or product, and where it
    cannot be written.
    """
    try:
        make_folder(folder)
        lock = (folder / _LOCK).open("ab")
    except OSError as error:
        raise MissionControlError(f"cannot write the watch's state {str(folder)!r}: {error.strerror}") from error
    with lock:
        if not take_lock(lock, LOCK_SECONDS):
            raise MissionControlError(
                f"another watch is running with the state {str(folder)!r}: stop it, or name another folder with --state"
            )
        yield Store(folder, state_of(folder, dataset, product), lock)
