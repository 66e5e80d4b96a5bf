"""Glean pings of one's own and the measures in them, which a TOML file declares without changing the package.

The environment variable MISSIONCONTROL_DECLARATIONS names the file. It is read when the package is imported, because
columns, schemas and decoders follow from measures; so each process that counts or reads these measures needs it.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from streaming.errors import MissionControlError, unknown_name

VARIABLE = "MISSIONCONTROL_DECLARATIONS"
TABLES = ("pings", "measures")
_NAMESPACE = re.compile(r"[a-z][a-z0-9-]{0,99}")
_METRIC = re.compile(r"[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)+")


@dataclass(frozen=True)
class DeclaredPing:
    """A Glean ping. usage: the timespan metric that is how long the program was used; "": it does not say that."""

    namespace: str
    name: str
    usage: str = ""

    @property
    def kind(self) -> str:
        """Its kind, as measures and products name it."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class DeclaredMeasure:
    """A measure: a counter metric of a declared ping."""

    name: str
    label: str
    ping: DeclaredPing
    counter: str


@dataclass(frozen=True)
class Declarations:
    """What a file declares."""

    pings: tuple[DeclaredPing, ...] = ()
    measures: tuple[DeclaredMeasure, ...] = ()


def read_declarations(path: str | None) -> Declarations:
    """The pings and measures of a file; none where there is no file to read.

    Raises MissionControlError, with the expected content, where it cannot be read or is invalid.
    """
    if not path:
        return Declarations()
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise MissionControlError(f"{VARIABLE}={path!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise MissionControlError(f"{VARIABLE}={path!r} is not TOML: {error}") from error

    def refuse(what: str) -> NoReturn:
        raise MissionControlError(f"{VARIABLE}={path!r}: {what}")

    try:
        pings = {name: _ping(name, said, document.get("name", "")) for name, said in _table(document, "pings").items()}
        measures = [_measure(name, said, pings) for name, said in _table(document, "measures").items()]
    except MissionControlError as error:
        refuse(str(error))
    if not measures:
        refuse("expected at least one measure, such as [measures.failed_saves] with label, ping and counter")
    return Declarations(tuple(pings.values()), tuple(measures))


def _ping(name: str, said: Any, product: Any) -> DeclaredPing:
    texts = _texts(f"pings.{name}", said, ("namespace", "usage"))
    namespace = texts.get("namespace", product)
    for what, text in (("the name of a ping", name), (f"namespace in pings.{name}", namespace)):
        if not isinstance(text, str) or not _NAMESPACE.fullmatch(text):
            raise MissionControlError(f"expected {what} as small letters, digits and -; got {text!r}")
    usage = texts.get("usage", "")
    return DeclaredPing(namespace, name, _metric(f"usage in pings.{name}", usage) if usage else "")


def _measure(name: str, said: Any, pings: Mapping[str, DeclaredPing]) -> DeclaredMeasure:
    where = f"measures.{name}"
    texts = _texts(where, said, ("label", "ping", "counter"))
    if lacking := next((each for each in ("ping", "counter") if each not in texts), None):
        raise MissionControlError(f'expected {lacking} = "..." in {where}')
    if texts["ping"] not in pings:
        raise unknown_name(f"ping in {where}", texts["ping"], pings)
    label = texts.get("label", name.replace("_", " ").capitalize())
    return DeclaredMeasure(name, label, pings[texts["ping"]], _metric(f"counter in {where}", texts["counter"]))


def _metric(what: str, text: str) -> str:
    if not _METRIC.fullmatch(text):
        raise MissionControlError(f"expected a metric as {what}, such as documents.saved; got {text!r}")
    return text


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    said = document.get(name)
    if not isinstance(said, dict) or not said:
        raise MissionControlError(f"expected a table [{name}.NAME]")
    return said


def _texts(where: str, said: Any, known: tuple[str, ...]) -> dict[str, str]:
    """The settings of a table, which must be texts."""
    if not isinstance(said, dict):
        raise MissionControlError(f"{where} takes a table, not {said!r}")
    for name, value in said.items():
        if name not in known:
            raise unknown_name(f"setting of {where}", name, known)
        if not isinstance(value, str):
            raise MissionControlError(f"{name} in {where} takes text in quotes, not {value!r}")
    return said


DECLARED = read_declarations(os.environ.get(VARIABLE))
