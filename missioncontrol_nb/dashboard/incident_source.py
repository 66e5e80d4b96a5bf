"""Where pages get a dataset's data incidents from: read again now and then, because they are files of people."""

import logging
import math
import time

from missioncontrol_nb.incidents import Incident
from missioncontrol_nb.incidents.annotating import read_all
from missioncontrol_nb.loading.dataset import Dataset
from streaming.errors import MissionControlError
from streaming.storage.locations import is_remote

LOCAL_SECONDS, REMOTE_SECONDS = 5.0, 60.0  # between two readings; a bucket takes a request for each incident

log = logging.getLogger(__name__)


class IncidentSource:
    """The data incidents of a dataset, a few seconds old at most; safe for the threads of one process."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._every = REMOTE_SECONDS if is_remote(dataset.url) else LOCAL_SECONDS
        self._read_at = -math.inf
        self._known: tuple[Incident, ...] = ()
        self._shown: tuple[Incident, ...] = ()
        self._problems: tuple[str, ...] = ()

    def newest(self) -> tuple[Incident, ...]:
        """The incidents by their beginning.

        A damaged file is left out and logged, and where none can be read those read last stay: a page shows its
        figures all the same, and the judge says what is wrong.
        """
        if time.monotonic() - self._read_at > self._every:
            self._read_at = time.monotonic()
            problems: tuple[str, ...]
            try:
                self._known, problems = read_all(self._dataset)
            except MissionControlError as error:
                problems = (str(error),)
            for problem in problems:
                if problem not in self._problems:
                    log.error("a data incident could not be read: %s", problem)
            self._problems = problems
        return self._known

    def has_news(self) -> bool:
        """Whether there are others than at the last call."""
        before, self._shown = self._shown, self.newest()
        return before != self._shown
