"""Finds the Chromium that the browser tests drive; as a program, installs one where none is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find() -> str | None:
    """The path of an installed Chromium, of Playwright's own, or None."""
    installed = next(filter(None, map(shutil.which, NAMES)), None)
    return installed or playwright_chromium()


def playwright_chromium() -> str | None:
    """The path of the Chromium that Playwright downloaded, or None."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def install() -> None:
    """Installs Debian's package when root on Debian, else Playwright's download."""
    if Path("/etc/debian_version").exists() and os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "chromium"], check=True, stdout=subprocess.DEVNULL)
    else:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)


def main() -> int:
    """Makes sure there is one, or says in one line what to install."""
    if find():
        return 0
    print("No Chromium here: installing one for the browser tests", file=sys.stderr)
    reason = "none was found after it"
    try:
        install()
    except (OSError, subprocess.CalledProcessError) as error:
        reason = str(error)
    if find():
        return 0
    print(
        "The browser tests need Chromium: install the package `chromium` (Debian, as root) or Google Chrome; "
        f"installing it from here failed: {reason}",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
