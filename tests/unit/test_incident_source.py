"""How pages take up data incidents that people write down meanwhile."""

from pathlib import Path

import pytest

import missioncontrol_nb as mc
from missioncontrol_nb.dashboard import incident_source
from missioncontrol_nb.dashboard.incident_source import IncidentSource
from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.dashboard.reader import DatasetReader
from missioncontrol_nb.loading.dataset import Dataset
from tests.unit.small_dataset import CALENDAR, write

ROWS = """
    window    display_version  usage_hours  main_crashes
    02T10:00  55.0.3           9000         9
    05T13:00  56.0             900          3
"""
DAY = "2017-10-02T12:00Z", "2017-10-02T18:00Z"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(incident_source, "LOCAL_SECONDS", -1.0)
    write(tmp_path / "dataset", ROWS, "05T13:14")
    return tmp_path / "dataset"


def test_incident_that_is_written_down_or_removed_is_news(folder: Path) -> None:
    reader = DatasetReader(Dataset(folder), CALENDAR)
    reader.refresh()
    assert [reader.refresh(), reader.judged(Query()).incidents] == [False, ()]
    written = mc.annotate(folder, *DAY, "Pings came twice")
    assert [reader.refresh(), reader.refresh()] == [True, False]
    assert [each.text for each in reader.judged(Query()).incidents] == ["Pings came twice"]
    mc.remove_annotation(folder, written)
    assert [reader.refresh(), reader.judged(Query()).incidents] == [True, ()]


def test_incidents_are_read_again_only_after_a_while(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incident_source, "LOCAL_SECONDS", 60.0)
    source = IncidentSource(Dataset(folder))
    assert source.newest() == ()
    mc.annotate(folder, *DAY, "Pings came twice")
    assert source.newest() == ()


def test_damaged_file_is_logged_once_and_hides_no_other(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    mc.annotate(folder, *DAY, "Pings came twice")
    (folder / "annotations" / "damaged.json").write_text("{")
    source = IncidentSource(Dataset(folder))
    assert [len(source.newest()) for _ in range(3)] == [1, 1, 1]
    assert caplog.text.count("damaged.json is not a data incident") == 1
