"""The search for the slice in which a rate rose, on counts drawn with a known cause."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

import missioncontrol_nb as mc
from missioncontrol_nb import MissionControlError

DIMENSIONS = {"system": ["7", "8.1", "10"], "architecture": ["x86", "x86-64"], "country": ["DE", "FR", "GB", "US"]}
CALL: dict[str, Any] = {"dimensions": list(DIMENSIONS), "events": "crashes", "exposure": "hours"}


def drawn(cause: Mapping[str, str], factor: float, seed: int = 0, hours: float = 20_000) -> pd.DataFrame:
    """History and now of all cells; the rate inside of the cause is `factor` times as high now."""
    random = np.random.default_rng(seed)
    cells = pd.MultiIndex.from_product(DIMENSIONS.values(), names=list(DIMENSIONS)).to_frame(index=False)
    cells["hours"] = hours * random.lognormal(0, 1, len(cells))
    cells["rate"] = 0.003 * random.lognormal(0, 0.3, len(cells))
    cells["usual"] = cells["rate"] * cells["hours"]
    before, now = cells.assign(is_before=True), cells.assign(is_before=False)
    before["hours"] *= 5
    inside = np.logical_and.reduce([now[name] == value for name, value in cause.items()] or [now["rate"] > 0])
    now["rate"] *= np.where(inside, factor, 1.0) * random.lognormal(0, 0.1, len(now))
    frame = pd.concat([before, now], ignore_index=True)
    return frame.assign(crashes=random.poisson(frame["rate"] * frame["hours"]))


def test_cell_for_which_nothing_was_expected_is_found() -> None:
    cells = pd.DataFrame({"country": ["DE", "FR", "GB", "US"], "crashes": [100, 110, 60, 95], "hours": 1000.0})
    found = mc.slices(
        cells.assign(expected=[100, 105, 0, 100]), dimensions="country", events="crashes", exposure="hours",
        baseline="expected",
    )  # fmt: skip
    assert found["slice"].to_list() == [{"country": "GB"}]
    assert found["expected"].to_list() == [0.5]


CAUSES = (
    {"system": "10"},
    {"country": "FR"},
    {"architecture": "x86"},
    {"system": "7", "architecture": "x86"},
    {"system": "8.1", "country": "US"},
)


@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_cause_is_the_first_answer(factor: float) -> None:
    cases = [(cause, seed) for cause in CAUSES for seed in range(10)]
    found = [mc.slices(drawn(cause, factor, seed), baseline="is_before", **CALL)["slice"] for cause, seed in cases]
    right = sum([cause] == list(answers[:1]) for answers, (cause, _) in zip(found, cases, strict=True))
    assert right >= 46


def test_row_tells_what_is_inside_and_outside() -> None:
    frame = drawn({"system": "10"}, 3.0)
    row = mc.slices(frame, baseline="is_before", **CALL).iloc[0]
    inside = frame[(frame["system"] == "10") & ~frame["is_before"]]
    assert row["slice"] == {"system": "10"}
    assert (row["events"], row["exposure"]) == (inside["crashes"].sum(), pytest.approx(inside["hours"].sum()))
    assert row["ratio"] == pytest.approx(3.0, rel=0.2)
    assert row["ratio"] == row["events"] / row["expected"]
    assert row["ratio_outside"] == pytest.approx(1.0, rel=0.1)
    assert row["evidence"] > 10


def test_a_rise_everywhere_or_nowhere_or_a_fall_is_in_no_slice() -> None:
    for cause, factor in (({}, 2.0), ({}, 1.0), ({"system": "10", "architecture": "x86"}, 0.3)):
        found = [mc.slices(drawn(cause, factor, seed), baseline="is_before", **CALL) for seed in range(10)]
        wrong = [row for each in found for row in each.itertuples() if row.evidence > 4 and len(row.slice) < 2]
        assert wrong == []


def test_all_forms_of_a_baseline_say_the_same() -> None:
    frame = drawn({"country": "FR"}, 3.0)
    now, before = frame[~frame["is_before"]], frame[frame["is_before"]]
    expected = mc.slices(frame, baseline="is_before", **CALL)
    for form in (frame["is_before"], frame["is_before"].to_numpy()):
        pd.testing.assert_frame_equal(mc.slices(frame, baseline=form, **CALL), expected)
    halves = pd.concat([before, before]).assign(hours=lambda rows: rows["hours"] / 2)
    halves["crashes"] = [*(before["crashes"] // 2), *(before["crashes"] - before["crashes"] // 2)]
    pd.testing.assert_frame_equal(mc.slices(now, baseline=halves, **CALL), expected)
    shuffled = frame.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(mc.slices(shuffled, baseline="is_before", **CALL), expected)
    assert mc.slices(now, baseline="usual", **CALL)["slice"].iloc[0] == {"country": "FR"}


def test_value_that_all_have_makes_no_slice_and_a_missing_one_does() -> None:
    frame = drawn({"country": "FR"}, 3.0).assign(channel="release").replace({"country": {"FR": None}})
    found = mc.slices(frame, baseline="is_before", **(CALL | {"dimensions": [*DIMENSIONS, "channel"]}))
    assert [name for slice_ in found["slice"] for name in slice_ if name == "channel"] == []
    assert list(found["slice"].iloc[0]) == ["country"]
    assert pd.isna(found["slice"].iloc[0]["country"])


def test_frame_without_rows_or_events_has_no_slice() -> None:
    frame = drawn({}, 1.0)
    assert mc.slices(frame.assign(crashes=0), baseline="is_before", **CALL).empty
    assert mc.slices(frame[frame["is_before"]], baseline="is_before", **CALL).empty


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"events": "crash"}, "crash"),
        ({"dimensions": ["system", "city"]}, "city"),
        ({"baseline": "was_before"}, "was_before"),
        ({"baseline": [True, False]}, "expected a frame, a column's name or a mask of 48 rows as baseline"),
        ({"baseline": None}, "expected a frame, a column's name or a mask of 48 rows as baseline; got None"),
        ({"baseline": np.zeros(48, bool)}, "baseline has no exposure"),
        ({"exposure": "balance"}, "expected numbers of 0 or more as balance"),
    ],
)
def test_error_says_what_is_wrong(change: Mapping[str, object], message: str) -> None:
    frame = drawn({}, 1.0).assign(balance=-1.0)
    with pytest.raises(MissionControlError, match=message):
        mc.slices(frame, **(CALL | {"baseline": "is_before"} | change))  # type: ignore[arg-type]
