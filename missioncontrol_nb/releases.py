"""The release calendar: what went out when on which channel, how versions sort, which builds are official."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from missioncontrol_nb import arguments
from missioncontrol_nb.arguments import Time
from missioncontrol_nb.fetching import Budget, read_json
from streaming import contract
from streaming.errors import MissionControlError, require_replaceable, shortened
from streaming.forms import VERSION, is_version

PRODUCT_DETAILS = "https://product-details.mozilla.org/1.0/"
PACKAGED = Path(__file__).parent / "data" / "releases.json"
HISTORIES = (
    "firefox_history_major_releases.json",
    "firefox_history_stability_releases.json",
    "firefox_history_development_releases.json",
)
VERSIONS = "firefox_versions.json"
WHAT = "the release calendar"
YEARS = range(1990, 2300)  # in which a release can be, those of a simulated fleet too

# The longest from a build to its release was 11 days (50.0, built 4 November 2016); a release candidate's first
# build is older by some more.
BUILT_AT_MOST = timedelta(days=14)
CALENDAR_LATE_AT_MOST = timedelta(days=7)
LONGEST_CYCLE = timedelta(weeks=10)
# Between a merge and the first beta from it, or the release that came with that beta: 17 days at most (11 May 2015,
# 39.0b1 on the 28th).
MERGED_WITHIN = timedelta(weeks=3)

_FIRST_RAPID = 5  # since 5.0 there is a nightly of every version
_LAST_AURORA = 54  # then Developer Edition's channel, still named aurora, has the betas
_FIRST_ESR = 10
_NIGHTLY = re.compile(r"[0-9]{1,4}\.0a1", re.ASCII)
_STAGES = {"a": 0, "b": 1, "rc": 2, None: 3, "esr": 4}

VersionKey = tuple[tuple[int, ...], int, int, str]


def version_key(text: str) -> VersionKey:
    """What versions sort by: numbers as numbers, then alpha, beta, candidate, release, esr. A total order.

    58.0a1 < 58.0b9 < 58.0b10 < 58.0rc1 < 58.0 < 58.0esr < 58.0.1 < 100.0. Raises MissionControlError for
    what is not a version.
    """
    return _version_key(text if isinstance(text, str) else arguments.text("version", text))


@lru_cache(8192)
def _version_key(text: str) -> VersionKey:
    match = VERSION.fullmatch(text)
    if match is None:
        shown = arguments.brief(text)
        raise MissionControlError(f"a version reads like 56.0, 56.0.1, 56.0b3, 58.0a1 or 52.4.0esr, not {shown}")
    numbers = [int(number) for number in match[1].split(".")]
    padded = (*numbers, *[0] * (4 - len(numbers)))
    return padded, _STAGES[match[2] or match[4]], int(match[3] or 0), text


def major_of(version: str) -> int:
    """The first number of a version."""
    return version_key(version)[0][0]


@dataclass(frozen=True)
class Release:
    """A display version that went out on a channel on a day."""

    version: str
    channel: str
    date: date


@dataclass(frozen=True)
class Calendar:
    """All releases of all channels. A release is out from the first moment, UTC, of its day."""

    releases: tuple[Release, ...]

    @cached_property
    def _channels(self) -> dict[str, list[Release]]:
        newest_first = sorted(self.releases, key=lambda release: version_key(release.version), reverse=True)
        return {name: [r for r in newest_first if r.channel == name] for name in contract.CHANNELS}

    @cached_property
    def _dates(self) -> dict[tuple[str, str], date]:
        return {(release.channel, release.version): release.date for release in self.releases}

    @cached_property
    def newest_date(self) -> date:
        """The newest day of the calendar, on any channel: how far it is known to be complete."""
        return max((release.date for release in self.releases), default=date.min)

    def on(self, channel: str, at: Time = None) -> list[Release]:
        """The releases of a channel that are out at a moment (None: all of the calendar), highest version first."""
        arguments.choice("channel", channel, contract.CHANNELS)
        if at is None:
            return list(self._channels[channel])
        day = _day(at)
        return [release for release in self._channels[channel] if release.date <= day]

    def newest(self, channel: str, at: Time = None) -> Release | None:
        """The highest version of a channel that is out at a moment; None before the first."""
        return next(iter(self.on(channel, at)), None)

    def previous(self, version: str, channel: str) -> Release | None:
        """The highest version below `version` that was out on the channel when `version` came out.

        A version that is not on the calendar counts as the newest of it.
        """
        at, key = self.released(version, channel), version_key(version)
        return next((release for release in self.on(channel, at) if version_key(release.version) < key), None)

    def released(self, version: str, channel: str) -> date | None:
        """The day a display version went out on a channel; None when it is not on the calendar."""
        arguments.text("version", version)
        arguments.choice("channel", channel, contract.CHANNELS)
        return self._dates.get((channel, _display(version, channel)))

    def has(self, display_version: str, channel: str) -> bool:
        """Whether a display version is on the calendar of a channel, or stands there for one that is.

        So does `56.0` on beta, for a release candidate, and `52.4.0` on esr, for `52.4.0esr`.
        """
        for name, said in (("display_version", display_version), ("channel", channel)):
            arguments.instance(name, said, str, "text")
        return (channel, _display(display_version, channel)) in self._meant

    def is_official(self, display_version: str, channel: str, build_id: str) -> bool:
        """Whether a build is Mozilla's own, as far as the calendar and the build's day can tell.

        The calendar has no build ids, so a build is official when its version is on the calendar of its channel
        and it was made on the day it went out or in the 14 days before: distributions build the same version
        later. (One that rebuilds within those days is not told apart.) Beyond that:

        - Release candidates reach the beta channel under the version they will have (56.0) and are on no
          calendar: they are official there when they are made in that time before the release. So is `56.0` there
          in the time of one of its betas: clients that say no display version leave the version alone.
        - A nightly is built all its cycle long: from 14 days before the day it is on the calendar until a week
          after the next one is.
        - The calendar can be a week late: a version above all of its channel, of the newest or the next major
          version, is official when it was built after the newest of its channel went out, and no later than a week
          after the calendar's newest day.
        - `52.4.0` on the esr channel is `52.4.0esr`.
        """
        for name, said in (("display_version", display_version), ("channel", channel), ("build_id", build_id)):
            arguments.instance(name, said, str, "text")
        built = _built(build_id)
        if built is None or not is_version(display_version) or channel not in contract.CHANNELS:
            return False
        version = _display(display_version, channel)
        candidates = self._meant.get((channel, version), [])
        in_time = any(release.date - BUILT_AT_MOST <= built <= self._last_build(release) for release in candidates)
        return in_time or self._is_about_to_be_listed(version, channel, built)

    @cached_property
    def _meant(self) -> dict[tuple[str, str], list[Release]]:
        """The releases that builds of a channel with a display version can be builds of."""
        meant: dict[tuple[str, str], list[Release]] = {}
        for release in self.releases:
            meant.setdefault((release.channel, release.version), []).append(release)
            stage = version_key(release.version)[1]
            if release.channel == "release":
                meant.setdefault(("beta", release.version), []).append(release)
            elif release.channel in ("beta", "aurora") and stage < _STAGES[None]:
                numbers = re.split("a|b|rc", release.version)[0]
                meant.setdefault((release.channel, numbers), []).append(release)
        return meant

    def _last_build(self, release: Release) -> date:
        """The last day on which an official build of a release can be made."""
        if version_key(release.version)[1] != _STAGES["a"]:
            return release.date
        major, rest = release.version.split(".", 1)
        successor = self._dates.get((release.channel, f"{int(major) + 1}.{rest}"))
        return successor + CALENDAR_LATE_AT_MOST if successor else release.date + LONGEST_CYCLE

    def _is_about_to_be_listed(self, version: str, channel: str, built: date) -> bool:
        newest = self.newest(channel)
        if newest is None or not _suits(version, channel):
            return False
        is_next = (
            version_key(version) > version_key(newest.version) and major_of(version) <= major_of(newest.version) + 1
        )
        return is_next and newest.date <= built <= self.newest_date + CALENDAR_LATE_AT_MOST

    def shifted(self, weeks: int) -> "Calendar":
        """The same calendar, every day later by whole weeks. Raises MissionControlError where a day has no year."""
        arguments.instance("weeks", weeks, int, "a whole number of weeks")
        if isinstance(weeks, bool):
            raise MissionControlError(f"weeks takes a whole number of weeks, not {weeks!r}")
        try:
            return Calendar(tuple(replace(r, date=r.date + timedelta(weeks=weeks)) for r in self.releases))
        except OverflowError as error:
            shown = arguments.brief(weeks)
            raise MissionControlError(f"weeks that lead out of the calendar's years, 1 to 9999: {shown}") from error

    def save(self, path: str | Path) -> None:
        """Writes the calendar as JSON that `load_calendar` reads; whole or not at all.

        Raises MissionControlError where nothing can be written.
        """
        rows = [[release.version, release.channel, release.date.isoformat()] for release in self.releases]
        lines = ",\n".join(json.dumps(row) for row in rows)
        _write_whole(Path(arguments.place("path", path)), f'{{"releases": [\n{lines}\n]}}\n')


def _day(at: Time) -> date:
    moment = arguments.as_utc("at", at)
    assert moment is not None
    return moment.date()


def _display(version: str, channel: str) -> str:
    return f"{version}esr" if channel == "esr" and version[-1:].isdigit() else version


def _built(build_id: str) -> date | None:
    try:
        return datetime.strptime(build_id, "%Y%m%d%H%M%S").date()
    except ValueError:
        return None


def _suits(version: str, channel: str) -> bool:
    """Whether the form of a version is one that its channel gets."""
    stages = {"nightly": ("a",), "aurora": ("a", "b"), "beta": ("b", "rc", None), "release": (None,), "esr": ("esr",)}
    return version_key(version)[1] in {_STAGES[stage] for stage in stages[channel]}


def require_writable(path: str | Path) -> None:
    """Raises MissionControlError where `Calendar.save` could not write; changes nothing.

    To be called before work that a calendar belongs to. A disk that is full later is not foreseen.
    """
    target = Path(arguments.place("path", path))
    with _said_of(target):
        require_replaceable(target)
        there = next(folder for folder in target.absolute().parents if folder.exists())
        with TemporaryFile(dir=there):
            pass


def _write_whole(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name[:40]}.{os.getpid()}")  # a name of 255 bytes has no room for more
    with _said_of(path):
        require_replaceable(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(text)
            beside.replace(path)
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)


@contextmanager
def _said_of(path: Path) -> Iterator[None]:
    """Says a failure to write in one sentence."""
    try:
        yield
    except OSError as error:
        shown = shortened(str(path))
        raise MissionControlError(f"{WHAT} cannot be written to {shown}: {error.strerror}") from error


def load_calendar(source: str | Path | None = None) -> Calendar:
    """The release calendar of a source, of the snapshot without one.

    source: a URL or folder of product-details with its three history files and firefox_versions.json; the URL or
    path of one such file, of its firefox.json, or of a file that `Calendar.save` wrote. None: the packaged
    snapshot, or the one that `missioncontrol releases update` put into the user's folder when that is newer.
    Raises MissionControlError for what cannot be read or holds no releases.
    """
    if source is None:
        return _snapshot()
    text = arguments.place("source", source)
    budget = Budget()
    if text.endswith(".json") or _is_file(text):
        calendar = _from_documents([read_json(text, WHAT, budget)])
    else:
        folder = text.rstrip("/") + "/"
        documents = {name: read_json(folder + name, WHAT, budget) for name in (*HISTORIES, VERSIONS)}
        _check_product_details(folder, documents)
        calendar = _from_documents(documents.values())
    if not calendar.releases:
        raise MissionControlError(f"{text} holds no releases; expected product-details JSON or a saved calendar")
    return calendar


def _is_file(path: str) -> bool:
    """Whether a path is a file's. Raises MissionControlError where the system cannot tell, as of a name too long."""
    try:
        return Path(path).is_file()
    except OSError as error:
        shown = shortened(path)
        raise MissionControlError(f"{WHAT} {shown} cannot be read: {error.strerror}") from error


