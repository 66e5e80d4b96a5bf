"""What the judge says of all series at a moment, with how bad each is now, in a form that processes share."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from missioncontrol_nb.judgement.changes import Changes, changes_since
from missioncontrol_nb.judgement.course import Course, course_of, sums_since
from missioncontrol_nb.judgement.events import Event, OpenAlarm
from missioncontrol_nb.judgement.judging import looked_once
from missioncontrol_nb.judgement.observations import hours_of
from missioncontrol_nb.judgement.series import Series, ratio_interval, variance_besides_clusters
from missioncontrol_nb.judgement.watch import Look, Watch
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.statistics import PER_HOURS

if TYPE_CHECKING:
    import pyarrow as pa

COURSE = ("edges", "events", "exposure", "expected")


@dataclass(frozen=True)
class Figures:
    """The rate of a series in the hours since a moment, against the expected one.

    events, usage_hours: as in `Course`. rate, lower, upper: events per 1000 of these hours, with an interval for counts
    and hours. expected_rate: what is expected there. ratio: rate by expected rate, with an interval that is also for
    what is expected. Intervals are of 90 %. None where nothing can be said.
    """

    events: int
    usage_hours: float
    rate: float | None = None
    lower: float | None = None
    upper: float | None = None
    expected_rate: float | None = None
    ratio: float | None = None
    ratio_lower: float | None = None
    ratio_upper: float | None = None

    @classmethod
    def of(
        cls, sums: tuple[float, float, float], *, deviation: float, variance: float, dispersion: float = 1.0
    ) -> "Figures":
        """sums: events, expected events, hours. deviation: of the hours. variance: of the logarithm of the expected
        events. dispersion: the variance of events over that of chance."""
        events, expected, hours = sums
        if hours <= 0:
            return cls(round(events), 0.0)
        rate, lower, upper = ratio_interval(events, hours / PER_HOURS, deviation**2)
        said = cls(round(events), hours, rate, lower, upper)
        if not np.isfinite(expected) or expected <= 0:
            return said
        ratio, least, most = ratio_interval(events, expected, variance, dispersion)
        expected_rate = PER_HOURS * expected / hours
        return replace(said, expected_rate=expected_rate, ratio=ratio, ratio_lower=least, ratio_upper=most)


@dataclass(frozen=True)
class Verdict:
    """A series, its figures since its release, and those since it began to rise if it is or looks bad.

    variance: of the logarithm of the rate by the expected rate. is_of_build: whether it is of one build of a version,
    because the channel's builds are judged one by one.
    """

    series: Series
    since_release: Figures
    since_rise: Figures | None
    course: Course
    variance: float
    is_of_build: bool
    dispersion: float = 1.0

    @property
    def now(self) -> Figures:
        """How bad it is now: since it began to rise, or since its release where it has not risen."""
        return self.since_rise or self.since_release

    @property
    def last_day(self) -> Figures:
        """Its figures of the last 24 hours."""
        events, hours, expected = self.course.sums(float(self.course.edges[-1]) - 24)
        return Figures.of(
            (events, expected, hours),
            deviation=self.course.deviation,
            variance=self.variance,
            dispersion=self.dispersion,
        )

    @property
    def since(self) -> datetime | None:
        """When it began to rise, if it is or looks bad."""
        return datetime.fromisoformat(self.series.since) if self.series.since else None


def judge_all(dataset: Dataset, at: datetime | None = None, **options: Any) -> "Mapping[str, pa.Table]":
    """What the judge says of a product at a moment, as tables for `Verdicts`; arguments as for `judge`.

    Raises MissionControlError for unknown names, and where there is no dataset.
    """
    verdicts: list[Verdict] = []

    def note(series: Series, watch: Watch, look: Look, place: int) -> None:
        verdicts.append(verdict_of(series, watch, look, place))

    looked, _ = looked_once(dataset, at, on_series=note, **options)
    outside = [event for _, event in looked if event is not None and event.display_version is None]
    newest = max((datetime.fromisoformat(each.series.at) for each in verdicts), default=None)
    return tables_of(verdicts, outside, at or newest)


def judge_changes(
    dataset: Dataset, known: Sequence[OpenAlarm], at: datetime, **options: Any
) -> "tuple[Changes, Mapping[str, pa.Table]]":
    """What has changed about known alarms, and the verdicts of the same look, as tables; as for `changes_since`.

    A verdict is bad where an alarm is up, also one that a single look would not raise any more.
    """
    verdicts: list[Verdict] = []

    def note(series: Series, watch: Watch, look: Look, place: int) -> None:
        verdicts.append(verdict_of(series, watch, look, place))

    changes = changes_since(dataset, known, at, on_series=note, **options)
    outside = [each.event for each in changes.open if each.event.display_version is None]
    return changes, tables_of(verdicts, outside, at)


def verdict_of(series: Series, watch: Watch, look: Look, place: int) -> Verdict:
    """The verdict on a measure, by its place."""
    course = course_of(look, place, is_crash=bool(watch.is_crash[place]))
    variance, dispersion = variance_besides_clusters(watch, look, place), float(watch.dispersion[place])
    figures_of = partial(Figures.of, deviation=course.deviation, variance=variance, dispersion=dispersion)
    events, hours, expected = course.sums()
    since_release = figures_of((events, expected, hours))
    since_rise = None
    if series.since is not None:
        sums = sums_since(watch, look, place, hours_of(datetime.fromisoformat(series.since)))
        since_rise = figures_of(sums)
    is_of_build = bool(watch.released.name.build_id)
    return Verdict(series, since_release, since_rise, course, variance, is_of_build, dispersion)


KEYS = ("channel", "os_name", "measure", "display_version")


def tables_of(
    verdicts: Iterable[Verdict], outside: Iterable[Event] = (), at: datetime | None = None
) -> "Mapping[str, pa.Table]":
    """Verdicts, of each series that of the newest build first, and alarms about all versions, as tables."""
    import pyarrow as pa

    texts = [(name, pa.string()) for name in ("record", *KEYS)]
    lists = [(name, pa.list_(pa.float64())) for name in COURSE]
    return {
        "series": pa.Table.from_pylist([_row(each) for each in verdicts], pa.schema([*texts, *lists])),
        "outside": pa.table({"record": pa.array([json.dumps(each.as_record()) for each in outside], pa.string())}),
        "as_of": pa.table({"at": pa.array([at.isoformat() if at else None], pa.string())}),
    }


def _row(verdict: Verdict) -> dict[str, Any]:
    course = verdict.course
    record = {
        "series": verdict.series.as_record(),
        "since_release": asdict(verdict.since_release),
        "since_rise": asdict(verdict.since_rise) if verdict.since_rise else None,
        "healthy": course.healthy,  # NaN is allowed: nobody else reads it
        "deviation": course.deviation,
        "variance": verdict.variance,
        "is_of_build": verdict.is_of_build,
        "dispersion": verdict.dispersion,
    }
    keys = {name: getattr(verdict.series, name) for name in KEYS}
    return {"record": json.dumps(record), **keys, **{name: getattr(course, name) for name in COURSE}}


class Verdicts:
    """What the judge says of a product as of a moment, by channel, system, version and measure."""

    def __init__(self, tables: "Mapping[str, pa.Table]") -> None:
        """tables: what `judge_all` gave. `at`: as of when; None where there is no series."""
        at = tables["as_of"]["at"][0].as_py()
        self.at = datetime.fromisoformat(at) if at else None
        self._series, self._outside = tables["series"], tables["outside"]
        self._known: dict[tuple[str, ...], Verdict] = {}

    @cached_property
    def _places(self) -> dict[tuple[str, ...], list[int]]:
        """The rows of each series; that of the newest build first."""
        places: dict[tuple[str, ...], list[int]] = {}
        for place, key in enumerate(zip(*(self._series[name].to_pylist() for name in KEYS), strict=True)):
            places.setdefault(key, []).append(place)
        return places

    def of(self, channel: str, os_name: str, version: str, measure: str) -> Verdict | None:
        """The verdict on a measure of a version; None where the judge knows no such series.

        On a channel whose builds are judged one by one it is that on the newest build which is not too young.
        """
        key = channel, os_name, measure, version
        if key not in self._known:
            found = [self._verdict(place) for place in self._places.get(key, ())]
            if not found:
                return None
            self._known[key] = next((each for each in found if each.series.state != "too early"), found[0])
        return self._known[key]

    def course_of(self, channel: str, os_name: str, version: str, measure: str) -> Course | None:
        """The course of a version; None where it is unknown, and on a channel whose builds are judged one by one."""
        found = self._places.get((channel, os_name, measure, version), ())
        verdict = self.of(channel, os_name, version, measure) if len(found) == 1 else None
        return None if verdict is None or verdict.is_of_build else verdict.course

    def _verdict(self, place: int) -> Verdict:
        record = json.loads(self._series["record"][place].as_py())
        parts = {name: np.asarray(self._series[name][place].values, float) for name in COURSE}
        series = record["series"] | {"build_ids": tuple(record["series"]["build_ids"])}
        rise = record["since_rise"]
        return Verdict(
            Series(**series),
            Figures(**record["since_release"]),
            None if rise is None else Figures(**rise),
            Course(**parts, healthy=record["healthy"], deviation=record["deviation"]),
            record["variance"],
            record["is_of_build"],
            record["dispersion"],
        )

    @cached_property
    def outside(self) -> tuple[Event, ...]:
        """The alarms about all versions at once, which no release can be the cause of."""
        records = (json.loads(each) for each in self._outside["record"].to_pylist())
        return tuple(Event(**{**each, "build_ids": tuple(each["build_ids"])}) for each in records)

    def alarms(self, channel: str, os_names: Iterable[str]) -> list[Event]:
        """The alarms about all versions on a channel's systems."""
        systems = set(os_names)
        return [event for event in self.outside if event.channel == channel and event.os_name in systems]
