"""What upkeep is for: files, and times to append, open and load, of a dataset that a stream has crumbled.

A simulated fleet's last days are written as a stream would have, a commit of each table at a time; then `missioncontrol
maintain` once. A stream with a commit every 5 seconds makes 17,280 a day. A commit takes longer the more files there
are, which is what the table's line of commits shows, and a day of them without upkeep would take a day; with
`--files-a-commit` one stands for several micro-batches and brings the files of all. Times to open and load are of fresh
processes: medians of `--repeats`.
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import QueryBuilder
from deltalake.transaction import AddAction
from scale_data import write_file
from tqdm import tqdm

from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.simulator import Fleet
from missioncontrol_nb.simulator.history import write_history
from streaming import contract
from streaming.aggregation.partial_sums import by_keys
from streaming.dataset.compaction import TableMaintainer
from streaming.dataset.maintenance import maintain
from streaming.dataset.writer import TableWriter, open_writers

UNTIL = datetime(2017, 10, 16, tzinfo=UTC)
COMMITS_TIMED = 20
STREAMED = (contract.ERROR_AGGREGATES, contract.COARSE_AGGREGATES)
DETAIL = "'2017-10-02', channel='release', every='5min', by='display_version'"
ASKED = {
    "open": "Dataset({0!r}).data_up_to()",
    "detail, 14 days by 5 minutes": f"load({{0!r}}, {DETAIL})",
    "the same of one country": f"load({{0!r}}, {DETAIL}, country='DE')",
    "overview, by hour": "load({0!r}, every='1h', by=['channel', 'os_name', 'display_version'])",
}
_ASK = """
import json, time
from missioncontrol_nb import load
from missioncontrol_nb.loading.dataset import Dataset
import deltalake, pandas, pyarrow
began = time.perf_counter()
QUESTION
seconds = time.perf_counter() - began
print(json.dumps([seconds, int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) / 1024]))
"""


def crumble(whole: str, dataset: str, days: int, commits_a_day: int, files_a_commit: int) -> None:
    """Writes the last days of a dataset's two large tables as a stream of micro-batches, and all before as they are."""
    first = UNTIL - timedelta(days=days)
    source = TableMaintainer(whole, contract.ERROR_AGGREGATES).open()
    writers = {writer.table: writer for writer in open_writers(dataset)}
    before = _rows(source, f"submission_date < DATE '{first.date()}'")
    for table in STREAMED:
        writers[table].append(by_keys(table, before), 0, "history", first)
    batches = (batch for day in range(days) for batch in _batches(source, first + timedelta(days=day), commits_a_day))
    shown = tqdm(batches, total=days * commits_a_day, desc="streaming", leave=False, disable=None)
    steps = iter(shown)
    commits = iter(lambda: list(islice(steps, files_a_commit)), [])
    for number, each in enumerate(commits):
        rows = {table: _new_rows(dataset, table, each) for table in STREAMED}
        append(list(writers.values()), rows, number, "stream")


def _new_rows(dataset: str, table: contract.Table, batches: list[pa.Table]) -> "pa.Table | list[AddAction]":
    """What is to be appended of micro-batches: the rows of one, the files of several."""
    if len(batches) == 1:
        return by_keys(table, batches[0])
    return [write_file(dataset, table, by_keys(table, batch), "snappy") for batch in batches]


def time_appends(dataset: str, app: str) -> float:
    """The median seconds of a commit of no rows to both tables: what a commit takes by the files that are there."""
    nothing = {table: contract.schema(table).empty_table() for table in STREAMED}
    return median(append(open_writers(dataset), nothing, number, app) for number in range(COMMITS_TIMED))


def append(
    writers: list[TableWriter], rows: "dict[contract.Table, pa.Table | list[AddAction]]", number: int, app: str
) -> float:
    """A commit to both tables; its seconds, without those of summing."""
    began = time.perf_counter()
    for writer in writers:
        if writer.table in STREAMED:
            up_to = UNTIL if writer.table is contract.ERROR_AGGREGATES else None
            writer.append(rows[writer.table], number, app, up_to)
    return time.perf_counter() - began


def _batches(source: Any, day: datetime, count: int) -> Iterator[pa.Table]:
    """A day's rows in the order of their windows, in so many parts."""
    rows = _rows(source, f"submission_date = DATE '{day.date()}'")
    for number in range(count):
        start, end = (len(rows) * place // count for place in (number, number + 1))
        yield rows.slice(start, end - start)


def _rows(source: Any, condition: str) -> pa.Table:
    query = f"SELECT * FROM data WHERE {condition} ORDER BY window_start"
    rows = pa.table(QueryBuilder().register("data", source).execute(query).read_all())
    return rows.cast(contract.schema(contract.ERROR_AGGREGATES))


def ask(dataset: str, repeats: int) -> dict[str, tuple[float, float]]:
    """Seconds and MB (greatest resident size) of each question."""
    found = {}
    for name, question in ASKED.items():
        code = _ASK.replace("QUESTION", question.format(dataset))
        said = [
            json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
            for _ in range(repeats)
        ]
        found[name] = (median(seconds for seconds, _ in said), median(size for _, size in said))
    return found


def files_of(dataset: str) -> dict[str, int]:
    """The files of each of the two tables."""
    return {table.name: len(TableMaintainer(dataset, table).files()) for table in STREAMED}


def total(dataset: str) -> int:
    """All pings of the fine table."""
    rows = pa.table(
        QueryBuilder()
        .register("data", TableMaintainer(dataset, STREAMED[0]).open())
        .execute("SELECT count FROM data")
        .read_all()
    )
    return int(pc.sum(rows["count"]).as_py())


def main() -> None:
    """Prints before and after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=14, help="that are streamed, of 30")
    parser.add_argument("--commits-a-day", type=int, default=72, help="micro-batches, each a file a table")
    parser.add_argument("--files-a-commit", type=int, default=1, help="micro-batches that are committed together")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="missioncontrol-upkeep-"))
    try:
        whole, dataset = str(folder / "whole"), str(folder / "dataset")
        write_history(Fleet(load_calendar()), whole, UNTIL, 30)
        crumble(whole, dataset, given.days, given.commits_a_day, given.files_a_commit)
        crumbled = time_appends(dataset, "before")
        files_before, pings, before = files_of(dataset), total(dataset), ask(dataset, given.repeats)
        began = time.perf_counter()
        maintain(dataset)
        upkeep = time.perf_counter() - began
        files_after, after = files_of(dataset), ask(dataset, given.repeats)
        assert total(dataset) == pings
        tidy = time_appends(dataset, "after")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{platform.machine()}, Python {platform.python_version()}, deltalake {version('deltalake')}")
    print(
        f"30 days, the last {given.days} with {given.commits_a_day:,} micro-batches a day; upkeep took {upkeep:.1f} s"
    )
    print(f"{'':<30} {'before':>16} {'after':>16} {'ratio':>7}")
    for name, count in files_before.items():
        print(f"{'files of ' + name:<30} {count:>16,} {files_after[name]:>16,}")
    ms = (crumbled * 1000, tidy * 1000)
    print(f"{'a commit to both':<30} {ms[0]:>13.0f} ms {ms[1]:>13.0f} ms {tidy / crumbled:>7.2f}")
    for name, (seconds, size) in before.items():
        later, size_later = after[name]
        said = f"{name:<30} {seconds:>7.2f} s {size:>4.0f} MB {later:>7.2f} s {size_later:>4.0f} MB"
        print(f"{said} {later / seconds:>7.2f}")


if __name__ == "__main__":
    main()
