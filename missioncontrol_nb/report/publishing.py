"""Publishes a report: adds it to those that are there, and makes the newest one `latest`."""

import json
from collections.abc import Mapping
from typing import Any

from missioncontrol_nb.report.index import index_of
from missioncontrol_nb.report.parameters import Subject
from missioncontrol_nb.report.previous import previous_of
from missioncontrol_nb.report.shelves import ALARMS, PAGE, Shelf, failed_name, moment_of, stem_of
from streaming.errors import MissionControlError

LATEST_PAGE, LATEST_ALARMS, INDEX = "latest.html", "latest.json", "index.html"
RUN = "run"  # in alarms.json: all that differs when the same report is made again


def previous_name(shelf: Shelf, subject: Subject) -> str | None:
    """The newest report from before a moment, by its name; None where there is none.

    Not simply the last one that was made: the same moment again has the same report before it.
    """
    before = [name for name in shelf.names() if moment_of(name) < subject.as_of.replace(second=0, microsecond=0)]
    return before[-1] if before else None


def check_is_ours(shelf: Shelf, subject: Subject) -> None:
    """Raises MissionControlError where the reports that are there are of another dataset, product or channels."""
    content = shelf.read(LATEST_ALARMS)
    if content is None:
        return
    there = previous_of(shelf.where(LATEST_ALARMS), content)
    dataset = json.loads(content).get("dataset")
    if (dataset, there.product, there.channels) != (subject.dataset.url, subject.product.name, subject.channels):
        raise MissionControlError(
            f"expected a place for reports of {subject.product.name} on {', '.join(subject.channels)} from "
            f"{subject.dataset.url}; {shelf.place} has those of {there.product} on {', '.join(there.channels)} from "
            f"{dataset}: name another --out"
        )


def publish(shelf: Shelf, subject: Subject, files: Mapping[str, bytes]) -> str:
    """Adds a report unless the same one is there, brings `latest` and the index up to date; returns its name."""
    ours = _without_run(files[ALARMS])
    name = shelf.add(stem_of(subject.as_of), files, lambda there: _without_run(there) == ours)
    bring_up_to_date(shelf)
    shelf.sweep()
    return name


def bring_up_to_date(shelf: Shelf) -> None:
    """Makes the newest whole report `latest`, and lists all.

    Runs at the same time may do so in any order: each looks again after it has written, and the last one sees all.
    """
    names, before = shelf.names(), None
    while names != before:
        for name in reversed(names):
            page, alarms = (shelf.read(f"{name}/{each}") for each in (PAGE, ALARMS))
            if page is not None and alarms is not None:  # else one was removed since, or the store has lost it
                shelf.put({LATEST_PAGE: page, LATEST_ALARMS: alarms, INDEX: index_of(shelf, names).encode()})
                break
        before, names = names, shelf.names()


def _without_run(alarms: bytes) -> Any:
    """What an alarms.json says but for when it was made; None where it is damaged."""
    try:
        found = json.loads(alarms)
    except ValueError:
        return None
    return {key: value for key, value in found.items() if key != RUN}


def keep_failed(shelf: Shelf, subject: Subject, notebook: bytes) -> str:
    """Keeps the notebook of a run that failed, beside the reports, in place of the oldest; returns where."""
    shelf.sweep()
    name = failed_name(subject.as_of)
    shelf.put({name: notebook})
    return shelf.where(name)
