"""How a service is run for a person, until Ctrl-C."""

import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from tests.services.ports import is_free

_Service = TypeVar("_Service")


def run(
    start: Callable[[Path], AbstractContextManager[_Service]],
    folder: Path | None,
    describe: Callable[[_Service], str],
    port: int,
) -> None:
    """Runs a service at a port until Ctrl-C or SIGTERM.

    folder: where it keeps what it holds; None: a new one, removed at the end. describe: what is printed.
    """
    if not is_free(port):
        sys.exit(f"port {port} cannot be had: another server listens there; name another one with --port")
    place = folder or Path(tempfile.mkdtemp(prefix="missioncontrol-service-"))
    try:
        with start(place.absolute()) as service:
            print(describe(service), flush=True)
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        if not folder:
            shutil.rmtree(place, ignore_errors=True)
