"""Debian's cron itself, with a crontab, a user and a mail program of a test's own, which nothing else sees."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.patience import PATIENCE_SECONDS
from tests.schedulers.environments import ROOT

_PACKAGE = ROOT / ".cache" / "schedulers" / "cron"
# Layers above /etc and /usr/sbin that are gone with the process.
_START = """
set -e
mount -t tmpfs tmpfs /run
for each in etc usr/sbin; do
    mkdir -p /run/$each /run/$each.work
    mount -t overlay overlay -o lowerdir=/$each,upperdir=/run/$each,workdir=/run/$each.work /$each
done
mount -t tmpfs tmpfs /var/spool
mkdir -p /var/spool/cron/crontabs /etc/cron.d
rm -f /etc/crontab /etc/cron.d/*
cp {package}/etc/pam.d/cron /etc/pam.d/cron
echo "missioncontrol:x:$(id -u):$(id -g)::/nonexistent:/bin/sh" >>/etc/passwd
echo "missioncontrol:*:20000:0:99999:7:::" >>/etc/shadow
printf '#!/bin/sh\\nexec cat >{mails}/$$\\n' >/usr/sbin/sendmail
chmod 755 /usr/sbin/sendmail
cp {crontab} /etc/cron.d/missioncontrol
chmod 644 /etc/cron.d/missioncontrol
exec {package}/usr/sbin/cron -f
"""
needs_debian = pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("apt-get") or not shutil.which("unshare"), reason="needs root and Debian"
)


def _package() -> Path:
    """The files of Debian's package, which is not installed."""
    if not _PACKAGE.exists():
        unfinished = _PACKAGE.with_name("cron-unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for command in (["apt-get", "update"], ["apt-get", "download", "cron"]):
            subprocess.run(command, cwd=unfinished, check=True, capture_output=True)
        [archive] = unfinished.glob("cron_*.deb")
        subprocess.run(["dpkg", "-x", archive, unfinished], check=True)
        unfinished.rename(_PACKAGE)
    return _PACKAGE


@contextmanager
def debian_cron(crontab: str, folder: Path) -> Iterator[Path]:
    """Runs cron with a crontab whose lines of a fixed minute of every hour, or of every few, come every minute.

    The user missioncontrol is the one who runs this. Gives the folder of mails.
    """
    mails, file = folder / "mails", folder / "crontab"
    mails.mkdir()
    file.write_text(re.sub(r"^\S+ \* \* \* \* ", "* * * * * ", crontab, flags=re.MULTILINE))
    script = _START.format(package=_package(), mails=mails, crontab=file)
    with (folder / "cron.log").open("w") as log:
        process = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdin=subprocess.DEVNULL, stderr=log)
        try:
            yield mails
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)
