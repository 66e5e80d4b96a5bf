"""The settings of a backfill, and its report on the days that it replaced."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from streaming.job.settings import AggregateSettings

Notify = Callable[[str], None]


class BackfillStopped(Exception):  # noqa: N818 (it was wanted)
    """The backfill was asked to stop. changes: the replacements that it had made before."""

    def __init__(self, changes: "Sequence[DayChange]") -> None:
        super().__init__("stopped")
        self.changes = changes


@dataclass(frozen=True)
class BackfillSettings:
    """How to run a backfill. counting: how the source is read.

    The checkpoint in counting is that of the stream that fills the dataset. fewer: also replace days that would then
    hold fewer pings. unfinished: also replace days to which the stream may still add pings that are in the source too,
    and that then count twice. dry_run: report what would change, change nothing.
    """

    counting: AggregateSettings = field(default_factory=AggregateSettings)
    fewer: bool = False
    unfinished: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class DayChange:
    """The sums that a table holds for a day before and after a replacement, by column; usage in hours."""

    day: date
    table: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    is_changed: bool
