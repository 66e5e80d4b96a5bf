"""The explanations of a release's hours of use: the counts of other measures choose among them."""

import numpy as np
import numpy.typing as npt
import pytest

from missioncontrol_nb.judgement import evidence as filtering
from missioncontrol_nb.judgement.evidence import EFFECTS, Evidence
from missioncontrol_nb.judgement.ways import (
    JUMP,
    LAW_WEIGHTS,
    NEWEST,
    USUAL,
    WAYS,
    WHILE_YOUNG,
    Steps,
    log_prior,
    shares_of_ways,
    tiled,
    together,
    with_jump,
)

Array = npt.NDArray[np.float64]
EXPECTED = 100.0


def log_evidence_of(counts: list[float], witnesses: Array) -> Array:
    """The evidence of each measure after a quiet day and two hours with some counts, most of it still unreported."""
    measures = len(counts)
    events = np.full((14, measures), EXPECTED)
    events[-2:] = counts
    typical = np.full((WAYS, 14, measures), EXPECTED)
    typical[:, -2:] = with_jump(np.full((WAYS - 1, 2), EXPECTED), np.array([0.8, 0.95]))[:, :, None]
    steps = Steps(np.arange(15.0) * 2 + 100, events, typical, np.full(events.shape, 0.04), np.zeros(events.shape))
    chain = tiled(Evidence.before(filtering.healthy_effects(np.full((measures, 1), 0.08), np.ones(1))), len(NEWEST))
    likely = np.concatenate([steps.likely(way, 0, 14) for way in NEWEST], axis=1)
    for place in range(14):
        chain = steps.after(chain, likely[place], place, len(NEWEST))
    return together(chain, measures, witnesses).log_ratio


def test_rise_of_all_crashes_at_once_is_use_that_jumped() -> None:
    witnesses = np.ones((3, 3)) - np.eye(3)
    alone = log_evidence_of([150.0, 100.0, 100.0], witnesses)
    assert alone[0] > np.log(100)
    assert (alone[1:] < 0).all()
    assert (log_evidence_of([150.0, 150.0, 150.0], witnesses) < np.log(10)).all()


def test_rise_beyond_what_a_jump_explains_is_one_in_every_measure() -> None:
    witnesses = np.ones((3, 3)) - np.eye(3)
    assert (log_evidence_of([400.0, 400.0, 400.0], witnesses) > np.log(100)).all()


def test_measure_without_witnesses_is_judged_with_what_is_likely_beforehand() -> None:
    without = log_evidence_of([150.0, 100.0, 100.0], np.zeros((3, 3)))
    assert without[0] < log_evidence_of([150.0, 100.0, 100.0], np.ones((3, 3)) - np.eye(3))[0]


def test_jump_is_of_hours_that_were_not_reported() -> None:
    hours = with_jump(np.arange(1.0, 6.0)[:, None] * np.ones(2), np.array([0.0, 1.0]))
    assert hours.shape == (WAYS, 2)
    assert hours[-1] == pytest.approx(hours[USUAL] * [1.0, 1 + JUMP])


def test_ways_are_likely_as_a_whole() -> None:
    for ways in (NEWEST, tuple(range(WAYS))):
        assert np.exp(log_prior(ways)).sum() == pytest.approx(1)
    assert len(EFFECTS) == 2 * filtering.REACH + 1


def shares_after(counts: list[float], tells: list[float]) -> Array:
    """How likely each way is after three hours of counts; a way's hours are 20 % more than those of the one before."""
    measures = len(counts)
    typical = EXPECTED * 1.2 ** (np.arange(WAYS) - USUAL)[:, None, None] * np.ones((1, 3, measures))
    typical[-1] = typical[USUAL]
    events = np.tile(counts, (3, 1))
    steps = Steps(np.arange(4.0), events, typical, np.full(events.shape, 0.04), np.zeros(events.shape))
    chain = tiled(Evidence.before(filtering.healthy_effects(np.full((measures, 1), 0.08), np.ones(1))), WAYS)
    likely = np.concatenate([steps.likely(way, 0, 3) for way in WHILE_YOUNG], axis=1)
    for place in range(3):
        chain = steps.after(chain, likely[place], place, WAYS)
    return shares_of_ways(chain, measures, np.array(tells))


def test_counts_of_all_crashes_tell_how_long_delays_are() -> None:
    few, many = (shares_after([count] * 3, [1.0] * 3) for count in (70.0, 144.0))
    assert few[0] + few[1] > 0.9
    assert many[3] + many[4] > 0.9
    assert few.sum() == pytest.approx(1)


def test_one_measure_that_rises_alone_changes_little_of_the_delays() -> None:
    alone = shares_after([200.0, 100.0, 100.0], [1.0] * 3)
    assert alone[USUAL] + alone[-1] > 0.5
    assert alone.argmax() in (USUAL, WAYS - 1)


def test_without_counts_that_tell_ways_are_as_likely_as_beforehand() -> None:
    shares = shares_after([144.0, 144.0], [0.0, 0.0])
    assert shares == pytest.approx(np.exp(log_prior(WHILE_YOUNG)))
    assert shares[:-1] / shares[:-1].sum() == pytest.approx(LAW_WEIGHTS)
