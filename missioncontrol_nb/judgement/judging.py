"""`mc.judge` and `mc.replay`: what can be said of each release at a moment, and what would have been said over time."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from missioncontrol_nb import arguments
from missioncontrol_nb.arguments import Time
from missioncontrol_nb.incidents import read_incidents
from missioncontrol_nb.judgement.channel import ChannelJudge
from missioncontrol_nb.judgement.course import sums_since
from missioncontrol_nb.judgement.incidents import with_incidents
from missioncontrol_nb.judgement.observations import (
    Name,
    Observations,
    hours_of,
    read_observations,
    read_older_observations,
)
from missioncontrol_nb.judgement.outside import OVER_HOURS, OVER_RATIO, Past, is_outside, past_of, rises_alike
from missioncontrol_nb.judgement.series import Series, is_up, looks_up, ratio_interval, series_of, text_of
from missioncontrol_nb.judgement.watch import Look, Watch, begun, is_over
from missioncontrol_nb.judgement.where import slice_finder
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.loading.handles import told_by_the_system
from missioncontrol_nb.loading.legacy_parquet import is_older
from missioncontrol_nb.releases.calendar import Calendar
from missioncontrol_nb.releases.sources import calendar_beside, load_calendar
from missioncontrol_nb.statistics import PER_HOURS
from streaming import contract
from streaming.dataset.opening import no_dataset
from streaming.errors import MissionControlError

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]
STAYS_BAD = np.log(3.0)  # a series that looks bad does so until its evidence is below this
CHECKED_EVERY = 6.0  # hours, after which the beginning and the slice of an alarm are found anew
MOVED_HOURS = 24.0  # an alarm whose beginning is found so much earlier or later is updated
LEAST_EVERY = timedelta(minutes=5)


@dataclass(frozen=True)
class Event:
    """Something that a watcher is told: an alarm, what changed about it, or that it is over."""

    event: str
    detected_at: str
    application: str
    channel: str
    os_name: str
    measure: str
    display_version: str | None
    build_ids: tuple[str, ...]
    rate_ratio: float | None
    lower: float | None
    upper: float | None
    evidence: float | None
    expected_rate: float | None
    observed_rate: float | None
    slice: dict[str, str]
    since: str | None

    def as_record(self) -> dict[str, Any]:
        """The event as a JSON object."""
        return self.__dict__ | {"build_ids": list(self.build_ids)}


@dataclass
class _Open:
    """An alarm that is up. effects: those of the versions when it went up, of a rise of all versions."""

    since: float
    slice: dict[str, str] = field(default_factory=dict)
    effects: dict[Name, Array] = field(default_factory=dict)
    checked_at: float = -np.inf


OnSeries = Callable[[Series, Watch, Look, int], None]
Key = tuple[str, str, Name | None, int]
"""Channel, system, release (None: all versions) and the place of the measure."""


@dataclass
class Judge:
    """Judges a product's releases at ascending moments, and remembers which alarms are up."""

    observations: Observations
    find_slice: Callable[[Watch, str, float, float], dict[str, str]] = lambda *_: {}
    channels: tuple[ChannelJudge, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = dict.fromkeys(segment.channel for segment in self.observations.segments)
        self.channels = tuple(ChannelJudge(self.observations, name) for name in names)
        self._open: dict[Key, _Open] = {}
        self._looks_bad: set[Key] = set()
        self._at = -np.inf

    def look(self, at: float, on_series: OnSeries | None = None) -> list[tuple[Series | None, Event | None]]:
        """All series as of a moment, and what a watcher is told: of each series, and of what comes from outside.

        on_series: called with each series and what it was judged by: the release, the look at it, the measure's place.
        """
        self._at = at
        with _one_thread():
            return list(self._look(at, on_series))

    def _look(self, at: float, on_series: OnSeries | None) -> Iterator[tuple[Series | None, Event | None]]:
        data_up_to = min(self.data_up_to(at), self.observations.newest)
        for channel in self.channels:
            for _, of_segment in groupby(channel.look(data_up_to), lambda pair: id(pair[0].segment)):
                looks = list(of_segment)
                for event in self._outside(looks):
                    yield None, event
                for watch, look in looks:
                    for place in self._reported(watch):
                        found = self._judged(watch, look, place)
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
            then = past_of(looks, alarm.effects)
            if then is not None:
                events, expected = then.ratio(place, max(alarm.since, look.at - OVER_HOURS))
                if expected > 0 and events < OVER_RATIO * expected and look.at > alarm.since + OVER_HOURS:
                    yield self._event("recovered", newest, look, place, alarm, of=(looks, then))
                    del self._open[*where, None, place]
        if past is None or not newest.is_compared:
            return
        log_evidence = past.log_evidence
        for place in self._reported(newest):
            if place in opened or not is_outside(float(log_evidence[place]), float(look.log_evidence[place])):
                continue
            since = past.since(place)
            events, expected = past.ratio(place, since)
            if expected <= 0:
                continue
            newest_rose = rises_alike(look, effects[newest.released.name], place, since, events / expected)
            risers = past.risers(place, since, events / expected) + bool(newest_rose)
            if newest_rose is not False and risers >= 2:
                alarm = self._open[*where, None, place] = _Open(since, effects=effects)
                yield self._event("alarm", newest, look, place, alarm, of=(looks, past))

    def _is_from_outside(self, watch: Watch, since: float, place: int) -> bool:
        """Whether a series rose when all versions did."""
        alarm = self._open.get((watch.segment.channel, watch.segment.os_name, None, place))
        return alarm is not None and since > alarm.since - OVER_HOURS

    def data_up_to(self, at: float) -> float:
        """The end of the last window that had ended by a moment."""
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

    def _judged(self, watch: Watch, look: Look, place: int) -> tuple[Series, Event | None]:
        key = watch.segment.channel, watch.segment.os_name, watch.released.name, place
        opened = self._open.get(key)
        event = None
        has_risen = watch.is_compared and (is_up(look, place) or bool(watch.latched[place]))
        since = self._since(look, place) if has_risen else np.nan
        is_from_outside = has_risen and self._is_from_outside(watch, since, place)
        if opened is None and has_risen and not is_from_outside:
            opened = self._open[key] = self._opened(watch, look, place, since)
            event = self._event("alarm", watch, look, place, opened)
        elif opened is not None and is_over(look.log_evidence[place], look.share_back[place]):
            event = self._event("recovered", watch, look, place, opened)
            del self._open[key]
            over = np.zeros(len(watch.measures), bool)
            over[place] = True
            watch.recover(over, look.at)
            opened = None
        elif opened is not None and self._has_changed(opened, watch, look, place):
            event = self._event("update", watch, look, place, opened)
        if watch.is_compared and looks_up(look, place):
            self._looks_bad.add(key)
        elif not watch.is_compared or look.log_evidence[place] < STAYS_BAD:
            self._looks_bad.discard(key)
        looks_bad = key in self._looks_bad
        began = opened.since if opened else self._since(look, place) if looks_bad else None
        series = series_of(
            watch, look, place, at=self._at, is_open=opened is not None, since=began, looks_bad=looks_bad
        )
        if opened:
            series = replace(series, slice=opened.slice)
        return series, event

    def _opened(self, watch: Watch, look: Look, place: int, since: float) -> _Open:
        return _Open(since, self.find_slice(watch, watch.measures[place], since, look.at), checked_at=look.at)

    def _has_changed(self, opened: _Open, watch: Watch, look: Look, place: int) -> bool:
        """Finds anew, now and then, when an alarm's rise began, and its slice; returns whether one has changed."""
        if look.at < opened.checked_at + CHECKED_EVERY:
            return False
        opened.checked_at = look.at
        since, before = self._since(look, place), (opened.since, opened.slice)
        if abs(since - opened.since) >= MOVED_HOURS:
            opened.since = since
        opened.slice = self.find_slice(watch, watch.measures[place], opened.since, look.at)
        return (opened.since, opened.slice) != before

    def _since(self, look: Look, place: int) -> float:
        return float(look.edges[begun(look, place)])

    def _event(
        self,
        kind: str,
        watch: Watch,
        look: Look,
        place: int,
        opened: _Open,
        of: tuple[Sequence[tuple[Watch, Look]], Past] | None = None,
    ) -> Event:
        """of: all versions, and the older ones' past, of an event about all."""
        versions = [(watch, look)] if of is None else of[0]
        hours = 0.0
        for _, of_version in versions:
            hours += float(of_version.exposure[of_version.edges[:-1] >= opened.since - 1e-6, place].sum())
        if of is None:
            events, expected, _ = sums_since(watch, look, place, opened.since)
        else:
            events, expected = of[1].ratio(place, opened.since)
            hours -= float(look.exposure[look.edges[:-1] >= opened.since - 1e-6, place].sum())
        ratio, lower, upper = (
            ratio_interval(events, expected, float(look.ratio_variance[place])) if expected > 0 else (None,) * 3
        )
        return Event(
            kind,
            text_of(self._at),
            watch.segment.application,
            watch.segment.channel,
            watch.segment.os_name,
            watch.measures[place],
            watch.released.name.display_version if of is None else None,
            tuple(sorted({build for each, _ in versions for build in each.sums.builds})),
            ratio,
            lower,
            upper,
            float(np.exp(min(float(look.log_evidence[place]), 27.6))),
            PER_HOURS * expected / hours if hours > 0 else None,
            PER_HOURS * events / hours if hours > 0 else None,
            opened.slice,
            text_of(opened.since),
        )

    @property
    def is_open(self) -> bool:
        """Whether an alarm is up."""
        return bool(self._open)


def _one_thread() -> AbstractContextManager[Any]:
    """Keeps linear algebra in this thread: the matrices are so small that sharing them takes several times as long."""
    global _threads
    if _threads is None:
        from threadpoolctl import ThreadpoolController

        _threads = ThreadpoolController()
    return _threads.limit(limits=1, user_api="blas")


_threads: Any = None


def judge(
    dataset: Dataset | str | Path,
    at: Time = None,
    *,
    product: str = contract.FIREFOX.name,
    channel: str | None = None,
    os_name: str | None = None,
    releases: str | Path | Calendar | None = None,
    all_builds: bool = False,
) -> "pd.DataFrame":
    """What can be said of each release of a product as of a moment: a row per series, see `judgement.series.Series`.

    A series is a measure of a release on a channel and system. dataset: its folder, URL or an open one. at: only what
    was known then counts; None: as of the newest data. channel, os_name: only these. releases: a release calendar or
    its source; None: that in the dataset, else the snapshot. all_builds: not only those that the calendar knows.

    Raises MissionControlError for unknown names, and where there is no dataset.
    """
    import pandas as pd

    found, _ = judged(
        dataset, at, product=product, channel=channel, os_name=os_name, releases=releases, all_builds=all_builds
    )
    return pd.DataFrame([series.as_record() for series in found], columns=[*Series.__dataclass_fields__])


def judged(dataset: Dataset | str | Path, at: Time = None, **options: Any) -> tuple[list[Series], bool]:
    """The series as of a moment, and whether an alarm is up; arguments as for `judge`."""
    looked, is_up = looked_once(dataset, at, **options)
    return [series for series, _ in looked if series is not None], is_up


def looked_once(
    dataset: Dataset | str | Path, at: Time = None, *, on_series: OnSeries | None = None, **options: Any
) -> tuple[list[tuple[Series | None, Event | None]], bool]:
    """The only look of a judge at a moment, and whether an alarm is up; on_series: as for `Judge.look`."""
    moment = arguments.as_utc("at", at)
    judge_of_all, known = _judge_of(dataset, moment, moment, **options)
    when = judge_of_all.observations.newest if known is None else hours_of(known)
    found = list(judge_of_all.look(when, on_series)) if np.isfinite(when) else []
    return found, judge_of_all.is_open


def replay(
    dataset: Dataset | str | Path, since: Time, until: Time, every: str | timedelta = "1h", **options: Any
) -> "pd.DataFrame":
    """What a watcher would have been told between two moments, looking every so often: a row per event, in order.

    every: such as "5min", "1h" or "1d". Other arguments as for `judge`.
    """
    import pandas as pd

    events = list(replayed(dataset, since, until, every, **options))
    return pd.DataFrame([event.as_record() for event in events], columns=[*Event.__dataclass_fields__])


def replayed(
    dataset: Dataset | str | Path,
    since: Time,
    until: Time,
    every: str | timedelta = "1h",
    on_progress: Callable[[float], None] = lambda share: None,
    **options: Any,
) -> Iterator[Event]:
    """The events of `replay`, one by one; on_progress: called with the share that is done."""
    begin, end = arguments.as_utc("since", since), arguments.as_utc("until", until)
    if begin is None or end is None:
        raise MissionControlError("expected two times, since and until; got none for one of them")
    if end < begin:
        raise MissionControlError(f"until ({end:%Y-%m-%d %H:%M}) lies before since ({begin:%Y-%m-%d %H:%M})")
    step = length_of(every)
    watcher, _ = _judge_of(dataset, begin, end, **options)
    looks = (end - begin) // step + 1
    for number in range(looks):
        for _, event in watcher.look(hours_of(begin + number * step)):
            if event is not None:
                yield event
        on_progress((number + 1) / looks)


def length_of(every: str | timedelta) -> timedelta:
    """A length of time such as "1h". Raises MissionControlError for others, and for less than five minutes."""
    units = {"min": "minutes", "h": "hours", "d": "days"}
    found = re.fullmatch(r"(\d{1,4}(?:\.\d+)?)(min|h|d)", every) if isinstance(every, str) else None
    length = timedelta(**{units[found[2]]: float(found[1])}) if found else every
    if not isinstance(length, timedelta) or length < LEAST_EVERY:
        shown = arguments.brief(every)
        raise MissionControlError(f"every takes 5 minutes or more, such as '5min', '1h' or '1d', not {shown}")
    return length


def _judge_of(
    dataset: Dataset | str | Path,
    since: datetime | None,
    until: datetime | None,
    *,
    product: str = contract.FIREFOX.name,
    channel: str | None = None,
    os_name: str | None = None,
    releases: str | Path | Calendar | None = None,
    all_builds: bool = False,
) -> tuple[Judge, datetime | None]:
    """A judge of what a dataset holds, for looks from `since` to `until`; None: as of the newest data.

    Also returns until when data has arrived, or `until`; None where no commit of the dataset says so.
    """
    arguments.flag("all_builds", all_builds)
    place = dataset if isinstance(dataset, Dataset) else arguments.place("dataset", dataset)
    if isinstance(place, str):
        with told_by_the_system(place):
            is_in_older_files = is_older(place)
        opened = None if is_in_older_files else Dataset(place)
    else:
        opened = place
    products = contract.PACKAGED_PRODUCTS if opened is None else opened.products
    named = products.named(arguments.text("product", product))
    if channel is not None:
        arguments.choice("channel", channel, named.channel_names)
    if os_name is not None:
        arguments.choice("operating system", os_name, named.os_names)
    if named.calendar is None:
        calendar = Calendar((), named)
    elif isinstance(releases, Calendar):
        calendar = releases
    else:
        beside = None if opened is None else calendar_beside(opened.url)
        calendar = load_calendar(releases if releases is not None else beside)
    if opened is None:
        return Judge(read_older_observations(str(place), named, calendar, until, not all_builds)), until
    if not opened.tables():
        raise no_dataset(opened.url)
    known = until or opened.data_up_to()
    end = known or _end_of(opened)
    observations = read_observations(
        opened, named, calendar, since=since or end, until=end, channel=channel, os_name=os_name,
        official=not all_builds,
    )  # fmt: skip
    return Judge(with_incidents(observations, read_incidents(opened)), slice_finder(opened)), known


def _end_of(dataset: Dataset) -> datetime:
    """The end of the newest day of a dataset, none of whose commits says up to when it has data."""
    newest = max(dataset.files_by_day(), default=date(1970, 1, 1))
    return datetime(newest.year, newest.month, newest.day, tzinfo=UTC) + timedelta(days=1)
