"""The common style of all charts: colours and strokes by rank, and Vega-Lite's configuration."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from missioncontrol_nb import arguments
from missioncontrol_nb.formatting import moment

SHADES = ("v0", "v1", "v2", "v-old")  # By rank; the last is for all older lines
WIDTHS = (2.75, 1.75, 1.25, 1.25)
DENSE_WIDTHS = (1.25, 1.0, 0.75, 0.75)  # For lines with more than one window per two pixels
DASHES: tuple[list[int], ...] = ([], [], [5, 3], [1, 3])
BAND_OPACITY = 0.18
PALE_OPACITY = 0.45
ACCEPT_OPACITY = 0.1
INCIDENT_OPACITY = 0.16
RATE_HEIGHT, USAGE_HEIGHT = 320, 72


def variable(token: str) -> str:
    """A colour as a variable of the style sheet, which the page resolves for the light and dark style."""
    return f"var(--mc-{token})"


@cache
def _light_tokens() -> Mapping[str, str]:
    """The style sheet's colours of the light style."""
    sheet = (Path(__file__).parents[1] / "style" / "dashboard.css").read_text(encoding="utf-8")
    return dict(re.findall(r"--mc-([\w-]+): (#[0-9a-f]{6});", sheet.split("@media")[0]))


def light(token: str) -> str:
    """A colour of the light style, for charts outside the page, where variables are not resolved.

    Raises MissionControlError for a name that the style sheet does not have.
    """
    return _light_tokens()[arguments.choice("colour", token, _light_tokens())]


def theme(colour: Callable[[str], str] = variable) -> dict[str, Any]:
    """The common Vega-Lite configuration of all charts; colour: gives a token's colour (`variable` or `light`)."""
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
    """A chart's named data set from a frame; it is converted to rows only when the whole specification is requested."""

    _class_is_valid_at_instantiation = False

    @property
    def frame(self) -> pd.DataFrame:
        """The frame that was given."""
        return self._args[0]

    def to_dict(self, *_: Any, **__: Any) -> Any:
        """The rows in Vega-Lite's form, with missing values as null."""
        return self.frame.astype(object).where(self.frame.notna(), None).to_dict("records")


def on_axis(y: alt.Y, field: str) -> alt.Y:
    """The same y channel for another column."""
    other = y.copy(deep=False)
    other.shorthand = f"{field}:Q"
    return other


def moment_without_zone(when: datetime) -> str:
    """ "Thu 28 Sep 13:00" """
    return moment(when).removesuffix(" UTC")
