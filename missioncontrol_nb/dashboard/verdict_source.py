"""Where pages get the judge's verdicts from: computed once for all pages of a server, in a process of its own."""

import hashlib
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from missioncontrol_nb.dashboard.incident_source import IncidentSource
from missioncontrol_nb.dashboard.judged import Judged
from missioncontrol_nb.judgement.apart import judge_apart
from missioncontrol_nb.judgement.verdicts import Verdicts
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.releases.calendar import Calendar
from streaming import contract

if TYPE_CHECKING:
    import pyarrow as pa

EVERY = timedelta(minutes=5)  # of data: pages judge no more often
SHOWN_FOR = timedelta(hours=1)  # of data: older verdicts are not shown while newer ones are computed


class _Found(NamedTuple):
    state: str
    verdicts: Verdicts


class VerdictSource:
    """The verdicts on a dataset's products, official builds or all.

    They are of a state of the data: its files of past days, its data incidents, and how far it had come, by EVERY.
    Where the dataset has a cache, one process computes them and the others take them from there. Safe for the threads
    of one process.
    """

    def __init__(self, dataset: Dataset, calendar: Calendar, storage_options: Mapping[str, str] | None = None) -> None:
        self._dataset, self._calendar, self._options = dataset, calendar, storage_options
        self._incidents = IncidentSource(dataset)
        self._known: dict[tuple[str, bool], _Found] = {}
        self._one_at_a_time = threading.Lock()

    def newest(self, product: contract.Product, official: bool) -> Judged:
        """The newest verdicts that are there, at once; without verdicts where there are none, or only old ones."""
        found, incidents = self._found(product, official), self._incidents.newest()
        if found is None:
            return Judged(incidents=incidents)
        up_to, at = self._dataset.data_up_to(), found.verdicts.at
        if up_to and at and up_to - at > SHOWN_FOR:
            return Judged(incidents=incidents)
        return Judged(found.verdicts, is_current=found.state == self._state()[0], incidents=incidents)

    def has_new_incidents(self) -> bool:
        """Whether people have written down or removed data incidents since the last call."""
        return self._incidents.has_news()

    def judge(self, product: contract.Product, official: bool) -> None:
        """Computes the verdicts on the newest data, unless they are there; blocks for seconds.

        Raises MissionControlError where the dataset cannot be judged.
        """
        with self._one_at_a_time:
            if self.newest(product, official).is_current:
                return
            state, at = self._state()
            calendar = self._calendar if product.calendar is not None else Calendar((), product)

            def make() -> "Mapping[str, pa.Table]":
                return judge_apart(
                    self._dataset.url,
                    calendar,
                    at,
                    product=product.name,
                    all_builds=not official,
                    storage_options=self._options,
                )

            cache = self._dataset.cache
            tables = cache.get(self._name(product, official), state, make) if cache else make()
            self._known[product.name, official] = _Found(state, Verdicts(tables))

    def _found(self, product: contract.Product, official: bool) -> _Found | None:
        """What this process knows, or what another process has computed since."""
        known = self._known.get((product.name, official))
        if self._dataset.cache is None or (known and known.state == self._state()[0]):
            return known
        shared = self._dataset.cache.newest(self._name(product, official))
        if shared is not None and (known is None or shared[0] != known.state):
            known = _Found(shared[0], Verdicts(shared[1]))
            self._known[product.name, official] = known
        return known

    def _state(self) -> tuple[str, datetime | None]:
        """A text that differs where verdicts would differ, and the moment as of which they are; None: the newest."""
        up_to = self._dataset.data_up_to()
        at = None if up_to is None else up_to - (up_to - datetime.min.replace(tzinfo=up_to.tzinfo)) % EVERY
        files = sorted(self._dataset.files_by_day().items())
        past = files if at is None else files[:-1]  # the newest day's change all the time
        return f"{at} {_short(past)} {_short(self._incidents.newest())}", at

    def _name(self, product: contract.Product, official: bool) -> str:
        """The name of a file in the cache, which differs for each calendar."""
        return f"verdicts_{_short((self._calendar, product, official))}"


def _short(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]
