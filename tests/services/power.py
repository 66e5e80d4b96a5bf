"""A file system whose power can be cut: what was not synchronised before is lost, all of it or any part of it.

It lives in memory, in a process of its own, mounted by FUSE. It promises as little as POSIX does: fsync of a file makes
its content durable, fsync of a folder makes the names in it durable, and neither does the other's work.
"""

import ctypes.util
import os
import pickle
import random
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.patience import wait_until

ROOT = Path(__file__).parents[2]
DEVICE = Path("/dev/fuse")


def missing() -> str | None:
    """What must be there before such a file system can be mounted, in one line; None when all is."""
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return f"A power cut is simulated by a FUSE file system, and {DEVICE} is not accessible here"
    if not shutil.which("fusermount3") or not ctypes.util.find_library("fuse3"):
        return "A power cut is simulated by a FUSE file system; on Debian: apt-get install fuse3"
    return None


@dataclass(eq=False)
class Node:
    """A file (content) or a folder (names), as it is now and as it was when it was last synchronised."""

    mode: int
    content: bytearray = field(default_factory=bytearray)
    names: "dict[str, Node]" = field(default_factory=dict)
    links: int = 1
    modified_ns: int = field(default_factory=time.time_ns)
    synced_content: bytes = b""
    synced_names: "dict[str, Node]" = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    def sync(self) -> None:
        self.synced_content, self.synced_names = bytes(self.content), dict(self.names)


def after_cut(node: Node, chance: random.Random | None, copies: "dict[int, Node] | None" = None) -> Node:
    """What a disk holds of a file or a folder after a power cut.

    chance: decides for each name and each content that was not synchronised whether it has reached the disk
    nevertheless; None: nothing has.
    """
    copies = {} if copies is None else copies
    if id(node) in copies:
        copies[id(node)].links += 1
        return copies[id(node)]
    copy = copies[id(node)] = Node(node.mode, modified_ns=node.modified_ns)
    content = bytes(node.content) if chance and chance.random() < 0.5 else node.synced_content
    copy.content = bytearray(content)
    for name in sorted({*node.names, *node.synced_names}):
        now, then = node.names.get(name), node.synced_names.get(name)
        kept = now if chance and chance.random() < 0.5 else then
        if kept is not None:
            copy.names[name] = after_cut(kept, chance, copies)
    copy.sync()
    return copy


class PowerCutFolder:
    """A folder on such a file system, mounted while a `with` lasts; it is full at a number of bytes."""

    def __init__(self, mount_point: Path, state: Path, capacity_bytes: int = 1 << 40) -> None:
        self.folder, self._state, self._capacity_bytes = mount_point, state, capacity_bytes
        self._process: subprocess.Popen[bytes] | None = None
        mount_point.mkdir()
        root = Node(stat.S_IFDIR | 0o755)
        state.write_bytes(pickle.dumps(root))

    def __enter__(self) -> "PowerCutFolder":
        self._mount()
        return self

    def __exit__(self, *_: object) -> None:
        self._unmount()

    def cut(self, chance: random.Random | None = None) -> None:
        """Cuts the power and starts again; whatever used the folder must have been killed. chance: see after_cut."""
        self._unmount()
        root = pickle.loads(self._state.read_bytes())
        self._state.write_bytes(pickle.dumps(after_cut(root, chance)))
        self._mount()

    def _mount(self) -> None:
        command = [sys.executable, "-m", "tests.services.power_disk", self.folder, self._state]
        command.append(str(self._capacity_bytes))
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, start_new_session=True)
        wait_until(lambda: os.path.ismount(self.folder))

    def _unmount(self) -> None:
        assert self._process

        def has_ended() -> bool:
            subprocess.run(["fusermount3", "-u", self.folder], stderr=subprocess.DEVNULL)  # refused while it is in use
            return self._process is not None and self._process.poll() is not None

        wait_until(has_ended)
        assert self._process.returncode == 0
        assert self._process.stdin
        self._process.stdin.close()


@contextmanager
def power_cut_folder(folder: Path, capacity_bytes: int = 1 << 40) -> Iterator[PowerCutFolder]:
    """Such a folder, made below a real one."""
    with PowerCutFolder(folder / "disk", folder / "disk.state", capacity_bytes) as disk:
        yield disk


def main() -> int:
    """Installs Debian's package when root on Debian and it is not there; the tests say what is missing otherwise."""
    if DEVICE.exists() and missing() and Path("/etc/debian_version").exists() and os.geteuid() == 0:
        print("No FUSE here: installing it for the tests of power cuts", file=sys.stderr)
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        subprocess.run(["apt-get", "install", "-y", "-qq", "fuse3"], check=False, stdout=subprocess.DEVNULL)
    if reason := missing():
        print(f"Tests of power cuts are skipped. {reason}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
