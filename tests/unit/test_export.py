"""What a visitor takes along: names, columns and figures of the files."""

import math
from io import BytesIO

import pandas as pd
import pytest

from missioncontrol_nb.dashboard.export import TABLE_COLUMNS, as_bytes, detail_frame, filename, table_frame
from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.monitor import MeasureSummary
from tests.unit.small_summaries import FROM_NOTHING, NO_CONTENT, UP, detail, measured, table


@pytest.mark.parametrize(
    ("query", "format_", "name"),
    [
        (Query(view="table"), "csv", "missioncontrol-release-windows_nt.csv"),
        (Query(view="table", channel="esr", os_name="Darwin"), "parquet", "missioncontrol-esr-darwin.parquet"),
        (
            Query(view="detail", measure="gpu_crashes"),
            "csv",
            "missioncontrol-release-windows_nt-gpu_crashes.csv",
        ),
    ],
)
def test_name_of_a_file_says_what_is_in_it(query: Query, format_: str, name: str) -> None:
    assert filename(query, format_) == name


def test_table_has_a_row_a_measure_and_version() -> None:
    frame = table_frame(table({"main_crashes": UP, "content_crashes": FROM_NOTHING}))
    assert tuple(frame.columns) == TABLE_COLUMNS
    assert frame["measure"].tolist() == ["main_crashes"] * 4 + ["content_crashes"] * 4
    assert frame["version"].tolist() == ["56.0", "55.0.3", "55.0", "54.0"] * 2
    assert frame["events"].tolist()[:2] == [591, 428]
    assert frame["change"].isna().tolist() == [False, *[True] * 7]
    assert frame["change_upper"].tolist()[4] == math.inf


@pytest.mark.parametrize("changes", [{}, {"main_crashes": None}])
def test_table_without_a_change_has_the_same_columns(changes: dict[str, None]) -> None:
    frame = table_frame(table(changes, previous=None))
    assert tuple(frame.columns) == TABLE_COLUMNS
    assert len(frame) == len(changes)


def test_detail_has_its_windows_and_what_they_are_of() -> None:
    frame = detail_frame(detail(measured("main_crashes", UP), names=("56.0", "55.0.3")))
    assert list(frame.columns) == [
        *("line", "label", "window_start", "age_hours", "events", "usage_hours"),
        *("rate_per_1k_hours", "rate_lower", "rate_upper", "arrived", "complete", "channel", "os_name", "measure"),
    ]
    assert frame["label"].tolist() == ["56.0"] * 6 + ["55.0.3"] * 6
    assert frame["rate_per_1k_hours"].isna().sum() == 2
    assert set(frame["measure"]) == {"main_crashes"}


def test_detail_without_windows_is_an_empty_frame() -> None:
    frame = detail_frame(detail(MeasureSummary("content_crashes", "not_reported", why=NO_CONTENT), names=()))
    assert len(frame) == 0
    assert len(pd.read_csv(BytesIO(as_bytes(frame, "csv")))) == 0


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_file_gives_the_frame_back(format_: str) -> None:
    frame = detail_frame(detail(measured("main_crashes", UP)))
    content = BytesIO(as_bytes(frame, format_))
    read = pd.read_parquet(content) if format_ == "parquet" else pd.read_csv(content, dtype={"line": str, "label": str})
    read["window_start"] = pd.to_datetime(read["window_start"], utc=True)
    pd.testing.assert_frame_equal(read, frame, check_dtype=False)


def test_csv_has_no_index_and_times_with_their_offset() -> None:
    first, second = as_bytes(detail_frame(detail(measured("main_crashes", UP))), "csv").decode().splitlines()[:2]
    assert first.startswith("line,label,window_start,")
    assert second.startswith("56.0,56.0,2017-10-09 09:00:00+00:00,")


def test_text_that_a_spreadsheet_would_run_is_only_text() -> None:
    formulas = ["=1+1", "+1", "-1", "@a", "\t=1", "56.0"]
    frame = pd.DataFrame({"version": formulas, "change": [-0.5, None, 1.0, 2.0, 3.0, 4.0]})
    written = pd.read_csv(BytesIO(as_bytes(frame, "csv")), dtype=str, keep_default_na=False)
    assert written["version"].tolist() == ["'=1+1", "'+1", "'-1", "'@a", "'\t=1", "56.0"]
    assert written["change"].tolist() == ["-0.5", "", "1.0", "2.0", "3.0", "4.0"]
    assert pd.read_parquet(BytesIO(as_bytes(frame, "parquet")))["version"].tolist() == formulas
