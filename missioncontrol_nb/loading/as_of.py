"""A dataset as it was at an earlier moment: what arrived later is not read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from missioncontrol_nb import arguments
from missioncontrol_nb.arguments import Time
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.loading.query import Selection
from streaming import contract

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from missioncontrol_nb.releases.calendar import Calendar


class DatasetAsOf(Dataset):
    """A dataset of which only windows that had ended by a moment are read, and delays of hours that had.

    Windows are by the time of submission, so what is read stays the same while newer pings are counted.
    """

    def __init__(self, url: str | Path, at: datetime, storage_options: Mapping[str, str] | None = None) -> None:
        """at: a multiple of five minutes, UTC. Raises MissionControlError as `Dataset` does."""
        super().__init__(url, storage_options)
        self.at: datetime = arguments.instance("at", at, datetime, "a datetime")
        self._at_hour = at.replace(minute=0, second=0, microsecond=0)

    def data_up_to(self) -> datetime | None:
        """The newest submission that is read; None where no commit of the dataset says how far it goes."""
        up_to = super().data_up_to()
        return None if up_to is None else min(up_to, self.at)

    def files_by_day(self) -> dict[date, str]:
        """The days with pings until the moment, as for `Dataset`."""
        return {day: files for day, files in super().files_by_day().items() if day <= self.at.date()}

    def applications(self) -> set[str]:
        """The applications that had a ping by then."""
        return set(self.load(measures=(), by="application", every=None)["application"])

    def load_delays(self, since: Time = None, until: Time = None, **filters: Any) -> "pd.DataFrame":
        """The delays of hours that were over, as for `Dataset`."""
        return super().load_delays(*self._span(since, until, self._at_hour), **filters)

    def load_rejected(self, since: Time = None, until: Time = None) -> "pd.DataFrame":
        """The rejected pings, as for `Dataset`."""
        return super().load_rejected(*self._span(since, until, self.at))

    def load_passed_over(self, since: Time = None, until: Time = None) -> "pd.DataFrame":
        """The pings that were passed over, as for `Dataset`."""
        return super().load_passed_over(*self._span(since, until, self.at))

    def versions(self, since: Time = None, until: Time = None, **filters: Any) -> "pd.DataFrame":
        """The builds in use, as for `Dataset`."""
        return super().versions(*self._span(since, until, self.at), **filters)

    def load_cells(
        self, selections: Sequence[Selection], measures: Sequence[str]
    ) -> "tuple[tuple[str, ...], list[pa.Table]]":
        """The sums by cell, as for `Dataset`."""
        return super().load_cells([self._bounded(each) for each in selections], measures)

    def _load(
        self,
        selection: Selection,
        official: "Calendar | None",
        sums: "Callable[[contract.Table, Selection, Sequence[str]], pa.Table]",
        also: Sequence[str] = (),
    ) -> "pd.DataFrame":
        return super()._load(self._bounded(selection), official, sums, also)

    def _bounded(self, selection: Selection) -> Selection:
        since, until = self._span(selection.since, selection.until, self.at)
        return replace(selection, since=since, until=until)

    def _span(self, since: Time, until: Time, bound: datetime) -> tuple[datetime | None, datetime]:
        """The part of an interval that lies before a moment."""
        start, end = arguments.as_utc("since", since), arguments.as_utc("until", until)
        return None if start is None else min(start, bound), bound if end is None else min(end, bound)
