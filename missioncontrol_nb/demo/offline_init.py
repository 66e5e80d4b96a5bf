"""The first process of a namespace whose network is its loopback: it starts the others there, and they end with it."""

import asyncio
import ctypes
import fcntl
import json
import os
import signal
import socket
import ssl
import struct
import sys
from contextlib import suppress
from typing import Any

_SET_INTERFACE_FLAGS, _IS_UP = 0x8914, 0x1  # SIOCSIFFLAGS and IFF_UP of Linux
_AMBIENT, _CLEAR_ALL = 47, 4  # PR_CAP_AMBIENT and PR_CAP_AMBIENT_CLEAR_ALL of prctl
_CHUNK_BYTES = 1 << 16
_LONGEST_LINE_BYTES = 1 << 26  # an environment has 6 MB at most, and JSON may write a byte of it as six


def bring_loopback_up() -> None:
    """Makes 127.0.0.1 work. Raises OSError without the right to configure this network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_INTERFACE_FLAGS, struct.pack("16sh14x", b"lo", _IS_UP))


def drop_capabilities() -> None:
    """Keeps the rights that configured a user's namespace from the programs that are started in it; root's keep theirs.

    A Firefox of root shows no page when the bounding set is emptied too.
    """
    ctypes.CDLL(None).prctl(_AMBIENT, _CLEAR_ALL, 0, 0, 0)


class Init:
    """Obeys the lines of standard input, each a JSON object, until their end; reports each end of a program by a line.

    {"start": NAME, "command": [...], "environment": {...}, "log": FILE}; {"signal": NAME, "number": 11};
    {"relay": PATH or PORT, "to": PORT, "certificate": FILE or null} passes connections on to a port, TLS unpacked.
    """

    def __init__(self) -> None:
        self._names: dict[int, str] = {}

    async def run(self) -> None:
        """Runs until the end of standard input."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        reader = asyncio.StreamReader(_LONGEST_LINE_BYTES)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        _say(ready=True)
        while line := await reader.readline():
            order = json.loads(line)
            if "start" in order:
                self._start(order["start"], order["command"], order["environment"], order["log"])
            elif "signal" in order:
                for pid in [pid for pid, name in self._names.items() if name == order["signal"]]:
                    os.kill(pid, order["number"])
            else:
                await _relay(order["relay"], order["to"], order["certificate"])

    def _start(self, name: str, command: list[str], environment: dict[str, str], log: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        pid = os.posix_spawn(command[0], command, environment, file_actions=files, setsid=True)
        self._names[pid] = name

    def _reap(self) -> None:
        """Takes note of children that ended; those whose own parent ended before are children of this process."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if name := self._names.pop(ended[0], None):
                    _say(ended=name, code=os.waitstatus_to_exitcode(ended[1]))


async def _relay(at: str | int, to: int, certificate: str | None) -> None:
    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", to)
        except OSError:  # nobody listens there yet
            writer.close()
            return
        await asyncio.gather(_pass_on(reader, other_writer), _pass_on(other_reader, writer))

    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    if isinstance(at, int):
        await asyncio.start_server(on_connection, "127.0.0.1", at, ssl=context)
    else:
        await asyncio.start_unix_server(on_connection, at, ssl=context)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, ssl.SSLError):  # one of the two ends went away
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


def _say(**event: Any) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    bring_loopback_up()
    drop_capabilities()
    asyncio.run(Init().run())
