"""A measure that is declared when a dataset exists: by this version, or by a newer one beside it."""

import shutil
import threading
from datetime import UTC, date, datetime
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest
from deltalake import DeltaTable, Field, write_deltalake
from deltalake.schema import PrimitiveType

import missioncontrol_nb as mc
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.monitor import Monitor
from missioncontrol_nb.releases.sources import PACKAGED
from missioncontrol_nb.status.collect import Collector
from streaming import contract
from streaming.aggregation.counter import Counter
from streaming.aggregation.partial_sums import rows_of
from streaming.aggregation.spill import write_rows
from streaming.dataset import maintenance
from streaming.dataset.day_sums import added, are_same, day_sums, subtracted
from streaming.dataset.writer import TableWriter, open_writers
from streaming.errors import MissionControlError
from streaming.storage.locations import table_url
from tests.other_version import NEWER, OLDER, WITH_LOCALE, append, run
from tests.spark.small_pings import crash_ping, main_ping
from tests.unit.keyed_crashes import COARSE, FINE, a_ping, sums

DAY = date(2017, 10, 2)
LATER = datetime(2017, 10, 5, tzinfo=UTC)
MAINTAIN = "maintain({!r}, now=lambda: datetime(2017, 10, 5, tzinfo=UTC))"


def columns(folder: Path, table: contract.Table = FINE) -> list[str]:
    return [field.name for field in DeltaTable(table_url(str(folder), table)).schema().fields]


