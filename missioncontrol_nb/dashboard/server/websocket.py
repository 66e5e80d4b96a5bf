"""The websocket between a page and its kernel, with limits on connections, kinds of messages and unread data."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import tornado.web
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler
from tornado.websocket import WebSocketClosedError

from missioncontrol_nb.dashboard.server.connection_limits import PlainErrors, has_spare_descriptors

PROTOCOL = "v1.kernel.websocket.jupyter.org"
"""The only supported framing. Jupyter's older one has no subprotocol; Voilà misreads its messages as this framing."""
MOST_SOCKETS = 3  # per kernel: a page has one, and for a moment two when it reconnects
MOST_MESSAGE_BYTES = 65_536  # from a page: its longest message is a URL
MOST_UNSENT_BYTES = 8_000_000  # that may be unread by a page when a further message is sent
MOST_PARTS = 4  # header, parent header, metadata, content: pages send no buffers
MOST_OPEN_COMMS = 16  # opened per connection; a page opens one and closes it
# The messages that a page's widgets need. All others (tracebacks, prints, warnings, logs) stay on the server.
SHOWN_MESSAGES = frozenset(("status", "comm_open", "comm_msg", "comm_close", "comm_info_reply", "kernel_info_reply"))
CONTROL_TARGET = "jupyter.widget.control"  # over which a page fetches all widgets of its kernel
CHANGED_TRAITS = frozenset(("value", "index", "search", "viewport", "opened"))
"""The traits that controls change. Updates of other traits are dropped: add the traits of new controls here."""


class KernelSocketHandler(PlainErrors, KernelWebsocketHandler):
    """A page's websocket.

    It replaces Voilà's handler, which takes the first bytes of any message for a count and loops that many times.
    """

    def initialize(self, sockets: "Sockets") -> None:
        """sockets: the open websockets of all kernels."""
        self._sockets, self._unsent_bytes = sockets, 0

    async def get(self, kernel_id: str) -> None:
        """Serves the websocket until it closes; 400 for another protocol, 503 where there are too many."""
        offered = self.request.headers.get("Sec-WebSocket-Protocol", "")
        if PROTOCOL not in [each.strip() for each in offered.split(",")]:
            raise tornado.web.HTTPError(400, reason=f"Expected the subprotocol {PROTOCOL}")
        self._sockets.add(kernel_id, self)
        try:
            await super().get(kernel_id=kernel_id)
        finally:
            self._sockets.remove(kernel_id, self)

    async def open(self, kernel_id: str) -> None:
        """Called when the browser is connected."""
        self.settings["places"].note_reached(kernel_id)
        await super().open(kernel_id)

    def write_message(self, message: Any, binary: bool = False) -> "asyncio.Future[None]":
        """Sends a message; disconnects a page that does not read earlier messages."""
        nothing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        nothing.set_result(None)
        if self._unsent_bytes > MOST_UNSENT_BYTES:
            self.log.info("A page that does not read its messages is disconnected")
            self.abort()
            return nothing
        try:
            sent = super().write_message(message, binary)
        except WebSocketClosedError:
            return nothing
        size = len(message)
        self._unsent_bytes += size
        sent.add_done_callback(lambda done: self._note_sent(done, size))
        return sent

    def _note_sent(self, sent: "asyncio.Future[None]", size: int) -> None:
        self._unsent_bytes -= size
        if not sent.cancelled():
            sent.exception()  # retrieves the exception of a page that has left

    def abort(self) -> None:
        """Closes the connection without a closing message, which would wait behind unread data."""
        stream = getattr(self.ws_connection, "stream", None)
        if stream is not None:
            stream.close()


