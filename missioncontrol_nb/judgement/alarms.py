"""Which alarms are up: judges all channels at ascending moments, and tells what a watcher has to know."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.judgement.channel import ChannelJudge
from missioncontrol_nb.judgement.course import sums_since
from missioncontrol_nb.judgement.events import Event, OpenAlarm
from missioncontrol_nb.judgement.observations import Name, Observations, hours_of
from missioncontrol_nb.judgement.outside import (
    OVER_HOURS,
    OVER_RATIO,
    Past,
    others_rose,
    past_of,
    rises_alike,
)
from missioncontrol_nb.judgement.series import (
    Series,
    is_up,
    ratio_interval,
    series_of,
    text_of,
    variance_besides_clusters,
)
from missioncontrol_nb.judgement.watch import ALARM, Look, Watch, begun, is_over
from missioncontrol_nb.statistics import PER_HOURS
from streaming import contract

Array = npt.NDArray[np.float64]
CHECKED_EVERY = 6.0  # hours, after which the beginning and the slice of an alarm are found anew
MORE_THAN_ALL = 1.5  # a version that rises by so much more than all versions has a cause of its own
MOST_LOG_EVIDENCE = 27.6
MOVED_HOURS = 24.0  # an alarm whose beginning is found so much earlier or later is updated


@dataclass
class _Open:
    """An alarm that is up. found: the slice that was found last.

    detected_at: when it was told; checked_at: when its beginning and slice were looked for last. Of a rise of all
    versions, effects: those of the versions when it went up; ratio: of the rates.
    """

    since: float
    detected_at: str
    checked_at: float
    slice: dict[str, str] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)
    effects: dict[Name, Array] = field(default_factory=dict)
    ratio: float = 1.0


OnSeries = Callable[[Series, Watch, Look, int], None]
Key = tuple[str, str, Name | None, int]
"""Channel, system, release (None: all versions) and the place of the measure."""


@dataclass
class Judge:
    """Judges a product's releases at ascending moments, and remembers which alarms are up."""

    observations: Observations
    find_slice: Callable[[Watch, str, float, float, float], dict[str, str]] = lambda *_: {}
    channels: tuple[ChannelJudge, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = dict.fromkeys(segment.channel for segment in self.observations.segments)
        self.channels = tuple(ChannelJudge(self.observations, name) for name in names)
        self._open: dict[Key, _Open] = {}
        self._figures: dict[Key, Callable[[], Event]] = {}  # of the alarms that the last look saw
        self._at = -np.inf

    def look(self, at: float, on_series: OnSeries | None = None) -> list[tuple[Series | None, Event | None]]:
        """All series as of a moment, and what a watcher is told: of each series, and of what comes from outside.

        on_series: called with each series and what it was judged by: the release, the look at it, the measure's place.
        """
        self._at, self._figures = at, {}
        with _one_thread():
            return list(self._look(at, on_series))

    def _look(self, at: float, on_series: OnSeries | None) -> Iterator[tuple[Series | None, Event | None]]:
        data_up_to = self.data_up_to(self.observations.newest_at(at))
        if not np.isfinite(data_up_to):
            return
        for channel in self.channels:
            for _, of_segment in groupby(channel.look(data_up_to), lambda pair: id(pair[0].segment)):
                looks = list(of_segment)
                for event in self._outside(looks):
                    yield None, event
                for watch, look in looks:
                    for place in self._reported(watch):
                        found = self._judged(looks, watch, look, place)
                        if on_series is not None:
                            on_series(found[0], watch, look, place)
                        yield found

    def _outside(self, looks: Sequence[tuple[Watch, Look]]) -> Iterator[Event]:
        """The events of measures that rise, or no longer do, in all versions at once."""
        newest, look = looks[0]
        where = newest.segment.channel, newest.segment.os_name
        opened = {key[3]: alarm for key, alarm in self._open.items() if key[:3] == (*where, None)}
        effects = {watch.released.name: watch.effect() for watch, _ in looks}
        past = past_of(looks, {})
        for place, alarm in opened.items():
            then = past_of(looks, alarm.effects, of_all=True)
            if then is not None:
                events, expected = then.ratio(place, alarm.since)
                alarm.ratio = events / expected if expected > 0 else alarm.ratio
                events, expected = then.ratio(place, max(alarm.since, look.at - OVER_HOURS))
                if expected > 0 and events < OVER_RATIO * expected and look.at > alarm.since + OVER_HOURS:
                    yield self._event("recovered", newest, look, place, alarm, of=(looks, then))
                    del self._open[*where, None, place]
                else:
                    of_all = partial(self._event, "alarm", newest, look, place, alarm, of=(looks, then))
                    self._figures[*where, None, place] = of_all
        if past is None or not newest.is_compared:
            return
        log_evidence = past.log_evidence_with(look.log_evidence)
        for place in self._reported(newest):
            if place in opened or log_evidence[place] < ALARM:
                continue
            since = past.since(place)
            events, expected = past.ratio(place, since)
            if expected <= 0:
                continue
            newest_rose = rises_alike(look, effects[newest.released.name], place, since, events / expected)
            risers = past.risers(place, since, events / expected) + bool(newest_rose)
            if newest_rose is not False and risers >= 2:
                alarm = _Open(since, text_of(self._at), self._at, effects=effects, ratio=events / expected)
                yield self._told_of_all((*where, None, place), alarm, newest, look, (looks, past))

    def _is_from_outside(self, watch: Watch, look: Look, place: int, since: float) -> bool:
        """Whether a series rose when all versions did, and not by much more."""
        alarm = self._open.get((watch.segment.channel, watch.segment.os_name, None, place))
        if alarm is None or since <= alarm.since - OVER_HOURS:
            return False
        events, expected, _ = sums_since(watch, look, place, since)
        return bool(events <= MORE_THAN_ALL * alarm.ratio * expected)

    def data_up_to(self, at: float) -> float:
        """The end of the last window that had ended by a moment, as a multiple of its length."""
        step = self.observations.step
        return float(np.floor(at / step + 1e-6) * step)

    def _reported(self, watch: Watch) -> Iterator[int]:
        """The measures that the release's clients report on the system."""
        product = self.observations.product
        for place, name in enumerate(watch.measures):
            declared = contract.measure(name)
            why_not = product.why_not_reported(declared, watch.segment.os_name, watch.released.name.display_version)
            if why_not is None:
                yield place

    def _judged(
        self, looks: Sequence[tuple[Watch, Look]], watch: Watch, look: Look, place: int
    ) -> tuple[Series, Event | None]:
        key = watch.segment.channel, watch.segment.os_name, watch.released.name, place
        opened = self._open.get(key)
        event = None
        is_back = bool(is_over(look.log_evidence[place], look.share_back[place]))
        has_risen = watch.is_compared and is_up(look, place) and not is_back
        since = self._since(watch, look, place) if has_risen else np.nan
        is_from_outside = has_risen and self._is_from_outside(watch, look, place, since)
        if opened is None and has_risen and not is_from_outside:
            events, expected, _ = sums_since(watch, look, place, since)
            ratio = events / expected if expected > 0 else 1.0
            is_known = (*key[:2], None, place) in self._open  # it rose by more than all versions did
            all_rose = False if is_known else others_rose(looks, watch, place, since, ratio)
            if all_rose:
                event = self._opened_of_all(looks, watch, look, place, since)
            elif all_rose is not None:
                opened = self._open[key] = self._opened(watch, look, place, since)
                event = self._event("alarm", watch, look, place, opened)
        elif opened is not None and is_back:
            event = self._event("recovered", watch, look, place, opened)
            del self._open[key]
            over = np.zeros(len(watch.measures), bool)
            over[place] = True
            watch.recover(over, look.at)
            look.log_evidence[place] = 0.0  # it begins anew
            opened = None
        elif opened is not None and self._has_changed(opened, watch, look, place):
            event = self._event("update", watch, look, place, opened)
        looks_bad = bool(watch.looks_bad[place])
        began = opened.since if opened else self._since(watch, look, place) if looks_bad else None
        series = series_of(
            watch, look, place, at=self._at, is_open=opened is not None, since=began, looks_bad=looks_bad
        )
        if opened:
            series = replace(series, slice=opened.slice)
            self._figures[key] = partial(self._event, "alarm", watch, look, place, opened)
        return series, event

    def _opened_of_all(
        self, looks: Sequence[tuple[Watch, Look]], watch: Watch, look: Look, place: int, since: float
    ) -> Event | None:
        """Opens an alarm of all versions, which one of them has raised."""
        effects = {each.released.name: each.effect() for each, _ in looks}
        past = past_of(looks, effects, of_all=True)
        events, expected = (0.0, 0.0) if past is None else past.ratio(place, since)
        if past is None or expected <= 0:
            return None
        alarm = _Open(since, text_of(self._at), self._at, effects=effects, ratio=events / expected)
        key = watch.segment.channel, watch.segment.os_name, None, place
        return self._told_of_all(key, alarm, watch, look, (looks, past))

    def _told_of_all(
        self, key: Key, alarm: _Open, watch: Watch, look: Look, of: tuple[Sequence[tuple[Watch, Look]], Past]
    ) -> Event:
        """Raises an alarm of all versions."""
        self._open[key] = alarm
        self._figures[key] = partial(self._event, "alarm", watch, look, key[3], alarm, of=of)
        return self._figures[key]()

    def _opened(self, watch: Watch, look: Look, place: int, since: float) -> _Open:
        found = self._slice(watch, look, place, since)
        return _Open(since, text_of(self._at), look.at, found, found)

    def _has_changed(self, opened: _Open, watch: Watch, look: Look, place: int) -> bool:
        """Finds anew, now and then, when an alarm's rise began, and its slice; returns whether one has changed."""
        if look.at < opened.checked_at + CHECKED_EVERY:
            return False
        opened.checked_at = look.at
        since, before = self._since(watch, look, place), (opened.since, opened.slice)
        if abs(since - opened.since) >= MOVED_HOURS:
            opened.since = since
        found = self._slice(watch, look, place, opened.since)
        if found == opened.found:  # twice: a slice that comes and goes is no news
            opened.slice = found
        opened.found = found
        return (opened.since, opened.slice) != before

    def _slice(self, watch: Watch, look: Look, place: int, since: float) -> dict[str, str]:
        _, typical, _ = sums_since(watch, look, place, since)
        return self.find_slice(watch, watch.measures[place], since, look.at, typical)

    def _since(self, watch: Watch, look: Look, place: int) -> float:
        return float(look.edges[begun(look, place, watch.counts_since(place))])

    def _event(
        self,
        kind: str,
        watch: Watch,
        look: Look,
        place: int,
        opened: _Open,
        of: tuple[Sequence[tuple[Watch, Look]], Past] | None = None,
    ) -> Event:
        """of: all versions, and their past, of an event about all."""
        if of is None:
            events, expected, _ = sums_since(watch, look, place, opened.since)
            hours = float(look.exposure[look.edges[:-1] >= opened.since - 1e-6, place].sum())
        else:
            events, expected = of[1].ratio(place, opened.since)
            hours = of[1].hours(place, opened.since)
        variance = variance_besides_clusters(watch, look, place) if of is None else of[1].variance
        dispersion = float((watch if of is None else of[1]).dispersion[place])
        log_evidence = float(look.log_evidence[place])
        if of is not None:
            log_evidence = float(np.fmax(log_evidence, of[1].log_evidence_with(look.log_evidence)[place]))
        ratio, lower, upper = ratio_interval(events, expected, variance, dispersion) if expected > 0 else (None,) * 3
        return Event(
            kind,
            text_of(self._at),
            watch.segment.application,
            watch.segment.channel,
            watch.segment.os_name,
            watch.measures[place],
            watch.released.name.display_version if of is None else None,
            tuple(sorted({build for each, _ in (of[0] if of else [(watch, look)]) for build in each.sums.builds})),
            ratio,
            lower,
            upper,
            float(np.exp(min(log_evidence, MOST_LOG_EVIDENCE))),
            PER_HOURS * expected / hours if hours > 0 else None,
            PER_HOURS * events / hours if hours > 0 else None,
            opened.slice,
            text_of(opened.since),
        )

    @property
    def is_open(self) -> bool:
        """Whether an alarm is up."""
        return bool(self._open)

    def open_alarms(self) -> list[OpenAlarm]:
        """The alarms that are up, with the figures of the last look; only those that it saw."""
        return [
            OpenAlarm(replace(told(), detected_at=alarm.detected_at), alarm.found, text_of(alarm.checked_at))
            for key, told in self._figures.items()
            if (alarm := self._open.get(key)) is not None
        ]

    def knows(self, alarms: Sequence[OpenAlarm]) -> list[OpenAlarm]:
        """Goes on with alarms that another judge had raised; to be called before the first look.

        Returns those that are about something else than this judge looks at.
        """
        others = []
        for alarm in alarms:
            event = alarm.event
            channel = next((each for each in self.channels if each.channel == event.channel), None)
            there = channel is not None and any(
                (each.os_name, each.application) == (event.os_name, event.application) for each in channel.segments
            )
            if channel is None or not there or event.measure not in channel.measures or event.since is None:
                others.append(alarm)
                continue
            name = None
            if event.display_version is not None:
                build = event.build_ids[0] if channel.by_build and event.build_ids else ""
                name = Name(event.display_version, build)
            since = hours_of(datetime.fromisoformat(event.since))
            checked_at = hours_of(datetime.fromisoformat(alarm.checked_at))
            opened = _Open(since, event.detected_at, checked_at, event.slice, alarm.found)
            opened.ratio = event.rate_ratio or 1.0
            if name is None:
                opened.effects = self._effects_at(channel, event.os_name, since)
            self._open[event.channel, event.os_name, name, channel.measures.index(event.measure)] = opened
        return others

    def _effects_at(self, channel: ChannelJudge, os_name: str, moment: float) -> dict[Name, Array]:
        """The effects of a system's versions as they were at a moment."""
        then = ChannelJudge(self.observations, channel.channel)
        with _one_thread():
            looks = [watch for watch, _ in then.look(self.data_up_to(moment)) if watch.segment.os_name == os_name]
        return {watch.released.name: watch.effect() for watch in looks}


def _one_thread() -> AbstractContextManager[Any]:
    """Keeps linear algebra in this thread: the matrices are so small that sharing them takes several times as long."""
    global _threads
    if _threads is None:
        from threadpoolctl import ThreadpoolController

        _threads = ThreadpoolController()
    return _threads.limit(limits=1, user_api="blas")


_threads: Any = None
