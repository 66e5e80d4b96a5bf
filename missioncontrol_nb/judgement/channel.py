"""Judges all releases of a channel at a moment: what was known then, what is typical, and what is up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from missioncontrol_nb.delay_law import DelayLaw
from missioncontrol_nb.judgement.activity import Activity, estimate_activity
from missioncontrol_nb.judgement.adopters import PAST_DAYS, Standard
from missioncontrol_nb.judgement.baseline import (
    AGE_EDGES,
    LEAST_RELEASES,
    Curves,
    History,
    Spread,
    learn_curves,
    learn_tau,
)
from missioncontrol_nb.judgement.incidents import covered, distrusted_hours, left_out
from missioncontrol_nb.judgement.observations import Name, Observations, Segment, are_builds
from missioncontrol_nb.judgement.release_moments import Released, Releases
from missioncontrol_nb.judgement.release_use import Usage
from missioncontrol_nb.judgement.scatter import (
    Early,
    Intervals,
    learn_drift,
    learn_law_scatter,
    learn_scatter,
    scatter_at,
)
from missioncontrol_nb.judgement.used_hours import UsedHours, estimate_used_hours, report_edges
from missioncontrol_nb.judgement.watch import Look, Watch, interval_edges
from streaming import contract

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
DAY = 24.0
MOST_RELEASES, MOST_BUILDS = 8, 20  # of a history
LEAST_AGE, LEAST_HOURS = 12.0, 100.0  # of a release in a history: hours since it is in the data, and hours of use
LEARNED_FOR = 72.0  # hours of age; later a release is compared with what was known then, or up to LEARNED_EVERY later
LEARNED_EVERY = 72.0  # so that many releases share what was known
MOST_LEARNED = 12  # days of each system that are remembered
HISTORY_AGE = 400.0  # hours of each release that a history has
SETTLED = 200.0  # hours later all of it has been reported
WATCHED_SHARE = 0.01  # of the reported hours of the last day: with less, an older release is not watched
MOST_WATCHED, MOST_WATCHED_BUILDS = 4, 10  # per segment
EARLY_HOURS = 24.0  # of a release, whose rates tell how long its delays are
LONGER = 1.25  # the factor of delays by which the estimate's sensitivity to them is found


@dataclass(frozen=True)
class Learned:
    """What was known of a segment at the beginning of a day. standard: None where users are not told apart."""

    day: float
    usage: Usage
    used: dict[Name, UsedHours]
    standard: Standard | None


class ChannelJudge:
    """The releases of one channel of a product, judged at ascending moments."""

    def __init__(self, observations: Observations, channel: str) -> None:
        self.observations, self.channel = observations, channel
        self.segments = observations.channel(channel)
        self.by_build = are_builds(observations.product, channel)
        self._releases = {
            segment.application: Releases(observations, channel, segment.application) for segment in self.segments
        }
        self._watches: dict[tuple[str, Name], Watch] = {}
        self._learned: dict[tuple[str, float], Learned] = {}
        self._taught: dict[tuple[str, Name], float] = {}
        self._spreads: dict[float, dict[str, Spread]] = {}
        self._sensitivities: dict[tuple[str, Name], Array] = {}
        self._are_crashes: dict[tuple[str, str], Mask] = {}  # by system and version
        self._are_reported: dict[tuple[str, str], Mask] = {}
        self._final: dict[tuple[str, Name], UsedHours] = {}  # of releases whose reports have all come

    @cached_property
    def measures(self) -> tuple[str, ...]:
        """The measures that are judged."""
        return self.observations.measures

    def is_crash(self, segment: Segment, released: Released) -> Mask:
        """By measure, whether a release's events come before their hours: see `comes_without_hours`."""
        key = segment.os_name, released.name.display_version
        if key not in self._are_crashes:
            found = [comes_without_hours(self.observations.product, name, *key) for name in self.measures]
            self._are_crashes[key] = np.array(found, bool)
        return self._are_crashes[key]

    def is_reported(self, segment: Segment, released: Released) -> Mask:
        """By measure, whether a release's clients report it on the system."""
        key = segment.os_name, released.name.display_version
        if key not in self._are_reported:
            why_not = self.observations.product.why_not_reported
            self._are_reported[key] = np.array(
                [why_not(contract.measure(name), *key) is None for name in self.measures]
            )
        return self._are_reported[key]

    def _witnesses(self, is_crash: Mask) -> Array:
        """For each measure, those that tell about its hours of use: of crashes, and not counting the same ones."""
        declared = [contract.measure(name) for name in self.measures]
        tells = np.outer(is_crash, is_crash).astype(float)
        for place, one in enumerate(declared):
            for other, another in enumerate(declared):
                if place == other:
                    tells[place, place] = 0.0
                elif is_part_of(one, another):
                    tells[:, place] = 0.0  # the whole tells all that it does
                    tells[place, other] = 0.0
        return tells

    def look(self, at: float) -> Iterator[tuple[Watch, Look]]:
        """The looks at all watched releases, newest first, system by system."""
        for segment in self.segments:
            releases = self._releases[segment.application].at(at)
            known = [released for released in releases if released.name in segment.releases]
            if known:
                usage = self._usage(segment, known, at)
            looks = []
            for place in self._watched(segment, known, at):  # the oldest first: later ones begin with what these show
                watch = self._watch(segment, known, place, at)
                looks.append((watch, watch.look(at, usage)))
            yield from reversed(looks)

    def _usage(self, segment: Segment, known: Sequence[Released], at: float) -> Usage:
        """What a segment's use is like, with the outages of today."""
        usage = self._learn(segment, known, at).usage
        seen = usage.activity.first_hour + len(usage.activity.outages)
        hours = np.arange(seen, np.floor(at + 1e-6) + 1)
        if len(hours) < 2:
            return usage
        reported = segment.all.between("usage_hours", hours)
        return Usage(usage.activity.seen(reported, distrusted_hours(segment.incidents, hours)), usage.law)

    def _watched(self, segment: Segment, known: Sequence[Released], at: float) -> list[int]:
        """The places of releases that are watched: the newest, and older ones that are used."""
        if not known:
            return []
        used = {
            place: float(np.diff(segment.releases[released.name].up_to("usage_hours", [at - DAY, at]))[0])
            for place, released in enumerate(known)
        }
        total = sum(used.values())
        most = MOST_WATCHED_BUILDS if self.by_build else MOST_WATCHED
        chosen = [place for place in used if total and used[place] >= WATCHED_SHARE * total]
        return sorted({*sorted(chosen, key=lambda place: -used[place])[:most], len(known) - 1})

    def _watch(self, segment: Segment, known: Sequence[Released], place: int, at: float) -> Watch:
        released = known[place]
        key = segment.os_name, released.name
        watch = self._watches.get(key)
        if watch is None or watch.released.moment != released.moment:
            is_crash = self.is_crash(segment, released)
            watch = Watch(segment, released, self.measures, is_crash, self._witnesses(is_crash))
            self._watches[key] = watch
            watch.begin_at(at)
            self._taught.pop(key, None)
        watch.superseded_at = known[place + 1].moment if place + 1 < len(known) else np.inf
        until = max(released.moment, self.observations.begins) + LEARNED_FOR
        learned_at = min(day_of(at), float(np.ceil(until / LEARNED_EVERY) * LEARNED_EVERY))
        if self._taught.get(key) != learned_at:
            self._taught[key] = learned_at
            self._teach(watch, segment, learned_at)
        return watch

    def _teach(self, watch: Watch, segment: Segment, day: float) -> None:
        """Gives a watch what earlier releases had shown by the beginning of a day."""
        earlier = [each for each in self._known(segment, day) if each.moment < watch.released.moment]
        earlier = earlier[-(MOST_BUILDS if self.by_build else MOST_RELEASES) :]
        spread = self._spread(segment, day)
        if len(earlier) >= LEAST_RELEASES:
            before = self._watches.get((segment.os_name, earlier[-1].name))
            is_mended = before is not None and mends(watch.released.name, before.released.name)
            mended = before.posterior() if before and is_mended else None
            standard = self._learn(segment, earlier, day).standard
            watch.learn(self._curves(segment, earlier, day, spread), spread, mended, standard)
        else:
            watch.learn(None, spread)

    def _known(self, segment: Segment, day: float) -> list[Released]:
        """The releases that the data has enough of at a day, oldest first."""
        begins = self.observations.begins
        found = []
        for each in self._releases[segment.application].at(day):
            if each.name in segment.releases and max(each.moment, begins) <= day - LEAST_AGE:
                span = max(each.moment, begins), min(day, each.moment + HISTORY_AGE)
                if span[1] > span[0] and segment.releases[each.name].between("usage_hours", span)[0] >= LEAST_HOURS:
                    found.append(each)
        return found

    def _spread(self, segment: Segment, day: float) -> Spread:
        """The scales of scatter as known at a day: those of the channel, and how clustered a system's events are.

        They change slowly, and are learned anew every few days.
        """
        day = float(np.floor(day / LEARNED_EVERY) * LEARNED_EVERY)
        if day not in self._spreads:
            self._spreads[day] = self._learn_spreads(day)
        return self._spreads[day][segment.os_name]

    def _learn_spreads(self, day: float) -> dict[str, Spread]:
        histories: dict[int, History] = {}
        intervals: list[Intervals] = []
        early: list[Early] = []
        usual = Spread.usual(len(self.measures))
        for place, segment in enumerate(self.segments):
            known = self._known(segment, day)[-(MOST_BUILDS if self.by_build else MOST_RELEASES) :]
            if len(known) >= LEAST_RELEASES:
                histories[place] = self._history(segment, known, day)
                of_segment = learn_curves(histories[place], usual.scatter, usual.dispersion)
                found = self._intervals(segment, known, day, of_segment)
                intervals += [replace(each, system=place) for each in found]
                early += self._early(segment, known, day, of_segment)
        scatter, dispersion = learn_scatter(intervals, len(self.segments), len(self.measures))
        drift = learn_drift(intervals, scatter, dispersion)
        # Once more, now that it is known what is chance: clusters are no differences between releases.
        curves = [learn_curves(history, scatter, dispersion[place]) for place, history in histories.items()]
        spread = Spread(learn_tau(curves), scatter, dispersion[0], drift, learn_law_scatter(early))
        return {
            segment.os_name: replace(spread, dispersion=of_system)
            for segment, of_system in zip(self.segments, dispersion, strict=True)
        }

    def _curves(self, segment: Segment, earlier: Sequence[Released], day: float, spread: Spread) -> Curves:
        return learn_curves(self._history(segment, earlier, day), spread.scatter, spread.dispersion)

    def _history(self, segment: Segment, earlier: Sequence[Released], day: float) -> History:
        learned = self._learn(segment, earlier, day)
        events, exposure = [], []
        for released in earlier:
            edges = np.minimum(released.moment + np.minimum(AGE_EDGES, HISTORY_AGE), day)
            events.append(self._events(segment, released, edges))
            exposure.append(self._exposure(segment, released, edges, learned))
        is_crash = self.is_crash(segment, earlier[-1])
        places = (np.flatnonzero(is_crash), np.flatnonzero(~is_crash))
        groups = tuple(tuple(int(place) for place in each) for each in places if len(each))
        return History(np.array(events), np.array(exposure), groups)

    def _intervals(
        self, segment: Segment, known: Sequence[Released], day: float, curves: Curves
    ) -> Iterator[Intervals]:
        learned = self._learn(segment, known, day)
        for place, released in enumerate(known):
            edges = interval_edges(released.moment, min(day, released.moment + HISTORY_AGE))
            edges = edges[edges <= day - DAY] if len(edges) > 2 else edges
            if len(edges) < 4:
                continue
            ages = (edges[1:] + edges[:-1]) / 2 - released.moment
            typical = curves.rate(ages) * np.exp(curves.effects[place])
            expected = self._exposure(segment, released, edges, learned) * typical
            newer = known[place + 1].moment - released.moment if place + 1 < len(known) else np.inf
            events = np.where(np.isfinite(curves.level), self._events(segment, released, edges), 0.0)
            yield Intervals(ages, events, expected, newer)

    def _early(self, segment: Segment, known: Sequence[Released], day: float, curves: Curves) -> Iterator[Early]:
        """The first hours of releases that the data has from their beginning on."""
        learned = self._learn(segment, known, day)
        for place, released in enumerate(known):
            used = learned.used[released.name]
            if released.moment < used.edges[0] - 1e-6 or day < released.moment + 2 * EARLY_HOURS:
                continue
            edges = released.moment + AGE_EDGES[AGE_EDGES <= EARLY_HOURS]
            ages = (edges[1:] + edges[:-1]) / 2 - released.moment
            typical = curves.rate(ages) * np.exp(curves.effects[place])
            expected = self._exposure(segment, released, edges, learned) * typical
            events = np.where(np.isfinite(curves.level), self._events(segment, released, edges), 0.0)
            sensitivity = self._sensitivity(segment, released, edges, learned.usage)
            is_crash = self.is_crash(segment, released)
            yield Early(events[:, is_crash], expected[:, is_crash], sensitivity, scatter_at(ages))

    def _sensitivity(self, segment: Segment, released: Released, edges: Array, usage: Usage) -> Array:
        """How much the logarithm of a release's hours grows with that of its delays, when it is two days old."""
        key = segment.os_name, released.name
        if key not in self._sensitivities:
            until = released.moment + 2 * EARLY_HOURS
            slower, usual = (
                np.maximum(self._used(segment, released, until, usage.activity, law).between(edges), 1e-9)
                for law in (usage.law.scaled(LONGER), usage.law)
            )
            self._sensitivities[key] = np.clip(np.log(slower / usual) / np.log(LONGER), 0.0, 4.0)
        return self._sensitivities[key]

    def _events(self, segment: Segment, released: Released, edges: Array) -> Array:
        """Events without those of data incidents: (intervals, measures)."""
        sums = segment.releases[released.name]
        return left_out(
            segment.incidents,
            self.measures,
            edges,
            lambda finer: sums.table(self.measures, finer),
        )

    def _exposure(self, segment: Segment, released: Released, edges: Array, learned: Learned) -> Array:
        """The hours that events belong to, times the index of those who used the release, without those of data
        incidents: (intervals, measures)."""

        def hours(finer: Array) -> Array:
            used = learned.used[released.name].between(finer)
            reported = segment.releases[released.name].between("usage_hours", finer)
            exposure = np.where(self.is_crash(segment, released), used[:, None], reported[:, None])
            exposure = np.where(self.is_reported(segment, released), exposure, 0.0)
            if learned.standard is not None:
                exposure *= learned.standard.index(released.name, finer, learned.day)
            return exposure

        return left_out(segment.incidents, self.measures, edges, hours)

    def _learn(self, segment: Segment, known: Sequence[Released], at: float) -> Learned:
        """What was known of a segment when the day of a moment began: use, delays, and earlier releases' use."""
        day = day_of(at)
        if len(segment.all.ends) and day <= segment.all.ends[0]:
            day = at  # there is no earlier day
        key = segment.os_name, day
        if key not in self._learned:
            law = self._law(segment, day)
            ends = segment.all.ends
            first = int(np.floor(ends[0] - 1e-6)) if len(ends) else int(day) - 1
            hours = np.arange(max(first, int(day) - 28 * 24 * 2), int(np.floor(day)) + 1, dtype=float)
            if len(hours) < 2:
                hours = np.array([day - 1, day])
            distrusted = distrusted_hours(segment.incidents, hours)
            activity = estimate_activity(int(hours[0]), segment.all.between("usage_hours", hours), law, distrusted)
            used = {}
            for released in self._known(segment, day)[-2 * (MOST_BUILDS if self.by_build else MOST_RELEASES) :]:
                name = segment.os_name, released.name
                found = self._final.get(name) or self._used(segment, released, day, activity, law)
                if day > released.moment + HISTORY_AGE + SETTLED:
                    self._final[name] = found
                used[released.name] = found
            of_system = [each for each in self._learned if each[0] == segment.os_name]
            if len(of_system) >= MOST_LEARNED:
                del self._learned[of_system[0]]
            self._learned[key] = Learned(day, Usage(activity, law), used, self._standard(segment, day))
        return self._learned[key]

    def _standard(self, segment: Segment, day: float) -> Standard | None:
        """How the rates of a segment's users differ, without the days of data incidents."""
        if segment.adopters is None:
            return None
        days = day + DAY * np.arange(-PAST_DAYS, 1.0)
        wrong = np.any(covered(segment.incidents, self.measures, days), axis=1)
        known = self._releases[segment.application].at(day)
        is_crash = self.is_crash(segment, known[-1]) if known else np.zeros(len(self.measures), bool)
        return segment.adopters.learn(day, is_crash, np.asarray(wrong))

    def _law(self, segment: Segment, day: float) -> DelayLaw:
        """The segment's delays; where it has none, those of the channel's other systems."""
        own = segment.delay_law(day)
        if own.is_known:
            return own
        others = [each.delay_law(day) for each in self.segments if each is not segment]
        return next((law for law in others if law.is_known), _AT_ONCE)

    def _used(self, segment: Segment, released: Released, until: float, activity: Activity, law: DelayLaw) -> UsedHours:
        end = min(until, released.moment + HISTORY_AGE + SETTLED)
        since = max(released.moment, self.observations.begins)
        if end <= since:
            return UsedHours(np.array([since, since + 1.0]), np.zeros(1))
        edges = report_edges(released.moment, end, since)
        reported = segment.releases[released.name].between("usage_hours", edges)
        distrusted = distrusted_hours(segment.incidents, edges)
        newer = [each.moment for each in self._releases[segment.application].at(until) if each.moment > released.moment]
        superseded = min(newer, default=np.inf)
        found = estimate_used_hours(edges, reported, released.moment, activity, law, superseded, distrusted)
        return UsedHours(found.edges, found.hours)