def calendar_beside(dataset: str | Path) -> str | None:
    """The path of the calendar that lies in a local dataset, as a simulated one brings it; None without."""
    path = Path(arguments.place("dataset", dataset)) / "releases.json"
    return str(path) if "://" not in str(dataset) and _is_file(str(path)) else None


def _snapshot() -> Calendar:
    calendars = [load_calendar(path) for path in (PACKAGED, user_snapshot()) if path.is_file()]
    if not calendars:
        raise MissionControlError("there is no release calendar; run `missioncontrol releases update`")
    return max(calendars, key=lambda calendar: calendar.newest_date)


def user_snapshot() -> Path:
    """Where a refreshed snapshot goes when the installed package cannot be written to."""
    import click

    return Path(click.get_app_dir("missioncontrol")) / "releases.json"


def snapshot_to_refresh() -> Path:
    """The packaged snapshot when this user may write it, else the one in the user's folder."""
    writable = os.access(PACKAGED.parent, os.W_OK)
    return PACKAGED if writable else user_snapshot()


def _from_documents(documents: Iterable[Any]) -> Calendar:
    """The calendar of saved or product-details JSON documents, told apart by their form."""
    saved: list[Release] = []
    history: dict[str, date] = {}
    versions: Mapping[str, str] = {}
    for document in documents:
        if not isinstance(document, dict):
            raise MissionControlError(f"a release calendar is a JSON object, not {str(document)[:60]!r}")
        if isinstance(document.get("releases"), list):
            saved += [_saved_release(row) for row in document["releases"]]
        elif isinstance(document.get("releases"), dict):
            history |= _history(_numbers_and_dates(document["releases"].values()))
        elif "LATEST_FIREFOX_VERSION" in document:
            _check_versions("", document)
            versions = document
        else:
            history |= _history(document)
    return Calendar(tuple(saved) or derive(history, versions))


