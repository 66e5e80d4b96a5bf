"""Glean pings: `benchmarks/ingest.py --glean`. How fast they are counted, beside pings of telemetry, on one core.

With `--beside CHECKOUT`, telemetry's pings are also counted by the package of another checkout, such as a git worktree
of an older commit. Both sides take turns in one run; figures are CPU seconds, which neighbours disturb least.
"""

import json
import random
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from uuid import UUID

from ingest import ROOT, THIS, machine, measure, write_files

sys.path.insert(0, str(ROOT))

from tests.real_pings import GLEAN

PINGS = 40_000
MOST_SLOWER = 0.02
_COUNTRIES = ("DE", "FR", "US", "BR", "IN", "JP", "PL", "GB")


def write_glean(folder: Path, document_type: str) -> None:
    """Glean pings as a real client sent them, from other builds and places, and from more of them."""
    samples = [json.loads(line) for line in GLEAN]
    samples = [
        sample
        for sample in samples
        if sample["metadata"]["document_type"] == document_type
        and (sample.get("normalized_channel") == "esr" or sample["metadata"]["document_namespace"].endswith("reporter"))
        and (document_type == "baseline" or "crash.process_type" in sample["metrics"]["string"])
    ]
    rng, begin = random.Random(1), datetime(2026, 11, 29, tzinfo=UTC)
    with (folder / "pings.jsonl").open("w") as file:
        for number in range(PINGS):
            ping = json.loads(json.dumps(rng.choice(samples)))
            build_id = f"202611{rng.randint(1, 20):02}120000"
            ping["client_info"] |= {"app_build": build_id, "os_version": f"6.{rng.randint(1, 18)}"}
            if document_type == "crash":
                ping["metrics"]["string"]["crash.app_build"] = build_id
            ping["normalized_country_code"] = rng.choice(_COUNTRIES)
            ping["document_id"] = str(UUID(int=rng.getrandbits(128)))
            ping["submission_timestamp"] = f"{begin + timedelta(seconds=number / 100):%Y-%m-%dT%H:%M:%S.%f}Z"
            file.write(json.dumps(ping) + "\n")


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
