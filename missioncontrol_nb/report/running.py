"""Runs the notebook of a report and publishes what it gives: `missioncontrol report` without its command line."""

import hashlib
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from missioncontrol_nb.formatting import moment_with_year
from missioncontrol_nb.report.page import alarms_of, page_of
from missioncontrol_nb.report.parameters import Parameters, Subject, subject_of
from missioncontrol_nb.report.pictures import headline_png
from missioncontrol_nb.report.previous import iso, read_previous
from missioncontrol_nb.report.publishing import RUN, check_is_ours, keep_failed, previous_name, publish
from missioncontrol_nb.report.shelves import ALARMS, NOTEBOOK, PAGE, PICTURE, Shelf, shelf_of, stem_of
from streaming.errors import MissionControlError
from streaming.storage.locations import dataset_url, normal_url
from streaming.storage.temporary import temporary_folder

PACKAGE = Path(__file__).parents[1]
NAME = "release_report.ipynb"
MOST_PAGE_BYTES = 2_000_000
_KEPT_METADATA = ("kernelspec", "language_info")
Notify = Callable[[str], None]


@dataclass(frozen=True)
class Published:
    """A report that was published. where: its page; alarms: the content of its alarms.json."""

    where: str
    alarms: dict[str, Any]

    @property
    def has_alarm(self) -> bool:
        """Whether an alarm is up."""
        return self.alarms["state"] != "fine"


def packaged_notebook() -> Path:
    """The notebook of reports: in a checkout, or in the installed package."""
    places = [PACKAGE / "notebooks" / NAME, PACKAGE.parent / "notebooks" / NAME]
    return next(place for place in places if place.exists())


def run_report(
    parameters: Parameters,
    out: str,
    *,
    notebook: Path | None = None,
    notify: Notify = lambda sentence: None,
    has_bar: bool = False,
) -> Published:
    """Makes a report and publishes it at a folder or URL; takes half a minute.

    parameters: `previous` empty: the newest report before this one that is there. notebook: another one than the
    packaged one. notify: called with a sentence for each step. has_bar: whether papermill shows its progress on stderr.

    Raises MissionControlError where the report cannot be made, and keeps the notebook with its error beside the
    reports; where it cannot be published; and for wrong parameters, before anything runs.
    """
    began, clock = datetime.now(UTC), time.monotonic()
    source = notebook or packaged_notebook()
    if not source.is_file():
        raise MissionControlError(f"expected a notebook; there is none at {str(source)!r}")
    shelf, given, subject = _prepared(parameters, out)
    before = given.previous or "none"
    notify(f"Making the report as of {moment_with_year(subject.as_of)}; the one before: {before}")
    executed = _execute(source, given, shelf, subject, has_bar)
    alarms = alarms_of(executed)
    if alarms is None:
        raise MissionControlError(
            f"{source.name} shows no alarms: one cell needs the tag alarms and report.alarms(...)"
        )
    run = {"made_at": began.isoformat(timespec="seconds"), "seconds": round(time.monotonic() - clock, 1)}
    files = files_of(executed, alarms, given, subject, run)
    notify(f"Publishing it in {shelf.place}")
    name = publish(shelf, subject, files)
    return Published(shelf.where(f"{name}/{PAGE}"), alarms)


def _prepared(parameters: Parameters, out: str) -> tuple[Shelf, Parameters, Subject]:
    """Where to publish, the parameters with whole places, and what they name; all that can be wrong is found here."""
    subject = subject_of(replace(parameters, dataset=dataset_url(parameters.dataset)))
    shelf = shelf_of(out)
    check_is_ours(shelf, subject)
    before = parameters.previous.strip()
    if not before:
        name = previous_name(shelf, subject)
        before = shelf.where(name) if name else ""
    if before:
        read_previous(before, subject)
    given = Parameters(
        dataset=dataset_url(parameters.dataset),
        product=subject.product.name,
        channel=", ".join(subject.channels),
        as_of=iso(subject.as_of),
        previous=normal_url(before) if before else "",
        releases=normal_url(parameters.releases) if parameters.releases.strip() else "",
    )
    return shelf, given, subject


