"""Plain-text formatting of numbers, times and measure names for people."""

import math
from datetime import datetime, timedelta

from streaming import contract

NARROW_SPACE = "\u202f"  # between thousands
FIXED_SPACE = "\u00a0"  # between a number and its unit
MINUS = "\u2212"
DASH = "–"
MEASURE_LABELS = {measure.name: measure.label for measure in contract.MEASURES}


def dimension_words(name: str) -> str:
    """A dimension's label inside a sentence: "country"."""
    label = contract.dimension(name).label
    return label[0].lower() + label[1:]


def measure_label(name: str) -> str:
    """The label, such as "Content crashes"; an undeclared measure, as in older files, is labelled by its name."""
    return MEASURE_LABELS.get(name, name.replace("_", " ").capitalize())


# ---------- numbers ----------
def grouped(number: float, decimals: int = 0) -> str:
    """1190400 -> "1 190 400" with narrow spaces; negative numbers get a true minus sign."""
    return f"{number:,.{decimals}f}".replace(",", NARROW_SPACE).replace("-", MINUS)


def decimals_of(value: float, lower: float, upper: float) -> int:
    """How many decimals to show: half the width of the interval is 3 to 30 units of the last decimal.

    At most three significant digits, and at most four decimals.
    """
    half = (upper - lower) / 2
    if not (math.isfinite(half) and half > 0):
        half = abs(value) / 100 or 1.0
    by_interval = math.ceil(-math.log10(half / 3))
    by_value = 2 - math.floor(math.log10(abs(value))) if value else 2
    return max(0, min(by_interval, by_value, 4))


def rate_and_interval(value: float, lower: float, upper: float, decimals: int | None = None) -> tuple[str, str]:
    """("5.91", "5.76 to 6.06"); a dash if the value is not finite. decimals: None is as many as the interval allows."""
    if not math.isfinite(value):
        return DASH, ""
    if decimals is None:
        decimals = decimals_of(value, lower, upper)
    return grouped(value, decimals), f"{grouped(lower, decimals)} to {grouped(upper, decimals)}"


def signed(percent: float, decimals: int = 0) -> str:
    """38 -> "+38", -2 -> "2" after a true minus sign, 0 -> "±0"."""
    rounded = round(percent, decimals)
    sign = "+" if rounded > 0 else MINUS if rounded < 0 else "±"
    return sign + grouped(abs(rounded), decimals)


def change_decimals(lower: float, upper: float) -> int:
    """How many decimals to show of a change in percent; lower, upper: fractions.

    One when the change is known to better than ±1.5 %, otherwise none; more where an interval that excludes 0 would
    be rounded so that it seems to include 0.
    """
    decimals = 1 if (upper - lower) / 2 < 0.015 else 0
    if lower > 0 or upper < 0:
        while decimals < 2 and not round(100 * min(abs(lower), abs(upper)), decimals):
            decimals += 1
    return decimals


def percent_change(value: float, lower: float, upper: float) -> str:
    """0.38 -> "+38 %"; a dash if the value is not finite (nothing to compare with)."""
    if not math.isfinite(value):
        return DASH
    return signed(100 * value, change_decimals(lower, upper)) + FIXED_SPACE + "%"


def percent_interval(lower: float, upper: float) -> str:
    """(0.31, 0.45) -> "+31 to +45 %"; without an upper limit "+31 % or more"."""
    decimals = change_decimals(lower, upper)
    low = signed(100 * lower, decimals)
    if not math.isfinite(upper):
        return f"{low}{FIXED_SPACE}% or more"
    return f"{low} to {signed(100 * upper, decimals)}{FIXED_SPACE}%"


def percent(share: float) -> str:
    """0.34 -> "34 %"; a share above 0 that would round to 0 is "< 1 %"."""
    if 0 < share < 0.005:
        return f"<{FIXED_SPACE}1{FIXED_SPACE}%"
    return f"{100 * share:.0f}{FIXED_SPACE}%"


def hours(usage_hours: float) -> str:
    """1057000 -> "1057 k h", 12 -> "12 h", 11200000 -> "11.2 million h"."""
    if usage_hours >= 1e7:
        return f"{usage_hours / 1e6:.1f}{FIXED_SPACE}million{FIXED_SPACE}h"
    if usage_hours >= 1e4:
        return f"{usage_hours / 1e3:.0f}{FIXED_SPACE}k{FIXED_SPACE}h"
    return f"{grouped(usage_hours, 0 if usage_hours >= 10 else 1)}{FIXED_SPACE}h"


# ---------- time ----------
def moment(when: datetime) -> str:
    """ "Fri 29 Sep 06:00 UTC" """
    return f"{when:%a} {when.day} {when:%b %H:%M} UTC"


def moment_with_year(when: datetime) -> str:
    """ "Fri 29 Sep 2017, 06:00 UTC" """
    return f"{when:%a} {when.day} {when:%b %Y, %H:%M} UTC"


def day(when: datetime) -> str:
    """ "29 Sep" """
    return f"{when.day} {when:%b}"


def duration(length: timedelta) -> str:
    """ "4 d 1 h", "3 h 20 min", "40 min": two units at most"""
    minutes = max(0, int(length.total_seconds() // 60))
    days, rest = divmod(minutes, 1440)
    whole_hours, minutes = divmod(rest, 60)
    if days:
        return f"{days} d {whole_hours} h" if whole_hours else f"{days} d"
    if whole_hours:
        return f"{whole_hours} h {minutes} min" if minutes else f"{whole_hours} h"
    return f"{minutes} min"


def age_in_words(length: timedelta) -> str:
    """ "4 days", "1 day", "3 hours", "40 minutes": one unit"""
    for unit, seconds in (("day", 86400), ("hour", 3600), ("minute", 60)):
        number = int(length.total_seconds() // seconds)
        if number or unit == "minute":
            return f"{number} {unit}{'' if number == 1 else 's'}"
    raise AssertionError("the last unit always answers")
