"""Upkeep of a dataset: fewer files, the same sums, whatever is appended meanwhile."""

import json
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable, write_deltalake

from missioncontrol_nb.cli import group
from missioncontrol_nb.loading.dataset import Dataset
from streaming import contract
from streaming.aggregation.counter import Counter
from streaming.aggregation.partial_sums import rows_of
from streaming.dataset import compaction, compaction_plan, maintenance
from streaming.dataset.compaction import MaintainSettings, TableMaintainer
from streaming.dataset.compaction_plan import DataFile, Span, due_spans
from streaming.dataset.writer import TableWriter, open_writers, sync_tables
from streaming.errors import MissionControlError
from streaming.storage.locations import table_url
from tests.spark.small_pings import crash_ping, dataset_sums, main_ping
from tests.unit.streamed_dataset import LATER, NOW

DAY = datetime(2017, 10, 2, tzinfo=UTC)


class Stream:
    """Appends pings to a dataset as a job does, a micro-batch at a time; batches: what it has appended already."""

    def __init__(self, folder: Path, batches: int = 0) -> None:
        self._writers = open_writers(str(folder))
        self._batch = batches

    def append(self, *documents: bytes) -> None:
        counter = Counter()
        for document in documents:
            counter.add(document, 0)
        sums = pa.Table.from_batches([counter.partial_sums()])
        for writer in self._writers:
            up_to = NOW if writer.table is contract.ERROR_AGGREGATES else None
            writer.append(rows_of(writer.table, sums), self._batch, "stream", up_to)
        self._batch += 1


@pytest.fixture(scope="module")
def ninety_batches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 90 micro-batches: all of 14:00 to 15:00, and of 15:00 to 15:30."""
    folder = tmp_path_factory.mktemp("ninety")
    stream = Stream(folder)
    for minute in range(90):
        stream.append(crash_ping(minute), main_ping(minute, country="FR"), b"nonsense")
    return folder


@pytest.fixture
def stream(ninety_batches: Path, tmp_path: Path) -> Stream:
    """The stream of a dataset like ninety_batches."""
    shutil.copytree(ninety_batches, tmp_path, dirs_exist_ok=True)
    return Stream(tmp_path, 90)


def files(folder: Path, table: contract.Table = contract.ERROR_AGGREGATES) -> int:
    return len(DeltaTable(str(folder / table.name)).file_uris())


def test_upkeep_leaves_few_files_and_the_same_sums(stream: Stream, tmp_path: Path) -> None:
    before = dataset_sums(tmp_path)
    done = maintenance.maintain(str(tmp_path), now=lambda: NOW)
    assert dataset_sums(tmp_path) == before
    assert [report.table for report in done] == [table.name for table in contract.TABLES]
    # Of the hour and the four windows that are over one file each, of the two others what is too few to be summed.
    assert files(tmp_path) == 1 + 4 + 10 == done[0].after.files
    assert (done[0].before.files, done[0].before.rows, done[0].spans) == (90, 180, 1 + 4)
    assert done[0].after.rows == 12 * 2 + 4 * 2 + 20
    maintenance.maintain(str(tmp_path), now=lambda: LATER)
    assert dataset_sums(tmp_path) == before
    assert [files(tmp_path, table) for table in contract.TABLES] == [1, 1, 0, 2, 1]


def test_file_is_sorted_by_dimensions_before_time_so_that_a_slice_lies_in_few_row_groups(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "ROW_GROUP_ROWS", 12)
    maintenance.maintain(str(tmp_path), now=lambda: LATER)
    (path,) = DeltaTable(str(tmp_path / contract.ERROR_AGGREGATES.name)).file_uris()
    with pq.ParquetFile(path) as file:
        groups = [file.read_row_group(number, ["country", "window_start"]) for number in range(file.num_row_groups)]
    countries = [set(group["country"].to_pylist()) for group in groups]
    assert [len(group) for group in groups] == [12, 12, 12]
    assert countries == [{"DE"}, {"DE", "FR"}, {"FR"}]
    assert all(group["window_start"].to_pylist() == sorted(group["window_start"].to_pylist()) for group in groups[::2])


def test_upkeep_twice_changes_nothing(stream: Stream, tmp_path: Path) -> None:
    maintenance.maintain(str(tmp_path), now=lambda: LATER)
    versions = [DeltaTable(str(tmp_path / table.name)).version() for table in contract.TABLES]
    again = maintenance.maintain(str(tmp_path), now=lambda: LATER, finds_orphans=False)
    assert [DeltaTable(str(tmp_path / table.name)).version() for table in contract.TABLES] == versions
    assert not any(report.spans or report.removed_files or report.days for report in again)


def test_rows_that_come_while_they_are_summed_stay(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading and writing: once a later row than the span's, once one of it, which makes upkeep begin again."""
    for minute, now in ((85, NOW), (30, LATER)):
        before_writing(monkeypatch, lambda minute=minute: stream.append(crash_ping(minute, country="SE")), 1)
        maintenance.maintain(str(tmp_path), now=lambda now=now: now)
    with_late_ones = [ping for minute in range(90) for ping in (crash_ping(minute), main_ping(minute, country="FR"))]
    fresh = tmp_path / "fresh"
    Stream(fresh).append(
        *with_late_ones, *[b"nonsense"] * 90, crash_ping(30, country="SE"), crash_ping(85, country="SE")
    )
    assert dataset_sums(tmp_path) == dataset_sums(fresh)


