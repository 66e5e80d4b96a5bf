"""A simulated dataset in which the judge itself says all four states of 56.0 on release: what pages are looked at with.

On Windows content crashes more than double at midnight, on macOS they rise by less; the other systems are healthy.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.simulator.fleet import Bad, Fleet
from missioncontrol_nb.simulator.history import write_history

SINCE, UNTIL = datetime(2017, 10, 2, tzinfo=UTC), datetime(2017, 10, 2, 9, tzinfo=UTC)
DAYS = 60
BAD = (
    Bad("56.0", SINCE, "content_crashes", 2.2, "Windows_NT", "release"),
    Bad("56.0", SINCE, "content_crashes", 1.5, "Darwin", "release"),
)


def write_four_states(folder: Path) -> None:
    """Writes the dataset into a folder that is not there yet; takes some 20 s."""
    write_history(Fleet(load_calendar(), bad=BAD), str(folder), UNTIL, DAYS)


if __name__ == "__main__":
    write_four_states(Path(sys.argv[1]))
