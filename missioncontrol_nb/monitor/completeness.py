"""How much of the usage of some stretch of time has arrived by now, by channel and system."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.monitor.hourly_sums import of_product
from missioncontrol_nb.monitor.hours import HOUR, hour_of
from missioncontrol_nb.monitor.summaries import Completeness
from missioncontrol_nb.statistics import completeness
from streaming import contract

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, np.dtype[Any]]
DELAYS_OF = timedelta(days=14)
NEWEST_HOURS = 3
INCOMPLETE_BELOW = 2 / 3  # a window of whose usage less has arrived is shown as incomplete


class Arrivals:
    """What the delays of the last two weeks say of the newest hours.

    The delays are read anew each hour, and until there are any whenever data have come: those of a new dataset may be
    appended a moment after its sums.
    """

    def __init__(self, dataset: Dataset, product: contract.Product = contract.FIREFOX) -> None:
        self._dataset, self._product = dataset, product
        self._delays: dict[tuple[str, str], pd.DataFrame] = {}
        self._read_at: datetime | None = None

    def shares(
        self, channel: str, os_name: str, starts: "Sequence[datetime] | pd.Series", length: timedelta, now: datetime
    ) -> Array:
        """The share of the usage of windows of one length that has arrived; NaN where nothing is known of delays."""
        import pandas as pd

        delays = self._delays_as_of(now).get((channel, os_name))
        first = pd.DatetimeIndex(starts)
        if delays is None:
            return np.full(len(first), np.nan)
        return completeness(delays, first, first + length, now) if len(first) else np.zeros(0)

    def are_complete(self, shares: Array, ends: "pd.Series", now: datetime) -> Array:
        """Whether windows are over and most of their usage has arrived, or nothing is known of that."""
        return np.asarray(ends <= now) & ~(shares < INCOMPLETE_BELOW)

    def of_newest_hours(self, channel: str, os_name: str, now: datetime) -> Completeness:
        """The newest three hours, the one at hand among them; empty where nothing is known of delays."""
        starts = [hour_of(now) - number * HOUR for number in reversed(range(NEWEST_HOURS))]
        shares = self.shares(channel, os_name, starts, HOUR, now)
        return () if np.isnan(shares).any() else tuple(zip(starts, map(float, shares), strict=True))

    def _delays_as_of(self, now: datetime) -> "dict[tuple[str, str], pd.DataFrame]":
        read_at = hour_of(now) if self._delays else now
        if self._read_at != read_at:
            delays = self._dataset.load_delays(since=now - DELAYS_OF, application=self._product.applications)
            delays = of_product(delays, self._product)
            delays = delays[delays["delay_hours"].isin(contract.DELAY_BUCKET_EDGES_HOURS)]  # others: of another version
            sums = delays.groupby(["channel", "os_name", "delay_hours"], as_index=False)["usage_hours"].sum()
            self._delays = {
                (str(place[0]), str(place[1])): rows for place, rows in sums.groupby(["channel", "os_name"])
            }
            self._read_at = hour_of(now) if self._delays else now
        return self._delays