def _execute(source: Path, given: Parameters, shelf: Shelf, subject: Subject, has_bar: bool) -> Any:
    """The notebook as papermill has run it."""
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    with temporary_folder("mc-report-") as folder:
        unfinished = folder / NOTEBOOK
        # Unix sockets: no port that others on this machine reach, and no file outside this folder.
        kernel = {"transport": "ipc", "ip": str(folder / "k"), "connection_file": str(folder / "kernel.json")}
        try:
            return papermill.execute_notebook(
                str(source.resolve()), str(unfinished), asdict(given), kernel_name="python3", cwd=str(folder),
                progress_bar=has_bar, request_save_on_cell_execute=False, extra_arguments=["--log-level=CRITICAL"],
                config=Config(KernelManager=kernel),
            )  # fmt: skip
        except PapermillExecutionError as error:
            reason = error.evalue if error.ename == MissionControlError.__name__ else f"{error.ename}: {error.evalue}"
            raise _failed(reason, unfinished, shelf, subject) from error
        except RuntimeError as error:  # the kernel died, as where memory ran out, or did not start
            raise _failed(str(error), unfinished, shelf, subject) from error


def _failed(reason: str, unfinished: Path, shelf: Shelf, subject: Subject) -> MissionControlError:
    """The error of a run, after its notebook has been kept."""
    name = f"{stem_of(subject.as_of)}-{uuid.uuid4().hex[:8]}"
    said = f"the report could not be made: {reason}"
    try:
        return MissionControlError(
            f"{said}; the notebook with its error: {keep_failed(shelf, name, unfinished.read_bytes())}"
        )
    except (MissionControlError, OSError) as error:
        return MissionControlError(f"{said}; the notebook with its error could not be kept: {error}")


def files_of(
    executed: Any, alarms: dict[str, Any], given: Parameters, subject: Subject, run: dict[str, Any]
) -> dict[str, bytes]:
    """The files of a report. run: all that differs when the same report is made again.

    Raises MissionControlError for a page of more than MOST_PAGE_BYTES.
    """
    import nbformat

    names = ", ".join(subject.product.channel(each).label for each in subject.channels)
    title = f"{subject.product.label} {names}, {moment_with_year(subject.as_of)}"
    page = page_of(executed, title).encode()
    if len(page) > MOST_PAGE_BYTES:
        raise MissionControlError(
            f"the page has {len(page) / 1e6:.1f} MB; expected {MOST_PAGE_BYTES / 1e6:.0f} at most: show less in the "
            "notebook"
        )
    told = [(each["state"], each["sentence"], each["text"]) for each in alarms["headlines"]]
    whole = alarms | {"page_sha256": hashlib.sha256(page).hexdigest(), RUN: run}
    return {
        PAGE: page,
        NOTEBOOK: (nbformat.writes(_tidied(executed, given, run)) + "\n").encode(),
        PICTURE: headline_png(title, told),
        ALARMS: (json.dumps(whole, indent=1, allow_nan=False) + "\n").encode(),
    }


def _tidied(executed: Any, given: Parameters, run: dict[str, Any]) -> Any:
    """An executed notebook whose times stand in one place, in its metadata."""
    import copy

    notebook = copy.deepcopy(executed)
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags", [])
        cell["metadata"] = {"tags": [each for each in tags if not each.startswith("papermill")]} if tags else {}
        if "injected-parameters" in tags:
            cell["id"] = "injected-parameters"
    kept = {name: notebook["metadata"][name] for name in _KEPT_METADATA if name in notebook["metadata"]}
    notebook["metadata"] = kept | {"missioncontrol": {"parameters": asdict(given), RUN: run}}
    return notebook
