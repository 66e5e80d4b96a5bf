"""The hatching of a detail's chart over windows whose data is still arriving."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

HATCH_STEP = 9  # Pixels


def late_spans(windows: pd.DataFrame, every: float, end: float) -> list[tuple[float, float]]:
    """The spans of the x axis in which usage of at least one shown line is still arriving."""
    stamps = np.unique(windows.loc[windows["complete"] == 0, "x"])
    if not len(stamps):
        return []
    parts = np.split(stamps, np.flatnonzero(np.diff(stamps) > 1.01 * every) + 1)
    return [(float(part[0]), float(min(part[-1] + every, end))) for part in parts]


def hatching(spans: Sequence[tuple[float, float]], pixel: float, height: int, top: float) -> pd.DataFrame:
    """Diagonals over the spans, clipped to the plot; pixel: its width in units of x; y goes from 0 to top."""
    parts = []
    for left, right in spans:
        width = max((right - left) / pixel, 1.0)
        starts = np.arange(-height, width, HATCH_STEP, dtype=float)
        low, high = np.maximum(starts, 0.0), np.minimum(starts + height, width)
        parts.append(
            np.column_stack(
                [left + low * pixel, left + high * pixel, (low - starts) / height, (high - starts) / height]
            )
        )
    lines = np.concatenate(parts) if parts else np.empty((0, 4))
    return pd.DataFrame({"x": lines[:, 0], "x2": lines[:, 1], "y": lines[:, 2] * top, "y2": lines[:, 3] * top})