@pytest.fixture(scope="module")
def of_older_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset by the version that does not know gpu_crashes: 20 micro-batches, a ping a minute from 14:00 on."""
    folder = tmp_path_factory.mktemp("older")
    batches = [[a_ping(minute, gpu=7, plugin=1)] for minute in range(20)]
    run(OLDER, f"append({str(folder)!r}, 'older', {batches!r})")
    return folder


@pytest.fixture
def older(of_older_version: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    shutil.copytree(of_older_version, folder)
    return folder


def test_dataset_of_the_older_version_lacks_the_measure(older: Path) -> None:
    assert "gpu_crashes" not in columns(older)
    assert sums(older, "count", "plugin_crashes") == (20, 20)


def test_dataset_that_exists_takes_a_measure_that_was_declared_later(older: Path) -> None:
    batches = [[a_ping(minute, gpu=3, plugin=1)] for minute in range(90, 110)]
    assert all(append(str(older), "job", batches)[:2])
    assert not any(append(str(older), "job", batches)), "a replay appends nothing"
    assert not any(append(str(older), "older", [[a_ping(19)]], first=19)), "nor does one of the older version's batch"
    for table in (FINE, COARSE, contract.EXPERIMENT_ERROR_AGGREGATES):
        assert sums(older, "count", "plugin_crashes", "gpu_crashes", table=table) == (40, 40, 60), table.name
    done = maintenance.maintain(str(older), now=lambda: LATER)
    assert [report.spans > 0 for report in done[:2]] == [True, True]
    for table in (FINE, COARSE, contract.EXPERIMENT_ERROR_AGGREGATES):
        assert sums(older, "count", "plugin_crashes", "gpu_crashes", table=table) == (40, 40, 60), table.name
    assert len(DeltaTable(table_url(str(older), FINE)).file_uris()) == 1


def test_not_counted_is_not_zero_before_a_measure_was_declared(older: Path) -> None:
    append(str(older), "job", [[a_ping(minute, gpu=2)] for minute in range(90, 110)])
    maintenance.maintain(str(older), now=lambda: LATER)
    by_hour = mc.load(older, measures=["plugin_crashes", "gpu_crashes"])
    assert by_hour["plugin_crashes"].tolist() == [20, 0]
    assert by_hour["gpu_crashes"].isna().tolist() == [True, False]
    assert by_hour["gpu_crashes"].iloc[1] == 40
    rates = mc.rates(by_hour, measures=["gpu_crashes"])
    assert rates["rate_per_1k_hours"].tolist() == [2000.0], "of the hours that counted it, and no rate of 0 before"


def test_what_readers_hold_open_shows_a_measure_once_it_is_counted(older: Path) -> None:
    dataset = Dataset(older)
    monitor = Monitor(dataset, mc.load_calendar(PACKAGED), official=False)
    assert "gpu_crashes" not in dataset.load(every=None)
    assert row_of(monitor, "gpu_crashes").state == "not_reported"
    append(str(older), "job", [[a_ping(minute, gpu=2)] for minute in range(90, 110)])
    assert monitor.refresh()
    assert dataset.load(every=None)["gpu_crashes"].tolist() == [40]
    assert len(monitor.detail("release", "Windows_NT", "gpu_crashes").windows) == 1
    status = Collector(str(older)).collect(LATER)
    assert status.tables[0].name == FINE.name
    assert status.data_up_to == datetime(2017, 10, 2, 15, 49, tzinfo=UTC)


def row_of(monitor: Monitor, measure: str):
    return next(row for row in monitor.table("release", "Windows_NT").rows if row.measure == measure)


def test_older_version_goes_on_beside_the_newer_one_and_its_upkeep_keeps_what_it_does_not_know(older: Path) -> None:
    append(str(older), "job", [[a_ping(minute, gpu=2)] for minute in range(30, 50)])
    more = [[a_ping(minute, gpu=9)] for minute in range(50, 60)]
    run(OLDER, f"append({str(older)!r}, 'older', {more!r}, first=20)\n{MAINTAIN.format(str(older))}")
    for table in (FINE, COARSE, contract.EXPERIMENT_ERROR_AGGREGATES):
        assert sums(older, "count", "gpu_crashes", table=table) == (50, 40), table.name
        assert len(DeltaTable(table_url(str(older), table)).file_uris()) == 1


def test_measure_of_a_newer_version_stays_through_appends_and_upkeep(tmp_path: Path) -> None:
    batches = [[a_ping(minute, extension=3, gpu=1)] for minute in range(10)]
    run(NEWER, f"append({str(tmp_path)!r}, 'newer', {batches!r})")
    append(str(tmp_path), "job", [[a_ping(minute, extension=5, gpu=1)] for minute in range(10)])
    assert sums(tmp_path, "count", "gpu_crashes", "extension_crashes") == (20, 20, 30)
    maintenance.maintain(str(tmp_path), now=lambda: LATER)
    assert sums(tmp_path, "count", "gpu_crashes", "extension_crashes") == (20, 20, 30)
    assert len(DeltaTable(table_url(str(tmp_path), FINE)).file_uris()) == 1
    assert mc.load(tmp_path, every=None, by="application")["gpu_crashes"].tolist() == [20]
    with pytest.raises(
        MissionControlError, match=r"error_aggregates holds counts of 'extension_crashes'.*Use the version that"
    ):
        day_sums(DeltaTable(table_url(str(tmp_path), FINE)), FINE, DAY)
    another = date(2017, 10, 3)
    assert len(day_sums(DeltaTable(table_url(str(tmp_path), FINE)), FINE, another)) == 0, "nothing there to lose"


def test_coarse_table_that_is_made_anew_has_the_measure_of_a_newer_version(tmp_path: Path) -> None:
    run(NEWER, f"append({str(tmp_path)!r}, 'newer', {[[a_ping(1, extension=3, gpu=1)]]!r})")
    shutil.rmtree(tmp_path / COARSE.name)
    append(str(tmp_path), "job", [[a_ping(2, gpu=1)]])
    assert sums(tmp_path, "count", "gpu_crashes", "extension_crashes", table=COARSE) == (2, 2, 3)


def test_writers_that_open_a_dataset_at_once_add_a_measure_once(older: Path) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            append(str(older), name, [[a_ping(minute, gpu=1)] for minute in range(90, 95)])
        except BaseException as error:
            failures.append(error)

    jobs = [threading.Thread(target=work, args=(f"job {number}",)) for number in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert failures == []
    assert columns(older).count("gpu_crashes") == 1
    assert sums(older, "count", "gpu_crashes") == (35, 15)


def test_measure_that_another_writer_adds_at_the_same_moment_is_there(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alter, seen = deltalake.table.TableAlterer.add_columns, []

    def beaten(self, fields, **options):
        if not seen:
            seen.append(fields)
            alter(DeltaTable(table_url(str(older), FINE)).alter, fields)
        alter(self, fields, **options)

    monkeypatch.setattr(deltalake.table.TableAlterer, "add_columns", beaten)
    writer = TableWriter(str(older), FINE)
    assert len(seen) == 1
    assert writer.query('SELECT sum("gpu_crashes") AS n, sum(count) AS c FROM data').to_pylist() == [
        {"n": None, "c": 20}
    ]


def test_column_that_is_added_while_a_writer_is_open_does_not_disturb_it(tmp_path: Path) -> None:
    open_writers(str(tmp_path))
    writer = TableWriter(str(tmp_path), FINE)
    DeltaTable(writer.url).alter.add_columns([Field("extension_crashes", PrimitiveType("long"))])
    assert writer.append(fine_rows(a_ping(1, gpu=1)), 0, "job")
    assert sums(tmp_path, "count", "gpu_crashes", "extension_crashes") == (1, 1, None)


def fine_rows(*documents: bytes) -> pa.Table:
    counter = Counter()
    for document in documents:
        counter.add(document, 0)
    return rows_of(FINE, pa.Table.from_batches([counter.partial_sums()]))


@pytest.mark.parametrize("change", [OLDER, NEWER])
def test_files_that_workers_wrote_are_added_to_a_table_of_another_version(change: str, older: Path) -> None:
    from deltalake.transaction import AddAction

    run(change, f"append({str(older)!r}, 'other', {[[a_ping(25, gpu=1)]]!r})")
    writer = TableWriter(str(older), FINE)
    files = [AddAction(**each) for each in write_rows(fine_rows(a_ping(26, gpu=4)), writer.url)]
    assert writer.append(files, 0, "cluster")
    assert sums(older, "count", "gpu_crashes") == (22, 4 + (change == NEWER))
    maintenance.maintain(str(older), now=lambda: LATER)
    assert sums(older, "count", "gpu_crashes") == (22, 4 + (change == NEWER))


def test_day_of_an_older_version_is_summed_with_nothing_counted(older: Path) -> None:
    before = day_sums(DeltaTable(table_url(str(older), FINE)), FINE, DAY)
    assert before["gpu_crashes"].to_pylist() == [None] * 4
    append(str(older), "job", [[a_ping(0, gpu=2)]])
    found = day_sums(DeltaTable(table_url(str(older), FINE)), FINE, DAY)
    since = subtracted(FINE, found, before)
    assert (since["gpu_crashes"].to_pylist(), since["count"].to_pylist()) == ([2], [1])
    assert are_same(FINE, added(FINE, before, since), found)


def test_none_and_zero_are_not_the_same_sums(older: Path) -> None:
    uncounted = day_sums(DeltaTable(table_url(str(older), FINE)), FINE, DAY)
    place = uncounted.schema.get_field_index("gpu_crashes")
    zeros = uncounted.set_column(place, "gpu_crashes", pa.array([0] * len(uncounted)))
    assert are_same(FINE, uncounted, uncounted)
    assert not are_same(FINE, uncounted, zeros), "a day that is counted anew says 0 where it said nothing"
    assert len(subtracted(FINE, uncounted, zeros)) == len(subtracted(FINE, zeros, uncounted)) == 0


def table_with(folder: Path, name: str, values: pa.Array) -> str:
    """A dataset's table with a further column, in two commits that upkeep makes one of."""
    open_writers(str(folder))
    url = table_url(str(folder), FINE)
    shutil.rmtree(url)
    rows = fine_rows(a_ping(1, gpu=1))
    for number in range(len(values)):
        write_deltalake(url, rows.append_column(name, values[number : number + 1]), mode="append",
                        partition_by=["submission_date"], name=FINE.name)  # fmt: skip
    return url


