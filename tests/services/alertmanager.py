"""A real Alertmanager, built by Go from its module; its pages, which need npm to build, are left out."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.patience import PATIENCE_SECONDS
from tests.services.ports import free_port

ROOT = Path(__file__).parents[2]
MODULE = "github.com/prometheus/alertmanager@v0.35.0"
PROGRAM = ROOT / ".cache" / "alertmanager" / "alertmanager"
_CONFIG = """
route: {receiver: hook, group_by: [channel], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}
receivers: [{name: hook, webhook_configs: [{url: "@URL@", send_resolved: true}]}]
"""


def missing() -> str | None:
    """What must be installed before it can be built here, in one line; None when nothing is."""
    if PROGRAM.exists() or shutil.which("go"):
        return None
    return "Alertmanager needs Go 1.25 or later; on Debian: apt-get install golang-go"


def program() -> Path:
    """The program, built the first time, in a minute or two."""
    if not PROGRAM.exists():
        told = subprocess.run(["go", "mod", "download", "-json", MODULE], check=True, capture_output=True, cwd="/")
        source = PROGRAM.parent / "source"
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(json.loads(told.stdout)["Dir"], source)
        subprocess.run(["chmod", "-R", "u+w", source], check=True)
        page = source / "ui" / "app" / "dist" / "index.html"  # the module embeds what its own build would put here
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("<!doctype html>\n")
        unfinished = PROGRAM.with_name("unfinished")
        subprocess.run(["go", "build", "-o", unfinished, "./cmd/alertmanager"], cwd=source, check=True)
        unfinished.replace(PROGRAM)
        shutil.rmtree(source)
    return PROGRAM


class Alertmanager:
    """An Alertmanager on a free port that notifies a webhook."""

    def __init__(self, folder: Path, webhook: str) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yml").write_text(_CONFIG.replace("@URL@", webhook))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def alerts(self) -> list[Any]:
        """The alerts that are up."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=10) as answer:
            return json.load(answer)

    def __enter__(self) -> Self:
        command = [program(), "--config.file", self.folder / "config.yml", "--storage.path", self.folder / "data"]
        command += ["--web.listen-address", f"127.0.0.1:{self.port}", "--cluster.listen-address="]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=os.environ, start_new_session=True
            )
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self.alerts()
                return self
            except OSError:
                if self._process.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError(f"Alertmanager did not start: see {self.folder / 'server.log'}") from None
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        assert self._process
        self._process.terminate()
        self._process.wait(10)
