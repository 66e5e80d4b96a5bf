"""A watcher that keeps nothing but what it was told is told the same as one that never stops."""

import json
from collections.abc import Sequence
from datetime import timedelta

from missioncontrol_nb.judgement.alarms import Judge
from missioncontrol_nb.judgement.changes import changes_of
from missioncontrol_nb.judgement.events import Event, OpenAlarm
from missioncontrol_nb.judgement.observations import Observations, hours_of
from missioncontrol_nb.judgement.series import Series
from missioncontrol_nb.judgement.watch import Look, Watch
from missioncontrol_nb.simulator import Bad
from tests.judged_fleets import draw, midnight
from tests.unit.test_judge import RELEASED

VERSIONS = ("55.0", "55.0.1", "55.0.2", "55.0.3", "56.0")
RISES = RELEASED + timedelta(days=2)


def observations_of(bad: Sequence[Bad]) -> Observations:
    return draw("release", midnight(2017, 7, 1), 100, 3, bad=bad, systems=("Windows_NT",))[0]


def told(observations: Observations, since: float, looks: int, every: int) -> tuple[list[Event], list[Event]]:
    """What is told by a judge that goes on, and by a new one at each look, which knows the alarms by their records."""
    goes_on, once, again = Judge(observations), [], []
    known: list[OpenAlarm] = []
    for number in range(looks):
        at = since + number * every
        once += [event for _, event in goes_on.look(at) if event is not None]
        found = changes_of(Judge(observations), known, at)
        again += found.events
        known = [OpenAlarm.of_record(json.loads(json.dumps(each.as_record()))) for each in found.open]
    return once, again


def what(events: Sequence[Event]) -> list[tuple[str, str, str | None]]:
    return [(each.event, each.measure, each.display_version) for each in events]


def test_alarm_and_recovery_of_a_version_are_told_once() -> None:
    bad = [
        Bad("56.0", RISES, "content_crashes", 3.0, "Windows_NT", "release"),
        Bad("56.0", RISES + timedelta(days=1), "content_crashes", 1 / 3.0, "Windows_NT", "release"),
    ]
    once, again = told(observations_of(bad), hours_of(RISES) - 3, 20, 4)
    assert what(again) == [("alarm", "content_crashes", "56.0"), ("recovered", "content_crashes", "56.0")]
    assert what(once) == what(again)
    for one, other in zip(once, again, strict=True):
        assert abs(hours_of_text(one.detected_at) - hours_of_text(other.detected_at)) <= 8
        assert one.since == other.since


def test_alarm_of_all_versions_stays_one_while_it_is_up() -> None:
    bad = [Bad(each, RISES, "content_crashes", 2.0, "Windows_NT", "release") for each in VERSIONS]
    once, again = told(observations_of(bad), hours_of(RISES) - 2, 14, 4)
    assert what(again) == [("alarm", "content_crashes", None)]
    assert what(once) == what(again)


def test_alarm_of_what_is_not_judged_stays_and_that_of_a_forgotten_release_ends() -> None:
    observations = observations_of([])
    at = hours_of(RELEASED) + 30
    event = Event(
        *("alarm", "2017-09-29T00:00:00Z", "Firefox", "release", "Darwin", "main_crashes", "56.0", ("20170926190823",)),
        *(2.0, 1.5, 2.5, 150.0, 3.0, 6.0, {}, "2017-09-28T20:00:00Z"),
    )
    elsewhere = OpenAlarm.of_event(event)
    old = OpenAlarm.of_event(Event(**{**event.as_record(), "os_name": "Windows_NT", "display_version": "54.0"}))
    found = changes_of(Judge(observations), [elsewhere, old], at)
    assert found.open == (elsewhere,)
    [end] = found.events
    assert (end.event, end.display_version, end.rate_ratio) == ("recovered", "54.0", None)
    assert end.since == event.since


def test_watcher_that_begins_is_not_told_of_evidence_that_is_gone() -> None:
    """A rise by half whose evidence had been enough on the way is no alarm of a look at which it is not."""
    bad = [
        Bad("56.0", RELEASED, measure, 1.5)
        for measure in ("content_crashes", "slow_script_notice_count", "plugin_crashes")
    ]
    observations = draw("release", midnight(2017, 7, 1), 100, 6, bad=bad, systems=("Linux", "Darwin"))[0]
    states = []

    def note(series: Series, watch: Watch, _: Look, place: int) -> None:
        if (series.os_name, series.measure, series.display_version) == ("Linux", "content_crashes", "56.0"):
            assert series.evidence is not None
            states.append((series.state, bool(watch.latched[place]), 10 < series.evidence < 100))

    found = changes_of(Judge(observations), [], hours_of(RELEASED) + 110, note)
    assert states == [("looks bad", True, True)]
    assert [event for event in found.events if event.measure == "content_crashes" and event.os_name == "Linux"] == []
    assert all(event.evidence is not None and event.evidence >= 99.99 for event in found.events)


def hours_of_text(text: str | None) -> float:
    from datetime import datetime

    assert text is not None
    return hours_of(datetime.fromisoformat(text))
