"""What has changed since a watcher was told last, for one that keeps nothing but what it was told."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from missioncontrol_nb import arguments
from missioncontrol_nb.arguments import Time
from missioncontrol_nb.judgement.alarms import Judge, OnSeries
from missioncontrol_nb.judgement.events import Event, OpenAlarm
from missioncontrol_nb.judgement.judging import judge_of
from missioncontrol_nb.judgement.observations import are_builds, hours_of, moment_of
from missioncontrol_nb.judgement.series import Series, text_of
from missioncontrol_nb.loading.dataset import Dataset
from streaming import contract


@dataclass(frozen=True)
class Changes:
    """What a watcher is told now, and what to keep for the next time.

    events: in the order in which they were found. open: the alarms that are up. series: all that was judged. looked_at:
    as of when; None where there are no data, and nothing is known to have changed.
    """

    events: tuple[Event, ...]
    open: tuple[OpenAlarm, ...]
    series: tuple[Series, ...]
    looked_at: datetime | None


def changes_since(
    dataset: Dataset | str | Path,
    known: Sequence[OpenAlarm | Event],
    at: Time = None,
    *,
    on_series: OnSeries | None = None,
    **options: Any,
) -> Changes:
    """What has changed about the alarms that were up when a watcher was told last.

    known: these alarms, as `Changes.open` had them, or the events that told of them. on_series: as for `Judge.look`.
    at, and the other arguments: as for `judge`. Of an alarm that is known it tells a change of slice or beginning, and
    its end; it stays up until it would be over for a watcher that never stopped. That of a release that is hardly used
    any more has ended; this event has no figures. What is about other channels, systems or products than are judged
    stays as it is.

    Raises MissionControlError as `judge` does.
    """
    alarms = [each if isinstance(each, OpenAlarm) else OpenAlarm.of_event(each) for each in known]
    moment = arguments.as_utc("at", at)
    judge, until = judge_of(dataset, moment, moment, **options)
    when = judge.observations.newest if until is None else hours_of(until)
    if not np.isfinite(when):
        return Changes((), tuple(alarms), (), None)
    return changes_of(judge, alarms, when, on_series)


def changes_of(judge: Judge, known: Sequence[OpenAlarm], when: float, on_series: OnSeries | None = None) -> Changes:
    """What a judge that has not looked yet finds at a moment, in hours since 1970; arguments as for `changes_since`."""
    others = judge.knows(known)
    looked = judge.look(when, on_series)
    events = [event for _, event in looked if event is not None]
    now = judge.open_alarms()
    product = judge.observations.product
    seen = {_subject(each, product) for each in (*events, *(alarm.event for alarm in (*now, *others)))}
    events += [_ended(alarm.event, when) for alarm in known if _subject(alarm.event, product) not in seen]
    series = tuple(each for each, _ in looked if each is not None)
    return Changes(tuple(events), (*now, *others), series, moment_of(when))


def _subject(event: Event, product: contract.Product) -> tuple[object, ...]:
    """What an alarm is about."""
    is_of_build = event.display_version is not None and are_builds(product, event.channel)
    builds = event.build_ids[:1] if is_of_build else ()
    return event.application, event.channel, event.os_name, event.measure, event.display_version, builds


def _ended(event: Event, when: float) -> Event:
    """The end of an alarm that is not looked at any more."""
    return replace(
        event,
        event="recovered",
        detected_at=text_of(when),
        rate_ratio=None,
        lower=None,
        upper=None,
        evidence=None,
        expected_rate=None,
        observed_rate=None,
    )
