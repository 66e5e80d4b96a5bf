"""Publishes the dashboard read-only: Voilà on one notebook, with everything closed that it leaves open."""

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jupyter_core.utils import run_sync
from jupyter_server.utils import url_path_join
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.netutil import bind_sockets
from voila.app import Voila

from missioncontrol_nb.dashboard.server.admission import Places
from missioncontrol_nb.dashboard.server.configuration import (
    SHARE,
    Hosting,
    configuration_of,
    find_notebook,
    prepend_jupyter_path,
)
from missioncontrol_nb.dashboard.server.handlers import NEEDLESS, AliveHandler, HealthHandler, hardened
from missioncontrol_nb.dashboard.server.kernels import end_kernel
from missioncontrol_nb.dashboard.server.limits import MOST_CONNECTIONS_EACH, GuardedServer, raise_descriptor_limit
from missioncontrol_nb.dashboard.server.pool import Pool
from missioncontrol_nb.dashboard.server.settings import Settings
from streaming.errors import MissionControlError

HEALTH = "health"
"""Path of the probe: 200 once a page is ready to be handed out, else 503; it starts no kernel."""
TEND_SECONDS = 1.0  # how often pages that nobody came for, and those that wait, are looked at


def serve(
    settings: Settings,
    hosting: Hosting | None = None,
    *,
    notebook: Path | None = None,
    on_ready: Callable[[str], None] = print,
) -> None:
    """Serves the dashboard until SIGINT or SIGTERM, then ends all kernels and returns.

    `on_ready` is called with the URL when the first page is ready. Raises MissionControlError where the port is taken,
    before anything is started. To be called in the main thread, once a process.
    """
    hosting = hosting or Hosting()
    raise_descriptor_limit()
    sockets = _listening_sockets(hosting.host, hosting.port)
    hosting = replace(hosting, port=sockets[0].getsockname()[1])
    os.environ.update(settings.to_environment())
    prepend_jupyter_path(SHARE)
    folder = tempfile.mkdtemp(prefix="mc-", dir=_short_temporary_folder())
    try:
        server = Server(config=configuration_of(hosting, folder))
        server.sockets, server.on_ready, server.hosting = sockets, on_ready, hosting
        server.notebook_path = str(notebook or find_notebook())
        server.initialize(argv=[])
        signal.signal(signal.SIGINT, server._handle_signal_stop)
        server.start()
    finally:
        for listening in sockets:
            listening.close()
        shutil.rmtree(folder, ignore_errors=True)


def _listening_sockets(host: str, port: int) -> list[socket.socket]:
    try:
        return bind_sockets(port, host)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MissionControlError(
            f"cannot listen on {host}:{port} ({reason}); name another port with --port, or 0 for any free one"
        ) from None


def _short_temporary_folder() -> str | None:
    """Where kernels' sockets fit into the 107 bytes that a socket's path may have."""
    return "/tmp" if len(tempfile.gettempdir()) > 30 and Path("/tmp").is_dir() else None


class Server(Voila):
    """Voilà on sockets that are bound already, with fewer handlers and an orderly end."""

    sockets: list[socket.socket]
    on_ready: Callable[[str], None]
    hosting: Hosting

    def init_handlers(self) -> list[Any]:
        """Voilà's handlers without those that nobody needs, and ours before them."""
        kept = [handler for handler in super().init_handlers() if handler[1] not in NEEDLESS]
        ours = [
            (url_path_join(self.server_url, HEALTH), HealthHandler),
            (url_path_join(self.server_url, r"voila/alive/(\w+-\w+-\w+-\w+-\w+)"), AliveHandler),
        ]
        return ours + [hardened(handler) for handler in kept]

    def listen(self) -> None:
        """Serves until a signal comes, then ends every kernel."""
        server = GuardedServer(
            self.app,
            most_connections_each=None if self.hosting.names else MOST_CONNECTIONS_EACH,
            idle_seconds=self.hosting.idle_seconds,
            unread_seconds=self.hosting.unread_seconds,
        )
        server.add_sockets(self.sockets)
        self.ioloop = IOLoop.current()
        self.ioloop.add_callback(self._announce)
        tending = PeriodicCallback(self._tend, TEND_SECONDS * 1000)
        tending.start()
        try:
            self.ioloop.start()
        finally:
            tending.stop()
            self.stop()

    @cached_property
    def pool(self) -> Pool:
        """The pages that wait for visitors."""
        return Pool(self.kernel_manager, self.log)

    def stop(self) -> None:
        """Ends every kernel, then removes their connection files."""
        run_sync(self.kernel_manager.shutdown_all)(now=True)
        shutil.rmtree(self.connection_dir, ignore_errors=True)

    def ready_pages(self) -> int:
        """How many pages wait, rendered, for a visitor."""
        return self.pool.ready()

    def pooled_pages(self) -> int:
        """How many pages wait for a visitor, rendered or not."""
        return sum(len(pool) for pool in getattr(self.kernel_manager, "_pools", {}).values())

    def is_full(self) -> bool:
        """Whether there is no place for a further page, not even for one that waits."""
        return self._pool_size() == 0

    def fit_pool(self) -> None:
        """Keeps pages ready for as many visitors as there are places for."""
        if self.hosting.pool:
            self.kernel_manager.kernel_pools_config = {"default": {"pool_size": self._pool_size()}}

    def _pool_size(self) -> int:
        return max(0, min(self.hosting.pool, self.hosting.most_pages - len(self.app.settings["places"])))

    async def _tend(self) -> None:
        """Ends pages that nobody came for, and makes ready what their places are free for."""
        await self.pool.tend()  # first: Voilà ends no kernel while a page that failed waits
        places: Places = self.app.settings["places"]
        for kernel_id in places.unreached():
            self.log.info("A page that no browser came for is ended")
            await end_kernel(self.kernel_manager, kernel_id)
        places.forget_ended(self.kernel_manager)
        if self.pooled_pages() < self._pool_size() and not self.pool.is_paused:
            self.fit_pool()
            self.kernel_manager.fill_if_needed(notebook_name=self.kernel_manager.notebook_path)

    async def _announce(self) -> None:
        for item in list(self.pool):
            with suppress(Exception):  # one that fails is made anew, and a visitor is told
                await (await item)["task"]
        self.on_ready(self._url(self.ip))
