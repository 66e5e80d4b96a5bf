"""A request to load: its names, values and times, checked and in one form."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from missioncontrol_nb import arguments
from missioncontrol_nb.arguments import Time, Values, as_utc, choice, names
from streaming import contract
from streaming.errors import MissionControlError, unknown_name

if TYPE_CHECKING:
    from missioncontrol_nb.releases.calendar import Calendar

FILTERS = tuple(dict.fromkeys((*contract.DIMENSION_NAMES, *contract.EXPERIMENT_DIMENSIONS)))
ARGUMENTS = ("measures", "by", "every", "since", "until", "official")
OFFICIAL_COLUMNS = ("application", "channel", "display_version", "build_id")


EVERY = {"5min": contract.WINDOW, "1h": timedelta(hours=1), "1d": timedelta(days=1)}
ALWAYS_LOADED = ("count", "usage_hours")


@dataclass(frozen=True)
class Selection:
    """A request: windows that start in [since, until), rows whose dimensions match `filters`, summed by `by`.

    measures: None means all. every: a key of EVERY, or None for one sum over the whole interval.
    """

    since: datetime | None
    until: datetime | None
    filters: Mapping[str, tuple[str, ...]]
    by: tuple[str, ...]
    measures: tuple[str, ...] | None
    every: str | None

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions that the request names, each once."""
        return tuple(dict.fromkeys((*self.by, *self.filters)))

    @property
    def is_about_experiments(self) -> bool:
        """Whether the request is for sums of pings in experiments, not of all pings."""
        return not set(contract.EXPERIMENT_NAMES).isdisjoint(self.dimensions)

    def may_mix(self, products: contract.Products) -> bool:
        """Whether the request may include rows of several products, whose counts must not be summed."""
        applications = self.filters.get("application")
        return "application" not in self.by and (
            applications is None or len(set(map(products.name_of, applications))) > 1
        )

    def measures_among(self, known: Collection[str], usual: Collection[str] | None = None) -> tuple[str, ...]:
        """The measures to load; known: those that the data has; usual: those for a request that names none.

        Raises MissionControlError for one that is not known.
        """
        for name in self.measures or ():
            if name not in known:
                raise unknown_name("measure", name, known)
        return tuple(known if usual is None else usual) if self.measures is None else self.measures

    def check_dimensions(self, known: Collection[str]) -> None:
        """Raises MissionControlError for a dimension that is not among the known ones."""
        for name in self.dimensions:
            if name not in known:
                raise unknown_name("dimension", name, known)

    def check_closed_values(self, products: contract.Products) -> None:
        """Raises MissionControlError for a channel, system or application that none of the products has."""
        known = {
            "application": tuple(products.by_application),
            "channel": products.channel_names,
            "os_name": products.os_names,
        }
        for name, values in self.filters.items():
            for value in values:
                if name in known and value not in known[name]:
                    raise unknown_name(name, value, known[name])


def check_one_product(names: Iterable[str], products: contract.Products) -> None:
    """Raises MissionControlError where rows to be summed are of several products."""
    found = sorted(set(names))
    if len(found) > 1:
        known = next((application for application in products.by_application if application in found), found[0])
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
    """A request from a user's arguments: one name or several, times as ISO text, dates or datetimes (UTC).

    Raises MissionControlError for arguments of another kind, for an unknown `every`, and for an interval that ends
    before it starts.
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


def check_unknown(filters: Iterable[str]) -> None:
    """Raises MissionControlError where any filter is given; filters: names that are no filters."""
    for name in filters:
        raise unknown_name("filter", name, (*FILTERS, *ARGUMENTS))


def check_official(official: Any) -> None:
    """Raises MissionControlError where official is no Calendar.

    The import is local; a caller that has a Calendar has already imported its module.
    """
    if official is None:
        return
    from missioncontrol_nb.releases.calendar import Calendar

    arguments.instance("official", official, Calendar, "a release calendar such as load_calendar() gives")


def check_storage_options(storage_options: Any) -> None:
    """Raises MissionControlError where storage_options is no mapping of text to text that UTF-8 can encode."""
    if storage_options is None:
        return
    options = arguments.instance("storage_options", storage_options, Mapping, "a dict of text to text")  # type: ignore[type-abstract]
    for each in (*options, *options.values()):
        arguments.utf8("storage_options", arguments.instance("storage_options", each, str, "a dict of text to text"))


def check_dimensions(selection: Selection, table: contract.Table, official: "Calendar | None") -> None:
    """Raises MissionControlError for a dimension that a table does not have."""
    known = set(table.keys) - set(contract.WINDOW_COLUMNS)
    everywhere = known | set(contract.DIMENSION_NAMES)
    selection.check_dimensions(everywhere)
    missing = [name for name in selection.dimensions if name not in known]
    if selection.is_about_experiments and (missing or official is not None):
        what = ", ".join(missing) or "official builds"
        raise MissionControlError(
            f"experiments are counted by {', '.join(contract.EXPERIMENT_DIMENSIONS)} only, not by {what}"
        )