def before_writing(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], times: int) -> None:
    """Acts between upkeep's reading and its writing, the first times."""
    left = iter(range(times))

    def act_and_write(*arguments: object, **options: object) -> None:
        if options.get("mode") == "overwrite" and next(left, None) is not None:
            act()
        write_deltalake(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("deltalake.write_deltalake", act_and_write)


def test_span_that_is_appended_to_all_the_time_is_left_for_the_next_round(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_writing(monkeypatch, lambda: stream.append(crash_ping(30)), 1000)
    done = maintenance.maintain(str(tmp_path), now=lambda: NOW)
    assert done[0].spans == 4, "the windows of the next hour that are over"
    count = DeltaTable(str(tmp_path / "error_aggregates")).to_pyarrow_table()["count"]
    # Two tables have such a span, and four windows. Of delays two hours are summed, of rejected pings a day: there a
    # crash adds nothing.
    assert sum(count.to_pylist()) == 180 + 2 * (compaction.COMMIT_ATTEMPTS + 4) + 3


def test_stream_beside_upkeep_loses_nothing(tmp_path: Path) -> None:
    """Two upkeeps and a stream at once."""
    stream, fresh = Stream(tmp_path / "beside"), Stream(tmp_path / "alone")
    stop = threading.Event()
    troubles: list[str] = []

    def tend() -> None:
        while not stop.is_set():
            try:
                maintenance.maintain(str(tmp_path / "beside"), now=lambda: LATER, finds_orphans=False)
            except MissionControlError as error:
                troubles.append(str(error))

    tending = [threading.Thread(target=tend) for _ in range(2)]
    for thread in tending:
        thread.start()
    pings = [crash_ping(minute % 60, country=("DE", "FR")[minute % 2]) for minute in range(60)]
    for ping in pings:
        stream.append(ping, main_ping(5))
    stop.set()
    for thread in tending:
        thread.join()
    fresh.append(*pings, *[main_ping(5)] * 60)
    assert dataset_sums(tmp_path / "beside") == dataset_sums(tmp_path / "alone")
    maintenance.maintain(str(tmp_path / "beside"), now=lambda: LATER)
    assert dataset_sums(tmp_path / "beside") == dataset_sums(tmp_path / "alone")
    assert files(tmp_path / "beside") <= compaction_plan.FEW_FILES


def test_what_is_replaced_stays_for_its_readers_and_goes_later(stream: Stream, tmp_path: Path) -> None:
    reader = Dataset(tmp_path)
    assert reader.load(every=None)["count"].sum() == 180
    parquets = lambda: len(list((tmp_path / "error_aggregates").glob("submission_date=*/*.parquet")))  # noqa: E731
    maintenance.maintain(str(tmp_path), now=lambda: LATER)
    assert parquets() > 90
    assert reader.load(every=None, by="country")["count"].sum() == 180
    TableMaintainer(str(tmp_path), contract.ERROR_AGGREGATES).vacuum(0)
    assert parquets() == 1
    assert reader.load(every=None, by="country")["count"].sum() == 180  # it opens the table anew


def test_replaced_files_stay_for_as_long_as_was_told_last(stream: Stream, tmp_path: Path) -> None:
    def told() -> str | None:
        return DeltaTable(str(tmp_path / "error_aggregates")).metadata().configuration.get(compaction.REMOVED)

    for settings, hours in (
        (None, compaction.KEEP_REMOVED_HOURS),
        (MaintainSettings(keep_removed_hours=48), 48),
        (None, 48),  # as a stream's own upkeep asks
        (MaintainSettings(keep_removed_hours=3), 3),
    ):
        maintenance.maintain(str(tmp_path), settings, now=lambda: NOW, finds_orphans=False)
        assert told() == f"interval {hours + 1} hours"


def test_old_days_go_and_their_coarse_sums_stay(stream: Stream, tmp_path: Path) -> None:
    for day in range(3, 7):
        stream.append(crash_ping(submission_timestamp=f"2017-10-{day:02}T12:00:00Z"))
    done = maintenance.maintain(str(tmp_path), MaintainSettings(keep_days=2, keep_coarse_days=4), now=lambda: LATER)
    by_day = Dataset(tmp_path).load(every="1d", by="country")  # LATER is on the fifth: a sixth would be of the future
    assert list(by_day["window_start"].dt.day) == [4, 5, 6]
    assert list(Dataset(tmp_path).load(every="1d")["window_start"].dt.day) == [2, 3, 4, 5, 6]
    assert done[0].days == [date(2017, 10, 2), date(2017, 10, 3)]
    assert done[1].days == []


def test_newest_submission_outlives_the_log(stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "LOG_MINUTES", 0)
    maintenance.maintain(str(tmp_path), now=lambda: LATER)
    maintainer = TableMaintainer(str(tmp_path), contract.ERROR_AGGREGATES)
    for _ in range(3):
        maintainer.open().alter.set_table_properties({"delta.checkpointInterval": "100"})
    maintainer.open().create_checkpoint()
    maintainer.clean_log()
    assert contract.DATA_UP_TO in maintainer.open().history(1)[0]
    assert Dataset(tmp_path).data_up_to() == NOW
    TableWriter(str(tmp_path), maintainer.table).append(
        contract.schema(maintainer.table).empty_table(), 0, "of no pings"
    )
    assert contract.DATA_UP_TO in maintainer.open().history(1)[0]


def test_log_shortened_under_open_handles_takes_nothing_from_them(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "LOG_MINUTES", 0)
    held = Dataset(tmp_path)
    assert len(held.tables()) == 5
    maintenance.maintain(str(tmp_path), now=lambda: LATER)
    for table in contract.TABLES:
        maintainer = TableMaintainer(str(tmp_path), table)
        assert maintainer.vacuum(0) or table is contract.EXPERIMENT_ERROR_AGGREGATES
        for _ in range(2):  # what was made a checkpoint of is forgotten the next time
            maintainer.clean_log()
        assert len(list(Path(maintainer.url, "_delta_log").glob("*.json"))) <= 2, "the log is short"
    assert held.data_up_to() == Dataset(tmp_path).data_up_to() == NOW
    stream.append(crash_ping(89))
    assert Dataset(tmp_path).load(every="1d", by="country")["count"].sum() == 181
    for file in (tmp_path / contract.ERROR_AGGREGATES.name).glob("submission_date=*/*.parquet"):
        file.unlink()
    assert held.load(every="1d")["count"].sum() == 181, "of the coarse table"


def test_log_stays_short_beside_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "LOG_MINUTES", 0)
    Stream(tmp_path).append(b"nonsense")
    maintenance.maintain(str(tmp_path))
    writer = TableWriter(str(tmp_path), contract.REJECTED_PINGS)
    rows = writer.query("SELECT * FROM data")
    for number in range(205):
        writer.append(rows, number, "other")
        sync_tables([writer])
    commits = list(Path(writer.url, "_delta_log").glob("*.json"))
    assert len(commits) <= 101, "Delta forgets the others whenever it makes a checkpoint"


@pytest.mark.parametrize(
    ("hours_and_rows", "now", "spans"),
    [
        ([(14, 10)] * 5, NOW, [(14, 15)]),
        ([(14, 10)] * 4, NOW, []),
        ([(14, 600_000)] * 9, NOW, []),  # large files
        ([(14, 10)] * 5 + [(9, 10)], LATER, [(0, 24)]),
        ([(14, 400_000)] * 5 + [(9, 400_000)] * 5, LATER, [(9, 10), (14, 15)]),  # too many rows for one sum
        ([(15, 10)] * 5, NOW, [(15, 15 + 5 / 60)]),  # a window that is over, of an hour that is not
        ([(15, 10)] * 4, NOW, []),
        ([(15 + 20 / 60, 10)] * 17, NOW, [(15 + 20 / 60, 15 + 25 / 60)]),  # a window that is going on
        ([(15 + 20 / 60, 10)] * 16, NOW, []),
    ],
)
def test_spans_that_are_due(hours_and_rows, now, spans):
    given = [
        DataFile(DAY.date(), DAY + timedelta(hours=hour), DAY + timedelta(hours=hour), rows, 1000)
        for hour, rows in hours_and_rows
    ]
    in_hours = [
        tuple((moment - DAY) / timedelta(hours=1) for moment in span[:2])
        for span in due_spans(given, now, contract.WINDOW)
    ]
    assert in_hours == [pytest.approx(span) for span in spans]


def test_hour_that_goes_on_is_left_with_more_files_in_a_table_of_hours():
    start, step = DAY + timedelta(hours=15), contract.REPORTING_DELAYS.step
    of_now = [DataFile(DAY.date(), start, start, 10, 1000)] * 17
    assert [span[:2] for span in due_spans(of_now, NOW, step)] == [(start, start + timedelta(hours=1))]
    assert due_spans(of_now[1:], NOW, step) == []
    assert len(due_spans(of_now[1:], NOW, contract.WINDOW)) == 1, "a window's would be over"


def test_large_hours_are_summed_in_portions():
    windows = [DAY + timedelta(hours=14) + number * contract.WINDOW for number in range(12)]
    given = [DataFile(DAY.date(), start, start, 100_000, 1000) for start in windows for _ in range(8)]
    portions = due_spans(given, LATER, contract.WINDOW)
    assert [portion.rows for portion in portions] == [1_600_000] * 6
    assert portions[0].start == windows[0]
    assert [portion.end for portion in portions[:-1]] == [portion.start for portion in portions[1:]]


def test_large_windows_of_few_files_that_are_not_small_are_left_alone() -> None:
    windows = [DAY + number * contract.WINDOW for number in range(12)]
    large = [DataFile(DAY.date(), start, start, 5_000_000, 1) for start in windows for _ in range(2)]
    small = [DataFile(DAY.date(), start, start, 1_000, 1) for start in windows]
    assert not due_spans([*large, *small], LATER, contract.WINDOW)
    assert [span.start for span in due_spans([*large, *small, *small[:1]], LATER, contract.WINDOW)] == windows[:1]


def test_window_of_too_many_rows_is_summed_in_slices_to_the_same_sums(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dataset_sums(tmp_path)
    monkeypatch.setattr(compaction_plan, "MAX_SUMMED_ROWS", 3)
    held = []
    fitted = compaction.fitted

    def noticed(rows: pa.Table, delta: DeltaTable) -> pa.Table:
        held.append(len(rows))
        return fitted(rows, delta)

    monkeypatch.setattr(compaction, "fitted", noticed)
    hour = datetime(2017, 10, 2, 14, tzinfo=UTC)
    maintainer = TableMaintainer(str(tmp_path), contract.ERROR_AGGREGATES)
    assert maintainer.compact(Span(hour, hour + 12 * contract.WINDOW, 60, 120))
    assert len(held) == 64
    assert sum(held) == 24
    assert max(held) < 24
    assert dataset_sums(tmp_path) == before
    [file] = [file for file in maintainer.files() if file.first == hour]
    assert file.rows == 24


def test_command_says_what_it_did(stream: Stream, tmp_path: Path) -> None:
    said = CliRunner().invoke(group, ["maintain", "--dataset", str(tmp_path)])
    assert said.exit_code == 0
    assert said.stdout.splitlines()[0].startswith("error_aggregates: 90 -> 1 file, 180 -> 36 rows, ")
    said = CliRunner().invoke(group, ["maintain", "--dataset", str(tmp_path), "--json"])
    record = json.loads(said.stdout.splitlines()[0])
    assert (record["table"], record["before"]["files"], record["spans"]) == ("error_aggregates", 1, 0)


def test_batch_that_comes_again_is_in_a_table_that_was_made_whole_after_it(tmp_path: Path) -> None:
    """As where a job of before there was a coarse table was killed, and that of today begins."""
    counter = Counter()
    counter.add(crash_ping(), 0)
    sums = pa.Table.from_batches([counter.partial_sums()])
    TableWriter(str(tmp_path), contract.ERROR_AGGREGATES).append(rows_of(contract.ERROR_AGGREGATES, sums), 5, "job")
    for writer in open_writers(str(tmp_path), apps=("job",)):
        writer.append(rows_of(writer.table, sums), 5, "job")
    assert Dataset(tmp_path).load(every=None)["count"].sum() == 1
    assert Dataset(tmp_path).load(every=None, by="country")["count"].sum() == 1


def test_coarse_days_must_not_be_fewer(tmp_path: Path) -> None:
    for settings in (MaintainSettings(keep_coarse_days=9), MaintainSettings(keep_days=10, keep_coarse_days=9)):
        with pytest.raises(MissionControlError, match="expected --keep-coarse-days with --keep-days, and not fewer"):
            maintenance.maintain(str(tmp_path), settings)


def test_folder_without_a_dataset_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(MissionControlError, match="there is no dataset at"):
        maintenance.maintain(str(tmp_path))


def test_table_that_cannot_be_tended_keeps_no_other_one_from_it(stream: Stream, tmp_path: Path) -> None:
    broken = Path(table_url(str(tmp_path), contract.ERROR_AGGREGATES), "_delta_log", f"{90 + 1:020}.json")
    broken.write_text("{")
    with pytest.raises(MissionControlError, match=r"the log of the table .*error_aggregates' is damaged") as said:
        maintenance.maintain(str(tmp_path), now=lambda: LATER)
    assert str(said.value).count("the log of the table") == 1
    assert files(tmp_path, contract.COARSE_AGGREGATES) == 1
    command = CliRunner().invoke(group, ["maintain", "--dataset", str(tmp_path)])
    assert "is damaged" in str(command.exception)
    maintained = [line.partition(":")[0] for line in command.stdout.splitlines()]
    assert maintained == [table.name for table in contract.TABLES if table is not contract.ERROR_AGGREGATES]


def test_trouble_is_told_once_and_outlived(stream: Stream, tmp_path: Path) -> None:
    stop, told, tables = threading.Event(), [], []
    hidden = tmp_path.with_name("hidden")
    tmp_path.rename(hidden)

    def on_failure(notice: str) -> None:
        told.append(notice)
        hidden.rename(tmp_path)

    def on_table(done: compaction.MaintenanceReport) -> None:
        tables.append(done.table)
        stop.set()

    maintenance.follow(str(tmp_path), stop=stop, every_seconds=0.01, on_table=on_table, on_failure=on_failure)
    assert len(told) == 1
    assert tables == [contract.ERROR_AGGREGATES.name]
    assert "tried again: " in told[0]
