"""Validates the values in pings: untrusted text in, the dataset's dimensions or a reason out.

All functions are pure. The cached ones see the same few strings again and again, none of them longer than MAX_TEXT (see
`record`), so that untrusted input cannot fill the memory.
"""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from streaming import contract

# The form of versions in pings and calendars: numbers, then a stage with its number, or esr.
VERSION = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,4}){1,3})(?:(a|b|rc)([0-9]{1,3})|(esr))?", re.ASCII)
_BUILD_ID = re.compile(r"[0-9]{14}", re.ASCII)
_BUILD_TEXT = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+-]{0,39}", re.ASCII)
_OS_VERSION = re.compile(r"[0-9]+(\.[0-9]+){0,2}", re.ASCII)
_LINUX_VERSION = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
_OS_VERSION_LENGTH = 17  # three numbers of five digits
_EXPERIMENT = re.compile(r"[A-Za-z0-9@{_][A-Za-z0-9 ._:@{}+/-]{0,99}", re.ASCII)
SUBMISSION_YEARS = range(2001, 2101)
_LEAP_SECOND = re.compile(r"(\d{4}-?\d\d-?\d\d.\d\d:?\d\d:?)60(.*)", re.ASCII)
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


def microseconds(text: str) -> int | None:
    """Microseconds since 1970 of a time that `moment` reads, UTC where it has no offset; None when it is no time."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        unusual = _unusual_moment(text)
        if unusual is None:
            return None
        read = unusual
    if read.tzinfo is None:
        read = read.replace(tzinfo=UTC)
    return (read - _EPOCH) // _MICROSECOND


def moment(text: str) -> datetime | None:
    """The time in a text of ISO 8601 or RFC 3339; without a time zone where the text has no offset.

    None for a text that is not a time. A leap second is the second after it, as in POSIX: 23:59:60Z is 00:00:00Z of the
    next day.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return _unusual_moment(text)


def _unusual_moment(text: str) -> datetime | None:
    """The time in a form of RFC 3339 that fromisoformat rejects: with a lower-case z, or a leap second."""
    if text.endswith("z"):
        text = text.removesuffix("z") + "Z"
    leap = _LEAP_SECOND.fullmatch(text)
    try:
        if not leap:
            return datetime.fromisoformat(text)
        after = datetime.fromisoformat(f"{leap[1]}59{leap[2]}") + timedelta(seconds=1)
        utc = after.astimezone(UTC) if after.tzinfo else after
    except (ValueError, OverflowError):
        return None
    is_end_of_month = (utc.day, utc.hour, utc.minute, utc.second) == (1, 0, 0, 0)  # leap seconds occur only there
    return after if is_end_of_month else None


def _first_of(year: int) -> int:
    return round(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1e6)


_EARLIEST_US, _LATEST_US = _first_of(SUBMISSION_YEARS.start), _first_of(SUBMISSION_YEARS.stop)


def is_submission_time(moment_us: int) -> bool:
    """Whether a time, in microseconds since 1970, can be a submission: it must be in this century."""
    return _EARLIEST_US <= moment_us < _LATEST_US


ALWAYS_US = 1 << 62
"""Later than any time, in microseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Build:
    """A program as a ping reports it; `invalid` names the dimensions that have no known form.

    built_us, expires_us: when the build was made and when it is too old to count, in microseconds since 1970.
    """

    application: str
    channel: str
    version: str
    display_version: str
    build_id: str
    architecture: str
    built_us: int
    expires_us: int
    invalid: tuple[str, ...]

    def faults_of_age(self, submitted_us: int) -> tuple[str, ...]:
        """Why a ping of the build does not count at a time, in microseconds since 1970; () where it does."""
        if self.built_us <= submitted_us <= self.expires_us:
            return ()
        return ("build_in_future",) if self.built_us > submitted_us else ("build_too_old",)


def build(
    products: contract.Products,
    application: str,
    channel: str,
    version: str,
    display_version: str,
    other_display_version: str,
    build_id: str,
    architecture: str,
) -> Build:
    """The dimensions of a build; an empty text is a value that the ping lacks.

    The display version defaults to the version. products: the products that are counted. other_display_version is not
    in the dataset, but a ping in which it is not a version violates the schema.
    """
    product = products.by_application.get(application)
    shown = (display_version or "0.0", other_display_version or "0.0")
    life = life_of_build(build_id, product.builds if product else contract.BuildRules())
    known = {
        "application": product is not None,
        "channel": channel in (product.channel_names if product else products.channel_names),
        "version": is_version(version),
        "display_version": all(map(is_version, shown)),
        "build_id": life is not None,
        "architecture": architecture in contract.ARCHITECTURES,
    }
    invalid = tuple(name for name, is_known in known.items() if not is_known)
    built_us, expires_us = life or (0, 0)
    display_version = display_version or version
    return Build(application, channel, version, display_version, build_id, architecture, built_us, expires_us, invalid)


def is_version(text: str) -> bool:
    """Whether text has the form of a version: 56.0, 56.0.1, 56.0b3, 58.0a1, 52.4.0esr, 38.0.5rc1, 3.6.3.1, 1000.0."""
    return VERSION.fullmatch(text) is not None


def life_of_build(build_id: str, rules: contract.BuildRules) -> tuple[int, int] | None:
    """The times from and to which a build's pings count, microseconds since 1970; None when it is no build id."""
    if rules.build_id == "text":
        return (-ALWAYS_US, ALWAYS_US) if _BUILD_TEXT.fullmatch(build_id) else None
    if not _BUILD_ID.fullmatch(build_id):
        return None
    try:
        built = datetime.strptime(build_id, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        expires = add_months(built, rules.life_months) if rules.life_months else None
    except ValueError:
        return None
    built_us = round(built.timestamp() * 1e6)
    return built_us, round(expires.timestamp() * 1e6) if expires else ALWAYS_US


def add_months(moment: datetime, months: int) -> datetime:
    """The same day and time some months later, or the last day of that month where it has no such day."""
    years, month = divmod(moment.month - 1 + months, 12)
    year = moment.year + years
    return moment.replace(year=year, month=month + 1, day=min(moment.day, monthrange(year, month + 1)[1]))


@dataclass(frozen=True, slots=True)
class System:
    """An operating system as a ping reports it; `invalid` names the dimensions that have no known form."""

    os_name: str
    os_version: str
    invalid: tuple[str, ...]


def system(products: contract.Products, application: str, os_name: str, os_version: str) -> System:
    """The dimensions of an operating system, which must be one that the product runs on.

    The version is cut to numbers and dots, major.minor.patch: `10.2.42-hello` becomes `10.2.42`. Of Linux it is cut to
    major.minor, because Glean says no more of it: 6.18, where main pings say 6.18.0-41-amd64.
    """
    product = products.by_application.get(application)
    numbers = (_LINUX_VERSION if os_name == "Linux" else _OS_VERSION).match(os_version)
    cut = numbers[0] if numbers else ""
    known = {
        "os_name": os_name in (product.os_names if product else products.os_names),
        "os_version": bool(cut) and len(cut) <= _OS_VERSION_LENGTH,
    }
    return System(os_name, cut, tuple(name for name, is_known in known.items() if not is_known))


def country(text: str) -> str:
    """An ISO 3166-1 alpha-2 code; `??` for any other text."""
    return text if text in contract.COUNTRIES else contract.UNKNOWN_COUNTRY


@lru_cache(8192)
def is_experiment(text: str) -> bool:
    """Whether text can be an experiment's id or branch: up to 100 letters, digits and `` ._:@{}+/-``; no markup."""
    return _EXPERIMENT.fullmatch(text) is not None
