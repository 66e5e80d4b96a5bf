"""Who uses a release: the factors of cells, a release's index, and a roll-out that begins in worse cells."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks.judgement_adopters import Mixed, MixedExpected, MixedFleet, Users, with_users
from missioncontrol_nb.judgement.adopters import Adopters, Standard, factors_of
from missioncontrol_nb.judgement.alarms import Judge
from missioncontrol_nb.judgement.cells import with_adopters
from missioncontrol_nb.judgement.observations import Name, Observations, hours_of, read_observations
from missioncontrol_nb.loading import cells
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.simulator import Bad
from missioncontrol_nb.simulator.builds import Build
from streaming import contract
from tests.judged_fleets import draw, midnight
from tests.unit.small_dataset import CALENDAR, build_of, moment, write

DAY0 = 24.0 * 17_400  # a midnight, hours since 1970
TWO_CELLS = np.array([[0], [1]])
LATER, AT_ONCE = np.array([True]), np.array([False])
RELEASED = datetime(2017, 9, 28, 13, tzinfo=UTC)  # of 56.0


def adopters(*rows: tuple[int, int, float, float, float]) -> Adopters:
    """Of two releases and two cells. rows: release, cell, end in hours from DAY0, hours of use, events; of an hour."""
    release, cell, end, hours, events = (np.array(column) for column in zip(*sorted(rows), strict=True))
    order = np.lexsort((end, release))
    release, cell, end, hours, events = (each[order] for each in (release, cell, end, hours, events))
    ends = DAY0 + end
    return Adopters(
        [("55.0", ""), ("56.0", "")],
        TWO_CELLS,
        release,
        cell,
        ends - 1,
        ends,
        hours,
        events[:, None].astype(np.float32),
    )


def standard(known: Adopters, *factors: float, comes_later: bool = False) -> Standard:
    """Known factors of the two cells."""
    return Standard(known, np.array(factors)[:, None], LATER if comes_later else AT_ONCE)


def test_index_is_the_mean_factor_of_the_hours_with_some_assumed_ones() -> None:
    known = adopters((0, 0, 1, 100, 0), (0, 1, 1, 300, 0), (0, 0, 2, 600, 0))
    index = standard(known, 0.5, 2.0).index(("55.0", ""), DAY0 + np.array([0.0, 1.0, 2.0]), DAY0 + 2)
    whole = (700 * 0.5 + 300 * 2.0 + 60) / (1000 + 60)
    assert index[:, 0] == pytest.approx([(650 + 100 * whole) / 500, (300 + 100 * whole) / 700])


def test_reports_of_the_next_hours_tell_who_had_crashes() -> None:
    known = adopters((0, 0, 1, 100, 0), (0, 1, 13, 300, 0), (0, 1, 14, 500, 0))
    index = standard(known, 0.5, 2.0, comes_later=True).index(("55.0", ""), DAY0 + np.array([0.0, 1.0]), DAY0 + 14)
    whole = (50 + 1600 + 60) / 960
    assert index[0, 0] == pytest.approx((650 + 100 * whole) / 500)  # of reports within 12 hours of its end


def test_index_knows_nothing_that_was_reported_later() -> None:
    early = adopters((0, 0, 1, 100, 0), (0, 1, 2, 300, 0))
    more = adopters((0, 0, 1, 100, 0), (0, 1, 2, 300, 0), (0, 1, 3, 900, 0))
    edges = DAY0 + np.array([0.0, 1.0, 2.0])
    for comes_later in (False, True):
        then, now = (
            standard(known, 0.5, 2.0, comes_later=comes_later).index(("55.0", ""), edges, DAY0 + 2)
            for known in (early, more)
        )
        np.testing.assert_array_equal(now, then)
    assert standard(more, 0.5, 2.0).index(("55.0", ""), edges, DAY0 + 0.5).tolist() == [[1.0], [1.0]]
    assert standard(more, 0.5, 2.0).index(("56.0", ""), edges, DAY0 + 3).tolist() == [[1.0], [1.0]]


def test_few_events_are_held_against_twenty_that_are_as_expected() -> None:
    factors = factors_of(np.array([[500.0, 500.0]]), np.array([[4.0]]), np.array([[4.0], [0.0]]), TWO_CELLS)
    assert factors[:, 0] == pytest.approx([24 / 22, 20 / 22])
    assert factors_of(np.array([[500.0, 0.0]]), np.zeros((1, 1)), np.zeros((2, 1)), TWO_CELLS).tolist() == [[1], [1]]


def test_factors_of_two_dimensions_are_found_where_cells_hold_both() -> None:
    values = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    true = np.array([1.0, 1.5, 2.0, 3.0])
    hours = 1e6 * np.array([[4.0, 1, 1, 3], [3.0, 2, 2, 4]])
    level = np.array([0.004, 0.010])
    events = hours * level[:, None] * true
    factors = factors_of(hours, events.sum(axis=1)[:, None], events.sum(axis=0)[:, None], values)[:, 0]
    assert factors == pytest.approx(true * hours.sum() / (hours.sum(axis=0) @ true), rel=0.005)


def test_release_that_crashes_more_does_not_count_against_those_who_use_it() -> None:
    rows = [(0, 0, 10.0, 9000.0, 90.0), (0, 1, 10.0, 1000.0, 10.0)]  # 10 per 1000 hours, in both cells
    rows += [(1, 0, 10.0, 1000.0, 30.0), (1, 1, 10.0, 9000.0, 270.0)]  # 30
    factors = adopters(*rows).learn(DAY0 + 24, AT_ONCE).factors
    assert factors[:, 0] == pytest.approx([1.0, 1.0])


def test_factors_are_those_of_the_days_before() -> None:
    rows = [(0, 0, 10.0, 1000.0, 300.0), (0, 1, 10.0, 1000.0, 100.0)]
    later = [(0, 0, 30.0, 1000.0, 0.0), (0, 1, 30.0, 1000.0, 800.0)]
    then = adopters(*rows).learn(DAY0 + 24, AT_ONCE).factors
    assert then[:, 0] == pytest.approx([320 / 220 / (320 / 220 + 120 / 220) * 2, 2 * 120 / (320 + 120)])
    np.testing.assert_array_equal(adopters(*rows, *later).learn(DAY0 + 24, AT_ONCE).factors, then)
    wrong = np.zeros(28, bool)
    wrong[-1] = True  # the day of the later rows
    np.testing.assert_array_equal(adopters(*rows, *later).learn(DAY0 + 48, AT_ONCE, wrong).factors, then)
    assert adopters(*rows).learn(DAY0 + 24 * 40, AT_ONCE).factors.tolist() == [[1.0], [1.0]]  # too long ago


class WorstFirst(MixedFleet):
    """A fleet whose 56.0 is first offered to those that crash most, a tenth of all cells."""

    mixed = Mixed("worst first", True, 0.0)

    def early(self, build: Build) -> np.ndarray:  # type: ignore[type-arg]
        users: Users = self.users[build.os_name]
        if build.display_version != "56.0":
            return users.shares
        first = np.where(users.rates >= np.quantile(users.rates, 0.9), users.shares, 0.0)
        return first / first.sum()


@cache
def worst_first(bad: tuple[Bad, ...] = ()) -> tuple[Observations, Observations, MixedExpected]:
    """A fleet's observations, with the users of releases told apart and without, and what was to be expected."""
    observations, expected = draw(
        "release", midnight(2017, 7, 1), 92, 3, bad=bad, systems=("Windows_NT",), kind=WorstFirst
    )
    assert isinstance(expected, MixedExpected)
    return with_users(observations, expected, 3), observations, expected


