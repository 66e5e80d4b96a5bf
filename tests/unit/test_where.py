"""The slice below an alarm, on a simulated dataset in which a measure rises for some users of a release only."""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable

import missioncontrol_nb as mc
from missioncontrol_nb.judgement.alarms import Judge
from missioncontrol_nb.judgement.observations import hours_of
from missioncontrol_nb.judgement.where import slice_of
from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.simulator import Bad
from missioncontrol_nb.simulator.fleet import Fleet
from missioncontrol_nb.simulator.history import write_history
from streaming import contract
from streaming.aggregation.partial_sums import by_keys
from streaming.dataset.writer import append
from tests.judged_fleets import draw, midnight

RELEASED = datetime(2017, 9, 28, 13, tzinfo=UTC)
UNTIL = datetime(2017, 9, 30, tzinfo=UTC)
MEASURE = "content_crashes"


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("healthy") / "dataset"
    write_history(Fleet(load_calendar(), 0, 5, (), 20.0), str(folder), UNTIL, 40)
    return folder


def worsen(dataset: Path, users: Mapping[str, tuple[str, ...]], factor: float) -> None:
    """Adds events to those that users of 56.0 on Windows had, as if they had had more."""
    columns = [*contract.schema(contract.ERROR_AGGREGATES).names]
    filters = [("submission_date", ">=", RELEASED.date())]
    rows = DeltaTable(str(dataset / "error_aggregates")).to_pyarrow_table(filters=filters).select(columns).to_pandas()
    for name, values in {"os_name": ("Windows_NT",), "channel": ("release",), "display_version": ("56.0",)}.items():
        rows = rows[rows[name] == values[0]]
    for name, some in users.items():
        rows = rows[rows[name].isin(some)]
    added = rows.copy()
    for name in contract.COUNTS:
        added[name] = 0
    added[MEASURE] = np.random.default_rng(1).poisson(rows[MEASURE].to_numpy(float) * (factor - 1))
    added = added[added[MEASURE] > 0]
    fine = pa.Table.from_pandas(added, contract.schema(contract.ERROR_AGGREGATES), preserve_index=False)
    for table in (contract.ERROR_AGGREGATES, contract.COARSE_AGGREGATES):
        append(str(dataset), table, by_keys(table, fine), 0, "worse")


@pytest.mark.parametrize(
    ("users", "factor", "found"),
    [
        ({"country": ("DE",)}, 8.0, {"country": "DE"}),
        ({"os_version": ("6.1",)}, 3.0, {"os_version": "6.1"}),
        ({"os_version": ("10.0",), "architecture": ("x86",)}, 6.0, {"os_version": "10.0", "architecture": "x86"}),
        ({}, 2.0, {}),
    ],
)
def test_slice_below_an_alarm_is_where_the_measure_rose(
    users: Mapping[str, tuple[str, ...]], factor: float, found: Mapping[str, str], healthy: Path, tmp_path: Path
) -> None:
    dataset = shutil.copytree(healthy, tmp_path / "dataset")
    worsen(dataset, users, factor)
    series = mc.judge(dataset, UNTIL, channel="release", os_name="Windows_NT")
    [bad] = series[series["state"] == "bad"].to_dict("records")
    assert (bad["measure"], bad["display_version"]) == (MEASURE, "56.0")
    assert bad["slice"] == found


def cells_of(rates: Mapping[str, float], hours: Mapping[str, float], reported: float) -> pd.DataFrame:
    """A cell for each country and architecture. rates: events an hour; hours: of use; reported: the share of these."""
    rows = [(country, architecture) for country in rates for architecture in ("x86", "x86-64")]
    frame = pd.DataFrame(rows, columns=["country", "architecture"])
    used = frame["country"].map(hours) / 2
    return frame.assign(usage_hours=used * reported, **{MEASURE: (used * frame["country"].map(rates)).round()})


@pytest.mark.parametrize(("typical", "found"), [(100.0, {"country": "FR"}), (None, {})])
def test_slice_of_a_release_whose_hours_are_not_reported_yet_is_found_by_what_it_expects(
    typical: float | None, found: Mapping[str, str]
) -> None:
    hours = {"US": 9000.0, "FR": 1000.0}
    history = cells_of({"US": 0.01, "FR": 0.01}, {name: 10 * used for name, used in hours.items()}, 1.0)
    now = cells_of({"US": 0.01, "FR": 0.04}, hours, 0.5)  # by the hours reported, the rate doubled in the US, too
    assert slice_of(now, history, MEASURE, typical) == found


@pytest.mark.parametrize(("rate", "found"), [(0.026, {}), (0.036, {"country": "DE"})])
def test_what_chance_may_do_in_one_of_several_slices_is_everywhere(rate: float, found: Mapping[str, str]) -> None:
    hours = {"US": 1500.0, "DE": 1500.0}
    history = cells_of({"US": 0.01, "DE": 0.01}, {name: 100 * used for name, used in hours.items()}, 1.0)
    assert slice_of(cells_of({"US": 0.016, "DE": rate}, hours, 1.0), history, MEASURE, 30.0) == found


def test_healthy_release_has_no_bad_series_and_no_slice(healthy: Path) -> None:
    series = mc.judge(healthy, UNTIL, channel="release", os_name="Windows_NT")
    assert not (series["state"] == "bad").any()
    assert set(map(len, series["slice"])) == {0}


def test_slice_that_changes_while_an_alarm_is_up_is_told() -> None:
    bad = Bad("56.0", RELEASED, MEASURE, 3.0)
    observations, _ = draw("release", midnight(2017, 7, 1), 100, 3, bad=[bad], systems=("Windows_NT",))
    changes = hours_of(RELEASED) + 20
    judge = Judge(observations, lambda *of: {"country": "DE"} if of[-2] >= changes else {})
    events = [event for hour in range(30) for _, event in judge.look(hours_of(RELEASED) + hour) if event is not None]
    assert [(event.event, event.slice) for event in events] == [("alarm", {}), ("update", {"country": "DE"})]