def _check_product_details(folder: str, documents: Mapping[str, Any]) -> None:
    """Raises MissionControlError where a document of product-details is not what its name says."""
    for name in HISTORIES:
        document = documents[name]
        if not isinstance(document, dict) or not any(map(is_version, document)):
            raise MissionControlError(f"expected versions and their dates in {folder}{name}; got none")
    versions = documents[VERSIONS]
    if not isinstance(versions, dict):
        raise MissionControlError(f"expected a JSON object in {folder}{VERSIONS}; got {str(versions)[:60]!r}")
    _check_versions(folder, versions)
    history: dict[str, date] = {}
    for name in HISTORIES:
        history |= _history(documents[name])
    _check_nightly(folder, versions["FIREFOX_NIGHTLY"], _date(versions["LAST_MERGE_DATE"]), history)


def _check_versions(folder: str, versions: Mapping[str, Any]) -> None:
    """Raises MissionControlError where firefox_versions.json lacks a version or a date, or has none in its place."""
    for name in ("LATEST_FIREFOX_VERSION", "FIREFOX_NIGHTLY", "FIREFOX_ESR", "FIREFOX_ESR_NEXT"):
        version = versions.get(name)
        is_optional = name.startswith("FIREFOX_ESR") and version in (None, "")
        if not is_optional and not (isinstance(version, str) and is_version(version)):
            raise MissionControlError(f"expected a version as {name} in {folder}{VERSIONS}; got {version!r}")
    nightly = versions["FIREFOX_NIGHTLY"]
    if not _NIGHTLY.fullmatch(nightly):
        raise MissionControlError(
            f"expected a version like 58.0a1 as FIREFOX_NIGHTLY in {folder}{VERSIONS}; got {nightly!r}"
        )
    try:
        _date(versions.get("LAST_MERGE_DATE"))
    except (ValueError, TypeError) as error:
        raise MissionControlError(
            f"expected a date like 2017-09-21 as LAST_MERGE_DATE in {folder}{VERSIONS}; "
            f"got {versions.get('LAST_MERGE_DATE')!r}"
        ) from error


