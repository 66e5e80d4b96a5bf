"""Products declared by users in TOML files, and products as datasets store them."""

import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, get_args

from streaming.contract import declared_pings
from streaming.contract.measures import MEASURE_NAMES, REPLACING
from streaming.contract.products.product import BuildRules, Channel, Platform, Product, measures_of
from streaming.errors import MissionControlError, unknown_name

KINDS = ("telemetry/main", "telemetry/crash")
"""The kinds of ping of a product that names none."""
LARGEST_FILE_BYTES = 1 << 20
_NAME = re.compile(r"[^\x00-\x1f<>\"'\\]{1,100}")
_TOP = {"name": str, "label": str, "kinds": list, "score": list, "cards": list}
_TABLES = ("channels", "platforms", "builds", "since")
_PLATFORM = {"label": str, "application": str, "kinds": list, "since": dict}
_BUILDS = {"id": str, "life_months": int}
_TYPES = {str: "text in quotes", list: "a list of texts", int: "a whole number", dict: "a table"}


def read_product(path: str | Path, known_kinds: Collection[str]) -> Product:
    """The product that a TOML file declares. known_kinds: the kinds of ping that exist.

    Raises MissionControlError, with the line and the expected content, where the file cannot be read or is invalid.
    """
    try:
        raw = Path(path).read_bytes()
        text = raw.decode()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise MissionControlError(f"cannot read --product {str(path)!r}: {why}") from error
    if len(raw) > LARGEST_FILE_BYTES:
        raise MissionControlError(f"--product {str(path)!r} is larger than any product: {len(raw):,} bytes")
    where = f"--product {str(path)!r}"
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MissionControlError(f"{where} is not TOML: {error}") from error

    def refuse(error: MissionControlError, *keys: str) -> MissionControlError:
        line = _line_of(text, keys)
        return MissionControlError(f"{where}{f', line {line}' if line else ''}: {error}")

    return _Reader(refuse, known_kinds).product(document)


def product_of(document: Mapping[str, Any]) -> Product:
    """The product that as_document of any version wrote. Raises MissionControlError where the document is invalid."""
    return _Reader(lambda error, *_: error, (), is_strict=False).product(document)


def as_document(product: Product) -> dict[str, Any]:
    """A product in the form of its TOML file, with all settings written out."""
    return {
        "name": product.name,
        "label": product.label,
        "channels": {channel.name: channel.label for channel in product.channels},
        "platforms": {
            platform.os_name: {
                "label": platform.label,
                "application": platform.application,
                "kinds": list(platform.kinds),
                **({"since": dict(platform.since)} if platform.since else {}),
            }
            for platform in product.platforms
        },
        "builds": {"id": product.builds.build_id, "life_months": product.builds.life_months or 0},
        "score": list(product.score),
        "cards": list(product.cards),
    }


def _line_of(text: str, keys: tuple[str, ...]) -> int | None:
    """The number of the line that has the last key, below the lines of the keys that contain it."""
    found, start = None, 0
    lines = text.splitlines()
    for key in keys:
        said = re.compile(rf"(?<![\w-]){re.escape(key)}(?![\w-])")
        at = next((number for number in range(start, len(lines)) if said.search(lines[number].split("#")[0])), None)
        if at is None:
            break
        found = start = at
    return None if found is None else found + 1


