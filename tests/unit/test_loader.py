"""The dataset as frames: what is filtered, summed and refused, from the Delta tables and from the older layout."""

import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

import missioncontrol_nb as mc
from missioncontrol_nb.loading import dataset
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.releases.calendar import Calendar, Release
from streaming import contract
from streaming.aggregation.counter import Counter
from streaming.aggregation.partial_sums import rows_of as counted_rows_of
from streaming.dataset.writer import open_writers
from streaming.errors import MissionControlError
from streaming.storage.s3 import CREDENTIALS, storage_options
from tests.spark.small_pings import main_ping

USUAL = {
    "application": "Firefox",
    "channel": "release",
    "version": "56.0",
    "display_version": "56.0",
    "build_id": "20170926190823",
    "os_name": "Windows_NT",
    "os_version": "10.0",
    "architecture": "x86",
    "country": "DE",
    "experiment_id": "pref-flip",
    "experiment_branch": "control",
}
DRAWN = """
    window            channel  display_version  os_name     country  usage_hours  count  main_crashes
    2017-10-06T23:55  release  56.0             Windows_NT  DE       10.0         4      1
    2017-10-06T23:55  release  56.0             Windows_NT  US       2.0          1      0
    2017-10-06T23:55  release  56.0             Windows_NT  DE       1.0          1      1
    2017-10-07T00:00  release  56.0             Linux       DE       5.0          2      0
    2017-10-07T00:05  release  55.0.3           Windows_NT  FR       7.5          3      2
    2017-10-07T00:10  beta     57.0b6           Darwin      DE       0.5          1      0
    2017-10-07T02:00  beta     57.0b5           Darwin      DE       0.25         1      3
"""
BUILDS = {"56.0": "20170926190823", "55.0.3": "20170824053622", "57.0b6": "20171005195903", "57.0b5": "20171002181526"}
CALENDAR = Calendar((Release("56.0", "release", date(2017, 9, 28)), Release("57.0b6", "beta", date(2017, 10, 6))))


def drawn(text: str) -> list[dict[str, str]]:
    """The rows of a table drawn as text."""
    head, *lines = (line.split() for line in text.strip().splitlines())
    return [dict(zip(head, line, strict=True)) for line in lines]


def rows_of(table: contract.Table, rows: list[Mapping[str, object]]) -> pa.Table:
    """Rows of a table of the dataset; what a row does not say is usual."""
    whole = []
    for row in rows:
        start = datetime.fromisoformat(str(row["window"])).replace(tzinfo=UTC)
        window = {"submission_date": start.date(), "window_start": start, "window_end": start + contract.WINDOW}
        display_version = str(row.get("display_version", "56.0"))
        build = {"version": display_version.split("b")[0], "build_id": BUILDS.get(display_version, USUAL["build_id"])}
        sums = {name: float(row.get(name, int(name in contract.PING_COUNTS))) for name in contract.COUNTS}
        sums = {name: value if name == "usage_hours" else int(value) for name, value in sums.items()}
        every = {**USUAL, **build, **row, **window, **sums}
        whole.append({name: every[name] for name in contract.schema(table).names})
    return pa.Table.from_pylist(whole, schema=contract.schema(table))


