"""What to load: the names, values and times of a request, checked and in one form."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from missioncontrol_nb.arguments import Time, Values, as_utc, choice, names
from streaming import contract
from streaming.errors import MissionControlError, unknown_name

EVERY = {"5min": contract.WINDOW, "1h": timedelta(hours=1), "1d": timedelta(days=1)}
EXPERIMENT_NAMES = ("experiment_id", "experiment_branch")
CLOSED_VALUES = {
    "application": contract.APPLICATIONS,
    "channel": contract.CHANNELS,
    "os_name": contract.OPERATING_SYSTEMS,
}
ALWAYS_LOADED = ("count", "usage_hours")


@dataclass(frozen=True)
class Selection:
    """A request: windows that start in [since, until), rows whose dimensions are among `filters`, summed by `by`.

    measures: None means all there are. every: a key of EVERY, or None for one sum over the whole interval.
    """

    since: datetime | None
    until: datetime | None
    filters: Mapping[str, tuple[str, ...]]
    by: tuple[str, ...]
    measures: tuple[str, ...] | None
    every: str | None

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions it names, each once."""
        return tuple(dict.fromkeys((*self.by, *self.filters)))

    @property
    def is_about_experiments(self) -> bool:
        """Whether it asks for the sums of pings in experiments rather than of all pings."""
        return not set(EXPERIMENT_NAMES).isdisjoint(self.dimensions)

    @property
    def may_mix_products(self) -> bool:
        """Whether rows of several products, whose counts are not to be summed, may be among what it asks for."""
        applications = self.filters.get("application")
        return "application" not in self.by and (applications is None or len(products(applications)) > 1)

    def measures_among(self, known: Collection[str]) -> tuple[str, ...]:
        """The measures to load from what has those of `known`. Raises MissionControlError for another one."""
        for name in self.measures or ():
            if name not in known:
                raise unknown_name("measure", name, known)
        return tuple(known) if self.measures is None else self.measures

    def check_dimensions(self, known: Collection[str]) -> None:
        """Raises MissionControlError for a dimension that is not one of the known."""
        for name in self.dimensions:
            if name not in known:
                raise unknown_name("dimension", name, known)

    def check_closed_values(self) -> None:
        """Raises MissionControlError for a channel, system or application that no dataset has."""
        for name, values in self.filters.items():
            for value in values:
                if name in CLOSED_VALUES and value not in CLOSED_VALUES[name]:
                    raise unknown_name(name, value, CLOSED_VALUES[name])


def products(applications: Iterable[str]) -> tuple[str, ...]:
    """The products that applications are, each once, by the name of its first application."""
    names = (contract.PRODUCT[0] if name in contract.PRODUCT else name for name in applications)
    return tuple(sorted(set(names)))


def check_one_product(applications: Iterable[str]) -> None:
    """Raises MissionControlError where the applications of rows that are to be summed are of several products."""
    found = products(applications)
    if len(found) > 1:
        known = next((name for name in found if name in contract.APPLICATIONS), found[0])
        raise MissionControlError(
            f"expected pings of one product, for rates of two cannot be summed; got {' and '.join(found)}: "
            f"say application={known!r}, or keep them apart with by='application'"
        )


def select(
    since: Time = None,
    until: Time = None,
    filters: Mapping[str, Values] | None = None,
    *,
    by: str | Iterable[str] = (),
    measures: str | Iterable[str] | None = None,
    every: str | None = None,
) -> Selection:
    """A request from what a person writes: one name or several, times as ISO text, dates or datetimes (UTC).

    Raises MissionControlError for what is neither, for an unknown `every`, and for an interval that ends before
    it starts.
    """
    if every is not None:
        choice("every", every, EVERY)
    start, end = as_utc("since", since), as_utc("until", until)
    if start and end and end < start:
        raise MissionControlError(f"until ({end:%Y-%m-%d %H:%M}) lies before since ({start:%Y-%m-%d %H:%M})")
    named = None if measures is None else names("measures", measures)
    return Selection(
        since=start,
        until=end,
        filters={name: names(name, values) for name, values in (filters or {}).items() if values is not None},
        by=names("by", by),
        measures=None if named is None else tuple(name for name in named if name not in ALWAYS_LOADED),
        every=every,
    )
