"""A dataset of Firefox's size: what pages and upkeep cost there, and what the coarse table buys and costs.

14 days of the fine table and 90 of the coarse one are written as upkeep leaves them (one day is drawn, and the others
are like it), and each question is asked in a fresh process. Then an hour as a stream leaves it is tended once, and the
coarse table is appended with each commit, or derived from the hour. `--folder` keeps the days for another run.
"""

import argparse
import json
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
from deltalake import QueryBuilder
from scale_data import UNTIL, Population, write_dataset, write_streamed_hour

from streaming import contract
from streaming.aggregation.partial_sums import by_keys, sum_query
from streaming.dataset.compaction import TableMaintainer
from streaming.dataset.writer import TableWriter
from streaming.storage.locations import table_url

FINE, COARSE = contract.ERROR_AGGREGATES, contract.COARSE_AGGREGATES
DAYS, FINE_DAYS, COMMITS_AN_HOUR, COMMITS_TIMED = 90, 14, 720, 60
HOUR = UNTIL - timedelta(hours=1)
SINCE = UNTIL - timedelta(days=FINE_DAYS)
BY = "by=['channel', 'os_name', 'display_version']"
DETAIL = "channel='release', os_name='Windows_NT', measures=['content_crashes'], by='display_version'"
VERSIONS = "display_version=['56.0', '55.0.3']"
QUESTIONS = {
    "open": "opened.data_up_to()",
    "the overview page": "Monitor(opened).overview()",
    "90 days by day": f"opened.load(every='1d', {BY})",
    "90 days by hour": f"opened.load(every='1h', {BY})",
    "detail, 14 days by 5 min": f"opened.load(since, every='5min', {DETAIL}, {VERSIONS})",
    "of a country, by hour": f"opened.load(since, every='1h', {DETAIL}, {VERSIONS}, country='DE')",
    "of a system's version": f"opened.load(since, every='1h', {DETAIL}, {VERSIONS}, os_version='6.1')",
    "of a country, 5 min": f"opened.load(since, every='5min', {DETAIL}, {VERSIONS}, country='DE')",
    "a country, all versions": "opened.load(since, every='1h', by='display_version', country='DE')",
}
UNSLICED = "opened.load(since, every='1h', measures=['content_crashes'], by='country')"
OVERVIEW = f"opened.load(since, every='1h', {BY})"
_ASK = """
import datetime, json, sys, time
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.loading.handles import Handles
from missioncontrol_nb.monitor import Monitor
import deltalake, pandas, pyarrow

run = Handles.run
Handles.run = lambda self, table, query: (read.add(table.name), run(self, table, query))[1]
read, since = set(), datetime.datetime.fromisoformat(sys.argv[2])
began, cpu = time.perf_counter(), time.process_time()
opened = Dataset(sys.argv[1])
answer = QUESTION
seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
"""
_TEND = """
import datetime, json, sys, time
from streaming.dataset.maintenance import maintain
now = datetime.datetime.fromisoformat(sys.argv[2])
began, cpu = time.perf_counter(), time.process_time()
done = maintain(sys.argv[1], now=lambda: now)
seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
answer, read = {each.table: each.seconds for each in done}, set()
"""
_SAY = """
size = int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) / 1024
said = answer if isinstance(answer, dict) else len(answer) if isinstance(answer, pandas.DataFrame) else 1
print(json.dumps([seconds, cpu, size, sorted(read), said]))
"""


def run(code: str, dataset: str, moment: datetime) -> list[Any]:
    """Seconds, CPU seconds, MB (greatest resident size), tables read, rows of the answer, of a fresh process."""
    command = [sys.executable, "-c", code + _SAY, dataset, moment.isoformat()]
    return list(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))


