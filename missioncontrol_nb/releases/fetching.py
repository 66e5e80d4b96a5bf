"""JSON documents from paths and HTTP URLs, with limits on bytes, seconds and nesting that hold for any server."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from streaming.errors import MissionControlError

MAX_BYTES = 20 << 20  # For all documents of a budget; product-details are 0.1 MB
MAX_SECONDS = 60.0
RESPONSE_TIMEOUT_SECONDS = 15  # Timeout until a server sends something
_BLOCK_BYTES = 1 << 16


@dataclass
class Budget:
    """The remaining bytes and the deadline, shared by all documents that belong together."""

    bytes_left: int = MAX_BYTES
    ends: float = field(default_factory=lambda: monotonic() + MAX_SECONDS)

    def read(self, stream: IO[bytes], named: str) -> bytes:
        """All of a stream. Raises MissionControlError where it is too large or too slow."""
        read_some: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
        blocks = []
        while block := read_some(_BLOCK_BYTES):
            blocks.append(block)
            self.bytes_left -= len(block)
            if self.bytes_left < 0:
                raise MissionControlError(f"{named} is too large: more than {MAX_BYTES >> 20} MB were sent")
            if monotonic() > self.ends:
                raise _too_slow(named)
        return b"".join(blocks)


def read_json(location: str, what: str, budget: Budget | None = None) -> Any:
    """The JSON document at a path or HTTP URL.

    what: its name in errors. Raises MissionControlError where it cannot be read, is not JSON, or exceeds the budget.
    """
    from http.client import HTTPException

    named = f"{what} {location}"
    budget = budget or Budget()
    try:
        return json.loads(_fetch(location, named, budget) if "://" in location else _read(location, named, budget))
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        if "://" in location:
            raise MissionControlError(
                f"{named} cannot be reached ({getattr(reason, 'strerror', None) or reason}): see to the network, or "
                "give a copy in a folder"
            ) from error
        raise MissionControlError(f"{named} cannot be read: {reason}") from error
    except RecursionError as error:
        raise MissionControlError(f"{named} is not what it should be: its JSON is nested too deeply") from error
    except ValueError as error:
        raise MissionControlError(f"{named} is not JSON: {error}") from error


def _read(path: str, named: str, budget: Budget) -> bytes:
    if Path(path).exists() and not Path(path).is_file():
        raise MissionControlError(f"{named} cannot be read: it is not a regular file")
    with Path(path).open("rb") as file:
        return budget.read(file, named)


class _SameHost(HTTPRedirectHandler):
    """Follows redirects within a host only; another host may be inside this machine's private network."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        """The request of a redirect. Raises MissionControlError where it goes to another host."""
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        is_kept = (after.hostname, after.port) == (before.hostname, before.port) and after.scheme == before.scheme
        is_upgraded = after.hostname == before.hostname and (before.scheme, after.scheme) == ("http", "https")
        if not (is_kept or is_upgraded):
            fp.close()
            raise MissionControlError(
                f"{req.full_url} redirects to another host, {newurl!r}: name that one, if it is to be trusted"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str, named: str, budget: Budget) -> bytes:
    """A server's response, read in its own thread: a read from a server that trickles bytes cannot be interrupted."""
    if not url.startswith(("https://", "http://")):
        raise MissionControlError(f"expected a path or an http URL; got {url!r}")
    outcome: list[bytes | BaseException] = []

    def fetch() -> None:
        try:
            with build_opener(_SameHost).open(url, timeout=RESPONSE_TIMEOUT_SECONDS) as reply:
                outcome.append(budget.read(reply, named))
        except BaseException as error:
            if isinstance(error, HTTPError):
                error.close()  # It holds the response's socket
            outcome.append(error)

    thread = threading.Thread(target=fetch, name="fetch", daemon=True)
    thread.start()
    thread.join(max(budget.ends - monotonic(), 0))
    if not outcome:
        raise _too_slow(named)
    [result] = outcome
    if isinstance(result, BaseException):
        raise result
    return result


def _too_slow(named: str) -> MissionControlError:
    return MissionControlError(f"{named} comes too slowly: it was not there after {MAX_SECONDS:g} s")
