"""Starts the kernels of pages as forks of one process that has already imported what every page needs.

Each kernel then saves the time and the memory of these imports, see `docs/adr/0018-pages-share.md`. Linux only; the
server starts kernels as Jupyter does where this is not available.
"""

import contextlib
import errno
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def _has_pidfds() -> bool:
    """Whether this system has pidfds; Python may know them where the kernel is older than 5.3 or a sandbox does not."""
    try:
        descriptor = os.pidfd_open(os.getpid())
        signal.pidfd_send_signal(descriptor, 0)
        os.close(descriptor)
    except (AttributeError, OSError):
        return False
    return sys.platform == "linux"


IS_AVAILABLE = _has_pidfds()
# What a page imports; all are modules that start no thread that a fork would miss, and open nothing.
PRELOADED = (
    *("ipykernel.ipkernel", "ipykernel.kernelapp", "ipykernel.zmqshell", "pdb"),
    *("missioncontrol_nb.dashboard.app", "missioncontrol_nb.dashboard.reader", "missioncontrol_nb.charts"),
    *("missioncontrol_nb.loading.dataset", "missioncontrol_nb.releases.sources", "missioncontrol_nb.statistics"),
    *("deltalake", "narwhals._interchange.dataframe", "pandas", "pandas.core.reshape.reshape", "scipy.special"),
    *("pyarrow.compute", "pyarrow.dataset", "pyarrow.pandas_compat"),
)
FORK_SECONDS = 120.0  # the first fork waits for the imports


class ForkServer:
    """The process that kernels are forked from; it is started with the first one, and ends with this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._is_closed = False

    def fork(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], folder: str | None
    ) -> "ForkedProcess":
        """A new process that runs `kernel.main` with these arguments in this folder; blocks for a moment.

        name: for the system's list of processes, 15 characters at most. Raises OSError where no process can be started.
        """
        request = json.dumps([name, list(arguments), dict(environment), folder]).encode() + b"\n"
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                with contextlib.suppress(ConnectionError, TimeoutError):  # it has just ended, or does not go on
                    return self._ask(request)
            self._end()
            self._require_open()
            self._start(environment)
            try:
                self._require_open()  # `close` kills only what has been started when it looks
                return self._ask(request)
            except OSError:
                self._end()  # a late answer would be taken for the answer to the next request
                raise

    def close(self) -> None:
        """Ends the process, for good, also one that is still importing; kernels that still run end with it."""
        self._is_closed = True
        process = self._process
        if process is not None:
            process.kill()  # before the lock, which a fork may hold until it has an answer
        with self._lock:
            self._end()

    def _require_open(self) -> None:
        if self._is_closed:
            raise OSError("no kernel is forked any more: the server is ending")

    def _start(self, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            ours.settimeout(FORK_SECONDS)
            self._channel = ours
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # the server handles Ctrl-C
            )

    def _ask(self, request: bytes) -> "ForkedProcess":
        assert self._channel is not None
        self._channel.sendall(request)
        answer, descriptors, _, _ = socket.recv_fds(self._channel, 1000, 1)
        if not answer:
            raise ConnectionResetError("the process that kernels are forked from has ended")
        if not descriptors:
            if answer.isdigit():  # it was forked, and this process has no room for its descriptor
                os.kill(int(answer), signal.SIGKILL)
                raise OSError(errno.EMFILE, "a kernel could not be forked: too many open files here")
            raise OSError(f"a kernel could not be forked: {answer.decode()}")
        return ForkedProcess(int(answer), descriptors[0])

    def _end(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._channel = self._process = None


class ForkedProcess:
    """A process that the fork server started, with those methods of subprocess.Popen that jupyter_client calls.

    It is not a child of this process, so its exit code is unknown; it counts as 0.
    """

    stdin = stdout = stderr = None

    def __init__(self, pid: int, descriptor: int) -> None:
        """descriptor: a pidfd, which stays this process's even after its pid is used again."""
        self.pid, self.returncode, self._descriptor = pid, None, descriptor
        self._close = weakref.finalize(self, os.close, descriptor)

    returncode: int | None

    def poll(self) -> int | None:
        """0 when it has ended, else None."""
        self._wait(0)
        return self.returncode

    def wait(self) -> int:
        """Waits until it has ended."""
        self._wait(None)
        return 0

    def _wait(self, milliseconds: int | None) -> None:
        if self.returncode is None:
            ended = select.poll()
            ended.register(self._descriptor, select.POLLIN)
            if ended.poll(milliseconds):
                self.returncode = 0
                self._close()

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.send_signal(signal.SIGKILL)


def main() -> None:
    """Answers each request with a fork, until the server closes its end of the channel."""
    from missioncontrol_nb.dashboard.server import kernel
    from missioncontrol_nb.dashboard.warm_up import warm_up

    channel = socket.socket(fileno=int(sys.argv[1]))
    for name in PRELOADED:
        importlib.import_module(name)
    warm_up()
    gc.collect()
    gc.freeze()  # a collection in a kernel would write to all objects, and so copy the memory that kernels share
    parent = os.getpid()
    request = _serve(channel)
    if request is not None:
        _become_kernel(parent, *request)
        kernel.main()


def _serve(channel: socket.socket) -> Any:
    """Forks for each request. Returns the request in the fork, and None in this process once there are no more."""
    signal.signal(signal.SIGCHLD, _reap)
    with channel, channel.makefile("rb") as requests:
        for request in requests:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # a pidfd needs a pid that is not reaped yet
            pid = 0
            try:
                with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # libraries' idle threads
                    pid = os.fork()
                if pid == 0:
                    return json.loads(request)
                descriptor = os.pidfd_open(pid)
            except OSError as error:  # there are too many processes or open files, or too little memory
                if pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                channel.sendall(str(error).encode()[:1000])
            else:
                socket.send_fds(channel, [str(pid).encode()], [descriptor])
                os.close(descriptor)
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    return None


def _reap(*_: Any) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _become_kernel(
    parent: int, name: str, arguments: Sequence[str], environment: Mapping[str, str], folder: str | None
) -> None:
    """Gives a fork what a process that is started on its own has."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if os.getppid() != parent:  # the server has ended: nobody would end this kernel
        os._exit(1)
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)
    os.setsid()
    if folder:
        os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    ends_with_parent = f"--IPKernelApp.parent_handle={parent}"
    sys.argv = ["missioncontrol_nb.dashboard.server.kernel", *arguments, ends_with_parent]


if __name__ == "__main__":
    main()