def test_rows_that_a_newer_version_tells_apart_stay_apart(tmp_path: Path) -> None:
    url = table_with(tmp_path, "locale", pa.array(["de", "fr", "de", "fr", "de", None]))
    maintenance.maintain(str(tmp_path), now=lambda: LATER)
    rows = DeltaTable(url).to_pyarrow_table().select(["locale", "count"]).to_pylist()
    assert len(DeltaTable(url).file_uris()) == 1
    assert {row["locale"]: row["count"] for row in rows} == {"de": 3, "fr": 2, None: 1}


def test_column_that_may_be_either_is_left_alone_with_a_sentence(tmp_path: Path) -> None:
    url = table_with(tmp_path, "energy", pa.array([0.5, 1.5, 0.5, 0.5, 0.5, 0.5]))
    before = DeltaTable(url).to_pyarrow_table()["energy"].to_pylist()
    with pytest.raises(MissionControlError, match="error_aggregates has a column 'energy' of type double, which this"):
        maintenance.maintain(str(tmp_path), now=lambda: LATER)
    assert DeltaTable(url).to_pyarrow_table()["energy"].to_pylist() == before


def test_table_without_one_of_its_keys_is_refused_with_a_sentence(tmp_path: Path) -> None:
    rows = fine_rows(crash_ping(1)).drop_columns(["country"])
    write_deltalake(table_url(str(tmp_path), FINE), rows, partition_by=["submission_date"], name=FINE.name)
    with pytest.raises(MissionControlError, match="lacks the column 'country'"):
        open_writers(str(tmp_path))


