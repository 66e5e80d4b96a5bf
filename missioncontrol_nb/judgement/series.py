"""One series as of a moment: a measure of a release on a channel and system, in the form that is published."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from missioncontrol_nb.judgement.incidents import covered
from missioncontrol_nb.judgement.observations import moment_of
from missioncontrol_nb.judgement.watch import ALARM, QUANTILE, Look, Watch
from missioncontrol_nb.statistics import PER_HOURS

State = Literal["fine", "too early", "looks bad", "bad"]
LARGEST_EVIDENCE = 1e12
LEAST_SHAPE = 0.1  # of a ratio's gamma distribution: with less, 95 % of it are nearly 0
_MAY_BE_DOUBLE = "so far the rate may be double the expected one without being told apart"
_IS_HIGH = "the rate is higher than those of most healthy releases, but so far that may be chance"
DOUBLED = 2.0  # where the rate may be more than so many times the expected one, it is too early to call it fine


@dataclass(frozen=True)
class Series:
    """A measure of a release on a channel and system as of `at`; all sums since its release. Hours of data incidents
    are left out, but for usage_hours.

    usage_hours: as reported; usage_hours_corrected: as used, with those still to be reported, and its interval. rate,
    expected_rate: events per 1000 hours of use, for measures of crash pings, or of reported use, for others; expected
    is what a typical release shows at this age, and expected_lower to expected_upper what healthy ones do. rate_ratio:
    rate by expected rate. All intervals are of 90 %; None where nothing can be said. evidence: how many times as likely
    the counts are if the rate rose. since: when it began to, if it is or looks bad. why: why it is too early.
    """

    at: str
    application: str
    channel: str
    os_name: str
    measure: str
    display_version: str
    build_ids: tuple[str, ...]
    age_hours: float
    state: State
    events: int
    usage_hours: float
    usage_hours_corrected: float | None
    usage_hours_lower: float | None
    usage_hours_upper: float | None
    rate: float | None
    expected_rate: float | None = None
    expected_lower: float | None = None
    expected_upper: float | None = None
    rate_ratio: float | None = None
    lower: float | None = None
    upper: float | None = None
    evidence: float | None = None
    slice: Mapping[str, str] = field(default_factory=dict)
    since: str | None = None
    why: str = ""

    def as_record(self) -> dict[str, Any]:
        """The series as a JSON object."""
        return asdict(self) | {"build_ids": list(self.build_ids)}


def text_of(hours: float) -> str:
    """A moment, in hours since 1970, in ISO 8601."""
    return moment_of(hours).strftime("%Y-%m-%dT%H:%M:%SZ")


def ratio_interval(
    events: float, expected: float, variance: float, dispersion: float = 1.0
) -> tuple[float, float, float]:
    """events / expected, and its interval of 90 %; variance: of the logarithm of the expected events; dispersion: the
    variance of events over that of chance, because they come in clusters.

    The interval is that of a gamma distribution with the variance of the number of clusters and of what is expected.
    """
    from scipy.special import gammaincinv

    clusters = events / dispersion + 0.5
    shape = max(1 / (1 / clusters + variance), LEAST_SHAPE)
    mean = clusters * dispersion / expected
    lower, upper = (float(mean * gammaincinv(shape, tail) / shape) for tail in (0.05, 0.95))
    return events / expected, min(lower, events / expected), max(upper, events / expected)


def variance_besides_clusters(watch: Watch, look: Look, place: int) -> float:
    """The variance of the logarithm of a measure's expected events, without that by which events come in clusters."""
    of_clusters = (watch.dispersion[place] - 1) / max(float(look.total_typical[place]), 1e-9)
    return max(float(look.ratio_variance[place]) - of_clusters, 0.0)


def series_of(
    watch: Watch, look: Look, place: int, *, at: float, is_open: bool, since: float | None, looks_bad: bool
) -> Series:
    """The series of a measure. place: the measure's; at: as of when; is_open: whether an alarm is up."""
    age = at - watch.released.moment
    events, hours = float(look.total_events[place]), float(look.total_exposure[place])
    used = look.used if look.used > 0 else None
    spread = float(np.exp(QUANTILE * look.used_deviation))
    plain: dict[str, Any] = {
        "at": text_of(at),
        "application": watch.segment.application,
        "channel": watch.segment.channel,
        "os_name": watch.segment.os_name,
        "measure": watch.measures[place],
        "display_version": watch.released.name.display_version,
        "build_ids": watch.sums.builds,
        "age_hours": round(age, 4),
        "events": round(events),
        "usage_hours": look.reported,
        "usage_hours_corrected": used,
        "usage_hours_lower": None if used is None else min(max(look.reported, used / spread), used),
        "usage_hours_upper": None if used is None else used * spread,
        "rate": PER_HOURS * events / hours if hours > 0 else None,
    }
    expected = float(look.total_typical[place])
    if not np.isfinite(expected) or expected <= 0:
        return Series(**plain, state="too early", why=_why_too_early(watch, look, place, hours))
    variance = variance_besides_clusters(watch, look, place)
    ratio, lower, upper = ratio_interval(events, expected, variance, float(watch.dispersion[place]))
    expected_rate = PER_HOURS * expected / hours
    healthy = float(np.exp(QUANTILE * np.sqrt(look.healthy_variance[place])))
    may_be_double, is_high = upper >= DOUBLED, lower > 1 and ratio > healthy
    why = ""
    if not is_open and not looks_bad and (may_be_double or is_high):
        why = _MAY_BE_DOUBLE if may_be_double else _IS_HIGH
    state: State = "bad" if is_open else "looks bad" if looks_bad else "too early" if why else "fine"
    return Series(
        **plain,
        state=state,
        expected_rate=expected_rate,
        expected_lower=expected_rate / healthy,
        expected_upper=expected_rate * healthy,
        rate_ratio=ratio,
        lower=lower,
        upper=upper,
        evidence=float(min(np.exp(min(float(look.log_evidence[place]), 600.0)), LARGEST_EVIDENCE)),
        since=None if since is None else text_of(since),
        why=why,
    )


def _why_too_early(watch: Watch, look: Look, place: int, hours: float) -> str:
    if hours > 0:
        return "fewer than two earlier releases to compare with"
    if covered(watch.segment.incidents, watch.measures[place : place + 1], look.edges).all():
        return "all hours so far are in data incidents"
    return "no usage has been reported yet"


def is_up(look: Look, place: int) -> bool:
    """Whether the evidence of a measure is enough for an alarm."""
    return bool(look.log_evidence[place] >= ALARM)
