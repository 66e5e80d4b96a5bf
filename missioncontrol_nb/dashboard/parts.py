"""The small pieces of the pages as plain functions: figures in, escaped HTML, SVG or a phrase out."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from html import escape

NARROW_SPACE = "\u202f"  # between thousands
FIXED_SPACE = "\u00a0"  # between a figure and its unit
MINUS = "\u2212"
DASH = "–"

PLATFORM_LABELS = {"Windows_NT": "Windows", "Darwin": "macOS", "Linux": "Linux", "Android": "Android"}
CHANNEL_LABELS = {"release": "Release", "beta": "Beta", "nightly": "Nightly", "esr": "ESR", "aurora": "Aurora"}


# ---------- figures ----------
def grouped(number: float, decimals: int = 0) -> str:
    """1190400 -> "1 190 400" with narrow spaces; a true minus."""
    return f"{number:,.{decimals}f}".replace(",", NARROW_SPACE).replace("-", MINUS)


def decimals_of(value: float, lower: float, upper: float) -> int:
    """How many decimals a figure deserves: its interval's half width is 3 to 30 units of the last one.

    Never more than three significant digits, never more than four decimals.
    """
    half = (upper - lower) / 2
    if not (math.isfinite(half) and half > 0):
        half = abs(value) / 100 or 1.0
    by_interval = math.ceil(-math.log10(half / 3))
    by_value = 2 - math.floor(math.log10(abs(value))) if value else 2
    return max(0, min(by_interval, by_value, 4))


def rate_and_interval(value: float, lower: float, upper: float, decimals: int | None = None) -> tuple[str, str]:
    """("5.91", "5.76 to 6.06"); a dash for what is not finite. decimals: None is as many as the interval allows."""
    if not math.isfinite(value):
        return DASH, ""
    if decimals is None:
        decimals = decimals_of(value, lower, upper)
    return grouped(value, decimals), f"{grouped(lower, decimals)} to {grouped(upper, decimals)}"


def signed(percent: float, decimals: int = 0) -> str:
    """38 -> "+38", -2 -> a true minus and 2, 0 -> "±0"."""
    rounded = round(percent, decimals)
    sign = "+" if rounded > 0 else MINUS if rounded < 0 else "±"
    return sign + grouped(abs(rounded), decimals)


def change_decimals(lower: float, upper: float) -> int:
    """One decimal for a change known to better than ±1.5 %, or whose interval barely excludes none; else none.

    lower, upper: fractions.
    """
    excludes_none = lower > 0 or upper < 0
    return 1 if (upper - lower) / 2 < 0.015 or (excludes_none and min(abs(lower), abs(upper)) < 0.005) else 0


def percent_change(value: float, lower: float, upper: float) -> str:
    """0.38 -> "+38 %"; without a finite value (nothing before) a dash."""
    if not math.isfinite(value):
        return DASH
    return signed(100 * value, change_decimals(lower, upper)) + FIXED_SPACE + "%"


def percent_interval(lower: float, upper: float) -> str:
    """(0.31, 0.45) -> "+31 to +45 %"; an open end is said so."""
    decimals = change_decimals(lower, upper)
    low = signed(100 * lower, decimals)
    if not math.isfinite(upper):
        return f"{low}{FIXED_SPACE}% or more"
    return f"{low} to {signed(100 * upper, decimals)}{FIXED_SPACE}%"


def percent(share: float) -> str:
    """0.34 -> "34 %"; a share above none that would round to it is "< 1 %"."""
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


# ---------- HTML ----------
def tag(name: str, *children: str, css: str = "", **attributes: object) -> str:
    """One element. Children are HTML already; attributes are escaped, `_` in their names becomes `-`.

    An attribute that is None or False is left out; True stands without a value.
    """
    given = {"class": css or None, **{key.replace("_", "-"): value for key, value in attributes.items()}}
    written = "".join(
        f" {key}" if value is True else f' {key}="{escape(str(value))}"'
        for key, value in given.items()
        if value is not None and value is not False
    )
    return f"<{name}{written}>{''.join(children)}</{name}>"


def text(words: object) -> str:
    """A text made safe for HTML."""
    return escape(str(words))


def link(href: str, *children: str, css: str = "", **attributes: object) -> str:
    """A link that stays in the visitor's kernel: its address is a query."""
    return tag("a", *children, css=css, href=href, **attributes)


def button(label: str, action: str, **attributes: object) -> str:
    """A button that the page's own script or the kernel answers by its action's name."""
    css = "jupyter-widgets jupyter-button widget-button"
    return tag("button", text(label), css=css, type="button", data_mc_action=action, **attributes)


def chip(state: str, words: str, title: str | None = None) -> str:
    """A word with the icon and colour of a state: up, down, level, early, none."""
    return tag("span", text(words), css=f"mc-verdict mc-{state}", title=title)


def key(css: str, name: str) -> str:
    """A version's name after a short stroke that is drawn as its line is."""
    return tag("span", text(name), css=f"mc-key {css}")


