"""The label of the acceptable range, where nothing else is drawn; the line above the chart has its figures anyhow."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from missioncontrol_nb.charts.annotations import Axis
from missioncontrol_nb.charts.expected import acceptable_words
from missioncontrol_nb.charts.labels import PlotWidth, text_width
from missioncontrol_nb.charts.theme import RATE_HEIGHT

LINE = 16.0  # pixels from one line of text to the next
LEVEL = 0.3  # of the range's lower end: lines are seldom there
STEPS = 20  # places that are tried on each level
Array = npt.NDArray[np.float64]


def acceptable_label(
    band: pd.DataFrame,
    windows: pd.DataFrame,
    ends: pd.DataFrame,
    *,
    rules: Sequence[float],
    hatched: Sequence[tuple[float, float]],
    axis: Axis,
    top: float,
    rows_above: int,
    rows_below: int,
    width: PlotWidth,
) -> pd.DataFrame:
    """One row with x, y and label, which ends at x and has its middle at y; no row where there is no room.

    least, below: the plots that it is for, those of a width.

    band: the acceptable range. windows, ends: of the lines, and their labels. rules: positions that nothing may cross.
    hatched: spans in which data is still arriving. rows_above, rows_below: rows of other labels at the top and bottom.
    """
    words = acceptable_words(band)
    nothing = pd.DataFrame({"x": [], "y": [], "label": pd.Series([], dtype=object), "least": [], "below": []})
    if not words:
        return nothing
    pixel, height = (axis.end - axis.start) / width.least, top / RATE_HEIGHT
    walls = np.array([*((x, x) for x in rules), *hatched], float).reshape(-1, 2)
    drawn = np.concatenate([*_segments(windows), _of_line(band["x"], band["upper"]), _boxes(ends, pixel, height)])
    lower, upper = band["lower"].iloc[-1], band["upper"].iloc[-1]
    least, most = (rows_below + 0.5) * LINE * height, top - (rows_above + 0.5) * LINE * height
    levels = [max(LEVEL * lower, least), lower - LINE * height, upper + LINE * height]
    for label in (f"acceptable now: {words}", f"acceptable: {words}", "acceptable"):
        length = (text_width(label) + 6) * pixel
        for y in (level for level in levels if least <= level <= most):
            for x in np.linspace(band["x"].iloc[-1], band["x"].iloc[0], STEPS):
                left, low, high = x - length, y - LINE / 2 * height, y + LINE / 2 * height
                if left < max(axis.start, band["x"].iloc[0]):
                    break
                if not _meets(walls, left, x).any() and not _crosses(drawn, left, x, low, high):
                    found = {"x": float(x), "y": float(y), "label": label, "least": width.least, "below": width.below}
                    return pd.DataFrame([found])
    return nothing


def _segments(windows: pd.DataFrame) -> list[Array]:
    """The segments of each line: (left, right, low, high) of each."""
    parts = [_of_line(rows["x"], rows["y"]) for _, rows in windows.groupby("stretch", sort=False)]
    return [*parts, np.empty((0, 4))]


def _of_line(x: pd.Series, y: pd.Series) -> Array:
    """The boxes around a line's segments; of a line of one point, one around that."""
    xs, ys = x.to_numpy(float), y.to_numpy(float)
    if len(xs) == 1:
        xs, ys = np.repeat(xs, 2), np.repeat(ys, 2)
    low, high = np.fmin(ys[:-1], ys[1:]), np.fmax(ys[:-1], ys[1:])
    return np.column_stack([xs[:-1], xs[1:], low, high])


def _boxes(ends: pd.DataFrame, pixel: float, height: float) -> Array:
    """The boxes of the labels at the lines' ends."""
    half = LINE / 2 * height
    return np.array(
        [(x, x + (8 + text_width(label)) * pixel, y - half, y + half) for x, y, label in
         zip(ends["x"], ends["y"], ends["label"], strict=True)], float
    ).reshape(-1, 4)  # fmt: skip


def _meets(spans: Array, left: float, right: float) -> npt.NDArray[np.bool_]:
    return (spans[:, 0] < right) & (spans[:, 1] > left)


def _crosses(drawn: Array, left: float, right: float, low: float, high: float) -> bool:
    return bool((_meets(drawn, left, right) & (drawn[:, 2] < high) & (drawn[:, 3] > low)).any())
