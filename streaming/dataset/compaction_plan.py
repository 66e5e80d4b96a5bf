"""The compaction plan of a table: which spans are to be summed again, and which files they involve."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import time as day_time
from typing import NamedTuple

from streaming import contract

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CLOSED_AFTER = timedelta(minutes=2)  # few rows are added to a span that ended this long ago
SMALL_ROWS = 500_000  # a file with fewer rows is small
MAX_SUMMED_ROWS = 2_000_000  # in the files that are summed at once
FEW_FILES = 4  # small files that a closed window, hour or day may have
FEW_OPEN_FILES = 16  # small files that a current window may have


class Span(NamedTuple):
    """The windows, or hours, of one day that start in [start, end). files, rows: of all files that overlap the span."""

    start: datetime
    end: datetime
    files: int
    rows: int


class DataFile(NamedTuple):
    """A file of a table. first, last: the earliest and the latest start of its windows."""

    day: date
    first: datetime
    last: datetime
    rows: int
    bytes: int


def due_spans(files: Sequence[DataFile], now: datetime, step: timedelta) -> list[Span]:
    """The spans of a table that consist of too many small files, oldest first. step: the table's."""
    by_day: dict[date, list[DataFile]] = {}
    for file in files:
        by_day.setdefault(file.day, []).append(file)
    return [span for day in sorted(by_day) for span in _due_in_day(day, by_day[day], now, step)]


def _due_in_day(day: date, files: Sequence[DataFile], now: datetime, step: timedelta) -> Iterator[Span]:
    start = datetime.combine(day, day_time(), UTC)
    whole = span_of(files, start, start + DAY)
    if _is_closed(whole.end, now) and whole.rows <= MAX_SUMMED_ROWS:
        if _is_fragmented(files, FEW_FILES):
            yield whole
        return
    for hour in range(24):
        begin = start + hour * HOUR
        within = [file for file in files if begin <= file.last and file.first < begin + HOUR]
        if _is_closed(begin + HOUR, now):
            if _is_fragmented(within, FEW_FILES):
                yield from _portions(within, begin, begin + HOUR)
        else:
            for start_of_window in sorted({file.first for file in within}):
                window = span_of(within, start_of_window, start_of_window + step)
                few = FEW_FILES if _is_closed(window.end, now) else FEW_OPEN_FILES
                if _is_fragmented([file for file in within if file.first == start_of_window], few):
                    yield window


def _is_closed(end: datetime, now: datetime) -> bool:
    return end + CLOSED_AFTER <= now


def _is_fragmented(files: Sequence[DataFile], few: int) -> bool:
    return sum(file.rows < SMALL_ROWS for file in files) > few


def _portions(files: Sequence[DataFile], start: datetime, end: datetime) -> Iterator[Span]:
    """A span as a whole or, where it has too many rows to be summed at once, as several spans."""
    whole = span_of(files, start, end)
    windows, portions = (end - start) // contract.WINDOW, max(-(-whole.rows // MAX_SUMMED_ROWS), 1)
    step = max(windows // portions, 1) * contract.WINDOW
    while start < end:
        portion = span_of(files, start, min(start + step, end))
        within = [file for file in files if start <= file.last and file.first < portion.end]
        if sum(file.rows < SMALL_ROWS for file in within) > 1:  # summing large files again makes no fewer of them
            yield portion
        start = portion.end


def span_of(files: Sequence[DataFile], start: datetime, end: datetime) -> Span:
    """The span from start to end, with the number of the files that overlap it and the number of their rows."""
    within = [file for file in files if start <= file.last and file.first < end]
    return Span(start, end, len(within), sum(file.rows for file in within))
