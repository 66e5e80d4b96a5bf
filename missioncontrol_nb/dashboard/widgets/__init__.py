"""The widgets that pages are made of."""

from missioncontrol_nb.dashboard.widgets.page import Markup, Page
from missioncontrol_nb.dashboard.widgets.vega_chart import VegaChart

__all__ = ["Markup", "Page", "VegaChart"]
