"""Rates per 1000 usage hours with exact intervals, changes between releases, and how complete an hour is."""

import sys
from collections.abc import Sequence
from datetime import datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from streaming.errors import MissionControlError, unknown_name

if TYPE_CHECKING:
    import pandas as pd

Numbers = npt.ArrayLike
Array = npt.NDArray[np.float64]

PER_HOURS = 1000
HOUR = np.timedelta64(1, "h")
# The last delay bucket is open: what is in it is taken to arrive evenly until twice its lower edge.
OPEN_BUCKET_FACTOR = 2


def rates(frame: "pd.DataFrame", confidence: float = 0.95, measures: Sequence[str] | None = None) -> "pd.DataFrame":
    """Rates of a frame of sums such as `load` returns: one row per row and measure.

    frame: `usage_hours`, measures (all numbers but `count` and `usage_hours`, unless `measures` names them), and
    the keys, all other columns. Sum first, rate last: a rate is a ratio of sums.

    Columns out: the keys, `measure`, `events` (int), `usage_hours`, and `rate_per_1k_hours`, `rate_lower`,
    `rate_upper` (events per 1000 usage hours, exact Poisson interval); NaN without usage. Rows where a measure is
    missing (NaN) are left out: missing is not zero. Raises MissionControlError for columns that are not there.
    """
    import pandas as pd

    if "usage_hours" not in frame.columns:
        raise unknown_name("column", "usage_hours", map(str, frame.columns))
    names = list(measures) if measures is not None else _measures_of(frame)
    for name in names:
        if name not in frame.columns:
            raise unknown_name("measure", name, _measures_of(frame))
    keys = [column for column in frame.columns if column not in {"usage_hours", "count", *names}]
    parts = [_measure_rates(frame, keys, name) for name in names] or [_measure_rates(frame.assign(x=0)[:0], keys, "x")]
    long = pd.concat(parts, ignore_index=True).astype({"events": "int64"})
    lower, upper = rate_interval(long["events"], long["usage_hours"], confidence)
    rate = _per_hours(long["events"], long["usage_hours"])
    return long.assign(rate_per_1k_hours=rate, rate_lower=lower, rate_upper=upper)


def _measures_of(frame: "pd.DataFrame") -> list[str]:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    numbers = [name for name in frame.columns if is_numeric_dtype(frame[name]) and not is_bool_dtype(frame[name])]
    return [name for name in numbers if name not in ("usage_hours", "count")]


def _measure_rates(frame: "pd.DataFrame", keys: list[str], measure: str) -> "pd.DataFrame":
    counted = frame[frame[measure].notna()]
    columns: dict[str, Any] = {key: counted[key] for key in keys}
    columns |= {"measure": measure, "events": counted[measure], "usage_hours": counted["usage_hours"]}
    return type(frame)(columns, index=counted.index).astype({"measure": object, "usage_hours": "float64"})


def _per_hours(events: Numbers, usage_hours: Numbers) -> Array:
    """Events per 1000 usage hours; NaN without usage."""
    numerator, hours = np.broadcast_arrays(np.asarray(events, float), np.asarray(usage_hours, float))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _finite(numerator * PER_HOURS / hours)


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)


