"""What a visitor looks at: every choice of every view, and the URL that says exactly that."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

from traitlets import Bool, Enum, HasTraits, Instance, Tuple, observe

from missioncontrol_nb.monitor import OLDER
from streaming import contract

VIEWS = ("overview", "table", "detail")
# Words of the URL -> what the dataset says; the first word is what a URL without one means.
PLATFORMS = {"windows": "Windows_NT", "mac": "Darwin", "linux": "Linux", "android": "Android"}

_PLATFORM_WORDS = {os_name: word for word, os_name in PLATFORMS.items()}
_NAME = re.compile(r"[0-9]{1,4}[0-9a-z.]{0,20}|older")
_DATE = re.compile(r"2[0-9]{3}-[0-9]{2}-[0-9]{2}")
_MOST_HIDDEN = 60
LONGEST_INTERVAL = timedelta(days=366)


def words(*allowed: str) -> Mapping[str, str]:
    """Choices whose word in the URL is the value itself."""
    return {word: word for word in allowed}


@dataclass(frozen=True)
class Choice:
    """One setting: its name in the URL, the words it takes there with their values, the views it belongs to.

    A word that is not among them means the default: whatever comes in a URL is a stranger's. An `explicit`
    choice is written even where it is the default, because the default depends on the screen.
    """

    parameter: str
    words: Mapping[str, object]
    views: tuple[str, ...] = VIEWS
    explicit: bool = False

    def read(self, word: str | None, default: object) -> object:
        """The value of a word, else the default."""
        return self.words.get(word, default) if word is not None else default

    def write(self, value: object) -> str:
        """The word of a value."""
        return next(word for word, known in self.words.items() if known == value)


TABLE_AND_DETAIL, TABLE, DETAIL = ("table", "detail"), ("table",), ("detail",)
CHOICES: Mapping[str, Choice] = MappingProxyType(
    {
        "view": Choice("view", words(*VIEWS)),
        "channel": Choice("channel", words(*contract.CHANNELS)),
        "os_name": Choice("platform", PLATFORMS, TABLE_AND_DETAIL),
        "measure": Choice("measure", words(*contract.MEASURE_NAMES), DETAIL),
        "show": Choice("show", words("rate", "count"), TABLE_AND_DETAIL),
        "period": Choice("period", {"since-release": "since_release", "last-24h": "last_24h"}, TABLE),
        "order": Choice("order", words("worst", "name"), TABLE),
        "interval": Choice("interval", words("24h", "48h", "7d", "14d", "custom"), DETAIL, explicit=True),
        "time": Choice("time", {"latest": "latest", "since-release": "since_release"}, DETAIL),
        "window": Choice("window", words("5min", "1h", "1d"), DETAIL),
        "line": Choice("line", words("version", "build"), DETAIL),
        "cut": Choice("cut", {"0": 0, "1": 1, "5": 5}, DETAIL),
        "official": Choice("builds", {"official": True, "all": False}),
        "behind": Choice("table", {"closed": False, "open": True}, DETAIL),
    }
)


@dataclass(frozen=True)
class Query:
    """All choices at once. `since` and `until` are the first and the last day, UTC, of a custom interval.

    hidden: names of versions or builds that are switched off, "older" for all before the third.
    behind: whether the table behind the chart is open.
    """

    view: str = "overview"
    channel: str = "release"
    os_name: str = "Windows_NT"
    measure: str = "content_crashes"
    show: Literal["rate", "count"] = "rate"
    period: Literal["since_release", "last_24h"] = "since_release"
    order: str = "worst"
    interval: str = "7d"
    since: date | None = None
    until: date | None = None
    time: Literal["latest", "since_release"] = "latest"
    window: str = "1h"
    line: Literal["version", "build"] = "version"
    hidden: tuple[str, ...] = field(default=(OLDER,))
    cut: int = 0
    official: bool = True
    behind: bool = False

    @property
    def search(self) -> str:
        """The query of this state's URL, "?" first: only what belongs to the view and differs from the default."""
        pairs = [
            (choice.parameter, choice.write(getattr(self, name)))
            for name, choice in CHOICES.items()
            if self.view in choice.views and (choice.explicit or getattr(self, name) != getattr(DEFAULT, name))
        ]
        if self.view == "detail":
            pairs += self._detail_pairs()
        return "?" + urlencode(pairs, safe=",")

    def _detail_pairs(self) -> list[tuple[str, str]]:
        pairs = []
        if self.interval == "custom" and self.since and self.until:
            pairs = [("since", self.since.isoformat()), ("until", self.until.isoformat())]
        if self.hidden != DEFAULT.hidden:
            pairs.append(("off", ",".join(self.hidden) or "none"))
        return pairs

    def link(self, **changes: Any) -> str:
        """The URL query of this state with some choices changed; a detail link leaves the interval to the screen."""
        there = replace(self, **changes)
        if there.view == "detail" and self.view != "detail" and "interval" not in changes:
            return re.sub(r"&interval=[0-9a-z]+", "", there.search)
        return there.search


