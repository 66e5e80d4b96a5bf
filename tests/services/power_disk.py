"""The server of the file system of tests.services.power: python -m tests.services.power_disk MOUNT_POINT STATE CAPACITY

It serves until it is unmounted, from the state in a file and back into it. When whoever started it is gone,
its standard input ends, and it unmounts itself.
"""

import errno
import os
import pickle
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from mfusepy import FUSE, FuseOSError, Operations

from tests.services.power import Node


class Disk(Operations):
    use_ns = True

    def __init__(self, root: Node, capacity_bytes: int) -> None:
        self._root, self._capacity_bytes = root, capacity_bytes
        self._handles: dict[int, Node] = {}

    def _find(self, path: str) -> Node:
        node = self._root
        for name in filter(None, path.split("/")):
            if name not in node.names:
                raise FuseOSError(errno.ENOENT)
            node = node.names[name]
        return node

    def _parent(self, path: str) -> tuple[Node, str]:
        above, _, name = path.rpartition("/")
        return self._find(above), name

    def _opened(self, node: Node) -> int:
        number = max(self._handles, default=0) + 1
        self._handles[number] = node
        return number

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        node = self._handles[fh] if fh in self._handles else self._find(path)
        moment = node.modified_ns
        return {
            "st_mode": node.mode, "st_nlink": 2 if node.is_folder else node.links, "st_size": len(node.content),
            "st_uid": os.getuid(), "st_gid": os.getgid(),
            "st_mtime": moment, "st_ctime": moment, "st_atime": moment,
        }  # fmt: skip

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *self._find(path).names]

    def mkdir(self, path: str, mode: int) -> int:
        above, name = self._parent(path)
        above.names[name] = Node(stat.S_IFDIR | mode)
        return 0

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        above, name = self._parent(path)
        above.names[name] = Node(stat.S_IFREG | mode)
        return self._opened(above.names[name])

    def open(self, path: str, flags: int) -> int:
        return self._opened(self._find(path))

    def release(self, path: str, fh: int) -> int:
        self._handles.pop(fh, None)
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(self._handles[fh].content[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        node = self._handles[fh]
        growth = offset + len(data) - len(node.content)
        if growth > 0 and size_of(self._root) + growth > self._capacity_bytes:
            raise FuseOSError(errno.ENOSPC)
        if offset > len(node.content):
            node.content.extend(bytes(offset - len(node.content)))
        node.content[offset : offset + len(data)] = data
        node.modified_ns = time.time_ns()
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        node = self._handles[fh] if fh in self._handles else self._find(path)
        node.content = node.content[:length].ljust(length, b"\0")
        node.modified_ns = time.time_ns()
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._handles[fh].sync()
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self._find(path).sync()
        return 0

    def unlink(self, path: str) -> int:
        above, name = self._parent(path)
        self._find(path).links -= 1
        del above.names[name]
        return 0

    def rmdir(self, path: str) -> int:
        above, name = self._parent(path)
        if self._find(path).names:
            raise FuseOSError(errno.ENOTEMPTY)
        del above.names[name]
        return 0

    def rename(self, old: str, new: str) -> int:
        node, (old_above, old_name), (new_above, new_name) = self._find(old), self._parent(old), self._parent(new)
        if new_name in new_above.names and new_above.names[new_name].names:
            raise FuseOSError(errno.ENOTEMPTY)
        del old_above.names[old_name]
        new_above.names[new_name] = node
        return 0

    def link(self, target: str, source: str) -> int:
        above, name = self._parent(target)
        if name in above.names:
            raise FuseOSError(errno.EEXIST)
        above.names[name] = self._find(source)
        above.names[name].links += 1
        return 0

    def chmod(self, path: str, mode: int) -> int:
        node = self._find(path)
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: Any = None) -> int:
        self._find(path).modified_ns = times[1] if times else time.time_ns()
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        return {"f_bsize": 4096, "f_blocks": 1 << 22, "f_bfree": 1 << 22, "f_bavail": 1 << 22, "f_namemax": 255}


def size_of(node: Node) -> int:
    """The bytes of a file, or of all files in a folder."""
    return len(node.content) + sum(map(size_of, node.names.values()))


def serve(mount_point: Path, state: Path, capacity_bytes: int) -> None:
    """Serves until it is unmounted."""
    root: Node = pickle.loads(state.read_bytes())
    threading.Thread(target=unmount_when_left, args=(mount_point,), daemon=True).start()
    FUSE(
        Disk(root, capacity_bytes),
        str(mount_point),
        foreground=True,
        nothreads=True,
        hard_remove=True,
        fsname="power-cut",
    )
    unfinished = state.with_suffix(".tmp")
    unfinished.write_bytes(pickle.dumps(root))
    unfinished.replace(state)


def unmount_when_left(mount_point: Path) -> None:
    """Unmounts once standard input ends."""
    os.read(0, 1)
    subprocess.run(["fusermount3", "-uz", mount_point], stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    serve(*map(Path, sys.argv[1:3]), int(sys.argv[3]))
