"""The sources of release calendars: product-details, saved files, the packaged snapshot."""

import os
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from missioncontrol_nb import arguments
from missioncontrol_nb.releases.calendar import CALENDAR_NAME, Calendar, Release
from missioncontrol_nb.releases.fetching import Budget, read_json
from missioncontrol_nb.releases.product_details import (
    HISTORIES,
    VERSIONS,
    check_product_details,
    check_versions,
    date_of,
    derive,
    history_of,
    numbers_and_dates,
)
from missioncontrol_nb.releases.versions import version_key
from streaming import contract
from streaming.errors import MissionControlError, shortened

PACKAGED = Path(__file__).parent / "data" / "releases.json"


def load_calendar(source: str | Path | None = None) -> Calendar:
    """The release calendar of a source; without a source, that of the snapshot.

    source: a URL or folder of product-details with its three history files and firefox_versions.json; the URL or
    path of one such file, of its firefox.json, or of a file that `Calendar.save` wrote. None: the packaged
    snapshot, or the one that `missioncontrol releases update` wrote into the user's folder if that is newer.
    Raises MissionControlError where the source cannot be read or contains no releases.
    """
    if source is None:
        return _snapshot()
    text = arguments.place("source", source)
    budget = Budget()
    if text.endswith(".json") or _is_file(text):
        calendar = from_documents([read_json(text, CALENDAR_NAME, budget)])
    else:
        folder = text.rstrip("/") + "/"
        documents = {name: read_json(folder + name, CALENDAR_NAME, budget) for name in (*HISTORIES, VERSIONS)}
        check_product_details(folder, documents)
        calendar = from_documents(documents.values())
    if not calendar.releases:
        raise MissionControlError(f"{text} holds no releases; expected product-details JSON or a saved calendar")
    return calendar


def _is_file(path: str) -> bool:
    """Whether a path is a file. Raises MissionControlError where the system rejects it, as for a name too long."""
    try:
        return Path(path).is_file()
    except OSError as error:
        shown = shortened(path)
        raise MissionControlError(f"{CALENDAR_NAME} {shown} cannot be read: {error.strerror}") from error


def calendar_beside(dataset: str | Path) -> str | None:
    """The path of the calendar in a local dataset, such as a simulated dataset has; None without one."""
    path = Path(arguments.place("dataset", dataset)) / "releases.json"
    return str(path) if "://" not in str(dataset) and _is_file(str(path)) else None


def _snapshot() -> Calendar:
    calendars = [load_calendar(path) for path in (PACKAGED, user_snapshot()) if path.is_file()]
    if not calendars:
        raise MissionControlError("there is no release calendar; run `missioncontrol releases update`")
    return max(calendars, key=lambda calendar: calendar.newest_date)


def user_snapshot() -> Path:
    """The path of the refreshed snapshot if the installed package is not writable."""
    import click

    return Path(click.get_app_dir("missioncontrol")) / "releases.json"


def snapshot_to_refresh() -> Path:
    """The packaged snapshot if this user may write it, else the one in the user's folder."""
    writable = os.access(PACKAGED.parent, os.W_OK)
    return PACKAGED if writable else user_snapshot()


def from_documents(documents: Iterable[Any]) -> Calendar:
    """The calendar of saved or product-details JSON documents, distinguished by their form."""
    saved: list[Release] = []
    history: dict[str, date] = {}
    versions: Mapping[str, str] = {}
    for document in documents:
        if not isinstance(document, dict):
            raise MissionControlError(f"a release calendar is a JSON object, not {str(document)[:60]!r}")
        if isinstance(document.get("releases"), list):
            saved += [saved_release(row) for row in document["releases"]]
        elif isinstance(document.get("releases"), dict):
            history |= history_of(numbers_and_dates(document["releases"].values()))
        elif "LATEST_FIREFOX_VERSION" in document:
            check_versions("", document)
            versions = document
        else:
            history |= history_of(document)
    return Calendar(tuple(saved) or derive(history, versions))


def saved_release(row: Any) -> Release:
    """A release as `Calendar.save` wrote it. Raises MissionControlError where the row is no release."""
    try:
        version, channel, day = row
        version_key(version)
        return Release(
            version, contract.FIREFOX.channel_names[contract.FIREFOX.channel_names.index(channel)], date_of(day)
        )
    except (ValueError, TypeError) as error:
        raise MissionControlError(f"a saved release is [version, channel, date], not {row!r}") from error
