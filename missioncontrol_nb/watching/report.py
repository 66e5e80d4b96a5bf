"""What a watch's state says to `missioncontrol status`: what is up, what waits for delivery and since when."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from missioncontrol_nb.watching.outbox import waiting_of
from missioncontrol_nb.watching.state import is_watched, read_state
from missioncontrol_nb.watching.wording import line_of
from streaming.errors import MissionControlError, printable


@dataclass(frozen=True)
class Waiting:
    """Messages that wait for a target. since: the oldest; failure: of the last attempt, empty without one.

    is_held: whether quiet hours hold them back.
    """

    target: str
    messages: int
    since: datetime
    failure: str
    is_held: bool


@dataclass(frozen=True)
class WatchReport:
    """The state of a watch. alarms: a sentence for each that is up, those that only look bad among them.

    damage: why the state cannot be read; None where it can.
    """

    is_running: bool
    last_look: datetime | None = None
    is_stale: bool = False
    alarms: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    damage: str | None = None


def report_of(folder: Path) -> WatchReport | None:
    """The state of the watch in a folder; None where none has run."""
    try:
        state = read_state(folder)
    except MissionControlError as error:
        return WatchReport(is_watched(folder), damage=str(error))
    if state is None:
        return None
    waiting = tuple(
        Waiting(name, messages, since, state.targets[name].failure, state.targets[name].is_held)
        for name, (messages, since) in waiting_of(state).items()
    )
    return WatchReport(
        is_watched(folder),
        state.last_look,
        state.is_stale,
        tuple(printable(line_of(alarm.finding)) for alarm in state.alarms.values()),
        tuple(state.targets),
        waiting,
    )
