"""A simulated fleet that behaves like the real one around October 2017: months of grouped rows, or live pings."""

from missioncontrol_nb.simulator.builds import weeks_until
from missioncontrol_nb.simulator.fleet import Bad, Fleet

__all__ = ["Bad", "Fleet", "weeks_until"]
