"""What processes read for each other: made once for each state of the data, and never wrong."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from missioncontrol_nb.loading import table_cache
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.loading.handles import Handles
from missioncontrol_nb.loading.table_cache import TableCache
from missioncontrol_nb.monitor import DetailRequest, Monitor, NoRelease
from tests.patience import wait_until
from tests.unit.small_dataset import CALENDAR, write

ONE = pa.table({"hours": [1.5, None], "channel": ["beta", "release"]})
OTHER = pa.table({"hours": [2.5]})
ROWS = """
    window            display_version  os_name     usage_hours  main_crashes
    2017-09-25T10:00  55.0             Windows_NT  10           2
    2017-10-02T23:00  55.0.3           Windows_NT  10           3
    2017-10-02T23:00  99.0             Linux       10           3
    2017-10-05T10:00  56.0             Windows_NT  10           4
    2017-10-05T11:05  56.0             Windows_NT  20           1
    2017-10-05T11:05  56.0             Darwin      20           5
"""


def make(table: pa.Table = ONE) -> Callable[[], Mapping[str, pa.Table]]:
    return lambda: {"one": table, "empty": table.slice(0, 0)}


def fail() -> Mapping[str, pa.Table]:
    raise AssertionError("made again")


def test_tables_are_made_once_for_each_state(tmp_path: Path) -> None:
    assert TableCache(tmp_path).get("name", "state 1", make()) == make()()
    found = TableCache(tmp_path).get("name", "state 1", fail)
    assert {name: table.replace_schema_metadata() for name, table in found.items()} == make()()
    assert TableCache(tmp_path).get("name", "state 2", make(OTHER)) == make(OTHER)()
    assert TableCache(tmp_path).get("name", "state 2", fail)["one"].num_rows == 1
    assert TableCache(tmp_path).get("name", "state 1", make()) == make()()


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    "spoil", [damage, lambda path: path.write_bytes(b"x" * 500), lambda path: path.write_bytes(b"")]
)
def test_damaged_file_is_made_anew(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    TableCache(tmp_path).get("name", "state", make())
    spoil(tmp_path / "name.arrow")
    assert TableCache(tmp_path).get("name", "state", make()) == make()()
    TableCache(tmp_path).get("name", "state", fail)


def test_folder_that_is_gone_costs_time_only(tmp_path: Path) -> None:
    assert TableCache(tmp_path / "gone").get("name", "state", make()) == make()()


def test_of_two_that_need_the_same_one_makes_it(tmp_path: Path) -> None:
    is_making, may_end, made = threading.Event(), threading.Event(), []

    def make_slowly() -> Mapping[str, pa.Table]:
        made.append(threading.current_thread())
        is_making.set()
        assert may_end.wait(60)
        return make()()

    def get() -> None:
        TableCache(tmp_path).get("name", "state", make_slowly)

    both = [threading.Thread(target=get) for _ in range(2)]
    both[0].start()
    wait_until(is_making.is_set)
    both[1].start()
    may_end.set()
    for each in both:
        each.join()
    assert made == both[:1]


def test_one_that_takes_too_long_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_cache, "WAIT_SECONDS", 0.1)

    def take_long() -> Mapping[str, pa.Table]:
        assert TableCache(tmp_path).get("name", "state", make()) == make()()
        return make()()

    TableCache(tmp_path).get("name", "state", take_long)


def test_folder_that_is_gone_when_it_is_tidied_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_cache, "TIDY_SECONDS", -1.0)
    (tmp_path / "shared").mkdir()
    cache = TableCache(tmp_path / "shared")
    (tmp_path / "shared").rmdir()
    assert cache.get("name", "state", make()) == make()()


def test_unused_files_go_and_so_do_the_oldest_of_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = TableCache(tmp_path)
    for number in range(4):
        cache.get(f"name {number}", "state", make())
    size = (tmp_path / "name 0.arrow").stat().st_size
    for number, age in enumerate((7200, 30, 20, 10)):
        used = time.time() - age
        os.utime(tmp_path / f"name {number}.arrow", (used, used))
    cache.get("name 1", "state", fail)  # used again
    monkeypatch.setattr(table_cache, "MOST_BYTES", 2 * size)
    cache.tidy()
    assert sorted(path.name for path in tmp_path.glob("*.arrow")) == ["name 1.arrow", "name 3.arrow"]


def summaries(monitor: Monitor) -> list[str]:
    """What a monitor says, as text: missing values are equal then."""
    monitor.refresh()
    shown = [monitor.table("release", os_name) for os_name in ("Windows_NT", "Darwin", "Linux")]
    detail = monitor.detail("release", "Windows_NT", "main_crashes", DetailRequest())
    windows = [] if isinstance(detail, NoRelease) else [detail.windows.to_csv()]
    return [*map(repr, (monitor.overview(), *shown, detail)), *windows]


def test_pages_show_the_same_with_and_without_each_other_s_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, shared = tmp_path / "dataset", tmp_path / "shared"
    dataset.mkdir()
    shared.mkdir()
    write(dataset, ROWS, "2017-10-05T11:20")
    first, second = (Monitor(Dataset(dataset, cache=TableCache(shared)), CALENDAR) for _ in range(2))
    alone = Monitor(Dataset(dataset), CALENDAR)
    expected = summaries(alone)
    assert summaries(first) == expected
    with monkeypatch.context() as patched:
        patched.setattr(Handles, "run", lambda *_: pytest.fail("read again"))
        assert summaries(second) == expected
    everything = Monitor(Dataset(dataset, cache=TableCache(shared)), CALENDAR, official=False)
    assert summaries(everything) == summaries(Monitor(Dataset(dataset), CALENDAR, official=False))
    write(dataset, ROWS.replace("main_crashes", "gpu_crashes"), "2017-10-05T11:25")
    assert summaries(second) == summaries(alone) == summaries(first)


def test_days_are_kept_by_week_and_the_newest_by_itself(tmp_path: Path) -> None:
    """So that all pages ask for the same, whenever they began, and a commit changes one file."""
    dataset, shared = tmp_path / "dataset", tmp_path / "shared"
    dataset.mkdir()
    shared.mkdir()
    days = [f"2017-{day}T10:00  10" for day in ("09-29", "09-30", "10-01", "10-02", "10-03", "10-04")]
    write(dataset, "\n".join(["window  usage_hours", *days]))
    monitor = Monitor(Dataset(dataset, cache=TableCache(shared)), CALENDAR)
    monitor.overview()
    assert weeks(shared) == ["2017-09-29_2017-10-01", "2017-10-02_2017-10-03", "2017-10-04_2017-10-04"]
    before = {path: path.stat().st_mtime_ns for path in shared.glob("2017*.arrow")}
    write(dataset, "window  usage_hours\n2017-10-04T10:05  10")
    monitor.refresh()
    monitor.overview()
    changed = [path.name[:10] for path, written in before.items() if path.stat().st_mtime_ns != written]
    assert changed == ["2017-10-04"]


def weeks(shared: Path) -> list[str]:
    return sorted(path.name[:21] for path in shared.glob("2017*.arrow"))


def test_newest_tables_are_there_whatever_their_state(tmp_path: Path) -> None:
    cache = TableCache(tmp_path)
    assert cache.newest("name") is None
    cache.get("name", "state 1", make())
    state, tables = cache.newest("name")
    assert (state, tables["one"].num_rows, set(tables)) == ("state 1", 2, {"one", "empty"})
