"""A calendar derived from Mozilla's product-details."""

import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from missioncontrol_nb.releases.calendar import MAX_MERGE_DELAY, Release
from missioncontrol_nb.releases.versions import STAGES, major_of, version_key
from streaming import contract
from streaming.errors import MissionControlError
from streaming.pings.validation import is_version

PRODUCT_DETAILS = "https://product-details.mozilla.org/1.0/"
HISTORIES = (
    "firefox_history_major_releases.json",
    "firefox_history_stability_releases.json",
    "firefox_history_development_releases.json",
)
VERSIONS = "firefox_versions.json"
YEARS = range(1990, 2300)  # Years of releases, including those of a simulated fleet
_FIRST_RAPID = 5  # Since 5.0 every version has a nightly
_LAST_AURORA = 54  # From then on Developer Edition's channel, still named aurora, gets the betas
_FIRST_ESR = 10
_NIGHTLY = re.compile(r"[0-9]{1,4}\.0a1", re.ASCII)


def check_product_details(folder: str, documents: Mapping[str, Any]) -> None:
    """Raises MissionControlError where a document of product-details does not have the content of its name."""
    for name in HISTORIES:
        document = documents[name]
        if not isinstance(document, dict) or not any(map(is_version, document)):
            raise MissionControlError(f"expected versions and their dates in {folder}{name}; got none")
    versions = documents[VERSIONS]
    if not isinstance(versions, dict):
        raise MissionControlError(f"expected a JSON object in {folder}{VERSIONS}; got {str(versions)[:60]!r}")
    check_versions(folder, versions)
    history: dict[str, date] = {}
    for name in HISTORIES:
        history |= history_of(documents[name])
    _check_nightly(folder, versions["FIREFOX_NIGHTLY"], date_of(versions["LAST_MERGE_DATE"]), history)


def check_versions(folder: str, versions: Mapping[str, Any]) -> None:
    """Raises MissionControlError where a version or date in firefox_versions.json is missing or malformed."""
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
        date_of(versions.get("LAST_MERGE_DATE"))
    except (ValueError, TypeError) as error:
        raise MissionControlError(
            f"expected a date like 2017-09-21 as LAST_MERGE_DATE in {folder}{VERSIONS}; "
            f"got {versions.get('LAST_MERGE_DATE')!r}"
        ) from error


def _check_nightly(folder: str, nightly: str, merged: date, history: Mapping[str, date]) -> None:
    """Raises MissionControlError where no nightly of this version can have begun with a merge on this day.

    A merge takes nightly one version up and nightly's previous version to beta; within days, the previous beta is
    released. So nightly is two above the newest release. It is three above from the merge to the release (58.0a1 from
    21 September 2017, 56.0 on the 28th), and one above where the merge is published after the release (55.0a1 beside
    54.0). While aurora existed it was one more.
    """
    betas = {v: day for v, day in history.items() if version_key(v)[1] in (STAGES["b"], STAGES["rc"])}
    finals = {v: day for v, day in history.items() if version_key(v)[1] == STAGES[None]}
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
    if near and abs(merged - near) > MAX_MERGE_DELAY:
        when = (
            f"within {MAX_MERGE_DELAY.days // 7} weeks of {near}, when the first {beta}.0 beta or {beta - 1}.0 went out"
        )
    elif not near and merged <= before:  # The day of the previous merge, or of its releases
        when = f"after {before}, when the first {beta - 1}.0 beta or {newest}.0 went out"
    else:
        return
    raise MissionControlError(
        f"expected a day {when}, as LAST_MERGE_DATE in {folder}{VERSIONS}, for {nightly} began then; got '{merged}'"
    )


def date_of(text: Any) -> date:
    """The day that a text names. Raises ValueError or TypeError where it is no date, or its year is not in YEARS."""
    day = date.fromisoformat(text)
    if day.year not in YEARS:
        raise ValueError(f"expected a year from {YEARS[0]} to {YEARS[-1]}; got {text!r}")
    return day


def numbers_and_dates(entries: Iterable[Any]) -> dict[str, str]:
    """Version to date for the entries of product-details' firefox.json."""
    return {str(entry.get("version")): str(entry.get("date")) for entry in entries if isinstance(entry, dict)}


def history_of(document: Mapping[str, Any]) -> dict[str, date]:
    """Version to date for a product-details history; keys that are no versions are left out."""
    try:
        return {version: date_of(day) for version, day in document.items() if is_version(version)}
    except (ValueError, TypeError) as error:
        raise MissionControlError(f"a history of releases maps versions to dates like 2017-09-28: {error}") from error


def derive(history: Mapping[str, date], versions: Mapping[str, str]) -> tuple[Release, ...]:
    """The releases of all channels, by date, from product-details.

    history: version to date, esr releases with or without their suffix; versions: firefox_versions.json, may be empty.
    """
    betas = {v: day for v, day in history.items() if version_key(v)[1] in (STAGES["b"], STAGES["rc"])}
    finals = {v.removesuffix("esr"): day for v, day in history.items() if version_key(v)[1] >= STAGES[None]}
    listed_esr = {v.removesuffix("esr") for v in history if v.endswith("esr")}
    found = [
        *(Release(v, "beta", day) for v, day in betas.items()),
        *(Release(v, "aurora", day) for v, day in betas.items() if major_of(v) >= _LAST_AURORA),
        *_release_and_esr(finals, listed_esr, _esr_majors(finals, listed_esr, versions)),
        *_nightly_and_aurora(betas, versions),
    ]
    return tuple(
        sorted(found, key=lambda r: (r.date, contract.FIREFOX.channel_names.index(r.channel), version_key(r.version)))
    )


def _esr_majors(finals: Mapping[str, date], listed_esr: Iterable[str], versions: Mapping[str, str]) -> set[int]:
    """The major versions with extended support: the first two, and any with a version like 24.1.0 once 25.0 is out."""
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
    """The final versions as releases of the release channel, of esr, or of both.

    A version with extended support is on both until the next major version is out: 52.0.1 is on both; 52.1.0, released
    on the day of 53.0, is on esr only.
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
    """The pre-release versions that no history lists; each begins when the previous version moves to its next channel.

    Versions went from nightly to aurora to beta until 54; since 55 nightly goes directly to beta. So nightly 55 is two
    above beta 53, and nightly 56 is one above beta 55.
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
        begins[nightly] = date_of(merged)
    for version, day in begins.items():
        yield Release(version, "nightly", day)
