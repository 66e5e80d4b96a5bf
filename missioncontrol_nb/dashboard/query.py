"""The query of a page's URL: the view and its settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

from missioncontrol_nb.monitor import LINES, OLDER
from streaming import contract

VIEWS = ("overview", "table", "detail")
_NAME = re.compile(r"[0-9A-Za-z?][0-9A-Za-z._+?-]{0,39}")  # a version, a build id, a country ("??"), "older"
_DATE = re.compile(r"2[0-9]{3}-[0-9]{2}-[0-9]{2}")
_MOST_HIDDEN = 60
NO_LINE = "none"  # in a URL in place of names, when no line is hidden
LONGEST_INTERVAL = timedelta(days=366)


def words(*allowed: str) -> Mapping[str, str]:
    """Choices whose word in the URL is equal to the value."""
    return {word: word for word in allowed}


@dataclass(frozen=True)
class Choice:
    """One setting: its name in the URL, the words allowed there with their values, the views it belongs to.

    An unknown word means the default, because a URL is untrusted input. An `explicit` choice is written even where it
    is the default, because the default depends on the screen.
    """

    parameter: str
    words: Mapping[str, object]
    views: tuple[str, ...] = VIEWS
    explicit: bool = False

    def read(self, word: str | None, default: object) -> object:
        """The value of a word; the default for an unknown word or None."""
        return self.words.get(word, default) if word is not None else default

    def write(self, value: object) -> str:
        """The word of a value."""
        return next(word for word, known in self.words.items() if known == value)


TABLE_AND_DETAIL, TABLE, DETAIL = ("table", "detail"), ("table",), ("detail",)
_VIEW = {"view": Choice("view", words(*VIEWS))}
# The choices that are the same for all products.
CHOICES: Mapping[str, Choice] = MappingProxyType(
    {
        "show": Choice("show", words("rate", "count"), TABLE_AND_DETAIL),
        "period": Choice("period", {"since-release": "since_release", "last-24h": "last_24h"}, TABLE),
        "order": Choice("order", words("worst", "name"), TABLE),
        "interval": Choice("interval", words("24h", "48h", "7d", "14d", "custom"), DETAIL, explicit=True),
        "time": Choice("time", {"latest": "latest", "since-release": "since_release"}, DETAIL),
        "window": Choice("window", words("5min", "1h", "1d"), DETAIL),
        "line": Choice("line", words(*LINES), DETAIL),
        "skip": Choice("skip", {"nothing": False, "24h": True}, DETAIL),
        "cut": Choice("cut", {"0": 0, "1": 1, "5": 5}, DETAIL),
        "official": Choice("builds", {"official": True, "all": False}),
        "behind": Choice("table", {"closed": False, "open": True}, DETAIL),
    }
)


@lru_cache(64)
def choices_of(product: contract.Product) -> Mapping[str, Choice]:
    """All choices for a product: its words in the URL and the dataset's values for them."""
    of_product = {
        "channel": Choice("channel", words(*product.channel_names)),
        "os_name": Choice(
            "platform", {platform.word: platform.os_name for platform in product.platforms}, TABLE_AND_DETAIL
        ),
        "measure": Choice("measure", words(*product.measures), DETAIL),
    }
    return MappingProxyType({**_VIEW, **of_product, **CHOICES})


