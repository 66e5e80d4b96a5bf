"""The one look of all charts: colours and strokes by rank, and Vega-Lite's configuration."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from missioncontrol_nb import arguments

SHADES = ("v0", "v1", "v2", "v-old")  # by rank; the last is for all older ones
WIDTHS = (2.75, 1.75, 1.25, 1.25)
DENSE_WIDTHS = (1.25, 1.0, 0.75, 0.75)  # where a line has more windows than every other pixel
DASHES: tuple[list[int], ...] = ([], [], [5, 3], [1, 3])
BAND_OPACITY = 0.18
LATE_OPACITY = 0.45
RATE_HEIGHT, USAGE_HEIGHT = 320, 72


def variable(token: str) -> str:
    """A colour as the style sheet's variable, which the page resolves for light and dark."""
    return f"var(--mc-{token})"


@cache
def _light_tokens() -> Mapping[str, str]:
    """The style sheet's colours of the light look."""
    sheet = (Path(__file__).parents[1] / "style" / "dashboard.css").read_text(encoding="utf-8")
    return dict(re.findall(r"--mc-([\w-]+): (#[0-9a-f]{6});", sheet.split("@media")[0]))


def light(token: str) -> str:
    """A colour of the light look, for charts that no page resolves variables for.

    Raises MissionControlError for a name that the style sheet does not have.
    """
    return _light_tokens()[arguments.choice("colour", token, _light_tokens())]


def theme(colour: Callable[[str], str] = variable) -> dict[str, Any]:
    """The one Vega-Lite configuration of all charts. colour: a token's colour, see `variable` and `light`."""
    return {
        "background": "transparent",
        "font": '-apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, Inter, "Noto Sans", "Liberation Sans", Arial, '
        "sans-serif",
        "padding": {"left": 0, "right": 4, "top": 4, "bottom": 4},
        "view": {"stroke": None},
        "concat": {"spacing": 12},
        "axis": {
            "labelFontSize": 12,
            "labelColor": colour("text-3"),
            "labelPadding": 6,
            "title": None,
            "domain": False,
            "ticks": False,
            "gridColor": colour("grid"),
            "gridWidth": 1,
        },
        "axisX": {
            "grid": False,
            "domain": True,
            "domainColor": colour("axis"),
            "ticks": True,
            "tickColor": colour("axis"),
            "tickSize": 4,
            "labelOverlap": True,
            "labelFlush": True,
        },
        "axisY": {"tickCount": 5, "minExtent": 32},
        "line": {"strokeWidth": 1.75, "strokeJoin": "round", "strokeCap": "round"},
        "area": {"opacity": BAND_OPACITY, "line": False},
        "bar": {"color": colour("usage")},
        "rule": {"color": colour("axis")},
        "text": {"fontSize": 12, "color": colour("text-2")},
        "legend": {"disable": True},
        "title": {
            "anchor": "start",
            "fontSize": 12,
            "fontWeight": "normal",
            "color": colour("text-3"),
            "offset": 8,
        },
        "range": {"category": [colour(shade) for shade in SHADES]},
    }


class Rows(alt.InlineDataset):
    """A frame as a chart's named data set: it becomes rows only where somebody asks for the whole specification."""

    _class_is_valid_at_instantiation = False

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as they were given."""
        return self._args[0]

    def to_dict(self, *_: Any, **__: Any) -> Any:
        """The rows as Vega-Lite takes them, missing values as null."""
        return self.frame.astype(object).where(self.frame.notna(), None).to_dict("records")


def on_axis(y: alt.Y, field: str) -> alt.Y:
    """The same axis for another column."""
    other = y.copy(deep=False)
    other.shorthand = f"{field}:Q"
    return other
