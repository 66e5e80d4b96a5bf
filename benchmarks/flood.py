"""What strangers can do to a dataset's rows: pings that are in experiments nobody has heard of, 100 each.

An attack is 12,000 valid pings of 3 kB, 35 MB, which make 1.2 million rows.

    python benchmarks/flood.py                 the job over 1, 2 and 4 attacks beside 20,000 ordinary pings
    python benchmarks/flood.py --attacks 5,20  over as many
    python benchmarks/flood.py --day 24        a day with so many, written by the writer of tables: upkeep, readers
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

ATTACK_PINGS, EXPERIMENTS = 12_000, 100
ORDINARY_PINGS = 20_000
DAY = datetime(2017, 10, 2, tzinfo=UTC)


def ping(number: int, minute: int, experiments: Iterable[str] = ()) -> bytes:
    """A main ping of an hour of use."""
    build = {"version": "56.0", "buildId": "20170926190823", "architecture": "x86-64"}
    system = {"os": {"name": "Windows_NT", "version": f"10.{number % 7}"}}
    document = {
        "type": "main",
        "submission_timestamp": (DAY + timedelta(minutes=minute)).isoformat(),
        "normalized_channel": "release",
        "normalized_app_name": "Firefox",
        "normalized_country_code": ("DE", "FR", "US", "IN")[number % 4],
        "application": {"name": "Firefox", "channel": "release", **build},
        "environment": {"build": build, "system": system, "experiments": dict.fromkeys(experiments, "a")},
        "payload": {"info": {"subsessionLength": 3600}},
    }
    return json.dumps(document).encode()


def attack(number: int) -> Iterator[bytes]:
    """The pings of an attack; no two attacks share a name."""
    for place in range(ATTACK_PINGS):
        yield ping(place, 60 + number % 60, (f"{number:04d}{place:08d}-{each}" for each in range(EXPERIMENTS)))


def ordinary() -> Iterator[bytes]:
    """Pings that are in one of three experiments."""
    for place in range(ORDINARY_PINGS):
        yield ping(place, place % 60, [f"experiment-{place % 3}"])


def write(path: Path, pings: Iterable[bytes]) -> int:
    """Writes a file of pings; its size."""
    with path.open("wb") as file:
        file.writelines(line + b"\n" for line in pings)
    return path.stat().st_size


class Peaks(threading.Thread):
    """The most memory that a process's Python, its Java, and its other children together had, MB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self.most = pid, {"driver": 0, "Java": 0, "workers": 0}

    def run(self) -> None:
        """Looks five times a second until the process is gone."""
        while Path(f"/proc/{self._pid}").exists():
            now = dict.fromkeys(self.most, 0)
            for pid, name, mebibytes in _family(self._pid):
                now["driver" if pid == self._pid else "Java" if name == "java" else "workers"] += mebibytes
            self.most = {what: max(most, now[what]) for what, most in self.most.items()}
            time.sleep(0.2)


def _family(root: int) -> Iterator[tuple[int, str, int]]:
    """The processes below one, itself too: pid, name, MB (a forked worker's shared pages are counted once: PSS)."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, rest = (folder / "stat").read_text().rsplit(")", 1)
        except OSError:
            continue
        parents[int(folder.name)], names[int(folder.name)] = int(rest.split()[1]), name.split("(", 1)[1]
    family = {root}
    while True:
        grown = family | {pid for pid, parent in parents.items() if parent in family}
        if grown == family:
            break
        family = grown
    for pid in family:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        yield pid, names.get(pid, ""), int(rollup.split("Pss:")[1].split()[0]) >> 10


def run_job(attacks: int) -> None:
    """The job over some attacks beside ordinary pings, in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder, dataset = Path(name, "pings"), Path(name, "dataset")
        folder.mkdir()
        size = write(folder / "ordinary.jsonl", ordinary())
        size += sum(write(folder / f"attack{number}.jsonl", attack(number)) for number in range(attacks))
        command = [sys.executable, "-m", "missioncontrol_nb.cli", "aggregate", str(folder), "--dataset", str(dataset)]
        code = f"import sys; from missioncontrol_nb.cli import main; sys.argv[1:] = {command[3:]!r}; main()"
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        peaks = Peaks(process.pid)
        peaks.start()
        said = process.communicate()[1].decode()[-200:]
        seconds = time.monotonic() - began
        cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
        rows, kept, files = held(dataset)
        if process.returncode:
            sys.exit(f"the job ended with exit code {process.returncode}: {said}")
    megabytes = size / 1e6
    print(
        f"{attacks:7} {megabytes:7.0f} {seconds:8.0f} {cpu.ru_utime + cpu.ru_stime:8.0f} {peaks.most['driver']:7} "
        f"{peaks.most['Java']:6} {peaks.most['workers']:8} {rows:11,} {rows / megabytes:8,.0f} {kept / 1e6:7.1f} "
        f"{files:6}",
        flush=True,
    )


