"""Finds the slice of the data in which a rate rose: which values of which dimensions, against the same cells' history.

A cell is a combination of values of all dimensions; its expected events come from its own history. A slice fixes the
values of some dimensions. The evidence for a slice compares explanations of the counts of all cells: that its inside
and its outside each rose by a factor of their own, that all rose by one factor, or that the inside did not rise.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from missioncontrol_nb import arguments
from missioncontrol_nb.arguments import Values
from streaming.errors import MissionControlError

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
PRIOR_EVENTS = (
    10.0  # history that each cell shares with all others, so that a small cell's expected rate is no accident
)
LEAST_EXPECTED = 0.5  # events of a cell for which none were expected, such as one that is new
SCATTER = 0.2  # standard deviation of the cells' factors around their slice's, relative, besides chance
PRICE = 1.0  # evidence that each dimension of a slice costs
MOST_CANDIDATES = 40  # slices whose evidence is computed cell by cell
MOST_PER_COMBINATION = 10  # of these, with the same dimensions
ROUNDS = 8  # of the estimate of a factor, each with the weights that the one before gives
COLUMNS = ("slice", "events", "exposure", "expected", "ratio", "ratio_outside", "evidence")


class Cells(NamedTuple):
    """codes: the place of each cell's value among the values, by dimension; the other arrays: one number per cell."""

    codes: Mapping[str, Codes]
    values: Mapping[str, Sequence[Any]]
    events: Array
    exposure: Array
    expected: Array


def slices(
    frame: "pd.DataFrame",
    *,
    dimensions: Values,
    events: str,
    exposure: str,
    baseline: Any,
    most: int = 10,
    most_dimensions: int = 3,
) -> "pd.DataFrame":
    """The slices in which a rate rose more than elsewhere, the most likely first.

    frame: sums, one or more rows per cell. dimensions: the columns whose values make slices. events, exposure: columns
    of numbers of 0 or more, such as crashes and usage hours. baseline: what the same cells did before, as a frame of
    the same columns; or a column of `frame`, by name, or a mask, that is true for rows of the history; or the name of
    a column of expected events. most: of slices. most_dimensions: of one slice.

    Columns: `slice` (a dict of dimension: value), its `events`, `exposure` and `expected` events, `ratio` (events by
    expected events), `ratio_outside`, and `evidence`: the logarithm of how much more likely the counts are with a
    factor of their own inside and outside than with one factor for all, or without a rise inside, whichever is less;
    less 1 for each dimension. Only slices with evidence above 0 are returned: none where all rose alike. Values that
    all cells share make no slice. Cells without exposure are left out; a cell without expected events counts as one
    with few, 0.5 at most.

    Raises MissionControlError for unknown columns, numbers that are missing or negative, and a history without
    exposure.
    """
    import pandas as pd

    names = arguments.names("dimensions", dimensions)
    if not names:
        raise MissionControlError("dimensions takes one column or more, not none")
    for name, column in (("events", events), ("exposure", exposure)):
        arguments.text(name, column)
    for name, number in (("most", most), ("most_dimensions", most_dimensions)):
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise MissionControlError(f"{name} takes a whole number above 0, not {arguments.brief(number)}")
    cells = _cells(frame, names, events, exposure, baseline)
    masks = list(_candidates(cells, most_dimensions))
    found = []
    for (chosen, inside), evidence in zip(masks, _evidence(cells, [inside for _, inside in masks]), strict=True):
        sums = [float(each[inside].sum()) for each in (cells.events, cells.exposure, cells.expected)]
        outside = float(cells.events[~inside].sum() / cells.expected[~inside].sum())
        found.append((chosen, *sums, sums[0] / sums[2], outside, evidence - PRICE * len(chosen)))
    likely = sorted((row for row in found if row[-1] > 0), key=lambda row: -row[-1])
    return pd.DataFrame(likely[:most], columns=list(COLUMNS))


def _cells(frame: "pd.DataFrame", names: Sequence[str], events: str, exposure: str, baseline: Any) -> Cells:
    import pandas as pd

    columns = [*names, events, exposure]
    rows = arguments.frame("frame", frame, columns)
    if isinstance(baseline, pd.DataFrame):
        history = arguments.frame("baseline", baseline, columns)
        is_now = np.arange(len(rows) + len(history)) < len(rows)
        rows = pd.concat([rows[columns], history[columns]], ignore_index=True)
        expected = None
    else:
        is_now, expected = _told_by(rows, baseline)
    cell, codes, values = _numbered(rows, names)
    counts, used = (arguments.numbers(name, rows[name]) for name in (events, exposure))
    now, now_used, then, then_used = (
        _sums(cell, each * which) for which in (is_now, ~is_now) for each in (counts, used)
    )
    if expected is not None:
        expected = _sums(cell, expected)
        usual = expected.sum() / max(now_used.sum(), 1e-300)
        expected = np.where(expected > 0, expected, np.minimum(LEAST_EXPECTED, usual * now_used))
    elif then_used.sum() > 0:
        usual = (then.sum() + 0.5) / then_used.sum()
        expected = (then + PRIOR_EVENTS) / (then_used + PRIOR_EVENTS / usual) * now_used
    else:
        raise MissionControlError("baseline has no exposure: expected rows of the history, with exposure above 0")
    kept = (now_used > 0) & (expected > 0)
    of_kept = {name: each[kept] for name, each in codes.items()}
    return Cells(of_kept, values, now[kept], now_used[kept], expected[kept])