def _check_nightly(folder: str, nightly: str, merged: date, history: Mapping[str, date]) -> None:
    """Raises MissionControlError where no nightly of this version can have begun with a merge on this day.

    A merge takes nightly one version up and the version before it to beta; within days, the beta before that one is
    released. So nightly is two above the newest release. It is three above from the merge to the release (58.0a1 from
    21 September 2017, 56.0 on the 28th), one above where the merge is told after the release (55.0a1 beside 54.0), and
    was one more while there was aurora.
    """
    betas = {v: day for v, day in history.items() if version_key(v)[1] in (_STAGES["b"], _STAGES["rc"])}
    finals = {v: day for v, day in history.items() if version_key(v)[1] == _STAGES[None]}
    first_betas, first_finals = _first_days(betas), _first_days(finals)
    newest = max(first_finals, default=0)
    most = newest + (3 if newest >= _LAST_AURORA - 2 else 4)
    if newest and not newest < major_of(nightly) <= most:
        raise MissionControlError(
            f"expected a version from {newest + 1}.0a1 to {most}.0a1 as FIREFOX_NIGHTLY in {folder}{VERSIONS}, for the "
            f"newest release is of {newest}; got {nightly!r}"
        )
    beta = major_of(nightly) - (1 if major_of(nightly) > _LAST_AURORA + 1 else 2)
    near = first_betas.get(beta) or first_finals.get(beta - 1)
    before = max(first_betas.get(beta - 1, date.min), first_finals.get(newest, date.min))
    if near and abs(merged - near) > MERGED_WITHIN:
        when = (
            f"within {MERGED_WITHIN.days // 7} weeks of {near}, when the first {beta}.0 beta or {beta - 1}.0 went out"
        )
    elif not near and merged <= before:  # that is the merge before, or what came of it
        when = f"after {before}, when the first {beta - 1}.0 beta or {newest}.0 went out"
    else:
        return
    raise MissionControlError(
        f"expected a day {when}, as LAST_MERGE_DATE in {folder}{VERSIONS}, for {nightly} began then; got '{merged}'"
    )


