"""`mc.annotate`, `mc.annotations` and `mc.remove_annotation`: writes down, lists and removes data incidents."""

from pathlib import Path
from typing import TYPE_CHECKING

from missioncontrol_nb import arguments
from missioncontrol_nb.arguments import Time
from missioncontrol_nb.incidents.files import Files, annotation_files
from missioncontrol_nb.incidents.incident import LIMITS, Incident, incident_from
from missioncontrol_nb.loading.dataset import Dataset
from streaming import contract
from streaming.dataset.opening import no_dataset
from streaming.errors import MissionControlError, unknown_name

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("id", "since", "until", "text", *LIMITS)


def annotate(
    dataset: Dataset | str | Path,
    since: Time,
    until: Time,
    text: str,
    *,
    product: str | None = None,
    channel: str | None = None,
    os_name: str | None = None,
    measure: str | None = None,
) -> str:
    """Writes down a data incident: hours in which a dataset's numbers are known to be wrong. Returns its id.

    dataset: its folder, URL or an open one; S3 is written with the AWS_* variables. since, until: its beginning and its
    end, ISO text or datetimes, UTC unless they have another time zone. text: what happened. product, channel, os_name,
    measure: what it is limited to; None: all. `judge` and `replay` leave its hours out from now on, whatever moment
    they judge as of. The same incident again changes nothing.

    Raises MissionControlError for unknown names, an end that is not after the beginning, and where there is no dataset
    or it cannot be written.
    """
    opened = open_existing(dataset)
    begin, end = arguments.as_utc("since", since), arguments.as_utc("until", until)
    if begin is None or end is None:
        raise MissionControlError("expected two times, since and until; got none for one of them")
    limits = _checked_limits(opened, product, channel, os_name, measure)
    incident = Incident(begin, end, arguments.text("text", text), *limits)
    return _written(_files(opened), incident)


def annotations(dataset: Dataset | str | Path) -> "pd.DataFrame":
    """The data incidents that were written down in a dataset, a row each, by their beginning.

    dataset: its folder, URL or an open one. Columns: `id`, `since` and `until` (datetime64[us, UTC]), `text`,
    `product`, `channel`, `os_name`, `measure` (what it is limited to; missing: all). Raises MissionControlError where
    there is no dataset, and where an annotation's file is damaged.
    """
    import pandas as pd

    incidents = read_incidents(open_existing(dataset))
    rows = pd.DataFrame([[getattr(each, name) for name in COLUMNS] for each in incidents], columns=[*COLUMNS])
    return rows.astype(dict.fromkeys(("since", "until"), "datetime64[us, UTC]"))


def remove_annotation(dataset: Dataset | str | Path, annotation_id: str) -> None:
    """Removes a data incident from a dataset: its hours are judged again. dataset: as for `annotate`.

    annotation_id: as `annotate` returned it and `annotations` lists it. Raises MissionControlError for an unknown one,
    where its file is damaged, and where the dataset cannot be written.
    """
    removed(dataset, annotation_id)


def removed(dataset: Dataset | str | Path, annotation_id: str) -> Incident:
    """Removes a data incident and returns it; arguments and errors as for `remove_annotation`."""
    files = _files(open_existing(dataset))
    wanted, known = arguments.text("annotation_id", annotation_id), files.ids()
    if not known:
        raise MissionControlError(f"expected the id of an annotation; got {wanted!r}, and the dataset has none")
    if wanted not in known:
        raise unknown_name("annotation", wanted, known)
    incident = _read(files, wanted)
    if incident is None:
        raise MissionControlError(f"the annotation {wanted!r} has just been removed by somebody else")
    files.delete(wanted)
    return incident


def read_incidents(dataset: Dataset) -> tuple[Incident, ...]:
    """The data incidents of a dataset, by their beginning; none where it does not exist yet.

    Raises MissionControlError where an annotation's file is damaged.
    """
    incidents, damages = read_all(dataset)
    if damages:
        raise MissionControlError("; ".join(damages))
    return incidents


def read_all(dataset: Dataset) -> tuple[tuple[Incident, ...], tuple[str, ...]]:
    """The data incidents of a dataset, by their beginning, and what is wrong with each file that is none."""
    files = _files(dataset)
    found, damages = [], []
    for annotation_id in files.ids():
        try:
            incident = _read(files, annotation_id)
        except MissionControlError as error:
            damages.append(str(error))
        else:
            found += [incident] if incident is not None else []  # None: removed meanwhile
    return tuple(sorted(found, key=lambda each: (each.since, each.until, each.id))), tuple(damages)


def incidents_of(
    dataset: Dataset,
    product: str | None = None,
    channel: str | None = None,
    os_name: str | None = None,
    measure: str | None = None,
    since: Time = None,
    until: Time = None,
) -> tuple[Incident, ...]:
    """The data incidents that concern some data, by their beginning, such as for a chart of it.

    product, channel, os_name, measure: of the data; None: any. since, until: those with a part in [since, until);
    None: without a limit. Raises MissionControlError where an annotation's file is damaged.
    """
    begin, end = arguments.as_utc("since", since), arguments.as_utc("until", until)
    return tuple(
        each
        for each in read_incidents(dataset)
        if each.concerns(product, channel, os_name, measure) and each.overlaps(begin, end)
    )


def open_existing(dataset: Dataset | str | Path) -> Dataset:
    """A dataset, opened. Raises MissionControlError for a location without any of a dataset's tables."""
    opened = dataset if isinstance(dataset, Dataset) else Dataset(arguments.place("dataset", dataset))
    if opened.handle(contract.ERROR_AGGREGATES) is None and not opened.tables():
        raise no_dataset(opened.url)
    return opened


def _files(dataset: Dataset) -> Files:
    return annotation_files(dataset.url, dataset.storage_options)


def _read(files: Files, annotation_id: str) -> Incident | None:
    content = files.read(annotation_id)
    return None if content is None else incident_from(content, annotation_id, files.where(annotation_id))


def _written(files: Files, incident: Incident) -> str:
    """The id of an incident that is written down, or already was."""
    annotation_id = incident.content_id
    if files.create(annotation_id, incident.as_bytes()) or _read(files, annotation_id) == incident:
        return annotation_id
    raise MissionControlError(
        f"{files.where(annotation_id)} was edited by hand and now holds another incident: nothing was written. Remove "
        "it first, or write another text"
    )


def _checked_limits(
    dataset: Dataset, product: str | None, channel: str | None, os_name: str | None, measure: str | None
) -> tuple[str | None, str | None, str | None, str | None]:
    """The limits of an incident. Raises MissionControlError for names that the dataset does not know."""
    products = dataset.products
    among = products
    if product is not None:
        among = contract.Products((products.named(arguments.text("product", product)),))
    if channel is not None:
        arguments.choice("channel", channel, among.channel_names)
    if os_name is not None:
        arguments.choice("operating system", os_name, among.os_names)
    if measure is not None:
        arguments.choice("measure", measure, dict.fromkeys(name for each in among for name in each.measures))
    return product, channel, os_name, measure
