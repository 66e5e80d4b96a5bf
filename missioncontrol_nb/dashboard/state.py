"""The state of a page: its query as traits that controls are linked to."""

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta

from traitlets import Bool, Bunch, Enum, HasTraits, Instance, TraitError, Tuple, Unicode, default, observe, validate

from missioncontrol_nb.dashboard.query import CHOICES, DEFAULT, LONGEST_INTERVAL, VIEWS, Query, choices_of
from streaming import contract


class State(HasTraits):
    """The choices as traits to link controls to, and the frozen `query` that views observe.

    `query` is derived: it changes once, even if several choices change together. A value that is not declared raises
    TraitError, because the page may send anything. today: returns the current day, UTC, for a custom interval that has
    no days yet.
    """

    view = Enum(VIEWS, DEFAULT.view)
    product = Instance(contract.Product)
    channel = Unicode(DEFAULT.channel)
    os_name = Unicode(DEFAULT.os_name)
    measure = Unicode(DEFAULT.measure)
    show = Enum(tuple(CHOICES["show"].words.values()), DEFAULT.show)
    period = Enum(tuple(CHOICES["period"].words.values()), DEFAULT.period)
    order = Enum(tuple(CHOICES["order"].words.values()), DEFAULT.order)
    interval = Enum(tuple(CHOICES["interval"].words.values()), DEFAULT.interval)
    since = Instance(date, allow_none=True)
    until = Instance(date, allow_none=True)
    time = Enum(tuple(CHOICES["time"].words.values()), DEFAULT.time)
    window = Enum(tuple(CHOICES["window"].words.values()), DEFAULT.window)
    line = Enum(tuple(CHOICES["line"].words.values()), DEFAULT.line)
    hidden = Tuple(default_value=DEFAULT.hidden)
    cut = Enum(tuple(CHOICES["cut"].words.values()), DEFAULT.cut)
    skip = Bool(DEFAULT.skip)
    official = Bool(DEFAULT.official)
    behind = Bool(DEFAULT.behind)
    query = Instance(Query, args=())

    def __init__(self, today: Callable[[], date] = lambda: datetime.now(UTC).date(), **choices: object) -> None:
        self._today = today
        self._taking_over = False
        super().__init__(**choices)

    @default("product")
    def _default_product(self) -> contract.Product:
        return DEFAULT.product

    @validate("channel", "os_name", "measure")
    def _check_known(self, proposal: Bunch) -> object:
        """Allows only a channel, platform or measure of the product, because the page may send anything."""
        name, value = proposal.trait.name, proposal.value
        if value not in choices_of(self.product)[name].words.values():
            raise TraitError(f"{name} {value!r} is none of {self.product.label}'s")
        return value

    def set(self, query: Query) -> None:
        """Takes over all choices of a query; observers of `query` are notified once."""
        self._taking_over = True
        try:
            with self.hold_trait_notifications():
                for each in fields(Query):
                    setattr(self, each.name, getattr(query, each.name))
        finally:
            self._taking_over = False

    @observe(*(each.name for each in fields(Query)))
    def _derive(self, _change: object) -> None:
        query = Query(**{each.name: getattr(self, each.name) for each in fields(Query)})
        settled = _settle(query, self.query, self._today()) if not self._taking_over else query
        if settled != query:
            self.set(settled)
        else:
            self.query = query


def _settle(query: Query, before: Query, today: date) -> Query:
    """The query with the choices that depend on a changed control.

    A custom interval gets days, other intervals none; when the lines change, `hidden` is reset to the default.
    """
    if query.interval == "custom":
        since, until = sorted((query.since or today - timedelta(days=6), query.until or today))
        query = replace(query, since=max(since, until - LONGEST_INTERVAL), until=until)
    else:
        query = replace(query, since=None, until=None)
    if _of_lines(query) != _of_lines(before):
        query = replace(query, hidden=DEFAULT.hidden)
    return query


def _of_lines(query: Query) -> tuple[object, ...]:
    """The choices that determine the lines of the chart."""
    return query.product, query.channel, query.os_name, query.line
