"""Other rules that say whether a release is bad, given the same fleets, at the same moments, as the judge.

Each is a function of a channel's history on a system that returns, for each release, measure and moment, whether it
raises an alarm there. What it says of a moment depends on nothing later. All are told the true moment of each release.
They get hours of use as they were reported, as their originals did.

All times are hours since 1970, UTC.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import pdtrc

from benchmarks.judgement_models import Effects, Expectation, farrington, version_effects
from missioncontrol_nb.judgement.observations import Observations
from missioncontrol_nb.simulator.fleet import Expected

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
STEP = 0.5  # hours between moments
JUDGED_FOR = 14 * 24.0
V1_WORSE = 1.25
V2_WORSE, V2_SURE = 1.2, 0.75
VELOCITY_FACTOR, VELOCITY_EVENTS, VELOCITY_HOURS = 2.0, 25.0, 10.0
FIRST_MONTH = 30 * 24.0
POISSON_LEVEL = 0.05
MOST_VERSIONS = 12  # of a fit


@dataclass(frozen=True)
class History:
    """A channel's releases on a system, oldest first.

    moments: (moments,), STEP apart, the first a midnight. outs: (releases,), when each came out. events: (releases,
    measures, moments), hours: (releases, moments): sums since the data begins, up to each moment. judged_from: before
    it, no release is judged.
    """

    moments: Array
    outs: Array
    events: Array
    hours: Array
    judged_from: float

    def until(self, moment: float) -> "History":
        """What was known at a moment."""
        kept = self.moments <= moment + 1e-6
        events, hours = self.events[:, :, kept], self.hours[:, kept]
        return replace(self, moments=self.moments[kept], events=events, hours=hours)

    def between(self, place: int, since: npt.ArrayLike, until: npt.ArrayLike) -> tuple[Array, Array]:
        """A release's events, (measures, spans), and hours, (spans,), between moments."""
        first, last = (np.clip(self.place_of(each), 0, len(self.moments) - 1) for each in (since, until))
        events, hours = self.events[place], self.hours[place]
        return events[:, last] - events[:, first], hours[last] - hours[first]

    def rate(self, place: int, since: npt.ArrayLike, until: npt.ArrayLike) -> Array:
        """Its events per hour, (measures, spans); NaN where no use was reported."""
        events, hours = self.between(place, since, until)
        return np.asarray(events / np.where(hours > 0, hours, np.nan))

    def between_all(self, moments: Array) -> Array:
        """The hours of all releases between each moment and the next."""
        return np.asarray(np.diff(self.hours.sum(axis=0)[self.place_of(moments)]))

    def place_of(self, moments: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The places of moments among the moments."""
        return np.round((np.asarray(moments, float) - self.moments[0]) / STEP).astype(np.int64)

    @property
    def midnights(self) -> Array:
        """The midnights on which a release may be judged."""
        days = self.moments[self.moments % 24 == 0]
        return days[days >= self.judged_from]

    def nothing(self) -> Mask:
        """No alarm anywhere."""
        return np.zeros(self.events.shape, bool)

    def up_on_days(self, up: Mapping[tuple[int, float], Mask]) -> Mask:
        """Alarms from what a rule that runs at midnight says of releases: until the next midnight, it stands."""
        alarms = self.nothing()
        for (place, day), measures in up.items():
            alarms[place][:, (self.moments >= day) & (self.moments < day + 24)] = measures[:, None]
        return alarms


def mission_control_1(history: History) -> Mask:
    """Mission Control v1's overall rate: that since the release is more than 25 % above the previous version's.

    github.com/mozilla/missioncontrol: `missioncontrol/etl/measuresummary.py` has the rates and `frontend/ui/
    platformcard.jsx` the 25 % above which a change is shown in red (there of adjusted rates of major versions; here of
    each release and the one before). The previous version's is that of the time when it was current; the first 24 hours
    of both are left out once the newer is older than that, if the version lasts longer than two days. Not done: v1
    drops the 0.1 % of 5-minute windows with the highest rates, and shows only the newest version.
    """
    return _worse_than_previous(history, is_adjusted=False)


def mission_control_1_adjusted(history: History) -> Mask:
    """Mission Control v1's adjusted rate: the same, with the previous version over the same time since its release."""
    return _worse_than_previous(history, is_adjusted=True)


def _worse_than_previous(history: History, *, is_adjusted: bool) -> Mask:
    alarms = history.nothing()
    for place in range(1, len(history.outs)):
        out, previous_out = history.outs[place], history.outs[place - 1]
        ages = history.moments - out
        lasted = out - previous_out
        since = out + np.where(ages > 48, 24.0, 0.0)
        before = previous_out + np.where((ages > 24) & (lasted > 48), 24.0, 0.0)
        until = np.minimum(before + (ages if is_adjusted else lasted), history.moments)
        rate, usual = history.rate(place, since, history.moments), history.rate(place - 1, before, until)
        alarms[place] = (ages > 0) & (usual > 0) & (rate > V1_WORSE * usual)
    return alarms


def mission_control_2(history: History) -> Mask:
    """Mission Control v2's model, once a day: alarm where P(more than 20 % worse than the previous version) > 0.75.

    github.com/mozilla/missioncontrol-v2, `missioncontrol.lib.R`: `make.a.model` (crashes + 1, negative binomial, by
    system; log hours; a smooth function of adoption; a random effect of each version), `make_cmp_dt` (> 0.20) and
    `whatColor` (0.75 is red). Both versions are compared at the same adoption, so the random effects decide. v2 sampled
    the posterior with brms (four chains of 4000), which is slow, so it ran once a day, and so does this; here the
    posterior is a normal approximation at its maximum, and a system is fitted alone. Hours are those of all users, not
    only of those whose Firefox crashed. The 14 days after each release count; v2 took those while it was current.
    """
    up: dict[tuple[int, float], Mask] = {}
    for day in history.midnights:
        versions = [place for place, out in enumerate(history.outs) if out < day][-MOST_VERSIONS:]
        rows = _daily_rows(history, versions, float(day))
        if rows is None or len(versions) < 2:
            continue
        effects = [version_effects(*rows, measure) for measure in range(history.events.shape[1])]
        for index, place in enumerate(versions[1:], 1):
            if day - history.outs[place] <= JUDGED_FOR:
                up[place, float(day)] = np.array([_is_worse(each, index) for each in effects])
    return history.up_on_days(up)


def _is_worse(effects: Effects | None, index: int) -> bool:
    if effects is None:
        return False
    return effects.chance_above(index, index - 1, float(np.log(V2_WORSE))) > V2_SURE


def _daily_rows(
    history: History, versions: Sequence[int], day: float
) -> tuple[npt.NDArray[np.int64], Array, Array, Array] | None:
    """By version and day before a day: the place of the version, adoption, hours, and events by measure."""
    days = history.moments[(history.moments % 24 == 0) & (history.moments <= day)]
    all_hours = history.between_all(days)
    found = []
    for index, place in enumerate(versions):
        events, hours = history.between(place, days[:-1], days[1:])
        age = days[1:] - history.outs[place]
        kept = (age > 0) & (age <= JUDGED_FOR + 24) & (hours > 0) & (all_hours > 0)
        adoption = hours[kept] / all_hours[kept]
        found.append((np.full(int(kept.sum()), index), adoption, hours[kept], events[:, kept]))
    if not sum(len(each[1]) for each in found):
        return None
    version, adoption, hours = (np.concatenate([each[part] for each in found]) for part in range(3))
    return version.astype(np.int64), adoption, hours, np.concatenate([each[3] for each in found], axis=1)


def velocity(history: History) -> Mask:
    """A velocity alert like Crashlytics': within 30 minutes, a rate above a threshold that a person has set.

    Its documentation (firebase.google.com/docs/crashlytics/velocity-alerts): by default an alert is raised if an issue
    affects 1 % of the sessions, and 25 users, within 30 minutes, of an app with at least 10 users. Here the 1 % is a
    rate per hour of use that is set by hand once per measure, system and channel: twice the median day's rate of all
    versions in the month before the first judged release. 25 users are 25 events, 10 users 10 hours of use.
    """
    first = max(history.judged_from - FIRST_MONTH, history.moments[0])
    days = np.arange(np.ceil(first / 24) * 24, history.judged_from + 1e-6, 24.0)
    events, hours = (each.sum(axis=0) for each in (history.events, history.hours))
    at = history.place_of(days[days <= history.moments[-1] + 1e-6])
    with np.errstate(invalid="ignore", divide="ignore"):
        usual = np.nanmedian(np.diff(events[:, at]) / np.diff(hours[at]), axis=1)
    of_window = np.diff(history.events, axis=2, prepend=0.0)
    hours_of_window = np.diff(history.hours, axis=1, prepend=0.0)[:, None, :]
    above = of_window > VELOCITY_FACTOR * usual[None, :, None] * hours_of_window
    up = above & (of_window >= VELOCITY_EVENTS) & (hours_of_window >= VELOCITY_HOURS)
    up &= history.moments[None, None, :] > history.outs[:, None, None]
    return np.logical_or.accumulate(up, axis=2)


def poisson_test(history: History) -> Mask:
    """A Poisson test at each look, at 5 %, of the events since the release against the previous version's rate."""
    alarms = history.nothing()
    for place in range(1, len(history.outs)):
        out, previous_out = history.outs[place], history.outs[place - 1]
        until = np.minimum(out, history.moments)
        events, hours = history.between(place, np.full(len(history.moments), out), history.moments)
        usual = history.rate(place - 1, np.full(len(history.moments), previous_out), until)
        chance = pdtrc(np.maximum(events - 1, 0), np.nan_to_num(usual) * np.maximum(hours, 0))
        is_after = (history.moments > out) & (hours > 0)
        alarms[place] = is_after & (usual > 0) & (events > 0) & (chance < POISSON_LEVEL)
    return alarms


def improved_farrington(history: History) -> Mask:
    """Farrington's improved method (Noufaily et al., Statistics in Medicine 32, 2013), once a day.

    Counts of up to eight weeks of days, all versions together, with their hours as offset, give the rate to expect
    today; a release's last 24 hours are compared with the 99.5 % quantile of that, see `judgement_models.farrington`.
    """
    up: dict[tuple[int, float], Mask] = {}
    for day in history.midnights:
        days = history.moments[(history.moments % 24 == 0) & (history.moments <= day)]
        judged = [place for place, out in enumerate(history.outs) if 0 < day - out <= JUDGED_FOR]
        if len(days) < 2 or not judged:
            continue
        at = history.place_of(days)
        hours = np.diff(history.hours.sum(axis=0)[at])
        events = np.diff(history.events.sum(axis=0)[:, at], axis=1)
        expectations = [farrington(days[:-1] / 24, counts, hours) for counts in events]
        for place in judged:
            now, used = history.between(place, [day - 24], [day])
            up[place, float(day)] = np.array(
                [
                    _exceeds(each, float(count), float(used[0]))
                    for each, count in zip(expectations, now[:, 0], strict=True)
                ]
            )
    return history.up_on_days(up)


def _exceeds(expectation: Expectation | None, count: float, hours: float) -> bool:
    return expectation is not None and hours > 0 and expectation.is_exceeded(count, hours)


RIVALS: dict[str, Callable[[History], Mask]] = {
    "Mission Control v1, overall rate": mission_control_1,
    "Mission Control v1, adjusted rate": mission_control_1_adjusted,
    "Mission Control v2, daily": mission_control_2,
    "velocity alert": velocity,
    "Poisson test at each look": poisson_test,
    "Farrington's improved method, daily": improved_farrington,
}


def histories(
    observations: Observations, expected: Expected, measures: Sequence[str], judged_from: float
) -> Iterator[tuple[str, list[str], History]]:
    """By system: its name, the names of its releases, oldest first, and their history."""
    begins = np.ceil(observations.begins / 24) * 24
    moments = np.arange(begins, observations.newest + 1e-6, STEP)
    for segment in observations.segments:
        outs = {build.build_id: build.out / 3600 for build in expected.builds if build.os_name == segment.os_name}
        releases = sorted(segment.releases.items(), key=lambda pair: (outs[pair[1].builds[0]], pair[1].builds[0]))
        yield (
            segment.os_name,
            [name.build_id or name.display_version for name, _ in releases],
            History(
                moments,
                np.array([outs[sums.builds[0]] for _, sums in releases]),
                np.array([[sums.up_to(name, moments) for name in measures] for _, sums in releases]),
                np.array([sums.up_to("usage_hours", moments) for _, sums in releases]),
                judged_from,
            ),
        )


def first_alarms(history: History, up: Mask, begin: float, every: float) -> dict[tuple[int, int], float]:
    """The look at which each release and measure is first up, by their places."""
    looks = np.arange(begin, history.moments[-1] + 1e-6, every)
    at = history.place_of(looks)
    found = {}
    for place, out in enumerate(history.outs):
        inside = (looks > out) & (looks <= out + JUDGED_FOR)
        seen = up[place][:, at[inside]]
        for measure in np.flatnonzero(seen.any(axis=1)):
            found[place, int(measure)] = float(looks[inside][int(np.argmax(seen[measure]))])
    return found
