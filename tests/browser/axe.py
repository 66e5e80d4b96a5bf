"""axe-core, which finds what a page withholds from keyboards and screen readers; npm fetches it, for tests alone."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

VERSION = "4.14.1"
FOLDER = Path(__file__).parents[2] / ".cache" / f"axe-{VERSION}"
SCRIPT = FOLDER / "node_modules" / "axe-core" / "axe.min.js"


def script() -> str:
    """The script. Skips the test where npm is missing or cannot fetch it."""
    if not SCRIPT.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("axe-core is fetched by npm, which is not installed")
        FOLDER.mkdir(parents=True, exist_ok=True)
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--silent", "--prefix", str(FOLDER)]
        fetched = subprocess.run([npm, "install", *options, f"axe-core@{VERSION}"], capture_output=True, text=True)
        if not SCRIPT.exists():
            pytest.skip(f"npm could not fetch axe-core: {fetched.stderr.strip()[-200:] or fetched.returncode}")
    return SCRIPT.read_text(encoding="utf-8")


def issues(page: Page) -> list[str]:
    """What all of axe's usual rules, those of good practice too, find on a page: a line for each rule and element."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(script())
    found: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:160]} {node['failureSummary'][:240]}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
