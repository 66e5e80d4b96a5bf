"""Judges in a process of its own, whose memory is given back at its end: that of a page would keep half a gigabyte."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from missioncontrol_nb.releases.calendar import Calendar
from streaming import contract
from streaming.errors import MissionControlError, shortened

if TYPE_CHECKING:
    import pyarrow as pa

COMMAND = (sys.executable, "-P", "-m", "missioncontrol_nb.judgement.apart")
LONGEST_SECONDS = 600.0
NICE = 3  # pages go first; with 10, verdicts took minutes on a busy machine


def judge_apart(
    dataset: str,
    calendar: Calendar,
    at: datetime | None,
    *,
    product: str = contract.FIREFOX.name,
    all_builds: bool = False,
    storage_options: Mapping[str, str] | None = None,
) -> "Mapping[str, pa.Table]":
    """What `judge_all` gives of a dataset's folder or URL, computed in another process; blocks until that has ended.

    The process ends when this one does. Raises MissionControlError, with its last line, where it fails, and where it
    takes longer than LONGEST_SECONDS.
    """
    with tempfile.TemporaryDirectory(prefix="mc-judge-") as folder:
        if calendar.releases:
            calendar.save(Path(folder) / "releases.json")
        request = {
            "dataset": dataset,
            "folder": folder,
            "at": at.isoformat() if at else None,
            "product": product,
            "all_builds": all_builds,
            "storage_options": dict(storage_options) if storage_options else None,
        }
        _run(json.dumps(request))
        return _read(Path(folder) / "verdicts")


def _run(request: str) -> None:
    """Runs the process. Its input stays open: its end tells the process that nobody waits any more."""
    process = subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    assert process.stdin is not None
    assert process.stderr is not None
    late = threading.Timer(LONGEST_SECONDS, process.kill)
    late.start()
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(request + "\n")
            process.stdin.flush()
        said = process.stderr.read().strip()
        code = process.wait()
    finally:
        late.cancel()
        process.kill()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stderr.close()
    if code:
        reason = shortened(said.splitlines()[-1]) if said else f"exit code {code}"
        raise MissionControlError(f"the releases could not be judged: {reason}")


def _read(folder: Path) -> "Mapping[str, pa.Table]":
    import pyarrow as pa

    return {path.name: pa.ipc.open_stream(path.read_bytes()).read_all() for path in folder.iterdir()}


def main() -> None:
    """Judges what the line on standard input asks for, and writes the tables."""
    import pyarrow as pa

    from missioncontrol_nb.judgement.verdicts import judge_all
    from missioncontrol_nb.loading.dataset import Dataset
    from missioncontrol_nb.releases.sources import load_calendar

    os.nice(NICE)
    request = json.loads(sys.stdin.readline())
    folder = Path(request["folder"])
    threading.Thread(target=_end_with_asker, args=(folder,), daemon=True).start()
    saved = folder / "releases.json"
    releases = load_calendar(saved) if saved.exists() else None  # a product may have no calendar
    dataset = Dataset(request["dataset"], request["storage_options"])
    at = datetime.fromisoformat(request["at"]) if request["at"] else None
    tables = judge_all(dataset, at, product=request["product"], all_builds=request["all_builds"], releases=releases)
    (folder / "verdicts").mkdir()
    for name, table in tables.items():
        with pa.OSFile(str(folder / "verdicts" / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)


def _end_with_asker(folder: Path) -> None:
    """Ends this process when the one that asked has ended, and removes the folder, which nobody else would."""
    while os.read(0, 4096):  # not sys.stdin, whose lock Python needs at its end
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main()
