"""Posts JSON over HTTP: within a time limit, without following redirects, with errors that name no address."""

import http.client
import json
import re
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any

from missioncontrol_nb.watching.targets.target import DeliveryError

STEP_SECONDS = 10.0  # to connect, and for each part of an answer
ALL_SECONDS = 30.0  # for the whole of it: an answer may come byte by byte
_LONGEST_RETRY_AFTER = 86_400.0
_OTHER_NAME = {62: "it is for another host name", 64: "it is for another address"}  # OpenSSL's words repeat the name
CUT = "the connection was cut before an answer came"


class Deadline:
    """Cuts a connection when its time is over. Its context has the time; `connect` makes the connection."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._is_over = False

    def connect(self, *where: Any, **how: Any) -> socket.socket:
        """As `socket.create_connection`: nothing can be read before the time counts, neither greeting nor handshake."""
        connection = socket.create_connection(*where, **how)
        self._sockets.append(connection.dup())  # TLS takes the socket itself away
        if self._is_over:
            self._cut()
        return connection

    @property
    def reason(self) -> str:
        """Why the connection was cut; empty where it was not."""
        return f"no whole answer within {self._seconds:.0f} s" if self._is_over else ""

    def _cut(self) -> None:
        self._is_over = True
        for connection in self._sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> "Deadline":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()  # it cuts no other connection that has the number of a closed one
        for connection in self._sockets:
            connection.close()


def post_json(url: str, body: object, headers: Mapping[str, str], seconds: float = ALL_SECONDS) -> None:
    """Posts a JSON body. Raises DeliveryError for any answer but 2xx, and where none comes."""
    content = json.dumps(body, allow_nan=False).encode()
    step = min(STEP_SECONDS, seconds)
    with Deadline(seconds) as deadline:
        opener = urllib.request.build_opener(_NoRedirect, _http(deadline), _https(deadline))
        try:
            request = urllib.request.Request(url, content, {"Content-Type": "application/json", **headers})
            with opener.open(request, timeout=step):
                if deadline.reason:  # what came before the cut looks like a whole answer
                    raise DeliveryError(deadline.reason)
        except urllib.error.HTTPError as error:
            with error:
                raise DeliveryError(_of_status(error.code), _retry_after(error.headers)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DeliveryError(deadline.reason or reason_of(error, step)) from None


def reason_of(error: BaseException, seconds: float = STEP_SECONDS) -> str:
    """An error of a connection in words that hold neither an address nor what was sent or answered."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return f"no answer within {seconds:.0f} s"
    if isinstance(inner, ssl.SSLCertVerificationError):
        why = _OTHER_NAME.get(inner.verify_code, inner.verify_message)
        return f"its certificate is not trusted: {why}"
    if isinstance(inner, ssl.SSLError):
        return "no encrypted connection"
    if isinstance(inner, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(inner, socket.gaierror):
        return "its host name is not known here"
    if isinstance(inner, (ConnectionError, http.client.HTTPException)):
        return CUT
    return (
        inner.strerror if isinstance(inner, OSError) and inner.strerror else f"no connection ({type(inner).__name__})"
    )


def _of_status(code: int) -> str:
    return f"HTTP {code}, which is not followed" if 300 <= code < 400 else f"HTTP {code}"


def _retry_after(headers: Message) -> float | None:
    """The seconds that a Retry-After header asks to wait, a day at most; None where it asks nothing."""
    text = (headers.get("Retry-After") or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return min(float(text), _LONGEST_RETRY_AFTER)
    with suppress(ValueError, TypeError):
        moment = parsedate_to_datetime(text)
        wait = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        return min(max(wait, 0.0), _LONGEST_RETRY_AFTER)
    return None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the message could go to somebody else."""

    def redirect_request(self, *_: Any) -> None:
        """No request instead."""


def _http(deadline: Deadline) -> urllib.request.HTTPHandler:
    class Connection(http.client.HTTPConnection):
        def __init__(self, *where: Any, **how: Any) -> None:
            super().__init__(*where, **how)
            self._create_connection = deadline.connect

    class Handler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Connection, req)

    return Handler()


def _https(deadline: Deadline) -> urllib.request.HTTPSHandler:
    class Connection(http.client.HTTPSConnection):
        def __init__(self, *where: Any, **how: Any) -> None:
            super().__init__(*where, **how)
            self._create_connection = deadline.connect

    class Handler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Connection, req, context=ssl.create_default_context())

    return Handler()