DEFAULT = Query()


def read_search(search: str, narrow: bool = False) -> Query:
    """The state that a URL's query asks for; never raises.

    search: "?channel=beta&view=detail", from anyone. Unknown parameters are left out, unknown values mean the
    default. narrow: a phone, where a detail URL that names no interval means 48 hours instead of 7 days.
    """
    try:
        given = dict(parse_qsl(search.lstrip("?")[:2000], max_num_fields=50))
    except ValueError:
        given = {}
    default = replace(DEFAULT, interval="48h") if narrow else DEFAULT
    values: dict[str, Any] = {
        name: choice.read(given.get(choice.parameter), getattr(default, name)) for name, choice in CHOICES.items()
    }
    days = _read_days(given)
    if values["interval"] == "custom":
        if days is None:
            values["interval"] = default.interval
        else:
            values["since"], values["until"] = days
    if "off" in given:
        values["hidden"] = _read_names(given["off"])
    return _of_view(Query(**values))


def _read_days(given: Mapping[str, str]) -> tuple[date, date] | None:
    """First and last day of a custom interval, in order and not absurdly far apart, else None."""
    texts = given.get("since", ""), given.get("until", "")
    if not all(_DATE.fullmatch(text) for text in texts):
        return None
    try:
        since, until = sorted(date.fromisoformat(text) for text in texts)
    except ValueError:
        return None
    return (since, until) if until - since <= LONGEST_INTERVAL else None


def _read_names(text: str) -> tuple[str, ...]:
    names = {name for name in text.split(",") if _NAME.fullmatch(name)}
    return tuple(sorted(names)[:_MOST_HIDDEN])


def _of_view(query: Query) -> Query:
    """The query with the choices that its view does not have set back to the default."""
    others = {name for name, choice in CHOICES.items() if query.view not in choice.views}
    if query.view != "detail":
        others |= {"since", "until", "hidden"}
    return replace(query, **{name: getattr(DEFAULT, name) for name in others})


class State(HasTraits):
    """The choices as traits to link controls to, and the one frozen `query` that views observe.

    `query` is derived: however many choices change together, it changes once. A value outside the declared
    ones raises TraitError, as the page may send anything. today: the current day, UTC, for a custom interval
    that has no days yet.
    """

    view = Enum(VIEWS, DEFAULT.view)
    channel = Enum(contract.CHANNELS, DEFAULT.channel)
    os_name = Enum(tuple(PLATFORMS.values()), DEFAULT.os_name)
    measure = Enum(contract.MEASURE_NAMES, DEFAULT.measure)
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
    official = Bool(DEFAULT.official)
    behind = Bool(DEFAULT.behind)
    query = Instance(Query, args=())

    def __init__(self, today: Callable[[], date] = lambda: datetime.now(UTC).date(), **choices: object) -> None:
        self._today = today
        self._taking_over = False
        super().__init__(**choices)

    def set(self, query: Query) -> None:
        """Takes over all choices of a query; observers of `query` hear of it once."""
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
    """What one changed control brings with it: days for a custom interval, all lines for other lines."""
    if query.interval == "custom":
        since, until = sorted((query.since or today - timedelta(days=6), query.until or today))
        query = replace(query, since=max(since, until - LONGEST_INTERVAL), until=until)
    else:
        query = replace(query, since=None, until=None)
    if (query.channel, query.os_name, query.line) != (before.channel, before.os_name, before.line):
        query = replace(query, hidden=DEFAULT.hidden)
    return query
