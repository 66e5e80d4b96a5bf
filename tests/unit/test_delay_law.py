"""The law of reporting delays, beside the delays that the simulator draws from and a curve of scipy's."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from missioncontrol_nb.delay_law import DelayLaw
from missioncontrol_nb.simulator.fleet import DELAY_KERNELS
from missioncontrol_nb.statistics import completeness
from streaming.contract import DELAY_BUCKET_EDGES_HOURS
from tests.unit.small_dataset import moment

AN_HOUR = 12  # windows
BUCKETS = len(DELAY_BUCKET_EDGES_HOURS)
# The share of the use of an hour, at a steady rate, that is reported so many hours after its beginning.
AGES = np.arange(0.5, 96.5, 0.5)
TRUE = DelayLaw(np.arange(DELAY_KERNELS.shape[1] + 1) / AN_HOUR, np.append(0.0, np.cumsum(DELAY_KERNELS.sum(axis=0))))
IN_TRUTH = TRUE.mean_reported(AGES, AGES - 1)


def test_hours_are_said_to_be_as_complete_as_they_are_in_the_simulator() -> None:
    delays = pd.DataFrame({"delay_hours": DELAY_BUCKET_EDGES_HOURS, "usage_hours": DELAY_KERNELS.sum(axis=1)})
    now = moment("09T12:00")
    starts = pd.Timestamp(now) - pd.to_timedelta(AGES, unit="h")
    off = np.abs(completeness(delays, starts, starts + pd.Timedelta(hours=1), now) - IN_TRUTH)
    straight = np.abs(DelayLaw.of_buckets(DELAY_KERNELS.sum(axis=1)).mean_reported(AGES, AGES - 1) - IN_TRUTH)
    assert off.max() < 0.009
    assert straight.max() > 0.024
    assert off[AGES <= 12].mean() < 0.3 * straight[AGES <= 12].mean()


@example([2.2250738585e-313, 1.0, *[0.0] * (BUCKETS - 2)])
@given(st.lists(st.just(0.0) | st.floats(1e-6, 1e6), min_size=BUCKETS, max_size=BUCKETS))
def test_smooth_curve_is_that_of_scipy_goes_through_the_edges_and_only_grows(hours: list[float]) -> None:
    law = DelayLaw.of_buckets(np.array(hours))
    smooth = law.smoothed()
    if not law.is_known:
        assert smooth is law
        return
    curve = PchipInterpolator(law.edges_hours, law.shares)(smooth.edges_hours)
    assert smooth.shares == pytest.approx(curve, abs=1e-9)
    assert smooth.reported(law.edges_hours) == pytest.approx(law.shares, abs=1e-12)
    assert (np.diff(smooth.shares) >= -1e-12).all()