def alarms(observations: Observations) -> set[str]:
    """The measures of 56.0 that had an alarm in its first day."""
    judge = Judge(observations)
    events = [event for hour in range(2, 25, 2) for _, event in judge.look(hours_of(RELEASED) + hour) if event]
    return {event.measure for event in events if (event.event, event.display_version) == ("alarm", "56.0")}


def test_healthy_release_that_is_first_offered_to_worse_cells_raises_no_alarm() -> None:
    weighed, as_reported, _ = worst_first()
    assert alarms(as_reported) >= {"main_crashes", "content_crashes"}
    assert alarms(weighed) == set()


def test_sick_release_that_is_first_offered_to_worse_cells_is_found() -> None:
    weighed, *_ = worst_first((Bad("56.0", RELEASED, "content_crashes", 2.0),))
    assert alarms(weighed) == {"content_crashes"}


CELLS = """
    window     display_version  os_version  country  usage_hours  main_crashes
    01T10:00   55.0             10.0        DE       2            1
    01T23:55   55.0             10.0        DE       3            0
    01T10:00   55.0             6.1         DE       4            2
    05T10:00   55.0             10.0        FR       5            0
    05T10:05   56.0             10.0        FR       7            3
    05T10:20   56.0             10.0        FR       1            0
"""


def observed(folder: Path, until: str) -> tuple[Observations, Dataset]:
    dataset = Dataset(folder)
    known = {"since": moment(until), "until": moment(until)}
    return read_observations(dataset, contract.FIREFOX, CALENDAR, **known), dataset


