"""Jobs in processes of their own: the command line's program, started as a user starts it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MISSIONCONTROL = [sys.executable, "-c", "from missioncontrol_nb.cli import main; main()"]


def start(source: Path, dataset: Path, *options: str) -> subprocess.Popen[str]:
    command = [*MISSIONCONTROL, "aggregate", source, "--dataset", dataset, "--master", "local[2]", *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