def _date(text: Any) -> date:
    """The day that a text says. Raises ValueError or TypeError for one that is none, or in no year of a release."""
    day = date.fromisoformat(text)
    if day.year not in YEARS:
        raise ValueError(f"expected a year from {YEARS[0]} to {YEARS[-1]}; got {text!r}")
    return day


def _numbers_and_dates(entries: Iterable[Any]) -> dict[str, str]:
    """Version to date of the entries of product-details' firefox.json."""
    return {str(entry.get("version")): str(entry.get("date")) for entry in entries if isinstance(entry, dict)}


def _saved_release(row: Any) -> Release:
    try:
        version, channel, day = row
        version_key(version)
        return Release(version, contract.CHANNELS[contract.CHANNELS.index(channel)], _date(day))
    except (ValueError, TypeError) as error:
        raise MissionControlError(f"a saved release is [version, channel, date], not {row!r}") from error


def _history(document: Mapping[str, Any]) -> dict[str, date]:
    """Version to date of a product-details history; what has not the form of a version is left out."""
    try:
        return {version: _date(day) for version, day in document.items() if is_version(version)}
    except (ValueError, TypeError) as error:
        raise MissionControlError(f"a history of releases maps versions to dates like 2017-09-28: {error}") from error


def derive(history: Mapping[str, date], versions: Mapping[str, str]) -> tuple[Release, ...]:
    """The releases of all channels, by date, from product-details.

    history: version to date, esr releases with or without their suffix; versions: firefox_versions.json, or empty.
    """
    betas = {v: day for v, day in history.items() if version_key(v)[1] in (_STAGES["b"], _STAGES["rc"])}
    finals = {v.removesuffix("esr"): day for v, day in history.items() if version_key(v)[1] >= _STAGES[None]}
    listed_esr = {v.removesuffix("esr") for v in history if v.endswith("esr")}
    found = [
        *(Release(v, "beta", day) for v, day in betas.items()),
        *(Release(v, "aurora", day) for v, day in betas.items() if major_of(v) >= _LAST_AURORA),
        *_release_and_esr(finals, listed_esr, _esr_majors(finals, listed_esr, versions)),
        *_nightly_and_aurora(betas, versions),
    ]
    return tuple(sorted(found, key=lambda r: (r.date, contract.CHANNELS.index(r.channel), version_key(r.version))))


