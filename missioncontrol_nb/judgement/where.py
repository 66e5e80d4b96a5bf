"""Finds the slice of a release's users in which a rate rose, such as a system version or a country."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from missioncontrol_nb.arguments import Values
from missioncontrol_nb.judgement.incidents import hours_outside
from missioncontrol_nb.judgement.observations import moment_of
from missioncontrol_nb.judgement.watch import Watch
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.loading.query import select
from missioncontrol_nb.slice_search import slices
from streaming import contract

if TYPE_CHECKING:
    import pandas as pd

HISTORY_HOURS = 14 * 24.0
MOST_DIMENSIONS = 2
LEAST_CONTRAST = 1.25  # of the ratio inside to that outside; with less, it is everywhere
LEAST_EVIDENCE = 2.0  # of a slice: the best of all slices has some where the rise is everywhere
MOST_OF_EXCESS = 0.5  # of the events beyond the expected ones, that a slice must have
BORROWED_HOURS = 500.0  # of use, spread over cells as in the history: few hours of a young release have been reported


def slice_finder(dataset: Dataset) -> Callable[[Watch, str, float, float, float], dict[str, str]]:
    """A function that finds the slice of a rise: of a watched release, a measure, since a moment, until another, and
    the events that were to be expected between them."""

    def find(watch: Watch, measure: str, since: float, until: float, typical: float) -> dict[str, str]:
        return find_slice(dataset, watch, measure, since, until, typical)

    return find


def find_slice(
    dataset: Dataset, watch: Watch, measure: str, since: float, until: float, typical: float
) -> dict[str, str]:
    """The smallest slice that explains most of a rise; {} where it is everywhere, or too few events to tell.

    A release's cells are compared with its own before the rise, if it began later, and if that shows no slice, with
    those of the releases before it: a rise from the release on may seem to have begun later. typical: the events to
    expect in all cells since the rise. The hours of data incidents are left out.
    """
    import pandas as pd

    segment, release = watch.segment, watch.released.name
    known = dataset.handle(contract.ERROR_AGGREGATES)
    if known is None:
        return {}
    there = {field.name for field in known.schema().fields}
    dimensions = [name for name in contract.FINE_DIMENSIONS if name in there]
    filters = {"application": (segment.application,), "channel": (segment.channel,), "os_name": (segment.os_name,)}
    versions = [*dimensions, "display_version", "build_id"]
    is_later = since > watch.released.moment + 1
    spans = (since - HISTORY_HOURS, since), (since, until)
    parts = [hours_outside(segment.incidents, measure, *span) for span in spans]
    if not all(parts):
        return {}
    before, now = (
        pd.concat([_load(dataset, span, filters, versions, measure) for span in spans], ignore_index=True)
        for spans in parts
    )
    is_ours = before["display_version"] == release.display_version
    ours_now = now["display_version"] == release.display_version
    if release.build_id:
        is_ours &= before["build_id"] == release.build_id
        ours_now &= now["build_id"] == release.build_id
    cells = now[ours_now].groupby(dimensions, as_index=False)[["usage_hours", measure]].sum()
    for past in (before[is_ours], before[~is_ours]) if is_later else (before[~is_ours],):
        history = past.groupby(dimensions, as_index=False)[["usage_hours", measure]].sum()
        found = slice_of(cells, history, measure, typical)
        if found:
            return found
    return {}


def slice_of(
    cells: "pd.DataFrame", history: "pd.DataFrame", measure: str, typical: float | None = None
) -> dict[str, str]:
    """The smallest slice that explains most of a rise; {} where it is everywhere, or too few events to tell.

    cells, history: `usage_hours` and the measure's events, a row per cell; all other columns are dimensions. typical:
    the events to expect of all cells together, where not all of their use has been reported; None: by the history.
    """
    dimensions = [name for name in history.columns if name not in ("usage_hours", measure)]
    if not len(cells) or history["usage_hours"].sum() <= 0 or history[measure].sum() <= 0:
        return {}
    cells = cells.merge(history[[*dimensions, "usage_hours"]], on=dimensions, how="left", suffixes=("", "_before"))
    share = cells["usage_hours_before"].fillna(0) / history["usage_hours"].sum()
    cells["usage_hours"] += BORROWED_HOURS * share
    found = slices(
        cells, dimensions=dimensions, events=measure, exposure="usage_hours", baseline=history,
        most_dimensions=MOST_DIMENSIONS,
    )  # fmt: skip
    events_outside = cells[measure].sum() - found["events"]
    expected_outside = events_outside / found["ratio_outside"]
    of_hours = found["expected"] + expected_outside  # the same for each slice
    corrected = 1.0 if typical is None else typical / of_hours
    inside = found["events"] - corrected * found["expected"]
    outside = events_outside - corrected * expected_outside
    explains = (
        (inside >= MOST_OF_EXCESS * (inside + outside))
        & (found["ratio"] >= LEAST_CONTRAST * found["ratio_outside"])
        & (found["evidence"] >= LEAST_EVIDENCE)
    )
    if not explains.any():
        return {}
    return {name: str(value) for name, value in found["slice"][explains].iloc[0].items()}


def _load(
    dataset: Dataset, span: tuple[float, float], filters: Mapping[str, Values], by: Sequence[str], measure: str
) -> "pd.DataFrame":
    since, until = map(moment_of, span)
    return dataset.load_counted(select(since, until, filters, by=by, measures=(measure,)), is_shared=False)
