"""The end of Spark's Java: Python does not wait for ever for a Java that does not close its connections."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from py4j.clientserver import ClientServer, JavaParameters, PythonParameters
from pyspark import SparkContext

from streaming.spark.session import _shut_gateway
from tests.patience import PATIENCE_SECONDS, wait_until


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[ClientServer]:
    """A gateway to a process that ends with its standard input, as Spark's Java does."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        made = ClientServer(JavaParameters(port=0), PythonParameters(port=0, daemonize_connections=True))
        made.proc = process
        monkeypatch.setattr(SparkContext, "_gateway", made)
        monkeypatch.setattr(SparkContext, "_jvm", None)
        yield made
        process.kill()


def connection_to(port: int) -> socket.socket | None:
    """A connection; None while nobody listens yet."""
    with suppress(ConnectionRefusedError):
        return socket.create_connection(("127.0.0.1", port))
    return None


def test_java_that_keeps_its_connection_open_does_not_keep_python_from_ending(gateway: ClientServer) -> None:
    server = gateway.get_callback_server()
    with wait_until(lambda: connection_to(server.get_listening_port())) as java:
        [connection] = wait_until(lambda: list(server.connections))
        java.sendall(b"c")  # the thread of the connection waits for the rest of the line
        ends = threading.Thread(target=_shut_gateway, daemon=True)
        ends.start()
        ends.join(PATIENCE_SECONDS / 10)
        is_ended = not ends.is_alive()
    assert is_ended, "it waits for a read that only Java can end"
    assert gateway.proc.returncode == 0
    assert connection.socket is None
