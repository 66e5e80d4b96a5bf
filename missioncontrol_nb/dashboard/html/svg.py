"""Small drawings in SVG: sparklines, whiskers, bars."""

import math
from collections.abc import Iterable, Sequence
from html import escape

from missioncontrol_nb.dashboard.html.html import tag
from missioncontrol_nb.formatting import percent_change, percent_interval

# ---------- drawings ----------
LEAST, MOST = -0.4, 0.8  # the common scale of all small drawings, as a change


def _runs(values: Sequence[float | None], first: int = 0) -> Iterable[list[tuple[int, float]]]:
    """Runs of consecutive values, so that gaps are drawn as gaps."""
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
    """The newest version's rates over the previous version's at equal age, as one small drawing.

    Rates are per step of age, None where there was no usage. All sparks have the same scale: -40 % to +80 % of
    base, the previous version's rate. incomplete: how many of the newest version's last steps still lack data (dotted).
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


def course_spark(ratios: Sequence[float | None], healthy: float, label: str) -> str:
    """A version's rates by expected rate since its release, over the acceptable range, as one small drawing.

    ratios: by step of age, None without usage. healthy: the acceptable range goes from 1 / healthy to healthy. The
    scale is the common one; arrows show where the line leaves it. The last step may still be incomplete: it is dotted.
    """
    width, height, steps = 200, 40, max(len(ratios), 2)

    def x(index: int) -> float:
        return 1 + index / (steps - 1) * (width - 4)

    def y(ratio: float) -> float:
        return height * (1 - (min(MOST, max(LEAST, ratio - 1)) - LEAST) / (MOST - LEAST))

    def lines(css: str, runs: Iterable[list[tuple[int, float]]]) -> str:
        drawn = (" ".join(f"{x(index):.1f},{y(value):.1f}" for index, value in run) for run in runs if len(run) > 1)
        return "".join(f'<polyline class="{css}" points="{points}"/>' for points in drawn)

    top, bottom = y(healthy), y(1 / healthy)
    drawn = f'<rect class="a" x="0" width="{width}" y="{top:.1f}" height="{bottom - top:.1f}"/>'
    drawn += f'<line class="b" x1="0" x2="{width}" y1="{y(1):.1f}" y2="{y(1):.1f}"/>'
    last = max(len(ratios) - 1, 0)
    drawn += lines("n", _runs(ratios[:last])) + lines("y", _runs(ratios[max(last - 1, 0) :], max(last - 1, 0)))
    settled = [pair for run in _runs(ratios[:last]) for pair in run]
    if settled:
        drawn += f'<path class="e" d="M{x(settled[-1][0]):.1f} {y(settled[-1][1]):.1f}h0.01"/>'
    for edge, tip, beyond in ((0, -5, MOST), (height, height + 5, LEAST)):
        left = [(index, ratio) for index, ratio in settled if (ratio - 1 - beyond) * beyond > 0]
        if left:
            place = x(left[-1][0])
            drawn += f'<path class="h" d="M{place - 3:.1f} {edge}L{place:.1f} {tip}l3 {edge - tip}z"/>'
            label += f", leaves the scale at {percent_change(left[-1][1] - 1, 0.0, 1.0)}"
    return (
        f'<svg class="mc-spark" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">{drawn}</svg>'
    )


def whisker(state: str, value: float, lower: float, upper: float, acceptable: tuple[float, float] | None = None) -> str:
    """A change as a dot with its interval as a line, on the common scale; arrow heads where it leaves the scale.

    acceptable: the range of changes that is drawn in grey behind it.
    """

    def place(change: float) -> str:
        return f"{100 * (min(MOST, max(LEAST, change)) - LEAST) / (MOST - LEAST):.1f}%"

    drawn = ""
    if acceptable is not None:
        low, high = (100 * (min(MOST, max(LEAST, each)) - LEAST) / (MOST - LEAST) for each in acceptable)
        drawn += f'<rect class="a" x="{low:.1f}%" width="{high - low:.1f}%" y="0" height="20"/>'
    drawn += f'<line class="z" x1="{place(0)}" x2="{place(0)}" y1="0" y2="20"/>'
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
    """Bars for the newest hours, each filled by the share of its usage that has arrived."""
    bars = "".join(f'<i style="--f:{100 * min(1, max(0, share)):.0f}%"></i>' for share in shares)
    return tag("span", bars, css="mc-hours", aria_hidden="true")
