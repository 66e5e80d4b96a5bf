"""Finds the Firefox that the tests of real clients drive; as a program, installs one where none is."""

import os
import subprocess
import sys
from pathlib import Path

from missioncontrol_nb.demo.firefox import find_firefox
from streaming.errors import MissionControlError

PACKAGES = ("firefox-esr", "curl", "openssl")


def missing() -> str | None:
    """What must be installed before a Firefox can report to a receiver, in one line; None when all is there."""
    try:
        find_firefox()
    except MissionControlError as error:
        return f"The tests of a real Firefox: {error}. On Debian: apt-get install {' '.join(PACKAGES)}"
    return None


def main() -> int:
    """Installs Debian's packages when root on Debian; elsewhere it says what is missing, and the tests are skipped."""
    if missing() and Path("/etc/debian_version").exists() and os.geteuid() == 0:
        print("No Firefox here: installing one for the tests of real clients", file=sys.stderr)
        quiet = ["-y", "-qq", "--no-install-recommends"]
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", *quiet, *PACKAGES], check=True, stdout=subprocess.DEVNULL)
    if reason := missing():
        print(reason, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
