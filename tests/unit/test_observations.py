"""The sums that releases are judged by, as they are read from a dataset."""

from pathlib import Path

import pytest

from missioncontrol_nb.judgement.alarms import Judge
from missioncontrol_nb.judgement.observations import Observations, hours_of, read_observations
from missioncontrol_nb.loading.dataset import Dataset
from streaming import contract
from tests.unit.small_dataset import CALENDAR, moment, write, write_delays


@pytest.mark.parametrize("os_name", ["Android", None])
def test_system_without_delays_has_those_of_its_channel(os_name: str | None, tmp_path: Path) -> None:
    write(
        tmp_path,
        """
        window    os_name     usage_hours
        05T13:00  Android     1
        05T13:00  Windows_NT  1
        """,
    )
    write_delays(
        tmp_path,
        """
        channel  os_name     submission_hour  delay_hours  usage_hours
        release  Windows_NT  05T13:00         0.5          2
        release  Darwin      05T13:00         24           3
        beta     Windows_NT  05T13:00         72           9
        """,
    )
    observations = read_observations(
        Dataset(tmp_path),
        contract.FIREFOX,
        CALENDAR,
        since=moment("05T14:00"),
        until=moment("05T14:00"),
        channel="release",
        os_name=os_name,
    )
    hours = {segment.os_name: segment.delay_totals[-1] for segment in observations.segments}
    edges = contract.DELAY_BUCKET_EDGES_HOURS
    of_channel = [{0.5: 2, 24.0: 3}.get(edge, 0) for edge in edges]
    assert hours["Android"].tolist() == of_channel
    if os_name is None:
        assert hours["Windows_NT"].tolist() == [2 if edge == 0.5 else 0 for edge in edges]


GAP = """
window    usage_hours  main_crashes
05T10:00  900          2
05T10:05  800          3
05T16:00  700          4
"""


def observed(folder: Path, until: str) -> Observations:
    return read_observations(
        Dataset(folder), contract.FIREFOX, CALENDAR, since=moment("05T10:00"), until=moment(until), channel="release"
    )


def test_newest_data_at_a_moment_is_that_of_the_last_window_before_it(tmp_path: Path) -> None:
    write(tmp_path, GAP)
    observations = observed(tmp_path, "05T17:00")
    known = [observations.newest_at(hours_of(moment(at))) for at in ("05T10:04", "05T10:05", "05T13:00", "05T16:05")]
    assert known[0] == float("-inf")
    assert known[1:] == pytest.approx([hours_of(moment(at)) for at in ("05T10:05", "05T10:10", "05T16:05")], abs=1e-6)


def test_look_during_an_outage_does_not_know_that_data_comes_later(tmp_path: Path) -> None:
    write(tmp_path, GAP)
    at = hours_of(moment("05T13:00"))
    with_later, without = (
        [series for series, _ in Judge(observed(tmp_path, until)).look(at)] for until in ("05T17:00", "05T13:00")
    )
    assert len(with_later) > 0
    assert with_later == without
