"""Finds the slice of a release's users in which a rate rose, such as a system version or a country."""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from missioncontrol_nb.judgement.observations import moment_of
from missioncontrol_nb.judgement.watch import Watch
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.loading.query import select
from missioncontrol_nb.slice_search import slices
from streaming import contract

if TYPE_CHECKING:
    import pandas as pd

HISTORY = timedelta(days=14)
MOST_DIMENSIONS = 2
LEAST_CONTRAST = 1.25  # of the ratio inside to that outside; with less, it is everywhere
MOST_OF_EXCESS = 0.5  # of the events beyond the expected ones, that a slice must have
BORROWED_HOURS = 500.0  # of use, spread over cells as in the history: few hours of a young release have been reported


def slice_finder(dataset: Dataset) -> Callable[[Watch, str, float, float], dict[str, str]]:
    """A function that finds the slice of a rise: of a watched release, a measure, since a moment, until another."""

    def find(watch: Watch, measure: str, since: float, until: float) -> dict[str, str]:
        return find_slice(dataset, watch, measure, since, until)

    return find


def find_slice(dataset: Dataset, watch: Watch, measure: str, since: float, until: float) -> dict[str, str]:
    """The smallest slice that explains most of a rise; {} where it is everywhere, or too few events to tell.

    A release's cells are compared with those of the releases before it, or with its own before the rise, if it began
    later.
    """
    segment, release = watch.segment, watch.released.name
    known = dataset.handle(contract.ERROR_AGGREGATES)
    if known is None:
        return {}
    there = {field.name for field in known.schema().fields}
    dimensions = [name for name in contract.FINE_DIMENSIONS if name in there]
    filters = {"application": (segment.application,), "channel": (segment.channel,), "os_name": (segment.os_name,)}
    versions = [*dimensions, "display_version", "build_id"]
    moment = moment_of(since)
    is_later = since > watch.released.moment + 1
    begin = moment_of(watch.released.moment) if is_later else moment - HISTORY
    columns = (measure,)
    before, now = (
        dataset.load_counted(select(*span, filters, by=versions, measures=columns), is_shared=False)
        for span in ((begin, moment), (moment, moment_of(until)))
    )
    is_ours = before["display_version"] == release.display_version
    ours_now = now["display_version"] == release.display_version
    if release.build_id:
        is_ours &= before["build_id"] == release.build_id
        ours_now &= now["build_id"] == release.build_id
    before = before[is_ours] if is_later else before[~is_ours]
    history = before.groupby(dimensions, as_index=False)[["usage_hours", measure]].sum()
    return slice_of(now[ours_now].groupby(dimensions, as_index=False)[["usage_hours", measure]].sum(), history, measure)


def slice_of(cells: "pd.DataFrame", history: "pd.DataFrame", measure: str) -> dict[str, str]:
    """The smallest slice that explains most of a rise; {} where it is everywhere, or too few events to tell.

    cells, history: `usage_hours` and the measure's events, a row per cell; all other columns are dimensions.
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
    inside = found["events"] - found["expected"]
    events_outside = cells[measure].sum() - found["events"]
    outside = events_outside - events_outside / found["ratio_outside"]
    explains = (inside >= MOST_OF_EXCESS * (inside + outside)) & (
        found["ratio"] >= LEAST_CONTRAST * found["ratio_outside"]
    )
    if not explains.any():
        return {}
    return {name: str(value) for name, value in found["slice"][explains].iloc[0].items()}
