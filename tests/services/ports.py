"""Ports for servers of the tests."""

import random
import socket
from urllib.error import URLError
from urllib.request import urlopen

# Below the ports that systems give to outgoing connections: one of these could be taken before its server listens.
_PORTS = range(20_000, 32_000)
_random = random.SystemRandom()  # test processes side by side pick different ones


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    return next(port for port in iter(lambda: _random.choice(_PORTS), None) if is_free(port))


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what listens is in the way, what has ended is not
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def answers(url: str) -> bool:
    """Whether a server gives what an address names."""
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except URLError:
        return False
