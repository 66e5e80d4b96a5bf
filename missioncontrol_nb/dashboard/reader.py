"""Reads the data of a page from a dataset: turns a query into a summary."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Protocol

from missioncontrol_nb.dashboard.judged import Judged
from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.dashboard.verdict_source import VerdictSource
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.monitor import ChannelTable, Detail, DetailRequest, Monitor, NoRelease, Overview
from missioncontrol_nb.releases.calendar import Calendar
from streaming import contract
from streaming.errors import MissionControlError

LENGTHS = {
    "24h": timedelta(hours=24),
    "48h": timedelta(hours=48),
    "7d": timedelta(days=7),
    "14d": timedelta(days=14),
}
DAY = timedelta(days=1)


Summary = Overview | ChannelTable | Detail | NoRelease


class Reader(Protocol):
    """The source of a page's data."""

    def refresh(self) -> bool:
        """Looks for new data; returns whether there are any."""

    def read(self, query: Query) -> Summary:
        """The summary that the query's view shows, or NoRelease."""

    def products(self) -> contract.Products:
        """The products that a query can name."""

    def judged(self, query: Query) -> Judged:
        """The newest verdicts that are there, at once; without verdicts where there are none."""

    def judge(self, query: Query) -> None:
        """Computes the verdicts on the newest data; blocks for seconds."""


class OpeningReader:
    """A reader that is opened on first use.

    If opening fails, each later use retries, because the dataset may be unavailable only for now.
    """

    def __init__(self, open_reader: "Callable[[], DatasetReader]") -> None:
        self._open_reader = open_reader
        self._reader: DatasetReader | None = None

    def open(self) -> "DatasetReader":
        """The opened reader; raises MissionControlError where there is no dataset, or no calendar."""
        if self._reader is None:
            self._reader = self._open_reader()
        return self._reader

    def refresh(self) -> bool:
        """Looks for new data; returns whether there are any."""
        return self.open().refresh()

    def read(self, query: Query) -> Summary:
        """The summary that the query's view shows."""
        return self.open().read(query)

    def products(self) -> contract.Products:
        """The products that the dataset knows."""
        return self.open().products()

    def judged(self, query: Query) -> Judged:
        """The newest verdicts that are there, at once."""
        return self.open().judged(query)

    def judge(self, query: Query) -> None:
        """Computes the verdicts on the newest data, unless they are there; blocks for seconds."""
        self.open().judge(query)


class DatasetReader:
    """Reads summaries from a dataset, of official builds or of all builds."""

    def __init__(self, dataset: Dataset, calendar: Calendar, storage_options: Mapping[str, str] | None = None) -> None:
        """storage_options: those that the dataset was opened with."""
        self._verdicts = VerdictSource(dataset, calendar, storage_options)
        self._dataset, self._calendar = dataset, calendar
        self._monitors: dict[tuple[contract.Product, bool], Monitor] = {}

    def refresh(self) -> bool:
        """Looks for new data and data incidents; returns whether there are any.

        Raises MissionControlError where the dataset is unreachable.
        """
        try:
            is_new = self._dataset.refresh()
            return self._verdicts.has_new_incidents() or is_new
        except MissionControlError:
            self._monitors.clear()  # a dataset that replaces it may be a different one
            raise

    def read(self, query: Query) -> Summary:
        """The summary that the query's view shows."""
        monitor = self._monitor(query.product, query.official)
        if query.view == "table":
            return monitor.table(query.channel, query.os_name, query.period)
        if query.view == "detail":
            return monitor.detail(query.channel, query.os_name, query.measure, detail_request(query))
        return monitor.overview()

    def products(self) -> contract.Products:
        """The products that the dataset knows."""
        return self._dataset.products

    def judged(self, query: Query) -> Judged:
        """The newest verdicts that are there, at once; without verdicts where there are none."""
        return self._verdicts.newest(query.product, query.official)

    def judge(self, query: Query) -> None:
        """Computes the verdicts on the newest data, unless they are there; blocks for seconds.

        Raises MissionControlError where the dataset cannot be judged.
        """
        self._verdicts.judge(query.product, query.official)

    def _monitor(self, product: contract.Product, official: bool) -> Monitor:
        key = product, official
        if key not in self._monitors:
            for other in [other for other in self._monitors if other[0].name == product.name != other[0]]:
                del self._monitors[other]  # the product as it was declared before
            self._monitors[key] = Monitor(self._dataset, self._calendar, official, product.name)
        return self._monitors[key]


def detail_request(query: Query) -> DetailRequest:
    """The request for a measure's detail that a query makes; the last day of a custom interval is included."""
    since = until = None
    if query.interval == "custom" and query.since and query.until:
        since = datetime.combine(query.since, time(), UTC)
        until = datetime.combine(query.until, time(), UTC) + DAY
    length = LENGTHS.get(query.interval, LENGTHS["7d"])
    skip_hours = 24.0 if query.skip else 0.0
    return DetailRequest(length, since, until, query.window, query.time, query.line, query.cut, skip_hours)