def _tail(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise MissionControlError(f"a confidence lies between 0 and 1, like 0.95, not {confidence!r}")
    return (1 - confidence) / 2


def _not_negative(name: str, values: Numbers) -> Array:
    array = np.asarray(values, float)
    if (array < 0).any():
        raise MissionControlError(f"{name} cannot be negative: {array[array < 0][0]}")
    return array


def rate_interval(events: Numbers, usage_hours: Numbers, confidence: float = 0.95) -> tuple[Array, Array]:
    """The exact interval of a Poisson rate, per 1000 usage hours: (lower, upper), each of the broadcast shape.

    The limits are those of Garwood (1936): chi2.ppf(a/2, 2k) / 2 and chi2.ppf(1 - a/2, 2k + 2) / 2 for k events,
    written as inverse incomplete gamma functions. The lower one is 0 for no events; both are NaN without usage.
    """
    from scipy.special import gammainccinv, gammaincinv

    tail = _tail(confidence)
    count, hours = _not_negative("events", events), _not_negative("usage hours", usage_hours)
    lower = np.where(count > 0, gammaincinv(np.maximum(count, 1), tail), 0.0)
    return _per_hours(lower, hours), _per_hours(gammainccinv(count + 1, tail), hours)


def change(
    events: Numbers,
    usage_hours: Numbers,
    events_before: Numbers,
    usage_hours_before: Numbers,
    confidence: float = 0.95,
) -> tuple[Array, Array, Array]:
    """The change of a rate against the one before, with its exact interval: (change, lower, upper), vectorised.

    Fractions: 0.38 is 38 % more. Given the sum of both counts, the first is binomial, and its Clopper-Pearson
    interval is turned into one of the ratio of rates (Przyborowski and Wilenski 1940). NaN says "cannot be said":
    all three without usage on either side or without any event; without events before, the change and the upper
    limit, which has no bound, while the lower one stands.
    """
    from scipy.special import betainccinv, betaincinv

    tail = _tail(confidence)
    now, before = _not_negative("events", events), _not_negative("events", events_before)
    hours, hours_before = _not_negative("usage hours", usage_hours), _not_negative("usage hours", usage_hours_before)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        odds_to_ratio = _finite(np.where((hours > 0) & (now + before > 0), hours_before / hours, np.nan))
        odds_to_ratio = np.where(odds_to_ratio > 0, odds_to_ratio, np.nan)
        share_lower = np.where(now > 0, betaincinv(np.maximum(now, 1), before + 1, tail), 0.0)
        share_upper = np.where(before > 0, betainccinv(now + 1, np.maximum(before, 1), tail), 1.0)
        ratios = [now / before, share_lower / (1 - share_lower), share_upper / (1 - share_upper)]
        value, lower, upper = (_finite(ratio * odds_to_ratio - 1) for ratio in ratios)
    return value, lower, upper


def standardised_rate(
    events: Numbers, usage_hours: Numbers, weights: Numbers, confidence: float = 0.95
) -> tuple[float, float, float]:
    """The weighted mean of the rates of some strata, per 1000 usage hours, with its interval: (rate, lower, upper).

    weights: of the strata, summing to 1. All strata need usage. The interval is the gamma interval of Fay and Feuer
    (1997) for directly standardised rates; with one stratum it is that of rate_interval.
    """
    from scipy.special import gammainccinv, gammaincinv

    tail = _tail(confidence)
    count, share = np.asarray(events, float), PER_HOURS * np.asarray(weights, float) / np.asarray(usage_hours, float)
    rate, variance, most = float(share @ count), float(share**2 @ count), float(share.max())
    lower = variance / rate * gammaincinv(rate**2 / variance, tail) if rate > 0 else 0.0
    wider = variance + most**2
    upper = wider / (rate + most) * gammainccinv((rate + most) ** 2 / wider, tail)
    return rate, float(lower), float(upper)


def standardised_change(
    events: Numbers,
    usage_hours: Numbers,
    events_before: Numbers,
    usage_hours_before: Numbers,
    weights: Numbers,
    confidence: float = 0.95,
) -> tuple[float, float, float]:
    """The change of a standardised rate against the one before: (change, lower, upper), fractions.

    The interval is that of the logarithm of the ratio, normal by the delta method; all NaN where either side has no
    event.
    """
    from scipy.special import ndtri

    share = np.asarray(weights, float)
    logarithm, variance = 0.0, 0.0
    for sign, counted, hours in ((1, events, usage_hours), (-1, events_before, usage_hours_before)):
        count, factor = np.asarray(counted, float), share / np.asarray(hours, float)
        rate = float(factor @ count)
        if rate <= 0:
            return np.nan, np.nan, np.nan
        logarithm += sign * float(np.log(rate))
        variance += float(factor**2 @ count) / rate**2
    reach = float(ndtri(1 - _tail(confidence)) * np.sqrt(variance))
    value, lower, upper = (float(np.expm1(logarithm + step)) for step in (0.0, -reach, reach))
    return value, lower, upper


def completeness(delays: "pd.DataFrame", window_start: Any, window_end: Any, now: datetime) -> Array:
    """The share of the usage of stretches of time that can be expected to have arrived by now, each in [0, 1].

    delays: rows of `reporting_delays` (`delay_hours`, the upper edge of the bucket of submission minus use;
    `usage_hours`), of whatever channels and platforms it is to hold for. window_start, window_end: when it was used
    (scalars or arrays, UTC). Use at a moment u has arrived with probability F(now - u), F being the share of usage
    hours with at most that delay, linear within a bucket; a stretch is the mean of that over its moments. 0 for
    what has not begun; NaN where nothing is known of delays.
    """
    since_start, since_end = (np.atleast_1d(_hours_since(moment, now)) for moment in (window_start, window_end))
    if (since_start <= since_end).any():
        raise MissionControlError("a window must end after it starts")
    edges, arrived = _arrived_by(delays)
    area = _integral(since_start, edges, arrived) - _integral(since_end, edges, arrived)
    share = np.clip(area / (since_start - since_end), 0.0, 1.0)
    return np.where(since_start <= 0, 0.0, share)


def _hours_since(moment: Any, now: datetime) -> Array:
    import pandas as pd

    utc_now, utc = pd.to_datetime(now, utc=True), pd.to_datetime(moment, utc=True)
    return np.asarray((utc_now - utc) / HOUR, float)


def _arrived_by(delays: "pd.DataFrame") -> tuple[Array, Array]:
    """Delays in hours, from 0 on, and the share of usage hours that has arrived by each."""
    from streaming.contract import DELAY_BUCKET_EDGES_HOURS

    by_edge = delays.groupby("delay_hours")["usage_hours"].sum()
    edges = np.array(DELAY_BUCKET_EDGES_HOURS)
    hours = by_edge.reindex(edges, fill_value=0.0).to_numpy(float)
    total = hours.sum()
    shares = np.cumsum(hours) / total if total > 0 else np.full(len(hours), np.nan)
    edges[-1] = edges[-2] * OPEN_BUCKET_FACTOR
    return np.concatenate([[0.0], edges]), np.concatenate([[0.0], shares])


def _integral(until: Array, edges: Array, shares: Array) -> Array:
    """The area under the broken line through (edges, shares), 1 beyond it, from 0 to each of `until`; 0 before 0."""
    widths, middles = np.diff(edges), (shares[1:] + shares[:-1]) / 2
    areas = np.concatenate([[0.0], np.cumsum(widths * middles)])
    inside = np.clip(until, 0.0, edges[-1])
    left = np.clip(np.searchsorted(edges, inside, side="right") - 1, 0, len(edges) - 2)
    reached = inside - edges[left]
    slope = np.diff(shares)[left] / widths[left]
    return (
        areas[left] + reached * shares[left] + slope * reached**2 / 2 + np.maximum(until - edges[-1], 0.0) * shares[-1]
    )


class _Rates(ModuleType):
    """This module, which is also the function: `mc.rates(frame)` works whether or not it was imported as a module."""

    def __call__(self, *arguments: Any, **options: Any) -> "pd.DataFrame":
        return rates(*arguments, **options)


sys.modules[__name__].__class__ = _Rates
