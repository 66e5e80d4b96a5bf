"""Rates per 1000 usage hours with exact intervals, changes between releases, and the completeness of an hour."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from missioncontrol_nb import arguments
from missioncontrol_nb.arguments import Time, Values
from missioncontrol_nb.delay_law import DelayLaw
from streaming.errors import MissionControlError, unknown_name

if TYPE_CHECKING:
    import pandas as pd

Numbers = npt.ArrayLike
Array = npt.NDArray[np.float64]
PER_HOURS = 1000
HOUR = np.timedelta64(1, "h")
RATE_COLUMNS = ("measure", "events", "rate_per_1k_hours", "rate_lower", "rate_upper")


def rates(frame: "pd.DataFrame", confidence: float = 0.95, measures: Values = None) -> "pd.DataFrame":
    """Rates of a frame of sums such as `load` returns: one row per input row and measure.

    frame: `usage_hours`, measures (all numeric columns but `count`, `usage_hours` and `active_hours`, unless `measures`
    names one or several), and the keys, which are all other columns. Sum before computing rates: a rate is a ratio of
    sums.

    Output columns: the keys, `measure`, `events` (int), `usage_hours`, and `rate_per_1k_hours`, `rate_lower`,
    `rate_upper` (events per 1000 usage hours, exact Poisson interval); NaN without usage. Rows where a measure is
    missing (NaN) are left out, because missing is not zero. Raises MissionControlError for columns that are missing or
    duplicated, for events that are not whole numbers of 0 or more, and for usage hours that are missing, negative or
    infinite.
    """
    import pandas as pd

    arguments.frame("frame", frame, ["usage_hours"])
    names = _measures_of(frame) if measures is None else arguments.names("measures", measures)
    for name in names:
        if name not in frame.columns or name == "usage_hours":
            raise unknown_name("measure", name, _measures_of(frame))
    keys = [column for column in frame.columns if column not in {"usage_hours", "active_hours", "count", *names}]
    for key in keys:
        if key in RATE_COLUMNS:
            raise MissionControlError(f"the frame has a column {key!r}, as rates gives one; give it another name")
    arguments.numbers("usage_hours", frame["usage_hours"])
    parts = [_measure_rates(frame, keys, name) for name in names] or [_measure_rates(frame.assign(x=0)[:0], keys, "x")]
    long = pd.concat(parts, ignore_index=True).astype({"events": "int64"})
    lower, upper = rate_interval(long["events"], long["usage_hours"], confidence)
    rate = _per_hours(long["events"], long["usage_hours"])
    return long.assign(rate_per_1k_hours=rate, rate_lower=lower, rate_upper=upper)


def _measures_of(frame: "pd.DataFrame") -> list[str]:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    numbers = [name for name in frame.columns if is_numeric_dtype(frame[name]) and not is_bool_dtype(frame[name])]
    return [name for name in numbers if name not in ("usage_hours", "active_hours", "count")]


def _measure_rates(frame: "pd.DataFrame", keys: list[str], measure: str) -> "pd.DataFrame":
    counted = frame[frame[measure].notna()]
    arguments.counts(measure, counted[measure])
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
    is_number = isinstance(confidence, (int, float, np.integer, np.floating)) and not isinstance(
        confidence, np.timedelta64
    )
    if not is_number or not 0 < confidence < 1:
        raise MissionControlError(f"a confidence lies between 0 and 1, like 0.95, not {arguments.brief(confidence)}")
    return float(1 - confidence) / 2


def _checked(**values: Numbers) -> tuple[Array, ...]:
    """Checked arrays that can be broadcast to one shape; arrays whose names begin with `events` hold whole numbers."""
    arrays = {
        name: (arguments.counts if name.startswith("events") else arguments.numbers)(name.replace("_", " "), each)
        for name, each in values.items()
    }
    arguments.check_shapes(arrays)
    return tuple(arrays.values())


def _strata(**values: Numbers) -> tuple[Array, ...]:
    """The same for strata: arrays of one dimension and one length; weights sum to 1, and all strata have usage."""
    arrays = _checked(**values)
    if {array.shape for array in arrays} != {(arrays[0].size,)} or not arrays[0].size:
        raise MissionControlError(f"expected as many of {', '.join(values)}, one for each of the strata")
    for name, array in zip(values, arrays, strict=True):
        if name.startswith("usage_hours") and not (array > 0).all():
            raise MissionControlError(f"expected strata that all have usage; got {name.replace('_', ' ')} of 0")
        with np.errstate(over="ignore"):
            total = array.sum()
        if name == "weights" and abs(total - 1) > 1e-6:
            raise MissionControlError(f"expected weights that sum to 1; got a sum of {total:g}")
    return arrays


def rate_interval(events: Numbers, usage_hours: Numbers, confidence: float = 0.95) -> tuple[Array, Array]:
    """The exact interval of a Poisson rate, per 1000 usage hours: (lower, upper), each of the broadcast shape.

    events: whole numbers of 0 or more, because the interval is one of counts. Raises MissionControlError for others. A
    masked value counts as missing and is refused like NaN. The limits are those of Garwood (1936):
    chi2.ppf(a/2, 2k) / 2 and chi2.ppf(1 - a/2, 2k + 2) / 2 for k events, written as inverse incomplete gamma
    functions. The lower limit is 0 for no events; both limits are NaN without usage.
    """
    from scipy.special import gammainccinv, gammaincinv

    tail = _tail(confidence)
    count, hours = _checked(events=events, usage_hours=usage_hours)
    lower = np.where(count > 0, gammaincinv(np.maximum(count, 1), tail), 0.0)
    return _per_hours(lower, hours), _per_hours(gammainccinv(count + 1, tail), hours)


def change(
    events: Numbers,
    usage_hours: Numbers,
    events_before: Numbers,
    usage_hours_before: Numbers,
    confidence: float = 0.95,
) -> tuple[Array, Array, Array]:
    """The change of a rate against an earlier rate, with its exact interval: (change, lower, upper), vectorised.

    The results are fractions: 0.38 is 38 % more. Given the sum of both counts, the first count is binomial; its
    Clopper-Pearson interval is converted to an interval of the ratio of rates (Przyborowski and Wilenski 1940). NaN
    means that a value cannot be determined. All three are NaN without usage on either side or without any event.
    Without events before, the change and the upper limit, which has no bound, are NaN, and the lower limit is valid.
    Raises MissionControlError for the events and hours that rate_interval refuses, including masked values.
    """
    from scipy.special import betainccinv, betaincinv

    tail = _tail(confidence)
    now, before, hours, hours_before = _checked(
        events=events, events_before=events_before, usage_hours=usage_hours, usage_hours_before=usage_hours_before
    )
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
    """The weighted mean of the rates of several strata, per 1000 usage hours, and its interval: (rate, lower, upper).

    weights: one for each stratum, summing to 1. All strata need usage. The interval is the gamma interval of Fay and
    Feuer (1997) for directly standardised rates; with one stratum it is the interval of rate_interval. All three are
    NaN where a rate is larger than a float.
    """
    from scipy.special import gammainccinv, gammaincinv

    tail = _tail(confidence)
    count, hours, weight = _strata(events=events, usage_hours=usage_hours, weights=weights)
    with np.errstate(over="ignore", invalid="ignore"):
        share = PER_HOURS * weight / hours
        most, rate = share.max(), share @ count
        # The sums are in units of a large share, because the square of 1e-200 is 0: first the largest share with an
        # event, then the largest of all shares.
        unit, mean, variance = _weighed(share, count)
        lower = unit * (variance / mean) * gammaincinv(mean**2 / variance, tail) if mean else 0.0
        ratio = unit / most
        mean, variance = ratio * mean + 1, ratio**2 * variance + 1
        upper = most * (variance / mean) * gammainccinv(mean**2 / variance, tail)
    return _finite_or_nan(float(rate), float(lower), float(upper))


def _finite_or_nan(value: float, lower: float, upper: float) -> tuple[float, float, float]:
    """The three values, or three NaNs if one of them is infinite or NaN."""
    return (value, lower, upper) if np.isfinite([value, lower, upper]).all() else (np.nan, np.nan, np.nan)


def _weighed(shares: Array, events: Array) -> tuple[float, float, float]:
    """The largest share of strata with an event, and the sums over events of shares and squared shares in its units.

    All three are 0 without an event. Otherwise both sums are 1 or more in these units.
    """
    unit = float(shares[events > 0].max(initial=0.0))
    if not unit:
        return 0.0, 0.0, 0.0
    relative = np.where(events > 0, shares / unit, 0.0)
    return unit, float(relative @ events), float(relative**2 @ events)


def standardised_change(
    events: Numbers,
    usage_hours: Numbers,
    events_before: Numbers,
    usage_hours_before: Numbers,
    weights: Numbers,
    confidence: float = 0.95,
) -> tuple[float, float, float]:
    """The change of a standardised rate against an earlier one, as fractions: (change, lower, upper).

    The interval is that of the logarithm of the ratio, normal by the delta method. All three are NaN where either side
    has no event, or where the change or a limit is larger than a float.
    """
    from scipy.special import ndtri

    tail = _tail(confidence)
    now, before, hours_now, hours_before, share = _strata(
        events=events,
        events_before=events_before,
        usage_hours=usage_hours,
        usage_hours_before=usage_hours_before,
        weights=weights,
    )
    logarithm, variance = 0.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for sign, count, hours in ((1, now, hours_now), (-1, before, hours_before)):
            unit, mean, square = _weighed(share / hours, count)
            if not mean:
                return np.nan, np.nan, np.nan
            logarithm += sign * float(np.log(unit) + np.log(mean))
            variance += square / mean**2
        reach = float(ndtri(1 - tail) * np.sqrt(variance))
        value, lower, upper = (float(np.expm1(logarithm + step)) for step in (0.0, -reach, reach))
    return _finite_or_nan(value, lower, upper)


def completeness(delays: "pd.DataFrame", window_start: Any, window_end: Any, now: Time) -> Array:
    """The share of the usage in windows of time that can be expected to have arrived by now, each in [0, 1].

    delays: rows of `reporting_delays` (`delay_hours`, the upper edge of the bucket of submission minus use;
    `usage_hours`), of the channels and platforms that the result is for. window_start, window_end: the time of use
    (scalars or arrays, UTC). Use at a moment u has arrived with probability F(now - u), where F is the share of usage
    hours with at most that delay: a smooth curve through the buckets' edges. The result for a window is the mean of
    this probability over its moments. It is 0 for a window that has not begun, and NaN where no delays are known.
    Raises MissionControlError for anything that is not a time in the years 1 to 9999, and for delays that are not the
    edge of a bucket.
    """
    arguments.frame("delays", delays, ["delay_hours", "usage_hours"])
    at = arguments.as_utc("now", now)
    if at is None:
        raise MissionControlError("now takes a time, not None")
    since_start, since_end = _hours_since("window_start", window_start, at), _hours_since("window_end", window_end, at)
    arguments.check_shapes({"window_start": since_start, "window_end": since_end})
    if (since_start <= since_end).any():
        raise MissionControlError("a window must end after it starts")
    return _law_of(delays).smoothed().mean_reported(since_start, since_end)


def _hours_since(name: str, moments: Any, now: datetime) -> Array:
    starts = arguments.times(name, moments).tz_localize(None).to_numpy()
    return np.asarray((np.datetime64(now.replace(tzinfo=None), "us") - starts) / HOUR, float)


def _law_of(delays: "pd.DataFrame") -> DelayLaw:
    """The law of rows of `reporting_delays`."""
    from streaming.contract import DELAY_BUCKET_EDGES_HOURS

    delay_hours = arguments.numbers("delay_hours", delays["delay_hours"], may_be_infinite=True)
    usage_hours = arguments.numbers("usage_hours", delays["usage_hours"])
    edges = np.array(DELAY_BUCKET_EDGES_HOURS)
    buckets = np.searchsorted(edges, delay_hours)  # the last edge is infinity, so each delay has a bucket
    unknown = delay_hours[edges[buckets] != delay_hours]
    if len(unknown):
        known = ", ".join(f"{edge:g}" for edge in edges)
        raise MissionControlError(
            f"expected delay_hours among the buckets' edges, {known}; got {float(unknown.min())!r}"
        )
    most = usage_hours.max(initial=0.0)
    scaled = usage_hours / most if most else usage_hours  # sums of 1e308 overflow
    return DelayLaw.of_buckets(np.bincount(buckets, scaled, len(edges)).astype(np.float64))
