"""Hours of data incidents are not judged, and nothing is learned from them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from missioncontrol_nb.incidents import Incident
from missioncontrol_nb.judgement.activity import estimate_activity
from missioncontrol_nb.judgement.alarms import Judge
from missioncontrol_nb.judgement.events import Event
from missioncontrol_nb.judgement.incidents import covered, hours_outside, left_out, with_incidents
from missioncontrol_nb.judgement.observations import Observations, hours_of
from missioncontrol_nb.judgement.series import Series
from missioncontrol_nb.simulator import Bad
from tests.judged_fleets import draw, midnight
from tests.unit.test_used_hours import LAW

RELEASED = datetime(2017, 9, 28, 13, tzinfo=UTC)  # of 56.0
BEGINS = datetime(2017, 10, 2, 7, tzinfo=UTC)
ENDS = BEGINS + timedelta(hours=6)
TENFOLD = (Bad("56.0", BEGINS, "main_crashes", 10.0), Bad("56.0", ENDS, "main_crashes", 0.1))


def observed(bad: Sequence[Bad] = ()) -> Observations:
    """Windows on the release channel."""
    return draw("release", midnight(2017, 7, 1), 100, 3, bad=bad, systems=("Windows_NT",))[0]


def alarms(observations: Observations, *incidents: Incident, since: float = 84, hours: int = 24) -> list[Event]:
    """The alarms of looks from hours after the release of 56.0 on, two hours apart."""
    judge = Judge(with_incidents(observations, incidents))
    looks = [judge.look(hours_of(RELEASED) + since + hour) for hour in range(0, hours + 1, 2)]
    return [event for look in looks for _, event in look if event is not None and event.event == "alarm"]


def series_at(observations: Observations, *incidents: Incident, at: datetime) -> dict[tuple[str, str | None], Series]:
    """The series as of a moment, by measure and version."""
    looked = Judge(with_incidents(observations, incidents)).look(hours_of(at))
    return {(each.measure, each.display_version): each for each, _ in looked if each is not None}


def test_tenfold_rise_inside_an_incident_is_no_alarm() -> None:
    observations = observed(TENFOLD)
    [alarm] = alarms(observations)
    assert (alarm.measure, alarm.display_version) == ("main_crashes", "56.0")
    assert alarms(observations, Incident(BEGINS, ENDS, "crash pings came ten times")) == []
    limits = {"product": "Firefox", "channel": "release", "os_name": "Windows_NT", "measure": "main_crashes"}
    assert alarms(observations, Incident(BEGINS, ENDS, "the same, as narrow as can be", **limits)) == []


@pytest.mark.parametrize(
    "limits", [{"product": "Other"}, {"channel": "beta"}, {"os_name": "Linux"}, {"measure": "content_crashes"}]
)
def test_incident_of_other_data_does_not_hide_a_rise(limits: dict[str, str]) -> None:
    [alarm] = alarms(observed(TENFOLD), Incident(BEGINS, ENDS, "elsewhere", **limits), hours=8)
    assert alarm.measure == "main_crashes"


def test_rise_after_an_incident_is_found_with_its_beginning() -> None:
    later = ENDS + timedelta(hours=6)
    observations = observed([*TENFOLD, Bad("56.0", later, "main_crashes", 3.0)])
    [alarm] = alarms(observations, Incident(BEGINS, ENDS, "crash pings came ten times"), hours=30)
    assert (alarm.measure, alarm.display_version) == ("main_crashes", "56.0")
    assert abs(datetime.fromisoformat(str(alarm.since)) - later) <= timedelta(hours=2)
    assert datetime.fromisoformat(alarm.detected_at) - later <= timedelta(hours=6)


def test_rise_that_goes_on_after_an_incident_began_with_the_first_hour_that_is_judged() -> None:
    observations = observed([Bad("56.0", BEGINS, "main_crashes", 3.0)])
    [alarm] = alarms(observations, Incident(BEGINS, ENDS, "main crashes came three times"))
    assert alarm.since is not None
    assert 0 <= (datetime.fromisoformat(alarm.since) - ENDS) / timedelta(hours=1) <= 2
    assert alarm.rate_ratio == pytest.approx(3.0, rel=0.3)


def test_rise_of_all_versions_inside_an_incident_is_no_alarm() -> None:
    versions = ("55.0", "55.0.1", "55.0.2", "55.0.3", "56.0")
    bad = [Bad(name, since, "content_crashes", by) for name in versions for since, by in ((BEGINS, 3.0), (ENDS, 1 / 3))]
    observations = observed(bad)
    assert {alarm.measure for alarm in alarms(observations)} == {"content_crashes"}
    assert alarms(observations, Incident(BEGINS, ENDS, "twice", measure="content_crashes"), hours=36) == []


def multiplied(observations: Observations, since: datetime, until: datetime, factor: float) -> Observations:
    """The observations, with so many times as much of everything in some hours."""

    def changed(ends: np.ndarray, totals: np.ndarray) -> np.ndarray:
        parts = np.diff(totals, axis=0)
        parts[(ends > hours_of(since) + 1e-6) & (ends <= hours_of(until) + 1e-6)] *= factor
        return np.concatenate([totals[:1], np.cumsum(parts, axis=0)])

    segments = []
    for segment in observations.segments:
        releases = {
            name: replace(sums, totals={column: changed(sums.ends, each) for column, each in sums.totals.items()})
            for name, sums in segment.releases.items()
        }
        delays = changed(segment.delay_ends, segment.delay_totals)
        segments.append(replace(segment, releases=releases, delay_totals=delays))
    return replace(observations, segments=tuple(segments))


@pytest.mark.parametrize(
    ("since", "hours"), [(datetime(2017, 9, 30, tzinfo=UTC), 6), (datetime(2017, 8, 10, tzinfo=UTC), 72)]
)
def test_what_was_counted_inside_an_incident_changes_nothing(since: datetime, hours: int) -> None:
    """In the second day of the judged release, and in the first days of one that it is compared with."""
    until, observations, at = since + timedelta(hours=hours), observed(), RELEASED + timedelta(hours=100)
    incident = Incident(since, until, "everything came ten times")
    usual = series_at(observations, incident, at=at)
    for key, series in series_at(multiplied(observations, since, until, 10.0), incident, at=at).items():
        same = usual[key]
        if same.expected_rate is None:
            assert series.expected_rate is None
            continue
        assert (series.state, series.events) == (same.state, same.events)
        assert series.rate == pytest.approx(same.rate, rel=0.002)
        assert series.expected_rate == pytest.approx(same.expected_rate, rel=0.01)
        assert series.usage_hours_corrected == pytest.approx(same.usage_hours_corrected, rel=0.002)


def test_release_all_of_whose_hours_are_in_an_incident_is_too_early() -> None:
    whole = Incident(RELEASED - timedelta(days=1), RELEASED + timedelta(days=2), "no pings could be trusted")
    series = series_at(observed(), whole, at=RELEASED + timedelta(hours=20))["main_crashes", "56.0"]
    assert (series.state, series.why, series.events) == ("too early", "all hours so far are in data incidents", 0)


def test_long_interval_loses_only_the_whole_hours_of_an_incident() -> None:
    first = datetime(1970, 1, 2, tzinfo=UTC)  # hour 24
    incident = Incident(first + timedelta(minutes=90), first + timedelta(minutes=150), "x", measure="main_crashes")
    edges = np.array([20.0, 24.0, 30.0, 30.0, 31.0])

    def sums(finer: np.ndarray) -> np.ndarray:
        return np.diff(np.stack([10 * finer, finer], axis=1), axis=0)

    measures = ("main_crashes", "gpu_crashes")
    found = left_out((incident,), measures, edges, sums)
    assert found.tolist() == [[40.0, 4.0], [40.0, 6.0], [0.0, 0.0], [10.0, 1.0]]
    assert left_out((), measures, edges, sums).tolist() == sums(edges).tolist()
    assert covered((incident,), measures, np.arange(24.0, 29.0)).tolist() == [
        [False, False], [True, False], [True, False], [False, False],
    ]  # fmt: skip


def test_hours_outside_of_incidents_are_what_is_left() -> None:
    def incident(since: float, until: float, measure: str | None = None) -> Incident:
        zero = datetime(1970, 1, 1, tzinfo=UTC)
        return Incident(zero + timedelta(hours=since), zero + timedelta(hours=until), "x", measure=measure)

    several = (
        incident(20, 22.5),
        incident(12, 14),
        incident(21, 22),
        incident(29, 40),
        incident(24, 25, "gpu_crashes"),
    )
    assert hours_outside(several, "main_crashes", 10.5, 30) == [(10.5, 12), (14, 20), (23, 29)]
    assert hours_outside(several, "gpu_crashes", 13, 30) == [(14, 20), (23, 24), (25, 29)]
    assert hours_outside(several, "main_crashes", 30, 40) == []
    assert hours_outside((), "main_crashes", 10.5, 30) == [(10.5, 30)]


def test_use_is_not_learned_from_hours_that_are_distrusted() -> None:
    hours = np.arange(20 * 24)
    usual = 100.0 * (1 + 0.5 * np.sin(hours * 2 * np.pi / 24))
    distrusted = (hours >= 240) & (hours < 300)
    found = estimate_activity(0, np.where(distrusted, 50 * usual, usual), LAW, distrusted)
    assert found.rate(hours + 0.5) == pytest.approx(estimate_activity(0, usual, LAW).rate(hours + 0.5), rel=0.1)
    assert np.flatnonzero(found.outages).tolist() == [*range(240, 300)]
    assert found.has_outage(np.array([230.0, 238.5, 240.0, 240.1, 300.0, 303.0])).tolist() == [
        False, False, True, True, False,
    ]  # fmt: skip
    today = found.seen(np.array([100.0, 100.0]), np.array([False, True]))
    assert np.flatnonzero(today.outages).tolist() == [*range(240, 300), 481]