class _Reader:
    """Reads a product from a document; refuse: makes the error for the setting at the given keys.

    is_strict: unknown names are errors; otherwise, for a product that another version has stored, they are ignored.
    """

    def __init__(
        self, refuse: Callable[..., MissionControlError], known_kinds: Collection[str], *, is_strict: bool = True
    ) -> None:
        self._refuse, self._known_kinds, self._is_strict = refuse, known_kinds, is_strict

    def product(self, document: Mapping[str, Any]) -> Product:
        """The product that the document declares."""
        tables = dict.fromkeys((*_TABLES, *declared_pings.TABLES), dict)
        self._check(document, {**_TOP, **tables}, (), what="setting of a product")
        name = self._text(document, "name")
        self._check_declared(document)
        kinds = self._kinds(document, (), default=KINDS)
        platforms = self._platforms(document, name, kinds, self._since(document, (), default={}))
        measures = measures_of(platforms)
        if not measures:
            raise self._refuse(MissionControlError("no measure is counted from its kinds of ping"), "kinds")
        return Product(
            name=name,
            label=self._text(document, "label", default=name),
            channels=self._channels(document),
            platforms=platforms,
            builds=self._builds(document.get("builds", {})),
            score=self._measures(document, "score", Product.score, measures),
            cards=self._measures(document, "cards", Product.cards, measures),
        )

    def _check_declared(self, document: Mapping[str, Any]) -> None:
        """Raises MissionControlError where a file declares measures that this process has not read from it."""
        for measure in document.get("measures", {}):
            if measure not in MEASURE_NAMES:
                variable = declared_pings.VARIABLE
                error = MissionControlError(f"{measure!r} is not known here: set {variable} to the path of this file")
                raise self._refuse(error, "measures", measure)

    def _channels(self, document: Mapping[str, Any]) -> tuple[Channel, ...]:
        said = self._table(document, "channels", 'such as [channels] with release = "Release" in it')
        for name in said:
            self._check_name(name, "channels")
        return tuple(Channel(name, self._text(said, name, ("channels",))) for name in said)

    def _platforms(
        self, document: Mapping[str, Any], product: str, kinds: tuple[str, ...], since: Mapping[str, str]
    ) -> tuple[Platform, ...]:
        said = self._table(document, "platforms", 'such as [platforms] with Windows_NT = "Windows" in it')
        found = []
        for os_name, value in said.items():
            self._check_name(os_name, "platforms")
            more = {"label": value} if isinstance(value, str) else value
            keys = ("platforms", os_name)
            if not isinstance(more, dict):
                raise self._wrong_type(value, "text in quotes, or a table with a label", keys)
            self._check(more, _PLATFORM, keys, what="setting of a platform")
            label = self._text(more, "label", keys)
            application = self._text(more, "application", keys, default=product)
            of_platform = self._kinds(more, keys, default=kinds)
            word = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") or "platform"
            first = self._since(more, keys, default=since)
            found.append(Platform(os_name, label, word, application, of_platform, first))
        words = [platform.word for platform in found]
        if twice := next((platform for platform in found if words.count(platform.word) > 1), None):
            raise self._refuse(
                MissionControlError(f"two platforms are labelled {twice.label!r}"), "platforms", twice.os_name
            )
        return tuple(found)

    def _builds(self, said: Mapping[str, Any]) -> BuildRules:
        self._check(said, _BUILDS, ("builds",), what="setting of builds")
        rules = BuildRules()
        forms = get_args(BuildRules.__annotations__["build_id"])
        form = said.get("id", rules.build_id)
        if form not in forms:
            raise self._refuse(unknown_name("form of a build id", form, forms), "builds", "id")
        months = said.get("life_months", rules.life_months if form == "time" else 0)
        if not 0 <= months <= 1200 or isinstance(months, bool):
            error = MissionControlError(f"expected 0 (builds of any age count) to 1200 months; got {months!r}")
            raise self._refuse(error, "builds", "life_months")
        if months and form == "text":
            error = MissionControlError("builds whose id is text do not say how old they are: leave out life_months")
            raise self._refuse(error, "builds", "life_months")
        return BuildRules(form, months or None)

    def _measures(
        self, document: Mapping[str, Any], key: str, default: tuple[str, ...], there: tuple[str, ...]
    ) -> tuple[str, ...]:
        if key in document:
            said = self._among(document[key], MEASURE_NAMES, "measure", (key,))
            if self._is_strict and (lacking := next((name for name in said if name not in there), None)):
                error = MissionControlError(f"{key} names {lacking!r}, which none of its kinds of ping can hold")
                raise self._refuse(error, key, lacking)
        else:
            said = default
        return tuple(name for name in said if name in there) or there[:1]

    def _kinds(self, said: Mapping[str, Any], keys: tuple[str, ...], default: tuple[str, ...]) -> tuple[str, ...]:
        if "kinds" not in said:
            return default
        return self._among(said["kinds"], self._known_kinds, "kind of ping", (*keys, "kinds"))

    def _since(self, said: Mapping[str, Any], keys: tuple[str, ...], default: Mapping[str, str]) -> Mapping[str, str]:
        """The first version that is counted from each kind that replaces others."""
        if "since" not in said:
            return default
        self._among(list(said["since"]) or [""], REPLACING, "kind of ping that replaces others", (*keys, "since"))
        for kind, version in said["since"].items():
            if not isinstance(version, str) or not re.match("[0-9]", version):
                error = MissionControlError(f"expected the first version, such as '150'; got {version!r}")
                raise self._refuse(error, *keys, "since", kind)
        return dict(said["since"])

    def _among(self, said: list[Any], known: Collection[str], what: str, keys: tuple[str, ...]) -> tuple[str, ...]:
        for each in said if self._is_strict else ():
            if each not in known:
                raise self._refuse(unknown_name(what, each, known), *keys, str(each))
        if not said:
            raise self._refuse(MissionControlError(f"expected at least one {what}"), *keys)
        return tuple(dict.fromkeys(map(str, said)))

    def _check(self, said: Mapping[str, Any], types: Mapping[str, type], keys: tuple[str, ...], what: str) -> None:
        """Raises MissionControlError for an unknown setting, and for a value of the wrong type."""
        for name, value in said.items():
            if name not in types:
                raise self._refuse(unknown_name(what, name, types), *keys, name)
            if not isinstance(value, types[name]):
                raise self._wrong_type(value, _TYPES[types[name]], (*keys, name))

    def _wrong_type(self, value: Any, expected: str, keys: tuple[str, ...]) -> MissionControlError:
        return self._refuse(MissionControlError(f"{keys[-1]} takes {expected}, not {value!r}"), *keys)

    def _table(self, document: Mapping[str, Any], name: str, example: str) -> dict[str, Any]:
        said: dict[str, Any] = document.get(name, {})
        if not said:
            raise self._refuse(MissionControlError(f"expected at least one of {name}, {example}"), name)
        return said

    def _text(self, said: Mapping[str, Any], key: str, keys: tuple[str, ...] = (), default: str | None = None) -> str:
        value = said.get(key, default)
        if value is None:
            raise self._refuse(MissionControlError(f'expected {key} = "..."'), *keys)
        if not isinstance(value, str):
            raise self._wrong_type(value, _TYPES[str], (*keys, key))
        if not _NAME.fullmatch(value):
            error = MissionControlError(f"{key} takes 1 to 100 letters without quotes, < and >; got {value!r}")
            raise self._refuse(error, *keys, key)
        return value

    def _check_name(self, name: str, table: str) -> None:
        """Raises MissionControlError for a text that cannot be a name."""
        if not _NAME.fullmatch(name):
            error = MissionControlError(f"names in {table} are 1 to 100 letters without quotes, < and >; got {name!r}")
            raise self._refuse(error, table)
