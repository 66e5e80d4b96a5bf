"""The declaration of a product: its channels, platforms, builds, and the measures of its score and its cards."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal
from zlib import crc32

from streaming.contract.measures import MEASURES, REPLACING, Measure
from streaming.errors import unknown_name

NOT_CARRIED = "No ping of this platform carries it."


@dataclass(frozen=True)
class Channel:
    """A channel on which the product is released.

    stages: which versions it gets, by the letters that end them ("a", "b", "rc", "esr"; None: no letters), for products
    that have a release calendar.
    """

    name: str
    label: str
    stages: tuple[str | None, ...] = (None,)

    @property
    def in_sentence(self) -> str:
        """The label for use inside a sentence: "release", but "ESR"."""
        return self.label if self.label.isupper() else self.label.lower()


@dataclass(frozen=True)
class Platform:
    """An operating system on which the product runs.

    os_name: its name in pings; word: its name in URLs; application: the product's name in pings from it; kinds: the
    kinds of ping that the product sends from it, each with namespace and type. since: for kinds that replace others
    (REPLACING), the first version that is counted from them; without an entry they replace the others in all versions.
    """

    os_name: str
    label: str
    word: str
    application: str
    kinds: tuple[str, ...]
    since: Mapping[str, str] = field(default_factory=dict, hash=False)

    def replacing(self, version: str) -> frozenset[str]:
        """The kinds of ping that replace others in a version."""
        sent = [kind for kind in REPLACING if kind in self.kinds]
        return frozenset(kind for kind in sent if _numbers(version) >= _numbers(self.since.get(kind, "0")))

    def kinds_of(self, measure: Measure, version: str) -> tuple[str, ...]:
        """The kinds of ping from which a measure of a version is counted."""
        replacing = self.replacing(version)
        sent = [kind for kind in measure.kinds if kind in self.kinds]
        in_force = [kind for kind in sent if kind in replacing]
        return tuple(in_force or [kind for kind in sent if kind not in REPLACING])


@dataclass(frozen=True)
class BuildRules:
    """Which builds count. build_id: the form of a build id; life_months: how old a build may be, None is any age.

    "time": YYYYMMDDHHMMSS, when the build was made; "text": up to 40 letters, digits and ._+-, without a time.
    """

    build_id: Literal["time", "text"] = "time"
    life_months: int | None = 6


def measures_of(platforms: Iterable[Platform]) -> tuple[str, ...]:
    """The names of the measures that pings from any of the given platforms can hold."""
    kinds = {kind for platform in platforms for kind in platform.kinds}
    return tuple(measure.name for measure in MEASURES if kinds.intersection(measure.kinds))


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: 136 and 0 of 136.0a1, so that it counts as version 136."""
    found = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


@dataclass(frozen=True)
class Product:
    """A product. Its pings are summed and compared among themselves, never with those of another product.

    calendar: the source of its release calendar; None: a version counts as released from the first hour in which it has
    1 % of its channel's usage, and all builds count as official. score: the measures whose rates add up to its score;
    cards: the measures that the overview shows.
    """

    name: str
    label: str
    channels: tuple[Channel, ...]
    platforms: tuple[Platform, ...]
    builds: BuildRules = BuildRules()
    calendar: Literal["product-details"] | None = None
    score: tuple[str, ...] = tuple(measure.name for measure in MEASURES if measure.in_score)
    cards: tuple[str, ...] = tuple(measure.name for measure in MEASURES if measure.on_cards)

    @property
    def word(self) -> str:
        """The product's name in URLs: "firefox"."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") or f"product-{crc32(self.name.encode()):x}"

    @property
    def applications(self) -> tuple[str, ...]:
        """The names of the product in pings, each once."""
        return tuple(dict.fromkeys(platform.application for platform in self.platforms))

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The names of its channels."""
        return tuple(channel.name for channel in self.channels)

    @property
    def os_names(self) -> tuple[str, ...]:
        """The names in pings of the operating systems it runs on."""
        return tuple(platform.os_name for platform in self.platforms)

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the measures that any of its pings can hold, and of those of its score and its cards."""
        named = {*measures_of(self.platforms), *self.score, *self.cards}
        return tuple(measure.name for measure in MEASURES if measure.name in named)

    def channel(self, name: str) -> Channel:
        """A channel by its name."""
        return next(channel for channel in self.channels if channel.name == name)

    def platform(self, os_name: str) -> Platform:
        """A platform by the name of its operating system in pings."""
        return next(platform for platform in self.platforms if platform.os_name == os_name)

    def why_not_reported(self, measure: Measure, os_name: str, version: str = "") -> str | None:
        """Why pings of a version from an operating system cannot report a measure; None where they can.

        version: "" stands for any version.
        """
        platform = self.platform(os_name)
        if not set(measure.kinds) & set(platform.kinds):
            return NOT_CARRIED
        removed = measure.removed.get(platform.application)
        if version and removed and _numbers(version) >= _numbers(removed.since):
            return removed.why
        if version and not platform.kinds_of(measure, version):
            first = next(platform.since[kind] for kind in measure.kinds if kind in platform.since)
            return f"{self.label} reports it from version {first} on."
        return measure.not_on.get(platform.application)

    def kinds_of(self, measure: Measure, os_name: str, version: str) -> tuple[str, ...]:
        """The kinds of ping from which a measure of a version is counted on a platform."""
        return self.platform(os_name).kinds_of(measure, version)


@dataclass(frozen=True)
class Products:
    """A set of products, which can be looked up by the application in pings."""

    all: tuple[Product, ...]

    @cached_property
    def by_application(self) -> dict[str, Product]:
        """The product of each application."""
        return {name: product for product in self.all for name in product.applications}

    @cached_property
    def channel_names(self) -> tuple[str, ...]:
        """The channels of all products, each once."""
        return tuple(dict.fromkeys(name for product in self.all for name in product.channel_names))

    @cached_property
    def os_names(self) -> tuple[str, ...]:
        """The operating systems of all products, each once."""
        return tuple(dict.fromkeys(name for product in self.all for name in product.os_names))

    def name_of(self, application: str) -> str:
        """The name of the product of an application; an application that no product declares is its own product."""
        product = self.by_application.get(application)
        return product.name if product else application

    def named(self, name: str) -> Product:
        """A product by its name. Raises MissionControlError for an unknown one."""
        for product in self.all:
            if product.name == name:
                return product
        raise unknown_name("product", name, [product.name for product in self.all])

    def __iter__(self) -> Iterator[Product]:
        return iter(self.all)