@dataclass(frozen=True)
class Query:
    """All choices at once.

    since, until: first and last day, UTC, of a custom interval; hidden: names of lines that are switched off, "older"
    for all lines after the third; skip: whether the first 24 hours of each line are left out; behind: whether the table
    behind the chart is open.
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
    line: str = "version"
    hidden: tuple[str, ...] = field(default=(OLDER,))
    cut: int = 0
    skip: bool = False
    official: bool = True
    behind: bool = False
    product: contract.Product = contract.FIREFOX

    @property
    def search(self) -> str:
        """The query of this state's URL, with "?": only choices that belong to the view and differ from the default."""
        default = default_of(self.product)
        pairs = [("product", self.product.word)] if self.product != DEFAULT.product else []
        pairs += [
            (choice.parameter, choice.write(getattr(self, name)))
            for name, choice in choices_of(self.product).items()
            if self.view in choice.views and (choice.explicit or getattr(self, name) != getattr(default, name))
        ]
        if self.view == "detail":
            pairs += self._detail_pairs()
        return "?" + urlencode(pairs, safe=",")

    def _detail_pairs(self) -> list[tuple[str, str]]:
        pairs = []
        if self.interval == "custom" and self.since and self.until:
            pairs = [("since", self.since.isoformat()), ("until", self.until.isoformat())]
        if self.hidden != DEFAULT.hidden:
            pairs.append(("off", ",".join(self.hidden) or NO_LINE))
        return pairs

    def link(self, **changes: Any) -> str:
        """The URL query of this state with some choices changed.

        A link from another view to a detail names no interval, because the default depends on the screen.
        """
        there = replace(self, **changes)
        if there.view == "detail" and self.view != "detail" and "interval" not in changes:
            return re.sub(r"&interval=[0-9a-z]+", "", there.search)
        return there.search


DEFAULT = Query()


@lru_cache(64)
def default_of(product: contract.Product) -> Query:
    """The query of a URL that names only a product."""
    channel, os_name, measure = product.channel_names[0], product.os_names[0], product.cards[0]
    return Query(product=product, channel=channel, os_name=os_name, measure=measure)


def read_search(search: str, narrow: bool = False, products: contract.Products = contract.PACKAGED_PRODUCTS) -> Query:
    """The state that a URL's query asks for; never raises.

    search: "?channel=beta&view=detail", untrusted input; unknown parameters are ignored, unknown values mean the
    default; narrow: whether the screen is a phone's, where a detail URL without an interval means 48 hours instead of
    7 days; products: the products of the dataset.
    """
    given = _parameters(search)
    product = _product(given, products) or DEFAULT.product
    default = default_of(product)
    default = replace(default, interval="48h") if narrow else default
    values: dict[str, Any] = {"product": product} | {
        name: choice.read(given.get(choice.parameter), getattr(default, name))
        for name, choice in choices_of(product).items()
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


def product_asked(search: str, products: contract.Products) -> contract.Product | None:
    """The product that a URL's query names; None for an unknown product; never raises."""
    return _product(_parameters(search), products)


def _product(given: Mapping[str, str], products: contract.Products) -> contract.Product | None:
    word = given.get("product", DEFAULT.product.word)
    return next((each for each in products if each.word == word), None)


def _parameters(search: str) -> dict[str, str]:
    """The parameters of a URL's query, which is untrusted input; none where it cannot be parsed."""
    try:
        return dict(parse_qsl(search.lstrip("?")[:2000], max_num_fields=50))
    except ValueError:
        return {}


def _read_days(given: Mapping[str, str]) -> tuple[date, date] | None:
    """First and last day of a custom interval, in order; None if invalid or longer than LONGEST_INTERVAL."""
    texts = given.get("since", ""), given.get("until", "")
    if not all(_DATE.fullmatch(text) for text in texts):
        return None
    try:
        since, until = sorted(date.fromisoformat(text) for text in texts)
    except ValueError:
        return None
    return (since, until) if until - since <= LONGEST_INTERVAL else None


def _read_names(text: str) -> tuple[str, ...]:
    names = {name for name in text.split(",") if _NAME.fullmatch(name)} - {NO_LINE}
    return tuple(sorted(names)[:_MOST_HIDDEN])


def _of_view(query: Query) -> Query:
    """The query, with all choices that its view does not have reset to the default."""
    others = {name for name, choice in choices_of(query.product).items() if query.view not in choice.views}
    if query.view != "detail":
        others |= {"since", "until", "hidden"}
    default = default_of(query.product)
    return replace(query, **{name: getattr(default, name) for name in others})
