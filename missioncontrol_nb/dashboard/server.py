"""Publishes the dashboard read-only: Voilà on one notebook, with everything closed that it leaves open."""

import asyncio
import logging
import os
import queue
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import tornado.web
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_core.utils import ensure_async, run_sync
from jupyter_server.auth.login import LoginFormHandler
from jupyter_server.auth.logout import LogoutHandler
from jupyter_server.base.handlers import APIHandler, FileFindHandler, JupyterHandler
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from jupyter_server.utils import url_path_join
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from traitlets.config import Config
from voila.app import Voila
from voila.request_info_handler import RequestInfoSocketHandler
from voila.static_file_handler import TemplateStaticFileHandler
from voila.tornado.handler import TornadoVoilaHandler
from voila.tornado.kernel_websocket_handler import VoilaKernelWebsocketHandler
from voila.voila_identity_provider import VoilaLoginHandler

from missioncontrol_nb.dashboard.limits import (
    HEADERS,
    IDLE_SECONDS,
    MOST_BODY_BYTES,
    MOST_CONNECTIONS_EACH,
    UNREAD_SECONDS,
    GuardedServer,
    PlainErrors,
    has_spare_descriptors,
    is_navigation,
    raise_descriptor_limit,
    visitor_of,
)
from missioncontrol_nb.dashboard.places import Place, Places, TooManyPagesError
from missioncontrol_nb.dashboard.pool import Pool
from missioncontrol_nb.dashboard.settings import Settings, kernel_environment
from missioncontrol_nb.dashboard.websocket import KernelSocketHandler, QuietConnection, Sockets
from streaming.errors import MissionControlError

PACKAGE = Path(__file__).parents[1]
SHARE = PACKAGE / "share" / "jupyter"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
HEALTH = "health"
"""Path of the probe: 200 once a page is ready to be handed out, else 503; it starts no kernel."""

LABEXTENSIONS = ["@voila-dashboards/widgets-manager8", "@jupyter-widgets/jupyterlab-manager", "anywidget"]
STILL = re.compile(r"<!--still ([\w-]+)-->")  # where the template wants the page as the kernel shows it
FIRST_SIGHT_SECONDS = 2.0  # without an answer until then the page comes without
PHONE_WIDTH, DESKTOP_WIDTH = 390, 1280  # CSS pixels, until the browser says its own
UNREACHED_SECONDS = 25.0  # a page that no browser has connected to, or asked about, by then is ended
FILL_AFTER_SECONDS = 5.0  # the next kernel starts when the page just handed out has been drawn, not beside it
TEND_SECONDS = 1.0  # how often pages that nobody came for, and those that wait, are looked at


def find_notebook(name: str = "dashboard") -> Path:
    """The path of a notebook that comes along: in the wheel within the package, in a checkout beside it."""
    places = [PACKAGE / "notebooks", PACKAGE.parent / "notebooks"]
    for folder in places:
        if (folder / f"{name}.ipynb").is_file():
            return folder / f"{name}.ipynb"
    raise MissionControlError(f"no notebook {name!r} in {' or '.join(map(str, places))}; install the package anew")


