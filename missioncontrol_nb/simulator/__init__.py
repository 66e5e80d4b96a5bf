"""A simulated fleet that behaves like a real one, of October 2017 or of today: months of rows, or live pings."""

from missioncontrol_nb.simulator.builds import weeks_until
from missioncontrol_nb.simulator.fleet import Bad, Fleet

__all__ = ["Bad", "Fleet", "weeks_until"]