def append(
    folder: Path, table: contract.Table, rows: list[Mapping[str, object]], data_up_to: str | None = None
) -> None:
    """Adds a commit to a table of a dataset."""
    properties = CommitProperties(custom_metadata={contract.DATA_UP_TO: data_up_to}) if data_up_to else None
    write_deltalake(
        str(folder / table.name),
        rows_of(table, rows),
        mode="append",
        partition_by=["submission_date"],
        commit_properties=properties,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset, each row of DRAWN in a commit of its own, and one experiment."""
    path = tmp_path_factory.mktemp("dataset")
    for row in drawn(DRAWN):
        append(path, contract.ERROR_AGGREGATES, [row])
    experiments = [
        {"window": "2017-10-07T00:00", "experiment_branch": "control", "usage_hours": 3, "count": 2, "main_crashes": 1},
        {"window": "2017-10-07T00:00", "experiment_branch": "variant", "usage_hours": 4, "count": 2, "main_crashes": 5},
    ]
    append(path, contract.EXPERIMENT_ERROR_AGGREGATES, experiments)
    return path


def cells(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    """The rows, times as short ISO text."""
    text = frame.copy()
    if "window_start" in text:
        text["window_start"] = text["window_start"].dt.strftime("%dT%H:%M")
    return [tuple(row) for row in text.itertuples(index=False)]


def test_counts_are_summed_by_hour_unless_something_else_is_asked(folder: Path) -> None:
    frame = mc.load(folder, measures="main_crashes")
    assert cells(frame) == [("06T23:00", 6, 13.0, 2), ("07T00:00", 6, 13.0, 2), ("07T02:00", 1, 0.25, 3)]
    assert frame.dtypes.astype(str).to_dict() == {
        "window_start": "datetime64[us, UTC]",
        "count": "int64",
        "usage_hours": "float64",
        "main_crashes": "int64",
    }


@pytest.mark.parametrize(
    ("every", "starts"),
    [
        ("5min", ["06T23:55", "07T00:00", "07T00:05", "07T00:10", "07T02:00"]),
        ("1h", ["06T23:00", "07T00:00", "07T02:00"]),
        ("1d", ["06T00:00", "07T00:00"]),
    ],
)
def test_windows_without_a_row_are_absent(folder: Path, every: str, starts: list[str]) -> None:
    assert [row[0] for row in cells(mc.load(folder, every=every))] == starts


def test_one_sum_over_the_interval(folder: Path) -> None:
    assert cells(mc.load(folder, every=None, measures="main_crashes")) == [(13, 26.25, 7)]
    by_version = mc.load(folder, every=None, by=["channel", "display_version"], measures=["main_crashes"])
    assert cells(by_version) == [
        ("beta", "57.0b5", 1, 0.25, 3),
        ("beta", "57.0b6", 1, 0.5, 0),
        ("release", "55.0.3", 3, 7.5, 2),
        ("release", "56.0", 8, 18.0, 2),
    ]


def test_filters_take_one_value_or_several(folder: Path) -> None:
    def usage(**filters: object) -> float:
        return mc.load(folder, every=None, **filters)["usage_hours"].sum()

    assert usage(channel="beta") == 0.75
    assert usage(os_name=["Linux", "Darwin"]) == 5.75
    assert usage(os_name=("Linux",), channel={"beta"}) == 0
    assert usage(country="DE", display_version="56.0", version="56.0", build_id=BUILDS["56.0"]) == 16.0
    assert usage(architecture="x86", os_version="10.0", application="Firefox") == 26.25
    assert usage(channel=[]) == 0


def test_interval_includes_its_start_and_not_its_end(folder: Path) -> None:
    def starts(**interval: object) -> list[object]:
        return [row[0] for row in cells(mc.load(folder, every="5min", **interval))]

    assert starts(since="2017-10-07", until="2017-10-07T00:10") == ["07T00:00", "07T00:05"]
    assert starts(since=datetime(2017, 10, 7, 0, 10, tzinfo=UTC)) == ["07T00:10", "07T02:00"]
    assert starts(since=date(2017, 10, 7), until="2017-10-07T00:00:00.000001") == ["07T00:00"]
    assert starts(since="2017-10-07T02:00+02:00", until=pd.Timestamp("2017-10-07 00:01")) == ["07T00:00"]
    assert starts(until="2017-10-07T00:00Z") == ["06T23:55"]
    assert starts(since="2017-10-07", until="2017-10-07") == []
    assert starts(since="0001-01-01", until="9999-12-31")[0] == "06T23:55"


def test_empty_result_has_its_columns_and_types(folder: Path) -> None:
    full, empty = (mc.load(folder, since=since, by=["channel", "os_name"]) for since in (None, "2030-01-01"))
    assert len(empty) == 0
    reported = full.columns[full.notna().any()]  # what no version reported is missing, and then a float
    assert empty[reported].dtypes.to_dict() == full[reported].dtypes.to_dict()
    assert list(empty) == list(full)
    assert len(mc.load(folder, "2030-01-01", every=None)) == 0
    assert list(mc.load(folder, "2030-01-01", every=None, official=CALENDAR).columns[:3]) == [
        "count",
        "usage_hours",
        "active_hours",
    ]


def test_only_official_builds_are_counted_with_a_calendar(folder: Path) -> None:
    """55.0.3 and 57.0b5 are not on the calendar."""
    assert mc.load(folder, every=None, official=CALENDAR)["usage_hours"].tolist() == [18.5]
    hourly = mc.load(folder, official=CALENDAR, by="os_name", measures="main_crashes")
    assert cells(hourly) == [
        ("06T23:00", "Windows_NT", 6, 13.0, 2),
        ("07T00:00", "Darwin", 1, 0.5, 0),
        ("07T00:00", "Linux", 2, 5.0, 0),
    ]
    by_build = mc.load(folder, official=CALENDAR, by=["build_id", "display_version", "channel"], every=None)
    assert by_build["display_version"].tolist() == ["56.0", "57.0b6"]
    assert len(mc.load(folder, official=Calendar(()))) == 0


def test_experiments_come_from_their_own_table(folder: Path) -> None:
    by_branch = mc.load(folder, by="experiment_branch", measures="main_crashes", every=None)
    assert cells(by_branch) == [("control", 2, 3.0, 1), ("variant", 2, 4.0, 5)]
    assert mc.load(folder, experiment_id="pref-flip", every=None)["usage_hours"].tolist() == [7.0]
    with pytest.raises(MissionControlError, match="not by build_id"):
        mc.load(folder, by=["experiment_id", "build_id"])
    with pytest.raises(MissionControlError, match="official builds"):
        mc.load(folder, by="experiment_id", official=CALENDAR)


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"measures": "main_crash"}, "did you mean main_crashes"),
        ({"measures": ["main_crashes", "oops"]}, "unknown measure 'oops'"),
        ({"by": "chanel"}, "did you mean channel"),
        ({"by": "usage_hours"}, "unknown dimension"),
        ({"by": "submission_date"}, "unknown dimension"),
        ({"chanel": "beta"}, "did you mean channel"),
        ({"measure": "main_crashes"}, "did you mean measures"),
        ({"every": "1 h"}, "did you mean 1h"),
        ({"channel": "releas"}, "did you mean release"),
        ({"os_name": ["Linux", "Windows"]}, "did you mean Windows_NT"),
        ({"application": "firefox"}, "did you mean Firefox"),
        ({"version": 56.0}, "like '56.0', not 56.0"),
        ({"build_id": [20170926190823]}, "not 20170926190823"),
        ({"since": "yesterday"}, "not 'yesterday'"),
        ({"since": "2017-13-01"}, "ISO"),
        ({"until": 20171007}, "not 20171007"),
        ({"until": pd.NaT}, "not NaT"),
        ({"since": "2017-10-07", "until": "2017-10-06"}, "lies before since"),
        ({"since": "0001-01-01T00:00+23:00"}, "ISO"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_near_names(
    folder: Path, request_: dict[str, object], says: str
) -> None:
    with pytest.raises(MissionControlError, match=says):
        mc.load(folder, **request_)
    if set(request_) != {"official"}:
        with pytest.raises(MissionControlError, match=says):
            Dataset(folder).load(**request_)


@pytest.mark.parametrize(
    "value", ["DE' OR '1'='1", "'; DROP TABLE data; --", "\\' OR 1=1 --", "%", "D_", "", "\0", '"', "DE\n"]
)
def test_value_of_a_filter_is_only_ever_a_value(folder: Path, value: str) -> None:
    assert len(mc.load(folder, country=value)) == 0
    assert len(mc.load(folder, country=["DE", value], every=None)) == 1


@given(st.text())
@settings(max_examples=50, deadline=None)
def test_any_text_can_be_looked_for(folder: Path, text: str) -> None:
    expected = sum(row["country"] == text for row in drawn(DRAWN))
    assert (
        mc.load(folder, country=text, every="5min", by=["os_name", "display_version"])["count"].astype(bool).sum()
        <= expected
    )
    assert bool(len(mc.load(folder, country=text))) == bool(expected)


DIMENSION_SETS = st.lists(st.sampled_from(["channel", "display_version", "os_name", "country"]), unique=True)
MOMENTS = st.none() | st.datetimes(datetime(2017, 10, 6, 22), datetime(2017, 10, 7, 3))


@given(
    by=DIMENSION_SETS,
    every=st.sampled_from(["5min", "1h", "1d", None]),
    ends=st.tuples(MOMENTS, MOMENTS),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_sums_equal_those_of_pandas(
    folder: Path, by: list[str], every: str | None, ends: tuple, data: st.DataObject
) -> None:
    since, until = sorted(ends) if None not in ends else ends
    rows = pd.DataFrame(drawn(DRAWN)).astype({"usage_hours": float, "count": int, "main_crashes": int})
    rows["window"] = pd.to_datetime(rows["window"], utc=True)
    name = data.draw(st.sampled_from(["channel", "os_name", "country"]))
    values = data.draw(st.lists(st.sampled_from(sorted(rows[name].unique())), unique=True))
    kept = rows[rows[name].isin(values)]
    kept = kept[(kept["window"] >= pd.Timestamp(since, tz="UTC")) if since else slice(None)]
    kept = kept[(kept["window"] < pd.Timestamp(until, tz="UTC")) if until else slice(None)]
    loaded = mc.load(folder, since, until, by=by, every=every, measures="main_crashes", **{name: values})
    if every:
        kept = kept.assign(window_start=kept["window"].dt.floor(every))
    keys = (["window_start"] if every else []) + by
    sums = ["count", "usage_hours", "main_crashes"]
    if keys:
        expected = kept.groupby(keys)[sums].sum().reset_index()
    else:
        expected = kept[sums].sum().to_frame().T[: min(1, len(kept))]
    assert loaded.to_numpy().tolist() == expected[[*keys, *sums]].to_numpy().tolist()


def test_no_dataset_is_said_to_be_none(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(MissionControlError, match="no such folder"):
        mc.load(tmp_path / "typo")
    with pytest.raises(MissionControlError, match="it holds none of a dataset's tables"):
        mc.load(tmp_path)
    with pytest.raises(MissionControlError, match="is one table"):
        mc.load(folder / "error_aggregates")
    with pytest.raises(MissionControlError, match="no such file"):
        mc.load(tmp_path / "typo.parquet")


def test_dataset_that_is_not_there_yet_is_empty_and_then_found(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    assert dataset.load(by="channel").columns[:2].tolist() == ["window_start", "channel"]
    assert len(dataset.load(every=None)) == len(dataset.load_delays()) == len(dataset.versions()) == 0
    assert dataset.data_up_to() is None
    assert not dataset.refresh()
    append(tmp_path, contract.ERROR_AGGREGATES, drawn(DRAWN))
    assert dataset.refresh()
    assert dataset.load(every=None)["count"].tolist() == [13]


def test_refresh_turns_to_new_commits_and_says_so(tmp_path: Path) -> None:
    append(tmp_path, contract.ERROR_AGGREGATES, drawn(DRAWN), "2017-10-07T02:04:00+00:00")
    dataset = Dataset(tmp_path)
    assert dataset.load(every=None)["count"].tolist() == [13]
    assert dataset.data_up_to() == datetime(2017, 10, 7, 2, 4, tzinfo=UTC)
    append(tmp_path, contract.ERROR_AGGREGATES, drawn(DRAWN), "2017-10-07T02:06:00+00:00")
    assert dataset.load(every=None)["count"].tolist() == [13]
    assert dataset.refresh()
    assert not dataset.refresh()
    assert dataset.load(every=None)["count"].tolist() == [26]
    assert dataset.data_up_to() == datetime(2017, 10, 7, 2, 6, tzinfo=UTC)


@pytest.mark.parametrize("what", ["", "error_aggregates", "error_aggregates/_delta_log"])
def test_refresh_says_that_a_dataset_or_a_table_is_gone_until_it_is_back(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "dataset"
    append(folder, contract.ERROR_AGGREGATES, drawn(DRAWN), "2017-10-07T02:04:00+00:00")
    dataset = Dataset(folder)
    assert dataset.load(every=None)["count"].tolist() == [13]
    (folder / what).rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(MissionControlError, match=r"is gone|there is no dataset"):
            dataset.refresh()
        with pytest.raises(MissionControlError, match=r"is gone|there is no dataset"):
            dataset.load(every=None)  # nor is what is gone read as empty
    (tmp_path / "away").rename(folder / what)
    assert dataset.refresh()
    assert not dataset.refresh()
    assert dataset.load(every=None)["count"].tolist() == [13]


def test_data_up_to_is_found_behind_commits_that_do_not_say(tmp_path: Path) -> None:
    append(tmp_path, contract.ERROR_AGGREGATES, drawn(DRAWN), "2017-10-07T02:04:00+00:00")
    for _ in range(12):
        append(tmp_path, contract.ERROR_AGGREGATES, drawn(DRAWN)[:3])
    DeltaTable(tmp_path / "error_aggregates").optimize.compact()
    assert Dataset(tmp_path).data_up_to() == datetime(2017, 10, 7, 2, 4, tzinfo=UTC)


def test_files_that_are_compacted_away_under_the_reader_are_read_anew(tmp_path: Path) -> None:
    for row in drawn(DRAWN):
        append(tmp_path, contract.ERROR_AGGREGATES, [row])
    dataset = Dataset(tmp_path)
    assert dataset.load(every=None)["count"].tolist() == [13]
    table = DeltaTable(tmp_path / "error_aggregates")
    table.optimize.compact()
    removed = table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert removed
    assert dataset.load(every=None)["count"].tolist() == [13]


def test_table_made_anew_is_found(tmp_path: Path) -> None:
    for _ in range(3):
        append(tmp_path, contract.ERROR_AGGREGATES, drawn(DRAWN))
    dataset = Dataset(tmp_path)
    assert dataset.load(every=None)["count"].tolist() == [39]
    (tmp_path / "error_aggregates").rename(tmp_path / "old")
    append(tmp_path, contract.ERROR_AGGREGATES, drawn(DRAWN))
    dataset.refresh()
    assert dataset.load(every=None)["count"].tolist() == [13]


def test_versions_says_from_when_to_when_builds_were_in_use(folder: Path) -> None:
    versions = Dataset(folder).versions(channel="release").set_index("display_version")
    assert versions.index.tolist() == ["55.0.3", "56.0"]
    assert versions.loc["56.0", "first_window"] == pd.Timestamp("2017-10-06T23:55", tz="UTC")
    assert versions.loc["56.0", "last_window"] == pd.Timestamp("2017-10-07T00:00", tz="UTC")
    assert versions.loc["56.0", "usage_hours"] == 18.0


def test_delays_and_rejected_pings_are_summed(tmp_path: Path) -> None:
    hour = datetime(2017, 10, 7, 1, tzinfo=UTC)
    delays = [(hour, 0.25, 2.0), (hour, 0.25, 3.0), (hour, float("inf"), 1.0), (hour + timedelta(hours=1), 1.0, 9.0)]
    rows = [
        {**USUAL, "submission_date": at.date(), "submission_hour": at, "delay_hours": edge, "usage_hours": hours}
        for at, edge, hours in delays
    ]
    schema = contract.schema(contract.REPORTING_DELAYS)
    rows = [{name: row[name] for name in schema.names} for row in rows]
    write_deltalake(str(tmp_path / "error_aggregates"), contract.schema(contract.ERROR_AGGREGATES).empty_table())
    write_deltalake(str(tmp_path / "reporting_delays"), pa.Table.from_pylist(rows, schema=schema))
    loaded = Dataset(tmp_path).load_delays("2017-10-07T01:00", "2017-10-07T02:00", channel="release")
    assert loaded[["delay_hours", "usage_hours"]].to_numpy().tolist() == [[0.25, 5.0], [float("inf"), 1.0]]
    rejects = [
        {"window": "2017-10-07T01:00", "document_type": "crash", "reason": "channel", "count": 2},
        {"window": "2017-10-07T01:05", "document_type": "crash", "reason": "channel", "count": 3},
    ]
    append(tmp_path, contract.REJECTED_PINGS, rejects)
    assert Dataset(tmp_path).load_rejected().to_numpy().tolist() == [["crash", "channel", 5]]


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The home of somebody without credentials."""
    for name in (*CREDENTIALS, "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_object_store_without_credentials_is_refused_at_once(nobody: Path) -> None:
    started = time.perf_counter()
    with pytest.raises(MissionControlError, match="AWS_ACCESS_KEY_ID"):
        mc.load("s3://bucket/dataset")
    assert time.perf_counter() - started < 1


def test_plain_http_endpoint_is_allowed_and_a_profile_is_looked_up(
    nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed, looked_up = {"AWS_ALLOW_HTTP": "true"}, {"AWS_FORCE_CREDENTIAL_LOAD": "true", "AWS_REGION": "us-east-1"}
    keys = {"aws_access_key_id": "a", "endpoint_url": "http://127.0.0.1:9"}
    assert storage_options("/data", {}) is None
    assert storage_options("s3://bucket/data", keys) == keys | allowed
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    (nobody / ".aws").mkdir()
    (nobody / ".aws" / "credentials").touch()
    assert storage_options("s3://bucket/data") == allowed | looked_up
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://127.0.0.1:9")
    assert storage_options("s3://bucket/data") == looked_up


def test_object_store_that_does_not_answer_is_said_in_one_line() -> None:
    options = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "max_retries": "1",
    }
    said = r"^s3://bucket/dataset/error_aggregates cannot be read: [^\n\x1b]+$"
    with pytest.raises(MissionControlError, match=said):
        mc.load("s3://bucket/dataset", storage_options=options)


def test_process_that_loaded_ends_well(folder: Path) -> None:
    """Reading Delta tables through pyarrow's own file system aborted at exit in 5 of 12 short scripts."""
    code = f"import missioncontrol_nb as mc; print(len(mc.load({str(folder)!r}, by='channel')))"
    for _ in range(8):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")


OLDER_STARTS = ["2017-06-29T00:59:59.999999744", "2017-06-29T01:00", "2017-06-29T01:00", "2017-06-29T01:05"]
OLDER_DRAWN = pd.DataFrame(
    {
        "window_start": np.array(OLDER_STARTS, "datetime64[ns]"),
        "channel": ["release", "release", "release", "beta"],
        "version": ["54.0", "54.0", "54.0", "55.0"],
        "build_id": ["20170608105825", "20170608105825", "20170701000000", "20170626165718"],
        "experiment_id": [None, "e10s", None, None],
        "experiment_branch": [None, "on", None, None],
        "e10s_enabled": [True, True, False, True],
        "submission_date_s3": ["20170629"] * 4,
        "usage_hours": [10.0, 10.0, 1.0, 4.0],
        "count": [3, 3, 1, 2],
        "main_crashes": [1.0, 1.0, None, None],
        "first_paint": [100, 100, 5, 7],
    }
)


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A file of the older layout: one ping group counted as a total and once more in its experiment."""
    path = tmp_path / "old.parquet"
    OLDER_DRAWN.to_parquet(path, index=False)
    return path


def test_older_file_counts_totals_once_and_experiments_apart(older: Path) -> None:
    frame = mc.load(older)
    assert list(frame.columns) == ["window_start", "count", "usage_hours", "main_crashes", "first_paint"]
    assert cells(frame) == [("29T01:00", 6, 15.0, 1, 112)]
    assert frame["window_start"].dtype == "datetime64[us, UTC]"
    assert cells(mc.load(older, by="experiment_branch", measures="main_crashes", every=None)) == [("on", 3, 10.0, 1)]
    assert cells(mc.load(older, experiment_id="e10s", measures=[], every=None)) == [(3, 10.0)]


def test_older_file_is_filtered_and_summed_like_a_dataset(older: Path) -> None:
    assert cells(mc.load(older, since="2017-06-29T01:00", until="2017-06-29T01:05", every="5min", measures=[])) == [
        ("29T01:00", 4, 11.0)
    ]
    assert cells(mc.load(older, channel="beta", measures="main_crashes", by="version", every=None)) == [
        ("55.0", 2, 4.0, 0)
    ]
    assert cells(mc.load(older, by="e10s_enabled", measures=[], every=None)) == [(False, 1, 1.0), (True, 5, 14.0)]
    assert len(mc.load(older, channel=["esr"])) == 0
    assert len(mc.load(older, channel=["esr"], every=None)) == 0


def test_older_file_tells_official_builds_by_version(older: Path) -> None:
    calendar = mc.load_calendar()
    assert mc.load(older, official=calendar, every=None, by="channel", measures=[])["usage_hours"].tolist() == [
        4.0,
        10.0,
    ]


def test_measure_that_an_older_file_lacks_is_absent_and_not_zero(older: Path) -> None:
    with pytest.raises(MissionControlError, match="unknown measure 'gpu_crashes'"):
        mc.load(older, measures="gpu_crashes")
    with pytest.raises(MissionControlError, match="unknown dimension 'display_version'"):
        mc.load(older, by="display_version")
    newer = OLDER_DRAWN.assign(
        gpu_crashes=[4, 4, None, 1], window_start=OLDER_DRAWN["window_start"] + timedelta(days=1)
    )
    newer.to_parquet(older.with_name("new.parquet"), index=False)
    frame = mc.load(older.parent, measures=["gpu_crashes", "main_crashes"], every="1d")
    assert np.isnan(frame["gpu_crashes"][0])
    assert frame["gpu_crashes"][1] == 5
    assert frame["main_crashes"].tolist() == [1, 1]


def test_file_that_is_no_older_layout_says_what_it_lacks(tmp_path: Path) -> None:
    pq.write_table(pa.table({"count": [1]}), tmp_path / "other.parquet")
    with pytest.raises(MissionControlError, match="no column 'window_start'"):
        mc.load(tmp_path / "other.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(MissionControlError, match="cannot be read as Parquet"):
        mc.load(tmp_path / "broken.parquet")


def test_real_rows_of_2017_load_with_all_their_measures(shared_data: Path) -> None:
    path = shared_data / "error_aggregates_2017-06-29_sample.parquet"
    frame = mc.load(path, by="channel")
    assert frame["count"].tolist() == [17, 31, 328]
    assert frame["usage_hours"].sum() == pytest.approx(1176.456118, abs=1e-5)
    assert frame["main_crashes"].tolist() == [0, 0, 2]
    assert "gc_max_pause_ms_2_main_above_150" in frame.columns
    assert "startup_crashes" not in frame.columns
    assert len(mc.load(path, by="experiment_id")) == 0
    assert mc.rates(frame)["usage_hours"].notna().all()


def test_a_sum_of_too_many_made_up_names_is_refused_with_the_filter_that_narrows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "MANY_ROWS", 50)
    monkeypatch.setattr(dataset, "MOST_GROUPS", 150)
    counter = Counter()
    for number in range(200):
        system = {"os": {"name": "Darwin", "version": "16.7"}}
        counter.add(main_ping(number % 60, environment={"system": system, "experiments": {f"e{number}": "a"}}), 0)
    sums = pa.Table.from_batches([counter.partial_sums()])
    for writer in open_writers(str(tmp_path)):
        writer.append(counted_rows_of(writer.table, sums), 0, "app")
    with pytest.raises(MissionControlError, match=r"about 2?[0-9]{2} rows, .* name the experiment_id wanted"):
        mc.load(tmp_path, by="experiment_id")
    assert mc.load(tmp_path, by="experiment_id", experiment_id="e7")["count"].sum() == 1
    assert mc.load(tmp_path, by="experiment_branch", every=None)["count"].sum() == 200
    assert mc.load(tmp_path, by="version")["count"].sum() == 200
    assert len(mc.load(tmp_path, by="experiment_id", until="2017-10-02T14:05")) == 20