# ---------- a dimension ----------
BY_LOCALE = """
from datetime import date
from deltalake import DeltaTable
import missioncontrol_nb as mc
from streaming import contract
from streaming.dataset.day_sums import day_sums
from streaming.dataset.writer import open_writers
from streaming.storage.locations import table_url

def by_locale(**filters):
    rows = mc.load({dataset!r}, every=None, by="locale", measures="main_crashes", **filters)
    return dict(zip(rows["locale"], rows["count"].tolist()))

def of_day():
    delta = DeltaTable(table_url({dataset!r}, contract.ERROR_AGGREGATES))
    return day_sums(delta, contract.ERROR_AGGREGATES, date(2017, 10, 2)).to_pylist()
"""


def in_language(minute: int, locale: str) -> bytes:
    system = {"os": {"name": "Windows_NT", "version": "10.0"}}
    return main_ping(minute, environment={"system": system, "settings": {"locale": locale}})


def test_dataset_that_exists_takes_a_dimension_that_was_declared_later(tmp_path: Path) -> None:
    dataset = str(tmp_path)
    append(dataset, "older", [[in_language(minute, "de")] for minute in range(3)])
    begin = BY_LOCALE.format(dataset=dataset)
    run(WITH_LOCALE, f"""{begin}
assert by_locale() == {{"??": 3}}, "of rows from before nobody knows"
assert by_locale(locale="de") == {{}}
assert {{row["locale"] for row in of_day()}} == {{None}}, "a backfill that changes nothing reads it so too"
append({dataset!r}, "newer", {[[in_language(minute, language)] for minute, language in ((10, "de"), (11, "fr"))]!r})
assert by_locale() == {{"??": 3, "de": 1, "fr": 1}}
assert by_locale(locale=["fr", "??"]) == {{"??": 3, "fr": 1}}
maintain({dataset!r}, now=lambda: datetime(2017, 10, 5, tzinfo=UTC))
assert by_locale() == {{"??": 3, "de": 1, "fr": 1}}
""")  # fmt: skip
    assert "locale" in columns(tmp_path)
    append(dataset, "older", [[in_language(20, "de")]], first=3)
    maintenance.maintain(dataset, now=lambda: LATER)
    run(WITH_LOCALE, f'{begin}\nassert by_locale() == {{"??": 4, "de": 1, "fr": 1}}, "an older version goes on beside"')
    assert mc.load(dataset, every=None)["count"].tolist() == [6]
