"""Reads a crontab of /etc/cron.d and runs its lines as Debian's cron does (cron 3.0pl1, crontab(5))."""

import fcntl
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SETTING = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(.*?)\s*$")
_FIELDS = 6  # five of the time, and the user


@dataclass(frozen=True)
class Line:
    """A line of a crontab. settings: those of the lines above it."""

    when: tuple[str, ...]
    user: str
    command: str
    settings: Mapping[str, str]

    def run(self) -> str:
        """Runs it as the user who runs this, and gives what cron would mail.

        The environment is nothing but what cron sets; the shell is sh, in the home folder; after an unescaped % comes
        standard input.
        """
        command, _, given = re.sub(r"(?<!\\)%", "\n", self.command).replace("\\%", "%").partition("\n")
        usual = {"HOME": str(Path.home()), "LOGNAME": self.user, "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
        environment = {**usual, **self.settings, "LOGNAME": self.user}
        done = subprocess.run(
            [environment["SHELL"], "-c", command], input=given, text=True, cwd=environment["HOME"], env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, umask=0o022, close_fds=True,
        )  # fmt: skip
        return done.stdout


def read_crontab(text: str) -> list[Line]:
    """The lines that cron would run."""
    lines: list[Line] = []
    settings: dict[str, str] = {}
    for written in text.splitlines():
        if not written.strip() or written.lstrip().startswith("#"):
            continue
        if found := _SETTING.match(written):
            settings[found[1]] = found[2].strip("\"'")
            continue
        *fields, command = written.split(maxsplit=_FIELDS)
        lines.append(Line(tuple(fields[:5]), fields[5], command, dict(settings)))
    return lines


@contextmanager
def lock_held(file: Path) -> Iterator[None]:
    """Holds the lock that flock(1) takes on a file."""
    with file.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
