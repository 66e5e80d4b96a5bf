"""The Altair charts of a frame or a detail, and the texts that describe them."""

from missioncontrol_nb.charts.captions import readout, summary
from missioncontrol_nb.charts.detail import detail_chart
from missioncontrol_nb.charts.detail_data import detail_data, incidents_shown, shown_lines
from missioncontrol_nb.charts.expected import Expected
from missioncontrol_nb.charts.rates import rate_chart, rate_data
from missioncontrol_nb.charts.theme import Rows, light, theme, variable

__all__ = [
    "Expected",
    "Rows",
    "detail_chart",
    "detail_data",
    "incidents_shown",
    "light",
    "rate_chart",
    "rate_data",
    "readout",
    "shown_lines",
    "summary",
    "theme",
    "variable",
]
