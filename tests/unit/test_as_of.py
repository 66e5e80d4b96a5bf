"""A dataset as it was: later pings do not show in what is read as of an earlier moment."""

import pytest
from pandas.testing import assert_frame_equal

from missioncontrol_nb.loading.as_of import DatasetAsOf
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.monitor import DetailRequest, Monitor
from tests.unit.small_dataset import CALENDAR, moment, write, write_delays

EARLY = """
    window         display_version  usage_hours  main_crashes  content_crashes
    02T13:00       55.0.3           1000         5             6
    05T13:00       55.0.3           1000         4             7
    05T13:00       56.0             10           1             0
    05T14:00       56.0             300          2             3
"""
LATE = """
    window         display_version  usage_hours  main_crashes  content_crashes
    05T14:05       56.0             700          90            90
    05T15:00       57.0             9000         90            90
    06T13:00       56.0             5000         90            90
"""
DELAYS = "submission_hour delay_hours usage_hours\n05T13:00 1.0 100\n"
LATE_DELAYS = "submission_hour delay_hours usage_hours\n05T14:00 24.0 900\n"
AT = "05T14:05"


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[Dataset, Dataset]:
    """A dataset that later pings were added to, as of a moment, and one that never got them."""
    grown, earlier = tmp_path_factory.mktemp("grown"), tmp_path_factory.mktemp("earlier")
    for folder in (grown, earlier):
        write(folder, EARLY, AT)
        write_delays(folder, DELAYS)
    write(grown, LATE, "06T13:04")
    write_delays(grown, LATE_DELAYS)
    return DatasetAsOf(grown, moment(AT)), Dataset(earlier)


@pytest.mark.parametrize(
    ("since", "until"), [(None, None), ("2017-10-05", None), (None, "2017-10-09"), ("2017-10-06", "2017-10-07")]
)
def test_sums_are_those_of_a_dataset_without_later_pings(both, since, until):
    then, earlier = both
    assert_frame_equal(then.load(since, until, by="version"), earlier.load(since, until, by="version"))
    assert then.versions(since, until).values.tolist() == earlier.versions(since, until).values.tolist()
    assert_frame_equal(then.load_delays(since, until), earlier.load_delays(since, until))


def test_data_go_up_to_the_moment(both):
    then, _ = both
    assert then.data_up_to() == moment(AT)
    assert sorted(str(day) for day in then.files_by_day()) == ["2017-10-02", "2017-10-05"]
    assert then.load_rejected().empty


def test_summaries_are_those_of_a_dataset_without_later_pings(both):
    then, earlier = (Monitor(each, CALENDAR) for each in both)
    assert then.overview() == earlier.overview()
    assert then.table("release", "Windows_NT") == earlier.table("release", "Windows_NT")
    request = DetailRequest(every="5min")
    details = [each.detail("release", "Windows_NT", "main_crashes", request) for each in (then, earlier)]
    assert_frame_equal(details[0].windows, details[1].windows)


def test_what_pings_report_is_told_by_those_that_had_come(tmp_path):
    """The first crash ping of 56.0, and the first ping of Android, came later."""
    columns = "window os_name display_version usage_hours main_crashes main_pings crash_pings"
    write(tmp_path, f"{columns}\n05T13:00 Windows_NT 56.0 100 0 9 0", AT)
    write(tmp_path, f"{columns}\n05T15:00 Windows_NT 56.0 100 3 9 3\n05T15:00 Android 56.0 9 1 1 1", "05T16:00")
    then = DatasetAsOf(tmp_path, moment(AT))
    assert then.load(by="display_version", measures="main_crashes")["main_crashes"].isna().tolist() == [True]
    assert then.applications() == {"Firefox"}
    assert Dataset(tmp_path).applications() == {"Firefox", "Fennec"}