def held(dataset: Path) -> tuple[int, int, int]:
    """Rows, bytes and files of all tables."""
    import pyarrow as pa
    from deltalake import DeltaTable

    from streaming import contract

    rows = size = files = 0
    for table in contract.TABLES:
        actions = pa.table(DeltaTable(str(dataset / table.name)).get_add_actions(flatten=True))
        rows += sum(actions["num_records"].to_pylist())
        size += sum(actions["size_bytes"].to_pylist())
        files += len(actions)
    return rows, size, files


def make_day(dataset: Path, attacks: int) -> None:
    """A day of ordinary pings and, at even distances, attacks; as the job would write them."""
    import pyarrow as pa

    from streaming.aggregation.counter import Counter
    from streaming.aggregation.partial_sums import add_up
    from streaming.aggregation.spill import files_of, spilled, with_rows
    from streaming.dataset.writer import open_writers

    writers = open_writers(str(dataset), apps=())
    counter = Counter()
    batch = 0

    def append(documents: Iterable[bytes]) -> None:
        nonlocal batch

        def counted() -> "Iterator[pa.RecordBatch]":
            for document in documents:
                counter.add(document, 0)
                if len(counter) > 50_000:
                    yield counter.partial_sums()
            yield counter.partial_sums()

        sums, files = files_of(add_up(pa.Table.from_batches(spilled(counted(), str(dataset), 0))))
        for writer in writers:
            writer.append(with_rows(sums, files, str(dataset))[writer.table.name], batch, "flood", DAY)
        batch += 1

    for window in range(288):
        append(ping(place, 5 * window, [f"experiment-{place % 3}"]) for place in range(200))
    for number in range(attacks):
        minute = number * 1440 // attacks
        names = ((f"{number:04d}{place:08d}-{each}" for each in range(EXPERIMENTS)) for place in range(ATTACK_PINGS))
        append(ping(place, minute, experiments) for place, experiments in enumerate(names))


WORK = {
    "maintain": "from streaming.dataset.maintenance import maintain; maintain({0!r})",
    "one experiment by hour": "import missioncontrol_nb as mc; mc.load({0!r}, experiment_id='experiment-1')",
    "experiments by branch": "import missioncontrol_nb as mc; mc.load({0!r}, by='experiment_branch')",
    "the overview's sums": "import missioncontrol_nb as mc; mc.load({0!r}, by=('channel', 'version', 'os_name'))",
    "of a country": "import missioncontrol_nb as mc; mc.load({0!r}, country='DE')",
    "all experiments, unfiltered": "import missioncontrol_nb as mc; mc.load({0!r}, by='experiment_id')",
}
MEASURED = """
import resource, sys, time
began = time.monotonic()
said = ""
try:
    exec(sys.argv[1])
except Exception as error:
    said = f"{type(error).__name__}: {error}"
used = resource.getrusage(resource.RUSAGE_SELF)
print(time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss >> 10, said)
"""


def measured(code: str) -> tuple[float, float, int, str]:
    """Seconds, those of CPU, MB at most, and what it failed with."""
    root = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    seconds, cpu, megabytes, said = (done.stdout.strip() + " ").split(" ", 3)
    return float(seconds), float(cpu), int(megabytes), said.strip()


def run_day(attacks: int) -> None:
    """Upkeep and readers of a day with attacks beside the same day without."""
    with tempfile.TemporaryDirectory() as name:
        datasets = {"without": str(Path(name, "without")), "attacked": str(Path(name, "attacked"))}
        make_day(Path(datasets["without"]), 0)
        make_day(Path(datasets["attacked"]), attacks)
        for what, dataset in datasets.items():
            rows, size, files = held(Path(dataset))
            print(f"{what}: {rows:,} rows, {size / 1e6:.1f} MB, {files:,} files")
        print(f"{'':28} {'without: s':>10} {'CPU s':>6} {'MB':>5}   {'attacked: s':>11} {'CPU s':>6} {'MB':>5}")
        for what, code in WORK.items():
            plain, flooded = (measured(code.format(dataset)) for dataset in datasets.values())
            print(
                f"{what:28} {plain[0]:10.2f} {plain[1]:6.1f} {plain[2]:5}   {flooded[0]:11.2f} {flooded[1]:6.1f} "
                f"{flooded[2]:5}   {flooded[3][:150]}",
                flush=True,
            )
        rows, size, files = held(Path(datasets["attacked"]))
        print(f"attacked, tended: {rows:,} rows, {size / 1e6:.1f} MB, {files:,} files")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacks", default="1,2,4", help="how many, one run each, such as 5,20")
    parser.add_argument("--day", type=int, metavar="N", help="a day with N attacks instead")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent.parent))
    if arguments.day is not None:
        run_day(arguments.day)
        return
    print("                                       peak memory, MB                               in the tables")
    print("attacks MB sent  seconds    CPU s  driver   Java  workers        rows rows/MB      MB  files")
    for attacks in map(int, arguments.attacks.split(",")):
        run_job(attacks)


if __name__ == "__main__":
    main()
