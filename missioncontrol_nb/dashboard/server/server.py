"""Publishes the dashboard read-only: Voilà on one notebook, with all access closed that Voilà leaves open."""

import logging
import os
import shutil
import signal
import socket
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
from missioncontrol_nb.dashboard.server.connection_limits import (
    MOST_CONNECTIONS_EACH,
    GuardedServer,
    raise_descriptor_limit,
)
from missioncontrol_nb.dashboard.server.handlers import NEEDLESS, AliveHandler, HealthHandler, hardened
from missioncontrol_nb.dashboard.server.kernels import end_kernel
from missioncontrol_nb.dashboard.server.pool import Pool
from missioncontrol_nb.dashboard.server.settings import Settings
from streaming.errors import MissionControlError
from streaming.storage.temporary import short_parent, temporary_folder

HEALTH = "health"
"""Path of the health probe: 200 once a page is ready to be handed out, else 503; it starts no kernel."""
TEND_SECONDS = 1.0  # interval of the maintenance of unreached and preheated pages


def serve(
    settings: Settings,
    hosting: Hosting | None = None,
    *,
    notebook: Path | None = None,
    on_ready: Callable[[str], None] = print,
) -> None:
    """Serves the dashboard until SIGINT or SIGTERM, then ends all kernels and returns.

    `on_ready` is called with the URL when the first page is ready. Raises MissionControlError where the port is taken,
    before anything is started. Call this in the main thread, once per process.
    """
    hosting = hosting or Hosting()
    raise_descriptor_limit()
    sockets = _listening_sockets(hosting.host, hosting.port)
    hosting = replace(hosting, port=sockets[0].getsockname()[1])
    prepend_jupyter_path(SHARE)
    try:
        with temporary_folder("mc-", short_parent()) as folder:
            cache = folder / "cache"
            cache.mkdir()
            os.environ.update(replace(settings, cache=str(cache)).to_environment())
            configuration = configuration_of(hosting, str(folder))
            # Tornado warns of clients' malformed requests, and of Jupyter's timeouts, which are in milliseconds.
            logging.getLogger("tornado.general").setLevel(configuration["Voila"]["log_level"])
            server = Server(config=configuration)
            server.sockets, server.on_ready, server.hosting = sockets, on_ready, hosting
            server.notebook_path = str(notebook or find_notebook())
            server.initialize(argv=[])
            signal.signal(signal.SIGINT, server._handle_signal_stop)
            server.start()
    finally:
        for listening in sockets:
            listening.close()


def _listening_sockets(host: str, port: int) -> list[socket.socket]:
    try:
        return bind_sockets(port, host)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MissionControlError(
            f"cannot listen on {host}:{port} ({reason}); name another port with --port, or 0 for any free one"
        ) from None


class Server(Voila):
    """Voilà on sockets that are already bound, with fewer handlers and an orderly shutdown."""

    sockets: list[socket.socket]
    on_ready: Callable[[str], None]
    hosting: Hosting

    def init_handlers(self) -> list[Any]:
        """The dashboard's own handlers, followed by Voilà's handlers without the unneeded ones."""
        kept = [handler for handler in super().init_handlers() if handler[1] not in NEEDLESS]
        ours = [
            (url_path_join(self.server_url, HEALTH), HealthHandler),
            (url_path_join(self.server_url, r"voila/alive/(\w+-\w+-\w+-\w+-\w+)"), AliveHandler),
        ]
        return ours + [hardened(handler) for handler in kept]

    def listen(self) -> None:
        """Serves until a signal arrives, then ends every kernel."""
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
        """The pool of preheated pages."""
        return Pool(self.kernel_manager, self.log)

    def stop(self) -> None:
        """Ends every kernel, then removes their connection files."""
        run_sync(self.kernel_manager.shutdown_all)(now=True)
        self.kernel_manager.fork_server.close()
        shutil.rmtree(self.connection_dir, ignore_errors=True)

    def ready_pages(self) -> int:
        """How many preheated pages are completely rendered."""
        return self.pool.ready()

    def pooled_pages(self) -> int:
        """How many pages are in the pool, rendered or not."""
        return sum(len(pool) for pool in getattr(self.kernel_manager, "_pools", {}).values())

    def is_full(self) -> bool:
        """Whether there is no place for a further page, not even for a preheated one."""
        return self._pool_size() == 0

    def fit_pool(self) -> None:
        """Sets the size of the pool to the number of free places, at most the configured size."""
        if self.hosting.pool:
            self.kernel_manager.kernel_pools_config = {"default": {"pool_size": self._pool_size()}}

    def _pool_size(self) -> int:
        return max(0, min(self.hosting.pool, self.hosting.most_pages - len(self.app.settings["places"])))

    async def _tend(self) -> None:
        """Ends pages that no browser connected to, and preheats pages for the places that are free."""
        await self.pool.tend()  # first: Voilà cannot end a kernel while the pool has a failed page
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
            with suppress(Exception):  # a failed page is made again, and a visitor sees a message
                await (await item)["task"]
        self.on_ready(self._url(self.ip))
