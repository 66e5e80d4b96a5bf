"""The share of the usage of a time span that has arrived by now, by channel and system."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.monitor.hourly_sums import of_product
from missioncontrol_nb.monitor.summaries import Completeness
from missioncontrol_nb.monitor.time_units import HOUR, hour_of
from missioncontrol_nb.statistics import completeness
from streaming import contract

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, np.dtype[Any]]
DELAYS_OF = timedelta(days=14)
NEWEST_HOURS = 3
INCOMPLETE_BELOW = 2 / 3  # Windows with a smaller share of arrived usage are shown as incomplete


class Arrivals:
    """The completeness of the newest hours, estimated from the delays of the last two weeks.

    The delays are reloaded each hour. While there are none, they are reloaded whenever new data arrives, because a new
    dataset's delays may be appended a moment after its sums.
    """

    def __init__(self, dataset: Dataset, product: contract.Product = contract.FIREFOX) -> None:
        self._dataset, self._product = dataset, product
        self._delays: dict[tuple[str, str], pd.DataFrame] = {}
        self._read_at: datetime | None = None

    def shares(
        self, channel: str, os_name: str, starts: "Sequence[datetime] | pd.Series", length: timedelta, now: datetime
    ) -> Array:
        """The share of usage that has arrived, by window; all windows have one length; NaN where delays are unknown."""
        import pandas as pd

        delays = self._delays_as_of(now).get((channel, os_name))
        first = pd.DatetimeIndex(starts)
        if delays is None:
            return np.full(len(first), np.nan)
        return completeness(delays, first, first + length, now) if len(first) else np.zeros(0)

    def are_complete(self, shares: Array, ends: "pd.Series", now: datetime) -> Array:
        """Whether windows are over and most of their usage has arrived; an unknown share counts as arrived."""
        return np.asarray(ends <= now) & ~(shares < INCOMPLETE_BELOW)

    def of_newest_hours(self, channel: str, os_name: str, now: datetime) -> Completeness:
        """The newest three hours, including the current one, and their shares; empty where delays are unknown."""
        starts = [hour_of(now) - number * HOUR for number in reversed(range(NEWEST_HOURS))]
        shares = self.shares(channel, os_name, starts, HOUR, now)
        return () if np.isnan(shares).any() else tuple(zip(starts, map(float, shares), strict=True))

    def _delays_as_of(self, now: datetime) -> "dict[tuple[str, str], pd.DataFrame]":
        read_at = hour_of(now) if self._delays else now
        if self._read_at != read_at:
            delays = self._dataset.load_delays(since=now - DELAYS_OF, application=self._product.applications)
            delays = of_product(delays, self._product)
            # Rows with other bucket edges were written by another version.
            delays = delays[delays["delay_hours"].isin(contract.DELAY_BUCKET_EDGES_HOURS)]
            sums = delays.groupby(["channel", "os_name", "delay_hours"], as_index=False)["usage_hours"].sum()
            self._delays = {
                (str(place[0]), str(place[1])): rows for place, rows in sums.groupby(["channel", "os_name"])
            }
            self._read_at = hour_of(now) if self._delays else now
        return self._delays
