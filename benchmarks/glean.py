"""Glean pings: `benchmarks/ingest.py --glean`. How fast they are counted, beside pings of telemetry, on one core.

With `--beside CHECKOUT`, telemetry's pings are also counted by the package of another checkout, such as a git worktree
of an older commit. Both sides take turns in one run; figures are CPU seconds, which neighbours disturb least.
"""

import random
import re
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import median
from uuid import UUID

from ingest import ROOT, THIS, machine, measure, write_files

sys.path.insert(0, str(ROOT))

from missioncontrol_nb.simulator import Bad, Fleet
from missioncontrol_nb.simulator.batches import batches
from missioncontrol_nb.simulator.today import TODAY, calendar_of_today

PINGS = 40_000
MOST_SLOWER = 0.02
_BEGIN = datetime(2026, 7, 25, 12, tzinfo=UTC)


def write_glean(folder: Path, document_type: str) -> None:
    """Glean pings of the simulated fleet of today: those of some minutes, again and again, each as another document."""
    fleet = Fleet(calendar_of_today(), bad=[Bad("153.0", _BEGIN, "main_crashes", 300.0)], era=TODAY)
    mark = f'"document_type":"{document_type}"'.encode()
    played = islice(batches(fleet, _BEGIN, timedelta(minutes=1)), 4)
    samples = [ping for batch in played for ping in batch.documents if mark in ping and b'"ping_info"' in ping]
    document_id, rng = re.compile(rb'("document_id": ?")[^"]*'), random.Random(1)
    with (folder / "pings.jsonl").open("wb") as file:
        for _ in range(PINGS):
            name = str(UUID(int=rng.getrandbits(128))).encode()
            file.write(document_id.sub(lambda found, name=name: found[1] + name, rng.choice(samples), count=1) + b"\n")


def compare(beside: Path | None, repeats: int) -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as name:
        folders = {what: Path(name, what) for what in ("telemetry", "glean crash", "glean baseline")}
        for what, folder in folders.items():
            folder.mkdir()
            if what != "telemetry":
                write_glean(folder, what.split()[1])
        write_files(folders["telemetry"], 0.0)
        runs: dict[tuple[str, Path], list[dict[str, float]]] = {(what, ROOT): [] for what in folders}
        if beside is not None:
            runs["telemetry", beside.resolve()] = []
        for _ in range(repeats):
            for (what, root), figures in runs.items():
                figures.append(measure(THIS, "counting", 1, root, folder=folders[what]))
    print(machine())
    print(f"{'':46}{'pings/s':>9}{'us a ping':>11}{'kB a ping':>11}{'not counted':>13}  spread of us")
    for (what, root), figures in runs.items():
        each = [run["seconds"] / run["pings"] * 1e6 for run in figures]
        label = what if root == ROOT else f"{what}, beside ({root.name})"
        size, share = figures[0]["bytes"] / figures[0]["pings"] / 1e3, figures[0]["rejected"] / figures[0]["pings"]
        print(
            f"{label:<46}{1e6 / median(each):>9,.0f}{median(each):>11.1f}{size:>11.1f}{share:>13.2%}"
            f"  {min(each):.1f} to {max(each):.1f}"
        )
    if beside is not None:
        pairs = zip(runs["telemetry", ROOT], runs["telemetry", beside.resolve()], strict=True)
        slower = median(ours["seconds"] / theirs["seconds"] for ours, theirs in pairs) - 1
        met = "meets" if slower <= MOST_SLOWER else "misses"
        print(
            f"\ntelemetry takes {slower:+.1%} of CPU time beside {beside.name}: {met} the limit of {MOST_SLOWER:+.0%}"
        )
