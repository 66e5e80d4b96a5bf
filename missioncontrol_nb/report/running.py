"""Runs the notebook of a report and publishes what it gives: `missioncontrol report` without its command line."""

import errno
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from missioncontrol_nb.failures import sentence_of
from missioncontrol_nb.formatting import moment_with_year
from missioncontrol_nb.report.page import alarms_of, page_of
from missioncontrol_nb.report.parameters import Parameters, Subject, calendar_of, stale_words, subject_of
from missioncontrol_nb.report.pictures import headline_png
from missioncontrol_nb.report.previous import iso, previous_of, read_previous
from missioncontrol_nb.report.publishing import RUN, check_is_ours, keep_failed, previous_name, publish
from missioncontrol_nb.report.shelves import ALARMS, NOTEBOOK, PAGE, PICTURE, Shelf, shelf_of
from streaming.errors import MissionControlError
from streaming.storage.locations import dataset_url, normal_url
from streaming.storage.temporary import short_parent, temporary_folder

PACKAGE = Path(__file__).parents[1]
NAME = "release_report.ipynb"
MOST_PAGE_BYTES = 2_000_000
_KEPT_METADATA = ("kernelspec", "language_info")
STATES = ("alarm", "fine", "none")
Notify = Callable[[str], None]


class ReportEndedError(Exception):
    """The run was told to end."""


@dataclass(frozen=True)
class Published:
    """A report that was published. where: its page; alarms: the content of its alarms.json; is_new: whether that was
    not there before."""

    where: str
    alarms: dict[str, Any]
    is_new: bool


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
    is_ended: Callable[[], bool] = lambda: False,
) -> Published:
    """Makes a report and publishes it at a folder or URL; takes half a minute.

    parameters: `previous` empty: the newest report before this one that is there. notebook: another one than the
    packaged one. notify: called with a sentence for each step. has_bar: whether papermill shows its progress on stderr.
    is_ended: whether the run was told to end; then nothing is published or kept, and ReportEndedError is raised.

    Raises MissionControlError where the report cannot be made or published, and keeps the notebook beside the reports,
    with its error; and for wrong parameters, before anything runs.
    """
    began, clock = datetime.now(UTC), time.monotonic()
    source = notebook or packaged_notebook()
    if not source.is_file():
        raise MissionControlError(f"expected a notebook; there is none at {str(source)!r}")
    shelf, given, subject = _prepared(parameters, out)
    before = given.previous or "none"
    notify(f"Making the report as of {moment_with_year(subject.as_of)}; the one before: {before}")
    with temporary_folder("mc-report-", short_parent()) as folder:
        done = "made"
        try:
            executed = _execute(source, given, folder, has_bar)
            alarms = _checked(alarms_of(executed), source.name, subject)
            run = {"made_at": began.isoformat(timespec="seconds"), "seconds": round(time.monotonic() - clock, 1)}
            files = files_of(executed, alarms, given, subject, run)
            if is_ended():  # the client of a kernel may have taken the signal's exception for its own
                raise ReportEndedError
            done, there = "published", set(shelf.names())
            name = publish(shelf, subject, files)
            is_new = name not in there
            notify(
                f"It is published in {shelf.place}" if is_new else f"Nothing has changed: {shelf.place} has this report"
            )
        except Exception as error:
            if is_ended():
                raise ReportEndedError from error
            raise _failed(error, done, (folder / NOTEBOOK, source), shelf, subject) from error
    return Published(shelf.where(f"{name}/{PAGE}"), alarms, is_new)


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
    calendar_of(parameters, subject)
    shelf.require_writable()
    given = Parameters(
        dataset=dataset_url(parameters.dataset),
        product=subject.product.name,
        channel=", ".join(subject.channels),
        as_of=iso(subject.as_of + subject.stale_by),
        previous=normal_url(before) if before else "",
        releases=normal_url(parameters.releases) if parameters.releases.strip() else "",
    )
    return shelf, given, subject


def _execute(source: Path, given: Parameters, folder: Path, has_bar: bool) -> Any:
    """The notebook as papermill has run it; it is written into a folder too, also where a cell fails."""
    import papermill

    from missioncontrol_nb.report.kernel import kernel_options

    try:
        return papermill.execute_notebook(
            str(source.resolve()), str(folder / NOTEBOOK), asdict(given), cwd=str(folder), progress_bar=has_bar,
            request_save_on_cell_execute=False, **kernel_options(folder),
        )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        reason = error.evalue if error.ename == MissionControlError.__name__ else f"{error.ename}: {error.evalue}"
        raise MissionControlError(reason) from error
    except RuntimeError as error:  # the kernel died, as where memory ran out, or did not start
        raise MissionControlError(str(error)) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            error.filename = error.filename or str(folder)  # where papermill writes the notebook
        raise


def _checked(alarms: dict[str, Any] | None, source: str, subject: Subject) -> dict[str, Any]:
    """What a notebook shows as alarms. Raises MissionControlError where the next report could not read it."""
    if alarms is None:
        raise MissionControlError(f"{source} shows no alarms: one cell needs the tag alarms and report.alarms(...)")
    expected = {
        "dataset": subject.dataset.url,
        "product": subject.product.name,
        "channels": list(subject.channels),
        "as_of": iso(subject.as_of),
    }
    wrong = [name for name, value in expected.items() if alarms.get(name) != value]
    if alarms.get("state") not in STATES:
        wrong.append("state")
    if not _are_headlines(alarms.get("headlines"), subject.channels):
        wrong.append("headlines")
    if wrong:
        raise MissionControlError(
            f"{source} shows alarms that are not this report's, by their {', '.join(wrong)}: show report.alarms(read)"
            + (", or make it again where newer data have arrived meanwhile" if subject.stale_by else "")
        )
    try:
        previous_of(source, json.dumps(alarms, allow_nan=False).encode())
    except ValueError as error:
        raise MissionControlError(f"{source} shows alarms that are no JSON: {error}") from error
    return alarms


def _are_headlines(found: Any, channels: Sequence[str]) -> bool:
    try:
        texts = [each[name] for each in found for name in ("state", "sentence", "text")]
        return [each["channel"] for each in found] == list(channels) and all(isinstance(each, str) for each in texts)
    except (KeyError, TypeError):
        return False


def _failed(
    error: Exception, done: str, notebooks: Sequence[Path], shelf: Shelf, subject: Subject
) -> MissionControlError:
    """The error of a run, after its notebook has been kept. notebooks: of these the first one that is whole is."""
    said = f"the report could not be {done}: {sentence_of(error)}"
    try:
        where = keep_failed(shelf, subject, next(filter(None, map(_read_whole, notebooks)), b""))
    except (MissionControlError, OSError) as failure:
        return MissionControlError(f"{said}; the notebook could not be kept: {failure}")
    return MissionControlError(f"{said}; the notebook as far as it came: {where}")


def _read_whole(notebook: Path) -> bytes | None:
    try:
        content = notebook.read_bytes()
        json.loads(content)
    except (OSError, ValueError):
        return None
    return content


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
    stale = stale_words(subject.stale_by, subject.as_of)
    told = [*([("stale", stale, "")] if stale else []), *told]
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
