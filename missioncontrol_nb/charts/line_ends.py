"""The labels at the ends of a detail's lines."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from missioncontrol_nb.charts.theme import RATE_HEIGHT
from missioncontrol_nb.monitor import Line

Array = npt.NDArray[np.float64]
LABEL_GAP = 15  # Pixels between the labels


def line_ends(
    windows: pd.DataFrame, lines: Sequence[Line], top: float, every: float, end: float, narrow: bool
) -> pd.DataFrame:
    """The labels at the lines' ends: at the level of the last complete windows, moved apart to be readable."""
    drawn = windows[windows["y"].notna()]
    last = drawn.drop_duplicates("series", keep="last").set_index("series")
    settled = drawn[drawn["complete"] == 1].groupby("series")["y"].agg(lambda values: values.tail(3).mean())
    level = settled.reindex(last.index).fillna(last["y"])
    place = dodge(level.clip(0, top).to_numpy(float), LABEL_GAP * top / RATE_HEIGHT, top)
    x = np.where(last["x"] + 4 * every < end - 0.1 * abs(end - windows["x"].min()), last["x"], end)
    labels = [_short(lines[int(series)].label) if narrow else lines[int(series)].label for series in last.index]
    return pd.DataFrame({"x": x.astype(float), "y": place, "label": labels, "shade": last["shade"].to_numpy(float)})


def _short(label: str) -> str:
    return label.split(",")[0]


def dodge(levels: Array, gap: float, top: float) -> Array:
    """The levels moved apart to at least gap; their mean is kept where they fit between 0 and top."""
    order = np.argsort(levels, kind="stable")
    steps = gap * np.arange(len(levels))
    apart = np.maximum.accumulate(levels[order] - steps) + steps
    if len(apart):
        apart -= (apart - levels[order]).mean()
        apart += max(0.0, -apart[0]) - max(0.0, apart[-1] - top)
    placed = np.empty_like(apart)
    placed[order] = apart
    return placed