class Sockets:
    """The open websockets by kernel; a place is taken before anything is awaited."""

    def __init__(self, most_each: int = MOST_SOCKETS) -> None:
        self._most_each = most_each
        self._open: dict[str, list[KernelSocketHandler]] = {}

    def add(self, kernel_id: str, socket: KernelSocketHandler) -> None:
        """Takes a place; raises HTTPError 503 where the kernel, or the process, has none left."""
        others = self._open.get(kernel_id, [])
        if len(others) >= self._most_each:
            raise tornado.web.HTTPError(503, reason="Too many connections to this page")
        if not has_spare_descriptors():
            raise tornado.web.HTTPError(503, reason="Too many connections are open, try again later")
        self._open[kernel_id] = [*others, socket]

    def remove(self, kernel_id: str, socket: KernelSocketHandler) -> None:
        """Frees the place."""
        left = [each for each in self._open.get(kernel_id, []) if each is not socket]
        if left:
            self._open[kernel_id] = left
        else:
            self._open.pop(kernel_id, None)


class QuietConnection(ZMQChannelsWebsocketConnection):
    """Forwards the messages that widgets need, and nothing that a callback printed, logged or raised."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._opened_comms: set[str] = set()

    def handle_outgoing_message(self, stream: str, outgoing_msg: list[Any]) -> None:
        """Called with each message from the kernel."""
        _, parts = self.session.feed_identities(outgoing_msg)
        if self.session.unpack(parts[1])["msg_type"] in SHOWN_MESSAGES:
            super().handle_outgoing_message(stream, outgoing_msg)

    def handle_incoming_message(self, incoming_msg: str | bytes) -> None:
        """Called with each message from the page."""
        parts = message_parts(incoming_msg)
        if parts is not None and self._is_wanted(parts[0], parts[-1]):
            super().handle_incoming_message(incoming_msg)  # type: ignore[arg-type]
        else:
            self.log.info("A message that no page sends was dropped")

    def write_stderr(self, error_message: str, parent_header: Any) -> None:
        """Called where messages arrive too fast; the error goes to the log, not to the page."""
        self.log.warning(error_message)

    def _is_wanted(self, header: dict[str, Any], content: dict[str, Any]) -> bool:
        """Whether a page's widgets send such a message; records which comms they open."""
        kind, comm = header.get("msg_type"), content.get("comm_id")
        if kind in ("kernel_info_request", "comm_info_request"):
            return True
        if not isinstance(comm, str):
            return False
        if kind == "comm_open":
            is_wanted = content.get("target_name") == CONTROL_TARGET and len(self._opened_comms) < MOST_OPEN_COMMS
            if is_wanted:
                self._opened_comms.add(comm)
            return is_wanted
        if kind == "comm_close":
            is_own = comm in self._opened_comms
            self._opened_comms.discard(comm)
            return is_own
        return kind == "comm_msg" and is_widget_message(content.get("data"))


def is_widget_message(data: Any) -> bool:
    """Whether a page's widgets send such data: a trait that a control changes, a click, a request for states."""
    if not isinstance(data, dict):
        return False
    method, state, content = data.get("method"), data.get("state"), data.get("content")
    if method == "update":
        return isinstance(state, dict) and CHANGED_TRAITS.issuperset(state) and not data.get("buffer_paths")
    if method == "custom":
        return isinstance(content, dict) and "want" not in content  # a page loads Vega as a file from this server
    return method in ("request_state", "request_states")


def message_parts(frame: str | bytes) -> list[dict[str, Any]] | None:
    """Header, parent header, metadata and content of a page's message; None for any bytes that are no valid message.

    This is checked before jupyter_server reads the message, because it trusts the number of parts in the first bytes.
    """
    if not isinstance(frame, bytes) or len(frame) > MOST_MESSAGE_BYTES:
        return None
    numbers = [int.from_bytes(frame[at : at + 8], "little") for at in range(0, 8 * (MOST_PARTS + 3), 8)]
    count, offsets = numbers[0], numbers[1:]  # the channel comes first, the end of the frame last
    if count != len(offsets) or offsets != sorted(offsets) or offsets[0] < 8 * len(numbers) or offsets[-1] > len(frame):
        return None
    texts = [frame[start:end] for start, end in pairwise(offsets)]
    if texts[0] not in (b"shell", b"control"):
        return None
    try:
        parts = [json.loads(text) for text in texts[1:]]
    except (ValueError, RecursionError):
        return None
    return parts if all(isinstance(part, dict) for part in parts) else None