def _esr_majors(finals: Mapping[str, date], listed_esr: Iterable[str], versions: Mapping[str, str]) -> set[int]:
    """The major versions with extended support: the first two, and those with a 24.1.0 once 25.0 is out."""
    named = [versions.get(name) or "" for name in ("FIREFOX_ESR", "FIREFOX_ESR_NEXT")]
    first_days = _first_days(finals)
    continued = [
        version
        for version, day in finals.items()
        if version_key(version)[0][1] > 0 and day >= first_days.get(major_of(version) + 1, date.max)
    ]
    counted = [version for version in continued if major_of(version) > _FIRST_ESR]
    return {_FIRST_ESR, 17} | {major_of(v) for v in (*counted, *listed_esr, *filter(is_version, named))}


def _first_days(history: Mapping[str, date]) -> dict[int, date]:
    """The first day of each major version."""
    first_days: dict[int, date] = {}
    for version, day in history.items():
        first_days[major_of(version)] = min(day, first_days.get(major_of(version), day))
    return first_days


def _release_and_esr(finals: Mapping[str, date], listed_esr: set[str], esr_majors: set[int]) -> Iterable[Release]:
    """Which of the final versions went to the release channel, to esr, or to both.

    Both, until the next major version is out: 52.0.1 is of both, 52.1.0, of the day of 53.0, is esr's alone.
    """
    first_days = _first_days(finals)
    for version, day in finals.items():
        major = major_of(version)
        has_esr = major in esr_majors
        is_over = day >= first_days.get(major + 1, date.max)
        is_esr_only = has_esr and (is_over or version in listed_esr)
        if has_esr:
            yield Release(f"{version}esr", "esr", day)
        if not is_esr_only:
            yield Release(version, "release", day)


def _nightly_and_aurora(betas: Mapping[str, date], versions: Mapping[str, str]) -> Iterable[Release]:
    """The pre-release versions that are in no history: they begin when the version before goes one channel further.

    Nightly, aurora and beta followed each other until 54; since 55 nightly goes to beta at once, so
    nightly 55 is two above beta 53 and nightly 56 is one above beta 55.
    """
    begins = {}
    for major, day in _first_days(betas).items():
        if major < _FIRST_RAPID:
            continue
        if major < _LAST_AURORA:
            yield Release(f"{major + 1}.0a2", "aurora", day)
            begins[f"{major + 2}.0a1"] = day
        elif major > _LAST_AURORA:
            begins[f"{major + 1}.0a1"] = day
    nightly, merged = versions.get("FIREFOX_NIGHTLY") or "", versions.get("LAST_MERGE_DATE") or ""
    if is_version(nightly) and merged:
        begins[nightly] = _date(merged)
    for version, day in begins.items():
        yield Release(version, "nightly", day)
