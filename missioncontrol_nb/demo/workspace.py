"""Checks of a demo's port and topic, and the folder that a demo owns."""

import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from streaming.errors import MissionControlError
from streaming.storage.locks import take_lock
from streaming.storage.temporary import temporary_folder

HOST = "127.0.0.1"
MARKER = ".missioncontrol-demo"
OWN_NAMES = (MARKER, "pings", "dataset", "releases.json", "dashboard.log")


def check_port(port: int) -> None:
    """Raises MissionControlError when a port of this machine cannot be bound; 0 is any free port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise MissionControlError(
                f"port {port} cannot be had ({error.strerror}); name another with --port, or 0 for any free one"
            ) from None


def check_topic(url: str, report: Callable[[str], None]) -> None:
    """Raises MissionControlError where a demo cannot use a topic: the topic must exist and be reachable.

    report: called before the brokers are contacted, which may take half a minute if none answers.
    """
    from streaming.sources.kafka.topic import Topic, is_topic

    if not is_topic(url):
        raise MissionControlError(f"expected --kafka as kafka://HOST:PORT/TOPIC; got {url!r}")
    topic = Topic.of(url, {})
    report(f"Looking for the topic {url} ...")
    topic.require()


@contextmanager
def own_folder(folder: Path | None) -> Iterator[Path]:
    """The demo's folder, empty and locked: the given folder, which is kept, or a temporary folder."""
    if folder is None:
        with temporary_folder("missioncontrol-demo-") as temporary:
            yield temporary
        return
    is_there = folder.is_dir()
    names = {path.name for path in folder.iterdir()} if is_there else set()
    if (folder.exists() and not is_there) or (names and MARKER not in names):
        raise MissionControlError(f"{folder} is not a demo's folder and not empty: name another one with --folder")
    with _marker(folder) as marker:
        _lock(marker, folder)
        for name in names.intersection(OWN_NAMES) - {MARKER}:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield folder


def _marker(folder: Path) -> IO[str]:
    """The open marker file that identifies a demo's folder; the folder is created if necessary."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / MARKER).open("a")
    except OSError as error:
        raise MissionControlError(
            f"the folder {folder} cannot be written ({error.strerror}); name another one with --folder"
        ) from None


def _lock(marker: IO[str], folder: Path) -> None:
    if not take_lock(marker, 0):
        raise MissionControlError(f"another demo runs in {folder}: name another folder, or none")