def headline(state: str, sentence: str, line: str) -> str:
    """The one headline of a page; both texts are plain."""
    body = tag("h2", text(sentence)) + tag("p", text(line))
    return tag("div", body, css=f"mc-headline mc-{state}", role="status")


def message(title: str, sentence: str, *more: str, error: bool = False) -> str:
    """What stands in the place of a drawing that has nothing to show, or failed."""
    css = "mc-state mc-error" if error else "mc-state mc-empty"
    return tag("div", tag("b", text(title)), tag("p", text(sentence)), *more, css=css)


def skeleton(widths: Sequence[int] = (60, 36, 100, 80)) -> str:
    """Grey bars that keep the place of what is being read; widths in percent."""
    return tag("div", *(tag("i", style=f"width:{width}%") for width in widths), css="mc-skeleton", aria_hidden="true")


# ---------- drawings ----------
LEAST, MOST = -0.4, 0.8  # the one scale of all small drawings, as a change


def _runs(values: Sequence[float | None], first: int = 0) -> Iterable[list[tuple[int, float]]]:
    """Stretches of neighbouring values, so that a gap stays a gap."""
    run: list[tuple[int, float]] = []
    for index, value in enumerate(values, first):
        if value is None or not math.isfinite(value):
            if run:
                yield run
            run = []
        else:
            run.append((index, value))
    if run:
        yield run


def spark(
    newest: Sequence[float | None], previous: Sequence[float | None], base: float, incomplete: int, label: str
) -> str:
    """The newest version's rates over the previous one's at equal age, as one small drawing.

    Rates are per step of age, None where there was no usage. Every spark has one scale: -40 % to +80 % of base,
    the previous version's rate. incomplete: how many of the newest's last steps are still arriving (dotted).
    """
    width, height, steps = 200, 40, max(len(newest), len(previous), 2)

    def points(run: Sequence[tuple[int, float]]) -> str:
        return " ".join(f"{x(index):.1f},{y(value):.1f}" for index, value in run)

    def x(index: int) -> float:
        return 1 + index / (steps - 1) * (width - 4)

    def y(value: float) -> float:
        change = min(MOST, max(LEAST, value / base - 1))
        return height * (1 - (change - LEAST) / (MOST - LEAST))

    def lines(css: str, runs: Iterable[list[tuple[int, float]]]) -> str:
        return "".join(f'<polyline class="{css}" points="{points(run)}"/>' for run in runs if len(run) > 1)

    if not base or not math.isfinite(base):
        return tag("svg", css="mc-spark", viewBox=f"0 0 {width} {height}", role="img", aria_label=label)
    settled = max(len(newest) - incomplete, 0)
    drawn = lines("p", _runs(previous)) + lines("n", _runs(newest[:settled]))
    drawn += lines("y", _runs(newest[max(settled - 1, 0) :], max(settled - 1, 0)))
    known = [pair for run in _runs(newest[:settled]) for pair in run]
    if known:
        index, value = known[-1]
        drawn += f'<path class="e" d="M{x(index):.1f} {y(value):.1f}h0.01"/>'
    zero = f'<line class="b" x1="0" x2="{width}" y1="{y(base):.1f}" y2="{y(base):.1f}"/>'
    return (
        f'<svg class="mc-spark" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">{zero}{drawn}</svg>'
    )


def whisker(state: str, value: float, lower: float, upper: float) -> str:
    """A change as a dot with its interval as a line, on the one scale; arrow heads where it leaves the scale."""

    def place(change: float) -> str:
        return f"{100 * (min(MOST, max(LEAST, change)) - LEAST) / (MOST - LEAST):.1f}%"

    drawn = f'<line class="z" x1="{place(0)}" x2="{place(0)}" y1="0" y2="20"/>'
    if math.isfinite(value):
        drawn += f'<line class="w" x1="{place(lower)}" x2="{place(upper)}" y1="10" y2="10"/>'
        if lower < LEAST:
            drawn += '<svg x="0" overflow="visible"><path class="h" d="M5 5L0 10l5 5"/></svg>'
        if upper > MOST:
            drawn += '<svg x="100%" overflow="visible"><path class="h" d="M-5 5L0 10l-5 5"/></svg>'
        if LEAST <= value <= MOST:
            drawn += f'<circle class="d" cx="{place(value)}" cy="10" r="4"/>'
    label = f"{percent_change(value, lower, upper)}, {percent_interval(lower, upper)}"
    return f'<svg class="mc-whisker mc-{state}" role="img" aria-label="{escape(label)}">{drawn}</svg>'


def hour_bars(shares: Sequence[float]) -> str:
    """Bars filled as far as the usage of the newest hours has arrived."""
    bars = "".join(f'<i style="--f:{100 * min(1, max(0, share)):.0f}%"></i>' for share in shares)
    return tag("span", bars, css="mc-hours", aria_hidden="true")
