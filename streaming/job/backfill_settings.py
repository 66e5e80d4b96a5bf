"""What a backfill is told, and what it says of the days that it replaced."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from streaming.job.settings import AggregateSettings

Say = Callable[[str], None]


class Stopped(Exception):  # noqa: N818 (it was wanted)
    """Told to stop. changes: what was replaced before."""

    def __init__(self, changes: "Sequence[Change]") -> None:
        super().__init__("stopped")
        self.changes = changes


@dataclass(frozen=True)
class BackfillSettings:
    """How to run. counting: how the source is read; its checkpoint is that of the stream that fills the dataset.

    fewer: replace days that would hold fewer pings. unfinished: replace days to which the stream may yet add pings
    that are in the source too, which then count twice. dry_run: say what would change, change nothing.
    """

    counting: AggregateSettings = field(default_factory=AggregateSettings)
    fewer: bool = False
    unfinished: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Change:
    """What a table held of a day before and holds after, by column of its sums; usage in hours."""

    day: date
    table: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    is_changed: bool
