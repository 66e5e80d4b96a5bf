"""A watch whose looks were recorded, so that it does little but write its state and deliver.

python -m tests.faults.watch_job FOLDER LOOKS TARGET... ends when it has found all that LOOKS holds and delivered it.
"""

import sys
import threading
from pathlib import Path

import msgspec

from missioncontrol_nb.watching import looking
from missioncontrol_nb.watching.changes import Look
from missioncontrol_nb.watching.state import read_state
from missioncontrol_nb.watching.targets import read_targets
from missioncontrol_nb.watching.watch import WatchSettings, watch

DATASET, EVERY_SECONDS = "data", 0.02


def main() -> None:
    folder, looks = Path(sys.argv[1]), msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=list[Look])
    places, stop = {each.data_up_to: place for place, each in enumerate(looks)}, threading.Event()

    def next_look(request: looking.Request, _: threading.Event) -> Look:
        """The look after the one that the state has, as a watch that was killed goes on where data are by then."""
        state = read_state(folder)
        place = -1 if state is None else places.get(state.data_up_to, -1)
        if place + 1 == len(looks) and state is not None and not state.messages:
            stop.set()
        return looks[min(place + 1, len(looks) - 1)]

    looking.look = next_look
    settings = WatchSettings(DATASET, folder, "Firefox", 600.0, every_seconds=EVERY_SECONDS)
    watch(settings, read_targets(sys.argv[3:]), stop, print, print)


if __name__ == "__main__":
    main()