def ask(dataset: str, question: str, since: datetime, repeats: int) -> list[Any]:
    """The same of a question; the median one of several."""
    answers = [run(_ASK.replace("QUESTION", question), dataset, since) for _ in range(repeats)]
    return sorted(answers, key=lambda answer: float(answer[0]))[repeats // 2]


def files_of(dataset: str, table: contract.Table) -> tuple[int, int, float]:
    """Files, rows and MB of a table."""
    files = TableMaintainer(dataset, table).files()
    return len(files), sum(file.rows for file in files), sum(file.bytes for file in files) / 1e6


def without_coarse(dataset: str, folder: Path) -> str:
    """The same dataset, as it were without its coarse table."""
    fine = folder / "fine"
    fine.mkdir()
    (fine / FINE.name).symlink_to(table_url(dataset, FINE))
    return str(fine)


def show_questions(dataset: str, folder: Path, repeats: int, *, reads_all: bool) -> None:
    """What is asked of the days; what reads all of the fine table is left out where it would take too long."""
    for table in (FINE, COARSE):
        files, rows, size = files_of(dataset, table)
        print(f"{table.name}: {files:,} files, {rows:,} rows, {size:,.0f} MB")
    print(f"{'':<26} {'seconds':>8} {'CPU s':>7} {'MB':>6} {'rows':>8}  from")
    for name, question in QUESTIONS.items():
        show(name, ask(dataset, question, SINCE, repeats))
    if reads_all:
        show("by country, unsliced", ask(dataset, UNSLICED, SINCE, 1))
        show_overviews(dataset, folder, repeats)


def show_overviews(dataset: str, folder: Path, repeats: int) -> None:
    """The same overview from both tables."""
    coarse = ask(dataset, OVERVIEW, SINCE, repeats)
    show("14 days by hour, coarse", coarse)
    fine = ask(without_coarse(dataset, folder), OVERVIEW, SINCE, 1)
    show("14 days by hour, fine", fine)
    print(f"the coarse table makes this overview {fine[0] / coarse[0]:,.0f} times as fast, "
          f"with {fine[1] / coarse[1]:,.0f} times less CPU, {fine[2] / coarse[2]:.1f} times less memory")  # fmt: skip


def show(name: str, answer: list[Any]) -> None:
    """A line of the table."""
    seconds, cpu, size, read, rows = answer
    print(f"{name:<26} {seconds:>8.2f} {cpu:>7.2f} {size:>6,.0f} {rows:>8,}  {', '.join(read)}", flush=True)


def show_upkeep(population: Population, dataset: str, folder: Path, repeats: int) -> dict[str, float]:
    """An hour of commits, tended once; the latency of an overview of it, before and after, and the upkeep's seconds."""
    streamed = write_streamed_hour(population, dataset, COMMITS_AN_HOUR)
    print(f"\nan hour of {COMMITS_AN_HOUR} commits, {streamed:,} rows as they come")
    before = {table: files_of(dataset, table) for table in (FINE, COARSE)}
    fine = without_coarse(dataset, folder)
    found = {"raw": ask(fine, OVERVIEW, HOUR, repeats)[0]}
    seconds, cpu, size, _, by_table = run(_TEND, dataset, UNTIL + timedelta(minutes=5))
    for table in (FINE, COARSE):
        (files, rows, _), (files_after, rows_after, _) = before[table], files_of(dataset, table)
        print(f"{table.name:<20} {files:>5} -> {files_after:>3} files, {rows:>11,} -> {rows_after:>10,} rows, "
              f"{by_table[table.name]:6.1f} s")  # fmt: skip
    print(f"maintain took {seconds:.1f} s, {cpu:.1f} s CPU, {size:,.0f} MB")
    found |= {"tended": ask(fine, OVERVIEW, HOUR, repeats)[0], "coarse": ask(dataset, OVERVIEW, HOUR, repeats)[0]}
    return found | {"upkeep": cpu * by_table[COARSE.name] / sum(by_table.values())}


def show_coarse_costs(population: Population, dataset: str, folder: Path, found: dict[str, float]) -> None:
    """What the coarse table costs in an hour: appended with each commit, or derived of the hour's fine rows."""
    window, part = population.hours.shape[1] - 1, 12 / COMMITS_AN_HOUR
    batches = [population.table_of(FINE, population.draw(window, part)) for _ in range(COMMITS_TIMED)]
    batches = [batch.cast(contract.schema(FINE)) for batch in batches]
    target = str(folder / "appended")
    writers = {table: TableWriter(target, table) for table in (FINE, COARSE)}
    spent: dict[contract.Table, list[tuple[float, float]]] = {FINE: [], COARSE: []}
    for number, batch in enumerate(batches):
        for table, writer in writers.items():
            began, cpu = time.perf_counter(), cpu_seconds()
            writer.append(by_keys(table, batch) if table is COARSE else batch, number, "scale")
            spent[table].append((time.perf_counter() - began, cpu_seconds() - cpu))
    middle = {table: [median(each) for each in zip(*times, strict=True)] for table, times in spent.items()}
    began, cpu = time.perf_counter(), cpu_seconds()
    fine = TableMaintainer(dataset, FINE).open()
    rows = pa.table(QueryBuilder().register("data", fine).execute(sum_query(COARSE)).read_all())
    TableWriter(str(folder / "derived"), COARSE).append(rows, 0, "scale")
    derived, derived_cpu = time.perf_counter() - began, cpu_seconds() - cpu
    print(f"\na commit of {sum(map(len, batches)) // len(batches):,} fine rows takes {middle[FINE][0] * 1000:.0f} ms, "
          f"its coarse rows {middle[COARSE][0] * 1000:.0f} ms more")  # fmt: skip
    appended = middle[COARSE][1] * COMMITS_AN_HOUR
    print(f"{'coarse table':<14} {'CPU s an hour':>14} {'at once, s':>11} {'overview of the newest hour, s':>31}")
    said = f"{found['coarse']:.2f}"
    print(f"{'appended':<14} {appended + found['upkeep']:>14.1f} {middle[COARSE][0]:>11.3f} {said:>31}")
    said = f"{found['raw']:.2f} as it came, {found['tended']:.2f} tended"
    print(f"{'derived':<14} {derived_cpu:>14.1f} {derived:>11.3f} {said:>31}")
    print(f"of the appended one's, {found['upkeep']:.1f} s is its upkeep")


def cpu_seconds() -> float:
    """CPU seconds of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Writes the days, asks, tends an hour, and compares the two ways to the coarse table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows-a-window", type=int, default=100_000, help="of the fine table, on average")
    parser.add_argument("--hour-rows-a-window", type=int, help="the same of the hour that is tended")
    parser.add_argument("--folder", help="where the days stay; those that are there are asked as they are")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip-unsliced", action="store_true", help="no question that reads all of the fine table")
    parser.add_argument("--skip-days", action="store_true", help="only the hour")
    given = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, deltalake {version('deltalake')}")
    folder = Path(tempfile.mkdtemp(prefix="missioncontrol-scale-"))
    try:
        if not given.skip_days:
            dataset = given.folder or str(folder / "days")
            if not Path(dataset).exists():
                began = time.perf_counter()
                write_dataset(dataset, given.rows_a_window, DAYS, FINE_DAYS)
                print(f"written in {time.perf_counter() - began:.0f} s")
            (folder / "asked").mkdir()
            show_questions(dataset, folder / "asked", given.repeats, reads_all=not given.skip_unsliced)
        (folder / "hour").mkdir()
        hour = str(folder / "hour" / "dataset")
        population = Population(given.hour_rows_a_window or given.rows_a_window, 1, 1)
        found = show_upkeep(population, hour, folder / "hour", given.repeats)
        show_coarse_costs(population, hour, folder, found)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
