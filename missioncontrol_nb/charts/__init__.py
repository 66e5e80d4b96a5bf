"""The charts: a frame or a summary in, an Altair chart out, and beside each the words that say what it shows."""

from .detail import detail_chart
from .detail_data import detail_data, shown_lines
from .rates import rate_chart, rate_data
from .theme import Rows, light, theme, variable
from .words import readout, summary

__all__ = [
    "Rows",
    "detail_chart",
    "detail_data",
    "light",
    "rate_chart",
    "rate_data",
    "readout",
    "shown_lines",
    "summary",
    "theme",
    "variable",
]
