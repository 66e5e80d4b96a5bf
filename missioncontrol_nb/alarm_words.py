"""How an alarm is said: in the same words on pages, in reports and in messages; plain text."""

from collections.abc import Mapping

from missioncontrol_nb.formatting import (
    DASH,
    FIXED_SPACE,
    decimals_of,
    dimension_words,
    grouped,
    percent_change,
    percent_interval,
    signed,
)

TIMES_FROM = 1.95  # a ratio from here on is said as "times as many"
MOST_TIMES = 11.0  # an upper end beyond is not said: it is that of very few events
LEAST_MORE = 1.005  # a smaller ratio is no longer an excess
Number = float | None


def sentence(
    label: str, platform: str, version: str, channel: str, excess: str, since: str = "", *, is_one: bool = True
) -> str:
    """ "Bad on Windows: 56.0 on release has 72 % more content crashes than expected, since Sun 1 Oct 22:00 UTC"

    excess: as `excess` gives it; since: with its preposition, or empty; is_one: whether it is about one version.
    """
    said = f"{label} on {platform}: {version} on {channel} {'has' if is_one else 'have'} {excess}"
    return said + (f", {since}" if since else "")


def excess(measure: str, ratio: Number, lower: Number, upper: Number) -> str:
    """ "2.1 times as many content crashes as expected", "38 % more content crashes than expected"

    measure: as it is called in a sentence; ratio: rate by expected rate, with its interval; None: without figures.
    """
    if ratio is None or ratio < LEAST_MORE:
        return f"more {measure} than expected"
    if ratio >= TIMES_FROM:
        return f"{_times(ratio)} times as many {measure} as expected"
    return f"{size(ratio, lower, upper).lstrip('+')} more {measure} than expected"


def back(measure: str) -> str:
    """What is said in place of the excess where an alarm is over."""
    return f"no more {measure} than expected any longer, or hardly any users left"


def size(ratio: Number, lower: Number, upper: Number) -> str:
    """ "+38 %", "2.1 times"; a dash where nothing is expected"""
    if ratio is None or lower is None or upper is None:
        return DASH
    if ratio >= TIMES_FROM:
        return f"{_times(ratio)}{FIXED_SPACE}times"
    return percent_change(ratio - 1, lower - 1, upper - 1)


def size_interval(ratio: Number, lower: Number, upper: Number) -> str:
    """ "+31 to +45 %", "1.8 to 2.4 times", "−100 to over +1000 %"; empty where nothing is expected"""
    if ratio is None or lower is None or upper is None:
        return ""
    if ratio >= TIMES_FROM:
        return f"{_times(lower)} to {_times(upper)}{FIXED_SPACE}times"
    if upper > MOST_TIMES:
        return f"{signed(100 * (lower - 1))} to over {signed(100 * (MOST_TIMES - 1))}{FIXED_SPACE}%"
    return percent_interval(lower - 1, upper - 1)


def rates(rate: float, lower: Number, upper: Number, expected: float, interval: str) -> str:
    """ "7.6 per 1000 hours of use since then, 4.4 expected (+51 to +94 %)"

    lower, upper: of the rate, for the number of decimals; interval: of the rate by the expected one.
    """
    decimals = decimals_of(rate, rate if lower is None else lower, rate if upper is None else upper)
    both = grouped(rate, decimals), grouped(expected, decimals)
    return f"{both[0]} per 1000 hours of use since then, {both[1]} expected ({interval})"


def slice_words(part: Mapping[str, str]) -> str:
    """Which users have most of the excess; empty where it is everywhere, or not known."""
    named = ", ".join(f"{dimension_words(name)} {value}" for name, value in part.items())
    return f"Most of the excess is on {named}." if named else ""


def _times(ratio: float) -> str:
    return grouped(ratio, 1 if ratio < 10 else 0)
