"""Jobs in processes of their own: the command line's program, started as a user starts it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MISSIONCONTROL = [sys.executable, "-c", "from missioncontrol_nb.cli import main; main()"]


def start(source: Path, dataset: Path, *options: str, by_spark: bool = True) -> subprocess.Popen[str]:
    """by_spark: whether Spark counts, or processes of this machine."""
    master = ["--master", "local[2]"] if by_spark else []
    command = [*MISSIONCONTROL, "aggregate", source, "--dataset", dataset, *master, *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
