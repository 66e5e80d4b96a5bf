"""The hours of a release as they are estimated while its reports come in, by way."""

import numpy as np
import numpy.typing as npt
import pytest

from missioncontrol_nb.delay_law import DelayLaw
from missioncontrol_nb.judgement.activity import Activity
from missioncontrol_nb.judgement.observations import Sums
from missioncontrol_nb.judgement.release_use import SETTLED_AFTER, ReleaseUse, Usage
from missioncontrol_nb.judgement.used_hours import clock_edges
from missioncontrol_nb.judgement.ways import JUMPED, LONGER, SHORTER, USUAL, WAYS

Array = npt.NDArray[np.float64]
OUT = 480_000.0
LAW = DelayLaw(np.array([0.0, 20.0]), np.array([0.0, 1.0]))
SCATTER = 0.2


def share(hours: Array) -> Array:
    """The use in an hour, after so many hours: more and more people have the release."""
    return 100.0 * (1 - np.exp(-hours / 12))


def true_hours(since: float, until: float) -> float:
    moments = np.arange(since, until, 0.01) + 0.005
    return float(share(moments).sum() * 0.01)


def use_of(until: float) -> ReleaseUse:
    """A release and what was reported of it, by LAW, in so many hours."""
    ages = np.arange(round(12 * until) + 1) / 12
    area = LAW.integral(ages)
    arrives = np.diff(area, n=2, prepend=0.0, append=area[-1] + 1 / 12)[: len(ages) - 1]
    reported = np.convolve(share(ages[:-1] + 1 / 24), arrives)[: len(ages) - 1]
    return ReleaseUse(Sums(OUT + ages[1:], {"usage_hours": np.concatenate([[0.0], np.cumsum(reported)])}), OUT, OUT)


def usage() -> Usage:
    day = np.ones(24)
    return Usage(Activity(round(OUT) - 24, np.full(24, 1000.0), day, day, np.zeros(24, bool)), LAW)


def estimate(use: ReleaseUse, hours: float) -> tuple[Array, Array]:
    return use.estimate(OUT + hours, clock_edges(OUT, OUT + hours, 1.0), usage(), SCATTER, np.inf)


def test_each_way_has_its_hours_and_those_of_usual_delays_are_the_true_ones() -> None:
    hours, scatter = estimate(use_of(12), 12)
    assert hours.shape == (WAYS, 12)
    assert hours[USUAL].sum() == pytest.approx(true_hours(0, 12), rel=0.07)
    assert (np.diff(hours[:JUMPED].sum(axis=1)) > 0.1 * hours[USUAL].sum()).all()  # more is still to come
    assert hours[JUMPED, -1] > 1.4 * hours[USUAL, -1]
    assert hours[JUMPED, 0] == pytest.approx(hours[USUAL, 0], rel=0.2)
    assert scatter[-1] > scatter[4] > 0


def test_settled_hours_stay_for_the_evidence_and_are_known_better_later() -> None:
    use = use_of(60)
    early, _ = estimate(use, 30)
    assert use.settled == 30 - SETTLED_AFTER
    later, _ = estimate(use, 36)
    assert use.settled == 36 - SETTLED_AFTER
    assert (use.with_settled[:, :6] == early[:, :6]).all()
    assert not (use.with_settled[:, 6:12] == early[:, 6:12]).any()
    last, _ = estimate(use, 60)
    assert (use.with_settled[:, :12] == np.concatenate([early[:, :6], later[:, 6:12]], axis=1)).all()
    spread = [each[LONGER, :30].sum() - each[SHORTER, :30].sum() for each in (early, last)]
    assert 0 < spread[1] < 0.8 * spread[0]
    assert last[USUAL, :30].sum() == pytest.approx(true_hours(0, 30), rel=0.03)


def test_use_that_is_looked_at_when_it_is_old_has_no_delays_of_its_own() -> None:
    use = use_of(200)
    use.begins = OUT + 100
    edges = clock_edges(OUT + 100, OUT + 200, 2.0)
    hours, scatter = use.estimate(OUT + 200, edges, usage(), SCATTER, np.inf)
    assert use.young(edges) == 0
    assert (hours[:JUMPED] == hours[USUAL]).all()
    assert hours[USUAL].sum() == pytest.approx(true_hours(100, 200), rel=0.02)
    assert scatter[-1] > 2 * scatter[20]  # by the delays, which may be others
