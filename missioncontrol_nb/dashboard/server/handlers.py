"""The request handlers of the server, and which requests they refuse."""

import queue
import re
import time
from contextlib import suppress
from typing import Any

import tornado.web
from jupyter_core.utils import ensure_async
from jupyter_server.auth.login import LoginFormHandler
from jupyter_server.auth.logout import LogoutHandler
from jupyter_server.base.handlers import APIHandler, FileFindHandler, JupyterHandler
from tornado.iostream import StreamClosedError
from voila.request_info_handler import RequestInfoSocketHandler
from voila.static_file_handler import TemplateStaticFileHandler
from voila.tornado.handler import TornadoVoilaHandler
from voila.tornado.kernel_websocket_handler import VoilaKernelWebsocketHandler
from voila.voila_identity_provider import VoilaLoginHandler

from missioncontrol_nb.dashboard.server.admission import Place, Places, TooManyPagesError
from missioncontrol_nb.dashboard.server.connection_limits import (
    PlainErrors,
    has_spare_descriptors,
    is_navigation,
    visitor_of,
)
from missioncontrol_nb.dashboard.server.kernels import end_kernel
from missioncontrol_nb.dashboard.server.websocket import KernelSocketHandler, Sockets

STILL = re.compile(r"<!--still ([\w-]+)-->")  # where the template wants the prerendered page
FIRST_SIGHT_SECONDS = 2.0  # timeout of the prerender; after it the page is sent without
PHONE_WIDTH, DESKTOP_WIDTH = 390, 1280  # CSS pixels, until the browser reports its own
# Voilà keeps requests' URLs for the first; the others serve a log-in, which the dashboard lacks.
NEEDLESS = (RequestInfoSocketHandler, LoginFormHandler, VoilaLoginHandler, LogoutHandler)


def hardened(handler: tuple[Any, ...]) -> tuple[Any, ...]:
    """A handler of Voilà, or its stricter replacement where there is one."""
    path, kind, *rest = handler
    if kind is TornadoVoilaHandler:
        return (path, LimitedPageHandler, *rest)
    if kind is VoilaKernelWebsocketHandler:
        return (path, KernelSocketHandler, {"sockets": Sockets()})
    if kind is FileFindHandler:
        return (path, ExtensionFileHandler, *rest)
    if kind is TemplateStaticFileHandler:
        return (path, TemplateFileHandler, *rest)
    if issubclass(kind, APIHandler):  # its errors are JSON
        return handler
    return (path, type(f"Own{kind.__name__}", (PlainErrors, kind), {}), *rest)


class NowhereHandler(PlainErrors, tornado.web.RequestHandler):
    """Answers 404 to paths outside of the base URL."""

    def prepare(self) -> None:
        """Called for each request."""
        raise tornado.web.HTTPError(404)


class TemplateFileHandler(PlainErrors, TemplateStaticFileHandler):
    """Files of a template: TEMPLATE/static/PATH, and 404 for any other path."""

    def parse_url_path(self, url_path: str) -> str:
        """Called with the part of the URL after voila/templates/."""
        if not re.fullmatch(r"[\w-]+/static/.+", url_path):
            raise tornado.web.HTTPError(404)
        return super().parse_url_path(url_path)


class ExtensionFileHandler(PlainErrors, FileFindHandler):
    """The static files of extensions, which pages load; 404 for others, which reveal the versions of extensions."""

    def parse_url_path(self, url_path: str) -> str:
        """Called with the part of the URL after voila/labextensions/."""
        if "/static/" not in url_path:
            raise tornado.web.HTTPError(404)
        return super().parse_url_path(url_path)


class LimitedPageHandler(PlainErrors, TornadoVoilaHandler):
    """A page, unless too many are open."""

    async def get(self, path: str | None = None) -> None:
        """Answers with the page.

        404 for any other path, 403 where the page is not opened in a window, 503 where there are too many pages.
        """
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
            RequestInfoSocketHandler._cache.clear()  # otherwise Voilà keeps the URL of every visit there
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
            await voila.pool.choose()  # Voilà cannot end a kernel while the pool has a failed page
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
        """Whether a preheated page is handed out; a URL cannot prevent it, e.g. by asking for another template."""
        return pool_size > 0 and len(notebook_data) > 0

    async def _send(self) -> None:
        with suppress(StreamClosedError):  # a client that has left must not stop the page from being completed
            await self.flush()

    async def _still(self, kernel_id: str) -> str:
        """The prerender of this URL by the kernel: HTML to show until the widgets are there; may be empty."""
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
    """Sends a kernel its visitor's query, and returns the HTML that it answers with."""
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
    """Reports whether a page is ready, for health probes."""

    @tornado.web.authenticated
    def get(self) -> None:
        """Answers 200 and how many pages are ready, or 503 while the first is being made."""
        voila = self.settings["voila"]
        is_ready = voila.ready_pages() > 0 or not voila.voila_configuration.preheat_kernel or voila.is_full()
        self.set_status(200 if is_ready else 503)
        self.finish({"ready_pages": voila.ready_pages(), "kernels": len(self.kernel_manager.list_kernel_ids())})

    head = get


class AliveHandler(PlainErrors, JupyterHandler):
    """Reports to a page's watchdog whether its kernel is alive."""

    @tornado.web.authenticated
    async def get(self, kernel_id: str) -> None:
        """Answers 204 when the kernel is alive, 410 when it has ended permanently."""
        is_known = kernel_id in self.kernel_manager
        is_alive = is_known and await ensure_async(self.kernel_manager.get_kernel(kernel_id).is_alive())
        if is_alive:
            self.settings["places"].note_waiting(kernel_id)
        self.set_header("Cache-Control", "no-store")
        self.set_status(204 if is_alive else 410)
        self.finish()