@dataclass(frozen=True)
class Hosting:
    """Where and how pages are served.

    `pool`: pages kept ready. `names`: further host names under which a proxy reaches this server. `most_pages`: more
    than these at once are turned away, and more than `most_pages_each` of one address (None: half of all, at least 2).
    A page that no browser has connected to is ended `unreached_seconds` after one last asked whether it lives. A
    kernel that no browser is connected to any more is ended `cull_after_seconds` after it last said
    anything; this is looked at every `cull_every_seconds`. A request must be complete after `idle_seconds`, and an
    answer that a client takes nothing of is given up after `unread_seconds`.
    """

    host: str = "127.0.0.1"
    port: int = 8866
    pool: int = 2
    base_url: str = "/"
    names: tuple[str, ...] = ()
    most_pages: int = 100
    most_pages_each: int | None = None
    unreached_seconds: float = UNREACHED_SECONDS
    cull_after_seconds: int = 120
    cull_every_seconds: int = 30
    idle_seconds: float = IDLE_SECONDS
    unread_seconds: float = UNREAD_SECONDS
    verbose: bool = False

    @property
    def most_pages_of_one(self) -> int:
        """How many pages one address may have open."""
        return self.most_pages_each or max(2, self.most_pages // 2)


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
    _prepend_jupyter_path(SHARE)
    folder = tempfile.mkdtemp(prefix="mc-", dir=_short_temporary_folder())
    try:
        server = Server(config=_configuration(hosting, folder))
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


def _prepend_jupyter_path(folder: Path) -> None:
    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = os.pathsep.join([str(folder), before] if before else [str(folder)])


def _short_temporary_folder() -> str | None:
    """Where kernels' sockets fit into the 107 bytes that a socket's path may have."""
    return "/tmp" if len(tempfile.gettempdir()) > 30 and Path("/tmp").is_dir() else None


def _configuration(hosting: Hosting, folder: str) -> Config:
    voila = {
        "ip": hosting.host,
        "port": hosting.port,
        "port_retries": 0,
        "base_url": url_path_join("/", hosting.base_url, "/"),
        "open_browser": False,
        "config_file_paths": [],
        "connection_dir_root": folder,
        "log_level": logging.INFO if hosting.verbose else logging.ERROR,
        "kernel_websocket_connection_class": QuietConnection,
        "tornado_settings": {
            "headers": HEADERS,
            "allow_remote_access": hosting.host not in LOOPBACK and not hosting.names,
            "local_hostnames": ["localhost", *hosting.names],
            "is_behind_proxy": bool(hosting.names),
            "places": Places(hosting.most_pages, hosting.most_pages_of_one, hosting.unreached_seconds),
            "websocket_max_message_size": MOST_BODY_BYTES,
            "default_handler_class": NowhereHandler,
            "xsrf_cookie_kwargs": {"samesite": "Strict"},
        },
    }
    page = {
        "template": "missioncontrol",
        "allow_template_override": "NO",
        "allow_theme_override": "NO",
        "file_allowlist": [],
        "show_tracebacks": False,
        "extension_allowlist": LABEXTENSIONS,
        "extension_denylist": [],
        "preheat_kernel": hosting.pool > 0,
        "default_pool_size": min(hosting.pool, hosting.most_pages),
        "multi_kernel_manager_class": PatientKernelManager,
        "kernel_spec_manager_class": OwnKernelSpecManager,
    }
    kernels = {
        "buffer_offline_messages": False,
        "cull_busy": True,
        "cull_idle_timeout": hosting.cull_after_seconds,
        "cull_interval": hosting.cull_every_seconds,
    }
    kernel = {"transport": "ipc", "autorestart": False, "shutdown_wait_time": 2.0}
    sections = {
        "Voila": voila,
        "VoilaConfiguration": page,
        "MappingKernelManager": kernels,
        "KernelManager": kernel,
        "VoilaKernelManager": {"fill_delay": FILL_AFTER_SECONDS},
        "IdentityProvider": {"cookie_options": {"samesite": "Lax"}},
        "NotebookNotary": {"db_file": ":memory:", "secret": os.urandom(32)},  # else it writes both to the home folder
    }
    return Config(sections)


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
        return ours + [_hardened(handler) for handler in kept]

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


async def end_kernel(manager: Any, kernel_id: str) -> None:
    """Ends a kernel, unless it has ended meanwhile; one that cannot be ended is logged."""
    try:
        with suppress(KeyError, tornado.web.HTTPError):
            await ensure_async(manager.shutdown_kernel(kernel_id, now=True))
    except (Exception, asyncio.CancelledError):  # Voilà asks every waiting page first, also one that was cancelled
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        manager.log.exception("A kernel could not be ended")


# Requests' URLs are kept for these by Voilà; there is no log-in.
NEEDLESS = (RequestInfoSocketHandler, LoginFormHandler, VoilaLoginHandler, LogoutHandler)


def _hardened(handler: tuple[Any, ...]) -> tuple[Any, ...]:
    path, kind, *rest = handler
    if kind is TornadoVoilaHandler:
        return (path, LimitedPageHandler, *rest)
    if kind is VoilaKernelWebsocketHandler:
        return (path, KernelSocketHandler, {"sockets": Sockets()})
    if kind is FileFindHandler:
        return (path, ExtensionFileHandler, *rest)
    if kind is TemplateStaticFileHandler:
        return (path, TemplateFileHandler, *rest)
    if issubclass(kind, APIHandler):  # whose errors are JSON
        return handler
    return (path, type(f"Own{kind.__name__}", (PlainErrors, kind), {}), *rest)


class NowhereHandler(PlainErrors, tornado.web.RequestHandler):
    """404, for paths outside of the base URL."""

    def prepare(self) -> None:
        """Called for each request."""
        raise tornado.web.HTTPError(404)


class TemplateFileHandler(PlainErrors, TemplateStaticFileHandler):
    """Files of a template: TEMPLATE/static/PATH, and 404 for any other path."""

    def parse_url_path(self, url_path: str) -> str:
        """Called with what the URL says after voila/templates/."""
        if not re.fullmatch(r"[\w-]+/static/.+", url_path):
            raise tornado.web.HTTPError(404)
        return super().parse_url_path(url_path)


class ExtensionFileHandler(PlainErrors, FileFindHandler):
    """What pages load of extensions: their static files, not which versions they are."""

    def parse_url_path(self, url_path: str) -> str:
        """Called with what the URL says after voila/labextensions/."""
        if "/static/" not in url_path:
            raise tornado.web.HTTPError(404)
        return super().parse_url_path(url_path)


class LimitedPageHandler(PlainErrors, TornadoVoilaHandler):
    """A page, as long as there are not too many."""

    async def get(self, path: str | None = None) -> None:
        """Answers with the page; 404 for any other path, 403 where nobody looks at it, 503 where there are too many."""
        if path:
            raise tornado.web.HTTPError(404)
        if not is_navigation(self.request):
            raise tornado.web.HTTPError(403, reason="A page is opened in a window of its own")
        place, ending = self._take_place()
        try:
            await self._make_room(ending)
            await self._write_page(place)
        finally:
            self._places.hand_out(place)
            RequestInfoSocketHandler._cache.clear()  # else Voilà keeps every visit's URL there
        self.settings["voila"].log.info("Page handed out")

    @property
    def _places(self) -> Places:
        return self.settings["places"]

    def _take_place(self) -> tuple[Place, str | None]:
        if not has_spare_descriptors():
            raise tornado.web.HTTPError(503, reason="Too many connections are open, try again later")
        client = visitor_of(self.request, self.settings["is_behind_proxy"])
        try:
            return self._places.take(client, self.kernel_manager)
        except TooManyPagesError as error:
            raise tornado.web.HTTPError(503, reason=str(error)) from None

    async def _make_room(self, ending: str | None) -> None:
        voila = self.settings["voila"]
        if ending is not None:
            await voila.pool.choose()  # Voilà ends no kernel while a page that failed waits
            await end_kernel(self.kernel_manager, ending)
        voila.fit_pool()

    async def _write_page(self, place: Place) -> None:
        await self.settings["voila"].pool.choose()
        async for html in self.get_generator():
            before, *there = STILL.split(html, maxsplit=1)
            self.write(before)
            if there:
                place.kernel_id, after = there
                await self._send()  # the browser fetches its scripts meanwhile
                self.write(await self._still(place.kernel_id))
                self.write(after)
            await self._send()

    def should_use_rendered_notebook(self, notebook_data: Any, pool_size: int, *_arguments: Any) -> bool:
        """Whether a page that waits is handed out: whatever the URL asks for in vain, such as another template."""
        return pool_size > 0 and len(notebook_data) > 0

    async def _send(self) -> None:
        with suppress(StreamClosedError):  # who has left must not keep what is being made from its end
            await self.flush()

    async def _still(self, kernel_id: str) -> str:
        """What the kernel shows for this URL, as HTML to look at until the widgets are there; may be empty."""
        viewport = PHONE_WIDTH if "Mobi" in self.request.headers.get("User-Agent", "") else DESKTOP_WIDTH
        search = f"?{self.request.query}" if self.request.query else ""
        log = self.settings["voila"].log
        try:
            return await _first_sight(self.kernel_manager.get_kernel(kernel_id), search, viewport)
        except (TimeoutError, queue.Empty):
            log.info("A kernel was too busy to show its page at once")
        except Exception:
            log.exception("A kernel could not show its page at once")
        return ""


async def _first_sight(kernel: Any, search: str, viewport: int) -> str:
    """Tells a kernel what its visitor asks for; the HTML that it answers with."""
    code = (
        f"from missioncontrol_nb.dashboard.app import first_sight as _ask; _seen = await _ask({search!r}, {viewport})"
    )
    client = kernel.client()
    client.start_channels(iopub=False, stdin=False, hb=False, control=False)
    try:
        asked = client.execute(code, silent=True, user_expressions={"seen": "_seen"})
        deadline = time.monotonic() + FIRST_SIGHT_SECONDS
        while True:
            answer = await client.get_shell_msg(timeout=max(0, deadline - time.monotonic()))
            if answer["parent_header"].get("msg_id") == asked:
                break
    finally:
        client.stop_channels()
    seen = answer["content"].get("user_expressions", {}).get("seen", {})
    return seen.get("data", {}).get("text/html", "")


class HealthHandler(PlainErrors, JupyterHandler):
    """Says whether a page is ready, for probes."""

    @tornado.web.authenticated
    def get(self) -> None:
        """200 and how many pages are ready, or 503 while the first is being made."""
        voila = self.settings["voila"]
        is_ready = voila.ready_pages() > 0 or not voila.voila_configuration.preheat_kernel or voila.is_full()
        self.set_status(200 if is_ready else 503)
        self.finish({"ready_pages": voila.ready_pages(), "kernels": len(self.kernel_manager.list_kernel_ids())})

    head = get


class AliveHandler(PlainErrors, JupyterHandler):
    """Tells a page's watchdog whether its kernel lives."""

    @tornado.web.authenticated
    async def get(self, kernel_id: str) -> None:
        """204 when the kernel lives, 410 when it is gone for good."""
        is_known = kernel_id in self.kernel_manager
        is_alive = is_known and await ensure_async(self.kernel_manager.get_kernel(kernel_id).is_alive())
        if is_alive:
            self.settings["places"].note_waiting(kernel_id)
        self.set_header("Cache-Control", "no-store")
        self.set_status(204 if is_alive else 410)
        self.finish()


class PatientKernelManager(AsyncMappingKernelManager):
    """Culls a kernel that no page is connected to, at the second sighting; a dead one at the first.

    A preheated kernel may be long idle when it is handed out: without the second sighting it could be culled before
    the visitor's browser has connected to it.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._seen_alone: set[str] = set()

    async def start_kernel(self, **options: Any) -> str:  # type: ignore[override]
        """Starts a kernel, with no more of the server's environment than it needs."""
        options["env"] = kernel_environment(options.get("env") or os.environ)
        return await super().start_kernel(**options)

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """Called for each kernel at each interval."""
        if not await ensure_async(self.get_kernel(kernel_id).is_alive()):
            await ensure_async(self.shutdown_kernel(kernel_id, now=True))
        elif self._kernel_connections.get(kernel_id, 0):
            self._seen_alone.discard(kernel_id)
        elif kernel_id not in self._seen_alone:
            self._seen_alone.add(kernel_id)
        else:
            await super().cull_kernel_if_idle(kernel_id)


class OwnKernelSpecManager(KernelSpecManager):
    """Knows one kernel: this Python with `missioncontrol_nb.dashboard.kernel`."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The one kernel, whatever name the notebook gives."""
        argv = [sys.executable, "-P", "-m", "missioncontrol_nb.dashboard.kernel", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Mission Control", language="python", env={})

    def find_kernel_specs(self) -> dict[str, str]:
        """The names of kernels and their folders; ours has none."""
        return {"python3": ""}

    def get_all_specs(self) -> dict[str, Any]:
        """All specifications by name."""
        return {"python3": {"resource_dir": "", "spec": self.get_kernel_spec("python3").to_dict()}}