_AT_ONCE = DelayLaw(np.array([0.0, 0.25, 336.0]), np.array([0.0, 1.0, 1.0]))


def day_of(moment: float) -> float:
    """The beginning of the day, UTC, of a moment."""
    return float(np.floor(moment / DAY) * DAY)


def mends(name: Name, other: Name) -> bool:
    """Whether a release is a point release of another, such as 56.0.1 of 56.0."""
    numbers, of_other = (each.display_version.removesuffix("esr").split(".") for each in (name, other))
    return len(numbers) > 2 and numbers[:2] == of_other[:2] and name.display_version != other.display_version


def is_part_of(measure: contract.Measure, whole: contract.Measure) -> bool:
    """Whether each event of a measure is one of another, too; a measure is part of itself."""
    return all(any(_includes(source, each) for source in whole.sources) for each in measure.sources)


def _includes(source: contract.Count | contract.Event, part: contract.Count | contract.Event) -> bool:
    if not isinstance(source, contract.Event) or not isinstance(part, contract.Event):
        return source == part
    return (
        source.kind == part.kind
        and all(set(part.where.get(at, ())) <= set(texts) and at in part.where for at, texts in source.where.items())
        and all(set(texts) <= set(part.unless.get(at, ())) for at, texts in source.unless.items())
    )


def comes_without_hours(product: contract.Product, measure: str, os_name: str, version: str) -> bool:
    """Whether the pings that count a measure of a version report no usage, so that its hours come after its events.

    Where no ping of the version counts it, all kinds of ping that report it decide.
    """
    declared = contract.measure(measure)
    kinds = product.kinds_of(declared, os_name, version) or declared.kinds
    return all(kind.split("/")[1] == "crash" for kind in kinds)