def _sums(group: Codes, values: Array) -> Array:
    """The sums of values by group, for groups 0, 1, 2, ..."""
    return np.bincount(group, values).astype(np.float64)


def _told_by(rows: "pd.DataFrame", baseline: Any) -> tuple[Mask, Array | None]:
    """Which rows are of now, and the expected events of each row; None where the history has to tell them."""
    given = baseline
    if isinstance(baseline, str):
        given = arguments.frame("frame", rows, [baseline])[baseline]
    array = np.asarray(given)
    if array.shape != (len(rows),):
        raise MissionControlError(
            f"expected a frame, a column's name or a mask of {len(rows)} rows as baseline; got "
            f"{arguments.brief(baseline)}"
        )
    if array.dtype == bool:
        return ~array, None
    return np.ones(len(rows), bool), arguments.numbers("baseline", given)


def _numbered(rows: "pd.DataFrame", names: Sequence[str]) -> tuple[Codes, dict[str, Codes], dict[str, Sequence[Any]]]:
    """The number of each row's cell, and of each cell and dimension the place of its value among the values."""
    import pandas as pd

    cell: Codes = np.zeros(len(rows), np.int64)
    places: dict[str, Codes] = {}
    values: dict[str, Sequence[Any]] = {}
    for name in names:
        place, found = pd.factorize(rows[name], use_na_sentinel=False)
        places[name], values[name] = place.astype(np.int64), list(found)
        cell = np.unique(cell * (len(found) + 1) + place, return_inverse=True)[1]
    _, first = np.unique(cell, return_index=True)
    return cell, {name: place[first] for name, place in places.items()}, values


def _candidates(cells: Cells, most_dimensions: int) -> Iterator[tuple[dict[str, Any], Mask]]:
    """The slices with the highest score if cells had no scatter, and which cells are inside; each set of cells once."""
    scored: list[tuple[float, tuple[str, ...], Codes, int]] = []
    for number in range(1, most_dimensions + 1):
        for names in combinations(cells.codes, number):
            key = np.zeros(len(cells.events), np.int64)
            for name in names:
                key = key * len(cells.values[name]) + cells.codes[name]
            _, group = np.unique(key, return_inverse=True)
            score = _score(_sums(group, cells.events), _sums(group, cells.expected)) - PRICE * number
            best = np.argsort(-score)[:MOST_PER_COMBINATION]
            scored += [(float(score[each]), names, group, int(each)) for each in best if score[each] > 0]
    scored.sort(key=lambda each: -each[0])
    seen: set[bytes] = set()
    for _, names, group, each in scored:
        inside = group == each
        if inside.all() or inside.tobytes() in seen:
            continue
        seen.add(inside.tobytes())
        place = int(np.argmax(inside))
        yield {name: cells.values[name][cells.codes[name][place]] for name in names}, inside
        if len(seen) == MOST_CANDIDATES:
            return


def _score(events: Array, expected: Array) -> Array:
    """The evidence by group if counts were Poisson: two factors over one; below 0 where the inside rose less."""
    from scipy.special import xlogy

    all_events, all_expected = events.sum(), expected.sum()
    others, expected_others = all_events - events, all_expected - expected
    usual = all_events / all_expected if all_expected else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        inside, outside = events / expected, others / expected_others
        score = xlogy(events, inside / usual) + xlogy(others, outside / usual)
    return np.where(inside > outside, score, -1.0)


def _evidence(cells: Cells, masks: Sequence[Mask]) -> Array:
    """The evidence by slice that its inside rose both more than its outside and more than its own history says."""
    if not masks:
        return np.zeros(0)
    inside = np.array(masks)
    one, within, without = (_factor(cells, which) for which in (np.ones_like(inside[:1]), inside, ~inside))
    likelihood = _likelihood(cells, np.where(inside, within[:, None], without[:, None]))
    of_one, of_none = (_likelihood(cells, factor) for factor in (one[:, None], np.ones((1, 1))))
    than_outside = (likelihood - of_one).sum(axis=1)
    than_history = ((likelihood - of_none) * inside).sum(axis=1)
    return np.where(within > np.maximum(without, 1), np.minimum(than_outside, than_history), -np.inf)


def _factor(cells: Cells, masks: Mask) -> Array:
    """The most likely factor of events over expected events, by set of cells; scatter limits a large cell's weight."""
    factor = np.ones(len(masks))
    for _ in range(ROUNDS):
        weight = masks / (1 + SCATTER**2 * cells.expected * factor[:, None])
        factor = np.maximum((weight * cells.events).sum(axis=1) / (weight * cells.expected).sum(axis=1), 1e-6)
    return factor


def _likelihood(cells: Cells, factors: Array) -> Array:
    """The logarithm of the negative binomial likelihood of each cell's events, up to a term without the factor."""
    from scipy.special import xlogy

    size = 1 / SCATTER**2
    mean = cells.expected * factors
    return xlogy(cells.events, mean / (size + mean)) - size * np.log1p(mean / size)