def test_cells_are_read_by_day_and_by_hour_where_they_are_recent(tmp_path: Path) -> None:
    write(tmp_path, CELLS)
    found = with_adopters(*observed(tmp_path, "05T12:00"))
    [segment] = found.segments
    users = segment.adopters
    assert users is not None
    assert list(users.releases) == [Name("55.0", ""), Name("56.0", "")]
    place = found.measures.index("main_crashes")
    rows = [
        (number, round(begin, 6), round(end, 6), hours, events)
        for number, begin, end, hours, events in zip(
            users.release, users.begins, users.ends, users.hours, users.events[:, place], strict=True
        )
    ]
    first, fifth = hours_of(moment("01T00:00")), hours_of(moment("05T10:00"))
    assert sorted(rows) == [
        (0, first, first + 24, 4.0, 2.0),
        (0, first, first + 24, 5.0, 1.0),
        (0, fifth, round(fifth + 5 / 12, 6), 5.0, 0.0),  # as far as windows have ended
        (1, fifth, round(fifth + 5 / 12, 6), 8.0, 3.0),
    ]
    assert len(users.values) == 3  # 10.0 in DE and FR, 6.1 in DE


def test_builds_that_are_not_official_are_not_among_the_users(tmp_path: Path) -> None:
    write(tmp_path, CELLS + "    01T10:00   54.0             10.0        DE       64           0\n")
    write(tmp_path, f"window build_id usage_hours\n01T10:00 {build_of('56.0', 'release')[:-1]}9 32")
    found = with_adopters(*observed(tmp_path, "05T12:00"))
    [users] = [segment.adopters for segment in found.segments]
    assert users is not None
    assert users.hours.sum() == found.segments[0].all.totals["usage_hours"][-1]


def test_too_many_rows_and_none_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, CELLS)
    observations, dataset = observed(tmp_path, "05T12:00")
    monkeypatch.setattr(cells, "MOST_ROWS", 5)
    assert with_adopters(observations, dataset) is observations
    monkeypatch.setattr(cells, "MOST_ROWS", 6 + 2)  # the newest day counts twice
    assert with_adopters(observations, dataset).segments[0].adopters is not None
    monkeypatch.setattr(contract, "FINE_DIMENSIONS", ())
    assert with_adopters(observations, dataset) is observations
    nothing = replace(observations, newest=-np.inf)
    assert with_adopters(nothing, dataset) is nothing


def test_drawn_users_add_up_to_what_was_counted_and_tell_the_index() -> None:
    weighed, as_reported, expected = worst_first()
    [segment], [counted] = weighed.segments, as_reported.segments
    users, name = segment.adopters, Name("56.0", "")
    assert users is not None
    assert counted.adopters is None
    rows, sums = users.rows_of[name], counted.releases[name]
    assert users.hours[rows].sum() == pytest.approx(sums.totals["usage_hours"][-1], rel=0.001)
    main = weighed.measures.index("main_crashes")
    assert users.events[rows, main].sum() == sums.totals["main_crashes"][-1]
    out = hours_of(RELEASED)
    known = users.learn(24 * float(np.floor(out / 24)), np.ones(len(weighed.measures), bool))
    [place] = [place for place, build in enumerate(expected.builds) if build.display_version == "56.0"]
    for age, least in ((6.0, 2.0), (48.0, 1.3)):
        edges = out + age + np.array([0.0, 6.0])
        inside = (expected.starts >= edges[0] * 3600) & (expected.starts < edges[1] * 3600)
        true = np.average(expected.indices[0][place, inside], weights=expected.used_hours[place, inside])
        assert true > least
        assert known.index(name, edges, edges[1] + 12)[0, main] == pytest.approx(true, rel=0.1)
